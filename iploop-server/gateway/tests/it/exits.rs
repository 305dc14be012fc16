//! A network of exits for tests: each a tunnel in memory whose device dials loopback, or fails as it is told.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use iploop_platform::exits::{
    Exit, ExitError, ExitFailure, ExitRequest, Exits, OpenedExit, OrElse, Place, Presence,
};
use iploop_platform::ids::NodeId;
use iploop_protocol::codes::{CloseCode, ResetCode};
use iploop_protocol::destination::Host;
use iploop_protocol::frame::StreamKind;
use iploop_protocol::io::{
    Event, Incoming, OpenError, OpenRequest, Transport, Tunnel, Unmetered, connect, relay,
};
use iploop_protocol::policy;
use iploop_protocol::tunnel::{Config, Side};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The exits, and what they were asked.
pub(crate) struct TestExits {
    exits: Mutex<Vec<TestExit>>,
    /// Every request, in order, with the exit that it was given to.
    asked: Mutex<Vec<Asked>>,
    /// How often somebody wanted to know whether an exit is there.
    looked: AtomicUsize,
    _tasks: Arc<Mutex<JoinSet<()>>>,
}

/// One request to the hub, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) exit: Option<u8>,
    pub(crate) early: Bytes,
    pub(crate) prefers: Option<(NodeId, OrElse)>,
}

struct TestExit {
    exit: Arc<Exit>,
    number: u8,
    tunnel: Tunnel,
    /// What the next attempts come to, first one first; then it works.
    failures: VecDeque<Trouble>,
    gone: bool,
}

/// What an exit does instead of working.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// The hub says so, without asking the device.
    Error(ExitError),
    /// The stream opens and then the device is lost before a byte comes back.
    Lost,
    /// Nobody answers.
    Silence,
}

impl TestExits {
    /// Exits with the public addresses 198.51.100.1 and so on, all in one autonomous system.
    pub(crate) fn new(count: u8) -> Arc<Self> {
        let tasks = Arc::new(Mutex::new(JoinSet::new()));
        let exits = (1..=count).map(|number| TestExit::new(number, &tasks)).collect();
        Arc::new(Self {
            exits: Mutex::new(exits),
            asked: Mutex::default(),
            looked: AtomicUsize::new(0),
            _tasks: tasks,
        })
    }

    /// Has an exit's next attempt fail.
    pub(crate) fn trouble(&self, number: u8, trouble: Trouble) {
        self.with(number, |exit| exit.failures.push_back(trouble));
    }

    /// Takes an exit away.
    pub(crate) fn remove(&self, number: u8) {
        self.with(number, |exit| exit.gone = true);
    }

    /// Has an exit come back.
    pub(crate) fn bring_back(&self, number: u8) {
        self.with(number, |exit| exit.gone = false);
    }

    /// Gives an exit another public address, 198.51.100.`last`, in another autonomous system where one is given.
    pub(crate) fn readdress(&self, number: u8, last: u8, asn: Option<u32>) {
        self.with(number, |exit| {
            let mut changed = (*exit.exit).clone();
            changed.ip = IpAddr::V4(Ipv4Addr::new(198, 51, 100, last));
            changed.place.asn = asn.or(changed.place.asn);
            exit.exit = Arc::new(changed);
        });
    }

    /// Breaks an exit's tunnel, streams and all.
    pub(crate) fn cut(&self, number: u8) {
        self.with(number, |exit| {
            exit.gone = true;
            exit.tunnel.close(CloseCode::Done, None, "");
        });
    }

