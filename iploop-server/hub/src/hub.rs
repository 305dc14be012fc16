//! The hub as a whole: bound, run, drained.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use iploop_platform::abuse::AbuseWatch;
use iploop_platform::clock::Clock;
use iploop_platform::network::{CountryPresence, Network, NetworkStats, NodePage, NodeRow, NodeWish, Pool};
use iploop_platform::owners::PairingCodes;
use iploop_platform::presence::NodeMoves;
use iploop_platform::store::{Nodes, Partners};
use iploop_protocol::codes::CloseCode;
use iploop_protocol::control::{PolicyUpdate, ToNode};
use iploop_protocol::policy::PlatformPolicy;
use iploop_protocol::targeting::Targeting;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{HubConfig, HubError};
use crate::connection::{self, Tls};
use crate::geo::{Geo, GeoConfig};
use crate::guard::Guard;
use crate::registration::Registrar;
use crate::shared::Shared;

/// Connections that the system keeps until they are accepted: a hub that restarts is called by all devices at once.
const BACKLOG: u32 = 4096;

/// How often quality is brought up to date and activity goes to the store.
const LOOK_AFTER_EVERY: Duration = Duration::from_secs(30);

/// Time for farewells once the streams are gone.
const FAREWELL: Duration = Duration::from_secs(5);

/// Pause after the system refused a connection, for instance because no file is left to open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Locations are counted anew at most this often: the list can be long.
const LOCATIONS_FOR: Duration = Duration::from_secs(10);

/// What a hub needs of the others.
pub struct HubDeps {
    /// Devices and consent.
    pub nodes: Arc<dyn Nodes>,
    /// Partner keys.
    pub partners: Arc<dyn Partners>,
    /// Codes by which accounts claim devices.
    pub pairing: Arc<dyn PairingCodes>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The platform's exit policy for devices; none: only ports 80 and 443.
    pub policy: Option<PlatformPolicy>,
    /// The platform's own addresses, which no device may dial.
    pub platform_addresses: Vec<IpAddr>,
    /// Whether this server has a test allow-list: only then devices with one are accepted.
    pub test_allow: bool,
    /// Whether only devices of apps that an admin approved may register.
    pub review_apps: bool,
    /// Hears of refusals and limits.
    pub watch: AbuseWatch,
    /// Of new customers, in per cent of the limits per customer and device.
    pub new_customer_percent: u32,
}

/// The hub: accepts devices, keeps them, and opens streams through them. Clones are handles on the same hub.
#[derive(Clone)]
pub struct Hub {
    pub(crate) shared: Arc<Shared>,
    door: Arc<Door>,
}

struct Door {
    /// Taken by [`Hub::run`].
    listener: Mutex<Option<TcpListener>>,
    address: SocketAddr,
    tls: Option<Tls>,
    /// No more devices are accepted.
    closing: CancellationToken,
    /// Connections that are still there are cut.
    cutting: CancellationToken,
    /// All connections have ended.
    ended: CancellationToken,
    locations: Mutex<Option<(Instant, Vec<CountryPresence>)>>,
}

impl Hub {
    /// Checks the configuration, reads its files and opens the listener.
    ///
    /// # Errors
    /// Names the key that is wrong; [`HubConfig::mistakes`], [`HubConfig::file_mistakes`] and [`GeoConfig::file_mistakes`] name
    /// all of them.
    pub async fn bind(config: HubConfig, geo: &GeoConfig, deps: HubDeps) -> Result<Self, HubError> {
        if let Some(problem) = config.mistakes().into_iter().next() {
            return Err(problem);
        }
        let tls = Tls::open(&config).map_err(HubError::Tls)?;
        let geo = Geo::open(geo).map_err(HubError::Geo)?;
        let failed = |source| HubError::Listen {
            address: config.listen,
            source,
        };
        let listener = listen(config.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let registrar = Registrar::new(
            &config,
            deps.test_allow,
            deps.review_apps,
            geo,
            Arc::clone(&deps.nodes),
            Arc::clone(&deps.partners),
        );
        let shared = Shared::new(
            config,
            deps.platform_addresses,
            deps.clock,
            deps.nodes,
            deps.pairing,
            registrar,
            Guard::new(deps.new_customer_percent, deps.watch),
        );
        shared.set_policy(deps.policy.as_ref());
        Ok(Self {
            shared: Arc::new(shared),
            door: Arc::new(Door {
                listener: Mutex::new(Some(listener)),
                address,
                tls,
                closing: CancellationToken::new(),
                cutting: CancellationToken::new(),
                ended: CancellationToken::new(),
                locations: Mutex::default(),
            }),
        })
    }

    /// Tells these of each device that comes or goes from now on. The first ones stay.
    pub fn tell_moves(&self, moves: Arc<dyn NodeMoves>) {
        self.shared.tell_moves(moves);
    }

    /// Where devices connect: the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.door.address
    }

    /// Live devices.
    pub fn node_count(&self) -> usize {
        self.shared.live.lock().len()
    }

    /// Accepts and serves devices until [`Hub::drain`] has ended. A second call ends at once.
    ///
    /// # Cancel safety
    /// Dropping the future cuts all connections.
    pub async fn run(&self) {
        let Some(listener) = self.door.listener.lock().take() else {
            return;
        };
        // Cancelled however this function ends, so that nobody waits for it in vain.
        let _ended = self.door.ended.clone().drop_guard();
        tokio::select! {
            () = self.accept(listener) => {}
            () = self.look_after_nodes() => {}
        }
        self.shared.activity.flush().await;
    }

