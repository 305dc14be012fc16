//! The time, as an argument: nothing in the business rules asks the system for it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One UTC day.
pub const DAY: Duration = Duration::from_secs(24 * 3600);
const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;
const HOUR_MILLIS: i64 = 3600 * 1000;

/// A moment in UTC, to the millisecond: the unit of every time in the database.
///
/// RFC 3339 in JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The moment `after` this one; saturates at the end of time.
    #[must_use]
    pub fn plus(self, after: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// The moment `before` this one; saturates at the beginning of time.
    #[must_use]
    pub fn minus(self, before: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(before.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// How long ago `earlier` was, zero if it is in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The UTC day, in days since 1970.
    pub fn utc_day(self) -> u32 {
        u32::try_from(self.0.div_euclid(DAY_MILLIS)).unwrap_or(0)
    }

    /// The UTC month, in months since the year 0.
    pub fn utc_month(self) -> u32 {
        let utc = self.to_utc();
        u32::try_from(utc.year()).unwrap_or(0) * 12 + u32::from(u8::from(utc.month())) - 1
    }

    /// When this UTC day began.
    #[must_use]
    pub fn day_start(self) -> Self {
        Self(self.0 - self.0.rem_euclid(DAY_MILLIS))
    }

    /// When the next UTC day begins.
    #[must_use]
    pub fn next_day(self) -> Self {
        self.day_start().plus(DAY)
    }

    /// When this UTC month began.
    #[must_use]
    pub fn month_start(self) -> Self {
        let day = u64::from(self.to_utc().day()).saturating_sub(1);
        self.day_start().minus(Duration::from_secs(day * 24 * 3600))
    }

    /// When the next UTC month begins.
    #[must_use]
    pub fn next_month(self) -> Self {
        let month = self.utc_month();
        let mut day = self.next_day();
        // At most 31 steps, and only where somebody is told how long to wait.
        while day.utc_month() == month {
            day = day.next_day();
        }
        day
    }

    /// When this hour began.
    #[must_use]
    pub fn hour_start(self) -> Self {
        Self(self.0 - self.0.rem_euclid(HOUR_MILLIS))
    }

    /// The same moment as the `time` crate has it.
    pub fn to_utc(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_utc().format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment = OffsetDateTime::parse(&text, &Rfc3339).map_err(serde::de::Error::custom)?;
        let millis = moment.unix_timestamp_nanos() / 1_000_000;
        i64::try_from(millis).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Where the business rules get the time from.
pub trait Clock: Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// The system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that asks the system"
    )]
    fn now(&self) -> Timestamp {
        let millis = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        Timestamp(i64::try_from(millis).unwrap_or(i64::MAX))
    }
}

/// For tests: goes with tokio's time, which they stop and turn.
#[cfg(test)]
pub(crate) struct TurnedClock(tokio::time::Instant);

#[cfg(test)]
impl TurnedClock {
    pub(crate) fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

#[cfg(test)]
impl Clock for TurnedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_795_000_000_000).plus(self.0.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_form_is_rfc_3339_and_reads_back() {
        let moment = Timestamp::from_millis(1_764_000_000_123);
        let json = serde_json::to_string(&moment).unwrap();
        assert_eq!(json, "\"2025-11-24T16:00:00.123Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), moment);
    }

    #[test]
    fn days_and_months_begin_at_midnight_utc() {
        let leap: Timestamp = serde_json::from_str("\"2028-02-29T23:59:59.999Z\"").unwrap();
        assert_eq!(leap.day_start().to_string(), "2028-02-29T00:00:00Z");
        assert_eq!(leap.next_day().to_string(), "2028-03-01T00:00:00Z");
        assert_eq!(leap.next_month(), leap.next_day());
        assert_eq!(leap.month_start().to_string(), "2028-02-01T00:00:00Z");
        assert_eq!(leap.next_month().month_start(), leap.next_month());
        assert_eq!(leap.hour_start().to_string(), "2028-02-29T23:00:00Z");
        assert_eq!(leap.next_day().utc_month(), leap.utc_month() + 1);
        assert_eq!(leap.next_day().utc_day(), leap.utc_day() + 1);
        let december: Timestamp = serde_json::from_str("\"2027-12-01T00:00:00Z\"").unwrap();
        assert_eq!(december.next_month().to_string(), "2028-01-01T00:00:00Z");
        assert_eq!(december.next_month().utc_month(), december.utc_month() + 1);
    }
}
