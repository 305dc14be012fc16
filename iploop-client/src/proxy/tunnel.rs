//! CONNECT, with what the gateway says to it.

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio_util::task::AbortOnDropHandle;

use super::{Customer, Told};
use crate::error::Error;
use crate::refusal::Refusal;
use crate::wire::{Link, Place, whole};

const ROTATE: HeaderName = HeaderName::from_static("x-iploop-rotate");
const ERROR: &str = "x-iploop-error";
/// Longest error that is read, in bytes.
const MAX_PROBLEM: usize = 64 * 1024;

/// A way to the destination.
pub(super) struct Tunnel {
    pub(super) link: Link,
    pub(super) told: Told,
}

impl Customer {
    /// A connection to the proxy.
    pub(super) async fn dial_proxy(&self) -> Result<Link, Error> {
        let dialed = self.shared.dialer.dial(&self.shared.proxy).await;
        dialed.map_err(Error::Connect)
    }

    /// Opens a tunnel to this place.
    pub(super) async fn tunnel(&self, to: &Place) -> Result<Tunnel, Error> {
        let proxy = self.dial_proxy().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(proxy)).await?;
        // It ends when the tunnel takes over, or when this does.
        let _connection = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        }));
        let authority = to.authority();
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri(&authority)
            .header(HOST, &authority)
            .body(Empty::<Bytes>::new())
            .map_err(Error::invalid)?;
        self.put_login(request.headers_mut());
        let mut response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(&mut response).await);
        }
        let told = Told::of(std::mem::take(response.headers_mut()));
        let link = hyper::upgrade::on(response).await?;
        Ok(Tunnel {
            link: Link::new(TokioIo::new(link)),
            told,
        })
    }

    /// The fields that only the gateway reads.
    pub(super) fn put_login(&self, headers: &mut HeaderMap) {
        headers.insert(PROXY_AUTHORIZATION, self.login.header());
        if self.rotates {
            headers.insert(ROTATE, HeaderValue::from_static("1"));
        }
    }

    /// Reads an answer that the gateway should have written.
    pub(super) async fn refusal(&self, response: &mut Response<Incoming>) -> Error {
        let status = response.status();
        let Some(code) = error_code(response.headers()) else {
            return Error::Unreadable {
                status: status.as_u16(),
                problem: "it is not our gateway's".to_owned(),
            };
        };
        // Without its document the code is still there.
        let body = whole(response.body_mut(), MAX_PROBLEM, self.shared.patience)
            .await
            .unwrap_or_default();
        let request = Told::of(response.headers().clone()).request_id;
        let refusal = Refusal::read(response.headers(), &body)
            .unwrap_or_else(|| Refusal::of_header(status, response.headers(), &code, request));
        Error::Refused(Box::new(refusal))
    }
}

/// The code of an error of the gateway's. No destination can say one: the gateway takes such fields out.
pub(super) fn error_code(headers: &HeaderMap) -> Option<String> {
    headers.get(ERROR)?.to_str().ok().map(str::to_owned)
}
