//! Connects to the first of several addresses that answers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

/// An address gets this long before the next one is tried beside it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Silence after which the system asks whether the other end is still there.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);

/// Why no address could be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(crate) enum DialError {
    // In the order of what is worth telling when several addresses failed: the last one wins.
    /// No route, or nothing to dial.
    #[error("no route to it")]
    Unreachable,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// Refused.
    #[error("connection refused")]
    Refused,
}

/// Connects to the first address that answers, each tried a little after the one before.
///
/// # Cancel safety
/// Dropping the future gives all attempts up.
pub(crate) async fn dial(
    addresses: impl Iterator<Item = SocketAddr>,
    source: Option<IpAddr>,
    until: Instant,
) -> Result<TcpStream, DialError> {
    let mut waiting = in_turns(addresses.filter(|to| may_leave(source, *to))).into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut worst = DialError::Unreachable;
    let mut next_at = Instant::now();
    loop {
        if attempts.is_empty() || Instant::now() >= next_at {
            match waiting.next() {
                Some(address) => attempts.push(connect(address, source)),
                None if attempts.is_empty() => return Err(worst),
                None => {}
            }
            next_at = Instant::now() + STAGGER;
        }
        let wake_at = if waiting.len() > 0 {
            next_at.min(until)
        } else {
            until
        };
        match timeout_at(wake_at, attempts.next()).await {
            Ok(Some(Ok(connection))) => return Ok(connection),
            Ok(Some(Err(error))) => worst = worst.max(error),
            Ok(None) => {}
            Err(_) if Instant::now() >= until => return Err(worst.max(DialError::Timeout)),
            Err(_) => {}
        }
    }
}

async fn connect(address: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream, DialError> {
    let connect = async {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        if let Some(source) = source.filter(|source| binds(*source, address)) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let connection = socket.connect(address).await?;
        connection.set_nodelay(true)?;
        // Not having it only means that a dead peer is noticed later.
        let _ =
            SockRef::from(&connection).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE_AFTER));
        if connection.local_addr()? == connection.peer_addr()? {
            // TCP's simultaneous open: on loopback a socket can meet itself.
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(connection)
    };
    connect.await.map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => DialError::Refused,
        io::ErrorKind::TimedOut => DialError::Timeout,
        _ => DialError::Unreachable,
    })
}

/// Whether a connection to `to` takes this source address. A loopback source can't leave the machine, and another one can't
/// reach loopback: there the system chooses.
pub(crate) fn binds(source: IpAddr, to: SocketAddr) -> bool {
    source.is_ipv4() == to.is_ipv4() && source.is_loopback() == to.ip().is_loopback()
}

/// Whether the owner's choice of a source address lets a connection to `to` leave: an address of one family says which
/// interface to use, and the other family would leave by any.
pub(crate) fn may_leave(source: Option<IpAddr>, to: SocketAddr) -> bool {
    source.is_none_or(|source| {
        source.is_loopback() || to.ip().is_loopback() || source.is_ipv4() == to.is_ipv4()
    })
}

/// The two families by turns, so that one that does not work costs one attempt (RFC 8305, section 4).
fn in_turns(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut first: Vec<SocketAddr> = addresses.collect();
    let Some(is_ipv4) = first.first().map(SocketAddr::is_ipv4) else {
        return first;
    };
    let second: Vec<SocketAddr> = first
        .extract_if(.., |address| address.is_ipv4() != is_ipv4)
        .collect();
    let mut turns = Vec::with_capacity(first.len() + second.len());
    let mut second = second.into_iter();
    for address in first {
        turns.push(address);
        turns.extend(second.next());
    }
    turns.extend(second);
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    async fn closed_port() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    #[tokio::test]
    async fn a_dead_address_does_not_hide_a_living_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let living = listener.local_addr().unwrap();
        let connection = dial([closed_port().await, living].into_iter(), None, soon())
            .await
            .unwrap();
        assert_eq!(connection.peer_addr().unwrap(), living);
        assert!(connection.nodelay().unwrap());
    }

    #[tokio::test]
    async fn failures_are_told_apart() {
        let refused = dial([closed_port().await].into_iter(), None, soon()).await;
        assert_eq!(refused.unwrap_err(), DialError::Refused);
        let nowhere = dial([].into_iter(), None, soon()).await;
        assert_eq!(nowhere.unwrap_err(), DialError::Unreachable);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let late = timeout_at(soon(), dial([address].into_iter(), None, Instant::now())).await;
        assert!(matches!(late.unwrap(), Ok(_) | Err(DialError::Timeout)));
    }

    #[tokio::test]
    async fn the_source_address_is_the_owners_choice() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let source: IpAddr = "127.0.1.7".parse().unwrap();
        let connection = dial([to].into_iter(), Some(source), soon()).await.unwrap();
        assert_eq!(connection.local_addr().unwrap().ip(), source);
    }

    #[test]
    fn the_source_binds_only_where_it_can_and_keeps_to_its_interface() {
        let home: IpAddr = "192.168.1.7".parse().unwrap();
        let loopback: IpAddr = "127.0.1.7".parse().unwrap();
        let far_v4: SocketAddr = "1.1.1.1:443".parse().unwrap();
        let far_v6: SocketAddr = "[2606:4700::1111]:443".parse().unwrap();
        let near: SocketAddr = "127.0.0.1:80".parse().unwrap();
        assert!(binds(home, far_v4) && !binds(home, near) && !binds(home, far_v6));
        assert!(binds(loopback, near) && !binds(loopback, far_v4));
        assert!(may_leave(Some(home), far_v4) && may_leave(Some(home), near));
        assert!(!may_leave(Some(home), far_v6));
        assert!(may_leave(Some(loopback), far_v6) && may_leave(None, far_v6));
    }

    #[test]
    fn families_take_turns() {
        let parse =
            |texts: &[&str]| -> Vec<SocketAddr> { texts.iter().map(|t| t.parse().unwrap()).collect() };
        let given = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]);
        let wanted = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]);
        assert_eq!(in_turns(given.into_iter()), wanted);
    }
}
