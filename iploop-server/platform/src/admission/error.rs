use std::time::Duration;

use iploop_protocol::targeting::{CountrySet, Parameter};

use super::limit_state::{LimitState, Unit, period_name, rate_window};
use crate::clock::DAY;
use crate::keys::Rate;
use crate::metering::{BeginError, Period};
use crate::store::StoreError;

/// Why a login may not use the proxy now. The `Display` text is the customer's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdmissionError {
    /// No key, and an address that stands for none.
    #[error("this proxy needs a login")]
    NoAddressLogin,
    /// Nobody has this key.
    #[error("the API key is not valid")]
    UnknownKey,
    /// The user name names another account than the key's.
    #[error("the user name and the API key belong to different accounts")]
    UserMismatch,
    /// The key is switched off.
    #[error("the API key is switched off")]
    KeyInactive,
    /// The key's time is over.
    #[error("the API key has expired")]
    KeyExpired,
    /// An admin stopped the account.
    #[error("the account is suspended")]
    AccountSuspended,
    /// The account is deleted.
    #[error("the account does not exist any more")]
    AccountDeleted,
    /// The account's address is not verified yet.
    #[error("the account's e-mail address is not verified yet")]
    EmailUnverified,
    /// The key has a list of client addresses and this one is not on it.
    #[error("the API key may not be used from this address")]
    IpNotAllowed,
    /// The plan lacks what a parameter asks for.
    #[error("`{parameter}` is not part of the plan {plan}")]
    PlanFeature {
        /// The parameter to leave out.
        parameter: Parameter,
        /// The plan's name.
        plan: String,
    },
    /// As many tunnels and requests run as the plan allows.
    #[error("the plan allows {limit} connections at the same time")]
    TooManyConnections {
        /// The plan's limit.
        limit: u32,
    },
    /// The plan's requests of this UTC day are used up.
    #[error("the plan allows {limit} requests a day")]
    DailyRequests {
        /// The plan's limit.
        limit: u64,
        /// Until midnight UTC.
        retry_after: Duration,
    },
    /// As many tunnels and requests run as the key allows.
    #[error("the API key allows {limit} connections at the same time")]
    KeyConnections {
        /// The key's limit.
        limit: u32,
    },
    /// Requests come faster than the key allows.
    #[error("the API key allows {} requests a second, {} at once", rate.per_second, rate.burst)]
    KeyRate {
        /// The key's limit.
        rate: Rate,
        /// Until the next one is heard.
        retry_after: Duration,
    },
    /// The key has used the bytes that it may.
    #[error("the API key may use {limit} bytes {}", match period {
        Period::Day => "a day",
        Period::Month => "a month",
        Period::Total => "in all",
    })]
    KeyQuotaExceeded {
        /// Counted over what.
        period: Period,
        /// The key's limit.
        limit: u64,
        /// Until it begins anew; none where it never does.
        retry_after: Option<Duration>,
    },
    /// The key is for other countries.
    #[error("the API key is not for exits in {countries}")]
    KeyCountry {
        /// Those asked for that it is not for.
        countries: CountrySet,
    },
    /// The key may not go to this host.
    #[error("the API key may not go to this host")]
    KeyDestination,
    /// The key may not go to this port.
    #[error("the API key may not go to port {port}")]
    KeyPort {
        /// Which.
        port: u16,
    },
    /// The account has nothing left.
    #[error("the balance is used up")]
    BalanceDepleted,
    /// Too many failed logins from this address.
    #[error("too many failed logins from this address")]
    RateLimited {
        /// Until the next try is heard.
        retry_after: Duration,
    },
    /// Too much usage waits to be booked: what would be served could not be billed.
    #[error("the service is overloaded")]
    Overloaded,
    /// The database is away and nothing is known of the key or its account.
    #[error("the service can't check the login now")]
    Unavailable {
        /// What failed, if it was the database; for the log.
        #[source]
        source: Option<StoreError>,
    },
}

/// One row of the table: what an error is to a client.
struct Answer {
    status: u16,
    code: &'static str,
    hint: &'static str,
}

