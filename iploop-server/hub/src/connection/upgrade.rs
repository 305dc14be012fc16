//! The opening handshake of the WebSocket (RFC 6455, section 4.2), and what anybody else is told.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use iploop_protocol::io::{Role, SUBPROTOCOL, WebSocket};
use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::forwarded;

/// Where devices connect.
const PATH: &str = "/ws";

/// Largest request head, in bytes.
const MAX_HEAD_BYTES: usize = 8192;

/// How the hub's answers are told from others'.
const ERROR: HeaderName = HeaderName::from_static("x-iploop-error");

/// Serves HTTP on a connection until it becomes a WebSocket; none if it ends before.
///
/// Nothing of the HTTP server is left afterwards: its buffers are freed with it. The caller limits the time.
pub(super) async fn accept<S>(
    stream: S,
    peer: IpAddr,
    trusted: Arc<[IpNet]>,
    draining: bool,
    head_within: Duration,
) -> Option<(WebSocket<S>, IpAddr)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let door = Door {
        peer,
        trusted,
        draining,
        upgraded: Mutex::new(None),
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_within)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), door);
    let parts = connection.without_shutdown().await.ok()?;
    let ip = parts.service.upgraded.into_inner()?;
    // Copied, though mostly empty: as it is, it would keep the whole buffer of the HTTP server alive in the WebSocket.
    let socket = WebSocket::new(parts.io.into_inner(), Role::Server, &parts.read_buf);
    Some((socket, ip))
}

/// Answers requests, and remembers when one became a WebSocket.
struct Door {
    peer: IpAddr,
    trusted: Arc<[IpNet]>,
    draining: bool,
    upgraded: Mutex<Option<IpAddr>>,
}

impl Service<Request<Incoming>> for Door {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let answer = check(&request, self.draining).and_then(|accept| {
            let ip = forwarded::public_ip(self.peer, request.headers(), &self.trusted)
                .map_err(|_| Rejection::ForwardedFor)?;
            Ok((accept, ip))
        });
        ready(Ok(match answer {
            Ok((accept, ip)) => {
                *self.upgraded.lock() = Some(ip);
                switching(&accept)
            }
            Err(rejection) => rejection.into_response(),
        }))
    }
}

/// Why a request does not become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rejection {
    NotFound,
    Method,
    NoUpgrade,
    Version,
    Key,
    Subprotocol,
    ForwardedFor,
    Draining,
}

/// The value of `Sec-WebSocket-Accept`.
fn check<B>(request: &Request<B>, draining: bool) -> Result<String, Rejection> {
    let headers = request.headers();
    if request.uri().path() != PATH {
        Err(Rejection::NotFound)
    } else if request.method() != Method::GET {
        Err(Rejection::Method)
    } else if !names(headers, &UPGRADE, "websocket") || !names(headers, &CONNECTION, "upgrade") {
        Err(Rejection::NoUpgrade)
    } else if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        Err(Rejection::Version)
    } else if !names(headers, &SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        Err(Rejection::Subprotocol)
    } else if draining {
        Err(Rejection::Draining)
    } else {
        let key = headers
            .get(SEC_WEBSOCKET_KEY)
            .filter(|key| is_key(key.as_bytes()));
        Ok(derive_accept_key(key.ok_or(Rejection::Key)?.as_bytes()))
    }
}

/// Whether a header that is a list of tokens has this one, in any case.
fn names(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|entry| entry.trim().eq_ignore_ascii_case(token))
}

/// 16 bytes in base64.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_digit)
}

fn switching(accept: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

impl Rejection {
    /// Status, code, and the text for people.
    fn answer(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "Devices connect at /ws."),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "Only GET is allowed.",
            ),
            Self::NoUpgrade => (
                StatusCode::UPGRADE_REQUIRED,
                "upgrade_required",
                "This address speaks WebSocket only.",
            ),
            Self::Version => (
                StatusCode::BAD_REQUEST,
                "websocket_version",
                "The version of WebSocket must be 13.",
            ),
            Self::Key => (
                StatusCode::BAD_REQUEST,
                "websocket_key",
                "Sec-WebSocket-Key is not 16 bytes in base64.",
            ),
            Self::Subprotocol => (
                StatusCode::BAD_REQUEST,
                "subprotocol",
                "The subprotocol iploop.v2 must be offered.",
            ),
            Self::ForwardedFor => (
                StatusCode::BAD_REQUEST,
                "forwarded_for",
                "X-Forwarded-For of the proxy in front is not a list of addresses.",
            ),
            Self::Draining => (
                StatusCode::SERVICE_UNAVAILABLE,
                "draining",
                "This hub is shutting down.",
            ),
        }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let (status, code, text) = self.answer();
        let mut response = Response::new(Full::from(format!("{text}\n")));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.insert(ERROR, HeaderValue::from_static(code));
        match self {
            Self::Method => {
                headers.insert(ALLOW, HeaderValue::from_static("GET"));
            }
            Self::NoUpgrade => {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(CONNECTION, HeaderValue::from_static("Upgrade, close"));
            }
            Self::Version => {
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            Self::Draining => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            Self::NotFound | Self::Key | Self::Subprotocol | Self::ForwardedFor => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl FnOnce(&mut Request<()>)) -> Result<String, Rejection> {
        let mut request = Request::get("/ws?x=1")
            .header("Upgrade", "WebSocket")
            .header("Connection", "keep-alive, Upgrade")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Sec-WebSocket-Protocol", "chat, iploop.v2")
            .body(())
            .unwrap();
        change(&mut request);
        check(&request, false)
    }

    fn without(name: &'static str) -> Result<String, Rejection> {
        request(|request| {
            request.headers_mut().remove(name);
        })
    }

    fn with(name: &'static str, value: &'static str) -> Result<String, Rejection> {
        request(|request| {
            request
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        })
    }

    #[test]
    fn a_proper_opening_is_accepted_as_in_rfc_6455() {
        assert_eq!(request(|_| {}).as_deref(), Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn everything_else_has_its_status() {
        assert_eq!(
            request(|request| *request.uri_mut() = "/".parse().unwrap()),
            Err(Rejection::NotFound)
        );
        assert_eq!(
            request(|request| *request.method_mut() = Method::POST),
            Err(Rejection::Method)
        );
        assert_eq!(without("upgrade"), Err(Rejection::NoUpgrade));
        assert_eq!(with("connection", "keep-alive"), Err(Rejection::NoUpgrade));
        assert_eq!(with("sec-websocket-version", "8"), Err(Rejection::Version));
        assert_eq!(without("sec-websocket-version"), Err(Rejection::Version));
        assert_eq!(
            with("sec-websocket-protocol", "iploop.v1"),
            Err(Rejection::Subprotocol)
        );
        assert_eq!(without("sec-websocket-protocol"), Err(Rejection::Subprotocol));
        assert_eq!(with("sec-websocket-key", "short"), Err(Rejection::Key));
        let statuses = [
            (Rejection::NotFound, 404),
            (Rejection::Method, 405),
            (Rejection::NoUpgrade, 426),
            (Rejection::Version, 400),
            (Rejection::Key, 400),
            (Rejection::Subprotocol, 400),
            (Rejection::ForwardedFor, 400),
            (Rejection::Draining, 503),
        ];
        for (rejection, status) in statuses {
            assert_eq!(
                rejection.into_response().status().as_u16(),
                status,
                "{rejection:?}"
            );
        }
    }
}
