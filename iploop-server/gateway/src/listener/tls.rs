//! TLS towards customers.

use std::path::Path;
use std::sync::Arc;

use iploop_platform::tls::{self, TlsMistake};
use tokio_rustls::TlsAcceptor;

use crate::http2;

/// Most plain bytes that wait inside TLS for a slow customer.
const BUFFER_BYTES: usize = 16 * 1024;

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
