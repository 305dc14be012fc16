//! TLS by the hub itself.

use std::sync::Arc;

use iploop_platform::tls::{self, TlsMistake};
use iploop_protocol::io::ReadAhead;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::HubConfig;

/// Plain text that waits in a TLS connection to be sent, in bytes: what the tunnel's driver flushes at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// Accepts TLS connections.
#[derive(Clone)]
pub(crate) struct Tls(TlsAcceptor);

impl Tls {
    /// By the configuration; none if the hub speaks in clear, behind a terminator.
    ///
    /// # Errors
    /// Everything that is wrong with the files.
    pub(crate) fn open(config: &HubConfig) -> Result<Option<Self>, Vec<TlsMistake>> {
        let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) else {
            return Ok(None);
        };
        let mut server = tls::server_config(cert, key)?;
        // One is enough: a device resumes one connection at a time.
        server.send_tls13_tickets = 1;
        Ok(Some(Self(TlsAcceptor::from(Arc::new(server)))))
    }

    /// The handshake. The caller limits the time.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<ReadAhead<TcpStream>>> {
        self.0
            .accept_with(ReadAhead::new(stream), |connection| {
                connection.set_buffer_limit(Some(BUFFER_BYTES))
            })
            .await
    }
}
