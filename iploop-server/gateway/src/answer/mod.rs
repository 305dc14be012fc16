//! What the customer hears from us: errors by one table, and the headers beside a success (`docs/contracts.md`, Answers of
//! the gateway).

mod codes;
mod error;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use iploop_platform::admission::{LimitField, LimitState, PolicyField};
use iploop_platform::exits::Exit;
use iploop_platform::ids::RequestId;
use serde::Serialize;

use crate::exit::{Failed, Trail, Tried};

pub use self::codes::code_help;
pub(crate) use self::error::{AnotherExit, Fault, ProxyError};

/// Stands for a country that is not known, as in the network's statistics.
const UNKNOWN_COUNTRY: &str = "ZZ";

/// REP field of a SOCKS5 reply (RFC 1928 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reply {
    /// Connected.
    Succeeded = 0x00,
    /// Anything that has no code of its own.
    GeneralFailure = 0x01,
    /// Forbidden by policy.
    NotAllowed = 0x02,
    /// No route.
    NetworkUnreachable = 0x03,
    /// No answer, or no such host.
    HostUnreachable = 0x04,
    /// Refused.
    ConnectionRefused = 0x05,
    /// BIND, unknown commands, and UDP ASSOCIATE where it is not open.
    CommandNotSupported = 0x07,
    /// An address type that is none.
    AddressTypeNotSupported = 0x08,
}

/// How an error is to be said over HTTP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// The request was `HEAD`: no content.
    pub(crate) is_head: bool,
    /// The connection ends with this answer.
    pub(crate) close: bool,
}

/// What is told beside a success.
#[derive(Debug)]
pub(crate) struct Success<'a> {
    /// The request.
    pub(crate) request: RequestId,
    /// Who serves it.
    pub(crate) exit: &'a Exit,
    /// The sticky session: its name, or `rotated`.
    pub(crate) session: Option<&'a str>,
    /// The limits that hold, where the answer is ours alone.
    pub(crate) limits: &'a [LimitState],
    /// For `debug-1`.
    pub(crate) debug: Option<Debug<'a>>,
}

/// What `debug-1` adds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Debug<'a> {
    /// What the search went through.
    pub(crate) trail: &'a Trail,
    /// How long the exit took to dial, in the last attempt.
    pub(crate) dial: Duration,
    /// From the request's end to the answer's first byte; none for a tunnel.
    pub(crate) first_byte: Option<Duration>,
}

