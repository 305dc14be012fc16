//! Every code with what it means and what to do, for those who help customers.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use iploop_platform::admission::AdmissionError;
use iploop_platform::metering::{NoCredit, Period};
use iploop_platform::support::CodeHelp;
use iploop_protocol::destination::HostError;
use iploop_protocol::policy::{Limit, Limited, Refusal, RuleClass};
use iploop_protocol::targeting::{CountrySet, Parameter, Targeting};

use super::error::ProxyError;
use crate::http::head::LineFault;
use crate::http::request::RequestFault;
use crate::request::LoginFault;
use crate::socks5::SocksFault;

/// What a code of our answers means; none if we have no such code.
pub fn code_help(code: &str) -> Option<CodeHelp> {
    static HELP: LazyLock<BTreeMap<&'static str, CodeHelp>> = LazyLock::new(|| {
        let mut help = BTreeMap::new();
        for (error, in_general) in examples() {
            let row = error.row();
            help.entry(row.code).or_insert_with(|| CodeHelp {
                status: row.status,
                detail: in_general.map_or_else(|| error.to_string(), str::to_owned),
                hint: error.hint(),
            });
        }
        help
    });
    HELP.get(code).cloned()
}

/// One error for each code, with what the code means in general where the error speaks of one case. The first one counts.
fn examples() -> Vec<(ProxyError, Option<&'static str>)> {
    let wait = Duration::from_secs(1);
    let plain = |error: ProxyError| (error, None);
    let limited = |limit: Limit| {
        let retry_after = limit.usual_wait();
        plain(ProxyError::Limited(Limited { limit, retry_after }))
    };
    let mut all = vec![
        (
            RequestFault::RequestLine.into(),
            Some("the request is not HTTP as the proxy takes it"),
        ),
        plain(RequestFault::TwoFramings.into()),
        plain(RequestFault::HostContradicts.into()),
        (
            SocksFault::Destination(HostError::Empty).into(),
            Some("the destination is not host:port or a whole http:// address"),
        ),
        plain(RequestFault::Version.into()),
        plain(RequestFault::Trace.into()),
        plain(RequestFault::Expect.into()),
        plain(LineFault::TooLong.into()),
        plain(ProxyError::RequestTimeout),
        (
            ProxyError::Content(""),
            Some("the content of the request is not framed as its head says"),
        ),
        (
            ProxyError::Preface(""),
            Some("the PROXY protocol's preface of the connection is refused"),
        ),
        (
            ProxyError::EchoPort(443),
            Some("echo.iploop is answered by the gateway itself, in plain HTTP on port 80 alone"),
        ),
        plain(LoginFault::Missing.into()),
        plain(AdmissionError::UnknownKey.into()),
        plain(AdmissionError::KeyInactive.into()),
        plain(AdmissionError::KeyExpired.into()),
        plain(AdmissionError::AccountSuspended.into()),
        plain(AdmissionError::AccountDeleted.into()),
        plain(AdmissionError::EmailUnverified.into()),
        plain(AdmissionError::IpNotAllowed.into()),
        (
            AdmissionError::PlanFeature {
                parameter: Parameter::City,
                plan: String::new(),
            }
            .into(),
            Some("a parameter asks for what is not part of the plan"),
        ),
        (
            AdmissionError::TooManyConnections { limit: 0 }.into(),
            Some("as many connections run at the same time as the plan, the key or one exit allows"),
        ),
        (
            AdmissionError::RateLimited { retry_after: wait }.into(),
            Some("requests come faster than the key allows, or too many logins from this address failed"),
        ),
        (
            AdmissionError::DailyRequests {
                limit: 0,
                retry_after: wait,
            }
            .into(),
            Some("the plan's requests of this UTC day are used up"),
        ),
        (
            AdmissionError::KeyQuotaExceeded {
                period: Period::Day,
                limit: 0,
                retry_after: None,
            }
            .into(),
            Some("the API key has used the bytes that it may, of the day, the month or in all"),
        ),
        (
            AdmissionError::KeyCountry {
                countries: CountrySet::default(),
            }
            .into(),
            Some("the API key is not for exits in these countries"),
        ),
        plain(AdmissionError::KeyDestination.into()),
        (
            AdmissionError::KeyPort { port: 0 }.into(),
            Some("the API key may not go to this port"),
        ),
        plain(AdmissionError::BalanceDepleted.into()),
        plain(NoCredit::Unavailable.into()),
        (
            Refusal::from(RuleClass::Loopback).into(),
            Some("the exit policy does not open this destination, or the device's owner does not"),
        ),
        plain(Refusal::from(RuleClass::NeverPorts).into()),
        plain(ProxyError::NoExit),
        plain(ProxyError::NoDistinctExit),
        plain(ProxyError::SessionExitGone),
        (
            ProxyError::TooManySessions {
                limit: 0,
                retry_after: wait,
            },
            Some("the account has as many live sticky sessions as it may"),
        ),
        plain(ProxyError::Draining),
        plain(ProxyError::Overloaded),
        plain(ProxyError::NodeTimeout),
        limited(Limit::DialsPerSecond),
        limited(Limit::PortsPerHost),
        limited(Limit::HostsPerMinute),
        limited(Limit::FailedDials),
        limited(Limit::DialsPerHost),
        plain(ProxyError::DnsFailed),
        plain(ProxyError::ConnectionRefused),
        plain(ProxyError::Unreachable),
        plain(ProxyError::ConnectTimeout),
        plain(ProxyError::ConnectionReset),
        plain(ProxyError::ExitLost),
        plain(ProxyError::ResponseTimeout),
        (
            ProxyError::UpstreamProtocol(String::new()),
            Some("the destination's answer is not valid HTTP"),
        ),
        plain(ProxyError::Internal),
    ];
    let targeting = [
        ("contry-US", "there is no parameter of this name"),
        ("country-US-country-CA", "a parameter is given twice"),
        ("session-a-rotate-request", "two parameters contradict each other"),
        ("country-UK", "`country` is not a list of country codes"),
        ("lifetime-1s", "a parameter has a value that it can't have"),
    ];
    for (text, in_general) in targeting {
        let error = Targeting::parse(text).err().map(ProxyError::from);
        all.extend(error.map(|error| (error, Some(in_general))));
    }
    all
}
