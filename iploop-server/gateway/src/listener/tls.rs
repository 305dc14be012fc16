//! TLS towards customers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use iploop_platform::tls::{self, TlsMistake};
#[cfg(feature = "acme")]
use parking_lot::Mutex;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

#[cfg(feature = "acme")]
use crate::acme;
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
    Ok(as_acceptor(config))
}

fn as_acceptor(mut config: ServerConfig) -> TlsAcceptor {
    config.max_fragment_size = Some(BUFFER_BYTES);
    TlsAcceptor::from(Arc::new(config))
}

/// The certificate in use, and where the next one comes from.
pub(crate) struct Certificate {
    current: RwLock<TlsAcceptor>,
    source: Source,
    /// There is one.
    is_there: watch::Sender<bool>,
}

/// Where certificates come from.
enum Source {
    /// Files, read again when they change.
    Files(Files),
    /// An ACME directory. Taken by [`Certificate::follow`].
    #[cfg(feature = "acme")]
    Acme(Mutex<Option<acme::Order>>),
}

struct Files {
    cert: PathBuf,
    key: PathBuf,
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
        let files = Files {
            seen: RwLock::new(seen),
            cert: cert.to_owned(),
            key: key.to_owned(),
        };
        Ok(Self {
            current: RwLock::new(acceptor(cert, key)?),
            source: Source::Files(files),
            is_there: watch::Sender::new(true),
        })
    }

    /// Prepares to ask an ACME directory for one.
    ///
    /// # Errors
    /// Each mistake with its key.
    #[cfg(feature = "acme")]
    pub(crate) fn order(config: &acme::AcmeConfig) -> Result<Self, Vec<String>> {
        let (order, mut server) = acme::Order::prepare(config)?;
        server.ticketer = tokio_rustls::rustls::crypto::ring::Ticketer::new()
            .map_err(|error| vec![format!("gateway.acme: {error}")])?;
        server.alpn_protocols = [http2::ALPN, b"http/1.1", acme::ALPN].map(<[u8]>::to_vec).into();
        Ok(Self {
            current: RwLock::new(as_acceptor(server)),
            source: Source::Acme(Mutex::new(Some(order))),
            is_there: watch::Sender::new(false),
        })
    }

    /// Ready when there is one.
    pub(crate) async fn is_there(&self) {
        // Its sender lives as long as this does.
        let _ = self.is_there.subscribe().wait_for(|is_there| *is_there).await;
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
        match &self.source {
            Source::Files(files) => files.reload(&self.current),
            #[cfg(feature = "acme")]
            Source::Acme(_) => Ok(false),
        }
    }

    /// Sees to the next certificate, for ever.
    pub(crate) async fn follow(self: Arc<Self>) {
        #[cfg(feature = "acme")]
        if let Source::Acme(order) = &self.source {
            let order = order.lock().take();
            if let Some(order) = order {
                order.follow(|| _ = self.is_there.send_replace(true)).await;
            }
            return std::future::pending().await;
        }
        // Files are looked at now and then.
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

impl Files {
    fn reload(&self, current: &RwLock<TlsAcceptor>) -> Result<bool, Vec<String>> {
        let now = look(&self.cert, &self.key);
        if *self.seen.read() == now {
            return Ok(false);
        }
        *self.seen.write() = now;
        *current.write() = acceptor(&self.cert, &self.key)?;
        Ok(true)
    }
}

fn look(cert: &Path, key: &Path) -> Seen {
    [cert, key].map(|path| {
        let facts = std::fs::metadata(path).ok()?;
        Some((facts.modified().ok()?, facts.len()))
    })
}
