//! The certificate of the proxy port from an ACME directory (RFC 8555), instead of files: asked for at the start and renewed by
//! itself. The directory sees that the names are ours by TLS on the proxy port itself (TLS-ALPN-01, RFC 8737).
//!
//! Built with the cargo feature `acme`; a configuration that asks for it is refused by a build without.

#[cfg(feature = "acme")]
mod order;

use std::path::PathBuf;

use iploop_protocol::destination::{Destination, Host};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "acme")]
pub(crate) use self::order::Order;

/// The protocol's name in ALPN, by which a directory asks for its proof (RFC 8737 section 6.2).
pub(crate) const ALPN: &[u8] = b"acme-tls/1";

/// The directory of Let's Encrypt.
const DEFAULT_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Names on one certificate; Let's Encrypt takes no more.
const MAX_DOMAINS: usize = 100;

/// The `[gateway.acme]` section: a certificate from an ACME directory, for builds with the feature `acme`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AcmeConfig {
    /// Names of the proxy; none: no certificate is asked for. The directory must reach port 443 of each, and from there a listener
    /// of the gateway.
    pub domains: Vec<String>,
    /// Whom the directory warns, as `mailto:ops@example.com`.
    pub contact: Vec<String>,
    /// The directory. Using it means agreeing to its terms.
    pub directory: String,
    /// Certificates in PEM that a directory of one's own is trusted by; default: the public ones.
    #[schemars(example = &"/etc/iploop/directory-ca.pem")]
    pub directory_ca: Option<PathBuf>,
    /// Folder for the account's key, the certificate and its key; default: `acme` in the data folder.
    #[schemars(example = &"/var/lib/iploop/acme")]
    pub cache: Option<PathBuf>,
}

impl Default for AcmeConfig {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            contact: Vec::new(),
            directory: DEFAULT_DIRECTORY.to_owned(),
            directory_ca: None,
            cache: None,
        }
    }
}

impl AcmeConfig {
    /// Whether a certificate is asked for.
    pub fn is_on(&self) -> bool {
        !self.domains.is_empty()
    }

    /// What is wrong with the section, each with its key; empty if nothing is. Files are not looked at.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if !self.is_on() {
            return mistakes;
        }
        if !cfg!(feature = "acme") {
            mistakes.push(
                "gateway.acme: this build has no ACME; build it with --features acme, or give tls_cert and tls_key"
                    .to_owned(),
            );
        }
        if self.domains.len() > MAX_DOMAINS {
            mistakes.push(format!("gateway.acme.domains: at most {MAX_DOMAINS} names"));
        }
        let unfit = self.domains.iter().find(|domain| !is_name(domain));
        if let Some(domain) = unfit {
            mistakes.push(format!(
                "gateway.acme.domains: {domain:?} is not a host name; addresses and wildcards can't be proven on this port"
            ));
        }
        if let Some(contact) = self
            .contact
            .iter()
            .find(|contact| !contact.starts_with("mailto:"))
        {
            mistakes.push(format!(
                "gateway.acme.contact: {contact:?} is no mail address; write \"mailto:ops@example.com\""
            ));
        }
        if !self.directory.starts_with("https://") {
            mistakes.push("gateway.acme.directory: must be an https:// address".to_owned());
        }
        mistakes
    }

    /// What is wrong with the files that the section names, each with its key. Reads them; meant for the start.
    pub(crate) fn file_mistakes(&self) -> Vec<String> {
        #[cfg(feature = "acme")]
        if self.is_on() {
            return order::client_config(self).err().into_iter().collect();
        }
        Vec::new()
    }
}

/// A name with a dot in it, as certificates have them.
fn is_name(domain: &str) -> bool {
    let parsed = domain
        .contains('.')
        .then(|| format!("{domain}:443").parse::<Destination>());
    matches!(
        parsed,
        Some(Ok(Destination {
            host: Host::Name(_),
            ..
        }))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_is_named_by_its_key() {
        assert_eq!(AcmeConfig::default().mistakes(), Vec::<String>::new());
        let config = AcmeConfig {
            domains: vec!["proxy.example.com".to_owned(), "p2.example.com".to_owned()],
            contact: vec!["mailto:ops@example.com".to_owned()],
            ..AcmeConfig::default()
        };
        let feature = usize::from(!cfg!(feature = "acme"));
        assert_eq!(config.mistakes().len(), feature, "{:?}", config.mistakes());
        for domain in ["*.example.com", "localhost", "192.0.2.7", "a b.example", ""] {
            let config = AcmeConfig {
                domains: vec![domain.to_owned()],
                ..config.clone()
            };
            let mistakes = config.mistakes();
            assert!(
                mistakes.len() == 1 + feature && mistakes[feature].starts_with("gateway.acme.domains: "),
                "{mistakes:?}"
            );
        }
        let config = AcmeConfig {
            domains: vec!["a.example".to_owned(); MAX_DOMAINS + 1],
            contact: vec!["ops@example.com".to_owned()],
            directory: "http://127.0.0.1/dir".to_owned(),
            ..config
        };
        let mistakes = config.mistakes();
        for key in ["domains", "contact", "directory"] {
            let start = format!("gateway.acme.{key}: ");
            assert_eq!(
                mistakes.iter().filter(|line| line.starts_with(&start)).count(),
                1,
                "{mistakes:?}"
            );
        }
    }
}
