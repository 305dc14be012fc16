//! Every error that the API answers with: one table.

use std::borrow::Cow;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use iploop_platform::accounts::AccountError;
use iploop_platform::field::FieldProblem;
use iploop_platform::ip_login::MAX_ADDRESSES;
use iploop_platform::keys::KeyError;
use iploop_platform::ledger::Refusal;
use iploop_platform::login::{LoginError, SessionError};
use iploop_platform::notices::NoticeError;
use iploop_platform::partners::PartnerError;
use iploop_platform::sticky::SessionError as StickyError;
use iploop_platform::store::StoreError;
use iploop_platform::webhooks::{MAX_WEBHOOKS, WebhookError};
use iploop_protocol::targeting::TargetingError;

/// Why a request gets no other answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiError {
    /// The body is no JSON, or not of the form that is documented.
    MalformedBody(String),
    /// The query can't be read.
    MalformedQuery(String),
    /// Fields that can't be accepted.
    InvalidFields(Vec<FieldProblem>),
    /// Targeting parameters that say nothing we can do: as the gateway answers them.
    Targeting(Box<TargetingError>),
    /// The token of a mail is unknown, used or expired.
    MailTokenInvalid,
    KeyLimitReached,
    LoginRequired,
    InvalidCredentials,
    AccountNotActive,
    TokenInvalid,
    TokenExpired,
    TokenRevoked,
    LoginIdle,
    AddressNotAllowed,
    ChallengeInvalid,
    CodeInvalid,
    CsrfTokenInvalid,
    AdminOnly,
    NotFound,
    KeyNotFound,
    AddressNotFound,
    AddressTaken,
    RequestNotFound,
    WebhookNotFound,
    DeliveryNotFound,
    /// A link in a mail that is none of ours.
    LinkInvalid,
    /// A secret that can't be decrypted.
    SecretUnreadable,
    SessionNotFound,
    SessionExists,
    TicketNotFound,
    TooManyTickets,
    /// Wishes about the exit that can't be read, in the words of the gateway.
    InvalidTargeting {
        code: &'static str,
        detail: String,
    },
    /// The plan does not have what is asked for.
    PlanFeature(String),
    /// An account's live sticky sessions are all used; the first ends after this time.
    TooManySessions(Duration),
    /// The account has as many live connections as it may.
    TooManyLive,
    AccountNotFound,
    AlreadyListed,
    AlreadySo,
    TooMany(u32),
    PartnersOnly,
    OwnersOnly,
    PairingCodeInvalid,
    PartnerHasDevices(u64),
    OtherRole,
    AppTaken,
    /// The ledger refuses, and says why.
    NotBooked(Refusal),
    PolicyTooLong,
    PlanNotFound,
    PlanNameTaken,
    FirstPlan,
    NodeNotFound,
    NodeNotConnected,
    OwnAccount,
    AccountDeleted,
    SettingsChanged,
    /// Why nobody may look on as this account.
    CannotImpersonate(&'static str),
    ImpersonationReadOnly,
    RegistrationsClosed,
    MethodNotAllowed,
    BodyTimeout,
    EmailTaken,
    AlreadyVerified,
    TwoFactorOn,
    TwoFactorOff,
    LastAdmin,
    /// No payment provider is configured.
    BillingNotConfigured,
    AlreadySubscribed,
    NotSubscribed,
    /// Cents that are left of the month's cap.
    SpendCapReached(i64),
    /// Why, in the words of the bank.
    PaymentDeclined(String),
    /// For the log: what the payment provider said.
    PaymentProvider(String),
    EventSignature,
    EventTooOld,
    EventTooEarly,
    BodyTooLarge,
    UnsupportedMediaType,
    TooManyRequests(Duration),
    /// For the log: what happened.
    Internal(String),
    Overloaded,
    /// For the log: what the database said.
    StoreUnavailable(String),
    Timeout,
}

/// What an error looks like from outside.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) detail: Cow<'static, str>,
    pub(crate) hint: Option<Cow<'static, str>>,
    /// The targeting parameter at fault, if it is one.
    pub(crate) parameter: Option<String>,
}

