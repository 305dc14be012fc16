//! Whose certificates are good.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::SetupError;

/// The usual authorities, and those that the customer adds.
#[derive(Clone, Default)]
pub(crate) struct Trust {
    added: Vec<Vec<u8>>,
}

impl Trust {
    /// Takes in certificates in PEM; they are read by [`config`](Self::config).
    pub(crate) fn add(&mut self, pem: &[u8]) {
        self.added.push(pem.to_vec());
    }

    pub(crate) fn config(self) -> Result<Arc<ClientConfig>, SetupError> {
        let wrong = |error: String| SetupError::Certificates(error);
        let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        for pem in self.added {
            let certificates = CertificateDer::pem_slice_iter(&pem)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| wrong(error.to_string()))?;
            if certificates.is_empty() {
                return Err(wrong("there is none in PEM form".to_owned()));
            }
            for certificate in certificates {
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
        }
        let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(tls))
    }
}
