//! The tokio driver: turns a [`crate::tunnel::Tunnel`] over any message transport into `AsyncRead + AsyncWrite` streams.
//!
//! One task owns the transport and runs the [`Driver`]. [`Tunnel`] handles and [`Stream`]s share the state with it behind a
//! lock that is held for the length of a copy at most and never across an `.await`.

mod driver;
mod read_ahead;
mod relay;
mod stream;
mod transport;
#[cfg(feature = "websocket")]
mod websocket;

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

pub use self::driver::Driver;
pub use self::read_ahead::ReadAhead;
pub use self::relay::{Counted, Depleted, Direction, Meter, RelayEnd, RelayError, Unmetered, relay};
pub use self::stream::Stream;
pub use self::transport::Transport;
#[cfg(feature = "websocket")]
pub use self::websocket::{Role, SUBPROTOCOL, WebSocket};
use crate::codes::{CloseCode, ResetCode};
use crate::destination::Destination;
use crate::frame::{Open, StreamId, StreamKind};
use crate::tunnel::{self, Config};
pub use crate::tunnel::{Closed, ControlQueueFull, Delivery, Initiator};

/// Joins a connected transport with a new tunnel.
///
/// Nothing happens until the [`Driver`] is polled, by its own task or within the owner's.
pub fn connect<T: Transport>(transport: T, config: Config) -> (Tunnel, Events, Driver<T>) {
    let shared = Arc::new(Shared {
        inner: Mutex::new(Inner {
            tunnel: tunnel::Tunnel::new(config, Instant::now().into_std()),
            wakers: HashMap::new(),
            events: VecDeque::new(),
            event_waker: None,
            driver_waker: None,
            closed: None,
        }),
    });
    let tunnel = Tunnel {
        shared: Arc::clone(&shared),
    };
    (
        tunnel,
        Events {
            shared: Arc::clone(&shared),
        },
        Driver::new(transport, shared),
    )
}

/// A handle on a tunnel. Clones are cheap; the tunnel lives as long as its [`Driver`].
#[derive(Clone)]
pub struct Tunnel {
    shared: Arc<Shared>,
}

/// A stream to be opened.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// What it carries.
    pub kind: StreamKind,
    /// Where the peer shall dial.
    pub destination: Destination,
    /// Opaque id of the customer.
    pub customer: u64,
    /// First bytes for the destination, at most one DATA payload.
    pub early: Bytes,
    /// How long the peer may take to dial.
    pub timeout: Duration,
}

/// Why a stream was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The peer refused, or could not connect.
    #[error("the peer refused the stream: {code}")]
    Refused {
        /// Why.
        code: ResetCode,
        /// The peer's text.
        detail: String,
    },
    /// This side could not ask.
    #[error(transparent)]
    NotAsked(#[from] tunnel::OpenError),
    /// The tunnel was closed before the answer came.
    #[error("the tunnel was closed")]
    TunnelClosed,
}

impl Tunnel {
    /// Opens a stream; ready when the peer has connected to the destination, or refused.
    ///
    /// Returns the stream and how long the peer took to dial.
    ///
    /// # Errors
    /// See [`OpenError`].
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream.
    pub async fn open(&self, request: OpenRequest) -> Result<(Stream, Duration), OpenError> {
        let id = {
            let mut inner = self.shared.lock();
            let id = inner.tunnel.open(
                request.kind,
                request.destination,
                request.customer,
                request.timeout,
                request.early,
            )?;
            inner.wakers.insert(
                id,
                StreamWakers {
                    answer: Some(Answer::Awaited),
                    ..StreamWakers::default()
                },
            );
            inner.dispatch();
            id
        };
        // Owns the id from here on: its drop resets the stream.
        let stream = Stream::new(Arc::clone(&self.shared), id);
        let dial = poll_fn(|cx| self.shared.lock().poll_answer(id, cx)).await?;
        Ok((stream, dial))
    }

    /// Sends a control message.
    ///
    /// # Errors
    /// If the peer has not read what was sent before, or the tunnel is closed.
    pub fn send_control(&self, message: Bytes) -> Result<(), ControlQueueFull> {
        let mut inner = self.shared.lock();
        let sent = inner.tunnel.send_control(message);
        inner.dispatch();
        sent
    }

    /// The hub has queued its welcome: streams may be opened from now on, at most `max_streams` at the same time.
    pub fn establish(&self, max_streams: u32) {
        let mut inner = self.shared.lock();
        inner.tunnel.set_max_local_streams(max_streams);
        inner.tunnel.establish();
        inner.dispatch();
    }

