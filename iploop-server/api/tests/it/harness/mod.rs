//! An API with everything real but the clock, the mail server and the live network.

mod call;
mod data;
mod doubles;
mod people;

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use iploop_api::{ApiParts, ApiState, ProxyAddresses, ReadyCheck};
use iploop_platform::abuse::{AbuseConfig, AbuseParts, AbuseService, AbuseWatch};
use iploop_platform::accounts::password::{PasswordConfig, Passwords};
use iploop_platform::accounts::{AccountParts, AccountService, AccountsConfig, PersonalData};
use iploop_platform::admin::{AdminParts, AdminService};
use iploop_platform::billing::{BillingConfig, BillingParts, BillingService, PaymentProvider};
use iploop_platform::clock::Clock as _;
use iploop_platform::device_news::NewsTask;
use iploop_platform::keys::{KeyService, NobodyToTell};
use iploop_platform::ledger::{LedgerParts, LedgerService};
use iploop_platform::live::Live;
use iploop_platform::login::{LoginConfig, Logins, SigningSecret};
use iploop_platform::mail::{Mail, Mailer};
use iploop_platform::network::CountryPresence;
use iploop_platform::notices::{NoticeParts, NoticeService};
use iploop_platform::outbound::{OutboundClient, OutboundConfig};
use iploop_platform::owners::OwnersConfig;
use iploop_platform::shared::SharedState;
use iploop_platform::sticky::SessionService;
use iploop_platform::store::Store;
use iploop_platform::support::{Assistant, AssistantConfig, AssistantParts, TicketDesk, TicketParts};
use iploop_platform::webhooks::{WebhookParts, WebhookService, WebhooksConfig};
use iploop_protocol::policy::{PlatformPolicy, TestAllow};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use self::call::{Answer, Call, get, send};
use self::data::{Data, OwnDatabase};
pub(crate) use self::doubles::{Changes, Forced, ManualClock};
use self::doubles::{FixedNetwork, Mailbox, locations};
use crate::desk::Desk;
use crate::devices::Devices;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// An address that a webhook may have and at which nobody is.
pub(crate) const NOBODY: &str = "127.0.0.1:9";

/// The API, and the ends of its seams.
pub(crate) struct Api {
    pub(crate) router: Router,
    pub(crate) abuse: AbuseService,
    pub(crate) watch: AbuseWatch,
    pub(crate) forced: Arc<Forced>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) devices: Arc<Devices>,
    pub(crate) logins: Logins,
    pub(crate) live: Arc<Live>,
    pub(crate) billing: BillingService,
    pub(crate) draining: CancellationToken,
    pub(crate) notices: NoticeService,
    mails: tokio::sync::Mutex<mpsc::Receiver<Mail>>,
    tasks: CancellationToken,
    secret: SigningSecret,
    shared: Arc<dyn SharedState>,
    copy: Option<Arc<OwnDatabase>>,
}

/// What is set differently by single tests.
pub(crate) struct Settings {
    pub(crate) public_url: &'static str,
    pub(crate) ready_checks: Vec<Arc<dyn ReadyCheck>>,
    pub(crate) locations: Vec<CountryPresence>,
    pub(crate) accounts: AccountsConfig,
    pub(crate) abuse: AbuseConfig,
    pub(crate) personal_data: Vec<Arc<dyn PersonalData>>,
    pub(crate) webhooks: WebhooksConfig,
    pub(crate) proxy_at: Option<SocketAddr>,
    pub(crate) assistant: AssistantConfig,
    pub(crate) provider: Option<Arc<dyn PaymentProvider>>,
    pub(crate) dashboard: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            public_url: "http://iploop.test",
            ready_checks: Vec::new(),
            locations: locations(),
            accounts: AccountsConfig::default(),
            abuse: AbuseConfig {
                look_every: Duration::from_millis(100),
                ..AbuseConfig::default()
            },
            personal_data: Vec::new(),
            webhooks: WebhooksConfig {
                look_every: Duration::from_millis(50),
                test_allow: vec![NOBODY.to_owned()],
                ..WebhooksConfig::default()
            },
            proxy_at: None,
            assistant: AssistantConfig::default(),
            provider: None,
            dashboard: None,
        }
    }
}

