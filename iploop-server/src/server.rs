//! The whole server: its parts opened, joined, run and drained.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use iploop_api::{ApiParts, ApiState, ProxyAddresses, ServeLimits};
use iploop_gateway::{Gateway, Sessions};
use iploop_hub::{Hub, HubDeps};
use iploop_platform::abuse::{AbuseParts, AbuseService, AbuseWatch, StoredPolicy, Suspicion, compose};
use iploop_platform::accounts::password::Passwords;
use iploop_platform::accounts::{AccountParts, AccountService, PublicUrl};
use iploop_platform::admin::AdminParts;
use iploop_platform::admission::Admission;
use iploop_platform::archive;
use iploop_platform::clock::{Clock, SystemClock};
use iploop_platform::ids::GatewayId;
use iploop_platform::keys::{KeyChanges, KeyService};
use iploop_platform::live::Live;
use iploop_platform::login::{Logins, SigningSecret};
use iploop_platform::metering::Meters;
use iploop_platform::sticky::SessionService;
use iploop_platform::store::Store;
use iploop_protocol::policy::{PlatformPolicy, TestAllow};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, JOURNAL};
use crate::notify::Notifying;
use crate::policy::{Enforcers, PolicyFile};
use crate::shared::Shared;
use crate::together::Devices;

/// How long streams may go on after SIGTERM.
pub const DRAIN_GRACE: Duration = Duration::from_secs(30);

/// A server whose listeners are all open. Dropping it ends everything at once.
pub struct Server {
    abuse: AbuseService,
    gateway: Gateway,
    hub: Hub,
    api: SocketAddr,
    metrics: SocketAddr,
    /// `/readyz` says no from here on.
    draining: CancellationToken,
    /// API and background work end.
    stop: CancellationToken,
    tasks: JoinSet<()>,
    /// Ends after everything that counts bytes has ended.
    meters: Stage,
}

/// A task that ends when it is told to, in its turn.
struct Stage {
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Stage {
    fn spawn<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(CancellationToken) -> F) -> Self {
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(run(stop.clone()));
        Self { stop, task }
    }

    async fn end(&mut self) {
        self.stop.cancel();
        while self.task.join_next().await.is_some() {}
    }
}