impl ApiError {
    /// The table.
    pub(crate) fn answer(&self) -> Answer {
        use StatusCode as S;
        let row = |status, code, detail: &'static str, hint: Option<&'static str>| Answer {
            status,
            code,
            detail: detail.into(),
            hint: hint.map(Cow::Borrowed),
            parameter: None,
        };
        match self {
            Self::MalformedBody(reason) => Answer {
                detail: reason.clone().into(),
                ..row(
                    S::BAD_REQUEST,
                    "malformed_body",
                    "",
                    Some("The form of each request is in /api/openapi.json."),
                )
            },
            Self::MalformedQuery(reason) => Answer {
                detail: reason.clone().into(),
                ..row(
                    S::BAD_REQUEST,
                    "malformed_query",
                    "",
                    Some("The form of each request is in /api/openapi.json."),
                )
            },
            Self::InvalidFields(problems) => Answer {
                detail: problems
                    .first()
                    .map_or(Cow::Borrowed("Invalid"), |first| first.message.clone().into()),
                ..row(S::BAD_REQUEST, "invalid_fields", "", None)
            },
            Self::Targeting(error) => Answer {
                detail: error.to_string().into(),
                hint: Some(error.hint().into()),
                parameter: error.parameter().map(str::to_owned),
                ..row(S::BAD_REQUEST, error.code(), "", None)
            },
            Self::MailTokenInvalid => row(
                S::BAD_REQUEST,
                "invalid_token",
                "The link is not valid: it was used already, is too old, or a newer one was sent",
                Some("Ask for a new mail."),
            ),
            Self::KeyLimitReached => row(
                S::BAD_REQUEST,
                "key_limit_reached",
                "Maximum number of API keys reached",
                Some("Delete a key that you no longer use."),
            ),
            Self::LoginRequired => row(
                S::UNAUTHORIZED,
                "login_required",
                "Sign in first",
                Some("POST /api/auth/login, then send its token as Authorization: Bearer."),
            ),
            Self::InvalidCredentials => row(
                S::UNAUTHORIZED,
                "invalid_credentials",
                "Invalid email or password",
                None,
            ),
            Self::AccountNotActive => row(
                S::UNAUTHORIZED,
                "account_suspended",
                "Account is not active",
                Some("Write to support."),
            ),
            Self::TokenInvalid => row(
                S::UNAUTHORIZED,
                "token_invalid",
                "The login is not valid",
                Some("Sign in again."),
            ),
            Self::TokenExpired => row(
                S::UNAUTHORIZED,
                "token_expired",
                "The login has expired",
                Some("Sign in again."),
            ),
            Self::TokenRevoked => row(
                S::UNAUTHORIZED,
                "token_revoked",
                "The login has ended",
                Some("Sign in again."),
            ),
            Self::LoginIdle => row(
                S::UNAUTHORIZED,
                "login_idle",
                "The login ended: nothing was asked for longer than the session timeout",
                Some("Sign in again."),
            ),
            Self::AddressNotAllowed => row(
                S::UNAUTHORIZED,
                "address_not_allowed",
                "The account's owner allows other networks only",
                Some("Sign in from an address on the account's list, or ask its owner to add this one."),
            ),
            Self::ChallengeInvalid => row(
                S::UNAUTHORIZED,
                "challenge_invalid",
                "The sign-in took too long",
                Some("Begin again with the password."),
            ),
            Self::CodeInvalid => row(
                S::UNAUTHORIZED,
                "code_invalid",
                "The code is wrong, or was used already",
                Some("Wait for the authenticator's next code, or use a recovery code."),
            ),
            Self::CsrfTokenInvalid => row(
                S::FORBIDDEN,
                "csrf_token_invalid",
                "The request does not prove that it comes from our own page",
                Some(
                    "Send the csrfToken of the login as header X-CSRF-Token, or use a bearer token instead of the cookie.",
                ),
            ),
            Self::AdminOnly => row(S::FORBIDDEN, "admin_only", "Only admins may do this", None),
            Self::NotFound => row(S::NOT_FOUND, "not_found", "There is nothing here", None),
            Self::KeyNotFound => row(S::NOT_FOUND, "key_not_found", "API key not found", None),
            Self::AddressNotFound => row(
                S::NOT_FOUND,
                "address_not_found",
                "The account has no such address",
                None,
            ),
            Self::AddressTaken => row(
                S::CONFLICT,
                "address_taken",
                "Another account has proven this address and uses it",
                Some("Log in with a key from here; an address that several share can be one account's only."),
            ),
            Self::RequestNotFound => row(
                S::NOT_FOUND,
                "request_not_found",
                "There is no such request, or it is too old to be kept",
                Some("A request appears within 10 seconds of its begin."),
            ),
            Self::WebhookNotFound => row(S::NOT_FOUND, "webhook_not_found", "Webhook not found", None),
            Self::DeliveryNotFound => row(
                S::NOT_FOUND,
                "delivery_not_found",
                "There is no such delivery, or it is too old to be kept",
                None,
            ),
            Self::LinkInvalid => row(
                S::BAD_REQUEST,
                "invalid_link",
                "The link is not valid",
                Some("Open it as it stands in the mail, or change the settings after signing in."),
            ),
            Self::SecretUnreadable => row(
                S::CONFLICT,
                "secret_unreadable",
                "The secret can't be read any more",
                Some("Make a new one by POST /api/webhooks/{id}/regenerate-secret."),
            ),
            Self::SessionNotFound => row(
                S::NOT_FOUND,
                "session_not_found",
                "There is no live session of this name",
                None,
            ),
            Self::TicketNotFound => row(
                S::NOT_FOUND,
                "ticket_not_found",
                "There is no such ticket, or it is closed",
                None,
            ),
            Self::TooManyTickets => row(
                S::CONFLICT,
                "too_many_tickets",
                "The account has 20 tickets that are not closed",
                Some("Wait until one of them is answered and closed."),
            ),
            Self::SessionExists => row(
                S::CONFLICT,
                "session_exists",
                "A live session has this name already",
                Some("Use it, take another name, or end it by DELETE /api/proxy/sessions/{id}."),
            ),
            Self::InvalidTargeting { code, detail } => Answer {
                detail: detail.clone().into(),
                ..row(
                    S::BAD_REQUEST,
                    code,
                    "",
                    Some("GET /api/proxy/endpoint lists the parameters."),
                )
            },
            Self::PlanFeature(detail) => Answer {
                detail: detail.clone().into(),
                ..row(
                    S::FORBIDDEN,
                    "plan_feature",
                    "",
                    Some("Leave the parameter out, or change the plan."),
                )
            },
            Self::TooManySessions(_) => row(
                S::TOO_MANY_REQUESTS,
                "too_many_sessions",
                "The account has as many live sessions as it may",
                Some("End some by DELETE /api/proxy/sessions/{id}, or wait as long as Retry-After says."),
            ),
            Self::TooManyLive => row(
                S::TOO_MANY_REQUESTS,
                "too_many_live",
                "The account has as many live connections as it may",
                Some("Close one first."),
            ),
            Self::AccountNotFound => row(
                S::NOT_FOUND,
                "account_not_found",
                "There is no such account",
                None,
            ),
            Self::AlreadyListed => row(S::CONFLICT, "already_listed", "It is on the list already", None),
            Self::AlreadySo => row(S::CONFLICT, "already_so", "It is so already", None),
            Self::TooMany(limit) => Answer {
                detail: format!("There may be {limit} at most").into(),
                ..row(S::CONFLICT, "too_many", "", Some("Remove one first."))
            },
            Self::PartnersOnly => row(
                S::FORBIDDEN,
                "partners_only",
                "Only users who act for a partner may do this",
                Some("Ask us to link the account to the partner."),
            ),
            Self::OwnersOnly => row(
                S::FORBIDDEN,
                "owners_only",
                "Only accounts of devices' owners may do this",
                Some("Register with kind: owner."),
            ),
            Self::PairingCodeInvalid => row(
                S::BAD_REQUEST,
                "pairing_code_invalid",
                "The code is unknown, used or older than ten minutes",
                Some("Let the device show a new one."),
            ),
            Self::PartnerHasDevices(devices) => Answer {
                detail: format!("{devices} devices of the partner are connected").into(),
                ..row(
                    S::CONFLICT,
                    "partner_has_devices",
                    "",
                    Some("Switch the partner off and wait until its devices are gone."),
                )
            },
            Self::OtherRole => row(
                S::CONFLICT,
                "other_role",
                "The account has another role, or acts for a partner already",
                None,
            ),
            Self::AppTaken => row(
                S::CONFLICT,
                "app_taken",
                "The partner has an app of this bundle id and platform",
                None,
            ),
            Self::NotBooked(refusal) => {
                let code = match refusal {
                    Refusal::KeyTaken => "idempotency_key_taken",
                    _ => "not_booked",
                };
                Answer {
                    detail: refusal.to_string().into(),
                    ..row(S::CONFLICT, code, "", None)
                }
            }
            Self::PolicyTooLong => row(
                S::CONFLICT,
                "policy_too_long",
                "The policy would be too long for devices: 1,000,000 bytes at most",
                Some("Remove entries, or write a shorter suffix that covers several."),
            ),
            Self::PlanNotFound => row(S::NOT_FOUND, "plan_not_found", "There is no such plan", None),
            Self::PlanNameTaken => row(
                S::CONFLICT,
                "plan_name_taken",
                "A plan has this name already",
                None,
            ),
            Self::FirstPlan => row(
                S::CONFLICT,
                "first_plan",
                "New accounts start on this plan",
                Some("Name another firstPlan in the settings first."),
            ),
            Self::NodeNotFound => row(S::NOT_FOUND, "node_not_found", "There is no such device", None),
            Self::NodeNotConnected => row(
                S::CONFLICT,
                "node_not_connected",
                "The device is not connected here",
                None,
            ),
            Self::OwnAccount => row(
                S::CONFLICT,
                "own_account",
                "Admins don't take their own rights away",
                Some("Ask another admin."),
            ),
            Self::AccountDeleted => row(
                S::CONFLICT,
                "account_deleted",
                "The account is deleted and stays so",
                None,
            ),
            Self::SettingsChanged => row(
                S::CONFLICT,
                "settings_changed",
                "The settings were changed since they were read",
                Some("Read them again, then write."),
            ),
            Self::CannotImpersonate(detail) => row(S::CONFLICT, "cannot_impersonate", detail, None),
            Self::ImpersonationReadOnly => row(
                S::FORBIDDEN,
                "impersonation_read_only",
                "Who looks on as a customer changes nothing",
                Some("POST /api/auth/logout ends it."),
            ),
            Self::RegistrationsClosed => row(
                S::FORBIDDEN,
                "registrations_closed",
                "Nobody can register at the moment",
                Some("GET /api/platform says where to write to."),
            ),
            Self::MethodNotAllowed => row(
                S::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "This address does not take that method",
                None,
            ),
            Self::BodyTimeout => row(
                S::REQUEST_TIMEOUT,
                "body_timeout",
                "The body did not arrive in time",
                None,
            ),
            Self::EmailTaken => row(
                S::CONFLICT,
                "email_taken",
                "User already exists",
                Some("Sign in, or ask for a new password."),
            ),
            Self::AlreadyVerified => row(
                S::CONFLICT,
                "already_verified",
                "The email address is verified already",
                None,
            ),
            Self::TwoFactorOn => row(
                S::CONFLICT,
                "two_factor_on",
                "Two-factor authentication is on already",
                Some("Turn it off first."),
            ),
            Self::TwoFactorOff => row(
                S::CONFLICT,
                "two_factor_off",
                "Two-factor authentication is off",
                Some("POST /api/auth/two-factor/setup, then confirm it by a code."),
            ),
            Self::LastAdmin => row(
                S::CONFLICT,
                "last_admin",
                "Nobody would be left who may administer the platform",
                Some("Make another user an admin first."),
            ),
            Self::BillingNotConfigured => row(
                S::SERVICE_UNAVAILABLE,
                "billing_not_configured",
                "This server takes no payments",
                Some("Ask its operator to correct the balance by hand."),
            ),
            Self::AlreadySubscribed => row(
                S::CONFLICT,
                "already_subscribed",
                "The account has a subscription",
                Some("Change it: POST /api/billing/subscription/change."),
            ),
            Self::NotSubscribed => row(
                S::CONFLICT,
                "not_subscribed",
                "The account has no subscription",
                Some("Begin one: POST /api/billing/checkout."),
            ),
            Self::SpendCapReached(left) => Answer {
                detail: format!("Beyond the month's cap, of which {left} cents are left").into(),
                ..row(
                    S::CONFLICT,
                    "spend_cap_reached",
                    "",
                    Some("Raise the cap, or buy less: PUT /api/billing/spend-cap."),
                )
            },
            Self::PaymentDeclined(why) => Answer {
                detail: why.clone().into(),
                ..row(
                    S::PAYMENT_REQUIRED,
                    "payment_declined",
                    "",
                    Some("Check how you pay: POST /api/billing/portal."),
                )
            },
            Self::PaymentProvider(_) => row(
                S::SERVICE_UNAVAILABLE,
                "payment_provider_unavailable",
                "The payment provider does not answer as it should",
                Some("Try again in a moment."),
            ),
            Self::EventSignature => row(
                S::BAD_REQUEST,
                "invalid_signature",
                "The event is not signed with this server's secret",
                Some("Set billing.stripe_webhook_secret to the endpoint's signing secret."),
            ),
            Self::EventTooOld => row(
                S::BAD_REQUEST,
                "signature_too_old",
                "The event was signed more than 5 minutes ago",
                Some("Check the clocks."),
            ),
            Self::EventTooEarly => row(
                S::SERVICE_UNAVAILABLE,
                "event_too_early",
                "What the event is about is not known yet",
                Some("Send it again later."),
            ),
            Self::BodyTooLarge => row(
                S::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "The body is larger than 64 KiB",
                None,
            ),
            Self::UnsupportedMediaType => row(
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The body must be JSON",
                Some("Send Content-Type: application/json."),
            ),
            Self::TooManyRequests(_) => row(
                S::TOO_MANY_REQUESTS,
                "too_many_requests",
                "Too many tries",
                Some("Wait as long as Retry-After says."),
            ),
            Self::Internal(_) => row(
                S::INTERNAL_SERVER_ERROR,
                "internal",
                "Something went wrong on our side",
                Some("If it goes on, tell us the request_id."),
            ),
            Self::Overloaded => row(
                S::SERVICE_UNAVAILABLE,
                "overloaded",
                "Too much to do at the moment",
                Some("Try again in a moment."),
            ),
            Self::StoreUnavailable(_) => row(
                S::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "The data can't be reached at the moment",
                Some("Try again in a moment."),
            ),
            Self::Timeout => row(
                S::SERVICE_UNAVAILABLE,
                "timeout",
                "The answer took too long",
                Some("Try again in a moment."),
            ),
        }
    }

