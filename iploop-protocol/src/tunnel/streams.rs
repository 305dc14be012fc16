//! What the owners of streams do with them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::stream::{Fin, Phase as StreamPhase, StreamState};
use super::{OpenError, Phase, Read, StreamError, Tunnel};
use crate::codes::ResetCode;
use crate::destination::Destination;
use crate::frame::{Frame, MAX_DATA_BYTES, MAX_DATAGRAM_BYTES, Open, StreamId, StreamKind};

impl Tunnel {
    /// Asks the peer for a stream; [`Event::Opened`](super::Event::Opened) or [`Event::OpenFailed`](super::Event::OpenFailed) answers.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was sent then.
    pub fn open(
        &mut self,
        kind: StreamKind,
        destination: Destination,
        customer: u64,
        timeout: Duration,
        early: Bytes,
    ) -> Result<StreamId, OpenError> {
        if self.phase != Phase::Open {
            return Err(OpenError::NotOpen);
        }
        if self.draining || self.peer_draining {
            return Err(OpenError::Draining);
        }
        if self.local_streams >= self.config.max_local_streams || self.outbox.is_busy() {
            return Err(OpenError::Busy);
        }
        if early.len() > MAX_DATA_BYTES {
            return Err(OpenError::EarlyTooLarge);
        }
        let id = self.next_id.ok_or(OpenError::Exhausted)?;
        self.next_id = id.checked_add(2);
        let stream = StreamId(id);
        let window_bytes = self.reserve_window();
        self.streams
            .insert(stream, StreamState::new(StreamPhase::Opening, kind, window_bytes));
        self.local_streams += 1;
        self.relayed_bytes += early.len() as u64;
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        let open = Open {
            kind,
            window_bytes,
            timeout_ms,
            customer,
            destination,
        };
        self.outbox.push(Frame::Open {
            stream,
            open,
            early,
            fin: false,
        });
        Ok(stream)
    }

    /// Tells the peer that its stream is connected.
    ///
    /// # Errors
    /// If the peer gave the stream up meanwhile.
    pub fn accept(&mut self, stream: StreamId, dial: Duration) -> Result<(), StreamError> {
        let state = self.streams.get_mut(&stream).ok_or(StreamError::Closed)?;
        if state.phase != StreamPhase::Asked || state.reset.is_some() {
            return Err(StreamError::Closed);
        }
        state.phase = StreamPhase::Open;
        let dial_ms = u32::try_from(dial.as_millis()).unwrap_or(u32::MAX);
        self.outbox.push(Frame::Opened {
            stream,
            window_bytes: state.receive.credit,
            dial_ms,
        });
        self.wake_sender(stream);
        Ok(())
    }

    /// Takes the next bytes off a stream, at most `most`.
    ///
    /// # Errors
    /// After a reset, once everything that came before is read.
    pub fn read(&mut self, now: Instant, stream: StreamId, most: usize) -> Result<Read, StreamError> {
        let state = self.streams.get_mut(&stream).ok_or(StreamError::Closed)?;
        if let Some(data) = state.receive.take(most) {
            let grant = match state.phase {
                _ if state.reset.is_some() => None,
                StreamPhase::Open => {
                    state
                        .receive
                        .on_read(now, data.len(), self.path.min_rtt(), &mut self.config.budget)
                }
                // The first bytes, before OPENED says what the window is.
                StreamPhase::Asked | StreamPhase::Opening => {
                    state.receive.restore(data.len());
                    None
                }
            };
            if let Some(credit_bytes) = grant {
                self.outbox.push(Frame::Window { stream, credit_bytes });
            }
            return Ok(Read::Data(data));
        }
        if state.receive.fin != Fin::No {
            state.receive.fin = Fin::Done;
            // After a reset it stays until its owner lets go: whoever writes is told why it ended.
            if state.reset.is_none() {
                self.forget_if_over(stream);
            }
            return Ok(Read::Finished);
        }
        if let Some(error) = state.reset_error() {
            return Err(error);
        }
        state.receive.reader_waits = true;
        Ok(Read::Blocked)
    }

    /// Queues bytes for sending, as many as there is room for; the rest stays in `data`.
    ///
    /// Returns how many were taken; fewer than there were: [`Event::Writable`](super::Event::Writable) will tell when there is room again.
    ///
    /// # Errors
    /// If the stream was reset or this direction is finished.
    pub fn write(&mut self, stream: StreamId, data: &mut Bytes) -> Result<usize, StreamError> {
        let room = self.room(stream)?;
        let state = self.streams.get_mut(&stream).ok_or(StreamError::Closed)?;
        let part = data.split_to(data.len().min(room));
        if !data.is_empty() {
            state.send.writer_waits = true;
        }
        let taken = part.len();
        if taken > 0 {
            state.send.queued_bytes += taken;
            state.send.queue.push_back(part);
            self.wake_sender(stream);
        }
        Ok(taken)
    }

