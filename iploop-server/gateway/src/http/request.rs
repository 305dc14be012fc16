//! A request head, read strictly and written anew for the destination (RFC 9110, RFC 9112).
//!
//! What has two readings has none here: it is refused. What is passed on says one thing in one form, so that the origin
//! reads the same request as we did.

mod seen;

use bytes::Bytes;
use iploop_protocol::destination::{Destination, DestinationError};

use self::seen::Seen;
use super::head::MAX_REQUEST_FIELDS;
use super::target::Target;
pub(crate) use super::target::TargetFault;

/// Longest method, in bytes. Registered ones have at most 17.
const MAX_METHOD_BYTES: usize = 32;

/// How the bytes after a head are delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Nothing follows.
    None,
    /// So many bytes, at least one.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Everything until the sender closes: responses only.
    UntilClose,
}

/// HTTP/1.0 or HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// No chunks, no persistence through a proxy, no interim responses.
    Http10,
    /// Everything.
    Http11,
}

/// One request, understood.
#[derive(Debug)]
pub(crate) struct RequestHead {
    /// What is asked of us.
    pub(crate) act: Act,
    /// Where it goes.
    pub(crate) destination: Destination,
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<Authorization>,
    /// The version the customer speaks.
    pub(crate) version: Version,
    /// The customer wants to send another request on this connection, and may.
    pub(crate) persistent: bool,
    /// `X-IPLoop-Rotate: 1`.
    pub(crate) rotate: bool,
}

/// What a request asks of a proxy.
#[derive(Debug)]
pub(crate) enum Act {
    /// A tunnel.
    Connect,
    /// A request to be forwarded.
    Forward(Forward),
}

/// A request to be forwarded.
#[derive(Debug)]
pub(crate) struct Forward {
    /// The head for the destination, whole.
    pub(crate) head: Bytes,
    /// Where the value of `User-Agent` stands in `head`, for browser profiles.
    pub(crate) user_agent: Option<std::ops::Range<usize>>,
    /// How its content is delimited.
    pub(crate) body: Framing,
    /// The customer may wait with its content until it is told to go on.
    pub(crate) expects_continue: bool,
    /// The answer has no content whatever its head says.
    pub(crate) is_head: bool,
    /// Asking twice does no more than asking once (RFC 9110 section 9.2.2).
    pub(crate) is_idempotent: bool,
    /// It asks to go on as a WebSocket.
    pub(crate) upgrade: bool,
}

/// The value of `Proxy-Authorization`. Shows nothing of itself.
pub(crate) struct Authorization(pub(crate) Bytes);

impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authorization(…)")
    }
}

/// Why a request is refused before anybody asks who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestFault {
    /// The request line.
    #[error("the request line is not METHOD SP target SP HTTP/1.1")]
    RequestLine,
    /// HTTP, and neither 1.0 nor 1.1.
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
    /// A header field.
    #[error(
        "a header field is malformed: names are tokens with the colon right behind them, values have no control bytes"
    )]
    Field,
    /// More than [`MAX_REQUEST_FIELDS`].
    #[error("more than {MAX_REQUEST_FIELDS} header fields")]
    TooManyFields,
    /// The request-target.
    #[error(transparent)]
    Target(#[from] TargetFault),
    /// `Host` is missing or repeated.
    #[error("a request has exactly one Host field")]
    HostCount,
    /// `Host` is no authority.
    #[error("the Host field is not valid: {0}")]
    Host(DestinationError),
    /// `Host` and request-target lead to different places.
    #[error("the Host field and the request-target lead to different places")]
    HostContradicts,
    /// `Content-Length` is repeated, a list or no number.
    #[error("Content-Length must be one plain decimal number")]
    ContentLength,
    /// Anything but one `chunked`, or in HTTP/1.0.
    #[error("the only transfer coding is chunked, once, in HTTP/1.1")]
    TransferEncoding,
    /// `Content-Length` beside `Transfer-Encoding`.
    #[error("Content-Length and Transfer-Encoding contradict each other")]
    TwoFramings,
    /// A framing field spelt with an underscore.
    #[error("a field looks like a framing field but is none")]
    Lookalike,
    /// `Connection` names an essential field.
    #[error("Connection names a field that is meant for the destination")]
    ConnectionNames,
    /// `Connection` is malformed.
    #[error("the Connection field is malformed")]
    Connection,
    /// `CONNECT` with content.
    #[error("CONNECT has no content")]
    ConnectWithBody,
    /// `Expect` is not `100-continue`.
    #[error("the only expectation is 100-continue")]
    Expect,
    /// More than one `Proxy-Authorization`.
    #[error("Proxy-Authorization is given twice")]
    TwoLogins,
    /// `TRACE` would send the customer's own fields back through the network.
    #[error("TRACE is not forwarded")]
    Trace,
    /// `Max-Forwards` is no number, or says that it ends here.
    #[error("Max-Forwards ends the request at this proxy")]
    MaxForwards,
}

