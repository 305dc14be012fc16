//! The gateway as one thing: bound, run, drained.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use iploop_platform::abuse::AbuseWatch;
use iploop_platform::admission::Admission;
use iploop_platform::exits::Exits;
use iploop_protocol::policy::Policy;
use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::config::GatewayConfig;
use crate::drain::{Drain, Phase};
use crate::exit::{Refusals, Resolver};
use crate::listener;
use crate::listener::tls::Certificate;
use crate::service::Service;
use crate::sessions::Sessions;

/// How often a draining gateway looks whether it has become empty.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Customers' side of IPLoop: listeners, admission, exits, relay, metering.
///
/// Cheap to clone; one clone runs it, another drains it.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

struct Inner {
    service: Arc<Service>,
    tls: Option<Arc<Certificate>>,
    addresses: Vec<SocketAddr>,
    /// Taken by [`Gateway::run`].
    listeners: Mutex<Vec<TcpListener>>,
    stop: CancellationToken,
}

/// What the gateway is built on.
pub struct Dependencies {
    /// The way out.
    pub exits: Arc<dyn Exits>,
    /// Who may use it.
    pub admission: Arc<Admission>,
    /// Where to: checked here first, and on the device again.
    pub policy: Policy,
    /// The sticky sessions, as they were kept.
    pub sessions: Sessions,
    /// Hears whom it refuses.
    pub watch: AbuseWatch,
}

/// Why the gateway can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The configuration or a file that it names is unsound: each mistake with its key.
    #[error("{}", .0.join("; "))]
    Config(Vec<String>),
    /// An address that can't be listened on.
    #[error("gateway.listen: {address}: {source}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

impl Gateway {
    /// Opens every listener. Connections wait in the kernel until [`run`](Self::run) is polled.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(config: GatewayConfig, dependencies: Dependencies) -> Result<Self, BindError> {
        let mistakes = config.mistakes();
        if !mistakes.is_empty() {
            return Err(BindError::Config(mistakes));
        }
        let tls = match (&config.tls_cert, &config.tls_key) {
            (Some(cert), Some(key)) => {
                let certificate = Certificate::read(cert, key).map_err(BindError::Config)?;
                Some(Arc::new(certificate))
            }
            #[cfg(feature = "acme")]
            _ if config.acme.is_on() => {
                let certificate = Certificate::order(&config.acme).map_err(BindError::Config)?;
                Some(Arc::new(certificate))
            }
            _ => None,
        };
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for &address in &config.listen {
            let listen = |source| BindError::Listen { address, source };
            let listener = listener::bind(address).map_err(listen)?;
            addresses.push(listener.local_addr().map_err(listen)?);
            listeners.push(listener);
        }
        let Dependencies {
            exits,
            admission,
            policy,
            sessions,
            watch,
        } = dependencies;
        let service = Arc::new(Service {
            exits,
            admission,
            sessions,
            policy: RwLock::new(policy),
            watch,
            resolver: Resolver::default(),
            refusals: Refusals::default(),
            config,
            drain: Drain::default(),
            load: Arc::default(),
        });
        let inner = Inner {
            service,
            tls,
            addresses,
            listeners: Mutex::new(listeners),
            stop: CancellationToken::new(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The addresses listened on, in the order of the configuration, with their real ports.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.inner.addresses
    }

    /// The sticky sessions.
    pub(crate) fn sticky(&self) -> &Sessions {
        &self.inner.service.sessions
    }

    /// The way out.
    pub(crate) fn exits(&self) -> &dyn Exits {
        &*self.inner.service.exits
    }

    /// Takes a renewed certificate from its files for new connections; true if they changed since they were last read. The running gateway does so
    /// by itself twice a minute.
    ///
    /// Blocks on the file system.
    ///
    /// # Errors
    /// Each mistake with its key: the certificate in use stays.
    pub fn reload_certificate(&self) -> Result<bool, Vec<String>> {
        match &self.inner.tls {
            Some(certificate) => certificate.reload(),
            None => Ok(false),
        }
    }

    /// Ready when there is a certificate for customers who connect by TLS; never where none is configured. One from an ACME
    /// directory comes only while the gateway runs.
    pub async fn certified(&self) {
        match &self.inner.tls {
            Some(certificate) => certificate.is_there().await,
            None => std::future::pending().await,
        }
    }

    /// Customers' connections that are open now.
    pub fn connections(&self) -> usize {
        self.inner.service.load.connections()
    }

    /// Puts another exit policy in force for new requests.
    pub fn set_policy(&self, policy: Policy) {
        *self.inner.service.policy.write() = policy;
    }

    /// Serves until [`drain`](Self::drain) is done. Only the first call does; dropping its future cuts every connection off.
    pub async fn run(&self) {
        let inner = &self.inner;
        let listeners = std::mem::take(&mut *inner.listeners.lock());
        let mut running = JoinSet::new();
        for listener in listeners {
            running.spawn(listener::run(
                listener,
                Arc::clone(&inner.service),
                inner.tls.clone(),
                inner.stop.clone(),
            ));
        }
        let serve = async { while running.join_next().await.is_some() {} };
        let sessions = &inner.service.sessions;
        let follow = async {
            match inner.tls.clone() {
                Some(certificate) => certificate.follow().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = serve => {}
            () = sessions.keep() => {}
            () = follow => {}
        }
        if let Err(error) = sessions.write_all().await {
            tracing::warn!(%error, "the last changes of sticky sessions could not be written down");
        }
    }

    /// Leaves within `grace`, or a second where that is less: serves what comes for
    /// [`soft_drain`](GatewayConfig::soft_drain), each connection ending after its request; then answers new requests with
    /// `draining` and lets the others finish; then cuts off what is left.
    ///
    /// The listeners close last, so that no customer is refused a connection while another gateway takes over. That takes
    /// its time also when nobody is connected: a load balancer still sends whoever comes next here.
    pub async fn drain(&self, grace: Duration) {
        let drain = &self.inner.service.drain;
        let end = Instant::now() + grace.saturating_sub(listener::LAST_ANSWERS);
        drain.enter(Phase::Soft);
        sleep(self.inner.service.config.soft_drain.min(grace)).await;
        drain.enter(Phase::Refusing);
        // Who is only here to be refused is not waited for: others would come meanwhile, without end.
        while self.inner.service.load.served() > 0 && Instant::now() < end {
            sleep(DRAIN_LOOK).await;
        }
        self.inner.stop.cancel();
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("addresses", &self.inner.addresses)
            .finish_non_exhaustive()
    }
}