/// The whole answer to a failed request, for one write.
pub(crate) fn error_response(failed: &Failed, request: RequestId, manner: Manner) -> Bytes {
    let Failed { error, trail } = failed;
    let row = error.row();
    let detail = error.to_string();
    let hint = error.hint();
    let problem = Problem {
        r#type: format_args!("urn:iploop:error:{}", row.code).to_string(),
        title: row.code,
        status: row.status,
        code: row.code,
        detail: &detail,
        hint: &hint,
        parameter: error.parameter(),
        request_id: request,
    };
    // Serialising strings and numbers into memory can't fail; an empty body would still be a whole answer.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut out = BytesMut::with_capacity(512 + body.len());
    put(&mut out, format_args!("HTTP/1.1 {} {}\r\n", row.status, row.code));
    match row.proxy_error {
        Some(proxy_error) => put(
            &mut out,
            format_args!("Proxy-Status: iploop; error={proxy_error}\r\n"),
        ),
        None => out.put_slice(b"Proxy-Status: iploop\r\n"),
    }
    put(
        &mut out,
        format_args!(
            "X-IPLoop-Error: {}\r\nX-IPLoop-Request-Id: {request}\r\n",
            row.code
        ),
    );
    if row.status == 407 {
        out.put_slice(b"Proxy-Authenticate: Basic realm=\"IPLoop\"\r\n");
    }
    if row.status == 405 {
        out.put_slice(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, CONNECT\r\n");
    }
    if let Some(after) = error.retry_after() {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        put(&mut out, format_args!("Retry-After: {}\r\n", seconds.max(1)));
    }
    if let Some(limit) = error.limit() {
        put_limits(&mut out, &[limit]);
    }
    if let Some(trail) = trail {
        put_debug(&mut out, trail, None, None);
    }
    put(
        &mut out,
        format_args!(
            "Content-Type: application/problem+json\r\nContent-Length: {}\r\n",
            body.len()
        ),
    );
    out.put_slice(b"Cache-Control: no-store\r\n");
    if manner.close {
        out.put_slice(b"Connection: close\r\n");
    }
    out.put_slice(b"\r\n");
    if !manner.is_head {
        out.put_slice(&body);
    }
    out.freeze()
}

/// The answer to a successful CONNECT, whole.
pub(crate) fn connect_response(success: &Success<'_>) -> Bytes {
    let mut out = BytesMut::with_capacity(512);
    out.put_slice(b"HTTP/1.1 200 Connection established\r\n");
    put_success(&mut out, success);
    put_limits(&mut out, success.limits);
    out.put_slice(b"\r\n");
    out.freeze()
}

/// The same where the built-in echo is at the other end.
pub(crate) fn connect_echo_response(request: RequestId) -> Bytes {
    format!("HTTP/1.1 200 Connection established\r\nX-IPLoop-Request-Id: {request}\r\n\r\n").into()
}

/// The rate-limit fields. In answers of ours only: beside a destination's they would be read as the destination's.
fn put_limits(out: &mut BytesMut, limits: &[LimitState]) {
    if !limits.is_empty() {
        put(
            out,
            format_args!(
                "RateLimit-Policy: {}\r\nRateLimit: {}\r\n",
                PolicyField(limits),
                LimitField(limits)
            ),
        );
    }
}

/// The `X-IPLoop-…` fields of a success.
pub(crate) fn put_success(out: &mut BytesMut, success: &Success<'_>) {
    let place = &success.exit.place;
    put(out, format_args!("X-IPLoop-Request-Id: {}\r\n", success.request));
    if let Some(country) = &place.country {
        put_text(out, "X-IPLoop-Exit-Country", country);
    }
    if let Some(city) = &place.city {
        put_text(out, "X-IPLoop-Exit-City", city);
    }
    if let Some(asn) = place.asn {
        put(out, format_args!("X-IPLoop-Exit-Asn: {asn}\r\n"));
    }
    put(out, format_args!("X-IPLoop-Exit-Ip: {}\r\n", success.exit.ip));
    if let Some(session) = success.session {
        put_text(out, "X-IPLoop-Session", session);
    }
    if let Some(debug) = &success.debug {
        put_debug(out, debug.trail, Some(debug.dial), debug.first_byte);
    }
}

/// What took how long, the exits that were asked, and the parameters as they were understood.
fn put_debug(out: &mut BytesMut, trail: &Trail, dial: Option<Duration>, first_byte: Option<Duration>) {
    out.put_slice(b"X-IPLoop-Debug: ");
    for (name, time) in [
        ("select", Some(trail.select)),
        ("dial", dial),
        ("first_byte", first_byte),
    ] {
        if let Some(time) = time {
            put(out, format_args!("{name}_ms={:.1}; ", millis(time)));
        }
    }
    put(out, format_args!("attempts={}\r\n", trail.attempts));
    put_tried(out, &trail.tried);
    put_text(out, "X-IPLoop-Debug-Parameters", &trail.parameters);
}

/// The exits asked, as a list of tokens with parameters (RFC 9651): `US;outcome=node_timeout;ms=12.5, DE;outcome=opened;ms=8.1`.
fn put_tried(out: &mut BytesMut, tried: &[Tried]) {
    for (n, tried) in tried.iter().enumerate() {
        out.put_slice(if n == 0 {
            b"X-IPLoop-Debug-Attempts: "
        } else {
            b", "
        });
        let country = tried.country.as_deref().unwrap_or(UNKNOWN_COUNTRY);
        put(
            out,
            format_args!("{country};outcome={};ms={:.1}", tried.outcome, millis(tried.took)),
        );
        out.put_slice(if tried.hedged { b";hedged" } else { b"" });
    }
    if !tried.is_empty() {
        out.put_slice(b"\r\n");
    }
}

/// A SOCKS5 reply; the bound address is the exit's (RFC 1928 section 6).
pub(crate) fn socks_reply(reply: Reply, exit: Option<std::net::IpAddr>) -> Bytes {
    let ip = exit.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    socks_reply_at(reply, SocketAddr::new(ip, 0))
}

/// A SOCKS5 reply with an address and a port: where a customer's datagrams are taken.
pub(crate) fn socks_reply_at(reply: Reply, bound: SocketAddr) -> Bytes {
    let mut out = BytesMut::with_capacity(22);
    out.put_slice(&[0x05, reply as u8, 0x00]);
    crate::socks5::put_address(&mut out, bound);
    out.freeze()
}

/// A problem document (RFC 9457).
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    hint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
    request_id: RequestId,
}

