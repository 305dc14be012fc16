//! What comes in: every frame is checked against what its stream and the tunnel allow.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};

use super::config::{CONNECTION_WINDOW_BYTES, MAX_STREAM_WINDOW_BYTES, Side};
use super::stream::{Fin, Phase as StreamPhase, StreamState};
use super::{Closed, Event, Initiator, Phase, ProtocolError, Tunnel};
use crate::codes::{CloseCode, ResetCode};
use crate::destination::Destination;
use crate::frame::{DecodeError, Frame, MAX_MESSAGE_BYTES, Open, StreamId};

impl Tunnel {
    /// A message of the peer.
    ///
    /// # Errors
    /// If the peer broke the protocol; the tunnel is closed then and a CLOSE frame is ready to be sent.
    pub fn handle_message(&mut self, now: Instant, mut message: Bytes) -> Result<(), ProtocolError> {
        if self.phase.is_over() {
            return Ok(());
        }
        self.liveness.heard(now);
        let message_bytes = message.len();
        loop {
            let handled = if message_bytes > MAX_MESSAGE_BYTES {
                Err(violation(CloseCode::Malformed, "the message is too long"))
            } else {
                Frame::decode(&mut message)
                    .map_err(ProtocolError::from)
                    .and_then(|frame| self.handle_frame(now, frame, message_bytes))
            };
            if let Err(error) = handled {
                self.close(error.code, None, &error.reason);
                return Err(error);
            }
            if message.is_empty() || self.phase.is_over() {
                return Ok(());
            }
        }
    }

    fn handle_frame(
        &mut self,
        now: Instant,
        frame: Frame,
        message_bytes: usize,
    ) -> Result<(), ProtocolError> {
        let in_handshake = matches!(self.phase, Phase::Handshake { .. });
        let belongs_to_handshake = matches!(
            frame,
            Frame::Control { .. } | Frame::Ping(_) | Frame::Pong(_) | Frame::Close { .. } | Frame::Extension
        );
        if in_handshake && !belongs_to_handshake {
            return Err(violation(
                CloseCode::Unexpected,
                "only control messages until the handshake is over",
            ));
        }
        match frame {
            Frame::Open {
                stream,
                open,
                early,
                fin,
            } => self.handle_open(now, stream, open, (early, message_bytes), fin),
            Frame::Opened {
                stream,
                window_bytes,
                dial_ms,
            } => self.handle_opened(now, stream, window_bytes, dial_ms),
            Frame::Data { stream, data, fin } => self.handle_data(now, stream, (data, message_bytes), fin),
            Frame::Reset { stream, code, detail } => self.handle_reset(now, stream, code, detail),
            Frame::Window { stream, credit_bytes } => self.handle_window(now, stream, credit_bytes),
            Frame::Ping(value) => {
                if !self.guard.pings.add(now, 1) {
                    return Err(violation(CloseCode::Flood, "too many pings"));
                }
                self.answer(Frame::Pong(value))
            }
            Frame::Pong(value) => {
                if let Some(ping) = self.liveness.ping.take_if(|ping| ping.value == value) {
                    self.path.on_rtt(now, now.saturating_duration_since(ping.at));
                }
                self.count_idle(now)
            }
            Frame::Control { part, more } => self.handle_control(now, &part, more),
            Frame::Drain { grace_ms } => {
                if !self.peer_draining {
                    self.peer_draining = true;
                    self.events.push_back(Event::Draining {
                        grace: Duration::from_millis(grace_ms.into()),
                    });
                }
                self.count_idle(now)
            }
            Frame::Datagram { stream, peer, data } => self.handle_datagram(now, stream, peer, data),
            Frame::Close {
                code,
                retry_after_s,
                reason,
            } => {
                self.phase = Phase::Closed;
                self.outbox.clear();
                self.end(Closed {
                    code,
                    by: Initiator::Peer,
                    reason: String::from_utf8_lossy(&reason).into_owned(),
                    retry_after: (retry_after_s > 0).then(|| Duration::from_secs(retry_after_s.into())),
                });
                Ok(())
            }
            Frame::Extension => self.count_idle(now),
        }
    }