impl Server {
    /// Opens the data and every listener; everything runs when this returns.
    ///
    /// # Errors
    /// The first part that can't be opened, with what it needs.
    pub async fn bind(config: Config) -> Result<Self> {
        let routes = iploop_api::Routes::new();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let recorder = PrometheusBuilder::new()
            .install_recorder()
            .context("metrics can't be recorded")?;
        iploop_api::describe_metrics();
        let store = open_store(&config).await?;
        let shared = Shared::open(&config.redis)?;
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        let draining = CancellationToken::new();

        let gateway_id = gateway_id(&config.data)?;
        let (meters, meter_task) = Meters::start(
            Arc::clone(&store) as _,
            Arc::clone(&clock),
            gateway_id,
            &config.data.join(JOURNAL),
            config.metering.clone(),
        )
        .await?;
        let meters_stage = Stage::spawn(|stop| async move {
            let closed = meter_task.run(stop).await;
            if closed.unbooked > 0 {
                tracing::warn!(
                    requests = closed.unbooked,
                    "usage could not be booked; the next start will do it"
                );
            }
        });
        let admission = Arc::new(Admission::new(
            Arc::clone(&store) as _,
            Some(Arc::clone(&store) as _),
            Arc::clone(&clock),
            meters.clone(),
            config.admission.clone(),
        ));
        tasks.spawn({
            let (admission, stop) = (Arc::clone(&admission), stop.clone());
            async move { admission.run(stop).await }
        });
        let changes = shared.join(&admission, gateway_id, &stop, &mut tasks);

        tasks.spawn(archive::run(
            Arc::clone(&store) as _,
            Arc::clone(&clock),
            config.usage.clone(),
            stop.clone(),
        ));

        let policy = exit_policy(&config, store.as_ref()).await?;
        let (watch, suspicions) = AbuseWatch::new(&config.abuse, Arc::clone(&clock));
        let deps = HubDeps {
            nodes: Arc::clone(&store) as _,
            partners: Arc::clone(&store) as _,
            pairing: Arc::clone(&store) as _,
            clock: Arc::clone(&clock),
            policy: Some(policy.in_force.clone()),
            platform_addresses: own_addresses(&config),
            test_allow: !config.exit.test_allow.is_empty(),
            review_apps: config.partners.review_apps,
            watch: watch.clone(),
            new_customer_percent: config.abuse.new_customer_percent,
        };
        let hub = Hub::bind(config.hub.clone(), &config.geo, deps).await?;
        let sessions = Sessions::restore(&config.gateway, &*clock, Arc::clone(&store) as _)
            .await
            .context("sticky sessions can't be read")?;
        let secret =
            SigningSecret::load_or_create(&config.login_secret_file()).context("login.secret_file")?;
        let together = crate::together::Parts {
            hub: &hub,
            sessions: sessions.clone(),
            live: meters.live(),
            clock: Arc::clone(&clock),
            secret: &secret,
        };
        let devices = crate::together::start(&shared, together, &stop, &mut tasks)?;
        let gateway = Gateway::bind(
            config.gateway_section(),
            iploop_gateway::Dependencies {
                exits: Arc::new(hub.clone()),
                admission: Arc::clone(&admission),
                policy: crate::policy::at_gateway(&policy.in_force, &policy.test_allow),
                sessions,
                watch: watch.clone(),
            },
        )?;

        crate::together::answer(&devices, &hub, &gateway, &stop, &mut tasks);

        let api_listener = listen("api", config.api.listen).await?;
        let metrics_listener = listen("metrics", config.metrics.listen).await?;
        let (api, metrics) = (api_listener.local_addr()?, metrics_listener.local_addr()?);
        let parts = ApiPieces {
            config: &config,
            store,
            shared,
            clock,
            changes,
            hub: &hub,
            gateway: &gateway,
            api,
            policy,
            watch,
            suspicions,
            live: crate::live::start(meters, &devices.network, &stop, &mut tasks),
            devices,
            secret,
        };
        let (state, abuse) = parts.assemble(&draining, &stop, &mut tasks).await?;
        let limits = ServeLimits {
            max_connections: config.api.max_connections.get(),
            ..ServeLimits::default()
        };
        tasks.spawn(iploop_api::serve(
            api_listener,
            routes.with_dashboard(config.api.dashboard.as_deref()).with(state),
            limits,
            stop.clone(),
        ));
        let scrapes = ServeLimits {
            max_connections: 64,
            ..ServeLimits::default()
        };
        tasks.spawn(iploop_api::serve(
            metrics_listener,
            iploop_api::metrics_router(recorder),
            scrapes,
            stop.clone(),
        ));
        tasks.spawn({
            let hub = hub.clone();
            async move { hub.run().await }
        });
        tasks.spawn({
            let gateway = gateway.clone();
            async move { gateway.run().await }
        });
        Ok(Self {
            abuse,
            gateway,
            hub,
            api,
            metrics,
            draining,
            stop,
            tasks,
            meters: meters_stage,
        })
    }

    /// The real addresses, as one line of JSON: whoever started us may go on.
    pub fn ready_line(&self) -> String {
        let proxies = self.gateway.local_addrs();
        json!({
            "event": "ready",
            "proxy": proxies.first(),
            "socks": proxies.last(),
            "hub": self.hub.local_addr(),
            "api": self.api,
            "metrics": self.metrics,
        })
        .to_string()
    }

    /// Reads the exit policy's file anew. One that can't be used leaves the policy as it is, and the log says why.
    pub async fn reload(&self) {
        match self.abuse.reload_file().await {
            Ok(()) => tracing::info!("the exit policy's file was read again"),
            Err(error) => tracing::error!(
                error,
                "the exit policy's file can't be used; the policy before stands"
            ),
        }
    }

    /// Leaves in order: no new customers, streams finish within `grace`, devices are sent elsewhere, usage is booked. Once
    /// `hurry` is ready, streams and devices are cut; usage is booked all the same.
    pub async fn drain(mut self, grace: Duration, hurry: impl Future<Output = ()>) {
        self.draining.cancel();
        let leave = async {
            self.gateway.drain(grace).await;
            self.hub.drain(Duration::from_secs(5)).await;
        };
        let has_left = tokio::select! {
            () = leave => true,
            () = hurry => false,
        };
        self.stop.cancel();
        if has_left {
            while self.tasks.join_next().await.is_some() {}
        } else {
            tracing::warn!("asked to hurry: what was open is cut");
            self.tasks.shutdown().await;
        }
        self.meters.end().await;
    }
}

