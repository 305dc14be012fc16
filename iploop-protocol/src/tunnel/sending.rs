//! What goes out: small frames first, then DATA as the scheduler, the credit and the path allow.

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};

use super::schedule::Scheduler;
use super::stream::{Fin, StreamState};
use super::{Event, Phase, SentPing, Tunnel};
use crate::codes::ResetCode;
use crate::frame::{Frame, HEADER_BYTES, MAX_DATA_BYTES, StreamId, data_header};

/// A message is sent when it has grown to this many bytes; a larger one would make small frames wait behind it. With the
/// header of a WebSocket client it fits a TLS record, and four such records fit the largest piece that a kernel passes on
/// whole: 64 KiB less the headers of IP and TCP. A crumb more would come by itself, and wake the peer twice.
const MESSAGE_BYTES: usize = 16 * 1024 - 48;
/// DATA that fills a message.
#[expect(clippy::cast_possible_truncation, reason = "some 16,000")]
pub(super) const FULL_DATA_BYTES: u32 = (MESSAGE_BYTES - HEADER_BYTES) as u32;
/// Bytes of one stream that fill four messages, and so one flush: a crumb more would cost a message, a record and a system call of
/// its own on both sides.
pub(crate) const BULK_BYTES: usize = 4 * FULL_DATA_BYTES as usize;
/// So many received bytes are acknowledged; fewer than that take no room that the peer would miss, and no timer …
const ACK_BYTES: u64 = 4 * 1024;
/// … not more often than this …
const ACK_DELAY: Duration = Duration::from_millis(1);
/// … but at once when they are so many: a flush.
const ACK_AT_ONCE_BYTES: u64 = BULK_BYTES as u64;

