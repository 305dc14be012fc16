//! One connection of a device, from the accepted socket to the end: TLS, HTTP, hello, registration, service.
//!
//! One task serves one connection, and what an earlier stage needed is freed before the next begins: an idle device costs its
//! sockets' buffers, the tunnel's state and little else. There is one timer, the tunnel's.

mod forwarded;
mod presence;
mod tls;
mod upgrade;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use iploop_platform::owners;
use iploop_protocol::codes::{CloseCode, ResetCode};
use iploop_protocol::control::{Hello, Pairing, ToHub, ToNode, Welcome, Withdrawal, capability};
use iploop_protocol::io::{self, Event, Events, Tunnel, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::registration::{Refusal, Registration};
use crate::shared::Shared;
use presence::Presence;
pub(crate) use tls::Tls;

/// Unsent bytes that the kernel takes: more would be a queue in which a small request waits behind a large one.
const NOTSENT_LOWAT_BYTES: u32 = 128 * 1024;

/// How often the store is asked to note a withdrawal before the device is told to say it again later.
const WITHDRAWAL_TRIES: u32 = 3;

/// When a device may ask for a pairing code again that could not be made, in seconds.
const PAIRING_LATER_S: u32 = 30;

/// Serves a connection in clear.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let deadline = Instant::now() + shared.config.handshake_timeout;
    tune(&stream);
    let upgraded = Box::pin(open(&shared, stream, peer.ip(), deadline)).await;
    if let Some((socket, ip)) = upgraded {
        carry(shared, socket, ip, deadline).await;
    }
}

/// Serves a connection with TLS.
pub(crate) async fn serve_tls(shared: Arc<Shared>, tls: Tls, stream: TcpStream, peer: SocketAddr) {
    let deadline = Instant::now() + shared.config.handshake_timeout;
    tune(&stream);
    let Ok(Ok(stream)) = timeout_at(deadline, Box::pin(tls.accept(stream))).await else {
        metrics::counter!("iploop_hub_handshakes_failed_total").increment(1);
        return;
    };
    // Boxed, so that the stages to come move a pointer and not the whole state of TLS.
    let upgraded = Box::pin(open(&shared, Box::new(stream), peer.ip(), deadline)).await;
    if let Some((socket, ip)) = upgraded {
        carry(shared, socket, ip, deadline).await;
    }
}

fn tune(stream: &TcpStream) {
    // Where the system refuses, the connection is slower, not wrong.
    let _ = stream.set_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(NOTSENT_LOWAT_BYTES);
}

async fn open<S>(
    shared: &Shared,
    stream: S,
    peer: IpAddr,
    deadline: Instant,
) -> Option<(WebSocket<S>, IpAddr)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let trusted = Arc::clone(&shared.trusted_proxies);
    let within = deadline.saturating_duration_since(Instant::now());
    let opening = upgrade::accept(stream, peer, trusted, shared.is_draining(), within);
    let opened = timeout_at(deadline, opening).await.ok().flatten();
    if opened.is_none() {
        metrics::counter!("iploop_hub_handshakes_failed_total").increment(1);
    }
    opened
}

/// Runs the tunnel: the driver moves bytes, the conversation acts on what the device says.
async fn carry<S>(shared: Arc<Shared>, socket: WebSocket<S>, ip: IpAddr, deadline: Instant)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (tunnel, events, driver) = io::connect(socket, shared.tunnel_config());
    let conversation = converse(&shared, &tunnel, events, ip, deadline);
    let (closed, presence) = futures_util::future::join(Box::pin(driver), conversation).await;
    tracing::debug!(code = %closed.code, by = ?closed.by, reason = closed.reason, "a device's tunnel ended");
    metrics::counter!("iploop_hub_closed_total", "code" => closed.code.name()).increment(1);
    if let Some(presence) = presence {
        presence.end(&closed);
    }
}

/// Hears the device out until its tunnel is closed; the presence that it leaves, if it was registered.
async fn converse(
    shared: &Arc<Shared>,
    tunnel: &Tunnel,
    mut events: Events,
    ip: IpAddr,
    deadline: Instant,
) -> Option<Presence> {
    let hello = match timeout_at(deadline, hello(&mut events)).await {
        Ok(Ok(hello)) => hello?,
        Ok(Err(refusal)) => return refuse(shared, tunnel, &refusal),
        Err(_) => {
            tunnel.close(CloseCode::HandshakeTimeout, None, "no hello in time");
            return None;
        }
    };
    let now = shared.clock.now();
    let registration = match Box::pin(shared.registrar.register(*hello, ip, now)).await {
        Ok(registration) => registration,
        Err(refusal) => return refuse(shared, tunnel, &refusal),
    };
    metrics::counter!("iploop_hub_registrations_total", "result" => "accepted").increment(1);
    let mut presence = welcome(shared, tunnel, registration, ip)?;
    while let Some(event) = events.next().await {
        match event {
            Event::Control(message) => hear(shared, tunnel, &mut presence, &message).await,
            Event::Draining { .. } => presence.leaving(),
            Event::Incoming(incoming) => incoming.reject(ResetCode::Unsupported, "devices open no streams"),
        }
    }
    // The tunnel is closed: no request may come here any more, although the farewell still takes its time.
    presence.retire();
    Some(presence)
}

