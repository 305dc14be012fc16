//! The state of one stream in a tunnel.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::StreamError;
use super::config::{Budget, MAX_STREAM_WINDOW_BYTES, MIN_STREAM_WINDOW_BYTES};
use super::schedule::Turn;
use super::sending::FULL_DATA_BYTES;
use crate::codes::ResetCode;
use crate::destination::Destination;
use crate::frame::{MAX_DATA_BYTES, StreamKind};

/// Datagrams kept in each direction of a UDP stream; the oldest goes when another comes.
const MAX_DATAGRAMS: usize = 64;
/// Received bytes that are fewer than this are copied together, if they can't be taken at once, in bytes.
const SMALL_BYTES: usize = 2 * 1024;
/// About what an entry of a queue needs besides its bytes.
const ENTRY_BYTES: usize = size_of::<Bytes>() + 32;

/// Where a stream is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// We sent OPEN and wait for the answer.
    Opening,
    /// The peer sent OPEN and waits for ours.
    Asked,
    /// Bytes flow.
    Open,
}

#[derive(Debug)]
pub(super) struct StreamState {
    pub(super) phase: Phase,
    pub(super) turn: Turn,
    pub(super) send: Send,
    pub(super) receive: Receive,
    /// The peer reset it: what came before is still to be read.
    pub(super) reset: Option<(ResetCode, Bytes)>,
    pub(super) datagrams: Option<Box<Datagrams>>,
    /// Its owner has let go of it: what is queued is still sent.
    pub(super) released: bool,
}

/// The sending half.
#[derive(Debug, Default)]
pub(super) struct Send {
    pub(super) queue: VecDeque<Bytes>,
    pub(super) queued_bytes: usize,
    pub(super) credit: u64,
    pub(super) fin: Fin,
    /// RESET follows the last bytes in place of FIN.
    pub(super) breaks: Option<ResetCode>,
    /// The writer was told to wait.
    pub(super) writer_waits: bool,
}

/// How far the end of a direction has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fin {
    /// Not yet.
    #[default]
    No,
    /// Queued behind the last bytes (sending), or received and not yet read (receiving).
    Queued,
    /// Sent, or read.
    Done,
}

/// A pace is measured over no less: what comes within it is one flush, and says nothing of what follows.
const CLUMP: Duration = Duration::from_millis(1);

/// The receiving half.
#[derive(Debug, Default)]
pub(super) struct Receive {
    pub(super) queue: VecDeque<Bytes>,
    /// The window's size now.
    pub(super) window: u32,
    /// Bytes the peer may still send.
    pub(super) credit: u32,
    /// Bytes read since credit was given last.
    pub(super) read_since_grant: u32,
    /// Since when the pace of reading is measured, and what was read in it.
    paced_since: Option<Instant>,
    paced_bytes: u64,
    granted_at: Option<Instant>,
    pub(super) fin: Fin,
    /// The reader was told to wait.
    pub(super) reader_waits: bool,
}

#[derive(Debug, Default)]
pub(super) struct Datagrams {
    pub(super) incoming: DatagramQueue,
    pub(super) outgoing: DatagramQueue,
}

/// Datagrams that wait, at most [`MAX_DATAGRAMS`].
#[derive(Debug, Default)]
pub(super) struct DatagramQueue {
    waiting: VecDeque<(Destination, Bytes)>,
    bytes: usize,
}

impl StreamState {
    pub(super) fn new(phase: Phase, kind: StreamKind, window: u32) -> Self {
        Self {
            phase,
            turn: Turn::default(),
            send: Send::default(),
            receive: Receive {
                window,
                credit: window,
                ..Receive::default()
            },
            reset: None,
            datagrams: (kind == StreamKind::Udp).then(Box::default),
            released: false,
        }
    }