impl Api {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    /// One that looks for what other processes did when it starts, and then no more: whom it tells of a change, it tells once.
    pub(crate) async fn alone() -> Self {
        let settings = Settings {
            abuse: AbuseConfig {
                look_every: Duration::from_secs(3600),
                ..AbuseConfig::default()
            },
            ..Settings::default()
        };
        Self::with(settings).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let clock = Arc::new(ManualClock::default());
        Self::on(Data::new().await, clock, SigningSecret::ephemeral(), settings).await
    }

    /// For tests that stop the runtime's own clock, by which every wait for a server would run out.
    pub(crate) async fn in_memory() -> Self {
        let clock = Arc::new(ManualClock::default());
        let secret = SigningSecret::ephemeral();
        Self::on(Data::in_memory().await, clock, secret, Settings::default()).await
    }

    /// With a signing secret that the test knows.
    pub(crate) async fn signing_with(secret: SigningSecret) -> Self {
        let clock = Arc::new(ManualClock::default());
        Self::on(Data::new().await, clock, secret, Settings::default()).await
    }

    /// Another process on the same data and the same shared state.
    pub(crate) async fn restarted(&self) -> Self {
        let data = Data {
            store: Arc::clone(&self.store),
            shared: Arc::clone(&self.shared),
            copy: self.copy.clone(),
        };
        let (clock, secret) = (Arc::clone(&self.clock), self.secret.clone());
        Self::on(data, clock, secret, Settings::default()).await
    }