/// The first message; none if the tunnel was closed before.
async fn hello(events: &mut Events) -> Result<Option<Box<Hello>>, Refusal> {
    loop {
        match events.next().await {
            None => return Ok(None),
            Some(Event::Control(message)) => match ToHub::decode(&message) {
                Ok(Some(ToHub::Hello(hello))) => return Ok(Some(hello)),
                Ok(Some(_)) => {
                    return Err(Refusal::new(
                        CloseCode::Unexpected,
                        "the first message is the hello",
                    ));
                }
                Ok(None) => {}
                Err(error) => return Err(Refusal::new(CloseCode::InvalidHello, error.to_string())),
            },
            Some(Event::Incoming(_) | Event::Draining { .. }) => {}
        }
    }
}

fn refuse(shared: &Shared, tunnel: &Tunnel, refusal: &Refusal) -> Option<Presence> {
    let Refusal { code, reason } = refusal;
    metrics::counter!("iploop_hub_registrations_total", "result" => code.name()).increment(1);
    let retry_after = (*code == CloseCode::Overloaded).then(|| shared.spread_retry());
    tunnel.close(*code, retry_after, reason);
    None
}

/// Tells the device that it is registered and lists it; none if it has gone meanwhile, or the hub is going.
fn welcome(
    shared: &Arc<Shared>,
    tunnel: &Tunnel,
    registration: Registration,
    ip: IpAddr,
) -> Option<Presence> {
    if shared.is_draining() {
        tunnel.close(
            CloseCode::ShuttingDown,
            Some(shared.spread_retry()),
            "this hub is shutting down",
        );
        return None;
    }
    let welcome = ToNode::Welcome(Box::new(Welcome {
        version: iploop_protocol::control::VERSION,
        node_id: registration.exit.node.to_string(),
        public_ip: Some(ip),
        heartbeat_s: u32::try_from(shared.config.heartbeat.as_secs()).unwrap_or(u32::MAX),
        max_streams: 0,
        policy: shared.policy(),
        platform_addresses: shared.platform_addresses.clone(),
        capabilities: vec![capability::PAIRING.to_owned()],
        paused: registration.is_paused,
    }));
    if tunnel.send_control(welcome.encode()).is_err() {
        tunnel.close(CloseCode::Internal, None, "the welcome could not be sent");
        return None;
    }
    tunnel.establish(registration.max_streams);
    if !tunnel.is_open() {
        return None;
    }
    if registration.has_test_allow {
        tracing::warn!(node.id = %registration.exit.node, "a device with a test allow-list is connected");
    }
    Some(Presence::enter(shared, tunnel.clone(), registration))
}

/// Acts on a message of a registered device.
async fn hear(shared: &Shared, tunnel: &Tunnel, presence: &mut Presence, message: &[u8]) {
    match ToHub::decode(message) {
        Ok(Some(ToHub::Status(status))) => presence.says(status),
        Ok(Some(ToHub::Pair)) => pair(shared, tunnel, presence).await,
        Ok(Some(ToHub::Heartbeat(_))) => presence.heard(),
        Ok(Some(ToHub::Withdraw(withdrawal))) => withdraw(shared, tunnel, presence, &withdrawal).await,
        Ok(Some(ToHub::Hello(_))) => tunnel.close(CloseCode::Unexpected, None, "a second hello"),
        // Types that this version does not know are ignored.
        Ok(Some(_) | None) => {}
        Err(error) => tunnel.close(CloseCode::Malformed, None, &error.to_string()),
    }
}

/// Gives the device a code by which an account claims it, or says when to ask again.
async fn pair(shared: &Shared, tunnel: &Tunnel, presence: &mut Presence) {
    let answer = match presence.may_pair() {
        Err(wait) => Pairing {
            code: None,
            seconds: u32::try_from(wait.as_secs())
                .unwrap_or(u32::MAX)
                .saturating_add(1),
        },
        Ok(()) => {
            let node = presence.node().exit.node;
            match owners::pairing_code(&*shared.pairing, &*shared.clock, node).await {
                Ok(new) => Pairing {
                    code: Some(new.code),
                    seconds: u32::try_from(owners::PAIRING_LASTS.as_secs()).unwrap_or(u32::MAX),
                },
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a pairing code could not be made"
                    );
                    Pairing {
                        code: None,
                        seconds: PAIRING_LATER_S,
                    }
                }
            }
        }
    };
    if tunnel.send_control(ToNode::Pairing(answer).encode()).is_err() {
        tracing::debug!("a device does not read its control messages");
    }
}

/// Notes that the owner withdrew, and ends the tunnel.
///
/// No new stream comes here from the first moment. If the store can't note it, the device is not told that it was noted: it
/// comes back and says it again.
async fn withdraw(shared: &Shared, tunnel: &Tunnel, presence: &mut Presence, withdrawal: &Withdrawal) {
    presence.leaving();
    let node = presence.node();
    let consent = withdrawal.consent_id.parse().unwrap_or(node.device.consent);
    let mut pause = Duration::from_millis(500);
    for _ in 0..WITHDRAWAL_TRIES {
        match shared
            .nodes
            .withdraw_consent(&node.device.id, consent, shared.clock.now())
            .await
        {
            Ok(()) => return tunnel.close(CloseCode::Withdrawn, None, "the owner withdrew"),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a withdrawal could not be stored"
                );
            }
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    tunnel.close(
        CloseCode::Overloaded,
        Some(shared.spread_retry()),
        "the withdrawal could not be stored",
    );
}
