//! How much of the owner's uplink customers may use (the platform promises: at most a quarter of what was measured).
//!
//! # What can be known without traffic of our own
//! Some systems measure it and tell their apps, who tell us ([`Uplink::told`]). Else the tunnel sees how fast it is, whenever
//! it is full (`measure`).
//!
//! **An uplink of which nobody told and that was never seen full has no known capacity, and nothing is limited** but by the
//! owner's own figure.
//!
//! # How the limit is kept
//! Both directions leave by the uplink: answers to the hub, and customers' uploads to destinations. Each part that is relayed
//! is charged, and while the account is behind, the relays wait ([`Gate`]); then each of them passes one part, in turns.
//! Small parts pass ahead, within a second's worth, so that a request does not wait behind downloads.

mod measure;

use std::mem;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use iploop_protocol::tunnel::Delivery;
use parking_lot::Mutex;
use tokio::sync::Notify;

use tokio::time::{Instant, sleep_until};

use self::measure::Measure;

/// What may leave at once after a rest: so much time's worth, but at least the part that a relay reads.
const BURST: Duration = Duration::from_millis(200);
const LEAST_BURST_BYTES: u64 = 64 * 1024;
/// Parts up to this size pass ahead while the account is behind by no more than this.
const SMALL_BYTES: u64 = 4 * 1024;
const SMALL_AHEAD: Duration = Duration::from_secs(1);

/// What the owner set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UplinkLimits {
    /// Most of the measured capacity, in per cent; none: it is not limited by what is measured.
    pub(crate) percent: Option<u8>,
    /// Most bytes a second, whatever is measured; none: no such limit.
    pub(crate) bytes_per_second: Option<u64>,
}

/// Where relays wait for their turn on the uplink.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    /// It was shut, or shall open earlier.
    shut: Notify,
}

#[derive(Debug)]
struct GateState {
    uplink: Uplink,
    /// Shut until then. What is charged meanwhile waits for the same moment and is paid for after it: nobody is overtaken for ever.
    opens_at: Option<Instant>,
    /// A relay has one task, so there are no more than streams; those that have ended leave when it opens.
    waiting: Vec<Waker>,
}

/// The uplink of a device as far as it is known, and the account of what customers sent by it.
#[derive(Debug)]
pub(crate) struct Uplink {
    limits: UplinkLimits,
    told: Option<u64>,
    seen: Measure,
    /// What was charged is paid for by then.
    paid_at: Option<Instant>,
}

impl Gate {
    pub(crate) fn new(limits: UplinkLimits) -> Self {
        Self {
            state: Mutex::new(GateState {
                uplink: Uplink::new(limits),
                opens_at: None,
                waiting: Vec::new(),
            }),
            shut: Notify::new(),
        }
    }

    /// Does something with what is known of the uplink; whether anything is limited now.
    pub(crate) fn update(&self, now: Instant, change: impl FnOnce(&mut Uplink)) -> bool {
        let mut state = self.state.lock();
        let before = state.uplink.limit(now);
        change(&mut state.uplink);
        let limit = state.uplink.limit(now);
        if limit != before {
            // What was charged at the old rate could hold relays for hours at a new one.
            state.uplink.paid_at = None;
            if state.opens_at.is_some() {
                state.opens_at = Some(now);
                self.shut.notify_one();
            }
        }
        limit.is_some()
    }

    /// Charges bytes that are about to leave. False: they wait for [`Gate::poll_open`].
    pub(crate) fn charge(&self, now: Instant, bytes: u64) -> bool {
        let mut state = self.state.lock();
        let Some(paid_at) = state.uplink.charge(now, bytes) else {
            return true;
        };
        if state.opens_at.is_none() {
            state.opens_at = Some(paid_at);
            self.shut.notify_one();
        }
        false
    }