/// Opens the configured database, brought up to date.
///
/// # Errors
/// The database's own, with what to do about it.
pub async fn open_store(config: &Config) -> Result<Arc<dyn Store>> {
    std::fs::create_dir_all(&config.data)
        .with_context(|| format!("data: {} can't be made", config.data.display()))?;
    let place = match &config.database.url {
        Some(url) => url.expose().to_owned(),
        None => config
            .data
            .to_str()
            .context("data: the path must be text")?
            .to_owned(),
    };
    let key = match config.database.url {
        Some(_) => "database.url",
        None => "data",
    };
    iploop_store::open(&place).await.context(key)
}

/// The exit policy at the start.
struct ExitPolicy {
    /// The operator's file.
    file: PlatformPolicy,
    /// What admins stored.
    stored: StoredPolicy,
    /// Both together.
    in_force: PlatformPolicy,
    test_allow: TestAllow,
}

async fn exit_policy(config: &Config, store: &dyn Store) -> Result<ExitPolicy> {
    let file = config.exit.read_policy().map_err(anyhow::Error::msg)?;
    let test_allow = config.exit.parse_test_allow().map_err(anyhow::Error::msg)?;
    if !config.exit.test_allow.is_empty() {
        tracing::warn!(addresses = ?config.exit.test_allow, "exit.test_allow opens these addresses; never do this in production");
    }
    let stored = store.stored_policy().await.context("the stored exit policy")?;
    let in_force = compose(&file, &stored).context("exit.policy: with the stored lists")?;
    Ok(ExitPolicy {
        file,
        stored,
        in_force,
        test_allow,
    })
}

/// The addresses that this server listens on, as far as the configuration names them: no device may dial them.
fn own_addresses(config: &Config) -> Vec<IpAddr> {
    let proxies = config.gateway.listen.iter().copied();
    let others = [config.hub.listen, config.api.listen, config.metrics.listen];
    let mut own: Vec<IpAddr> = proxies.chain(others).map(|address| address.ip()).collect();
    own.retain(|ip| !ip.is_unspecified());
    own.sort_unstable();
    own.dedup();
    own
}

/// This gateway's id: the same over restarts, so that its journal and its leases are found again.
fn gateway_id(data: &Path) -> Result<GatewayId> {
    if let Some(id) = config::gateway_id(data).map_err(anyhow::Error::msg)? {
        return Ok(id);
    }
    let id = GatewayId::new();
    config::keep_gateway_id(data, id).map_err(anyhow::Error::msg)?;
    Ok(id)
}

async fn listen(section: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{section}.listen: {address}"))
}

/// What the API is made from.
struct ApiPieces<'a> {
    config: &'a Config,
    store: Arc<dyn Store>,
    shared: Shared,
    clock: Arc<dyn Clock>,
    changes: Arc<dyn KeyChanges>,
    hub: &'a Hub,
    gateway: &'a Gateway,
    api: SocketAddr,
    policy: ExitPolicy,
    watch: AbuseWatch,
    suspicions: mpsc::Receiver<Suspicion>,
    live: Arc<Live>,
    devices: Devices,
    secret: SigningSecret,
}

