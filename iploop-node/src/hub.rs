//! The way to the hub: TCP, TLS where the address says `wss`, and the WebSocket's opening handshake (RFC 6455).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL, USER_AGENT};
use http::{HeaderValue, StatusCode, Uri};
use iploop_protocol::io::{ReadAhead, Role, SUBPROTOCOL, WebSocket};
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::dial::dial;
use crate::error::NodeError;

/// From the first packet to the end of the WebSocket's opening handshake.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes that may lie unsent in the system's buffer: what is there can't be overtaken by a small request.
#[cfg(any(target_os = "android", target_os = "linux"))]
const NOTSENT_LOWAT_BYTES: u32 = 128 * 1024;
/// Longest wish of a hub that is kept.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// Where the hub is: `ws://host[:port]/path` or `wss://…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubUrl {
    uri: Uri,
    host: String,
    port: u16,
    is_tls: bool,
}

/// What is wrong with the text of a [`HubUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write it as wss://hub.example/ws or ws://127.0.0.1:8001/ws")]
pub struct HubUrlError;

impl FromStr for HubUrl {
    type Err = HubUrlError;

    fn from_str(text: &str) -> Result<Self, HubUrlError> {
        let uri: Uri = text.parse().map_err(|_| HubUrlError)?;
        let is_tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(HubUrlError),
        };
        let authority = uri.authority().ok_or(HubUrlError)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(HubUrlError);
        }
        // A port that is there but no number of 16 bits reads as none.
        let has_port = authority
            .as_str()
            .trim_end_matches(char::is_alphanumeric)
            .ends_with(':')
            && !authority.as_str().ends_with(']');
        let port = match authority.port_u16() {
            Some(port) if port > 0 => port,
            None if !has_port => {
                if is_tls {
                    443
                } else {
                    80
                }
            }
            _ => return Err(HubUrlError),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            is_tls,
            uri,
        })
    }
}

impl std::fmt::Display for HubUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.uri.fmt(f)
    }
}

/// Everything that connecting needs and that stays the same: TLS sessions are resumed from one connection to the next.
pub(crate) struct Connector {
    url: HubUrl,
    tls: Arc<ClientConfig>,
    source: Option<IpAddr>,
    agent: HeaderValue,
}

/// A WebSocket to the hub, ready for a tunnel.
pub(crate) struct HubConnection {
    pub(crate) transport: WebSocket<Wire>,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
}

/// Why the hub could not be reached.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ConnectError {
    pub(crate) problem: String,
    /// When the hub wishes to be asked again.
    pub(crate) retry_after: Option<Duration>,
}

/// Certificates that the hub's is checked against.
pub(crate) fn roots(ca: Option<&Path>) -> Result<RootCertStore, NodeError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    let problem =
        |problem: &dyn std::fmt::Display| NodeError::config("ca", format!("{}: {problem}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| problem(&error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| problem(&error))?;
        roots.add(certificate).map_err(|error| problem(&error))?;
    }
    if roots.is_empty() {
        return Err(problem(&"there is no certificate in it"));
    }
    Ok(roots)
}

impl Connector {
    pub(crate) fn new(
        url: HubUrl,
        roots: RootCertStore,
        source: Option<IpAddr>,
        agent: &str,
    ) -> Result<Self, NodeError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| NodeError::config("hub", error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let agent = HeaderValue::from_str(agent).map_err(|error| NodeError::config("app_version", error))?;
        Ok(Self {
            url,
            tls: Arc::new(tls),
            source,
            agent,
        })
    }

    /// Connects, in at most [`CONNECT_TIMEOUT`].
    pub(crate) async fn connect(&self) -> Result<HubConnection, ConnectError> {
        let until = Instant::now() + CONNECT_TIMEOUT;
        match timeout_at(until, self.try_connect(until)).await {
            Ok(connected) => connected,
            Err(_) => Err("no answer in time".into()),
        }
    }

