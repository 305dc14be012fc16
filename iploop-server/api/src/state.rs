//! What the handlers work with.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use iploop_platform::abuse::AbuseService;
use iploop_platform::accounts::AccountService;
use iploop_platform::admin::AdminService;
use iploop_platform::asking::AskLimit;
use iploop_platform::billing::BillingService;
use iploop_platform::clock::Clock;
use iploop_platform::device_news::{Connected, NewsBell};
use iploop_platform::ids::AccountId;
use iploop_platform::keys::KeyService;
use iploop_platform::ledger::LedgerService;
use iploop_platform::live::Live;
use iploop_platform::login::Logins;
use iploop_platform::network::Network;
use iploop_platform::notices::NoticeService;
use iploop_platform::owners::{OwnersConfig, PairingLimit};
use iploop_platform::sticky::SessionService;
use iploop_platform::store::Store;
use iploop_platform::support::{Assistant, TicketDesk};
use iploop_platform::webhooks::WebhookService;
use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;
use crate::network_view::NetworkView;

/// Exports at the same time: each reads page after page from the database.
const MAX_EXPORTS: usize = 4;

/// Explanations of targeting that an account may ask for at once, and when it may ask for one more: each looks through the devices.
const MAX_EXPLANATIONS: u32 = 60;
const NEXT_EXPLANATION: Duration = Duration::from_millis(200);
/// Trials of the proxy at the same time: each holds a connection for some seconds.
const MAX_TRIALS: usize = 16;

/// Pairing codes that an account may try at once, and when it may try one more: codes have 40 bits.
const MAX_CLAIMS: u32 = 10;
const NEXT_CLAIM: Duration = Duration::from_secs(30);

/// What the API is made of.
pub struct ApiParts {
    /// Lists, grants, suspension and the audit record.
    pub abuse: AbuseService,
    /// Answers questions.
    pub assistant: Assistant,
    /// Tickets for people.
    pub tickets: TicketDesk,
    /// Users, plans, devices and settings, for admins.
    pub admin: AdminService,
    /// Accounts.
    pub accounts: AccountService,
    /// Signing in and checking who asks.
    pub logins: Logins,
    /// Customer keys.
    pub keys: KeyService,
    /// Acts on the ledger: purchases, refunds, corrections.
    pub ledger: LedgerService,
    /// Subscriptions, top-ups and invoices.
    pub billing: BillingService,
    /// Sticky sessions.
    pub sessions: SessionService,
    /// Customers' addresses for events.
    pub webhooks: WebhookService,
    /// What customers want to be told.
    pub notices: NoticeService,
    /// What credits buy, and the VPN's exits.
    pub owners: OwnersConfig,
    /// Rung when connected devices have to hear of something.
    pub bell: NewsBell,
    /// What the devices say that are connected to this process.
    pub connected: Arc<dyn Connected>,
    /// For reading: usage, plans, and whether the data can be reached.
    pub store: Arc<dyn Store>,
    /// The live devices in aggregates.
    pub network: Arc<dyn Network>,
    /// What happens now.
    pub live: Arc<Live>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How customers reach the proxy.
    pub proxy: ProxyAddresses,
    /// Where we reach it ourselves, to try a key; none: the gateway is elsewhere.
    pub proxy_at: Option<SocketAddr>,
    /// Exits that the gateway asks for one request.
    pub max_attempts: u32,
    /// Further parts that `/readyz` asks, besides the store.
    pub ready_checks: Vec<Arc<dyn ReadyCheck>>,
    /// Cancelled when the process begins to end: `/readyz` says so.
    pub draining: CancellationToken,
    /// The roles of this process, for the status page: `gateway`, `hub`, `api`.
    pub roles: Vec<String>,
    /// As [`crate::ApiConfig::trusted_proxies`].
    pub trusted_proxies: Vec<IpNet>,
}

/// How customers reach the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyAddresses {
    /// Host name or address; an IPv6 address in brackets.
    pub host: String,
    /// HTTP, TLS and SOCKS5, told apart by the first bytes.
    pub http_port: u16,
    /// SOCKS5 on its customary port.
    pub socks5_port: u16,
}

/// A part of the process that must work before it gets traffic.
#[async_trait]
pub trait ReadyCheck: Send + Sync + 'static {
    /// Its name in the answer: `hub`, `gateway`, …
    fn name(&self) -> &'static str;
    /// Whether the process must get no traffic without it; else it is only `degraded`.
    fn is_needed(&self) -> bool {
        true
    }
    /// Fails with a reason for the log. Waited for 2 seconds at most.
    async fn check(&self) -> Result<(), String>;
}

/// Shared by all handlers.
#[derive(Clone)]
pub struct ApiState(Arc<Inner>);

/// The parts, and what is made of them once.
struct Inner {
    parts: ApiParts,
    network: NetworkView,
    exports: Arc<Semaphore>,
    explanations: AskLimit,
    trials: Arc<Semaphore>,
    claims: AskLimit,
    pairing: PairingLimit,
}

impl ApiState {
    /// From its parts.
    pub fn new(parts: ApiParts) -> Self {
        let network = NetworkView::new(Arc::clone(&parts.network));
        let pairing = PairingLimit::new(&parts.logins);
        Self(Arc::new(Inner {
            parts,
            network,
            exports: Arc::new(Semaphore::new(MAX_EXPORTS)),
            explanations: AskLimit::new(MAX_EXPLANATIONS, NEXT_EXPLANATION),
            trials: Arc::new(Semaphore::new(MAX_TRIALS)),
            claims: AskLimit::new(MAX_CLAIMS, NEXT_CLAIM),
            pairing,
        }))
    }

    /// Permission to run an export, unless enough run.
    pub(crate) fn export_turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.exports).try_acquire_owned().ok()
    }

    /// Takes one of the explanations that an account may ask for.
    pub(crate) fn may_explain(&self, account: AccountId) -> Result<(), ApiError> {
        let now = self.0.parts.clock.now();
        let taken = self.0.explanations.take(account, now);
        taken.map_err(ApiError::TooManyRequests)
    }

    /// Permission to try the proxy, unless enough do.
    pub(crate) fn trial_turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.trials).try_acquire_owned().ok()
    }

    /// Takes one of the pairing codes that an account may try.
    pub(crate) fn may_claim(&self, account: AccountId) -> Result<(), ApiError> {
        let now = self.0.parts.clock.now();
        self.0
            .claims
            .take(account, now)
            .map_err(ApiError::TooManyRequests)
    }

    /// Takes one of the pairing codes that devices at one address may ask for.
    pub(crate) async fn may_ask_for_code(&self, client: IpAddr) -> Result<(), ApiError> {
        let taken = self.0.pairing.take(client, self.0.parts.clock.now());
        taken.await.map_err(ApiError::TooManyRequests)
    }

    pub(crate) fn parts(&self) -> &ApiParts {
        &self.0.parts
    }

    pub(crate) fn network(&self) -> &NetworkView {
        &self.0.network
    }
}
