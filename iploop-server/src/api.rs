//! The API, joined with everything that it asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Result;
use iploop_api::{ApiParts, ApiState, ProxyAddresses};
use iploop_gateway::Gateway;
use iploop_hub::Hub;
use iploop_platform::abuse::{AbuseParts, AbuseService, AbuseWatch, Suspicion};
use iploop_platform::accounts::password::Passwords;
use iploop_platform::accounts::{AccountParts, AccountService, PublicUrl};
use iploop_platform::admin::AdminParts;
use iploop_platform::clock::Clock;
use iploop_platform::keys::{KeyChanges, KeyService};
use iploop_platform::live::Live;
use iploop_platform::login::{Logins, SigningSecret};
use iploop_platform::sticky::SessionService;
use iploop_platform::store::Store;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::notify::Notifying;
use crate::policy::{Enforcers, ExitPolicy, PolicyFile};
use crate::shared::Shared;
use crate::together::Devices;

/// What the API is made from.
pub(crate) struct ApiPieces<'a> {
    pub(crate) config: &'a Config,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) shared: Shared,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) changes: Arc<dyn KeyChanges>,
    pub(crate) hub: &'a Hub,
    pub(crate) gateway: &'a Gateway,
    pub(crate) api: SocketAddr,
    pub(crate) policy: ExitPolicy,
    pub(crate) watch: AbuseWatch,
    pub(crate) suspicions: mpsc::Receiver<Suspicion>,
    pub(crate) live: Arc<Live>,
    pub(crate) devices: Devices,
    pub(crate) secret: SigningSecret,
}

impl ApiPieces<'_> {
    /// Starts the services behind the API.
    pub(crate) async fn assemble(
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
            proxy_at: proxies.first().copied().map(loopback),
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
    let url = match api.ip().is_unspecified() {
        true => format!("http://localhost:{}", api.port()),
        false => format!("http://{api}"),
    };
    Ok(url.parse()?)
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

/// Where a listener of ours is reached from this machine.
fn loopback(mut listener: SocketAddr) -> SocketAddr {
    if listener.ip().is_unspecified() {
        listener.set_ip(match listener {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    listener
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_a_public_address_is_reached_where_it_listens() {
        for (listens, url, host) in [
            ("0.0.0.0:3000", "http://localhost:3000", "localhost"),
            ("[::]:3000", "http://localhost:3000", "localhost"),
            ("192.0.2.1:80", "http://192.0.2.1:80", "192.0.2.1"),
            ("[::1]:3000", "http://[::1]:3000", "[::1]"),
        ] {
            let made = default_url(listens.parse().unwrap()).unwrap();
            assert!(made.join("/api").starts_with(url), "{listens}: {made}");
            assert_eq!(host_of(&made), host, "{listens}");
        }
    }
}