    /// Why it can't be used any more, where the peer reset it.
    pub(super) fn reset_error(&self) -> Option<StreamError> {
        let (code, detail) = self.reset.as_ref()?;
        Some(StreamError::Reset {
            code: *code,
            detail: String::from_utf8_lossy(detail).into_owned(),
        })
    }

    /// Both directions are finished and read.
    pub(super) fn is_over(&self) -> bool {
        self.send.fin == Fin::Done && self.receive.fin == Fin::Done
    }

    /// Whether there is something that may be sent now, flow control of the tunnel aside.
    pub(super) fn can_send(&self) -> bool {
        self.phase == Phase::Open
            && ((self.send.queued_bytes > 0 && self.send.credit > 0)
                || (self.send.queued_bytes == 0 && self.send.fin == Fin::Queued)
                || self
                    .datagrams
                    .as_ref()
                    .is_some_and(|datagrams| !datagrams.outgoing.is_empty()))
    }

    /// Memory that it holds, in bytes, about.
    pub(super) fn held_bytes(&self) -> usize {
        let received: usize = self.receive.queue.iter().map(Bytes::len).sum();
        let entries = self.receive.queue.len() + self.send.queue.len();
        let datagrams = self.datagrams.as_ref().map_or(0, |datagrams| {
            datagrams.incoming.held_bytes() + datagrams.outgoing.held_bytes()
        });
        size_of::<Self>() + received + self.send.queued_bytes + entries * ENTRY_BYTES + datagrams
    }

    /// Bytes reserved in the budget for its window.
    pub(super) fn reserved_bytes(&self) -> u64 {
        u64::from(self.receive.window.saturating_sub(MIN_STREAM_WINDOW_BYTES))
    }
}

impl Send {
    /// Takes up to `most` bytes off the queue's front, from one buffer.
    pub(super) fn take(&mut self, most: usize) -> Option<Bytes> {
        let part = take_front(&mut self.queue, most)?;
        self.queued_bytes -= part.len();
        self.credit = self.credit.saturating_sub(part.len() as u64);
        Some(part)
    }
}

impl Receive {
    /// Queues what came in a message of `message_bytes`.
    ///
    /// A slice keeps its whole message in memory, and every entry costs some dozen bytes. So what is small in itself or beside
    /// its message is copied, together with what is small before it: the window bounds what a reader leaves lying,
    /// whatever the peer makes its frames and messages of.
    pub(super) fn push(&mut self, data: Bytes, message_bytes: usize) {
        if data.is_empty() {
            return;
        }
        let fills_its_message = 2 * data.len() + 64 >= message_bytes;
        if fills_its_message && (self.queue.is_empty() || data.len() >= SMALL_BYTES) {
            self.queue.push_back(data);
            return;
        }
        if let Some(last) = self.queue.pop_back() {
            if last.len() + data.len() > MAX_DATA_BYTES {
                self.queue.push_back(last);
            } else {
                match last.try_into_mut() {
                    Ok(mut joined) => {
                        joined.extend_from_slice(&data);
                        self.queue.push_back(joined.freeze());
                        return;
                    }
                    Err(last) => self.queue.push_back(last),
                }
            }
        }
        self.queue.push_back(Bytes::copy_from_slice(&data));
    }

    /// `bytes` were dropped unread: the credit to give back now.
    pub(super) fn on_dropped(&mut self, bytes: usize) -> Option<u32> {
        self.read_since_grant = self
            .read_since_grant
            .saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.fin != Fin::No || self.read_since_grant < self.window / 2 {
            return None;
        }
        let grant = std::mem::take(&mut self.read_since_grant);
        self.credit += grant;
        Some(grant)
    }

