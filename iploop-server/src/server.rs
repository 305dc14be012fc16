//! The whole server: its parts opened, joined, run and drained.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use iploop_api::ServeLimits;
use iploop_gateway::{Gateway, Sessions};
use iploop_hub::{Hub, HubDeps};
use iploop_platform::abuse::{AbuseService, AbuseWatch};
use iploop_platform::archive;
use iploop_platform::clock::{Clock, SystemClock};
use iploop_platform::ids::GatewayId;
use iploop_platform::login::SigningSecret;
use iploop_platform::store::Store;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::ApiPieces;
use crate::config::{self, Config};
use crate::metering::{Counting, Stage};
use crate::policy::ExitPolicy;
use crate::shared::Shared;

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
    books: Stage,
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
        let Counting {
            meters,
            admission,
            books,
        } = Counting::start(&config, &store, &clock, gateway_id, &stop, &mut tasks).await?;
        let changes = shared.join(&admission, gateway_id, &stop, &mut tasks);

        tasks.spawn(archive::run(
            Arc::clone(&store) as _,
            Arc::clone(&clock),
            config.usage.clone(),
            stop.clone(),
        ));

        let policy = ExitPolicy::read(&config.exit, store.as_ref()).await?;
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
            books,
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
        self.books.end().await;
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