fn put(out: &mut BytesMut, text: std::fmt::Arguments<'_>) {
    // Writing into a growing buffer can't fail.
    let _ = out.write_fmt(text);
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A field whose value comes from elsewhere: without what could end it.
fn put_text(out: &mut BytesMut, name: &str, value: &str) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    for byte in value.bytes() {
        out.put_u8(if byte.is_ascii_control() { b'?' } else { byte });
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use iploop_platform::admission::AdmissionError;
    use iploop_platform::exits::Place;
    use iploop_platform::ids::NodeId;

    fn exit(city: &str) -> Exit {
        let place = Place {
            country: Some("BR".to_owned()),
            city: Some(city.to_owned()),
            asn: Some(64500),
            ..Place::default()
        };
        Exit {
            node: NodeId::new(),
            ip: Ipv4Addr::new(198, 51, 100, 7).into(),
            place,
            net: None,
            os: None,
        }
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn an_error_says_the_same_thing_in_every_place() {
        let request = RequestId::new();
        let answer = text(&error_response(
            &ProxyError::NoExit.into(),
            request,
            Manner {
                is_head: false,
                close: true,
            },
        ));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(
                "HTTP/1.1 503 no_exit\r\nProxy-Status: iploop; error=destination_unavailable\r\n"
            ),
            "{head}"
        );
        for line in [
            "X-IPLoop-Error: no_exit",
            &format!("X-IPLoop-Request-Id: {request}"),
            "Content-Type: application/problem+json",
            "Connection: close",
            &format!("Content-Length: {}", body.len()),
        ] {
            assert!(head.lines().any(|there| there == line), "{line} not in {head}");
        }
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["code"], "no_exit");
        assert_eq!(problem["status"], 503);
        assert_eq!(problem["request_id"], request.to_string());
        assert!(problem["detail"].is_string() && problem["hint"].is_string());
    }

    #[test]
    fn each_status_has_the_headers_that_belong_to_it() {
        let manner = Manner {
            is_head: true,
            close: false,
        };
        let login = text(&error_response(
            &ProxyError::from(crate::request::LoginFault::Missing).into(),
            RequestId::new(),
            manner,
        ));
        assert!(login.starts_with("HTTP/1.1 407 credentials_missing\r\n"));
        assert!(
            login.contains("Proxy-Authenticate: Basic realm=\"IPLoop\"\r\n") && login.ends_with("\r\n\r\n")
        );
        assert!(!login.contains("Connection: close"));
        let busy = text(&error_response(
            &ProxyError::ExitBusy.into(),
            RequestId::new(),
            manner,
        ));
        assert!(busy.contains("Retry-After: 1\r\n"));
    }

    #[test]
    fn an_error_tells_what_was_tried_to_those_who_ask() {
        let tried = Tried {
            country: Some("US".to_owned()),
            outcome: "node_timeout",
            took: Duration::from_millis(12),
            hedged: false,
        };
        let failed = Failed {
            error: ProxyError::NodeTimeout,
            trail: Some(Box::new(Trail {
                select: Duration::from_micros(1500),
                attempts: 1,
                tried: vec![tried],
                parameters: "country-US-debug-1".to_owned(),
            })),
        };
        let manner = Manner {
            is_head: false,
            close: false,
        };
        let answer = text(&error_response(&failed, RequestId::new(), manner));
        for line in [
            "X-IPLoop-Debug: select_ms=1.5; attempts=1",
            "X-IPLoop-Debug-Attempts: US;outcome=node_timeout;ms=12.0",
            "X-IPLoop-Debug-Parameters: country-US-debug-1",
        ] {
            assert!(
                answer.lines().any(|there| there == line),
                "{line} not in {answer}"
            );
        }
        let quiet = text(&error_response(
            &ProxyError::NodeTimeout.into(),
            RequestId::new(),
            manner,
        ));
        assert!(!quiet.contains("Debug"), "{quiet}");
    }

    #[test]
    fn a_success_names_the_exit_and_nothing_can_break_out_of_a_field() {
        let request = RequestId::new();
        let exit = exit("S\u{e3}o Paulo\r\nEvil: 1");
        let tried = [(None, "node_timeout", false), (Some("BR"), "opened", true)].map(
            |(country, outcome, hedged)| Tried {
                country: country.map(str::to_owned),
                outcome,
                took: Duration::from_micros(20_500),
                hedged,
            },
        );
        let trail = Trail {
            select: Duration::from_micros(1500),
            attempts: 2,
            tried: tried.to_vec(),
            parameters: "country-BR-debug-1".to_owned(),
        };
        let debug = Debug {
            trail: &trail,
            dial: Duration::from_millis(20),
            first_byte: Some(Duration::from_millis(30)),
        };
        let success = Success {
            request,
            exit: &exit,
            session: Some("a"),
            limits: &[],
            debug: Some(debug),
        };
        assert_eq!(
            text(&connect_response(&success)),
            format!(
                "HTTP/1.1 200 Connection established\r\nX-IPLoop-Request-Id: {request}\r\nX-IPLoop-Exit-Country: BR\r\n\
                 X-IPLoop-Exit-City: S\u{e3}o Paulo??Evil: 1\r\nX-IPLoop-Exit-Asn: 64500\r\nX-IPLoop-Exit-Ip: 198.51.100.7\r\n\
                 X-IPLoop-Session: a\r\nX-IPLoop-Debug: select_ms=1.5; dial_ms=20.0; first_byte_ms=30.0; attempts=2\r\n\
                 X-IPLoop-Debug-Attempts: ZZ;outcome=node_timeout;ms=20.5, BR;outcome=opened;ms=20.5;hedged\r\n\
                 X-IPLoop-Debug-Parameters: country-BR-debug-1\r\n\r\n"
            )
        );
    }

    #[test]
    fn limits_are_told_by_our_own_answers() {
        let limit = AdmissionError::DailyRequests {
            limit: 10_000,
            retry_after: Duration::from_millis(59_001),
        };
        let manner = Manner {
            is_head: false,
            close: false,
        };
        let answer = text(&error_response(
            &ProxyError::from(limit).into(),
            RequestId::new(),
            manner,
        ));
        for line in [
            "Retry-After: 60",
            "RateLimit-Policy: \"plan-day\";q=10000;w=86400",
            "RateLimit: \"plan-day\";r=0;t=60",
        ] {
            assert!(
                answer.lines().any(|there| there == line),
                "{line} not in {answer}"
            );
        }
        let exit = exit("");
        let success = Success {
            request: RequestId::new(),
            exit: &exit,
            session: None,
            limits: &[AdmissionError::KeyConnections { limit: 5 }.limit().unwrap()],
            debug: None,
        };
        let answer = text(&connect_response(&success));
        assert!(
            answer.contains("RateLimit-Policy: \"key-connections\";q=5;qu=\"concurrent-requests\"\r\n"),
            "{answer}"
        );
    }

    #[test]
    fn a_socks_reply_names_the_exits_address() {
        assert_eq!(
            socks_reply(Reply::Succeeded, Some(exit("").ip)),
            &[5, 0, 0, 1, 198, 51, 100, 7, 0, 0][..]
        );
        assert_eq!(
            socks_reply(Reply::HostUnreachable, None),
            &[5, 4, 0, 1, 0, 0, 0, 0, 0, 0][..]
        );
        let v6 = socks_reply(Reply::Succeeded, Some("2001:db8::1".parse().unwrap()));
        assert_eq!((v6.len(), v6[3]), (22, 4));
    }
}