    fn handle_open(
        &mut self,
        now: Instant,
        stream: StreamId,
        open: Open,
        (early, message_bytes): (Bytes, usize),
        fin: bool,
    ) -> Result<(), ProtocolError> {
        if self.is_local(stream) || stream.0 <= self.last_peer_id {
            return Err(violation(
                CloseCode::StreamIdReuse,
                format!("stream {} can't be opened", stream.0),
            ));
        }
        if open.window_bytes > MAX_STREAM_WINDOW_BYTES {
            return Err(violation(
                CloseCode::WindowOverflow,
                "the first window is too large",
            ));
        }
        self.last_peer_id = stream.0;
        // Whatever becomes of it, an answer will have to go out.
        if self.outbox.is_full() {
            return Err(violation(CloseCode::Flood, "asks and never reads the answers"));
        }
        let refusal = if self.draining {
            Some(ResetCode::Draining)
        } else if self.peer_streams >= self.config.max_peer_streams {
            Some(ResetCode::Busy)
        } else {
            None
        };
        if let Some(code) = refusal {
            if !self.guard.churn.add(now, 1) {
                return Err(violation(CloseCode::Flood, "opens on, although refused"));
            }
            return self.answer(Frame::Reset {
                stream,
                code,
                detail: Bytes::new(),
            });
        }
        let window = self.reserve_window();
        let mut state = StreamState::new(StreamPhase::Asked, open.kind, window);
        state.send.credit = u64::from(open.window_bytes);
        // Early data is the first part of the window, so that reading it gives credit back as ever.
        state.receive.credit = window.saturating_sub(u32::try_from(early.len()).unwrap_or(u32::MAX));
        state.receive.push(early, message_bytes);
        if fin {
            state.receive.fin = Fin::Queued;
        }
        self.streams.insert(stream, state);
        self.peer_streams += 1;
        self.events.push_back(Event::Incoming { stream, open });
        Ok(())
    }

    fn handle_opened(
        &mut self,
        now: Instant,
        stream: StreamId,
        window_bytes: u32,
        dial_ms: u32,
    ) -> Result<(), ProtocolError> {
        if window_bytes > MAX_STREAM_WINDOW_BYTES {
            return Err(violation(
                CloseCode::WindowOverflow,
                "the first window is too large",
            ));
        }
        let Some(state) = self.streams.get_mut(&stream) else {
            return self.check_past(now, stream);
        };
        if state.phase != StreamPhase::Opening {
            return Err(violation(
                CloseCode::Unexpected,
                format!("stream {} was answered before", stream.0),
            ));
        }
        state.phase = StreamPhase::Open;
        state.send.credit = u64::from(window_bytes);
        self.events.push_back(Event::Opened {
            stream,
            dial: Duration::from_millis(dial_ms.into()),
        });
        self.wake_sender(stream);
        Ok(())
    }

    fn handle_data(
        &mut self,
        now: Instant,
        stream: StreamId,
        (data, message_bytes): (Bytes, usize),
        fin: bool,
    ) -> Result<(), ProtocolError> {
        let length = data.len() as u64;
        if length > self.receive_credit {
            return Err(violation(
                CloseCode::WindowOverflow,
                "more data than the tunnel's credit",
            ));
        }
        self.receive_credit -= length;
        self.unacked_bytes += length;
        let Some(state) = self.streams.get_mut(&stream) else {
            self.check_past(now, stream)?;
            self.stray_bytes = self.stray_bytes.checked_sub(length).ok_or_else(|| {
                violation(
                    CloseCode::StreamFinished,
                    format!("data on stream {}, which is over", stream.0),
                )
            })?;
            return Ok(());
        };
        if state.phase != StreamPhase::Open || state.datagrams.is_some() {
            return Err(violation(
                CloseCode::Unexpected,
                format!("no data may come on stream {}", stream.0),
            ));
        }
        if state.receive.fin != Fin::No || state.reset.is_some() {
            return Err(violation(
                CloseCode::StreamFinished,
                format!("data on stream {}, which is finished", stream.0),
            ));
        }
        let credit = u64::from(state.receive.credit)
            .checked_sub(length)
            .ok_or_else(|| {
                violation(
                    CloseCode::WindowOverflow,
                    format!("more data than the credit of stream {}", stream.0),
                )
            })?;
        state.receive.credit = u32::try_from(credit).unwrap_or(u32::MAX);
        self.relayed_bytes += length;
        let silence = now.saturating_duration_since(std::mem::replace(&mut self.data_at, now));
        state.receive.on_data(now, silence, self.path.min_rtt());
        if state.released {
            if fin {
                state.receive.fin = Fin::Done;
            } else if let Some(credit_bytes) = state.receive.on_dropped(data.len()) {
                self.outbox.push(Frame::Window { stream, credit_bytes });
            }
            return Ok(());
        }
        state.receive.push(data, message_bytes);
        if fin {
            state.receive.fin = Fin::Queued;
        }
        self.wake_reader(stream);
        Ok(())
    }