/// Reads a whole head: its bytes up to and with the empty line, as [`HeadScanner`](super::head::HeadScanner) found them.
///
/// # Errors
/// The request is malformed or has more than one reading. Nothing after it can be trusted: close the connection.
pub(crate) fn parse(head: &Bytes) -> Result<RequestHead, RequestFault> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_REQUEST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(RequestFault::Field),
        Err(httparse::Error::TooManyHeaders) => return Err(RequestFault::TooManyFields),
        Err(httparse::Error::Version) if is_other_http(head) => return Err(RequestFault::Version),
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => return Err(RequestFault::Field),
        Err(_) => return Err(RequestFault::RequestLine),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(RequestFault::RequestLine);
    };
    if method.len() > MAX_METHOD_BYTES {
        return Err(RequestFault::RequestLine);
    }
    if method == "TRACE" {
        return Err(RequestFault::Trace);
    }
    let version = if minor == 0 {
        Version::Http10
    } else {
        Version::Http11
    };
    let target = Target::parse(method, target)?;
    let seen = Seen::gather(request.headers, version)?;
    seen.check_host(&target, version)?;

    let persistent = version == Version::Http11 && !seen.options.close && !seen.proxy_close;
    let authorization = seen
        .authorization
        .map(|value| Authorization(head.slice_ref(value)));
    let rotate = seen.rotate;
    let (act, destination) = match target {
        Target::Authority(destination) => {
            if seen.framing != Framing::None {
                return Err(RequestFault::ConnectWithBody);
            }
            (Act::Connect, destination)
        }
        Target::Absolute { destination, path } => {
            let forward = seen.rewrite(request.headers, method, path, &destination, head.len())?;
            (Act::Forward(forward), destination)
        }
    };
    Ok(RequestHead {
        act,
        destination,
        authorization,
        version,
        persistent,
        rotate,
    })
}

