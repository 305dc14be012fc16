//! One try of a request: by a tunnel or forwarded.

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::tunnel::error_code;
use super::{Answer, Customer, Told};
use crate::error::Error;
use crate::wire::{Link, Place};

impl Customer {
    pub(super) async fn try_once(&self, request: &Request<Bytes>) -> Result<Answer, Error> {
        let to = Place::of(request.uri())
            .map_err(|problem| Error::invalid(format_args!("the address: {problem}")))?;
        if *request.method() == Method::CONNECT {
            return Err(Error::invalid("an address with https has its tunnel already"));
        }
        let patience = self.shared.patience;
        let exchange = async {
            match to.is_tls {
                true => self.through_tunnel(request, &to).await,
                false => self.forwarded(request, &to).await,
            }
        };
        timeout(patience, exchange)
            .await
            .unwrap_or(Err(Error::Timeout(patience)))
    }

    async fn through_tunnel(&self, request: &Request<Bytes>, to: &Place) -> Result<Answer, Error> {
        let tunnel = self.tunnel(to).await?;
        let secured = self
            .shared
            .dialer
            .secure(tunnel.link, to)
            .await
            .map_err(Error::Destination)?;
        // What the destination gets to see: a path.
        let path = request.uri().path_and_query().cloned();
        let path = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
        let (response, connection) = exchanged(secured, message(request, to, path)?).await?;
        Ok(Answer::new(
            response,
            tunnel.told,
            self.shared.patience,
            connection,
        ))
    }

    async fn forwarded(&self, request: &Request<Bytes>, to: &Place) -> Result<Answer, Error> {
        let proxy = self.dial_proxy().await?;
        let mut request = message(request, to, request.uri().clone())?;
        self.put_login(request.headers_mut());
        let (mut response, connection) = exchanged(proxy, request).await?;
        if error_code(response.headers()).is_some() {
            return Err(self.refusal(&mut response).await);
        }
        let told = Told::take(response.headers_mut());
        Ok(Answer::new(response, told, self.shared.patience, connection))
    }
}

/// Sends a request on a connection of its own.
async fn exchanged(
    link: Link,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(link)).await?;
    let connection = AbortOnDropHandle::new(tokio::spawn(async move {
        // What goes wrong, the sender or the content hears too.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await?;
    Ok((response, connection))
}

/// The customer's request with this target.
fn message(request: &Request<Bytes>, to: &Place, target: Uri) -> Result<Request<Full<Bytes>>, Error> {
    let mut message = Request::new(Full::new(request.body().clone()));
    *message.method_mut() = request.method().clone();
    *message.uri_mut() = target;
    *message.headers_mut() = request.headers().clone();
    let host = HeaderValue::try_from(to.host_field()).map_err(Error::invalid)?;
    let headers = message.headers_mut();
    headers.entry(HOST).or_insert(host);
    // One request, one connection.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(message)
}
