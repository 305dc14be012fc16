//! A login for the proxy, for this library and for other programs.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use iploop_protocol::targeting::{CredentialsFault, KeyKind, KeyText, Targeting};

use crate::values::Secret;

/// The protocol in a proxy's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP in clear: a tunnel for `https` destinations, a forwarded request for `http`.
    Http,
    /// The same inside TLS.
    Https,
    /// SOCKS5, with names resolved at the exit.
    Socks5h,
}

/// A key with the wishes of its requests: what stands between `//` and `@` of a proxy's address.
///
/// ```
/// use iploop_client::ProxyLogin;
/// use iploop_client::proxy::Scheme;
/// use iploop_client::targeting::Targeting;
///
/// let login = ProxyLogin::new("iploop_0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6071")?
///     .with(Targeting::builder().country("US").city("New York").build()?);
/// assert_eq!(
///     login.url(Scheme::Socks5h, "proxy.example.com:7777").expose(),
///     "socks5h://iploop:iploop_0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6071-country-US-city-new_york\
///      @proxy.example.com:7777"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyLogin {
    key: KeyText,
    targeting: Targeting,
}

impl ProxyLogin {
    /// The user name: it claims no account, since the key decides alone.
    pub const USER: &str = "iploop";

    /// A login by this key, without wishes.
    ///
    /// # Errors
    /// The text is no API key; a partner's key is none.
    pub fn new(key: &str) -> Result<Self, CredentialsFault> {
        let key = KeyText::parse(key)?;
        match key.kind() {
            KeyKind::Customer => Ok(Self {
                key,
                targeting: Targeting::default(),
            }),
            KeyKind::Partner => Err(CredentialsFault::PartnerKey),
        }
    }

    /// The same with these wishes instead.
    #[must_use]
    pub fn with(&self, targeting: Targeting) -> Self {
        Self {
            key: self.key.clone(),
            targeting,
        }
    }

    /// The wishes.
    pub fn targeting(&self) -> &Targeting {
        &self.targeting
    }

    /// The password: the key, with the wishes behind it.
    pub fn password(&self) -> Secret {
        let wishes = self.targeting.to_string();
        let dash = if wishes.is_empty() { "" } else { "-" };
        Secret::from(format!("{}{dash}{wishes}", self.key.expose()))
    }

    /// The address of a proxy with this login, for programs that take one: `at` is its host and port.
    pub fn url(&self, scheme: Scheme, at: &str) -> Secret {
        let scheme = match scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Socks5h => "socks5h",
        };
        // Some programs take a `+`, as in `country-CA+US`, for a space.
        let password = self.password().expose().replace('+', "%2B");
        Secret::from(format!("{scheme}://{}:{password}@{at}", Self::USER))
    }

    /// As the field `Proxy-Authorization` wants it.
    pub(super) fn header(&self) -> HeaderValue {
        let login = STANDARD.encode(format!("{}:{}", Self::USER, self.password().expose()));
        // Base64 has no character that a field can't have.
        let mut value =
            HeaderValue::try_from(format!("Basic {login}")).unwrap_or(HeaderValue::from_static("Basic"));
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for ProxyLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut login = f.debug_struct("ProxyLogin");
        login
            .field("targeting", &self.targeting.to_string())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use iploop_protocol::targeting::Credentials;
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "iploop_0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6071";

    #[test]
    fn only_a_customers_key_is_a_login() {
        for (key, fault) in [
            ("", CredentialsFault::NoKey),
            ("iploop_0a1b", CredentialsFault::MalformedKey),
            (
                "iplp_0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f6071",
                CredentialsFault::PartnerKey,
            ),
        ] {
            assert_eq!(ProxyLogin::new(key), Err(fault));
        }
    }

    #[test]
    fn debug_shows_the_wishes_and_not_the_key() {
        let login = ProxyLogin::new(KEY)
            .unwrap()
            .with(Targeting::parse("country-US").unwrap());
        let shown = format!("{login:?} {:?}", login.url(Scheme::Http, "a.test:7777"));
        assert!(
            shown.contains("country-US") && !shown.contains("0a1b2c"),
            "{shown}"
        );
    }

    /// What stands in an address, read as programs read it.
    fn decoded(url: &str) -> (String, String) {
        let (_, rest) = url.split_once("://").unwrap();
        let (login, _) = rest.split_once('@').unwrap();
        let (user, password) = login.split_once(':').unwrap();
        (user.to_owned(), password.replace("%2B", "+"))
    }

    proptest! {
        #[test]
        fn the_gateway_reads_what_was_wished(
            countries in prop::sample::subsequence(vec!["US", "CA", "DE", "IL"], 0..4),
            city in prop::option::of("[a-z]{1,12}( [a-z]{3,8})?"),
            session in prop::option::of("[A-Za-z0-9]{1,20}"),
            debug in any::<bool>(),
        ) {
            let mut wishes = Targeting::builder().debug(debug);
            if !countries.is_empty() {
                wishes = wishes.country(&countries.join("+"));
            }
            if let Some(city) = &city {
                wishes = wishes.city(city);
            }
            if let Some(session) = &session {
                wishes = wishes.session(session);
            }
            // What is a parameter's name can't be a value.
            prop_assume!(wishes.clone().build().is_ok());
            let wishes = wishes.build().unwrap();
            let login = ProxyLogin::new(KEY).unwrap().with(wishes.clone());
            let url = login.url(Scheme::Https, "a.test:7777");
            prop_assert!(url.expose().parse::<http::Uri>().is_ok());
            let (user, password) = decoded(url.expose());
            let read = Credentials::parse(&user, &password).unwrap();
            prop_assert_eq!(read.targeting, wishes);
            prop_assert_eq!(read.key.expose(), KEY);
        }
    }
}
