//! TLS towards customers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use iploop_platform::tls::{self, TlsMistake};
use parking_lot::RwLock;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::http2;

/// Most plain bytes that wait inside TLS for a slow customer.
const BUFFER_BYTES: usize = 16 * 1024;

/// How often the files are looked at: a renewed certificate is in use long before the old one ends.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Reads certificate chain and key. Proxies are spoken to in HTTP/2 or HTTP/1.1, or in SOCKS5, which has no name in ALPN.
///
/// # Errors
/// Each mistake with its key.
pub(crate) fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, Vec<String>> {
    let named = |TlsMistake { key, problem }| format!("gateway.{key}: {problem}");
    let mut config = tls::server_config(cert, key)
        .map_err(|mistakes| mistakes.into_iter().map(named).collect::<Vec<_>>())?;
    config.alpn_protocols.insert(0, http2::ALPN.to_vec());
    config.max_fragment_size = Some(BUFFER_BYTES);
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The certificate in use, read again when its files change.
pub(crate) struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<TlsAcceptor>,
    /// What the files were when they were last read.
    seen: RwLock<Seen>,
}

type Seen = [Option<(SystemTime, u64)>; 2];

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// Each mistake with its key.
    pub(crate) fn read(cert: &Path, key: &Path) -> Result<Self, Vec<String>> {
        // Looked at before they are read: a change in between is seen as one.
        let seen = look(cert, key);
        Ok(Self {
            current: RwLock::new(acceptor(cert, key)?),
            seen: RwLock::new(seen),
            cert: cert.to_owned(),
            key: key.to_owned(),
        })
    }

    /// For the next handshake.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().clone()
    }

    /// Takes the files' certificate for new connections, if they changed since they were last read. Blocks.
    ///
    /// # Errors
    /// Each mistake with its key: the certificate in use stays. The same files are not read again.
    pub(crate) fn reload(&self) -> Result<bool, Vec<String>> {
        let now = look(&self.cert, &self.key);
        if *self.seen.read() == now {
            return Ok(false);
        }
        *self.seen.write() = now;
        *self.current.write() = acceptor(&self.cert, &self.key)?;
        Ok(true)
    }

    /// Looks at the files now and then, for ever.
    pub(crate) async fn follow(self: Arc<Self>) {
        loop {
            sleep(LOOK_EVERY).await;
            let certificate = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || certificate.reload()).await {
                Ok(Ok(true)) => tracing::info!("the gateway's certificate was read anew"),
                Ok(Ok(false)) | Err(_) => {}
                Ok(Err(mistakes)) => {
                    let mistakes = mistakes.join("; ");
                    tracing::warn!(%mistakes, "the gateway's new certificate can't be used; the old one stays");
                }
            }
        }
    }
}

fn look(cert: &Path, key: &Path) -> Seen {
    [cert, key].map(|path| {
        let facts = std::fs::metadata(path).ok()?;
        Some((facts.modified().ok()?, facts.len()))
    })
}
