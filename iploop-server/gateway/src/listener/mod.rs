//! Accepts customers and finds out what they speak.

mod preface;
mod sniff;
pub(crate) mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::tls::Certificate;
use crate::connection::Connection;
use crate::drain::Phase;
use crate::service::Service;
use crate::telemetry::{self, LiveConnection};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 4096;

/// Pause after a failure to accept that will not go away by itself at once: no open files left, no memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Time for those who are being answered while the gateway leaves.
pub(crate) const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Connections of all listeners together.
#[derive(Debug, Default)]
pub(crate) struct Load {
    connections: AtomicUsize,
    /// Of these, the ones that are only told why they are not served.
    refusals: AtomicUsize,
}

impl Load {
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// Connections that are not merely refused: they alone use up `max_connections`. Were all counted, those who are refused
    /// and stay would keep everybody out: at five times what it can serve a gateway would serve 6 % of that
    /// (`iploop-bench faults --only overload`).
    pub(crate) fn served(&self) -> usize {
        self.connections().saturating_sub(self.refusals.load(Relaxed))
    }
}

/// A place among the connections; dropping it makes room for the next.
pub(crate) struct Place {
    load: Arc<Load>,
    is_refusal: bool,
}

impl Place {
    pub(crate) fn take(load: &Arc<Load>, is_refusal: bool) -> Self {
        load.connections.fetch_add(1, Relaxed);
        load.refusals.fetch_add(usize::from(is_refusal), Relaxed);
        Self {
            load: Arc::clone(load),
            is_refusal,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load
            .refusals
            .fetch_sub(usize::from(self.is_refusal), Relaxed);
        self.load.connections.fetch_sub(1, Relaxed);
    }
}

/// Opens a listening socket.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    // A restarted gateway takes its port back while connections of the last one still close.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// Accepts until `stop`, then answers what the kernel still holds; after [`LAST_ANSWERS`] connections that are left are cut.
pub(crate) async fn run(
    listener: TcpListener,
    service: Arc<Service>,
    tls: Option<Arc<Certificate>>,
    stop: CancellationToken,
) {
    let load = Arc::clone(&service.load);
    let mut connections = JoinSet::new();
    let most = service
        .config
        .max_connections
        .saturating_add(service.config.max_refusals);
    loop {
        let has_room = load.connections() < most;
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            // Without room nobody is accepted until a connection of this or another listener ends.
            () = sleep(ACCEPT_PAUSE), if !has_room => {}
            accepted = listener.accept(), if has_room => match accepted {
                Ok((socket, peer)) => {
                    // The place is taken before the connection's task runs.
                    let overloaded = load.served() >= service.config.max_connections;
                    let place = Place::take(&load, overloaded || service.drain.phase() == Phase::Refusing);
                    let service = Arc::clone(&service);
                    let tls = tls.clone();
                    connections.spawn(async move {
                        let _place = place;
                        let _live = LiveConnection::begin();
                        serve(&service, tls, socket, peer, overloaded).await;
                    });
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    telemetry::accept_failed();
                    tracing::warn!(%error, "no connection could be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // Whoever connected meanwhile hears `draining`, instead of a reset by the kernel.
    while connections.len() < most
        && let Some(Ok((socket, peer))) = listener.accept().now_or_never()
    {
        let (service, tls, place) = (Arc::clone(&service), tls.clone(), Place::take(&load, true));
        connections.spawn(async move {
            let _place = place;
            serve(&service, tls, socket, peer, false).await;
        });
    }
    drop(listener);
    let answered = async { while connections.join_next().await.is_some() {} };
    // Whoever says nothing, or reads nothing, is not waited for.
    let _ = timeout(LAST_ANSWERS, answered).await;
    connections.shutdown().await;
}

/// Serves one connection to its end.
async fn serve(
    service: &Service,
    tls: Option<Arc<Certificate>>,
    socket: TcpStream,
    peer: SocketAddr,
    overloaded: bool,
) {
    let deadline = Instant::now() + service.config.handshake_timeout;
    // Without it a small answer waits for the acknowledgement of the one before.
    let _ = socket.set_nodelay(true);
    let local = socket.local_addr().ok().map(|local| local.ip().to_canonical());
    let customer = Connection::new(Box::new(socket), canonical(peer)).at(local);
    // Boxed, so that a tunnel does not carry the memory of its handshake.
    let tunnel = Box::pin(sniff::serve(service, tls, customer, deadline, overloaded)).await;
    if let Some(tunnel) = tunnel {
        tunnel.run(service).await;
    }
}

/// A connection that failed before it was accepted says nothing about the next one.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// An IPv4 address stays one on a listener that serves both.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::Tunnel;

    fn size_of_serve<F>(
        _: impl Fn(&'static Service, Option<Arc<Certificate>>, TcpStream, SocketAddr, bool) -> F,
    ) -> usize {
        size_of::<F>()
    }

    fn size_of_run<F>(_: impl Fn(Tunnel, &'static Service) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_refused_use_up_no_place_of_those_who_can_be_served() {
        let load = Arc::new(Load::default());
        let served = Place::take(&load, false);
        let refused: Vec<Place> = (0..3).map(|_| Place::take(&load, true)).collect();
        assert_eq!((load.connections(), load.served()), (4, 1));
        drop(served);
        assert_eq!((load.connections(), load.served()), (3, 0));
        drop(refused);
        assert_eq!((load.connections(), load.served()), (0, 0));
    }

    /// What a connection's task holds for as long as its tunnel is idle. The sizes are those of this build, not a law; they
    /// must not grow unseen.
    #[test]
    fn an_idle_tunnel_costs_its_task_little() {
        let (serve, run) = (size_of_serve(serve), size_of_run(Tunnel::run));
        println!("a connection's future has {serve} bytes, of these its tunnel {run}");
        assert!(serve <= 2048, "{serve}");
    }
}