    /// Ready when what was charged may leave.
    pub(crate) fn poll_open(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.opens_at.is_none() {
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Opens it whenever it is time, for ever. Without it nothing passes that has to wait.
    ///
    /// # Cancel safety
    /// Yes: the next call goes on.
    pub(crate) async fn keep_opening(&self) {
        loop {
            let opens_at = self.state.lock().opens_at;
            match opens_at {
                None => self.shut.notified().await,
                Some(opens_at) if opens_at > Instant::now() => tokio::select! {
                    () = sleep_until(opens_at) => {}
                    () = self.shut.notified() => {}
                },
                Some(_) => {
                    let waiting = {
                        let mut state = self.state.lock();
                        state.opens_at = None;
                        mem::take(&mut state.waiting)
                    };
                    waiting.into_iter().for_each(Waker::wake);
                }
            }
        }
    }
}

impl Uplink {
    pub(crate) fn new(limits: UplinkLimits) -> Self {
        Self {
            limits,
            told: None,
            seen: Measure::default(),
            paid_at: None,
        }
    }

    /// Takes in what the system says of it, in bytes a second; none: nothing.
    pub(crate) fn told(&mut self, bytes_per_second: Option<u64>) {
        self.told = bytes_per_second;
    }

    /// Takes in what the tunnel saw; to be told about once a second while there is traffic.
    pub(crate) fn observe(&mut self, now: Instant, seen: Delivery) {
        self.seen.observe(now, seen);
    }

    /// Bytes a second that the uplink carries, as told or else as measured; none: nobody knows.
    pub(crate) fn capacity(&self, now: Instant) -> Option<u64> {
        self.told.or_else(|| self.seen.capacity(now))
    }

    /// Bytes a second that customers may use; none: as many as they like.
    pub(crate) fn limit(&self, now: Instant) -> Option<u64> {
        let share = self
            .limits
            .percent
            .and_then(|percent| Some(self.capacity(now)?.saturating_mul(percent.into()) / 100));
        let own = self.limits.bytes_per_second;
        let limit = share.into_iter().chain(own).min()?;
        // A limit of nothing would hold streams for ever; who wants nothing shared pauses.
        Some(limit.max(1))
    }

    /// Charges bytes that are about to leave; none: they may. Else they wait until then, when they are paid for.
    pub(crate) fn charge(&mut self, now: Instant, bytes: u64) -> Option<Instant> {
        let Some(limit) = self.limit(now) else {
            self.paid_at = None;
            return None;
        };
        let burst = BURST.max(time_for(LEAST_BURST_BYTES, limit));
        let rested = now.checked_sub(burst).unwrap_or(now);
        let paid_at = self.paid_at.map_or(rested, |paid_at| paid_at.max(rested));
        let is_ahead = bytes <= SMALL_BYTES && paid_at.saturating_duration_since(now) <= SMALL_AHEAD;
        let paid_at = paid_at.checked_add(time_for(bytes, limit)).unwrap_or(paid_at);
        self.paid_at = Some(paid_at);
        (paid_at > now && !is_ahead).then_some(paid_at)
    }

    /// The device is on another network.
    pub(crate) fn forget(&mut self) {
        self.seen = Measure::default();
    }
}

/// How long a link of this rate, not 0, takes for so many bytes.
fn time_for(bytes: u64, per_second: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(per_second.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::measure::{BELIEVED, per_second};
    use super::*;
    use std::future::poll_fn;

    const QUARTER: UplinkLimits = UplinkLimits {
        percent: Some(25),
        bytes_per_second: None,
    };
    const STEP: Duration = Duration::from_millis(10);

    /// A device with relays that take what they get, over a link of a given rate.
    struct Device {
        uplink: Uplink,
        now: Instant,
        /// Bytes a second that the link carries; none: more than ever come.
        link: Option<u64>,
        /// Bytes a second that the destinations send; none: more than the link carries.
        sources: Option<u64>,
        owed: u64,
        waiting: Option<(u64, Instant)>,
        queue: u64,
        delivered: u64,
        was_full: bool,
        told_at: Instant,
    }

    impl Device {
        fn new(limits: UplinkLimits, link: Option<u64>, sources: Option<u64>) -> Self {
            let now = Instant::now();
            Self {
                uplink: Uplink::new(limits),
                now,
                link,
                sources,
                owed: 0,
                waiting: None,
                queue: 0,
                delivered: 0,
                was_full: true,
                told_at: now,
            }
        }

        /// Bytes a second that left, over some time.
        fn run(&mut self, time: Duration) -> u64 {
            const PART: u64 = 16 * 1024;
            let (began, before) = (self.now, self.delivered);
            let in_step = |rate: u64| rate / 100;
            while self.now.duration_since(began) < time {
                self.now += STEP;
                self.owed = match self.sources {
                    Some(rate) => self.owed + in_step(rate),
                    None => u64::MAX / 2,
                };
                // Windows keep the queue short: no more is read than the link will take soon.
                let room = self.link.map_or(u64::MAX / 4, |rate| in_step(rate) * 2 + PART);
                while self.queue < room {
                    match self.waiting {
                        Some((_, until)) if until > self.now => break,
                        Some((part, _)) => {
                            self.waiting = None;
                            self.queue += part;
                        }
                        None if self.owed < PART => break,
                        None => {
                            if self.sources.is_some() {
                                self.owed -= PART;
                            }
                            match self.uplink.charge(self.now, PART) {
                                Some(until) => self.waiting = Some((PART, until)),
                                None => self.queue += PART,
                            }
                            if self.link.is_none() && self.sources.is_none() {
                                break;
                            }
                        }
                    }
                }
                let carried = self.link.map_or(self.queue, |rate| in_step(rate).min(self.queue));
                self.queue -= carried;
                self.delivered += carried;
                self.was_full &= self.queue > 0;
                if self.now.duration_since(self.told_at) >= Duration::from_secs(1) {
                    let seen = Delivery {
                        delivered_bytes: self.delivered,
                        was_full: self.was_full,
                    };
                    self.uplink.observe(self.now, seen);
                    self.was_full = true;
                    self.told_at = self.now;
                }
            }
            per_second(self.delivered - before, time)
        }
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[track_caller]
    fn near(actual: u64, expected: u64) {
        assert!(
            actual.abs_diff(expected) <= expected / 20,
            "{actual} is not near {expected}"
        );
    }

    #[test]
    fn a_link_that_was_seen_full_is_used_by_a_quarter() {
        for link in [50_000, 1_000_000, 125_000_000] {
            let mut device = Device::new(QUARTER, Some(link), None);
            near(device.run(secs(5)), link);
            device.run(secs(5));
            near(device.uplink.capacity(device.now).unwrap(), link);
            // The account was behind by what left last.
            device.run(secs(20));
            near(device.run(secs(600)), link / 4);
            near(device.uplink.capacity(device.now).unwrap(), link);
        }
    }

    #[test]
    fn a_link_that_was_never_full_is_not_limited() {
        for (link, sources) in [
            (Some(1_000_000), Some(900_000)),
            (None, Some(50_000_000)),
            (None, None),
        ] {
            let mut device = Device::new(QUARTER, link, sources);
            if let Some(sources) = sources {
                near(device.run(secs(60)), sources);
            } else {
                device.run(secs(60));
            }
            assert_eq!(device.uplink.capacity(device.now), None);
            assert_eq!(device.uplink.limit(device.now), None);
        }
    }

    #[test]
    fn a_link_that_got_slower_is_found_out_by_and_by_and_a_faster_one_after_a_day() {
        let mut device = Device::new(QUARTER, Some(1_000_000), None);
        device.run(secs(30));
        device.link = Some(100_000);
        device.run(secs(120));
        assert!(device.uplink.capacity(device.now).unwrap() < 450_000);
        // Full no longer, so it stays there.
        let known = device.uplink.capacity(device.now);
        device.run(secs(120));
        assert!(device.uplink.limit(device.now).unwrap() <= 112_500, "{known:?}");
        device.link = Some(4_000_000);
        device.run(secs(60));
        assert!(device.uplink.limit(device.now).unwrap() <= 112_500);
        device.now += BELIEVED;
        assert_eq!(device.uplink.limit(device.now), None);
        device.run(secs(10));
        near(device.uplink.capacity(device.now).unwrap(), 4_000_000);
    }

    #[test]
    fn another_network_is_another_link() {
        let mut device = Device::new(QUARTER, Some(1_000_000), None);
        device.run(secs(30));
        assert!(device.uplink.limit(device.now).is_some());
        device.uplink.forget();
        assert_eq!(device.uplink.limit(device.now), None);
        device.link = Some(200_000);
        device.run(secs(15));
        near(device.uplink.capacity(device.now).unwrap(), 200_000);
    }

    #[test]
    fn the_owners_own_figure_holds_whatever_is_measured() {
        let own = |percent| UplinkLimits {
            percent,
            bytes_per_second: Some(100_000),
        };
        for (limits, link, expected) in [
            (own(None), None, 100_000),
            (own(None), Some(10_000_000), 100_000),
            (own(Some(25)), Some(10_000_000), 100_000),
            (own(Some(25)), Some(80_000), 20_000),
        ] {
            let mut device = Device::new(limits, link, None);
            device.run(secs(120));
            near(device.run(secs(600)), expected);
        }
        let nothing = UplinkLimits {
            percent: None,
            bytes_per_second: None,
        };
        let mut device = Device::new(nothing, Some(1_000_000), None);
        near(device.run(secs(60)), 1_000_000);
        assert_eq!(device.uplink.limit(device.now), None);
    }

    #[test]
    fn what_leaves_at_once_is_bounded_and_small_parts_pass_ahead_within_bounds() {
        let limits = UplinkLimits {
            percent: None,
            bytes_per_second: Some(1_000_000),
        };
        let mut uplink = Uplink::new(limits);
        let now = Instant::now() + secs(3600);
        let mut at_once = 0;
        while uplink.charge(now, 16 * 1024).is_none() {
            at_once += 16 * 1024;
        }
        assert!((184_000..=200_000).contains(&at_once), "{at_once}");
        let mut ahead = 0;
        while uplink.charge(now, SMALL_BYTES).is_none() {
            ahead += SMALL_BYTES;
        }
        assert!((900_000..=1_010_000).contains(&ahead), "{ahead}");
        let paid_at = uplink.charge(now, 1).unwrap();
        assert!(paid_at <= now + Duration::from_millis(1_050));
        // A long rest earns no more than a burst.
        let later = paid_at + secs(86_400);
        let mut at_once = 0;
        while uplink.charge(later, 16 * 1024).is_none() {
            at_once += 16 * 1024;
        }
        assert!(at_once <= 200_000, "{at_once}");
    }

    #[test]
    fn what_the_system_tells_counts_before_what_was_seen() {
        let mut device = Device::new(QUARTER, Some(1_000_000), None);
        device.uplink.told(Some(400_000));
        assert_eq!(device.uplink.limit(device.now), Some(100_000));
        near(device.run(secs(600)), 100_000);
        device.uplink.told(None);
        assert_eq!(device.uplink.limit(device.now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_at_the_gate_passes_in_turns_at_the_rate_and_nobody_for_ever() {
        const PART: u64 = 10_000;
        let gate = &Gate::new(UplinkLimits {
            percent: None,
            bytes_per_second: Some(100_000),
        });
        let began = Instant::now();
        let relay = |part: u64| async move {
            let mut passed = 0;
            while began.elapsed() < secs(60) {
                if !gate.charge(Instant::now(), part) {
                    poll_fn(|cx| gate.poll_open(cx)).await;
                }
                passed += part;
                // A source that always has more.
                tokio::task::yield_now().await;
            }
            passed
        };
        // Requests that take half of the link, all of them small enough to pass ahead.
        let requests = async {
            let mut passed = 0;
            while began.elapsed() < secs(60) {
                assert!(gate.charge(Instant::now(), 500), "a small part waits");
                passed += 500;
                sleep_until(Instant::now() + Duration::from_millis(10)).await;
            }
            passed
        };
        let (one, other, small) = tokio::select! {
            passed = async { tokio::join!(relay(PART), relay(PART), requests) } => passed,
            () = gate.keep_opening() => unreachable!("it goes on for ever"),
        };
        assert_eq!(small, 3_000_000);
        assert!(one.abs_diff(other) <= PART, "{one} and {other}");
        near(one + other + small, 6_000_000);
        assert!(gate.state.lock().waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_on_as_soon_as_the_link_turns_out_faster() {
        let gate = &Gate::new(UplinkLimits {
            percent: Some(25),
            bytes_per_second: None,
        });
        assert!(gate.update(Instant::now(), |uplink| uplink.told(Some(4))));
        assert!(gate.charge(Instant::now(), LEAST_BURST_BYTES));
        // More than a day at one byte a second.
        assert!(!gate.charge(Instant::now(), 100_000));
        let began = Instant::now();
        let faster = async {
            sleep_until(began + secs(1)).await;
            gate.update(Instant::now(), |uplink| uplink.told(Some(4_000_000)));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = poll_fn(|cx| gate.poll_open(cx)) => {}
            () = gate.keep_opening() => {}
            () = faster => {}
        }
        assert_eq!(began.elapsed(), secs(1));
        assert!(gate.charge(Instant::now(), 100_000));
        assert!(!gate.update(Instant::now(), |uplink| uplink.told(None)));
    }

    #[test]
    fn no_figures_overflow() {
        for limit in [0, 1, u64::MAX] {
            let limits = UplinkLimits {
                percent: Some(u8::MAX),
                bytes_per_second: Some(limit),
            };
            let mut uplink = Uplink::new(limits);
            let now = Instant::now();
            for bytes in [0, 1, u64::MAX, u64::MAX] {
                let _ = uplink.charge(now, bytes);
            }
            let seen = |delivered_bytes| Delivery {
                delivered_bytes,
                was_full: true,
            };
            for second in 0..20 {
                uplink.observe(now + secs(second), seen(u64::MAX / 20 * second));
            }
            uplink.observe(now, seen(0));
            uplink.observe(now, seen(u64::MAX));
            assert!(uplink.limit(now).is_some_and(|limit| limit > 0));
        }
    }
}
