//! The management API: where it is, who asks, and how a request goes there and comes back.

mod call;
mod connector;
mod stream;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

pub(crate) use self::call::{Call, segment};
use self::connector::Connector;
pub use self::stream::Download;
use crate::builder::Builder;
use crate::retries::Retries;
use crate::values::Secret;
use crate::wire::{Dialer, SetupError, read_url};

/// How long a connection is kept for the next request. The server closes one after 6 seconds.
const KEEP: Duration = Duration::from_secs(4);

/// The API of one server. Clones share their connections. Requests that change nothing twice (GET, PUT, DELETE) are repeated after
/// 429 and 503, as [`Retries`] say.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
    token: Option<Secret>,
}

struct Shared {
    /// The server's address without a slash at its end.
    base: String,
    client: Client<Connector, Full<Bytes>>,
    patience: Duration,
    retries: Retries,
}

/// What an [`Api`] alone is made of.
pub struct ServerAddress {
    url: String,
    in_clear: bool,
}

impl Api {
    /// The API of the server at this address: `https://iploop.example.com`, or `http://` on this machine.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub fn at(url: &str) -> Result<Self, SetupError> {
        Self::builder(url).build()
    }

    /// The same with settings.
    pub fn builder(url: &str) -> Builder<ServerAddress> {
        Builder::new(ServerAddress {
            url: url.to_owned(),
            in_clear: false,
        })
    }

    /// The same API asked by the owner of this token: of a login, or an API key where an operation takes one.
    #[must_use]
    pub fn with_token(&self, token: impl Into<Secret>) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            token: Some(token.into()),
        }
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call<'_> {
        Call::new(self, method, path)
    }
}

impl Builder<ServerAddress> {
    /// Sends passwords and tokens in clear to another machine, where something else protects the way.
    pub fn allow_in_clear(mut self) -> Self {
        self.own.in_clear = true;
        self
    }

    /// Puts it together; nothing is asked yet.
    ///
    /// # Errors
    /// What is wrong with the address or the certificates.
    pub fn build(self) -> Result<Api, SetupError> {
        let ServerAddress { url, in_clear } = self.own;
        let (uri, place) = read_url(&url)?;
        if uri.query().is_some() || url.contains('#') {
            return Err(SetupError::Url("it has more than a path"));
        }
        if !place.is_tls && !place.is_loopback() && !in_clear {
            return Err(SetupError::Url(
                "passwords and tokens would go there in clear: use https://",
            ));
        }
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEEP)
            .build(Connector(Dialer::new(self.trust)?));
        Ok(Api {
            shared: Arc::new(Shared {
                base: url.trim_end_matches('/').to_owned(),
                client,
                patience: self.patience,
                retries: self.retries,
            }),
            token: None,
        })
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("base", &self.shared.base)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_can_be_none_is_refused_with_its_reason() {
        for (url, reason) in [
            ("iploop.example.com", "http"),
            ("http://iploop.example.com", "in clear"),
            ("https://ada:secret@iploop.example.com", "login"),
            ("https://iploop.example.com/?a=b", "path"),
            ("ftp://iploop.example.com", "http"),
        ] {
            let error = Api::at(url).unwrap_err().to_string();
            assert!(
                error.contains(reason) && !error.contains("secret"),
                "{url}: {error}"
            );
        }
        assert!(Api::at("http://127.0.0.1:3000").is_ok());
        assert!(
            Api::builder("http://iploop.example.com")
                .allow_in_clear()
                .build()
                .is_ok()
        );
        let certificates = Api::builder("https://a.test").trust_pem(b"nothing").build();
        assert!(matches!(certificates, Err(SetupError::Certificates(_))));
    }

    #[test]
    fn debug_shows_no_token() {
        let api = Api::at("https://a.test").unwrap().with_token("t0ken");
        assert!(!format!("{api:?} {:?}", api.keys()).contains("t0ken"));
    }
}
