//! One direction of a limited link: when each packet leaves, and whose turn it is.
//!
//! Pure state: packets and a clock in, departures out. The line sends one packet after the other; a packet takes its size
//! divided by the rate. Departures are reckoned from the end of the one before, not from when we are asked, so a late
//! timer costs no rate.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// Bytes of one connection that may wait for the line: 6.5 ms at 20 Mbit/s, what fq_codel (RFC 8290) lets stand.
pub(super) const QUEUE_BYTES: usize = 16 * 1024;

/// The packets `P` of all connections that wait for one line, served one each in turn.
pub(super) struct Shaper<P> {
    bytes_per_second: u64,
    free_at: Option<Instant>,
    queues: BTreeMap<u64, Queue<P>>,
    turns: VecDeque<u64>,
}

struct Queue<P> {
    packets: VecDeque<Waiting<P>>,
    bytes: usize,
}

struct Waiting<P> {
    came_at: Instant,
    bytes: usize,
    packet: P,
}

/// What the line does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<P> {
    /// This packet has left at this time, perhaps a little ahead of now.
    Sends { packet: P, left_at: Instant },
    /// Busy until then.
    Busy(Instant),
    /// Nothing waits.
    Idle,
}

impl<P> Shaper<P> {
    /// `bytes_per_second` of 0 is taken as 1.
    pub(super) fn new(bytes_per_second: u64) -> Shaper<P> {
        Shaper {
            bytes_per_second: bytes_per_second.max(1),
            free_at: None,
            queues: BTreeMap::new(),
            turns: VecDeque::new(),
        }
    }

    /// May `connection` queue a packet more?
    pub(super) fn has_room(&self, connection: u64) -> bool {
        self.queues
            .get(&connection)
            .is_none_or(|queue| queue.bytes < QUEUE_BYTES)
    }

    /// Queues a packet. Ask [`Shaper::has_room`] before: then a queue exceeds its bound by one packet at most.
    pub(super) fn push(&mut self, now: Instant, connection: u64, bytes: usize, packet: P) {
        let queue = self.queues.entry(connection).or_insert_with(|| Queue {
            packets: VecDeque::new(),
            bytes: 0,
        });
        if queue.packets.is_empty() {
            self.turns.push_back(connection);
        }
        queue.bytes += bytes;
        queue.packets.push_back(Waiting {
            came_at: now,
            bytes,
            packet,
        });
    }

    /// Ask until [`Line::Busy`] or [`Line::Idle`].
    pub(super) fn poll(&mut self, now: Instant) -> Line<P> {
        let Some(connection) = self.turns.front().copied() else {
            return Line::Idle;
        };
        if let Some(free_at) = self.free_at.filter(|free_at| *free_at > now) {
            return Line::Busy(free_at);
        }
        self.turns.pop_front();
        let Some(Waiting {
            came_at,
            bytes,
            packet,
        }) = self.take_from(connection)
        else {
            return Line::Idle;
        };
        let starts_at = self.free_at.map_or(came_at, |free_at| free_at.max(came_at));
        let left_at = starts_at + self.time_for(bytes);
        self.free_at = Some(left_at);
        Line::Sends { packet, left_at }
    }

    /// The first packet of `connection`, which goes to the end of the turns if it has more.
    fn take_from(&mut self, connection: u64) -> Option<Waiting<P>> {
        let queue = self.queues.get_mut(&connection)?;
        let first = queue.packets.pop_front()?;
        queue.bytes -= first.bytes;
        if queue.packets.is_empty() {
            self.queues.remove(&connection);
        } else {
            self.turns.push_back(connection);
        }
        Some(first)
    }

    fn time_for(&self, bytes: usize) -> Duration {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 2_500_000;

    fn drain(shaper: &mut Shaper<u64>, now: Instant) -> (Vec<(u64, Instant)>, Line<u64>) {
        let mut sent = Vec::new();
        loop {
            match shaper.poll(now) {
                Line::Sends { packet, left_at } => sent.push((packet, left_at)),
                end => return (sent, end),
            }
        }
    }

    #[test]
    fn late_timers_cost_no_rate() {
        let start = Instant::now();
        let mut shaper = Shaper::new(RATE);
        let mut now = start;
        let (mut pushed, mut last) = (0, start);
        // A timer that fires every 3 ms, against 0.4 ms for a packet.
        while pushed < 1_000 {
            while pushed < 1_000 && shaper.has_room(1) {
                shaper.push(now, 1, 1_000, 1);
                pushed += 1;
            }
            for (_, left_at) in drain(&mut shaper, now).0 {
                last = left_at;
            }
            now += Duration::from_millis(3);
        }
        last = drain(&mut shaper, now + Duration::from_secs(1))
            .0
            .last()
            .map_or(last, |(_, left_at)| *left_at);
        let ideal = Duration::from_millis(400);
        assert!(
            last - start >= ideal && last - start <= ideal + Duration::from_millis(3),
            "{:?}",
            last - start
        );
    }

    #[test]
    fn waiting_connections_take_turns() {
        let now = Instant::now();
        let mut shaper = Shaper::new(RATE);
        for _ in 0..4 {
            shaper.push(now, 1, 1_000, 1);
        }
        shaper.push(now, 2, 1_000, 2);
        shaper.push(now, 3, 10, 3);
        let (sent, end) = drain(&mut shaper, now + Duration::from_secs(1));
        assert_eq!(
            sent.iter().map(|(connection, _)| *connection).collect::<Vec<_>>(),
            [1, 2, 3, 1, 1, 1]
        );
        assert_eq!(end, Line::Idle);
    }

    #[test]
    fn one_packet_at_a_time_leaves_and_the_next_waits_for_its_end() {
        let now = Instant::now();
        let mut shaper = Shaper::new(RATE);
        shaper.push(now, 1, 2_500, 1);
        shaper.push(now, 1, 2_500, 1);
        let (sent, end) = drain(&mut shaper, now);
        assert_eq!(sent, [(1, now + Duration::from_millis(1))]);
        assert_eq!(end, Line::Busy(now + Duration::from_millis(1)));
    }

    #[test]
    fn an_idle_line_saves_nothing_up() {
        let now = Instant::now();
        let mut shaper = Shaper::new(RATE);
        let later = now + Duration::from_secs(5);
        shaper.push(later, 1, 2_500, 1);
        let (sent, _) = drain(&mut shaper, later);
        assert_eq!(sent, [(1, later + Duration::from_millis(1))]);
    }

    #[test]
    fn a_full_queue_stops_its_own_connection_only() {
        let now = Instant::now();
        let mut shaper = Shaper::new(RATE);
        let mut pushed = 0;
        while shaper.has_room(1) {
            shaper.push(now, 1, 1_460, 1);
            pushed += 1_460;
        }
        assert!(pushed < QUEUE_BYTES + 1_460);
        assert!(shaper.has_room(2));
    }
}
