//! The management API: where it is, who asks, and how a request goes there and comes back.

mod call;
mod connector;
mod error;
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
pub use self::error::ApiError;
pub use self::stream::Download;
use crate::retries::Retries;
use crate::values::Secret;
use crate::wire::{Dialer, PATIENCE, SetupError, Trust, read_url};

/// How long a connection is kept for the next request. The server closes one after 6 seconds.
const KEEP: Duration = Duration::from_secs(4);

/// The API of one server. Clones share their connections.
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

/// What an [`Api`] is made of.
#[must_use]
pub struct ApiBuilder {
    url: String,
    trust: Trust,
    patience: Duration,
    retries: Retries,
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
    pub fn builder(url: &str) -> ApiBuilder {
        ApiBuilder {
            url: url.to_owned(),
            trust: Trust::default(),
            patience: PATIENCE,
            retries: Retries::default(),
            in_clear: false,
        }
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

impl ApiBuilder {
    /// Trusts these authorities too: certificates in PEM.
    pub fn trust_pem(mut self, pem: &[u8]) -> Self {
        self.trust.add(pem);
        self
    }

    /// Longest wait for an answer, and for each further piece of a [`Download`]; 60 seconds unless set.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How often requests that change nothing twice (GET, PUT, DELETE) are repeated after 429 and 503.
    pub fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// Sends passwords and tokens in clear to another machine, where something else protects the way.
    pub fn allow_in_clear(mut self) -> Self {
        self.in_clear = true;
        self
    }

    /// Puts it together; nothing is asked yet.
    ///
    /// # Errors
    /// What is wrong with the address or the certificates.
    pub fn build(self) -> Result<Api, SetupError> {
        let (uri, place) = read_url(&self.url)?;
        if uri.query().is_some() || self.url.contains('#') {
            return Err(SetupError::Url("it has more than a path"));
        }
        if !place.is_tls && !place.is_loopback() && !self.in_clear {
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
                base: self.url.trim_end_matches('/').to_owned(),
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
