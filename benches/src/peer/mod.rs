//! The peers: tunnels that do the same work, started the same way and measured from outside.
//!
//! ```text
//! load ──▶ gateway side ◀──[link]── device side ──▶ origin
//! ```
//!
//! The gateway side is where customers and devices connect; the device side dials the gateway side, through the link where
//! the path has one, and the origin. `direct` has neither: its link, if any, stands before the origin.

mod iploop;
mod rathole;
mod ssh;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::time::sleep;

pub(crate) use self::iploop::{
    OWNER, Program, TERMS_HASH, TERMS_VERSION, generous_policy, grant_plenty, write_certificate,
};

use crate::child::Process;
use crate::link;
use crate::order::HubAccess;
use crate::process::{self, Cost};
use crate::route::Route;

/// A started tunnel carries its first stream within this time.
const USABLE_LIMIT: Duration = Duration::from_secs(20);
const USABLE_RETRY: Duration = Duration::from_millis(50);
/// Round trip of the paths that have a link.
pub(crate) const RTT_MS: u64 = 50;
/// 20 Mbit/s.
pub(crate) const RATE_BYTES_PER_SECOND: u64 = 2_500_000;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// The load connects to the origin itself.
    Direct,
    /// IPLoop: HTTP CONNECT in front, TLS 1.3 on the device leg.
    Iploop,
    /// The same with SOCKS5 in front.
    IploopSocks,
    /// HTTP CONNECT in front, the device leg in clear.
    IploopClear,
    /// OpenSSH: `ssh -R` without a destination, a SOCKS5 listener at the server.
    Ssh,
    /// rathole: a forwarded port, no proxy handshake.
    Rathole,
    /// The same with each connection between its sides under TLS.
    RatholeTls,
}

impl Peer {
    pub(crate) const ALL: [Peer; 7] = [
        Peer::Direct,
        Peer::Iploop,
        Peer::IploopSocks,
        Peer::IploopClear,
        Peer::Ssh,
        Peer::Rathole,
        Peer::RatholeTls,
    ];
    /// What `run` compares unless told otherwise.
    pub(crate) const USUAL: [Peer; 4] = [Peer::Direct, Peer::Iploop, Peer::Ssh, Peer::RatholeTls];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Direct => "direct",
            Peer::Iploop => "iploop",
            Peer::IploopSocks => "iploop-socks5",
            Peer::IploopClear => "iploop-ws",
            Peer::Ssh => "ssh",
            Peer::Rathole => "rathole",
            Peer::RatholeTls => "rathole-tls",
        }
    }

    /// What stands in the table's legend.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Peer::Direct => "client straight to the origin",
            Peer::Iploop => "IPLoop, HTTP CONNECT in front, device leg wss (TLS 1.3, ECDSA)",
            Peer::IploopSocks => "IPLoop, SOCKS5 in front, device leg wss",
            Peer::IploopClear => "IPLoop, HTTP CONNECT in front, device leg ws",
            Peer::Ssh => "OpenSSH, ssh -R as a SOCKS5 listener, own sshd with throw-away keys",
            Peer::Rathole => {
                "rathole, a forwarded port in clear: no proxy handshake, a TCP connection per stream"
            }
            Peer::RatholeTls => "rathole, each of its connections under TLS of its own",
        }
    }

    /// Is it ours, and so held to the targets?
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Peer::Iploop | Peer::IploopSocks | Peer::IploopClear)
    }

    /// Does it answer plain HTTP requests?
    pub(crate) fn forwards_http(self) -> bool {
        matches!(self, Peer::Iploop | Peer::IploopClear)
    }

    /// Why it can't run on this machine, if so.
    pub(crate) fn missing(self, env: &Env) -> Option<String> {
        match self {
            Peer::Direct => None,
            Peer::Iploop | Peer::IploopSocks | Peer::IploopClear => iploop::missing(env),
            Peer::Ssh => ssh::missing(),
            Peer::Rathole => rathole::missing(rathole::Leg::Clear),
            Peer::RatholeTls => rathole::missing(rathole::Leg::Tls),
        }
    }

    /// Starts it on the path of `env`; it has carried a stream when this returns.
    pub(crate) async fn start(self, env: &Env) -> anyhow::Result<Running> {
        let running = match self {
            Peer::Direct => start_direct(env).await?,
            Peer::Iploop => iploop::start(env, iploop::Front::HttpConnect, iploop::Leg::Tls).await?,
            Peer::IploopSocks => iploop::start(env, iploop::Front::Socks5, iploop::Leg::Tls).await?,
            Peer::IploopClear => iploop::start(env, iploop::Front::HttpConnect, iploop::Leg::Clear).await?,
            Peer::Ssh => ssh::start(env).await?,
            Peer::Rathole => rathole::start(env, rathole::Leg::Clear).await?,
            Peer::RatholeTls => rathole::start(env, rathole::Leg::Tls).await?,
        };
        running.wait_until_usable(env.origin).await?;
        Ok(running)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(name: &str) -> Result<Peer, String> {
        let known = || Peer::ALL.map(Peer::name).join(", ");
        Peer::ALL
            .into_iter()
            .find(|peer| peer.name() == name)
            .ok_or_else(|| format!("known peers: {}", known()))
    }
}