impl AdmissionError {
    /// The code in answers and request logs (`docs/contracts.md`, Answers of the gateway).
    pub fn code(&self) -> &'static str {
        self.answer().code
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.answer().status
    }

    /// What the customer can do about it, one sentence.
    pub fn hint(&self) -> &'static str {
        self.answer().hint
    }

    /// When another try makes sense: for `Retry-After`, rounded up to whole seconds by the caller.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::DailyRequests { retry_after, .. }
            | Self::RateLimited { retry_after }
            | Self::KeyRate { retry_after, .. } => Some(*retry_after),
            Self::KeyQuotaExceeded { retry_after, .. } => *retry_after,
            Self::TooManyConnections { .. } | Self::KeyConnections { .. } => Some(Duration::from_secs(1)),
            Self::Overloaded | Self::Unavailable { .. } => Some(Duration::from_secs(2)),
            Self::NoAddressLogin
            | Self::UnknownKey
            | Self::UserMismatch
            | Self::KeyInactive
            | Self::KeyExpired
            | Self::AccountSuspended
            | Self::AccountDeleted
            | Self::EmailUnverified
            | Self::IpNotAllowed
            | Self::PlanFeature { .. }
            | Self::KeyCountry { .. }
            | Self::KeyDestination
            | Self::KeyPort { .. }
            | Self::BalanceDepleted => None,
        }
    }

    /// The limit that is reached, for the rate-limit fields of the answer.
    pub fn limit(&self) -> Option<LimitState> {
        let state = |name, unit, quota, window, reset| LimitState {
            name,
            unit,
            quota,
            window,
            remaining: 0,
            reset,
        };
        match *self {
            Self::TooManyConnections { limit } => Some(state(
                "plan-connections",
                Unit::ConcurrentRequests,
                limit.into(),
                None,
                None,
            )),
            Self::KeyConnections { limit } => Some(state(
                "key-connections",
                Unit::ConcurrentRequests,
                limit.into(),
                None,
                None,
            )),
            Self::DailyRequests { limit, retry_after } => Some(state(
                "plan-day",
                Unit::Requests,
                limit,
                Some(DAY),
                Some(retry_after),
            )),
            Self::KeyRate { rate, retry_after } => Some(state(
                "key-rate",
                Unit::Requests,
                rate.burst.into(),
                Some(rate_window(rate)),
                Some(retry_after),
            )),
            Self::KeyQuotaExceeded {
                period,
                limit,
                retry_after,
            } => Some(state(
                period_name(period),
                Unit::ContentBytes,
                limit,
                (period == Period::Day).then_some(DAY),
                retry_after,
            )),
            _ => None,
        }
    }

    /// The operator's text, where the customer's does not say it all. Never holds a key or an address.
    pub fn operator_text(&self) -> String {
        match self {
            Self::UnknownKey => "login refused: no such key".to_owned(),
            Self::UserMismatch => {
                "login refused: the user name claims another account than the key's".to_owned()
            }
            Self::Unavailable { source: Some(source) } => format!("login not checked: {source}"),
            Self::Unavailable { source: None } => {
                "login not checked: no lease and the database away".to_owned()
            }
            Self::Overloaded => "login refused: journal, tables or unbooked usage at their bound".to_owned(),
            other => format!("login refused: {other}"),
        }
    }

    fn answer(&self) -> Answer {
        let (status, code, hint) = match self {
            Self::NoAddressLogin => (
                407,
                "credentials_missing",
                "send a key, or let the address in without one by ipLogin of a key",
            ),
            Self::UnknownKey => (
                407,
                "credentials_invalid",
                "check the key; it is shown in full only when it is made",
            ),
            Self::UserMismatch => (
                407,
                "credentials_invalid",
                "use the account's id or iploop as the user name",
            ),
            Self::KeyInactive => (407, "key_inactive", "switch the key on, or use another one"),
            Self::KeyExpired => (407, "key_expired", "make a new key"),
            Self::AccountSuspended => (403, "account_suspended", "write to support"),
            Self::AccountDeleted => (
                403,
                "account_deleted",
                "register again, or use another account's key",
            ),
            Self::EmailUnverified => (
                403,
                "email_unverified",
                "follow the link in the mail, or have it sent again",
            ),
            Self::IpNotAllowed => (403, "ip_not_allowed", "add the address to the key's allow-list"),
            Self::PlanFeature { .. } => (403, "plan_feature", "leave the parameter out, or change the plan"),
            Self::TooManyConnections { .. } => (
                429,
                "too_many_connections",
                "close connections that are not needed, or change the plan",
            ),
            Self::DailyRequests { .. } => {
                (429, "daily_requests", "wait for midnight UTC, or change the plan")
            }
            Self::KeyConnections { .. } => (
                429,
                "too_many_connections",
                "close connections that are not needed, or raise the key's limit",
            ),
            Self::KeyRate { .. } => (429, "rate_limited", "send fewer, or raise the key's limit"),
            Self::KeyQuotaExceeded { .. } => (
                402,
                "key_quota_exceeded",
                "raise the key's limit, or use another key",
            ),
            Self::KeyCountry { .. } => (
                403,
                "key_country_forbidden",
                "ask for a country of the key, or for none, or change the key's list",
            ),
            Self::KeyDestination => (
                403,
                "key_destination_forbidden",
                "change the key's lists of destinations, or use another key",
            ),
            Self::KeyPort { .. } => (
                403,
                "key_port_forbidden",
                "change the key's list of ports, or use another key",
            ),
            Self::BalanceDepleted => (402, "balance_depleted", "add traffic to the account"),
            Self::RateLimited { .. } => (429, "rate_limited", "check the key before trying again"),
            Self::Overloaded => (503, "overloaded", "try again shortly"),
            Self::Unavailable { .. } => (503, "unavailable", "try again shortly"),
        };
        Answer { status, code, hint }
    }
}

