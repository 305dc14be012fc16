//! UDP ASSOCIATE (RFC 1928 section 7): datagrams between a customer's UDP socket and an exit, for as long as the customer's
//! TCP connection lives.
//!
//! Each destination is checked here and again on the device, and counted like a connection to it. Under `dns-gateway` a name is
//! resolved here once for the association, and the device gets an address. Datagrams are taken from the customer's address alone, and
//! fragments are not put together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};
use iploop_platform::abuse::Cause;
use iploop_platform::exits::OpenedExit;
use iploop_platform::metering::ProxyType;
use iploop_protocol::codes::ResetCode;
use iploop_protocol::destination::{Destination, Host};
use iploop_protocol::frame::MAX_DATAGRAM_BYTES;
use iploop_protocol::io::Stream;
use iploop_protocol::policy::{Refusal, Transport};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::{STATUS_OK, reply_to, wire};
use crate::answer::{ProxyError, Reply, socks_reply_at};
use crate::connection::Connection;
use crate::relay::{End, watch};
use crate::service::{Account, Service};
use crate::tunnel::Established;

/// Most places that one association sends to.
const MAX_PEERS: usize = 32;

/// The longest header before a datagram's content: a name of 255 bytes.
const MAX_HEADER_BYTES: usize = 3 + 1 + 1 + 255 + 2;

/// Serves an association to its end. `port` is the one that the customer says it sends from, where that can be believed.
pub(super) async fn serve(
    service: &Service,
    mut customer: Connection,
    established: Established,
    port: Option<u16>,
) {
    let Established { opened, account, .. } = established;
    let OpenedExit { exit, mut stream, .. } = opened;
    let deadline = Instant::now() + service.config.handshake_timeout;
    let socket = match bind(&customer).await {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%error, "no socket for a customer's datagrams");
            let error = account.failed(ProxyError::Internal);
            stream.reset(ResetCode::Cancelled);
            let _ = customer.write(&reply_to(&error), deadline).await;
            return;
        }
    };
    let bound = match socket.local_addr() {
        Ok(bound) => SocketAddr::new(service.config.udp_address.unwrap_or(bound.ip()), bound.port()),
        // A bound socket has an address.
        Err(_) => return,
    };
    account.meter().set_status(STATUS_OK);
    if customer
        .write(&socks_reply_at(Reply::Succeeded, bound), deadline)
        .await
        .is_err()
    {
        account.served();
        return;
    }
    account.told(exit.ip);
    let mut association = Association {
        service,
        account: &account,
        socket,
        from: customer.peer().ip(),
        port,
        peers: BTreeMap::new(),
        refused: BTreeSet::new(),
    };
    let end = tokio::select! {
        end = association.run(&mut stream) => end,
        end = watch(account.meter(), service.lifetimes()) => end,
        () = customer.ended() => End::Finished,
        () = account.cut().cancelled() => End::Suspended,
    };
    // Datagrams have no end of their own.
    stream.reset(end.reset_code());
    account.ended(&end);
}

/// Where the customer's connection came in, at a port of the system's choice.
async fn bind(customer: &Connection) -> std::io::Result<UdpSocket> {
    let here = customer.local().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    UdpSocket::bind(SocketAddr::new(here, 0)).await
}

struct Association<'a> {
    service: &'a Service,
    account: &'a Account,
    socket: UdpSocket,
    from: IpAddr,
    /// The customer's port, once it is known.
    port: Option<u16>,
    /// Places that it sends to, and what the device is told of each.
    peers: BTreeMap<Destination, Destination>,
    /// Places that the policy refused.
    refused: BTreeSet<Destination>,
}