    /// How often somebody wanted to know whether an exit is there.
    pub(crate) fn looked(&self) -> usize {
        self.looked.load(Ordering::SeqCst)
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    fn with(&self, number: u8, change: impl FnOnce(&mut TestExit)) {
        let mut exits = self.exits.lock();
        change(
            exits
                .iter_mut()
                .find(|exit| exit.number == number)
                .expect("an exit of this number"),
        );
    }

    /// The lowest fitting number, so that tests know what comes.
    fn choose(&self, request: &ExitRequest) -> Result<(u8, Arc<Exit>, Tunnel, Option<Trouble>), ExitError> {
        let mut exits = self.exits.lock();
        let fits = |exit: &TestExit| {
            !exit.gone
                && !request.avoid.nodes.contains(&exit.exit.node)
                && !request.avoid.ips.contains(&exit.exit.ip)
        };
        let live = exits.iter().any(|exit| !exit.gone);
        let at = match request.prefer {
            None => exits.iter().position(fits),
            Some(prefer) => {
                let find = |also: &dyn Fn(&Exit) -> bool| {
                    let mut numbered = exits.iter().enumerate();
                    numbered
                        .find(|(_, exit)| fits(exit) && also(&exit.exit))
                        .map(|(at, _)| at)
                };
                let same = find(&|exit| exit.node == prefer.node && exit.ip == prefer.ip)
                    .or_else(|| find(&|exit| exit.ip == prefer.ip));
                let follows = |exit: &Exit| match prefer.or_else {
                    OrElse::SameIp => false,
                    OrElse::SameAsn(asn) => exit.place.asn == Some(asn),
                    OrElse::Any => true,
                };
                let other =
                    find(&|exit| exit.node == prefer.node && follows(exit)).or_else(|| find(&follows));
                match same.or(other) {
                    None if prefer.or_else != OrElse::Any => return Err(ExitError::SessionExitGone),
                    found => found,
                }
            }
        };
        let Some(at) = at else {
            return Err(if live {
                ExitError::NoOtherExit
            } else {
                ExitError::NoExit
            });
        };
        let exit = &mut exits[at];
        Ok((
            exit.number,
            Arc::clone(&exit.exit),
            exit.tunnel.clone(),
            exit.failures.pop_front(),
        ))
    }
}

impl Exits for TestExits {
    fn presence(&self, node: NodeId, ip: IpAddr) -> Presence {
        self.looked.fetch_add(1, Ordering::SeqCst);
        let exits = self.exits.lock();
        let mut live = exits.iter().filter(|exit| !exit.gone);
        if live.clone().any(|exit| exit.exit.ip == ip) {
            return Presence::Here;
        }
        match live.find(|exit| exit.exit.node == node) {
            Some(exit) => Presence::Moved(exit.exit.ip),
            None => Presence::Gone,
        }
    }

    fn open(&self, request: ExitRequest) -> BoxFuture<'_, Result<OpenedExit, ExitFailure>> {
        Box::pin(async move {
            let chosen = self.choose(&request);
            self.asked.lock().push(Asked {
                exit: chosen.as_ref().ok().map(|(number, ..)| *number),
                early: request.early.clone(),
                prefers: request.prefer.map(|prefer| (prefer.node, prefer.or_else)),
            });
            let failure = |error, exit| ExitFailure {
                error,
                exit,
                took: Duration::ZERO,
                beside: Vec::new(),
            };
            let (number, exit, tunnel, trouble) = chosen.map_err(|error| failure(error, None))?;
            let lost = match trouble {
                None => false,
                Some(Trouble::Lost) => true,
                Some(Trouble::Error(error)) => return Err(failure(error, Some(exit))),
                Some(Trouble::Silence) => std::future::pending().await,
            };
            let open = OpenRequest {
                kind: match request.transport {
                    policy::Transport::Tcp => StreamKind::Tcp,
                    policy::Transport::Udp => StreamKind::Udp,
                },
                destination: request.destination,
                customer: 1,
                early: if lost { Bytes::new() } else { request.early },
                timeout: Duration::from_secs(10),
            };
            match tunnel.open(open).await {
                Ok((stream, dial)) => {
                    if lost {
                        self.cut(number);
                    }
                    Ok(OpenedExit {
                        exit,
                        stream,
                        select: Duration::ZERO,
                        dial,
                        beside: Vec::new(),
                        gauge: Arc::default(),
                    })
                }
                Err(OpenError::Refused {
                    code: ResetCode::Refused,
                    ..
                }) => Err(failure(ExitError::ConnectionRefused, Some(exit))),
                Err(OpenError::Refused {
                    code: ResetCode::DnsFailed,
                    ..
                }) => Err(failure(ExitError::DnsFailed, Some(exit))),
                Err(_) => Err(failure(ExitError::NodeUnavailable, Some(exit))),
            }
        })
    }
}

