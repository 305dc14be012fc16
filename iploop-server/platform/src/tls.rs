//! TLS by one of our own listeners: the operator's certificate and key, rustls with ring, TLS 1.3 and 1.2.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error, ServerConfig};

/// What is wrong with one of the two files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsMistake {
    /// `tls_cert` or `tls_key`: the key of the section that names the file.
    pub key: &'static str,
    /// The file, what is wrong with it, and the way out where there is one.
    pub problem: String,
}

/// Reads a certificate chain and its private key, both in PEM form, for a listener that speaks HTTP/1.1. Sessions are resumed
/// by tickets.
///
/// Blocks on the file system; meant for the start.
///
/// # Errors
/// Everything that is wrong with the two files, or with the two together.
pub fn server_config(cert: &Path, key: &Path) -> Result<ServerConfig, Vec<TlsMistake>> {
    let chain = read_chain(cert).map_err(|problem| mistake("tls_cert", cert, &problem));
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| mistake("tls_key", key, &explain(&error, "private key")));
    let (chain, private) = match (chain, private) {
        (Ok(chain), Ok(private)) => (chain, private),
        (chain, private) => return Err(chain.err().into_iter().chain(private.err()).collect()),
    };
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .and_then(|mut config| {
            config.ticketer = ring::Ticketer::new()?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Ok(config)
        });
    config.map_err(|error| {
        vec![match error {
            Error::InconsistentKeys(_) => {
                let problem = format!("is not the key of the certificate in {}", cert.display());
                mistake("tls_key", key, &problem)
            }
            Error::InvalidCertificate(_) => mistake("tls_cert", cert, &error.to_string()),
            other => mistake("tls_key", key, &other.to_string()),
        }]
    })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| explain(&error, "certificate"))?;
    if chain.is_empty() {
        return Err(explain(&pem::Error::NoItemsFound, "certificate"));
    }
    Ok(chain)
}

fn explain(error: &pem::Error, wanted: &str) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => format!("holds no {wanted} in PEM form"),
        other => other.to_string(),
    }
}

fn mistake(key: &'static str, path: &Path, problem: &str) -> TlsMistake {
    TlsMistake {
        key,
        problem: format!("{}: {problem}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        }

        fn identity(&self, name: &str) -> (PathBuf, PathBuf) {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            (
                self.write(&format!("{name}.pem"), &made.cert.pem()),
                self.write(&format!("{name}.key"), &made.signing_key.serialize_pem()),
            )
        }
    }

    fn mistakes(cert: &Path, key: &Path) -> Vec<(&'static str, String)> {
        let found = server_config(cert, key).unwrap_err();
        found
            .into_iter()
            .map(|found| (found.key, found.problem))
            .collect()
    }

    #[test]
    fn a_certificate_and_its_key_are_taken() {
        let files = Files::new();
        let (cert, key) = files.identity("ours");
        let config = server_config(&cert, &key).unwrap();
        assert_eq!(config.alpn_protocols, [b"http/1.1"]);
        assert!(config.ticketer.enabled());
    }

    #[test]
    fn each_wrong_file_is_named_by_its_own_key() {
        let files = Files::new();
        let (cert, key) = files.identity("ours");
        let (_, foreign) = files.identity("theirs");
        let text = files.write("text", "no PEM");
        let cut = files.write("cut", "-----BEGIN CERTIFICATE-----\nAAAA\n");
        let no_der = files.write(
            "no-der",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        );
        let nowhere = files.0.path().join("nowhere");
        for (cert, key, wrong, word) in [
            (&nowhere, &key, "tls_cert", "No such file"),
            (&text, &key, "tls_cert", "holds no certificate in PEM form"),
            (&cut, &key, "tls_cert", "cut: "),
            (&no_der, &key, "tls_cert", "no-der: "),
            (&cert, &nowhere, "tls_key", "No such file"),
            (&cert, &cert, "tls_key", "holds no private key in PEM form"),
            (&cert, &foreign, "tls_key", "is not the key of the certificate"),
        ] {
            let found = mistakes(cert, key);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(
                found[0].0 == wrong && found[0].1.contains(word),
                "{word}: {found:?}"
            );
        }
        let both: Vec<_> = mistakes(&nowhere, &text)
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(both, ["tls_cert", "tls_key"], "both at once");
    }
}