    /// Takes no new streams from now on and tells the peer so.
    pub fn drain(&self, grace: Duration) {
        let mut inner = self.shared.lock();
        inner.tunnel.drain(grace);
        inner.dispatch();
    }

    /// Ends the tunnel and all its streams; the [`Driver`] tells the peer and ends.
    pub fn close(&self, code: CloseCode, retry_after: Option<Duration>, reason: &str) {
        let mut inner = self.shared.lock();
        inner.tunnel.close(code, retry_after, reason);
        inner.dispatch();
    }

    /// Bytes of the streams that this side has sent and received, as it counted them itself.
    pub fn relayed_bytes(&self) -> u64 {
        self.shared.lock().tunnel.relayed_bytes()
    }

    /// The round trip without queues, once it was measured.
    pub fn rtt(&self) -> Option<Duration> {
        self.shared.lock().tunnel.rtt()
    }

    /// Asks the peer for a sign of life now; [`Tunnel::heard_at`] tells whether one came.
    pub fn ping(&self) {
        let mut inner = self.shared.lock();
        inner.tunnel.ping();
        inner.dispatch();
    }

    /// When the last frame came from the peer; at first, when the tunnel began.
    pub fn heard_at(&self) -> Instant {
        Instant::from_std(self.shared.lock().tunnel.heard_at())
    }

    /// What became of the DATA that this side sent. Each call begins a new time of which the next one tells.
    pub fn delivery(&self) -> Delivery {
        let now = Instant::now().into_std();
        self.shared.lock().tunnel.delivery(now)
    }

    /// Streams that are open now.
    pub fn stream_count(&self) -> usize {
        self.shared.lock().tunnel.stream_count()
    }

    /// Whether streams can be opened.
    pub fn is_open(&self) -> bool {
        self.shared.lock().tunnel.is_open()
    }
}

/// What the peer asks and tells, beside the streams.
pub struct Events {
    shared: Arc<Shared>,
}

/// Something for the owner of a tunnel.
pub enum Event {
    /// A control message of the peer.
    Control(Bytes),
    /// The peer asks for a stream.
    Incoming(Incoming),
    /// The peer takes no new streams; those open may finish within `grace`.
    Draining {
        /// How long.
        grace: Duration,
    },
}

impl Events {
    /// The next event; none once the tunnel is closed.
    ///
    /// # Cancel safety
    /// Yes: no event is lost.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The poll form of [`Events::next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut inner = self.shared.lock();
        if let Some(event) = inner.events.pop_front() {
            if inner.events.is_empty() {
                inner.events = VecDeque::new();
            }
            drop(inner);
            return Poll::Ready(Some(match event {
                OwnerEvent::Control(message) => Event::Control(message),
                OwnerEvent::Draining(grace) => Event::Draining { grace },
                OwnerEvent::Incoming(id, open) => Event::Incoming(Incoming {
                    stream: Some(Stream::new(Arc::clone(&self.shared), id)),
                    open,
                }),
            }));
        }
        if inner.closed.is_some() {
            return Poll::Ready(None);
        }
        remember(&mut inner.event_waker, cx);
        Poll::Pending
    }
}

/// A stream that the peer asks for. Dropping it refuses it.
pub struct Incoming {
    stream: Option<Stream>,
    open: Open,
}

impl Incoming {
    /// What the peer asks for.
    pub fn open(&self) -> &Open {
        &self.open
    }

    /// Connected: `dial` is how long that took.
    pub fn accept(mut self, dial: Duration) -> Option<Stream> {
        let stream = self.stream.take()?;
        let accepted = {
            let mut inner = stream.shared.lock();
            let accepted = inner.tunnel.accept(stream.id(), dial);
            inner.dispatch();
            accepted
        };
        accepted.is_ok().then_some(stream)
    }

    /// Refused.
    pub fn reject(mut self, code: ResetCode, detail: &str) {
        if let Some(mut stream) = self.stream.take() {
            stream.reset_with(code, detail);
        }
    }

    /// Ready when the peer has given the stream up before it was answered.
    pub fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(stream) = &self.stream else {
            return Poll::Ready(());
        };
        let id = stream.id();
        let mut inner = stream.shared.lock();
        match inner.tunnel.room(id) {
            Err(_) => Poll::Ready(()),
            Ok(_) => {
                remember(&mut inner.wakers.entry(id).or_default().write, cx);
                Poll::Pending
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.reset_with(ResetCode::Internal, "");
        }
    }
}

