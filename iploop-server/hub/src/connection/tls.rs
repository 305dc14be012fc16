//! TLS by the hub itself: rustls with ring, TLS 1.3 and 1.2, resumption by tickets.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{HubConfig, HubError};

/// Plain text that waits in a TLS connection to be sent, in bytes: one record. The queue is the tunnel's, not TLS's.
const BUFFER_BYTES: usize = 16 * 1024;

/// Accepts TLS connections.
#[derive(Clone)]
pub(crate) struct Tls(TlsAcceptor);

impl Tls {
    /// By the configuration; none if the hub speaks in clear, behind a terminator.
    pub(crate) fn open(config: &HubConfig) -> Result<Option<Self>, HubError> {
        let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) else {
            return Ok(None);
        };
        let wrong = |key: &'static str, path: &Path, problem: String| HubError::Value {
            key,
            problem: format!("{}: {problem}", path.display()),
        };
        let chain = CertificateDer::pem_file_iter(cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong("tls_cert", cert, error.to_string()))?;
        if chain.is_empty() {
            return Err(wrong("tls_cert", cert, "holds no certificate".to_owned()));
        }
        let private =
            PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("tls_key", key, error.to_string()))?;
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
            .and_then(|mut server| {
                server.ticketer = ring::Ticketer::new()?;
                Ok(server)
            });
        let mut server = server.map_err(|error| wrong("tls_key", key, error.to_string()))?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        // One is enough: a device resumes one connection at a time.
        server.send_tls13_tickets = 1;
        Ok(Some(Self(TlsAcceptor::from(Arc::new(server)))))
    }

    /// The handshake. The caller limits the time.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.0
            .accept_with(stream, |connection| {
                connection.set_buffer_limit(Some(BUFFER_BYTES))
            })
            .await
    }
}
