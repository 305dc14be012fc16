//! TLS towards customers: the operator's certificate, ring, TLS 1.3 and 1.2.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// Most plain bytes that wait inside TLS for a slow customer.
const BUFFER_BYTES: usize = 16 * 1024;

/// Why a certificate can't be used. Names the key of the configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file that can't be read, or holds nothing of the kind.
    #[error("gateway.{key}: {path}: {source}")]
    File {
        /// Which key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// Certificate and key that can't be used, or not together.
    #[error("gateway.tls_cert, gateway.tls_key: {0}")]
    Unusable(#[from] rustls::Error),
}

/// Reads certificate chain and key.
pub(crate) fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let file = |name, path: &Path, source| TlsError::File {
        key: name,
        path: path.to_owned(),
        source,
    };
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|source| file("tls_cert", cert, source))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| file("tls_key", key, source))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)?;
    // Proxies are spoken to in HTTP/1.1 or SOCKS5, which has no name here.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = ring::Ticketer::new()?;
    config.max_fragment_size = Some(BUFFER_BYTES);
    Ok(TlsAcceptor::from(Arc::new(config)))
}
