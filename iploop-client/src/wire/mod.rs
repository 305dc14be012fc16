//! Connections: to an address, by TLS or in clear.

mod content;
mod link;
mod place;
mod trust;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use iploop_protocol::targeting::CredentialsFault;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub(crate) use self::content::{next_piece, whole};
pub(crate) use self::link::Link;
pub(crate) use self::place::Place;
pub(crate) use self::trust::Trust;

/// Longest wait for a connection, and for its TLS handshake.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest wait for an answer's head, and for each further piece of it, unless set otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What is wrong with the address, the key or the certificates that one is to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// What is wrong with the address. It is not repeated: somebody may have put a key into it.
    #[error("the address: {0}")]
    Url(&'static str),
    /// The key has no form that a key has.
    #[error(transparent)]
    Key(#[from] CredentialsFault),
    /// What should be certificates in PEM is none.
    #[error("certificates: {0}")]
    Certificates(String),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody answers at this address.
    #[error("no connection to {to}: {source}")]
    Refused {
        /// Host and port.
        to: String,
        /// As the system says it.
        source: io::Error,
    },
    /// TLS does not come about: the certificate is not trusted, or the other side does not speak TLS.
    #[error("no TLS with {to}: {source}")]
    Tls {
        /// Host and port.
        to: String,
        /// As rustls says it.
        source: io::Error,
    },
    /// It takes too long.
    #[error("no connection to {to} within {CONNECT_TIMEOUT:?}")]
    Timeout {
        /// Host and port.
        to: String,
    },
}

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Dialer {
    tls: Arc<ClientConfig>,
}

impl Dialer {
    pub(crate) fn new(trust: Trust) -> Result<Self, SetupError> {
        let tls = trust.config()?;
        Ok(Self { tls })
    }

    /// A connection to this place, by TLS where it says so.
    pub(crate) async fn dial(&self, place: &Place) -> Result<Link, ConnectError> {
        let to = || place.authority();
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect((place.host(), place.port)))
            .await
            .map_err(|_| ConnectError::Timeout { to: to() })?
            .map_err(|source| ConnectError::Refused { to: to(), source })?;
        let _ = stream.set_nodelay(true);
        let link = Link::new(stream);
        match place.is_tls {
            true => self.secure(link, place).await,
            false => Ok(link),
        }
    }

    /// TLS with this place inside `link`.
    pub(crate) async fn secure(&self, link: Link, place: &Place) -> Result<Link, ConnectError> {
        let to = || place.authority();
        let tls = |source| ConnectError::Tls { to: to(), source };
        let name =
            ServerName::try_from(place.host().to_owned()).map_err(|error| tls(io::Error::other(error)))?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = timeout(CONNECT_TIMEOUT, connector.connect(name, link))
            .await
            .map_err(|_| ConnectError::Timeout { to: to() })?
            .map_err(tls)?;
        Ok(Link::new(stream))
    }
}

impl ConnectError {
    /// The same once more, for whom only a reference is left.
    pub(crate) fn again(&self) -> Self {
        let copy = |source: &io::Error| io::Error::new(source.kind(), source.to_string());
        match self {
            Self::Refused { to, source } => Self::Refused {
                to: to.clone(),
                source: copy(source),
            },
            Self::Tls { to, source } => Self::Tls {
                to: to.clone(),
                source: copy(source),
            },
            Self::Timeout { to } => Self::Timeout { to: to.clone() },
        }
    }
}

/// Reads an address of `http` or `https`.
pub(crate) fn read_url(url: &str) -> Result<(Uri, Place), SetupError> {
    let uri: Uri = url.parse().map_err(|_| SetupError::Url("it is none"))?;
    let place = Place::of(&uri).map_err(SetupError::Url)?;
    Ok((uri, place))
}