    async fn on(data: Data, clock: Arc<ManualClock>, secret: SigningSecret, settings: Settings) -> Self {
        let Data { store, shared, copy } = data;
        let tasks = CancellationToken::new();
        let (sender, mails) = mpsc::channel(4096);
        let mailer: Arc<dyn Mailer> = Arc::new(Mailbox(sender));
        // Its task stays out: the outbox is emptied when a test asks for mail.
        let (notices, _) = NoticeService::new(NoticeParts {
            store: Arc::clone(&store),
            clock: clock.clone(),
            mailer,
            public_url: settings.public_url.parse().unwrap(),
            secret: secret.clone(),
        });
        let passwords = passwords();
        let changes = Arc::new(Changes::default());
        let (logins, _) = Logins::start(
            Arc::clone(&store),
            shared.clone(),
            clock.clone(),
            passwords.clone(),
            secret.clone(),
            &LoginConfig::default(),
        )
        .await
        .unwrap();
        let (watch, suspicions) = AbuseWatch::new(&settings.abuse, clock.clone());
        let forced = Arc::new(Forced::default());
        let file = PlatformPolicy::parse(r#"{"format":1,"version":1}"#).unwrap();
        let abuse_parts = AbuseParts {
            store: Arc::clone(&store),
            clock: clock.clone(),
            changes: changes.clone(),
            notices: notices.clone(),
            watch: watch.clone(),
            suspicions,
            force: forced.clone(),
            source: forced.clone(),
            stored: store.stored_policy().await.unwrap(),
            file,
        };
        let (abuse, abuse_task) = AbuseService::new(abuse_parts, &settings.abuse);
        tokio::spawn(abuse_task.run(tasks.clone()));
        let devices = Arc::new(Devices::default());
        let network = Arc::new(FixedNetwork(settings.locations));
        let (admin, bans) = AdminService::new(AdminParts {
            store: Arc::clone(&store),
            clock: clock.clone(),
            passwords: passwords.clone(),
            logins: logins.clone(),
            changes: changes.clone(),
            watch: watch.clone(),
            nodes: devices.clone(),
            network: network.clone(),
        });
        tokio::spawn(bans.run(tasks.clone()));
        let accounts = AccountService::new(
            AccountParts {
                store: Arc::clone(&store),
                clock: clock.clone(),
                passwords,
                logins: logins.clone(),
                notices: notices.clone(),
                changes: changes.clone(),
                public_url: settings.public_url.parse().unwrap(),
                personal_data: settings
                    .personal_data
                    .into_iter()
                    .chain(iploop_platform::owners::personal_data(&store))
                    .collect(),
            },
            &settings.accounts,
        );
        let test_allow = settings.webhooks.parse_test_allow().unwrap();
        let webhook_parts = WebhookParts {
            store: Arc::clone(&store),
            clock: clock.clone(),
            client: OutboundClient::new(&OutboundConfig::default(), test_allow).unwrap(),
            secret: secret.clone(),
        };
        let (webhooks, webhook_task) = WebhookService::new(webhook_parts, &settings.webhooks).unwrap();
        tokio::spawn(webhook_task.run(tasks.clone()));
        let assistant = Assistant::new(
            AssistantParts {
                store: Arc::clone(&store),
                shared: shared.clone(),
                client: OutboundClient::new(&OutboundConfig::default(), TestAllow::default()).unwrap(),
                clock: clock.clone(),
                codes: crate::support::code_help,
            },
            &settings.assistant,
        );
        let tickets = TicketDesk::new(
            TicketParts {
                store: Arc::clone(&store),
                shared: shared.clone(),
                clock: clock.clone(),
                notices: notices.clone(),
            },
            &settings.assistant,
        );
        let billing = BillingService::new(
            BillingParts {
                store: Arc::clone(&store),
                clock: clock.clone(),
                provider: settings.provider,
                purses: Arc::new(NobodyToTell),
                changes: changes.clone(),
                public_url: settings.public_url.parse().unwrap(),
            },
            BillingConfig::default(),
        );
        let draining = CancellationToken::new();
        let live = Arc::new(Live::new(clock.now()));
        let (bell, news) = NewsTask::new(Arc::clone(&store) as _, clock.clone(), devices.clone());
        tokio::spawn(news.run(tasks.clone()));
        let state = ApiState::new(ApiParts {
            bell,
            connected: devices.clone(),
            abuse: abuse.clone(),
            assistant: assistant.unwrap(),
            tickets,
            admin,
            accounts,
            logins: logins.clone(),
            keys: KeyService::new(Arc::clone(&store), clock.clone(), changes.clone()),
            ledger: LedgerService::new(LedgerParts {
                store: Arc::clone(&store),
                clock: clock.clone(),
                changes: Arc::new(NobodyToTell),
            }),
            billing: billing.clone(),
            owners: OwnersConfig {
                vpn_exits: vec!["vpn1.iploop.test".to_owned()],
                ..OwnersConfig::default()
            },
            sessions: SessionService::new(Arc::clone(&store), Arc::new(Desk::new(clock.clone())), None),
            webhooks,
            notices: notices.clone(),
            store: Arc::clone(&store),
            network,
            live: Arc::clone(&live),
            proxy_at: settings.proxy_at,
            clock: clock.clone(),
            proxy: ProxyAddresses {
                host: "proxy.iploop.test".to_owned(),
                http_port: 7777,
                socks5_port: 1080,
            },
            max_attempts: 5,
            ready_checks: settings.ready_checks,
            draining: draining.clone(),
            roles: vec!["gateway".to_owned(), "hub".to_owned(), "api".to_owned()],
            trusted_proxies: Vec::new(),
        });
        let router = iploop_api::Routes::new()
            .with_dashboard(settings.dashboard.as_deref())
            .with(state);
        Self {
            router,
            abuse,
            watch,
            forced,
            store,
            clock,
            changes,
            devices,
            logins,
            live,
            billing,
            draining,
            notices,
            mails: mails.into(),
            tasks,
            secret,
            shared,
            copy,
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

fn passwords() -> Passwords {
    let cheap = PasswordConfig {
        memory_kib: 8,
        passes: 1,
        at_once: NonZero::new(2),
        waiting: 64,
    };
    Passwords::new(&cheap).unwrap()
}
