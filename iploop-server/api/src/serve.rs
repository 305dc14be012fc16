//! Serving a router on a listener: every connection bounded in number and in time.

mod guarded_io;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use guarded_io::GuardedIo;

/// How long the head of a request may take to arrive, counted from the connection or from the answer before.
///
/// With the 8 seconds that a body may take, a client that sends as slowly as it may is gone within 15.
const HEAD_TIMEOUT: Duration = Duration::from_secs(6);
/// How long a client may refuse to take any byte of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 32 * 1024;
/// Wait after a failed `accept`: it fails while files or memory are short, and would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// Connections at the same time; further ones wait in the system's queue.
    pub max_connections: u32,
    /// How long requests under way may go on after `shutdown`.
    pub drain: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            drain: Duration::from_secs(15),
        }
    }
}

/// Serves `router` over HTTP/1.1 until `shutdown`, then lets requests under way end within the limit.
///
/// Silent and slow connections are closed: 6 seconds for the head of a request, idle time between two included, 10
/// seconds without a byte taken of an answer. Handlers bound the rest.
pub async fn serve(listener: TcpListener, router: Router, limits: ServeLimits, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(
        usize::try_from(limits.max_connections).unwrap_or(usize::MAX >> 3),
    ));
    let mut connections = JoinSet::new();
    while let Some((stream, peer, place)) = next(&listener, &places, &mut connections, &shutdown).await {
        connections.spawn(connection(stream, peer, place, router.clone(), shutdown.clone()));
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections were cut at the end");
    }
}

/// The next connection and its place; none after `shutdown`.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    connections: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    loop {
        let accept = async {
            let place = Arc::clone(places).acquire_owned().await.ok()?;
            Some((listener.accept().await, place))
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            // Keeps the set as small as the number of live connections.
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = accept => match accepted? {
                (Ok((stream, peer)), place) => return Some((stream, peer, place)),
                (Err(error), _) => {
                    tracing::debug!(%error, "accept failed");
                    shutdown.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await?;
                }
            },
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
    router: Router,
    shutdown: CancellationToken,
) {
    // A connection that is gone already needs no delay settings.
    let _ = stream.set_nodelay(true);
    let _open = Open::new(place);
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move {
            let mut request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            Ok::<_, Infallible>(
                router
                    .oneshot(request)
                    .await
                    .unwrap_or_else(|never| match never {}),
            )
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(GuardedIo::new(stream, WRITE_TIMEOUT)), service);
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

/// An open connection: its place, and its part of the gauge.
struct Open(#[expect(dead_code, reason = "held until the connection ends")] OwnedSemaphorePermit);

impl Open {
    fn new(place: OwnedSemaphorePermit) -> Self {
        metrics::gauge!("iploop_api_connections").increment(1.0);
        Self(place)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("iploop_api_connections").decrement(1.0);
    }
}
