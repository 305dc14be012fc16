//! An API with everything real but the clock, the mail server and the live network.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{HeaderMap, Method, Request, StatusCode};
use iploop_api::{ApiParts, ApiState, ProxyAddresses, ReadyCheck};
use iploop_platform::abuse::{AbuseConfig, AbuseParts, AbuseService, AbuseWatch, Force, ReadPolicy};
use iploop_platform::account::{Account, NewAccount, Role, Standing};
use iploop_platform::accounts::password::{NewPassword, PasswordConfig, Passwords};
use iploop_platform::accounts::{
    AccountParts, AccountService, AccountsConfig, CommandLineAccount, PersonalData, create_from_command_line,
};
use iploop_platform::admin::{AdminParts, AdminService};
use iploop_platform::billing::{BillingConfig, BillingParts, BillingService, PaymentProvider};
use iploop_platform::clock::{Clock, Timestamp};
use iploop_platform::ids::{AccountId, ApiKeyId};
use iploop_platform::keys::{KeyChanges, KeyService, NobodyToTell};
use iploop_platform::ledger::{LedgerParts, LedgerService};
use iploop_platform::live::Live;
use iploop_platform::login::{LoginConfig, Logins, SigningSecret};
use iploop_platform::mail::{self, Mail, MailError, Mailer};
use iploop_platform::network::{
    CityPresence, CountryPresence, Network, NetworkStats, NodePage, NodeRow, NodeWish, Pool,
};
use iploop_platform::notices::{NoticeParts, NoticeService};
use iploop_platform::outbound::{OutboundClient, OutboundConfig};
use iploop_platform::owners::OwnersConfig;
use iploop_platform::secret::Secret;
use iploop_platform::sticky::SessionService;
use iploop_platform::store::Store;
use iploop_platform::support::{Assistant, AssistantConfig, AssistantParts, TicketDesk, TicketParts};
use iploop_platform::webhooks::{WebhookParts, WebhookService, WebhooksConfig};
use iploop_protocol::policy::{PlatformPolicy, TestAllow};
use iploop_protocol::targeting::{CountryCode, Targeting};
use iploop_store::{MemoryState, SqliteStore};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::desk::Desk;
use crate::devices::Devices;
use crate::documented;

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
    shared: Arc<MemoryState>,
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
        }
    }
}