impl Tunnel {
    /// Appends the next message to `out`; false: there is nothing to send now.
    ///
    /// The caller sends each message whole. It calls again only when the transport can take more, so that what waits,
    /// waits here, where a small frame still can go first.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut BytesMut) -> bool {
        let start = out.len();
        if self.phase == Phase::Closed {
            return false;
        }
        self.transmit_ack(now, out);
        if self.liveness.ping_due {
            self.liveness.ping_due = false;
            let value = self.liveness.next_value;
            self.liveness.next_value += 1;
            self.liveness.ping = Some(SentPing { value, at: now });
            Frame::Ping(value).encode(out);
        }
        while out.len() - start < MESSAGE_BYTES {
            let Some(frame) = self.outbox.pop() else {
                break;
            };
            frame.encode(out);
        }
        if self.outbox.is_empty() && self.phase == Phase::Closing {
            self.phase = Phase::Closed;
        }
        if self.phase == Phase::Open {
            self.transmit_streams(now, out, start);
        }
        out.len() > start
    }

    /// Bytes after which the transport is to be flushed, at most `most`.
    ///
    /// What is handed to a TLS library at once becomes one record, and the peer reads nothing of it before it is whole: on a
    /// slow path that would make a clump of everything on its way, and another one of its acknowledgements.
    pub fn flush_bytes(&self, most: usize) -> usize {
        self.path.burst_bytes(most)
    }

    fn transmit_ack(&mut self, now: Instant, out: &mut BytesMut) {
        if self.unacked_bytes == 0 || self.phase != Phase::Open {
            return;
        }
        let since = now.saturating_duration_since(self.acked_at);
        let is_due = self.ack_due.is_some_and(|due| due <= now);
        if self.ack_now
            || is_due
            || self.unacked_bytes >= ACK_AT_ONCE_BYTES
            || (self.unacked_bytes >= ACK_BYTES && since >= ACK_DELAY)
        {
            let credit_bytes = u32::try_from(self.unacked_bytes).unwrap_or(u32::MAX);
            self.receive_credit += u64::from(credit_bytes);
            self.unacked_bytes -= u64::from(credit_bytes);
            self.acked_at = now;
            self.ack_due = None;
            self.ack_now = false;
            Frame::Window {
                stream: StreamId::TUNNEL,
                credit_bytes,
            }
            .encode(out);
        } else if self.ack_due.is_none() && self.unacked_bytes >= ACK_BYTES {
            self.ack_due = Some(self.acked_at + ACK_DELAY);
        }
    }

    fn transmit_streams(&mut self, now: Instant, out: &mut BytesMut, start: usize) {
        let mut sent = 0u64;
        let message_bytes = self.path.burst_bytes(MESSAGE_BYTES);
        let rooms = self.path.rooms(now, message_bytes as u64 - HEADER_BYTES as u64);
        while out.len() - start + HEADER_BYTES < message_bytes {
            let room = if self.scheduler.next_is_new() {
                rooms.quiet
            } else {
                rooms.bulk
            };
            let room = room.min(self.send_credit).saturating_sub(sent);
            if self.scheduler.is_empty() {
                if room > 0 {
                    self.path.on_idle(now);
                }
                break;
            }
            if room == 0 {
                self.path.on_full();
                break;
            }
            let Some(id) = self.scheduler.next() else { break };
            let Some(state) = self.streams.get_mut(&id) else {
                continue;
            };
            let allowance = self
                .scheduler
                .allowance(&mut state.turn)
                .min(usize::try_from(room).unwrap_or(usize::MAX));
            let space = message_bytes - HEADER_BYTES - (out.len() - start);
            if sent > 0 && state.sendable_bytes().min(allowance) > space {
                // What would be cut begins the next message, or every later piece of this stream would be cut as well.
                self.scheduler.put_back(id, state.turn);
                break;
            }
            let bytes = state.transmit(id, out, allowance.min(space));
            sent += bytes as u64;
            if state.can_send() {
                self.scheduler.requeue(id, &mut state.turn, bytes);
            } else {
                Scheduler::rest(&mut state.turn, bytes);
                if bytes > 0 && state.turn.said_little() {
                    self.path.on_little(now);
                }
            }
            if state.send.writer_waits && state.send.queued_bytes <= self.config.send_queue_bytes / 2 {
                state.send.writer_waits = false;
                self.events.push_back(Event::Writable(id));
            }
            if let Some(code) = state.send.breaks
                && state.send.queued_bytes == 0
            {
                self.reset(id, code, "");
            } else if state.send.fin == Fin::Done {
                if state.released && state.receive.fin == Fin::No {
                    self.reset(id, ResetCode::Cancelled, "");
                } else {
                    self.forget_if_over(id);
                }
            }
        }
        if sent > 0 {
            self.relayed_bytes += sent;
            self.send_credit -= sent;
            self.path.on_sent(now, sent);
        }
    }
}

impl StreamState {
    /// Bytes of DATA that wait and that the peer has given credit for.
    fn sendable_bytes(&self) -> usize {
        usize::try_from(self.send.credit)
            .unwrap_or(usize::MAX)
            .min(self.send.queued_bytes)
    }

    /// Appends at most `most` bytes of DATA, and FIN or datagrams; returns the bytes of DATA.
    fn transmit(&mut self, id: StreamId, out: &mut BytesMut, most: usize) -> usize {
        if let Some(datagrams) = &mut self.datagrams
            && let Some((peer, data)) = datagrams.outgoing.pop()
        {
            Frame::Datagram {
                stream: id,
                peer,
                data,
            }
            .encode(out);
            return 0;
        }
        let length = most.min(self.sendable_bytes()).min(MAX_DATA_BYTES);
        let is_last =
            length == self.send.queued_bytes && self.send.fin == Fin::Queued && self.send.breaks.is_none();
        if length == 0 && !is_last {
            return 0;
        }
        out.reserve(HEADER_BYTES + length);
        data_header(out, id, length, is_last);
        let mut left = length;
        while let Some(part) = if left > 0 { self.send.take(left) } else { None } {
            left -= part.len();
            out.put_slice(&part);
        }
        if is_last {
            self.send.fin = Fin::Done;
        }
        length
    }
}