impl TestExit {
    fn new(number: u8, tasks: &Arc<Mutex<JoinSet<()>>>) -> Self {
        let (hub_end, node_end) = pipe();
        let (tunnel, mut hub_events, hub) = connect(hub_end, Config::new(Side::Hub));
        let (node_tunnel, mut node_events, node) = connect(node_end, Config::new(Side::Node));
        // The messages of a handshake: what stands in them is the hub's business.
        node_tunnel
            .send_control(Bytes::from_static(b"{}"))
            .expect("room for a message");
        tunnel
            .send_control(Bytes::from_static(b"{}"))
            .expect("room for a message");
        tunnel.establish(10_000);
        let mut set = tasks.lock();
        set.spawn(async move {
            hub.await;
        });
        set.spawn(async move {
            node.await;
        });
        set.spawn(async move { while hub_events.next().await.is_some() {} });
        let dialled = Arc::clone(tasks);
        set.spawn(async move {
            let _node_tunnel = node_tunnel;
            while let Some(event) = node_events.next().await {
                if let Event::Incoming(incoming) = event {
                    dialled.lock().spawn(dial(incoming));
                }
            }
        });
        let exit = Exit {
            node: NodeId::new(),
            ip: IpAddr::V4(Ipv4Addr::new(198, 51, 100, number)),
            place: Place {
                country: Some("US".to_owned()),
                city: Some("Miami".to_owned()),
                asn: Some(64500),
                ..Place::default()
            },
            net: None,
            os: None,
        };
        Self {
            exit: Arc::new(exit),
            number,
            tunnel,
            failures: VecDeque::new(),
            gone: false,
        }
    }
}

/// What the device does: dial what it was asked to, and relay.
async fn dial(incoming: Incoming) {
    if incoming.open().kind == StreamKind::Udp {
        return carry_datagrams(incoming).await;
    }
    let destination = incoming.open().destination.clone();
    let Host::Ip(ip) = destination.host else {
        incoming.reject(ResetCode::DnsFailed, "");
        return;
    };
    match TcpStream::connect(SocketAddr::new(ip, destination.port)).await {
        Ok(mut socket) => {
            socket.set_nodelay(true).expect("a live socket");
            if let Some(mut stream) = incoming.accept(Duration::from_millis(1)) {
                let end = relay(&mut stream, &mut socket, &Unmetered).await;
                match end.result {
                    Ok(()) => {}
                    Err(_) => stream.reset(ResetCode::ConnectionReset),
                }
                let _ = socket.shutdown().await;
            }
        }
        Err(_) => incoming.reject(ResetCode::Refused, ""),
    }
}

/// Datagrams to loopback and back; a name is `echo`, which stands for the last address that was sent to.
async fn carry_datagrams(incoming: Incoming) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let Some(mut stream) = incoming.accept(Duration::from_millis(1)) else {
        return;
    };
    let mut buffer = [0; 4096];
    loop {
        tokio::select! {
            asked = stream.receive_datagram() => {
                let Ok((to, data)) = asked else { return };
                let ip = match to.host {
                    Host::Ip(ip) => ip,
                    Host::Name(_) => Ipv4Addr::LOCALHOST.into(),
                };
                socket.send_to(&data, (ip, to.port)).await.expect("loopback takes it");
            }
            received = socket.recv_from(&mut buffer) => {
                let Ok((length, from)) = received else { return };
                let data = Bytes::copy_from_slice(&buffer[..length]);
                if stream.send_datagram(from.into(), data).is_err() {
                    return;
                }
            }
        }
    }
}

/// A transport in memory.
struct Pipe {
    to: mpsc::Sender<Bytes>,
    from: mpsc::Receiver<Bytes>,
}

fn pipe() -> (Pipe, Pipe) {
    let (left, right) = (mpsc::channel(4096), mpsc::channel(4096));
    (
        Pipe {
            to: left.0,
            from: right.1,
        },
        Pipe {
            to: right.0,
            from: left.1,
        },
    )
}

impl Transport for Pipe {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.from.poll_recv(cx).map(|message| message.map(Ok))
    }

    fn send(&mut self, write: impl FnOnce(&mut BytesMut) -> bool) -> io::Result<bool> {
        let mut message = BytesMut::new();
        if !write(&mut message) {
            return Ok(false);
        }
        match self.to.try_send(message.freeze()) {
            Ok(()) => Ok(true),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: u16) -> Poll<io::Result<()>> {
        self.from.close();
        Poll::Ready(Ok(()))
    }
}