/// What lies between hub and device, or between client and origin for `direct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PathKind {
    /// Loopback as it is.
    Loopback,
    /// 50 ms round trip.
    Delayed,
    /// 50 ms round trip, 20 Mbit/s each way.
    Limited,
}

/// Where a peer is started.
pub(crate) struct Env {
    pub(crate) origin: SocketAddr,
    pub(crate) path: PathKind,
    /// Folder of the product's binaries.
    pub(crate) binaries: PathBuf,
}

impl Env {
    /// The address at which the device side reaches `upstream`, and the link in between if there is one.
    async fn through_link(
        &self,
        upstream: SocketAddr,
        folder: &Path,
    ) -> anyhow::Result<(SocketAddr, Option<Process>)> {
        let mut arguments = vec!["link".to_owned(), "--upstream".to_owned(), upstream.to_string()];
        arguments.extend(["--rtt-ms".to_owned(), RTT_MS.to_string()]);
        match self.path {
            PathKind::Loopback => return Ok((upstream, None)),
            PathKind::Delayed => {}
            PathKind::Limited => arguments.extend(["--rate".to_owned(), RATE_BYTES_PER_SECOND.to_string()]),
        }
        let mut link = Process::spawn_own("link", &arguments, folder)?;
        let link::Ready { address } = link.ready().await?;
        Ok((address, Some(link)))
    }
}

/// One side of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Gateway,
    Device,
}

/// A started peer. Dropping it ends its processes, the device side first.
pub(crate) struct Running {
    pub(crate) route: Route,
    /// Where simulated devices register, at our own.
    pub(crate) hub: Option<HubAccess>,
    device: Option<Process>,
    gateway: Option<Process>,
    _link: Option<Process>,
    _folder: TempDir,
    _ports: Vec<HeldPort>,
}

impl Running {
    /// What one side has cost so far.
    pub(crate) fn cost(&self, role: Role) -> anyhow::Result<Cost> {
        let process = match role {
            Role::Gateway => &self.gateway,
            Role::Device => &self.device,
        };
        process
            .as_ref()
            .map_or(Ok(Cost::default()), |process| process::cost_of(process.pid()?))
    }

    /// Starts the memory peaks of both sides anew.
    pub(crate) fn forget_peaks(&self) -> anyhow::Result<()> {
        for process in [&self.gateway, &self.device].into_iter().flatten() {
            process::forget_peak(process.pid()?)?;
        }
        Ok(())
    }

    /// Ends both sides.
    pub(crate) async fn stop(self) {
        for process in [self.device, self.gateway].into_iter().flatten() {
            process.end().await;
        }
    }

    async fn wait_until_usable(&self, origin: SocketAddr) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let opened = async { crate::exchange::first(&mut self.route.open(origin).await?).await }.await;
            match opened {
                Ok(()) => return Ok(()),
                Err(error) if start.elapsed() > USABLE_LIMIT => {
                    let logs = [&self.gateway, &self.device].map(|side| side.as_ref().map(Process::log_tail));
                    return Err(error.context(format!("no stream in {USABLE_LIMIT:?}; logs: {logs:?}")));
                }
                Err(_) => sleep(USABLE_RETRY).await,
            }
        }
    }
}

async fn start_direct(env: &Env) -> anyhow::Result<Running> {
    let folder = tempfile::tempdir()?;
    let (listener, link) = env.through_link(env.origin, folder.path()).await?;
    let route = if link.is_some() {
        Route::Forwarded { listener }
    } else {
        Route::Direct
    };
    Ok(Running {
        route,
        hub: None,
        device: None,
        gateway: None,
        _link: link,
        _folder: folder,
        _ports: Vec::new(),
    })
}

/// Waits until `process` listens.
async fn wait_for_listener(address: SocketAddr, process: &Process) -> anyhow::Result<()> {
    let start = Instant::now();
    while let Err(error) = tokio::net::TcpStream::connect(address).await {
        if start.elapsed() > USABLE_LIMIT {
            return Err(error).context(process.log_tail());
        }
        sleep(USABLE_RETRY).await;
    }
    Ok(())
}

/// A port for a program that can't say which one it took. While this lives nobody else is given it by chance; who names it and reuses
/// addresses, as such programs do, may listen there.
struct HeldPort {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl HeldPort {
    fn take() -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self {
            address: socket.local_addr()?,
            _socket: socket,
        })
    }
}

/// The program of this name in `PATH` or where system programs are.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
