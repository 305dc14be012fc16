use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore, crypto};
use schemars::JsonSchema;
use serde::Deserialize;

/// The `[outbound]` section: requests that the server itself makes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutboundConfig {
    /// Certificates (PEM) trusted besides those that browsers trust: for a webhook, mail service or assistant of your own.
    #[schemars(example = &"/etc/iploop/ca.pem")]
    pub ca: Option<PathBuf>,
}

impl OutboundConfig {
    /// What is wrong with the file that the section names.
    pub fn file_mistakes(&self) -> Vec<String> {
        self.tls().err().into_iter().collect()
    }

    /// Trust in the usual roots and the operator's own.
    pub(super) fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(path) = &self.ca {
            let problem = |error: String| format!("outbound.ca: {}: {error}", path.display());
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| problem(error.to_string()))?;
            if certificates.is_empty() {
                return Err(problem("holds no certificate in PEM form".to_owned()));
            }
            for certificate in certificates {
                roots
                    .add(certificate)
                    .map_err(|error| problem(error.to_string()))?;
            }
        }
        let mut tls = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(tls))
    }
}
