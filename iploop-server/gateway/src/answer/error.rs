//! Everything that can go wrong with a request, and the one table that turns it into an answer (`docs/contracts.md`,
//! Answers of the gateway).

use std::time::Duration;

use iploop_platform::admission::{AdmissionError, LimitState};
use iploop_platform::metering::NoCredit;
use iploop_protocol::policy::{Limit, Limited, Refusal, RefusalKind, RuleClass};
use iploop_protocol::targeting::{CredentialsError, TargetingError};

use super::Reply;
use crate::http::head::LineFault;
use crate::http::request::RequestFault;
use crate::request::LoginFault;
use crate::socks5::SocksFault;

/// Where a customer sees how targeting is read, and how many exits fit.
const EXPLAIN: &str =
    "GET /api/proxy/explain?params=... shows how the parameters are read and what fits them";

/// Why a request got an error for an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    /// The head isn't HTTP as we take it.
    #[error(transparent)]
    Request(#[from] RequestFault),
    /// The head can't be one, whatever follows.
    #[error(transparent)]
    Line(#[from] LineFault),
    /// The head did not come in time.
    #[error("the request did not arrive in time")]
    RequestTimeout,
    /// The content is not framed as its head says.
    #[error("the content of the request is malformed: {0}")]
    Content(&'static str),
    /// A preface of the PROXY protocol that can't be believed or read, or a balancer's connection without one.
    #[error("the PROXY protocol's preface of this connection is refused: {0}")]
    Preface(&'static str),
    /// The built-in echo, at a port where it is not.
    #[error("echo.iploop is answered by the gateway itself, in plain HTTP on port 80 alone, not on port {0}")]
    EchoPort(u16),
    /// A SOCKS5 message that can't be followed.
    #[error(transparent)]
    Socks(#[from] SocksFault),
    /// The login can't be read.
    #[error(transparent)]
    Login(#[from] LoginFault),
    /// The login is none, or its parameters are wrong.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The platform refuses.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// The balance ended while the request ran.
    #[error(transparent)]
    NoCredit(#[from] NoCredit),
    /// The exit policy, as the gateway sees it.
    #[error(transparent)]
    Forbidden(#[from] Refusal),
    /// The exit policy, as the device sees it; its text is the class of the rule.
    #[error("refused by the exit policy on the device ({0})")]
    ForbiddenByExit(String),
    /// Nobody fits.
    #[error("no live exit fits the request")]
    NoExit,
    /// Somebody fits and has no room, or is leaving.
    #[error("the exits that fit the request have no room")]
    ExitUnavailable,
    /// Nobody but the last exit fits.
    #[error("no exit fits the request but the one this key used last")]
    NoDistinctExit,
    /// The session's exit is gone, and nothing may take its place.
    #[error("the exit of this session is gone")]
    SessionExitGone,
    /// The account has as many live sessions as it may.
    #[error("the account has {limit} live sticky sessions, the most it may")]
    TooManySessions {
        /// The bound.
        limit: usize,
        /// When the first of them ends, if it is not used.
        retry_after: Duration,
    },
    /// The gateway is going down.
    #[error("this gateway is shutting down")]
    Draining,
    /// The gateway has no room.
    #[error("this gateway is overloaded")]
    Overloaded,
    /// The device did not answer.
    #[error("the exit did not answer in time")]
    NodeTimeout,
    /// Too many connections at the exit or to the destination.
    #[error("too many connections through this exit or to this destination")]
    ExitBusy,
    /// The customer's limit on an exit, or the destination's of all customers together.
    #[error("a limit against abuse is reached: {}", limit_text(.0.limit))]
    Limited(Limited),
    /// The name does not resolve.
    #[error("the host name could not be resolved")]
    DnsFailed,
    /// The destination refused.
    #[error("the destination refused the connection")]
    ConnectionRefused,
    /// There is no way to the destination.
    #[error("the destination is unreachable")]
    Unreachable,
    /// The destination did not answer the dial.
    #[error("the destination did not accept the connection in time")]
    ConnectTimeout,
    /// The destination hung up before it answered.
    #[error("the connection to the destination was reset before it answered")]
    ConnectionReset,
    /// The device vanished before the destination answered.
    #[error("the exit was lost before the destination answered")]
    ExitLost,
    /// The destination accepted and said nothing.
    #[error("the destination did not answer the request in time")]
    ResponseTimeout,
    /// The destination's answer is not HTTP, or has more than one reading.
    #[error("the destination's answer is not valid HTTP: {0}")]
    UpstreamProtocol(String),
    /// A fault of ours; the log has the rest under the request's id.
    #[error("an error inside the gateway")]
    Internal,
}

/// What an error looks like from outside: one row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Status of the HTTP answer.
    pub(crate) status: u16,
    /// The code, also the reason phrase.
    pub(crate) code: &'static str,
    /// Proxy error type (RFC 9209 section 2.3), where one fits.
    pub(crate) proxy_error: Option<&'static str>,
    /// REP field of the SOCKS5 reply.
    pub(crate) reply: Reply,
    /// Whether another exit might do better.
    pub(crate) another_exit: AnotherExit,
    /// Whether it is our failure: then it costs nothing.
    pub(crate) fault: Fault,
}

/// Whether another exit might do better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnotherExit {
    /// It would say the same.
    No,
    /// The cause is at the destination: one more exit is asked, in case it is not.
    Once,
    /// The cause is the exit: as many as the deadline allows.
    Yes,
}

/// By whose doing a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The customer's.
    Customer,
    /// The destination's.
    Destination,
    /// Ours, or of a device.
    Ours,
}

impl ProxyError {
    /// The table.
    #[rustfmt::skip]
    pub(crate) fn row(&self) -> Row {
        use AnotherExit::{No, Once, Yes};
        use Fault::{Customer, Destination, Ours};
        use Reply::{AddressTypeNotSupported, CommandNotSupported, GeneralFailure, HostUnreachable, NetworkUnreachable, NotAllowed};
        let row = |status, code, proxy_error, reply, another_exit, fault| Row { status, code, proxy_error, reply, another_exit, fault };
        match self {
            Self::Request(fault) => {
                let (status, code) = match fault {
                    RequestFault::Version => (505, "http_version"),
                    RequestFault::Trace => (405, "method_not_allowed"),
                    RequestFault::Expect => (417, "expectation_failed"),
                    RequestFault::TooManyFields => (431, "head_too_large"),
                    RequestFault::Target(_) | RequestFault::Host(_) => (400, "invalid_target"),
                    RequestFault::ContentLength | RequestFault::TransferEncoding | RequestFault::TwoFramings
                    | RequestFault::Lookalike | RequestFault::ConnectWithBody => (400, "ambiguous_framing"),
                    RequestFault::HostCount | RequestFault::HostContradicts => (400, "ambiguous_host"),
                    RequestFault::RequestLine | RequestFault::Field | RequestFault::ConnectionNames
                    | RequestFault::Connection | RequestFault::TwoLogins | RequestFault::MaxForwards => (400, "malformed_request"),
                };
                row(status, code, Some("http_request_error"), GeneralFailure, No, Customer)
            }
            Self::Line(LineFault::TooLong) => row(431, "head_too_large",      Some("http_request_error"),        GeneralFailure,          No,   Customer),
            Self::Line(_)              => row(400, "malformed_request",       Some("http_request_error"),        GeneralFailure,          No,   Customer),
            Self::RequestTimeout       => row(408, "request_timeout",         Some("http_request_error"),        GeneralFailure,          No,   Customer),
            Self::Content(_)           => row(400, "malformed_content",       Some("http_request_error"),        GeneralFailure,          No,   Customer),
            Self::Preface(_)           => row(400, "proxy_protocol",          Some("http_request_error"),        GeneralFailure,          No,   Customer),
            Self::EchoPort(_)          => row(400, "echo_is_plain_http",      Some("http_request_error"),        Reply::ConnectionRefused, No,  Customer),
            Self::Socks(SocksFault::Version | SocksFault::LoginVersion | SocksFault::Reserved) =>
                                          row(400, "malformed_request",       Some("http_request_error"),        GeneralFailure,          No,   Customer),
            Self::Socks(SocksFault::Command) => row(405, "method_not_allowed",      Some("http_request_denied"),       CommandNotSupported,     No,   Customer),
            Self::Socks(SocksFault::AddressType) => row(400, "invalid_target",          Some("http_request_error"),        AddressTypeNotSupported, No,   Customer),
            Self::Socks(SocksFault::Destination(_)) => row(400, "invalid_target",          Some("http_request_error"),        GeneralFailure,          No,   Customer),
            Self::Login(LoginFault::Missing) => row(407, "credentials_missing", None,                            GeneralFailure,          No,   Customer),
            Self::Login(_)             => row(407, "credentials_invalid",     None,                              GeneralFailure,          No,   Customer),
            Self::Credentials(error)   => {
                let status = if matches!(error, CredentialsError::Targeting(_)) { 400 } else { 407 };
                row(status, error.code(), None, GeneralFailure, No, Customer)
            }
            Self::Admission(error)     => {
                let fault = if error.status() >= 500 { Ours } else { Customer };
                let proxy_error = (error.status() == 429).then_some("connection_limit_reached");
                row(error.status(), error.code(), proxy_error, GeneralFailure, No, fault)
            }
            Self::NoCredit(NoCredit::BalanceDepleted) => row(402, "balance_depleted", None,                      GeneralFailure,          No,   Customer),
            Self::NoCredit(NoCredit::KeyQuotaExceeded) => row(402, "key_quota_exceeded", None,                   GeneralFailure,          No,   Customer),
            Self::NoCredit(NoCredit::Unavailable)     => row(503, "unavailable", Some("proxy_internal_error"),   GeneralFailure,          No,   Ours),
            Self::Forbidden(refusal)   => {
                let code = if refusal.kind() == RefusalKind::Malformed { "invalid_target" } else { refusal.code() };
                row(refusal.http_status(), code, Some(refusal.proxy_status_error()), NotAllowed, No, Customer)
            }
            Self::ForbiddenByExit(class) => {
                let rule = class.parse::<RuleClass>().ok();
                let proxy_error = rule.map_or("http_request_denied", |rule| Refusal::from(rule).proxy_status_error());
                let code = match rule.map(RuleClass::kind) { Some(RefusalKind::Port) => "port_forbidden", _ => "destination_forbidden" };
                // Owner and partner of one device speak for that device alone.
                let own = matches!(rule, Some(RuleClass::OwnerList | RuleClass::OwnerPorts | RuleClass::PartnerList | RuleClass::PartnerPorts));
                row(403, code, Some(proxy_error), NotAllowed, if own { Yes } else { No }, Customer)
            }
            Self::NoExit               => row(503, "no_exit",                 Some("destination_unavailable"),   GeneralFailure,          No,   Ours),
            Self::ExitUnavailable      => row(503, "no_exit",                 Some("destination_unavailable"),   GeneralFailure,          Yes,  Ours),
            Self::NoDistinctExit       => row(503, "no_distinct_exit",        Some("destination_unavailable"),   GeneralFailure,          No,   Ours),
            Self::SessionExitGone      => row(503, "session_exit_gone",       Some("destination_unavailable"),   GeneralFailure,          No,   Ours),
            Self::TooManySessions { .. } => row(429, "too_many_sessions",     Some("connection_limit_reached"),  GeneralFailure,          No,   Customer),
            Self::Draining             => row(503, "draining",                Some("destination_unavailable"),   GeneralFailure,          No,   Ours),
            Self::Overloaded           => row(503, "overloaded",              Some("connection_limit_reached"),  GeneralFailure,          No,   Ours),
            Self::NodeTimeout          => row(504, "node_timeout",            Some("connection_timeout"),        HostUnreachable,         Yes,  Ours),
            Self::ExitBusy             => row(429, "too_many_connections",    Some("connection_limit_reached"),  GeneralFailure,          Yes,  Customer),
            Self::Limited(limited)     => {
                let (code, another_exit) = match limited.limit {
                    Limit::OpenStreams | Limit::Customers => ("too_many_connections", Yes),
                    Limit::DialsPerSecond => ("too_many_dials", Yes),
                    Limit::PortsPerHost => ("too_many_ports", Yes),
                    Limit::HostsPerMinute => ("too_many_hosts", Yes),
                    Limit::FailedDials => ("too_many_failed_dials", Yes),
                    Limit::DialsPerHost => ("destination_rate_limited", No),
                };
                row(429, code, Some("connection_limit_reached"), GeneralFailure, another_exit, Customer)
            }
            Self::DnsFailed            => row(502, "dns_failed",              Some("dns_error"),                 HostUnreachable,         Once, Destination),
            Self::ConnectionRefused    => row(502, "connection_refused",      Some("connection_refused"),        Reply::ConnectionRefused, Once, Destination),
            Self::Unreachable          => row(502, "destination_unreachable", Some("destination_ip_unroutable"), NetworkUnreachable,      Once, Destination),
            Self::ConnectTimeout       => row(504, "connect_timeout",         Some("connection_timeout"),        HostUnreachable,         Once, Destination),
            Self::ConnectionReset      => row(502, "connection_reset",        Some("connection_terminated"),     GeneralFailure,          No,   Destination),
            Self::ExitLost             => row(502, "exit_lost",               Some("connection_terminated"),     GeneralFailure,          Yes,  Ours),
            Self::ResponseTimeout      => row(504, "response_timeout",        Some("connection_read_timeout"),   GeneralFailure,          No,   Destination),
            Self::UpstreamProtocol(_)  => row(502, "upstream_protocol",       Some("http_protocol_error"),       GeneralFailure,          No,   Destination),
            Self::Internal             => row(500, "internal",                Some("proxy_internal_error"),      GeneralFailure,          No,   Ours),
        }
    }

    /// How to get a better answer, one sentence.
    pub(crate) fn hint(&self) -> String {
        let fixed = match self {
            Self::Credentials(error @ CredentialsError::Targeting(_)) => {
                return format!("{}; {EXPLAIN}", error.hint());
            }
            Self::Credentials(error) => return error.hint(),
            Self::Admission(error @ AdmissionError::PlanFeature { .. }) => {
                return format!("{}; {EXPLAIN}", error.hint());
            }
            Self::Admission(error) => error.hint(),
            Self::Request(RequestFault::Target(_) | RequestFault::Host(_))
            | Self::Socks(SocksFault::Destination(_) | SocksFault::AddressType) => {
                "write host:port for a tunnel and http://host/path for a plain request; IPv6 addresses stand in brackets"
            }
            Self::Socks(SocksFault::Command) => {
                "use CONNECT; BIND is not offered, and UDP ASSOCIATE only where the operator opens it"
            }
            Self::Preface(_) => {
                "speak HTTP, TLS or SOCKS5 from the first byte; a balancer's address belongs into gateway.proxy_protocol_from"
            }
            Self::EchoPort(_) => {
                "ask for http://echo.iploop/ip or http://echo.iploop/headers; to try TLS, ask for a site of your own"
            }
            Self::Request(_) | Self::Line(_) | Self::Content(_) | Self::Socks(_) => {
                "a proxy forwards only what has one reading; see the detail for what to change"
            }
            Self::RequestTimeout => {
                "send the whole request head within 15 seconds of connecting, and its content without long pauses"
            }
            Self::Login(_) => {
                "send Proxy-Authorization: Basic with iploop as the user and the API key as the password"
            }
            Self::NoCredit(NoCredit::KeyQuotaExceeded) => "raise the key's limit, or use another key",
            Self::NoCredit(_) => "add balance in the dashboard, then try again",
            Self::Forbidden(_) | Self::ForbiddenByExit(_) => {
                "exits reach public addresses on the ports that the account has open; see the destination policy"
            }
            Self::NoExit => {
                return format!(
                    "loosen the targeting, for example leave out the city, or try again later; {EXPLAIN}"
                );
            }
            Self::NoDistinctExit => {
                "loosen the targeting, or leave out rotate-request and sesstype-per-request"
            }
            Self::SessionExitGone => "start a new session, or allow another exit by failover-any",
            Self::TooManySessions { .. } => {
                "use fewer session ids or a shorter lifetime, or end some by DELETE /api/proxy/sessions/{id}"
            }
            Self::Draining | Self::Overloaded => "try again; another gateway may answer",
            Self::NodeTimeout | Self::ExitUnavailable | Self::ExitLost | Self::ExitBusy => {
                "try again: another exit will be chosen"
            }
            Self::Limited(_) => {
                "wait as long as Retry-After says, spread the requests over more exits, or ask support for higher limits"
            }
            Self::DnsFailed => "check the host name",
            Self::ConnectionRefused | Self::Unreachable | Self::ConnectTimeout => {
                "check host and port, or try an exit in another country"
            }
            Self::ConnectionReset | Self::ResponseTimeout | Self::UpstreamProtocol(_) => {
                "the destination failed; try again or through another exit"
            }
            Self::Internal => "try again; if it persists, tell us the request id",
        };
        fixed.to_owned()
    }

    /// When it makes sense to come back.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Admission(error) => error.retry_after(),
            Self::TooManySessions { retry_after, .. } => Some(*retry_after),
            Self::Limited(limited) => Some(limited.retry_after),
            Self::ExitBusy | Self::Draining | Self::Overloaded => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// The limit that is reached, if one is.
    pub(crate) fn limit(&self) -> Option<LimitState> {
        match self {
            Self::Admission(error) => error.limit(),
            _ => None,
        }
    }

    /// The targeting parameter at fault, if it is one.
    pub(crate) fn parameter(&self) -> Option<&str> {
        match self {
            Self::Credentials(error) => error.parameter(),
            _ => None,
        }
    }
}

/// What a limit is about, for the customer.
fn limit_text(limit: Limit) -> &'static str {
    match limit {
        Limit::OpenStreams | Limit::Customers => "connections open through one exit",
        Limit::DialsPerSecond => "new connections a second through one exit",
        Limit::PortsPerHost => "ports of one host a minute through one exit",
        Limit::HostsPerMinute => "hosts a minute through one exit",
        Limit::FailedDials => "too many connections through this exit failed, it rests for a while",
        Limit::DialsPerHost => "new connections a second to this destination, of all customers together",
    }
}

impl From<TargetingError> for ProxyError {
    fn from(error: TargetingError) -> Self {
        Self::Credentials(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::TargetFault;
    use iploop_protocol::codes::ResetCode;
    use iploop_protocol::destination::HostError;
    use iploop_protocol::targeting::Targeting;

    /// One of each row.
    fn limited(limit: Limit) -> ProxyError {
        ProxyError::Limited(Limited {
            limit,
            retry_after: limit.usual_wait(),
        })
    }

    fn every_error() -> Vec<ProxyError> {
        let targeting = |text: &str| ProxyError::from(Targeting::parse(text).unwrap_err());
        vec![
            RequestFault::RequestLine.into(),
            RequestFault::TwoFramings.into(),
            RequestFault::HostContradicts.into(),
            RequestFault::Target(TargetFault::Origin).into(),
            RequestFault::Version.into(),
            RequestFault::Trace.into(),
            RequestFault::Expect.into(),
            RequestFault::TooManyFields.into(),
            LineFault::Fold.into(),
            LineFault::TooLong.into(),
            LineFault::Cut.into(),
            ProxyError::RequestTimeout,
            ProxyError::Content("…"),
            ProxyError::Preface("…"),
            ProxyError::EchoPort(443),
            SocksFault::Version.into(),
            SocksFault::Command.into(),
            SocksFault::AddressType.into(),
            SocksFault::Destination(HostError::Empty).into(),
            LoginFault::Missing.into(),
            LoginFault::Encoding.into(),
            iploop_protocol::targeting::Credentials::parse("iploop", "wrong")
                .unwrap_err()
                .into(),
            targeting("contry-US"),
            targeting("country-US-country-CA"),
            targeting("session-a-rotate-request"),
            targeting("country-UK"),
            targeting("lifetime-1s"),
            AdmissionError::UnknownKey.into(),
            AdmissionError::EmailUnverified.into(),
            AdmissionError::TooManyConnections { limit: 10 }.into(),
            AdmissionError::KeyQuotaExceeded {
                period: iploop_platform::metering::Period::Day,
                limit: 1_000_000_000,
                retry_after: Some(Duration::from_secs(60)),
            }
            .into(),
            AdmissionError::KeyDestination.into(),
            AdmissionError::BalanceDepleted.into(),
            AdmissionError::Unavailable { source: None }.into(),
            NoCredit::BalanceDepleted.into(),
            NoCredit::KeyQuotaExceeded.into(),
            NoCredit::Unavailable.into(),
            Refusal::from(RuleClass::Loopback).into(),
            Refusal::from(RuleClass::LocalName).into(),
            Refusal::from(RuleClass::NeverPorts).into(),
            ProxyError::ForbiddenByExit("device_network".to_owned()),
            ProxyError::ForbiddenByExit("owner_list".to_owned()),
            ProxyError::ForbiddenByExit("something new".to_owned()),
            ProxyError::NoExit,
            ProxyError::ExitUnavailable,
            ProxyError::NoDistinctExit,
            ProxyError::SessionExitGone,
            ProxyError::TooManySessions {
                limit: 10_000,
                retry_after: Duration::from_secs(7),
            },
            ProxyError::Draining,
            ProxyError::Overloaded,
            ProxyError::NodeTimeout,
            ProxyError::ExitBusy,
            limited(Limit::OpenStreams),
            limited(Limit::DialsPerSecond),
            limited(Limit::PortsPerHost),
            limited(Limit::HostsPerMinute),
            limited(Limit::FailedDials),
            limited(Limit::DialsPerHost),
            ProxyError::DnsFailed,
            ProxyError::ConnectionRefused,
            ProxyError::Unreachable,
            ProxyError::ConnectTimeout,
            ProxyError::ConnectionReset,
            ProxyError::ExitLost,
            ProxyError::ResponseTimeout,
            ProxyError::UpstreamProtocol("…".to_owned()),
            ProxyError::Internal,
        ]
    }

    #[test]
    fn the_table_of_answers() {
        let mut table = String::from(
            "status code                      proxy error                 socks5 another fault       detail\n",
        );
        for error in every_error() {
            let row = error.row();
            table.push_str(&format!(
                "{}    {:<25} {:<27} {:#04x}   {:<7} {:<11} {error}\n",
                row.status,
                row.code,
                row.proxy_error.unwrap_or("-"),
                row.reply as u8,
                format!("{:?}", row.another_exit),
                format!("{:?}", row.fault),
            ));
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn every_code_is_explained_to_those_who_ask_for_it() {
        for error in every_error() {
            let row = error.row();
            let help = super::super::code_help(row.code);
            assert_eq!(help.map(|help| help.status), Some(row.status), "{}", row.code);
        }
        assert_eq!(super::super::code_help("no_such_code"), None);
    }

    #[test]
    fn every_answer_helps() {
        for error in every_error() {
            let row = error.row();
            assert!(
                !error.hint().is_empty() && !error.to_string().is_empty(),
                "{error:?}"
            );
            assert!(
                row.code
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
            );
            // A key's bytes come back with the next day or month, unless they are all it ever had.
            let comes_back = row.status == 429 || row.code == "key_quota_exceeded";
            let is_told = error.retry_after().is_some() && row.status < 500;
            assert!(comes_back || !is_told, "{error:?}");
            assert!(row.status != 429 || is_told, "{error:?}");
        }
    }

    #[test]
    fn a_destinations_reset_is_not_ours() {
        assert_eq!(
            ResetCode::ConnectionReset.name(),
            ProxyError::ConnectionReset.row().code
        );
    }
}