/// `HTTP/2.0` and its like in a well-formed first line: 505 instead of 400.
fn is_other_http(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or(head);
    let mut words = line.split(|&byte| byte == b' ');
    let version = words
        .nth(2)
        .filter(|_| words.next().is_none())
        .unwrap_or_default();
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => false,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] => {
            major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::head::{HeadScanner, MAX_REQUEST_HEAD_BYTES};
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<RequestHead, RequestFault> {
        parse(&Bytes::copy_from_slice(text.as_bytes()))
    }

    fn forwarded(text: &str) -> (Forward, String) {
        let Act::Forward(forward) = read(text).unwrap().act else {
            panic!("a tunnel: {text}")
        };
        let head = String::from_utf8(forward.head.to_vec()).unwrap();
        (forward, head)
    }

    #[test]
    fn what_ends_at_this_hop_is_gone_and_the_rest_is_verbatim() {
        let (forward, head) = forwarded(
            "POST http://Example.com/a%20b?c HTTP/1.1\r\nhOsT: Example.COM\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\
             Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
             X-IPLoop-Rotate: 1\r\nX-IPLoop-Foo: bar\r\nProxy-Foo: bar\r\nUser-Agent:curl  \r\nX-ODD:  a\tb \r\n\
             Content-Length: 007\r\nUpgrade: h2c\r\n\r\n",
        );
        assert_eq!(
            head,
            "POST /a%20b?c HTTP/1.1\r\nhOsT: Example.COM\r\nUser-Agent: curl\r\nX-ODD: a\tb\r\nContent-Length: 7\r\n\r\n"
        );
        assert_eq!(forward.body, Framing::Length(7));
        assert_eq!(&head[forward.user_agent.clone().unwrap()], "curl");
        assert!(!forward.is_idempotent && !forward.upgrade);
    }

    #[test]
    fn an_empty_path_becomes_one() {
        for (target, line) in [
            ("http://a.example", "/"),
            ("http://a.example?q", "/?q"),
            ("http://a.example/x", "/x"),
        ] {
            let (_, head) = forwarded(&format!("GET {target} HTTP/1.1\r\nHost: a.example:80\r\n\r\n"));
            assert!(head.starts_with(&format!("GET {line} HTTP/1.1\r\n")), "{head}");
        }
        let (_, head) =
            forwarded("OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 3\r\n\r\n");
        assert_eq!(
            head,
            "OPTIONS * HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 2\r\n\r\n"
        );
    }

    #[test]
    fn http_1_0_gets_a_host_and_no_second_request() {
        let (_, head) = forwarded(
            "GET http://a.example:81/ HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n",
        );
        assert_eq!(head, "GET / HTTP/1.1\r\nHost: a.example:81\r\n\r\n");
        let request = read("GET http://a.example/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
        assert!(!request.persistent);
    }

    #[test]
    fn only_a_websocket_upgrade_goes_on() {
        let (forward, head) = forwarded(
            "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: x\r\n\r\n",
        );
        assert!(forward.upgrade);
        assert!(
            head.ends_with("Sec-WebSocket-Key: x\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"),
            "{head}"
        );
        for fields in [
            "Upgrade: websocket",
            "Connection: Upgrade\r\nUpgrade: h2c",
            "Connection: Upgrade\r\nUpgrade: websocket, h2c",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1",
        ] {
            let (forward, head) = forwarded(&format!(
                "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n\r\n"
            ));
            assert!(
                !forward.upgrade && !head.to_ascii_lowercase().contains("upgrade"),
                "{head}"
            );
        }
    }

    #[test]
    fn connect_needs_no_port_in_its_host() {
        for host in ["a.example", "a.example:443", "A.EXAMPLE."] {
            let request = read(&format!("CONNECT a.example:443 HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap();
            assert!(matches!(request.act, Act::Connect));
            assert_eq!(request.destination.to_string(), "a.example:443");
        }
        assert!(read("CONNECT a.example:443 HTTP/1.0\r\n\r\n").is_ok());
    }

    #[test]
    fn each_fault_has_its_own_name() {
        let long_method = "M".repeat(33);
        let many = "a: b\r\n".repeat(101);
        for (request, fault) in [
            (
                "GET http://a.example/ HTTP/2.0\r\nHost: a.example\r\n\r\n",
                RequestFault::Version,
            ),
            ("PRI * HTTP/2.0\r\n\r\n", RequestFault::Version),
            (
                "GET http://a.example/ HTTP/1.2\r\nHost: a.example\r\n\r\n",
                RequestFault::Version,
            ),
            (
                "GET http://a.example/ http/1.1\r\nHost: a.example\r\n\r\n",
                RequestFault::RequestLine,
            ),
            (
                "GET http://a.example/\r\nHost: a.example\r\n\r\n",
                RequestFault::RequestLine,
            ),
            (
                "GET  http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
                RequestFault::RequestLine,
            ),
            (
                "G@T http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
                RequestFault::RequestLine,
            ),
            (
                &format!("{long_method} http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n"),
                RequestFault::RequestLine,
            ),
            (
                "TRACE http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
                RequestFault::Trace,
            ),
            ("GET http://a.example/ HTTP/1.1\r\n\r\n", RequestFault::HostCount),
            (
                "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n",
                RequestFault::HostCount,
            ),
            (
                "GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n",
                RequestFault::HostContradicts,
            ),
            (
                "GET http://a.example/ HTTP/1.1\r\nHost: a.example:81\r\n\r\n",
                RequestFault::HostContradicts,
            ),
            (
                "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:80\r\n\r\n",
                RequestFault::HostContradicts,
            ),
            (
                "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n\r\n",
                RequestFault::ConnectWithBody,
            ),
            (
                "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nConnection: Host\r\n\r\n",
                RequestFault::ConnectionNames,
            ),
            (
                "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nConnection: a b\r\n\r\n",
                RequestFault::Connection,
            ),
            (
                "GET http://a.example/ HTTP/1.1\r\nHost : a.example\r\n\r\n",
                RequestFault::Field,
            ),
            (
                "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent_Length: 1\r\n\r\n",
                RequestFault::Lookalike,
            ),
            (
                "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nExpect: 200-ok\r\n\r\n",
                RequestFault::Expect,
            ),
            (
                "OPTIONS http://a.example/ HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 0\r\n\r\n",
                RequestFault::MaxForwards,
            ),
            (
                "OPTIONS http://a.example/ HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: +1\r\n\r\n",
                RequestFault::MaxForwards,
            ),
            (
                &format!("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n{many}\r\n"),
                RequestFault::TooManyFields,
            ),
        ] {
            assert_eq!(read(request).unwrap_err(), fault, "{request}");
        }
    }

    #[test]
    fn one_framing_or_none() {
        let with = |fields: &str| {
            read(&format!(
                "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n\r\n"
            ))
        };
        for (fields, fault) in [
            (
                "Content-Length: 5\r\nTransfer-Encoding: chunked",
                RequestFault::TwoFramings,
            ),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: 0",
                RequestFault::TwoFramings,
            ),
            (
                "Content-Length: 5\r\nContent-Length: 5",
                RequestFault::ContentLength,
            ),
            ("Content-Length: 5, 5", RequestFault::ContentLength),
            ("Content-Length: +5", RequestFault::ContentLength),
            ("Content-Length:", RequestFault::ContentLength),
            ("Transfer-Encoding: gzip, chunked", RequestFault::TransferEncoding),
            (
                "Transfer-Encoding: chunked, chunked",
                RequestFault::TransferEncoding,
            ),
            ("Transfer-Encoding: identity", RequestFault::TransferEncoding),
            ("Transfer-Encoding: xchunked", RequestFault::TransferEncoding),
            ("Transfer-Encoding: \"chunked\"", RequestFault::TransferEncoding),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                RequestFault::TransferEncoding,
            ),
            ("Transfer-Encoding:", RequestFault::TransferEncoding),
        ] {
            assert_eq!(with(fields).unwrap_err(), fault, "{fields}");
        }
        let (forward, head) = forwarded(
            "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding:\tCHUNKED \r\n\r\n",
        );
        assert_eq!(forward.body, Framing::Chunked);
        assert!(head.contains("\r\nTransfer-Encoding: chunked\r\n"));
    }

    #[test]
    fn the_login_never_goes_on_and_never_shows() {
        let text = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nproxy-authorization: Basic c2VjcmV0\r\n\r\n";
        assert!(!forwarded(text).1.contains("c2VjcmV0"));
        let request = read(text).unwrap();
        assert_eq!(request.authorization.as_ref().unwrap().0, &b"Basic c2VjcmV0"[..]);
        assert!(!format!("{request:?}").contains("c2VjcmV0"));
    }

    fn field() -> impl Strategy<Value = String> {
        let name = prop::sample::select(vec![
            "Host",
            "host ",
            "Content-Length",
            "Transfer-Encoding",
            "Connection",
            "X",
            "Proxy-Authorization",
            "TE",
            "Upgrade",
            "Expect",
            "content_length",
            "Max-Forwards",
            "X-IPLoop-Rotate",
            "User-Agent",
        ]);
        let value = prop::sample::select(vec![
            "a.example",
            "a.example:80",
            "5",
            "0",
            "chunked",
            "close",
            "Host",
            "keep-alive, X",
            "websocket",
            "Upgrade",
            "100-continue",
            "\u{e9}",
            "",
            "a\tb",
            "1",
        ]);
        (name, value).prop_map(|(name, value)| format!("{name}: {value}\r\n"))
    }

    proptest! {
        #[test]
        fn what_goes_on_reads_back_to_the_same(fields in prop::collection::vec(field(), 0..6), method in "(GET|POST|OPTIONS|HEAD)", path in "(/[!-~&&[^#]]{0,8})?") {
            let text = format!("{method} http://a.example{path} HTTP/1.1\r\nHost: a.example\r\n{}\r\n", fields.concat());
            let Ok(RequestHead { act: Act::Forward(forward), .. }) = read(&text) else { return Ok(()) };
            // As the origin reads it: one line of each kind, no folds, and asked through a proxy it is the same request again.
            let mut scanner = HeadScanner::default();
            prop_assert_eq!(scanner.find_end(&forward.head, MAX_REQUEST_HEAD_BYTES), Ok(Some(forward.head.len())));
            let head = String::from_utf8_lossy(&forward.head).into_owned();
            // At its last hop a request is for us.
            prop_assume!(!head.contains(" * HTTP/1.1") && !head.contains("Max-Forwards: 0"));
            let again = head.replacen(" /", " http://a.example/", 1);
            let again = parse(&Bytes::from(again)).unwrap();
            let Act::Forward(again) = again.act else { panic!() };
            prop_assert_eq!(again.body, forward.body);
            prop_assert_eq!(again.upgrade, forward.upgrade);
            if !head.contains("Max-Forwards") {
                prop_assert_eq!(&again.head, &forward.head);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&Bytes::from(bytes));
        }
    }
}