impl Api {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let store = Arc::new(SqliteStore::open_in_memory().await.unwrap());
        Self::on(
            store,
            Arc::new(ManualClock::default()),
            SigningSecret::ephemeral(),
            settings,
            Arc::default(),
        )
        .await
    }

    /// With a signing secret that the test knows.
    pub(crate) async fn signing_with(secret: SigningSecret) -> Self {
        let store = Arc::new(SqliteStore::open_in_memory().await.unwrap());
        Self::on(
            store,
            Arc::new(ManualClock::default()),
            secret,
            Settings::default(),
            Arc::default(),
        )
        .await
    }

    /// Another process on the same data and the same shared state.
    pub(crate) async fn restarted(&self) -> Self {
        let clock = Arc::clone(&self.clock);
        Self::on(
            Arc::clone(&self.store),
            clock,
            self.secret.clone(),
            Settings::default(),
            Arc::clone(&self.shared),
        )
        .await
    }

    async fn on(
        store: Arc<dyn Store>,
        clock: Arc<ManualClock>,
        secret: SigningSecret,
        settings: Settings,
        shared: Arc<MemoryState>,
    ) -> Self {
        let tasks = CancellationToken::new();
        let (sender, mails) = mpsc::channel(64);
        let mailer: Arc<dyn Mailer> = Arc::new(Mailbox(sender));
        let (mail, mail_task) = mail::start(Arc::clone(&mailer));
        tokio::spawn(mail_task.run(tasks.clone()));
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
            mail: mail.clone(),
            public_url: settings.public_url.parse().unwrap(),
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
        let (accounts, recovery) = AccountService::new(
            AccountParts {
                store: Arc::clone(&store),
                clock: clock.clone(),
                passwords,
                logins: logins.clone(),
                mail: mail.clone(),
                changes: changes.clone(),
                public_url: settings.public_url.parse().unwrap(),
                personal_data: settings.personal_data,
            },
            &settings.accounts,
        );
        tokio::spawn(recovery.run(tasks.clone()));
        let test_allow = settings.webhooks.parse_test_allow().unwrap();
        let webhook_parts = WebhookParts {
            store: Arc::clone(&store),
            clock: clock.clone(),
            client: OutboundClient::new(&OutboundConfig::default(), test_allow).unwrap(),
            secret: secret.clone(),
        };
        let (webhooks, webhook_task) = WebhookService::new(webhook_parts, &settings.webhooks).unwrap();
        tokio::spawn(webhook_task.run(tasks.clone()));
        // Its task stays out: a test says when the outbox is emptied.
        let (notices, _) = NoticeService::new(NoticeParts {
            store: Arc::clone(&store),
            clock: clock.clone(),
            mailer,
            public_url: settings.public_url.parse().unwrap(),
            secret: secret.clone(),
        });
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
                mail: mail.clone(),
                public_url: settings.public_url.parse().unwrap(),
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
        let state = ApiState::new(ApiParts {
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
            sessions: SessionService::new(Arc::clone(&store), Arc::new(Desk::new(clock.clone()))),
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
        let router = iploop_api::router(state);
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
        }
    }

    pub(crate) fn get(&self, path: &str) -> Call<'_> {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call<'_> {
        self.call(Method::POST, path)
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call<'_> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        Call {
            api: self,
            request,
            client: "192.0.2.1".parse().unwrap(),
        }
    }

    /// Registers and returns the login's answer.
    pub(crate) async fn register(&self, email: &str) -> Value {
        let body = json!({"email": email, "password": PASSWORD, "firstName": "Ada", "lastName": "Lovelace"});
        let answer = self.post("/api/auth/register").json(&body).send().await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json()
    }

    /// Registers and returns a bearer token.
    pub(crate) async fn token(&self, email: &str) -> String {
        self.register(email).await["token"].as_str().unwrap().to_owned()
    }

    /// A bearer token of a new account on this plan.
    pub(crate) async fn token_on(&self, plan: &str, email: &str) -> String {
        let plans = self.store.plans().await.unwrap();
        let password = NewPassword::parse("password", Secret::new(PASSWORD)).unwrap();
        let account = NewAccount {
            id: AccountId::new(),
            email: email.to_owned(),
            password_hash: passwords().hash(password).await.unwrap(),
            first_name: "Ada".to_owned(),
            last_name: "Lovelace".to_owned(),
            company: None,
            role: Role::Customer,
            standing: Standing::New,
            email_verified: true,
            plan: plans.iter().find(|known| known.name == plan).unwrap().id,
            bonus_bytes: 0,
            now: self.clock.now(),
        };
        self.store.create_account(account).await.unwrap();
        let body = json!({"email": email, "password": PASSWORD});
        let answer = self.post("/api/auth/login").json(&body).send().await;
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// The next mail.
    pub(crate) async fn mail(&self) -> Mail {
        self.mails.lock().await.recv().await.unwrap()
    }

    /// The token in the link of the next mail.
    pub(crate) async fn mail_token(&self) -> String {
        let mail = self.mail().await;
        let (_, rest) = mail.text.split_once("?token=").unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    }

    pub(crate) async fn no_mail_is_queued(&self) -> bool {
        self.mails.lock().await.try_recv().is_err()
    }

    pub(crate) async fn admin(&self) -> (Account, String) {
        let wanted = CommandLineAccount {
            email: "root@iploop.test".to_owned(),
            password: Some(Secret::new(PASSWORD)),
            is_admin: true,
            is_verified: true,
        };
        let created = create_from_command_line(&*self.store, &*self.clock, &passwords(), wanted)
            .await
            .unwrap();
        let body = json!({"email": "root@iploop.test", "password": PASSWORD});
        let answer = self.post("/api/auth/login").json(&body).send().await;
        (
            created.account,
            answer.json()["token"].as_str().unwrap().to_owned(),
        )
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

/// A request in the making.
pub(crate) struct Call<'a> {
    api: &'a Api,
    request: Request<Body>,
    client: IpAddr,
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.request.headers_mut().append(name, value.parse().unwrap());
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn client(mut self, address: &str) -> Self {
        self.client = address.parse().unwrap();
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    pub(crate) fn form(self, body: &str) -> Self {
        self.header("content-type", "application/x-www-form-urlencoded")
            .body(body.to_owned())
    }

    pub(crate) fn body(mut self, body: impl Into<Body>) -> Self {
        *self.request.body_mut() = body.into();
        self
    }

    pub(crate) async fn send(mut self) -> Answer {
        self.request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::new(self.client, 4242)));
        let method = self.request.method().clone();
        let path = self.request.uri().path().to_owned();
        let response = self.api.router.clone().oneshot(self.request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        };
        documented::check(&method, &path, &answer);
        answer
    }
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and code of a problem document.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{}",
            self.text
        );
        let body = self.json();
        assert_eq!(body["status"], self.status.as_u16());
        assert_eq!(body["request_id"], self.header("x-iploop-request-id"));
        (self.status.as_u16(), body["code"].as_str().unwrap().to_owned())
    }

    /// Status and body with everything random replaced, for snapshots.
    pub(crate) fn stable(&self) -> String {
        let mut body = self.json();
        stabilise(&mut body);
        format!(
            "{}\n{}",
            self.status,
            serde_json::to_string_pretty(&body).unwrap()
        )
    }
}

