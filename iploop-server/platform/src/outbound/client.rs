//! One request on a connection of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use iploop_protocol::destination::Host;
use iploop_protocol::policy::TestAllow;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::guard::{Guard, Resolve, SystemResolver};
use super::stream::{Connection, driven, http};
use super::{
    Outbound, OutboundAnswer, OutboundConfig, OutboundError, OutboundStream, Reach, Target, TargetError,
};

/// Longest wait for one address of several.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Most bytes of an answer's head.
const MAX_HEAD: usize = 32 * 1024;
const MAX_FIELDS: usize = 100;
const AGENT: &str = concat!("IPLoop/", env!("CARGO_PKG_VERSION"));

/// Makes requests. Clones share one configuration; nothing is shared between two requests.
#[derive(Clone)]
pub struct OutboundClient(Arc<Inner>);

struct Inner {
    guard: Guard,
    resolver: Box<dyn Resolve>,
    tls: Arc<ClientConfig>,
}

impl OutboundClient {
    /// By the system's resolver. `test_allow` opens single addresses, also without TLS, for tests.
    ///
    /// # Errors
    /// What is wrong with the file of trusted certificates.
    pub fn new(config: &OutboundConfig, test_allow: TestAllow) -> Result<Self, String> {
        Self::with_resolver(config, test_allow, Box::new(SystemResolver))
    }

    /// The same by another resolver.
    ///
    /// # Errors
    /// What is wrong with the file of trusted certificates.
    pub fn with_resolver(
        config: &OutboundConfig,
        test_allow: TestAllow,
        resolver: Box<dyn Resolve>,
    ) -> Result<Self, String> {
        Ok(Self(Arc::new(Inner {
            guard: Guard::new(test_allow),
            resolver,
            tls: config.tls()?,
        })))
    }

    /// Whether a customer may name this target, as far as one can know before resolving its name.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, target: &Target) -> Result<(), TargetError> {
        self.0.guard.check(target)
    }

    /// The same with its name resolved: at once in spite of the resolver's own patience. A name that can't be resolved now
    /// passes: it is checked again before each connection.
    ///
    /// # Errors
    /// Why not.
    pub async fn check_resolved(&self, target: &Target) -> Result<(), TargetError> {
        self.check(target)?;
        let addresses = self.0.guard.addresses(target, Reach::Public, &*self.0.resolver);
        match tokio::time::timeout(CONNECT_TIMEOUT, addresses).await {
            Ok(Err(OutboundError::NotPublic)) => Err(TargetError::NotPublic),
            Ok(Err(OutboundError::Target(error))) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Makes one request and waits for its answer.
    ///
    /// # Errors
    /// Why there is none. Whether the other side acted is not known then.
    ///
    /// # Cancel safety
    /// Dropping it ends the connection.
    pub async fn send(&self, request: Outbound) -> Result<OutboundAnswer, OutboundError> {
        let mut answer = self.stream(request).await?;
        let mut body = Vec::new();
        while let Some(data) = answer.next().await? {
            body.extend_from_slice(&data);
        }
        Ok(OutboundAnswer {
            status: answer.status,
            headers: answer.headers,
            body,
        })
    }

    /// Makes one request and waits for the head of its answer; the request's `timeout` counts until the content's end.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub async fn stream(&self, request: Outbound) -> Result<OutboundStream, OutboundError> {
        let timeout = request.timeout;
        let until = Instant::now() + timeout;
        timeout_at(until, self.begin(request, until))
            .await
            .unwrap_or(Err(OutboundError::Timeout(timeout)))
    }

    async fn begin(&self, request: Outbound, until: Instant) -> Result<OutboundStream, OutboundError> {
        let inner = &*self.0;
        let addresses = inner
            .guard
            .addresses(&request.target, request.reach, &*inner.resolver)
            .await?;
        let stream = connect(&addresses).await?;
        if request.target.is_https {
            let name = server_name(&request.target.host)?;
            let connector = TlsConnector::from(Arc::clone(&inner.tls));
            let stream = connector
                .connect(name, stream)
                .await
                .map_err(|error| OutboundError::Tls(error.to_string()))?;
            converse(stream, request, until).await
        } else {
            converse(stream, request, until).await
        }
    }
}

/// The first address that answers.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, OutboundError> {
    let mut last = OutboundError::Unresolved;
    for address in addresses {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            // The kind only: the system's own words name the address.
            Ok(Err(error)) => last = OutboundError::Connect(error.kind().to_string()),
            Err(_) => last = OutboundError::Connect("timed out".to_owned()),
        }
    }
    Err(last)
}

fn server_name(host: &Host) -> Result<ServerName<'static>, OutboundError> {
    match host {
        Host::Ip(ip) => Ok(ServerName::from(*ip)),
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned())
            .map_err(|error| OutboundError::Tls(error.to_string())),
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Outbound,
    until: Instant,
) -> Result<OutboundStream, OutboundError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(http)?;
    let (room, timeout) = (request.answer_limit, request.timeout);
    let mut connection: Option<Connection> = Some(Box::pin(connection));
    let answer = driven(&mut connection, sender.send_request(message(request)?)).await?;
    let (head, content) = answer.map_err(http)?.into_parts();
    Ok(OutboundStream {
        status: head.status.as_u16(),
        headers: head.headers,
        content,
        connection,
        room,
        until,
        timeout,
    })
}

fn message(request: Outbound) -> Result<Request<Full<Bytes>>, OutboundError> {
    let invalid = |error: http::Error| OutboundError::Http(error.to_string());
    let mut message = Request::builder()
        .method(request.method)
        .uri(request.target.path.as_str())
        .body(Full::new(request.body))
        .map_err(invalid)?;
    *message.headers_mut() = request.headers;
    let host = HeaderValue::from_str(&request.target.authority()).map_err(|error| invalid(error.into()))?;
    message.headers_mut().insert(HOST, host);
    message
        .headers_mut()
        .insert(USER_AGENT, HeaderValue::from_static(AGENT));
    message
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(message)
}
