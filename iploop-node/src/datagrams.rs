//! Datagrams of one UDP stream: each checked by itself, to a bounded number of peers, and back only from those.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use iploop_protocol::codes::ResetCode;
use iploop_protocol::destination::{Destination, Host};
use iploop_protocol::frame::MAX_DATAGRAM_BYTES;
use iploop_protocol::io::{Counted, Depleted, Direction, Meter, Stream};
use iploop_protocol::policy::MAX_ANSWER_AGE;
use iploop_protocol::tunnel::StreamError;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::time::{Duration, Instant, timeout};

use crate::dial::{binds, may_leave};
use crate::grants::Opened;
use crate::rules::Rules;
use crate::serve::Stage;

/// Most places that one stream sends to, and most names that it keeps the addresses of.
const MAX_PEERS: usize = 32;
/// Most names that are looked up at the same time; what is sent to further ones meanwhile is lost.
const MAX_LOOKUPS: usize = 8;
/// Longest wait for a name's addresses: nobody waits longer for a datagram.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an association ended.
pub(crate) enum End {
    /// The other side, or the tunnel, ended it.
    Stream,
    /// A cap of the owner's is reached.
    Depleted,
    /// The system gives no socket.
    Socket,
}

/// The places and sockets of one stream.
pub(crate) struct Association<'a> {
    stage: &'a Stage,
    customer: u64,
    sockets: Vec<Socket>,
    /// Who may be sent to and heard, with the rules that said so.
    peers: BTreeMap<(IpAddr, u16), Arc<Rules>>,
    names: BTreeMap<Destination, Known>,
    lookups: FuturesUnordered<BoxFuture<'a, Found>>,
}

/// One family, and whether it stays on this machine: that decides the source address.
struct Socket {
    is_ipv4: bool,
    is_loopback: bool,
    inner: UdpSocket,
}

struct Known {
    answers: Vec<IpAddr>,
    until: Instant,
}

/// What a lookup came to, with the datagram that asked for it.
struct Found {
    to: Destination,
    data: Bytes,
    answers: Vec<IpAddr>,
}

impl<'a> Association<'a> {
    pub(crate) fn new(stage: &'a Stage, customer: u64) -> Self {
        Self {
            stage,
            customer,
            sockets: Vec::new(),
            peers: BTreeMap::new(),
            names: BTreeMap::new(),
            lookups: FuturesUnordered::new(),
        }
    }