impl Association<'_> {
    async fn run(&mut self, stream: &mut Stream) -> End {
        let mut buffer = vec![0; MAX_HEADER_BYTES + MAX_DATAGRAM_BYTES + 1];
        loop {
            let moved = tokio::select! {
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((length, from)) => self.send(stream, from, &buffer[..length]).await,
                    // What the network says about an earlier datagram.
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
                    Err(_) => return End::CustomerLeft,
                },
                back = stream.receive_datagram() => match back {
                    Ok((from, data)) => self.deliver(&from, &data).await,
                    Err(error) => return End::ExitFailed(error),
                },
            };
            if let Err(end) = moved {
                return end;
            }
        }
    }

    /// Sends a datagram of the customer's; what may not go is lost, as datagrams are.
    async fn send(&mut self, stream: &mut Stream, from: SocketAddr, datagram: &[u8]) -> Result<(), End> {
        if from.ip().to_canonical() != self.from || self.port.is_some_and(|port| port != from.port()) {
            return Ok(());
        }
        let Some((to, data)) = wire::datagram(datagram) else {
            return Ok(());
        };
        if data.len() > MAX_DATAGRAM_BYTES || !self.may_go(&to) {
            return Ok(());
        }
        let Some(to) = self.place_of(to).await else {
            return Ok(());
        };
        // Whoever sent the first good one is the customer from now on.
        self.port = Some(from.port());
        self.account
            .meter()
            .charge_up(data.len())
            .await
            .map_err(End::NoCredit)?;
        stream
            .send_datagram(to, Bytes::copy_from_slice(data))
            .map_err(End::ExitFailed)
    }

    /// Where a datagram really goes; none if it can't. What was new is a peer from now on.
    async fn place_of(&mut self, to: Destination) -> Option<Destination> {
        if let Some(place) = self.peers.get(&to) {
            return Some(place.clone());
        }
        if self.peers.len() == MAX_PEERS {
            return None;
        }
        let place = match self.account.resolves_here() {
            true => self.resolve(&to).await?,
            false => to.clone(),
        };
        let gauge = self.account.gauge();
        if gauge.is_some_and(|gauge| gauge.visit(&place).is_err()) {
            return None;
        }
        if self.peers.is_empty() {
            self.account.meter().set_destination(ProxyType::Socks5, &to);
        }
        self.peers.insert(to, place.clone());
        Some(place)
    }

    /// The address behind a name.
    async fn resolve(&mut self, to: &Destination) -> Option<Destination> {
        let policy = self.service.policy.read().clone();
        let context = self.account.context().by(Transport::Udp);
        let resolved = Box::pin(self.service.resolver.resolve(to, &policy, &context)).await;
        match resolved {
            Ok(place) if !self.account.is_denied(&place) => Some(place),
            Ok(_) => None,
            Err(error) => {
                if let ProxyError::Forbidden(refusal) = error {
                    self.note_refusal(to, refusal);
                }
                None
            }
        }
    }

    fn may_go(&mut self, to: &Destination) -> bool {
        if !self.account.may_reach(to) {
            return false;
        }
        let context = self.account.context().by(Transport::Udp);
        let checked = self.service.policy.read().check_destination(to, &context);
        let Err(refusal) = checked else { return true };
        self.note_refusal(to, refusal);
        false
    }

    /// A place is told once: a client that asks again and again is stubborn, and no worse than that.
    fn note_refusal(&mut self, to: &Destination, refusal: Refusal) {
        if self.refused.len() < MAX_PEERS && self.refused.insert(to.clone()) {
            let cause = Cause::Rule(refusal.rule());
            self.service.watch.refused(self.account.payer(), None, cause);
        }
    }

    async fn deliver(&mut self, from: &Destination, data: &[u8]) -> Result<(), End> {
        // Before the customer has sent anything nobody can have answered.
        let (Host::Ip(ip), Some(port)) = (&from.host, self.port) else {
            return Ok(());
        };
        self.account
            .meter()
            .charge_down(data.len())
            .await
            .map_err(End::NoCredit)?;
        let mut out = BytesMut::with_capacity(22 + data.len());
        out.put_slice(&[0, 0, 0]);
        wire::put_address(&mut out, SocketAddr::new(*ip, from.port));
        out.put_slice(data);
        let _ = self.socket.send_to(&out, (self.from, port)).await;
        Ok(())
    }
}