    /// Bytes that [`Tunnel::write`] would take now.
    ///
    /// # Errors
    /// If the stream was reset or this direction is finished.
    pub fn room(&mut self, stream: StreamId) -> Result<usize, StreamError> {
        let state = self.streams.get_mut(&stream).ok_or(StreamError::Closed)?;
        if let Some(error) = state.reset_error() {
            return Err(error);
        }
        if state.send.fin != Fin::No || state.datagrams.is_some() {
            return Err(StreamError::Closed);
        }
        let room = self
            .config
            .send_queue_bytes
            .saturating_sub(state.send.queued_bytes);
        if room == 0 {
            state.send.writer_waits = true;
        }
        Ok(room)
    }

    /// No more bytes will be written: FIN follows what is queued. A UDP stream has no such end, only a reset.
    pub fn finish(&mut self, stream: StreamId) {
        if let Some(state) = self.streams.get_mut(&stream)
            && state.send.fin == Fin::No
            && state.reset.is_none()
            && state.datagrams.is_none()
        {
            state.send.fin = Fin::Queued;
            self.wake_sender(stream);
        }
    }

    /// Ends a stream now in both directions, or refuses one that the peer asks for. Unread and unsent bytes are dropped.
    pub fn reset(&mut self, stream: StreamId, code: ResetCode, detail: &str) {
        let Some(state) = self.forget(stream) else { return };
        if state.reset.is_some() || state.is_over() {
            return;
        }
        if state.receive.fin == Fin::No {
            self.stray_bytes = self.stray_bytes.saturating_add(u64::from(state.receive.credit));
        }
        let peer_waits_for_fin = state.send.fin != Fin::Done;
        if peer_waits_for_fin || state.receive.fin == Fin::No {
            let detail = Bytes::copy_from_slice(detail.as_bytes());
            self.outbox.push(Frame::Reset { stream, code, detail });
        }
    }

    /// The bytes to be sent break off: RESET follows what is queued, where [`Tunnel::finish`] has FIN follow it. Nothing more can
    /// be written.
    pub fn break_off(&mut self, stream: StreamId, code: ResetCode) {
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        if state.send.queued_bytes == 0 || state.send.fin != Fin::No || state.phase != StreamPhase::Open {
            return self.reset(stream, code, "");
        }
        state.send.fin = Fin::Queued;
        state.send.breaks = Some(code);
    }

    /// The owner lets go of a stream: what is queued before a FIN, or before it breaks off, is still sent; else it is reset.
    pub fn release(&mut self, stream: StreamId) {
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        if state.send.fin != Fin::Queued || state.reset.is_some() {
            self.reset(stream, ResetCode::Cancelled, "");
            return;
        }
        state.released = true;
        let unread: usize = state.receive.queue.iter().map(Bytes::len).sum();
        state.receive.queue = VecDeque::new();
        // What is dropped gives its credit back, or two sides that both have gone would wait for each other.
        if let Some(credit_bytes) = state.receive.on_dropped(unread)
            && state.phase == StreamPhase::Open
        {
            self.outbox.push(Frame::Window { stream, credit_bytes });
        }
        if state.receive.fin != Fin::No {
            state.receive.fin = Fin::Done;
        }
    }

    /// Queues a datagram on a UDP stream; the oldest one is dropped where there is no room.
    ///
    /// # Errors
    /// If the stream is closed or carries no datagrams. Datagrams over 2,048 bytes are dropped.
    pub fn send_datagram(
        &mut self,
        stream: StreamId,
        peer: Destination,
        data: Bytes,
    ) -> Result<(), StreamError> {
        let state = self.streams.get_mut(&stream).ok_or(StreamError::Closed)?;
        let datagrams = state.datagrams.as_mut().ok_or(StreamError::Closed)?;
        if data.len() <= MAX_DATAGRAM_BYTES {
            self.relayed_bytes += data.len() as u64;
            datagrams.outgoing.push(peer, data, self.config.send_queue_bytes);
            self.wake_sender(stream);
        }
        Ok(())
    }

    /// Takes the next datagram off a UDP stream; none: [`Event::Readable`](super::Event::Readable) will tell.
    ///
    /// # Errors
    /// If the stream is closed, was reset, or carries no datagrams.
    pub fn receive_datagram(
        &mut self,
        stream: StreamId,
    ) -> Result<Option<(Destination, Bytes)>, StreamError> {
        let state = self.streams.get_mut(&stream).ok_or(StreamError::Closed)?;
        let datagrams = state.datagrams.as_mut().ok_or(StreamError::Closed)?;
        if let Some(datagram) = datagrams.incoming.pop() {
            return Ok(Some(datagram));
        }
        if let Some(error) = state.reset_error() {
            return Err(error);
        }
        state.receive.reader_waits = true;
        Ok(None)
    }
}
