//! One key's bytes in this process: counted by all its streams, held against the key's limits by day, month and in all.
//!
//! Every stream of a key shares one, limits or not: so a limit that is set while streams run holds for them too. As with
//! the pool, the last chunk of a key may reach past the end, and everything is a running total:
//!
//! ```text
//! used  =  booked, as the store had it  +  counted since that is not booked yet
//! ```

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::time::Duration;

use parking_lot::Mutex;

use super::pool::signed;
use crate::api_key::KeyUsage;
use crate::clock::Timestamp;
use crate::ids::ApiKeyId;
use crate::keys::ByteLimits;

/// The bytes of one key.
#[derive(Debug)]
pub(crate) struct KeyQuota {
    key: ApiKeyId,
    counted: AtomicI64,
    settled: AtomicI64,
    /// There are limits: else nothing but the totals is kept.
    is_limited: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    limits: ByteLimits,
    /// What the key had used when `counted` stood at `at`; none until the store was asked.
    base: Option<Base>,
}

#[derive(Clone, Copy, Debug)]
struct Base {
    at: i64,
    day: u32,
    month: u32,
    day_bytes: i64,
    month_bytes: i64,
    total_bytes: i64,
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted {
    /// Which one.
    pub(crate) period: Period,
    pub(crate) limit: u64,
    /// Until it begins anew; none where it never does.
    pub(crate) retry_after: Option<Duration>,
}

/// What a limit of bytes is counted over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// A UTC day.
    Day,
    /// A UTC month.
    Month,
    /// Since the key was made.
    Total,
}

impl KeyQuota {
    pub(crate) fn new(key: ApiKeyId) -> Self {
        Self {
            key,
            counted: AtomicI64::new(0),
            settled: AtomicI64::new(0),
            is_limited: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    pub(crate) fn key(&self) -> ApiKeyId {
        self.key
    }

    /// Counts `bytes` unless a limit is reached; the last chunk may reach past it.
    pub(super) fn take(&self, bytes: usize, now: impl FnOnce() -> Timestamp) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if !self.is_limited() {
            self.counted.fetch_add(bytes, AcqRel);
            return true;
        }
        let mut state = self.state.lock();
        if bytes > 0 && state.exhausted(self.counted(), now()).is_some() {
            return false;
        }
        self.counted.fetch_add(bytes, AcqRel);
        true
    }

    /// Undoes a count whose bytes will not be paid.
    pub(super) fn give_back(&self, bytes: u64) {
        self.counted.fetch_sub(signed(bytes), AcqRel);
    }

    /// The store has so many more of the counted bytes; fewer where it gave some back.
    pub(super) fn settle(&self, bytes: i64) {
        self.settled.fetch_add(bytes, AcqRel);
    }

    /// What the store has of the counted bytes, at least: read before the store is asked.
    pub(crate) fn settled(&self) -> i64 {
        self.settled.load(Acquire)
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.is_limited.load(Acquire)
    }

    /// There are limits and the store was never asked what is used.
    pub(crate) fn needs_usage(&self) -> bool {
        self.is_limited() && self.state.lock().base.is_none()
    }

    /// The limits from now on.
    pub(crate) fn limit(&self, limits: ByteLimits) {
        if limits.is_empty() && !self.is_limited() {
            return;
        }
        let mut state = self.state.lock();
        if limits.is_empty() {
            // What is counted without looking at the day can't be sorted into days later.
            state.base = None;
        }
        state.limits = limits;
        self.is_limited.store(!limits.is_empty(), Release);
    }

    /// What the store knows as of `now`, asked after [`settled`](Self::settled) stood at `settled`.
    pub(crate) fn know(&self, usage: &KeyUsage, settled: i64, now: Timestamp) {
        let mut state = self.state.lock();
        // Booked in between counts twice until the next look, never not at all.
        state.base = Some(Base {
            at: settled,
            day: now.utc_day(),
            month: now.utc_month(),
            day_bytes: usage.day_bytes.max(0),
            month_bytes: usage.month_bytes.max(0),
            total_bytes: usage.total_bytes.max(0),
        });
    }

    /// The limit that is reached, if one is.
    pub(crate) fn exhausted(&self, now: Timestamp) -> Option<Exhausted> {
        match self.is_limited() {
            true => self.state.lock().exhausted(self.counted(), now),
            false => None,
        }
    }

    /// Each limit with what is left of it.
    pub(crate) fn remaining(&self, now: Timestamp) -> Vec<(Period, u64, u64, Option<Duration>)> {
        if !self.is_limited() {
            return Vec::new();
        }
        let mut state = self.state.lock();
        let Some(used) = state.used(self.counted(), now) else {
            return Vec::new();
        };
        state
            .limits
            .each(used)
            .map(|(period, limit, used)| (period, limit, limit.saturating_sub(used), until(period, now)))
            .collect()
    }

    fn counted(&self) -> i64 {
        self.counted.load(Acquire)
    }
}

impl State {
    fn exhausted(&mut self, counted: i64, now: Timestamp) -> Option<Exhausted> {
        let used = self.used(counted, now)?;
        let (period, limit, _) = self.limits.each(used).find(|(_, limit, used)| used >= limit)?;
        Some(Exhausted {
            period,
            limit,
            retry_after: until(period, now),
        })
    }