    /// Whole seconds after which trying again may help.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooManyRequests(wait) | Self::TooManySessions(wait) => {
                Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
            }
            Self::TooManyLive => Some(15),
            Self::Overloaded | Self::StoreUnavailable(_) | Self::Timeout => Some(1),
            Self::PaymentProvider(_) | Self::EventTooEarly => Some(5),
            _ => None,
        }
    }

    /// What the operator needs to know and the customer does not.
    pub(crate) fn log_text(&self) -> Option<&str> {
        match self {
            Self::Internal(reason) | Self::StoreUnavailable(reason) | Self::PaymentProvider(reason) => {
                Some(reason)
            }
            _ => None,
        }
    }
}

/// Leaves the body to [`crate::finish`], which knows the request's id.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.answer().status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::StoreUnavailable(chain(&error)),
            other => Self::Internal(chain(&other)),
        }
    }
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Invalid(problems) => Self::InvalidFields(problems),
            AccountError::EmailTaken => Self::EmailTaken,
            AccountError::RegistrationsClosed => Self::RegistrationsClosed,
            AccountError::TokenInvalid => Self::MailTokenInvalid,
            AccountError::AlreadyVerified => Self::AlreadyVerified,
            AccountError::TwoFactorOn => Self::TwoFactorOn,
            AccountError::TwoFactorOff => Self::TwoFactorOff,
            AccountError::LastAdmin => Self::LastAdmin,
            AccountError::Throttled { retry_after } => Self::TooManyRequests(retry_after),
            AccountError::Overloaded => Self::Overloaded,
            AccountError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<LoginError> for ApiError {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::InvalidCredentials => Self::InvalidCredentials,
            LoginError::NotActive => Self::AccountNotActive,
            LoginError::AddressNotAllowed => Self::AddressNotAllowed,
            LoginError::ChallengeInvalid => Self::ChallengeInvalid,
            LoginError::CodeInvalid => Self::CodeInvalid,
            LoginError::Throttled { retry_after } => Self::TooManyRequests(retry_after),
            LoginError::Overloaded => Self::Overloaded,
            LoginError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Invalid => Self::TokenInvalid,
            SessionError::Expired => Self::TokenExpired,
            SessionError::Revoked => Self::TokenRevoked,
            SessionError::Idle => Self::LoginIdle,
            SessionError::AddressNotAllowed => Self::AddressNotAllowed,
            SessionError::NotActive => Self::AccountNotActive,
            SessionError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Invalid(problems) => Self::InvalidFields(problems),
            KeyError::LimitReached => Self::KeyLimitReached,
            KeyError::NotFound => Self::KeyNotFound,
            KeyError::AddressNotFound => Self::AddressNotFound,
            KeyError::AddressTaken => Self::AddressTaken,
            KeyError::TooManyAddresses => Self::TooMany(MAX_ADDRESSES),
            KeyError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<StickyError> for ApiError {
    fn from(error: StickyError) -> Self {
        match error {
            StickyError::NotFound => Self::SessionNotFound,
            StickyError::Exists => Self::SessionExists,
            StickyError::Targeting(error) => Self::InvalidTargeting {
                code: error.code(),
                detail: error.to_string(),
            },
            StickyError::Plan(error) => Self::PlanFeature(error.to_string()),
            StickyError::TooMany { retry_after, .. } => Self::TooManySessions(retry_after),
            StickyError::NoRoom => Self::Overloaded,
            StickyError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<WebhookError> for ApiError {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Invalid(problems) => Self::InvalidFields(problems),
            WebhookError::LimitReached => Self::TooMany(MAX_WEBHOOKS),
            WebhookError::NotFound => Self::WebhookNotFound,
            WebhookError::DeliveryNotFound => Self::DeliveryNotFound,
            WebhookError::Throttled { retry_after } => Self::TooManyRequests(retry_after),
            WebhookError::Unsealable(_) => Self::SecretUnreadable,
            WebhookError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<NoticeError> for ApiError {
    fn from(error: NoticeError) -> Self {
        match error {
            NoticeError::Invalid(problems) => Self::InvalidFields(problems),
            NoticeError::LinkInvalid => Self::LinkInvalid,
            NoticeError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<PartnerError> for ApiError {
    fn from(error: PartnerError) -> Self {
        match error {
            PartnerError::Invalid(problem) => Self::InvalidFields(vec![problem]),
            PartnerError::NotFound => Self::NotFound,
            PartnerError::AccountNotFound => Self::AccountNotFound,
            PartnerError::HasActiveDevices(devices) => Self::PartnerHasDevices(devices),
            PartnerError::OtherRole => Self::OtherRole,
            PartnerError::AppTaken => Self::AppTaken,
            PartnerError::TooManyApps(limit) => Self::TooMany(limit),
            PartnerError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

/// An error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let text = String::from("…");
        let rows = [
            ApiError::MalformedBody(text.clone()),
            ApiError::MalformedQuery(text.clone()),
            ApiError::InvalidFields(vec![FieldProblem::new("email", "Email is required")]),
            ApiError::Targeting(Box::new(
                iploop_protocol::targeting::Targeting::parse("contry-US").unwrap_err(),
            )),
            ApiError::MailTokenInvalid,
            ApiError::KeyLimitReached,
            ApiError::LoginRequired,
            ApiError::InvalidCredentials,
            ApiError::AccountNotActive,
            ApiError::TokenInvalid,
            ApiError::TokenExpired,
            ApiError::TokenRevoked,
            ApiError::LoginIdle,
            ApiError::AddressNotAllowed,
            ApiError::ChallengeInvalid,
            ApiError::CodeInvalid,
            ApiError::CsrfTokenInvalid,
            ApiError::AdminOnly,
            ApiError::NotFound,
            ApiError::KeyNotFound,
            ApiError::AddressNotFound,
            ApiError::AddressTaken,
            ApiError::WebhookNotFound,
            ApiError::DeliveryNotFound,
            ApiError::LinkInvalid,
            ApiError::SecretUnreadable,
            ApiError::SessionNotFound,
            ApiError::SessionExists,
            ApiError::TicketNotFound,
            ApiError::TooManyTickets,
            ApiError::InvalidTargeting {
                code: "invalid_country",
                detail: text.clone(),
            },
            ApiError::PlanFeature(text.clone()),
            ApiError::TooManySessions(Duration::from_millis(1500)),
            ApiError::TooManyLive,
            ApiError::AccountNotFound,
            ApiError::AlreadyListed,
            ApiError::AlreadySo,
            ApiError::TooMany(64),
            ApiError::PartnersOnly,
            ApiError::OwnersOnly,
            ApiError::PairingCodeInvalid,
            ApiError::PartnerHasDevices(3),
            ApiError::OtherRole,
            ApiError::AppTaken,
            ApiError::NotBooked(Refusal::KeyTaken),
            ApiError::PolicyTooLong,
            ApiError::PlanNotFound,
            ApiError::PlanNameTaken,
            ApiError::FirstPlan,
            ApiError::NodeNotFound,
            ApiError::NodeNotConnected,
            ApiError::OwnAccount,
            ApiError::AccountDeleted,
            ApiError::SettingsChanged,
            ApiError::NotBooked(Refusal::Impossible),
            ApiError::CannotImpersonate("…"),
            ApiError::ImpersonationReadOnly,
            ApiError::RegistrationsClosed,
            ApiError::MethodNotAllowed,
            ApiError::BodyTimeout,
            ApiError::EmailTaken,
            ApiError::AlreadyVerified,
            ApiError::TwoFactorOn,
            ApiError::TwoFactorOff,
            ApiError::LastAdmin,
            ApiError::BillingNotConfigured,
            ApiError::AlreadySubscribed,
            ApiError::NotSubscribed,
            ApiError::SpendCapReached(250),
            ApiError::PaymentDeclined("Your card has insufficient funds".to_owned()),
            ApiError::PaymentProvider(text.clone()),
            ApiError::EventSignature,
            ApiError::EventTooOld,
            ApiError::EventTooEarly,
            ApiError::BodyTooLarge,
            ApiError::UnsupportedMediaType,
            ApiError::TooManyRequests(Duration::from_millis(1500)),
            ApiError::Internal(text.clone()),
            ApiError::Overloaded,
            ApiError::StoreUnavailable(text),
            ApiError::Timeout,
        ];
        let table: String = rows
            .iter()
            .map(|error| {
                let answer = error.answer();
                let retry = error
                    .retry_after()
                    .map_or_else(|| "-".to_owned(), |seconds| format!("{seconds}s"));
                format!(
                    "{} {:<22} retry {:<3} {}\n",
                    answer.status.as_u16(),
                    answer.code,
                    retry,
                    answer.detail
                )
            })
            .collect();
        insta::assert_snapshot!(table);
    }
}