/// State that handles, streams and the driver share.
struct Shared {
    inner: Mutex<Inner>,
}

struct Inner {
    tunnel: tunnel::Tunnel,
    /// Only for streams that somebody waits on.
    wakers: HashMap<StreamId, StreamWakers>,
    events: VecDeque<OwnerEvent>,
    event_waker: Option<Waker>,
    driver_waker: Option<Waker>,
    closed: Option<Closed>,
}

enum OwnerEvent {
    Control(Bytes),
    Incoming(StreamId, Open),
    Draining(Duration),
}

#[derive(Default)]
struct StreamWakers {
    read: Option<Waker>,
    write: Option<Waker>,
    answer: Option<Answer>,
}

enum Answer {
    Awaited,
    Opened(Duration),
    Refused(ResetCode, String),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

impl Inner {
    /// Hands out what a call on the tunnel caused, and has the driver send what is to be sent.
    fn dispatch(&mut self) {
        self.hand_out_events();
        wake(&mut self.driver_waker);
    }

    fn hand_out_events(&mut self) {
        while let Some(event) = self.tunnel.poll_event() {
            match event {
                tunnel::Event::Control(message) => self.tell_owner(OwnerEvent::Control(message)),
                tunnel::Event::Incoming { stream, open } => {
                    self.tell_owner(OwnerEvent::Incoming(stream, open))
                }
                tunnel::Event::Draining { grace } => self.tell_owner(OwnerEvent::Draining(grace)),
                tunnel::Event::Opened { stream, dial } => self.answer(stream, Answer::Opened(dial)),
                tunnel::Event::OpenFailed { stream, code, detail } => {
                    self.answer(stream, Answer::Refused(code, detail));
                }
                tunnel::Event::Readable(stream) => {
                    if let Some(wakers) = self.wakers.get_mut(&stream) {
                        wake(&mut wakers.read);
                    }
                }
                tunnel::Event::Writable(stream) => {
                    if let Some(wakers) = self.wakers.get_mut(&stream) {
                        wake(&mut wakers.write);
                    }
                }
                tunnel::Event::Reset(stream) => {
                    if let Some(wakers) = self.wakers.get_mut(&stream) {
                        wakers.wake_all();
                    }
                }
                tunnel::Event::Closed(closed) => {
                    self.closed = Some(closed);
                    for wakers in self.wakers.values_mut() {
                        wakers.wake_all();
                    }
                    wake(&mut self.event_waker);
                }
            }
        }
    }

    fn tell_owner(&mut self, event: OwnerEvent) {
        // Bounded: streams by `max_peer_streams`, the rest by the tunnel's guard.
        self.events.push_back(event);
        wake(&mut self.event_waker);
    }

    fn answer(&mut self, stream: StreamId, answer: Answer) {
        if let Some(wakers) = self.wakers.get_mut(&stream) {
            wakers.answer = Some(answer);
            wake(&mut wakers.write);
        }
    }

    fn poll_answer(&mut self, stream: StreamId, cx: &mut Context<'_>) -> Poll<Result<Duration, OpenError>> {
        let Some(wakers) = self.wakers.get_mut(&stream) else {
            return Poll::Ready(Err(OpenError::TunnelClosed));
        };
        match wakers.answer.take() {
            Some(Answer::Opened(dial)) => Poll::Ready(Ok(dial)),
            Some(Answer::Refused(code, detail)) => Poll::Ready(Err(OpenError::Refused { code, detail })),
            _ if self.closed.is_some() => Poll::Ready(Err(OpenError::TunnelClosed)),
            _ => {
                remember(&mut wakers.write, cx);
                Poll::Pending
            }
        }
    }
}

impl StreamWakers {
    fn wake_all(&mut self) {
        wake(&mut self.read);
        wake(&mut self.write);
    }
}

/// Wakes the task that waits, if there is one.
fn wake(slot: &mut Option<Waker>) {
    if let Some(waker) = slot.take() {
        waker.wake();
    }
}

/// Keeps the waker of a task that has to wait, without a clone where it is the same one.
fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        slot => *slot = Some(cx.waker().clone()),
    }
}

impl<T: Transport> Future for Driver<T> {
    type Output = Closed;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Closed> {
        self.poll_drive(cx)
    }
}

#[cfg(test)]
mod tests;
