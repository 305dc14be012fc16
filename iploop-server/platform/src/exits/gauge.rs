//! What the bytes of one stream tell about its exit, measured while they pass.

use std::time::Duration;

use iploop_protocol::destination::Destination;
use iploop_protocol::policy::Limited;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Shortest time over which a rate is taken: shorter ones measure buffers.
const LEAST_TIME: Duration = Duration::from_millis(250);

/// Fewest bytes over which a rate is taken: fewer are over before a connection has found its speed.
const LEAST_BYTES: u64 = 128 * 1024;

/// A pause after which the next bytes are a new beginning: nobody asked for any meanwhile.
const PAUSE: Duration = Duration::from_millis(500);

/// Notes when bytes pass through one stream, and where its datagrams go. The relay tells it, and whoever opened the stream reads
/// it at the end.
pub struct StreamGauge {
    state: Mutex<State>,
    places: Option<Box<dyn Places>>,
}

/// Counts the places that the datagrams of one stream go to.
pub trait Places: Send + Sync + 'static {
    /// Asks to send datagrams to a place for the first time.
    ///
    /// # Errors
    /// The limit that stands in the way.
    fn visit(&self, to: &Destination) -> Result<(), Limited>;
}

/// What a stream showed of its exit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// From the first byte sent to the first byte back, with the way through the tunnel.
    pub first_byte: Option<Duration>,
    /// The best rate in bytes a second towards the customer, over at least a quarter second and 128 KiB.
    pub best_rate: Option<u64>,
}

impl std::fmt::Debug for StreamGauge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamGauge").finish_non_exhaustive()
    }
}

struct State {
    /// When the first byte was sent, less the time that is not the exit's.
    sent_at: Option<Instant>,
    heard: bool,
    /// When the run of bytes began, and the last of it came.
    run: Option<(Instant, Instant)>,
    run_bytes: u64,
    measured: Measured,
}

impl StreamGauge {
    /// For a stream that was just opened. `early`: first bytes went along with the dial, and `rtt` is the way to the exit and
    /// back.
    pub fn new(early: bool, rtt: Duration, now: Instant) -> Self {
        // The bytes were at the destination when the dial was done, half a way before we heard of it; the other half and
        // the destination's own way are still to come.
        let sent_at = early.then(|| now.checked_sub(rtt).unwrap_or(now));
        let state = State {
            sent_at,
            heard: false,
            run: None,
            run_bytes: 0,
            measured: Measured::default(),
        };
        Self {
            state: Mutex::new(state),
            places: None,
        }
    }

    /// The same for a stream of datagrams.
    #[must_use]
    pub fn with_places(self, places: Box<dyn Places>) -> Self {
        Self {
            places: Some(places),
            ..self
        }
    }

    /// Datagrams go to a place for the first time.
    ///
    /// # Errors
    /// The limit that stands in the way: they may not go.
    pub fn visit(&self, to: &Destination) -> Result<(), Limited> {
        self.places.as_ref().map_or(Ok(()), |places| places.visit(to))
    }

    /// Bytes go to the destination.
    pub fn up(&self, now: Instant) {
        let mut state = self.state.lock();
        if state.sent_at.is_none() {
            state.sent_at = Some(now);
        }
    }

    /// Bytes came from the destination.
    pub fn down(&self, bytes: u64, now: Instant) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if !std::mem::replace(&mut state.heard, true) {
            state.measured.first_byte = state.sent_at.map(|sent| now.saturating_duration_since(sent));
        }
        match &mut state.run {
            Some((_, last)) if now.saturating_duration_since(*last) <= PAUSE => {
                *last = now;
                state.run_bytes = state.run_bytes.saturating_add(bytes);
            }
            // The bytes that begin a run came in no time that is known.
            run => {
                *run = Some((now, now));
                state.run_bytes = 0;
                return;
            }
        }
        let Some((began, _)) = state.run else { return };
        let took = now.saturating_duration_since(began);
        if took >= LEAST_TIME && state.run_bytes >= LEAST_BYTES {
            let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
            let rate = state.run_bytes.saturating_mul(1000) / millis;
            state.measured.best_rate = state.measured.best_rate.max(Some(rate));
            state.run = Some((now, now));
            state.run_bytes = 0;
        } else if took >= 4 * LEAST_TIME {
            // Too few bytes in all that time: the customer, or the destination, had no more to say.
            state.run = Some((now, now));
            state.run_bytes = 0;
        }
    }

    /// What was measured so far.
    pub fn measured(&self) -> Measured {
        self.state.lock().measured
    }
}

impl Default for StreamGauge {
    /// For a stream whose bytes went nowhere yet.
    fn default() -> Self {
        Self::new(false, Duration::ZERO, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_byte_counts_from_the_first_byte_sent() {
        let start = Instant::now();
        let gauge = StreamGauge::new(false, 40 * MS, start);
        gauge.up(start + 100 * MS);
        gauge.up(start + 150 * MS);
        gauge.down(1, start + 300 * MS);
        gauge.down(1, start + 900 * MS);
        assert_eq!(gauge.measured().first_byte, Some(200 * MS));
        let early = StreamGauge::new(true, 40 * MS, start + 100 * MS);
        early.down(1, start + 110 * MS);
        assert_eq!(early.measured().first_byte, Some(50 * MS));
    }

    #[test]
    fn a_destination_that_speaks_first_tells_nothing_of_latency() {
        let start = Instant::now();
        let gauge = StreamGauge::new(false, MS, start);
        gauge.down(1, start + 5 * MS);
        assert_eq!(gauge.measured(), Measured::default());
    }

    #[test]
    fn the_best_rate_is_taken_where_bytes_flow() {
        let start = Instant::now();
        let gauge = StreamGauge::new(false, MS, start);
        // 16 KiB every 10 ms, and then every 100 ms, with a pause between.
        for step in 0..100 {
            gauge.down(16_384, start + step * 10 * MS);
        }
        for step in 0..100 {
            gauge.down(16_384, start + (5000 + step * 100) * MS);
        }
        let rate = gauge.measured().best_rate.unwrap();
        assert!((1_600_000..1_700_000).contains(&rate), "{rate}");
    }

    #[test]
    fn chatter_and_single_bursts_are_no_rate() {
        let start = Instant::now();
        let chatter = StreamGauge::new(false, MS, start);
        for step in 0..1000 {
            chatter.down(200, start + step * 100 * MS);
        }
        assert_eq!(chatter.measured().best_rate, None);
        let burst = StreamGauge::new(false, MS, start);
        for _ in 0..100 {
            burst.down(16_384, start);
        }
        assert_eq!(burst.measured().best_rate, None);
    }
}
