//! Asking for the certificate and keeping it: `rustls-acme` speaks with the directory, our listeners serve what it has.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt as _;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_acme::caches::DirCache;
use rustls_acme::{AcmeState, EventOk};

use super::AcmeConfig;

/// What is going on with the directory. Nothing happens unless it is followed.
pub(crate) struct Order {
    state: AcmeState<io::Error>,
}

impl Order {
    /// Prepares the folder, and gives what handshakes are made with: they fail until there is a certificate.
    ///
    /// # Errors
    /// Each mistake with its key.
    pub(crate) fn prepare(config: &AcmeConfig) -> Result<(Self, ServerConfig), Vec<String>> {
        let client = client_config(config).map_err(|mistake| vec![mistake])?;
        let Some(folder) = &config.cache else {
            return Err(vec!["gateway.acme.cache: must be given".to_owned()]);
        };
        // Keys will lie there.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| vec![format!("gateway.acme.cache: {}: {error}", folder.display())])?;
        let state = rustls_acme::AcmeConfig::new_with_client_config(&config.domains, Arc::new(client))
            .contact(&config.contact)
            .directory(&config.directory)
            .cache(DirCache::new(folder.clone()))
            .state();
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| vec![format!("gateway.acme: {error}")])?
            .with_no_client_auth()
            .with_cert_resolver(state.resolver());
        Ok((Self { state }, server))
    }

    /// Gets the certificate and renews it, for ever; `deployed` is called when there is one. What fails is tried again after
    /// pauses that grow.
    pub(crate) async fn follow(mut self, deployed: impl Fn()) {
        while let Some(event) = self.state.next().await {
            match event {
                Ok(EventOk::DeployedNewCert) => {
                    tracing::info!("the gateway has a new certificate from its ACME directory");
                    deployed();
                }
                Ok(EventOk::DeployedCachedCert) => deployed(),
                Ok(EventOk::CertCacheStore | EventOk::AccountCacheStore) => {}
                Err(error) => tracing::warn!(%error, "the gateway's ACME directory gave no certificate"),
            }
        }
    }
}

/// How we speak to the directory.
///
/// # Errors
/// The mistake with its key.
pub(super) fn client_config(config: &AcmeConfig) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match &config.directory_ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => trust(&mut roots, path)
            .map_err(|problem| format!("gateway.acme.directory_ca: {}: {problem}", path.display()))?,
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("gateway.acme: {error}"))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn trust(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("holds no certificate in PEM form".to_owned());
    }
    for certificate in certificates {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