    /// Relays until the stream ends.
    pub(crate) async fn run(&mut self, stream: &mut Stream) -> End {
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES + 1];
        loop {
            let sent = tokio::select! {
                asked = stream.receive_datagram() => match asked {
                    Ok((to, data)) => self.ask(to, data).await,
                    Err(StreamError::Reset { .. } | StreamError::Closed) => return End::Stream,
                },
                Some(found) = self.lookups.next(), if !self.lookups.is_empty() => self.found(found).await,
                (from, length) = receive(&self.sockets, &mut buffer) => {
                    self.deliver(stream, from, &buffer[..length]).await
                }
            };
            if let Err(end) = sent {
                return end;
            }
        }
    }

    /// Sends a datagram where it may go; else it is lost, as datagrams are.
    async fn ask(&mut self, to: Destination, data: Bytes) -> Result<(), End> {
        let rules = self.stage.rules();
        if rules.check_destination(&to, &self.opened()).is_err() {
            self.refused();
            return Ok(());
        }
        match &to.host {
            Host::Ip(ip) => {
                let answers = [*ip];
                self.send(&to, &answers, &data, &rules).await
            }
            Host::Name(name) => {
                let now = Instant::now();
                self.names.retain(|_, known| now < known.until);
                if let Some(known) = self.names.get(&to) {
                    let answers = known.answers.clone();
                    return self.send(&to, &answers, &data, &rules).await;
                }
                if self.lookups.len() < MAX_LOOKUPS && self.names.len() < MAX_PEERS {
                    let (name, stage) = (name.clone(), self.stage);
                    self.lookups.push(Box::pin(async move {
                        let answers = timeout(LOOKUP_TIMEOUT, stage.lookup(&name)).await;
                        Found {
                            to,
                            data,
                            answers: answers.unwrap_or_default(),
                        }
                    }));
                }
                Ok(())
            }
        }
    }

    async fn found(&mut self, found: Found) -> Result<(), End> {
        let Found { to, data, answers } = found;
        if answers.is_empty() {
            return Ok(());
        }
        let rules = self.stage.rules();
        let sent = self.send(&to, &answers, &data, &rules).await;
        let until = Instant::now() + MAX_ANSWER_AGE;
        self.names.insert(to, Known { answers, until });
        sent
    }

    async fn send(
        &mut self,
        to: &Destination,
        answers: &[IpAddr],
        data: &Bytes,
        rules: &Arc<Rules>,
    ) -> Result<(), End> {
        let Some(peer) = self.peer_of(to, answers, rules) else {
            return Ok(());
        };
        Self::charge(self.stage, Direction::OutOfTunnel, data.len()).await?;
        let socket = self.socket_for(peer).await.map_err(|error| {
            tracing::debug!(%error, "no socket for datagrams");
            End::Socket
        })?;
        // What can't be sent is lost, like what the network loses.
        let _ = socket.send_to(data, peer).await;
        Ok(())
    }

    /// Where this goes under the rules of now: an address that was checked with them, or is checked here.
    fn peer_of(&mut self, to: &Destination, answers: &[IpAddr], rules: &Arc<Rules>) -> Option<SocketAddr> {
        let known = answers
            .iter()
            .map(|ip| (ip.to_canonical(), to.port))
            .find(|peer| {
                self.peers
                    .get(peer)
                    .is_some_and(|checked| Arc::ptr_eq(checked, rules))
            });
        if let Some((ip, port)) = known {
            return Some(SocketAddr::new(ip, port));
        }
        let Ok(checked) = rules.check_addresses(to, answers, &self.opened()) else {
            self.refused();
            return None;
        };
        let source = self.stage.shared.config.bind;
        let peer = checked.iter().find(|address| may_leave(source, *address))?;
        let place = (peer.ip().to_canonical(), peer.port());
        if !self.peers.contains_key(&place) {
            let is_allowed = self.peers.len() < MAX_PEERS && self.stage.may_dial(self.customer, to);
            if !is_allowed {
                return None;
            }
        }
        self.peers.insert(place, Arc::clone(rules));
        Some(peer)
    }

    /// Passes on what a peer sent. Anybody else's is dropped: a port that is open to all is an open door.
    async fn deliver(&mut self, stream: &mut Stream, from: SocketAddr, data: &[u8]) -> Result<(), End> {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let opened = self.opened();
        let Some(checked) = self.peers.get_mut(&(from.ip(), from.port())) else {
            return Ok(());
        };
        if data.len() > MAX_DATAGRAM_BYTES {
            return Ok(());
        }
        let rules = self.stage.rules();
        if !Arc::ptr_eq(checked, &rules) {
            let still = rules.check_addresses(&from.into(), &[from.ip()], &opened);
            if !still.is_ok_and(|still| !still.is_empty()) {
                self.peers.remove(&(from.ip(), from.port()));
                return Ok(());
            }
            *checked = rules;
        }
        Self::charge(self.stage, Direction::IntoTunnel, data.len()).await?;
        stream
            .send_datagram(from.into(), Bytes::copy_from_slice(data))
            .map_err(|_| End::Stream)
    }

    async fn charge(stage: &Stage, direction: Direction, bytes: usize) -> Result<(), End> {
        let meter = &stage.shared.traffic;
        match meter.count(direction, bytes as u64) {
            Counted::Go => Ok(()),
            Counted::Wait => std::future::poll_fn(|cx| (&meter).poll_wait(cx))
                .await
                .map_err(|Depleted| End::Depleted),
        }
    }

    async fn socket_for(&mut self, to: SocketAddr) -> io::Result<&UdpSocket> {
        let (is_ipv4, is_loopback) = (to.is_ipv4(), to.ip().is_loopback());
        let at = self
            .sockets
            .iter()
            .position(|socket| socket.is_ipv4 == is_ipv4 && socket.is_loopback == is_loopback);
        let at = match at {
            Some(at) => at,
            None => {
                let any: IpAddr = if is_ipv4 {
                    Ipv4Addr::UNSPECIFIED.into()
                } else {
                    Ipv6Addr::UNSPECIFIED.into()
                };
                let source = self.stage.shared.config.bind.filter(|source| binds(*source, to));
                let inner = UdpSocket::bind(SocketAddr::new(source.unwrap_or(any), 0)).await?;
                self.sockets.push(Socket {
                    is_ipv4,
                    is_loopback,
                    inner,
                });
                self.sockets.len() - 1
            }
        };
        Ok(&self.sockets[at].inner)
    }

    fn opened(&self) -> Opened {
        self.stage.opened_for_datagrams(self.customer)
    }

    fn refused(&self) {
        self.stage.shared.traffic.count_refused(ResetCode::Forbidden);
    }
}

/// The next datagram of any socket. What the network says about earlier ones (refused, unreachable) is not passed on.
async fn receive(sockets: &[Socket], buffer: &mut [u8]) -> (SocketAddr, usize) {
    std::future::poll_fn(|cx| poll_receive(sockets, cx, buffer)).await
}

fn poll_receive(sockets: &[Socket], cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<(SocketAddr, usize)> {
    for socket in sockets {
        let mut room = ReadBuf::new(buffer);
        loop {
            match socket.inner.poll_recv_from(cx, &mut room) {
                Poll::Ready(Ok(from)) => return Poll::Ready((from, room.filled().len())),
                Poll::Ready(Err(_)) => room.clear(),
                Poll::Pending => break,
            }
        }
    }
    Poll::Pending
}
