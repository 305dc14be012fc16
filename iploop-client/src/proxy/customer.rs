//! Who asks, and by which proxy.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use iploop_protocol::targeting::Targeting;

use super::{Answer, ProxyLogin};
use crate::builder::Builder;
use crate::error::Error;
use crate::refusal::Refusal;
use crate::retries::{Retries, Schedule};
use crate::wire::{Dialer, Place, SetupError, read_url};

/// Makes requests through the proxy. Clones are cheap.
///
/// Each request has a connection of its own, so that its wishes hold for it alone: without a session another exit serves each.
/// Redirects are answers like others and not followed.
#[derive(Clone, Debug)]
pub struct Customer {
    pub(super) shared: Arc<Shared>,
    pub(super) login: ProxyLogin,
    pub(super) rotates: bool,
}

pub(super) struct Shared {
    pub(super) proxy: Place,
    pub(super) dialer: Dialer,
    pub(super) patience: Duration,
    retries: Retries,
}

/// What a [`Customer`] alone is made of.
pub struct ProxyAddress {
    url: String,
    login: ProxyLogin,
}

impl Customer {
    /// By the proxy at this address, `http://proxy.example.com:7777` or `https://…`, with this key.
    ///
    /// # Errors
    /// What is wrong with the address or the key.
    pub fn at(proxy: &str, key: &str) -> Result<Self, SetupError> {
        Self::builder(proxy, ProxyLogin::new(key)?).build()
    }

    /// The same with settings.
    pub fn builder(proxy: &str, login: ProxyLogin) -> Builder<ProxyAddress> {
        Builder::new(ProxyAddress {
            url: proxy.to_owned(),
            login,
        })
    }

    /// The same customer with these wishes.
    #[must_use]
    pub fn with(&self, targeting: Targeting) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            login: self.login.with(targeting),
            rotates: false,
        }
    }

    /// The same customer, whose requests each ask for another exit of their session (`X-IPLoop-Rotate`).
    #[must_use]
    pub fn rotating(&self) -> Self {
        Self {
            rotates: true,
            ..self.clone()
        }
    }

    /// The login, with the wishes.
    pub fn login(&self) -> &ProxyLogin {
        &self.login
    }

    /// Asks for an address of `http` or `https`.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    ///
    /// # Cancel safety
    /// As [`request`](Self::request).
    pub async fn get(&self, url: &str) -> Result<Answer, Error> {
        let request = Request::builder().method(Method::GET).uri(url).body(Bytes::new());
        self.request(request.map_err(Error::invalid)?).await
    }

    /// Makes a request and waits for the head of its answer. `https` goes through a tunnel, in which TLS is spoken with the
    /// destination itself.
    ///
    /// A request by a safe method (GET, HEAD, OPTIONS) that the gateway refused for now is repeated as [`Retries`] say. Nothing is
    /// repeated once a byte of an answer came from the destination, and nothing that the destination itself refused.
    ///
    /// # Errors
    /// Why the destination did not answer. An error that it answered is an [`Answer`].
    ///
    /// # Cancel safety
    /// Dropping the future ends the request; whether the destination acted is not known then.
    pub async fn request(&self, request: Request<Bytes>) -> Result<Answer, Error> {
        let mut schedule = Schedule::begin(self.shared.retries);
        loop {
            let refusal = match self.try_once(&request).await {
                Err(Error::Refused(refusal)) => refusal,
                done => return done,
            };
            let may_repeat = request.method().is_safe() && is_for_now(&refusal);
            if !may_repeat || !schedule.wait(refusal.retry_after).await {
                return Err(Error::Refused(refusal));
            }
        }
    }
}

/// Whether the gateway may answer otherwise a moment later.
fn is_for_now(refusal: &Refusal) -> bool {
    matches!(
        refusal.code(),
        "destination_rate_limited"
            | "draining"
            | "exit_lost"
            | "no_distinct_exit"
            | "no_exit"
            | "node_timeout"
            | "overloaded"
            | "rate_limited"
            | "too_many_connections"
            | "too_many_dials"
            | "too_many_failed_dials"
            | "too_many_hosts"
            | "too_many_ports"
            | "unavailable"
    )
}

impl Builder<ProxyAddress> {
    /// Puts it together; nothing is asked yet.
    ///
    /// # Errors
    /// What is wrong with the address or the certificates.
    pub fn build(self) -> Result<Customer, SetupError> {
        let ProxyAddress { url, login } = self.own;
        let (uri, place) = read_url(&url)?;
        if uri.path_and_query().is_some_and(|path| path != "/") {
            return Err(SetupError::Url("it has more than host and port"));
        }
        if uri.port().is_none() {
            return Err(SetupError::Url("it names no port: the proxy's is 7777"));
        }
        Ok(Customer {
            shared: Arc::new(Shared {
                proxy: place,
                dialer: Dialer::new(self.trust)?,
                patience: self.patience,
                retries: self.retries,
            }),
            login,
            rotates: false,
        })
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_address_is_host_and_port() {
        let key = format!("iploop_{}", "0a".repeat(24));
        for (url, reason) in [
            ("http://proxy.example.com", "port"),
            ("http://proxy.example.com:7777/path", "more than"),
            ("socks5h://proxy.example.com:7777", "http"),
            ("http://iploop:key@proxy.example.com:7777", "login"),
        ] {
            let error = Customer::at(url, &key).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
        assert!(matches!(
            Customer::at("http://a.test:7777", "nothing"),
            Err(SetupError::Key(_))
        ));
        assert!(Customer::at("https://a.test:7777/", &key).is_ok());
    }
}