    async fn try_connect(&self, until: Instant) -> Result<HubConnection, ConnectError> {
        let url = &self.url;
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((url.host.as_str(), url.port))
            .await
            .map_err(|error| format!("{}: {error}", url.host))?
            .collect();
        let connection = dial(addresses.into_iter(), self.source, until)
            .await
            .map_err(|error| format!("{}:{}: {error}", url.host, url.port))?;
        #[cfg(any(target_os = "android", target_os = "linux"))]
        socket2::SockRef::from(&connection).set_tcp_notsent_lowat(NOTSENT_LOWAT_BYTES)?;
        let (local, peer) = (connection.local_addr()?, connection.peer_addr()?);
        let wire = if url.is_tls {
            let name = ServerName::try_from(url.host.clone()).map_err(|error| error.to_string())?;
            let connector = TlsConnector::from(Arc::clone(&self.tls));
            Wire::Tls(Box::new(
                connector
                    .connect(name, ReadAhead::new(connection))
                    .await
                    .map_err(tls_error)?,
            ))
        } else {
            Wire::Plain(connection)
        };
        let mut request = (&url.uri).into_client_request().map_err(ws_error)?;
        let headers = request.headers_mut();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        headers.insert(USER_AGENT, self.agent.clone());
        let (websocket, _) = client_async(request, wire).await.map_err(ws_error)?;
        Ok(HubConnection {
            // The hub says nothing before our hello, so nothing lies in what the library has read.
            transport: WebSocket::new(websocket.into_inner(), Role::Client, &[]),
            local,
            peer,
        })
    }
}

/// A handshake that failed, in the words of somebody who wrote the address.
fn tls_error(error: io::Error) -> ConnectError {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(rustls::Error::InvalidMessage(_)) => {
            format!("it does not speak TLS ({error}): a hub without TLS is ws://, not wss://").into()
        }
        _ => error.into(),
    }
}

fn ws_error(error: WsError) -> ConnectError {
    let WsError::Http(response) = error else {
        return error.to_string().into();
    };
    let retry_after = response.headers().get(RETRY_AFTER);
    let retry_after = retry_after
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs)
        .map(bounded);
    ConnectError {
        problem: match response.status() {
            StatusCode::NOT_FOUND => "it answers 404 Not Found: a hub's address ends in /ws".to_owned(),
            status => format!("it answers {status}"),
        },
        retry_after,
    }
}

/// No hub can send a device away for longer than an hour.
pub(crate) fn bounded(retry_after: Duration) -> Duration {
    retry_after.min(MAX_RETRY_AFTER)
}

impl<T: ToString> From<T> for ConnectError {
    fn from(problem: T) -> Self {
        Self {
            problem: problem.to_string(),
            retry_after: None,
        }
    }
}

/// The connection below the WebSocket.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<ReadAhead<TcpStream>>>),
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(wire) => Pin::new(wire).poll_read(cx, buf),
            Self::Tls(wire) => Pin::new(wire).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(wire) => Pin::new(wire).poll_write(cx, data),
            Self::Tls(wire) => Pin::new(wire).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(wire) => Pin::new(wire).poll_flush(cx),
            Self::Tls(wire) => Pin::new(wire).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(wire) => Pin::new(wire).poll_shutdown(cx),
            Self::Tls(wire) => Pin::new(wire).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_addresses_are_parsed_once() {
        for (text, host, port, is_tls) in [
            ("ws://127.0.0.1:8001/ws", "127.0.0.1", 8001, false),
            ("wss://hub.example/ws", "hub.example", 443, true),
            ("ws://hub.example", "hub.example", 80, false),
            ("wss://[2606:4700::1111]:8443/ws", "2606:4700::1111", 8443, true),
            ("ws://[::1]/ws", "::1", 80, false),
        ] {
            let url: HubUrl = text.parse().unwrap();
            assert_eq!(
                (url.host.as_str(), url.port, url.is_tls),
                (host, port, is_tls),
                "{text}"
            );
        }
        for text in [
            "",
            "hub.example",
            "http://hub.example/ws",
            "ws:///ws",
            "ws://user@hub.example/ws",
            "ws://hub.example:0/ws",
            "ws://hub.example:99999/ws",
            "ws://hub.example:x/ws",
        ] {
            assert_eq!(text.parse::<HubUrl>(), Err(HubUrlError), "{text}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_a_named_error() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("ca.pem");
        for text in [
            None,
            Some("no certificate"),
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let error = roots(Some(&path)).unwrap_err().to_string();
            assert!(error.starts_with("ca: ") && error.contains("ca.pem"), "{error}");
        }
        assert!(!roots(None).unwrap().is_empty());
    }
}