impl ApiPieces<'_> {
    /// Starts the services behind the API.
    async fn assemble(
        self,
        draining: &CancellationToken,
        stop: &CancellationToken,
        tasks: &mut JoinSet<()>,
    ) -> Result<(ApiState, AbuseService)> {
        let Self {
            config,
            store,
            shared,
            clock,
            changes,
            hub,
            gateway,
            api,
            policy,
            watch,
            suspicions,
            live,
            devices,
            secret,
        } = self;
        let passwords = Passwords::new(&config.accounts.password)?;
        let (logins, login_task) = Logins::start(
            Arc::clone(&store),
            Arc::clone(&shared.state),
            Arc::clone(&clock),
            passwords.clone(),
            secret.clone(),
            &config.login,
        )
        .await?;
        tasks.spawn(login_task.run(stop.clone()));
        let ledger = crate::ledger::service(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&changes));
        let public_url = match config.accounts.public_url.clone() {
            Some(url) => url,
            None => default_url(api)?,
        };
        let notifying = Notifying {
            config,
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            network: Arc::clone(&devices.network),
            public_url: public_url.clone(),
            secret,
        };
        let (webhooks, notices) = notifying.start(stop, tasks)?;
        let admin_parts = AdminParts {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            passwords: passwords.clone(),
            logins: logins.clone(),
            changes: Arc::clone(&changes),
            watch: watch.clone(),
            nodes: devices.nodes,
            network: Arc::clone(&devices.network),
        };
        let admin = crate::admin::start(admin_parts, stop, tasks);
        let around = crate::billing::Around {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            changes: Arc::clone(&changes),
            public_url: public_url.clone(),
        };
        let billing = crate::billing::service(config, around)?;
        tasks.spawn(billing.clone().run(stop.clone()));
        let abuse_parts = AbuseParts {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            changes: Arc::clone(&changes),
            notices: notices.clone(),
            watch,
            suspicions,
            force: Arc::new(Enforcers {
                gateway: gateway.clone(),
                hub: hub.clone(),
                test_allow: policy.test_allow,
            }),
            source: Arc::new(PolicyFile(config.exit.clone())),
            file: policy.file,
            stored: policy.stored,
        };
        let (abuse, abuse_task) = AbuseService::new(abuse_parts, &config.abuse);
        tasks.spawn(abuse_task.run(stop.clone()));
        let (assistant, tickets) = crate::support::open(config, &store, &shared.state, &clock, &notices)?;
        let account_parts = AccountParts {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            passwords,
            logins: logins.clone(),
            notices: notices.clone(),
            changes: Arc::clone(&changes),
            public_url: public_url.clone(),
            personal_data: [crate::billing::personal_data(&store, &clock)]
                .into_iter()
                .chain(iploop_platform::owners::personal_data(&store))
                .collect(),
        };
        let accounts = AccountService::new(account_parts, &config.accounts);
        let bell = crate::owners::start(&store, &clock, config, hub, stop, tasks);
        let proxies = gateway.local_addrs();
        let port = |address: Option<&SocketAddr>| address.map_or(0, SocketAddr::port);
        let state = ApiState::new(ApiParts {
            abuse: abuse.clone(),
            assistant,
            tickets,
            admin,
            accounts,
            logins,
            keys: KeyService::new(Arc::clone(&store), Arc::clone(&clock), changes)
                .permitting_local_ip_login(config.admission.ip_login_local),
            ledger,
            billing,
            owners: config.owners.clone(),
            bell,
            connected: devices.connected,
            sessions: SessionService::new(Arc::clone(&store), Arc::new(gateway.clone()), devices.others),
            webhooks,
            notices,
            store,
            network: devices.network,
            live,
            clock,
            proxy: ProxyAddresses {
                host: config
                    .api
                    .proxy_host
                    .clone()
                    .unwrap_or_else(|| host_of(&public_url)),
                http_port: port(proxies.first()),
                socks5_port: port(proxies.last()),
            },
            proxy_at: proxies.first().copied().map(crate::live::loopback),
            max_attempts: config.gateway.max_attempts,
            ready_checks: shared.ready_checks(),
            draining: draining.clone(),
            roles: ["gateway", "hub", "api"].map(str::to_owned).to_vec(),
            trusted_proxies: config.api.trusted_proxies.clone(),
        });
        Ok((state, abuse))
    }
}

/// Where customers reach an API that has not been given a public address: this machine.
fn default_url(api: SocketAddr) -> Result<PublicUrl> {
    let host = if api.ip().is_unspecified() {
        "localhost".to_owned()
    } else {
        SocketAddr::new(api.ip(), 0).ip().to_string()
    };
    Ok(format!("http://{host}:{}", api.port()).parse()?)
}

fn host_of(url: &PublicUrl) -> String {
    let text = url.join("");
    let authority = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host.to_owned(),
        _ => authority.to_owned(),
    }
}