    /// First bytes were read before the window was announced: it will be whole.
    pub(super) fn restore(&mut self, bytes: usize) {
        self.credit = self
            .credit
            .saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Takes up to `most` bytes off the queue's front, from one buffer.
    pub(super) fn take(&mut self, most: usize) -> Option<Bytes> {
        take_front(&mut self.queue, most)
    }

    /// Data came, after nothing had come on any stream for `silence`.
    ///
    /// Where the peer was given nothing for two round trips it had credit left, and where nothing came for half of one, and longer
    /// than flushes are apart, the path had room: it was the peer who paused, and measuring begins anew.
    pub(super) fn on_data(&mut self, now: Instant, silence: Duration, rtt: Option<Duration>) {
        let peer_paused = rtt.is_some_and(|rtt| {
            let granted = self.granted_at.map(|at| now.saturating_duration_since(at));
            silence >= CLUMP && 2 * silence > rtt && granted.is_none_or(|since| since > 2 * rtt)
        });
        if peer_paused || self.paced_since.is_none() {
            self.paced_since = Some(now);
            self.paced_bytes = 0;
        }
    }

    /// `bytes` were read: the credit to give back now, with the window grown where the reader keeps up with the path.
    ///
    /// Half a window read within two round trips means that the window, not the path or the reader, sets the pace: it becomes
    /// eight times what is read in a round trip, and at most eight times as large at once: more would run into queues on the way.
    /// Where measuring began anew since, half of it is enough: what came before the pause was another answer.
    pub(super) fn on_read(
        &mut self,
        now: Instant,
        bytes: usize,
        rtt: Option<Duration>,
        budget: &mut Budget,
    ) -> Option<u32> {
        self.paced_bytes += bytes as u64;
        self.read_since_grant = self
            .read_since_grant
            .saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.fin != Fin::No || self.read_since_grant < self.window / 2 {
            return None;
        }
        self.granted_at = Some(now);
        let mut grant = std::mem::take(&mut self.read_since_grant);
        let elapsed = self
            .paced_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if let Some(rtt) = rtt
            && rtt.max(elapsed) >= CLUMP
            && self.paced_bytes >= u64::from(self.window / 4)
        {
            let nanos = elapsed.as_nanos().max(1);
            let read = u128::from(std::mem::take(&mut self.paced_bytes));
            self.paced_since = Some(now);
            let is_pacing = nanos * u128::from(self.window / 2) <= 2 * rtt.as_nanos() * read;
            let wanted = u32::try_from(8 * read * rtt.as_nanos() / nanos).unwrap_or(u32::MAX);
            let most = self.window.saturating_mul(8).min(MAX_STREAM_WINDOW_BYTES);
            let more = wanted.min(most).saturating_sub(self.window) / FULL_DATA_BYTES * FULL_DATA_BYTES;
            if is_pacing && more > 0 && budget.reserve(u64::from(more)) {
                self.window += more;
                grant += more;
            }
        }
        self.credit += grant;
        Some(grant)
    }
}

/// Up to `most` bytes off a queue's front, from one buffer. An empty queue keeps no memory.
fn take_front(queue: &mut VecDeque<Bytes>, most: usize) -> Option<Bytes> {
    let front = queue.front_mut()?;
    if front.len() > most {
        return Some(front.split_to(most));
    }
    let part = queue.pop_front();
    if queue.is_empty() {
        *queue = VecDeque::new();
    }
    part
}

impl DatagramQueue {
    /// Adds one; the oldest go where there is no room for it among `most_bytes`.
    pub(super) fn push(&mut self, peer: Destination, data: Bytes, most_bytes: usize) {
        while self.waiting.len() >= MAX_DATAGRAMS || (self.bytes + data.len() > most_bytes && self.bytes > 0)
        {
            self.pop();
        }
        self.bytes += data.len();
        self.waiting.push_back((peer, data));
    }

    /// Takes the oldest.
    pub(super) fn pop(&mut self) -> Option<(Destination, Bytes)> {
        let datagram = self.waiting.pop_front()?;
        self.bytes -= datagram.1.len();
        Some(datagram)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn held_bytes(&self) -> usize {
        self.bytes + self.waiting.len() * (ENTRY_BYTES + size_of::<Destination>())
    }
}
