//! HTTP/2 towards customers who connect by TLS (RFC 9113): each stream is one request, a tunnel (section 8.5) or a plain one.
//!
//! A stream is turned into a connection of HTTP/1.1 in memory and served like any other, so that there is one reading of
//! requests, one policy, one meter and one table of answers. All streams of a connection run in its one task.

mod request;
mod response;
mod socket;
mod underway;

use std::future::poll_fn;
use std::time::Duration;

use ::http::Request;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use tokio::time::{Instant, sleep_until, timeout_at};

use self::socket::StreamSocket;
use self::underway::Piece;
use crate::connection::Connection;
use crate::http;
use crate::listener::Place;
use crate::service::Service;

/// The protocol's name in ALPN (RFC 9113 section 3.1).
pub(crate) const ALPN: &[u8] = b"h2";

/// Streams of one connection at the same time. RFC 9113 section 6.5.2 recommends no fewer.
const MAX_STREAMS: u32 = 100;

/// What a customer may send on a stream before we have taken it.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;

/// The same for the connection: room for every stream's window, so that one that stands still stops no other.
const CONNECTION_WINDOW_BYTES: u32 = MAX_STREAMS * STREAM_WINDOW_BYTES;

/// What waits for a slow customer on one stream.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Largest head as HTTP/2 counts it: about what HTTP/1.1 may have.
const MAX_HEAD_BYTES: u32 = 32 * 1024;

/// Between our word that the connection ends and its end, where nothing runs any more.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves one connection to its end. Its preface is due at `deadline`.
pub(crate) async fn serve(service: &Service, customer: Connection, deadline: Instant) {
    let (peer, local) = (customer.peer(), customer.local());
    let handshake = h2::server::Builder::new()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_header_list_size(MAX_HEAD_BYTES)
        .handshake::<_, Piece>(customer);
    let Ok(Ok(mut connection)) = timeout_at(deadline, handshake).await else {
        return;
    };
    let mut streams = FuturesUnordered::new();
    let mut is_leaving = false;
    let mut ends_at = Instant::now() + service.config.keep_alive_timeout;
    loop {
        tokio::select! {
            accepted = poll_fn(|cx| connection.poll_accept(cx)) => match accepted {
                Some(Ok((request, respond))) => {
                    streams.push(Box::pin(serve_stream(service, request, respond, (peer, local))));
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "an HTTP/2 connection failed");
                    return;
                }
                None => return,
            },
            Some(()) = streams.next(), if !streams.is_empty() => {
                if streams.is_empty() {
                    let patience = if is_leaving { GOODBYE } else { service.config.keep_alive_timeout };
                    ends_at = Instant::now() + patience;
                }
            }
            // Streams that come after this are another gateway's; those that run may finish.
            () = service.drain.leaving(), if !is_leaving => {
                is_leaving = true;
                connection.graceful_shutdown();
                ends_at = Instant::now() + service.config.soft_drain + GOODBYE;
            }
            () = sleep_until(ends_at), if streams.is_empty() => {
                if is_leaving {
                    return;
                }
                is_leaving = true;
                connection.graceful_shutdown();
                ends_at = Instant::now() + GOODBYE;
            }
        }
    }
}

/// Serves one request like a connection of its own.
async fn serve_stream(
    service: &Service,
    request: Request<RecvStream>,
    mut respond: SendResponse<Piece>,
    (peer, local): (std::net::SocketAddr, Option<std::net::IpAddr>),
) {
    let overloaded = service.load.served() >= service.config.max_connections;
    let most = service.config.max_connections + service.config.max_refusals;
    if service.load.connections() >= most {
        respond.send_reset(Reason::REFUSED_STREAM);
        return;
    }
    let _place = Place::take(&service.load, overloaded);
    let Some(head) = request::as_http1(&request) else {
        respond.send_reset(Reason::PROTOCOL_ERROR);
        return;
    };
    let socket = StreamSocket::new(head, request.into_body(), respond);
    let customer = Connection::new(Box::new(socket), peer).at(local);
    let deadline = Instant::now() + service.config.handshake_timeout;
    let tunnel = Box::pin(http::serve(service, customer, deadline, overloaded)).await;
    if let Some(tunnel) = tunnel {
        tunnel.run(service).await;
    }
}