fn stabilise(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match name.as_str() {
                    "token" | "csrfToken" | "keyPrefix" | "key" | "apiKeyPrefix" | "challenge" => {
                        *field = json!(format!("[{name}]"))
                    }
                    "id" | "request_id" | "username" => *field = json!("[uuid]"),
                    _ => stabilise(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(stabilise),
        _ => {}
    }
}

/// A clock that stands until a test moves it.
pub(crate) struct ManualClock(AtomicI64);

impl Default for ManualClock {
    fn default() -> Self {
        Self(AtomicI64::new(1_764_000_000_000))
    }
}

impl ManualClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0
            .fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Notes who was told of which change.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) keys: Mutex<Vec<ApiKeyId>>,
    pub(crate) accounts: Mutex<Vec<AccountId>>,
    pub(crate) suspended: Mutex<Vec<AccountId>>,
}

impl KeyChanges for Changes {
    fn key_changed(&self, key: ApiKeyId) {
        self.keys.lock().push(key);
    }

    fn account_changed(&self, account: AccountId) {
        self.accounts.lock().push(account);
    }

    fn account_suspended(&self, account: AccountId) {
        self.suspended.lock().push(account);
    }
}

/// Notes what was put in force where; holds the policy's file.
pub(crate) struct Forced {
    pub(crate) gateway: Mutex<Vec<PlatformPolicy>>,
    pub(crate) devices: watch::Sender<Option<PlatformPolicy>>,
    pub(crate) file: Mutex<String>,
}

impl Default for Forced {
    fn default() -> Self {
        Self {
            gateway: Mutex::default(),
            devices: watch::Sender::new(None),
            file: Mutex::new(r#"{"format":1,"version":1}"#.to_owned()),
        }
    }
}

#[async_trait]
impl Force for Forced {
    fn at_gateway(&self, policy: &PlatformPolicy) {
        self.gateway.lock().push(policy.clone());
    }

    async fn on_devices(&self, policy: &PlatformPolicy) {
        self.devices.send_replace(Some(policy.clone()));
    }
}

impl ReadPolicy for Forced {
    fn read(&self) -> Result<PlatformPolicy, String> {
        PlatformPolicy::parse(&self.file.lock()).map_err(|error| error.to_string())
    }

    fn stamp(&self) -> Option<String> {
        Some(self.file.lock().clone())
    }
}

/// Hands mails to the test.
struct Mailbox(mpsc::Sender<Mail>);

#[async_trait]
impl Mailer for Mailbox {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        self.0
            .send(mail.clone())
            .await
            .map_err(|error| MailError::Permanent(error.to_string()))
    }
}

struct FixedNetwork(Vec<CountryPresence>);

impl Network for FixedNetwork {
    fn stats(&self) -> NetworkStats {
        NetworkStats {
            connected_nodes: self.0.iter().map(|place| place.nodes).sum(),
            available_nodes: 2,
            busy_nodes: 1,
            country_breakdown: self
                .0
                .iter()
                .map(|place| (place.country.clone(), place.nodes))
                .collect(),
            device_type_breakdown: [("linux".to_owned(), 3)].into(),
            connection_type_breakdown: [("wifi".to_owned(), 3)].into(),
            average_quality: Some(87.5),
            bandwidth_bytes: 12_500_000,
        }
    }

    fn locations(&self) -> Vec<CountryPresence> {
        self.0.clone()
    }

    fn pool(&self, targeting: &Targeting) -> Pool {
        let fits = |place: &&CountryPresence| targeting.allows_country(CountryCode::parse(&place.country));
        let nodes = self.0.iter().filter(fits).map(|place| place.nodes).sum();
        Pool {
            nodes,
            exact: true,
            dial_success: (nodes > 0).then_some(0.75),
        }
    }

    /// A row for each device, those in Berlin busy.
    fn nodes(&self, wish: &NodeWish, from: u32, limit: usize) -> NodePage {
        let rows = self.0.iter().flat_map(|place| {
            (0..place.nodes).map(|_| NodeRow {
                country: Some(place.country.clone()),
                region: None,
                city: place.cities.first().map(|city| city.city.clone()),
                connection_type: Some("wifi".to_owned()),
                device_type: Some("linux".to_owned()),
                is_available: place.cities.is_empty(),
                quality_score: 90,
            })
        });
        let from = usize::try_from(from).unwrap();
        let mut rows: Vec<_> = rows.filter(|row| wish.takes(row)).skip(from).collect();
        let next = (rows.len() > limit).then(|| u32::try_from(from + limit).unwrap());
        rows.truncate(limit);
        NodePage { rows, next }
    }
}

fn locations() -> Vec<CountryPresence> {
    let berlin = CityPresence {
        city: "Berlin".to_owned(),
        nodes: 1,
    };
    vec![
        CountryPresence {
            country: "DE".to_owned(),
            nodes: 1,
            cities: vec![berlin],
        },
        CountryPresence {
            country: "US".to_owned(),
            nodes: 2,
            cities: Vec::new(),
        },
    ]
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