    /// Used today, this month and in all.
    fn used(&mut self, counted: i64, now: Timestamp) -> Option<Base> {
        let base = self.base.as_mut()?;
        let (day, month) = (now.utc_day(), now.utc_month());
        if day > base.day {
            // What was counted until now belongs to days before: a few chunks around midnight at most.
            let since = counted - base.at;
            base.total_bytes += since;
            base.month_bytes = if month > base.month {
                0
            } else {
                base.month_bytes + since
            };
            base.day_bytes = 0;
            (base.day, base.month, base.at) = (day, month, counted);
        }
        let since = counted - base.at;
        Some(Base {
            day_bytes: base.day_bytes + since,
            month_bytes: base.month_bytes + since,
            total_bytes: base.total_bytes + since,
            ..*base
        })
    }
}

impl ByteLimits {
    /// The limits that there are, the most lasting first, each with what is used of it.
    fn each(&self, used: Base) -> impl Iterator<Item = (Period, u64, u64)> + use<> {
        [
            (Period::Total, self.total, used.total_bytes),
            (Period::Month, self.per_month, used.month_bytes),
            (Period::Day, self.per_day, used.day_bytes),
        ]
        .into_iter()
        .filter_map(|(period, limit, used)| Some((period, limit?, u64::try_from(used).unwrap_or(0))))
    }
}

fn until(period: Period, now: Timestamp) -> Option<Duration> {
    match period {
        Period::Day => Some(now.next_day().since(now)),
        Period::Month => Some(now.next_month().since(now)),
        Period::Total => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyLimits;

    fn at(text: &str) -> Timestamp {
        serde_json::from_str(&format!("\"{text}\"")).unwrap()
    }

    fn used(day_bytes: i64, month_bytes: i64, total_bytes: i64) -> KeyUsage {
        KeyUsage {
            key: ApiKeyId::new(),
            limits: KeyLimits::default(),
            day_bytes,
            month_bytes,
            total_bytes,
        }
    }

    fn quota(limits: ByteLimits, usage: &KeyUsage, now: Timestamp) -> KeyQuota {
        let quota = KeyQuota::new(ApiKeyId::new());
        quota.limit(limits);
        assert!(quota.needs_usage());
        quota.know(usage, 0, now);
        quota
    }

    #[test]
    fn one_chunk_may_reach_past_the_end_and_none_after_it() {
        let now = at("2026-01-31T12:00:00Z");
        let limits = ByteLimits {
            per_day: Some(100),
            ..ByteLimits::default()
        };
        let quota = quota(limits, &used(40, 0, 0), now);
        assert!(quota.take(50, || now));
        assert!(quota.take(50, || now));
        assert!(!quota.take(1, || now));
        assert!(quota.take(0, || now), "nothing always goes");
        assert_eq!(
            quota.exhausted(now),
            Some(Exhausted {
                period: Period::Day,
                limit: 100,
                retry_after: Some(Duration::from_secs(12 * 3600)),
            })
        );
        quota.give_back(50);
        assert!(quota.take(1, || now));
    }

    #[test]
    fn a_day_and_a_month_begin_anew_and_the_total_never_does() {
        let evening = at("2026-01-31T23:59:59Z");
        let limits = ByteLimits {
            per_day: Some(100),
            per_month: Some(150),
            total: Some(300),
        };
        let quota = quota(limits, &used(0, 60, 60), evening);
        assert!(quota.take(100, || evening));
        assert_eq!(quota.exhausted(evening).unwrap().period, Period::Month);
        let morning = at("2026-02-01T00:00:00Z");
        assert_eq!(quota.exhausted(morning), None);
        assert!(quota.take(100, || morning));
        assert_eq!(quota.exhausted(morning).unwrap().period, Period::Day);
        let next = at("2026-02-02T00:00:00Z");
        assert!(quota.take(40, || next));
        assert_eq!(quota.exhausted(next).unwrap().period, Period::Total);
        assert_eq!(quota.exhausted(next).unwrap().retry_after, None);
        assert_eq!(
            quota
                .remaining(next)
                .iter()
                .map(|left| left.2)
                .collect::<Vec<_>>(),
            [0, 10, 60]
        );
    }

    #[test]
    fn bytes_that_are_booked_elsewhere_count_and_ours_count_once() {
        let now = at("2026-01-31T12:00:00Z");
        let limits = ByteLimits {
            total: Some(1000),
            ..ByteLimits::default()
        };
        let quota = quota(limits, &used(0, 0, 0), now);
        assert!(quota.take(300, || now));
        quota.settle(200);
        // The store has our 200 and 400 of another gateway.
        let settled = quota.settled();
        quota.know(&used(600, 600, 600), settled, now);
        assert_eq!(quota.remaining(now), [(Period::Total, 1000, 300, None)]);
        quota.settle(100);
        quota.know(&used(700, 700, 700), quota.settled(), now);
        assert_eq!(quota.remaining(now), [(Period::Total, 1000, 300, None)]);
    }

    #[test]
    fn a_limit_that_is_set_later_holds_for_what_was_counted_before_and_not_booked() {
        let now = at("2026-01-31T12:00:00Z");
        let quota = KeyQuota::new(ApiKeyId::new());
        assert!(quota.take(500, || now));
        quota.settle(100);
        quota.limit(ByteLimits {
            total: Some(450),
            ..ByteLimits::default()
        });
        assert!(quota.take(10, || now), "until the store was asked");
        quota.know(&used(100, 100, 100), quota.settled(), now);
        assert!(!quota.take(10, || now));
        quota.limit(ByteLimits::default());
        assert!(quota.take(10, || now));
    }
}