    /// Accepts and serves connections until none is left after the door was closed, or they are to be cut.
    async fn accept(&self, listener: TcpListener) {
        let door = &self.door;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = door.cutting.cancelled() => break,
                () = door.closing.cancelled(), if connections.is_empty() => break,
                accepted = listener.accept(), if !door.closing.is_cancelled() => match accepted {
                    Ok((stream, peer)) => self.serve(&mut connections, stream, peer),
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn Error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = connections.join_next() => {
                    metrics::gauge!("iploop_hub_connections").decrement(1.0);
                    if let Err(error) = ended {
                        tracing::error!(error = &error as &dyn Error, "a connection's task broke");
                    }
                }
            }
        }
        connections.shutdown().await;
    }

    async fn look_after_nodes(&self) {
        let mut every = tokio::time::interval_at(Instant::now() + LOOK_AFTER_EVERY, LOOK_AFTER_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.shared.look_after_nodes().await;
        }
    }

    /// Shuts down in order: no new streams or devices, up to `grace` for open streams, then every device is sent away with a
    /// time to come back that spreads them. Ends when all have gone, [`Hub::run`] included, a few seconds after `grace` at most.
    pub async fn drain(&self, grace: Duration) {
        if !self.shared.start_draining() {
            return self.door.ended.cancelled().await;
        }
        self.shared
            .for_each_node(|page| page.iter().for_each(|(_, node)| node.tunnel.drain(grace)))
            .await;
        let _ = timeout(grace, self.shared.streams_gone()).await;
        self.door.closing.cancel();
        let goodbye = |(_, node): &(_, Arc<crate::node::Node>)| {
            let retry_after = Some(self.shared.spread_retry());
            node.tunnel
                .close(CloseCode::ShuttingDown, retry_after, "this hub is shutting down");
        };
        self.shared
            .for_each_node(|page| page.iter().for_each(goodbye))
            .await;
        if self.door.listener.lock().take().is_some() {
            // Nobody ran it.
            self.door.ended.cancel();
        }
        let _ = timeout(FAREWELL, self.door.ended.cancelled()).await;
        self.door.cutting.cancel();
        self.door.ended.cancelled().await;
    }

    /// Puts another platform policy in force: pushed to all devices, and sent to each that comes.
    pub async fn set_policy(&self, policy: Option<&PlatformPolicy>) {
        let document = self.shared.set_policy(policy).unwrap_or(PolicyUpdate {
            document: serde_json::Value::Null,
        });
        let message = ToNode::Policy(document).encode();
        self.shared
            .for_each_node(|page| {
                for (_, node) in page {
                    // A device that does not read is not one that keeps rules: without the new policy it may not go on.
                    if node.tunnel.send_control(message.clone()).is_err() {
                        node.tunnel
                            .close(CloseCode::Overloaded, None, "the policy could not be sent");
                    }
                }
            })
            .await;
    }

    fn serve(&self, connections: &mut JoinSet<()>, stream: TcpStream, peer: SocketAddr) {
        if connections.len() >= self.shared.config.max_connections {
            metrics::counter!("iploop_hub_connections_refused_total").increment(1);
            return;
        }
        metrics::gauge!("iploop_hub_connections").increment(1.0);
        let shared = Arc::clone(&self.shared);
        match &self.door.tls {
            None => connections.spawn(connection::serve(shared, stream, peer)),
            Some(tls) => connections.spawn(connection::serve_tls(shared, tls.clone(), stream, peer)),
        };
    }
}

impl Network for Hub {
    fn stats(&self) -> NetworkStats {
        let stats = self.shared.live.lock().stats();
        NetworkStats {
            bandwidth_bytes: self.shared.bytes(),
            ..stats
        }
    }

    fn locations(&self) -> Vec<CountryPresence> {
        let now = Instant::now();
        if let Some((at, locations)) = &*self.door.locations.lock()
            && now.saturating_duration_since(*at) < LOCATIONS_FOR
        {
            return locations.clone();
        }
        let locations = self.shared.live.lock().locations();
        *self.door.locations.lock() = Some((now, locations.clone()));
        locations
    }

    fn pool(&self, targeting: &Targeting) -> Pool {
        let now = Instant::now().into_std();
        let (nodes, exact, some) = {
            let mut random = self.shared.random();
            let mut live = self.shared.live.lock();
            live.wake(now);
            let survey = live.survey(targeting, &mut random);
            let some: Vec<_> = survey.some.into_iter().map(Arc::clone).collect();
            (survey.nodes, survey.exact, some)
        };
        let sum: f64 = some.iter().map(|node| f64::from(node.reliability(now))).sum();
        let shown = u32::try_from(some.len()).ok().filter(|shown| *shown > 0);
        Pool {
            nodes,
            exact,
            dial_success: shown.map(|shown| sum / f64::from(shown)),
        }
    }

    fn nodes(&self, wish: &NodeWish, from: u32, limit: usize) -> NodePage {
        let live = self.shared.live.lock();
        let (rows, next) = live.list(from, limit, |node, is_available, quality_score| {
            let place = &node.exit.place;
            let row = NodeRow {
                country: place.country.clone(),
                region: place.region.clone(),
                city: place.city.clone(),
                connection_type: node.exit.net.clone(),
                device_type: node.exit.os.clone(),
                is_available,
                quality_score,
            };
            wish.takes(&row).then_some(row)
        });
        NodePage { rows, next }
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
