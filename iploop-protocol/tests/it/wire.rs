//! One direction of a fake connection: in order, whole messages, with delay, rate, stalls and a bounded send buffer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::rng::Rng;

/// What a direction of a connection does to messages.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Bytes a second; none: as many as come.
    pub(crate) rate: Option<u64>,
    /// From the last byte sent to its arrival.
    pub(crate) delay: Duration,
    /// Up to so much more, drawn for each message; the order stays.
    pub(crate) jitter: Duration,
    /// Unsent bytes that the sender's transport takes before it says wait.
    pub(crate) buffer_bytes: u64,
}

impl Line {
    /// Nothing but a delay.
    pub(crate) fn delay(delay: Duration) -> Self {
        Self {
            rate: None,
            delay,
            jitter: Duration::ZERO,
            buffer_bytes: 64 * 1024,
        }
    }

    /// So many bytes a second, with a delay.
    pub(crate) fn rate(rate: u64, delay: Duration) -> Self {
        Self {
            rate: Some(rate),
            ..Self::delay(delay)
        }
    }
}

/// A [`Line`] in use.
#[derive(Debug)]
pub(crate) struct Wire {
    line: Line,
    rng: Rng,
    /// When the last byte taken will have been sent.
    free_at: Instant,
    /// Nothing arrives before.
    stalled_until: Instant,
    in_flight: VecDeque<(Instant, Bytes)>,
    in_flight_bytes: u64,
    /// Bytes and messages that went in, ever.
    pub(crate) taken_bytes: u64,
    pub(crate) taken_messages: u64,
}

impl Wire {
    pub(crate) fn new(line: Line, seed: u64, now: Instant) -> Self {
        Self {
            line,
            rng: Rng::new(seed),
            free_at: now,
            stalled_until: now,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            taken_bytes: 0,
            taken_messages: 0,
        }
    }

    /// Nothing arrives for so long.
    pub(crate) fn stall(&mut self, until: Instant) {
        self.stalled_until = self.stalled_until.max(until);
    }

    /// Time that what waits to be sent will take.
    pub(crate) fn backlog(&self, now: Instant) -> Duration {
        self.free_at.saturating_duration_since(now)
    }

    /// Whether the transport takes another message.
    pub(crate) fn can_take(&self, now: Instant) -> bool {
        self.takes_at() <= now
    }

    /// When the transport takes another message, as far as that is known.
    pub(crate) fn takes_at(&self) -> Instant {
        let rate_at = match self.line.rate {
            Some(rate) => {
                let buffer = Duration::from_secs_f64(self.line.buffer_bytes as f64 / rate as f64);
                self.free_at.checked_sub(buffer).unwrap_or(self.free_at)
            }
            None => self.free_at,
        };
        if self.in_flight_bytes < self.line.buffer_bytes {
            rate_at
        } else {
            rate_at.max(self.stalled_until)
        }
    }

    /// Takes a message.
    pub(crate) fn send(&mut self, now: Instant, message: Bytes) {
        let bytes = message.len() as u64;
        self.taken_bytes += bytes;
        self.taken_messages += 1;
        self.free_at = self.free_at.max(now);
        if let Some(rate) = self.line.rate {
            self.free_at += Duration::from_secs_f64(bytes as f64 / rate as f64);
        }
        let jitter = Duration::from_nanos(
            self.rng
                .below(u64::try_from(self.line.jitter.as_nanos()).unwrap() + 1),
        );
        let last = self.in_flight.back().map_or(now, |(at, _)| *at);
        let arrival = (self.free_at + self.line.delay + jitter).max(last);
        self.in_flight_bytes += bytes;
        self.in_flight.push_back((arrival, message));
    }

    /// When the next message arrives.
    pub(crate) fn arrives_at(&self) -> Option<Instant> {
        let (arrival, _) = self.in_flight.front()?;
        Some((*arrival).max(self.stalled_until))
    }

    /// The next message that has arrived.
    pub(crate) fn receive(&mut self, now: Instant) -> Option<Bytes> {
        if self.arrives_at()? > now {
            return None;
        }
        let (_, message) = self.in_flight.pop_front()?;
        self.in_flight_bytes -= message.len() as u64;
        Some(message)
    }
}