pub(super) fn unavailable(source: StoreError) -> AdmissionError {
    AdmissionError::Unavailable { source: Some(source) }
}

impl From<BeginError> for AdmissionError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::BalanceDepleted => Self::BalanceDepleted,
            BeginError::Unavailable => Self::Unavailable { source: None },
            BeginError::Overloaded => Self::Overloaded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_whole_answer() {
        let wait = Duration::from_secs(7);
        let errors = [
            (AdmissionError::UnknownKey, 407, "credentials_invalid", false),
            (AdmissionError::UserMismatch, 407, "credentials_invalid", false),
            (AdmissionError::KeyInactive, 407, "key_inactive", false),
            (AdmissionError::KeyExpired, 407, "key_expired", false),
            (AdmissionError::AccountSuspended, 403, "account_suspended", false),
            (AdmissionError::AccountDeleted, 403, "account_deleted", false),
            (AdmissionError::EmailUnverified, 403, "email_unverified", false),
            (AdmissionError::IpNotAllowed, 403, "ip_not_allowed", false),
            (
                AdmissionError::PlanFeature {
                    parameter: Parameter::City,
                    plan: "Starter".to_owned(),
                },
                403,
                "plan_feature",
                false,
            ),
            (
                AdmissionError::TooManyConnections { limit: 10 },
                429,
                "too_many_connections",
                true,
            ),
            (
                AdmissionError::DailyRequests {
                    limit: 10,
                    retry_after: wait,
                },
                429,
                "daily_requests",
                true,
            ),
            (
                AdmissionError::KeyConnections { limit: 3 },
                429,
                "too_many_connections",
                true,
            ),
            (
                AdmissionError::KeyRate {
                    rate: Rate {
                        per_second: 5,
                        burst: 10,
                    },
                    retry_after: wait,
                },
                429,
                "rate_limited",
                true,
            ),
            (
                AdmissionError::KeyQuotaExceeded {
                    period: Period::Month,
                    limit: 1_000_000_000,
                    retry_after: Some(wait),
                },
                402,
                "key_quota_exceeded",
                true,
            ),
            (
                AdmissionError::KeyQuotaExceeded {
                    period: Period::Total,
                    limit: 1_000_000_000,
                    retry_after: None,
                },
                402,
                "key_quota_exceeded",
                false,
            ),
            (
                AdmissionError::KeyCountry {
                    countries: CountrySet::parse("de+us").unwrap(),
                },
                403,
                "key_country_forbidden",
                false,
            ),
            (
                AdmissionError::KeyDestination,
                403,
                "key_destination_forbidden",
                false,
            ),
            (
                AdmissionError::KeyPort { port: 22 },
                403,
                "key_port_forbidden",
                false,
            ),
            (AdmissionError::BalanceDepleted, 402, "balance_depleted", false),
            (
                AdmissionError::RateLimited { retry_after: wait },
                429,
                "rate_limited",
                true,
            ),
            (AdmissionError::Overloaded, 503, "overloaded", true),
            (
                AdmissionError::Unavailable { source: None },
                503,
                "unavailable",
                true,
            ),
        ];
        for (error, status, code, retry) in errors {
            println!("{status} {code:<22} {error}; {}", error.hint());
            assert_eq!((error.status(), error.code()), (status, code));
            assert_eq!(error.retry_after().is_some(), retry, "{code}");
            assert!(!error.hint().is_empty() && !error.operator_text().is_empty());
        }
    }
}