    fn handle_reset(
        &mut self,
        now: Instant,
        stream: StreamId,
        code: ResetCode,
        detail: Bytes,
    ) -> Result<(), ProtocolError> {
        let Some(state) = self.streams.get_mut(&stream) else {
            return self.check_past(now, stream);
        };
        match state.phase {
            StreamPhase::Opening => {
                self.forget(stream);
                let detail = String::from_utf8_lossy(&detail).into_owned();
                self.events.push_back(Event::OpenFailed { stream, code, detail });
            }
            StreamPhase::Asked | StreamPhase::Open => {
                if state.reset.is_some() {
                    return self.count_idle(now);
                }
                let unanswered = state.phase == StreamPhase::Asked;
                // A copy: the text must not keep the message that it came in.
                state.reset = Some((code, Bytes::copy_from_slice(&detail)));
                state.send.queue = VecDeque::new();
                state.send.queued_bytes = 0;
                state.send.fin = Fin::Done;
                state.send.breaks = None;
                if state.released {
                    self.forget(stream);
                } else {
                    self.events.push_back(Event::Reset(stream));
                }
                if unanswered && !self.guard.churn.add(now, 1) {
                    return Err(violation(CloseCode::Flood, "opens streams only to reset them"));
                }
            }
        }
        Ok(())
    }

    fn handle_window(
        &mut self,
        now: Instant,
        stream: StreamId,
        credit_bytes: u32,
    ) -> Result<(), ProtocolError> {
        if credit_bytes < 256 {
            self.count_idle(now)?;
        }
        let credit = u64::from(credit_bytes);
        if stream == StreamId::TUNNEL {
            self.send_credit += credit;
            if self.send_credit > CONNECTION_WINDOW_BYTES {
                return Err(violation(
                    CloseCode::WindowOverflow,
                    "more credit for the tunnel than was used",
                ));
            }
            self.path.on_acked(now, credit);
            return Ok(());
        }
        let Some(state) = self.streams.get_mut(&stream) else {
            return self.check_past(now, stream);
        };
        state.send.credit += credit;
        if state.phase != StreamPhase::Open || state.send.credit > u64::from(MAX_STREAM_WINDOW_BYTES) {
            return Err(violation(
                CloseCode::WindowOverflow,
                format!("too much credit for stream {}", stream.0),
            ));
        }
        self.wake_sender(stream);
        Ok(())
    }

    fn handle_control(&mut self, now: Instant, part: &Bytes, more: bool) -> Result<(), ProtocolError> {
        if !self.guard.controls.add(now, 1) {
            return Err(violation(CloseCode::Flood, "too many control messages"));
        }
        if self.control_parts.len() + part.len() > self.config.max_control_bytes {
            return Err(violation(CloseCode::Malformed, "the control message is too long"));
        }
        self.control_parts.put_slice(part);
        if !more {
            let message = std::mem::take(&mut self.control_parts).freeze();
            if self.config.side == Side::Node {
                self.establish();
            }
            self.events.push_back(Event::Control(message));
        }
        Ok(())
    }

    fn handle_datagram(
        &mut self,
        now: Instant,
        stream: StreamId,
        peer: Destination,
        data: Bytes,
    ) -> Result<(), ProtocolError> {
        let Some(state) = self.streams.get_mut(&stream) else {
            return self.check_past(now, stream);
        };
        let Some(datagrams) = state
            .datagrams
            .as_mut()
            .filter(|_| state.phase == StreamPhase::Open)
        else {
            return Err(violation(
                CloseCode::Unexpected,
                format!("no datagrams may come on stream {}", stream.0),
            ));
        };
        self.relayed_bytes += data.len() as u64;
        // A copy: a datagram may wait long, and must not keep the message that it came in.
        let most_bytes = usize::try_from(state.receive.window).unwrap_or(usize::MAX);
        datagrams
            .incoming
            .push(peer, Bytes::copy_from_slice(&data), most_bytes);
        self.wake_reader(stream);
        Ok(())
    }

    /// A frame on a stream that we no longer know: all right if it once was open.
    fn check_past(&mut self, now: Instant, stream: StreamId) -> Result<(), ProtocolError> {
        let was_open = if self.is_local(stream) {
            self.next_id.is_none_or(|next| stream.0 < next)
        } else {
            stream.0 <= self.last_peer_id
        };
        if was_open {
            self.count_idle(now)
        } else {
            Err(violation(
                CloseCode::UnknownStream,
                format!("stream {} was never opened", stream.0),
            ))
        }
    }

    fn count_idle(&mut self, now: Instant) -> Result<(), ProtocolError> {
        if self.guard.idle_frames.add(now, 1) {
            Ok(())
        } else {
            Err(violation(CloseCode::Flood, "too many frames that carry nothing"))
        }
    }

    /// Queues a frame that the peer caused.
    fn answer(&mut self, frame: Frame) -> Result<(), ProtocolError> {
        if self.outbox.is_full() {
            return Err(violation(CloseCode::Flood, "asks and never reads the answers"));
        }
        self.outbox.push(frame);
        Ok(())
    }
}

impl From<DecodeError> for ProtocolError {
    fn from(error: DecodeError) -> Self {
        Self {
            code: CloseCode::Malformed,
            reason: error.to_string(),
        }
    }
}

fn violation(code: CloseCode, reason: impl Into<String>) -> ProtocolError {
    ProtocolError {
        code,
        reason: reason.into(),
    }
}
