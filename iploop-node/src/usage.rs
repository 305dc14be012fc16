//! How many bytes were shared, by day: for the owner's caps, which survive restarts and clocks that are set.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::{Date, OffsetDateTime};

/// Most days that are kept: every day of a month, and some for the owner to look back on.
const MAX_DAYS: usize = 62;

/// More than any cap.
const UNCOUNTABLE: Bytes = Bytes {
    other: u64::MAX,
    cellular: u64::MAX,
};

/// Bytes relayed, both ways together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Bytes {
    /// On Wi-Fi and cables.
    pub(crate) other: u64,
    /// On mobile data.
    pub(crate) cellular: u64,
}

/// What was used of the caps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// Today, UTC.
    pub(crate) day: Bytes,
    /// This month, UTC.
    pub(crate) month: Bytes,
}

/// Bytes by day (UTC).
///
/// A clock that is set back gives no bytes back: days that haven't come yet count as today. They do so for one day only, so
/// that a clock that was wrong for an hour does not stop a device for years.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    #[serde(with = "by_day")]
    days: BTreeMap<Date, Bytes>,
    /// The day on which days ahead of the clock were first seen.
    #[serde(default, with = "maybe_day", skip_serializing_if = "Option::is_none")]
    set_back_on: Option<Date>,
}

impl Bytes {
    /// On every network together.
    pub(crate) fn total(&self) -> u64 {
        self.other.saturating_add(self.cellular)
    }

    fn add(&mut self, more: Self) {
        self.other = self.other.saturating_add(more.other);
        self.cellular = self.cellular.saturating_add(more.cellular);
    }
}

impl Ledger {
    /// A ledger whose today is used up: for when the true one can't be read.
    pub(crate) fn used_up(now: OffsetDateTime) -> Self {
        Self {
            days: BTreeMap::from([(now.date(), UNCOUNTABLE)]),
            set_back_on: None,
        }
    }

    pub(crate) fn add(&mut self, now: OffsetDateTime, more: Bytes) {
        let today = now.date();
        self.settle_days_ahead(today);
        while self.days.len() >= MAX_DAYS && !self.days.contains_key(&today) {
            self.days.pop_first();
        }
        self.days.entry(today).or_default().add(more);
    }

    pub(crate) fn used(&mut self, now: OffsetDateTime) -> Used {
        let today = now.date();
        self.settle_days_ahead(today);
        let mut used = Used::default();
        let first = today.replace_day(1).unwrap_or(today);
        for (date, bytes) in self.days.range(first..) {
            if *date >= today {
                used.day.add(*bytes);
            }
            // A day that could not be counted fills that day and no more.
            if *bytes != UNCOUNTABLE {
                used.month.add(*bytes);
            }
        }
        used
    }

    /// A day after the clock was set back, what lies ahead of it is booked on the day of the setting.
    fn settle_days_ahead(&mut self, today: Date) {
        if self.days.last_key_value().is_none_or(|(last, _)| *last <= today) {
            self.set_back_on = None;
            return;
        }
        let set_back_on = *self.set_back_on.get_or_insert(today);
        if today <= set_back_on {
            return;
        }
        while let Some(entry) = self.days.last_entry().filter(|entry| *entry.key() > today) {
            let early = entry.remove();
            self.days.entry(set_back_on).or_default().add(early);
        }
        self.set_back_on = None;
    }
}

mod by_day {
    use super::{BTreeMap, Bytes, Date, Deserialize};
    use serde::de::Error;
    use serde::{Deserializer, Serialize, Serializer};
    use time::format_description::well_known::Iso8601;

    pub(super) fn serialize<S: Serializer>(days: &BTreeMap<Date, Bytes>, to: S) -> Result<S::Ok, S::Error> {
        let named: BTreeMap<String, Bytes> = days
            .iter()
            .map(|(date, bytes)| (date.to_string(), *bytes))
            .collect();
        named.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Date, Bytes>, D::Error> {
        let named = BTreeMap::<String, Bytes>::deserialize(from)?;
        if named.len() > super::MAX_DAYS {
            return Err(D::Error::custom("too many days"));
        }
        named
            .into_iter()
            .map(|(text, bytes)| {
                Ok((
                    Date::parse(&text, &Iso8601::DATE).map_err(D::Error::custom)?,
                    bytes,
                ))
            })
            .collect()
    }
}

mod maybe_day {
    use super::{Date, Deserialize};
    use serde::de::Error;
    use serde::{Deserializer, Serialize, Serializer};
    use time::format_description::well_known::Iso8601;

    pub(super) fn serialize<S: Serializer>(day: &Option<Date>, to: S) -> Result<S::Ok, S::Error> {
        day.map(|day| day.to_string()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Date>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| Date::parse(&text, &Iso8601::DATE).map_err(D::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::Duration;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    fn bytes(other: u64) -> Bytes {
        Bytes { other, cellular: 0 }
    }

    #[test]
    fn days_and_months_begin_anew() {
        let mut ledger = Ledger::default();
        ledger.add(datetime!(2026-10-31 23:59 UTC), bytes(1));
        ledger.add(datetime!(2026-11-01 00:00 UTC), bytes(2));
        ledger.add(NOON, bytes(4));
        let used = ledger.used(NOON);
        assert_eq!((used.day, used.month), (bytes(4), bytes(6)));
        let used = ledger.used(datetime!(2026-12-01 00:00 UTC));
        assert_eq!((used.day, used.month), (bytes(0), bytes(0)));
    }

    #[test]
    fn a_clock_set_back_gives_no_bytes_back() {
        let mut ledger = Ledger::default();
        ledger.add(NOON, bytes(10));
        let earlier = NOON - Duration::days(50);
        ledger.add(earlier, bytes(1));
        assert_eq!(ledger.used(earlier).day, bytes(11));
        assert_eq!(ledger.used(earlier).month, bytes(11));
        assert_eq!(ledger.used(NOON).day, bytes(10));
    }

    #[test]
    fn a_clock_that_was_ahead_costs_one_day_at_most() {
        let mut ledger = Ledger::default();
        ledger.add(NOON + Duration::days(1000), bytes(10));
        assert_eq!(ledger.used(NOON).day, bytes(10));
        assert_eq!(ledger.used(NOON).day, bytes(10));
        let tomorrow = ledger.used(NOON + Duration::days(1));
        assert_eq!((tomorrow.day, tomorrow.month), (bytes(0), bytes(10)));
    }

    #[test]
    fn it_reads_back_and_stays_small() {
        let mut ledger = Ledger::default();
        for day in 0..500 {
            ledger.add(NOON + Duration::days(day), bytes(1));
        }
        assert_eq!(ledger.days.len(), MAX_DAYS);
        let text = serde_json::to_string(&ledger).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
        for text in [
            r#"{"days":{"2026-13-01":{}}}"#,
            r#"{"days":[]}"#,
            r#"{"days":{"2026-11-24":{"other":-1}}}"#,
        ] {
            assert!(serde_json::from_str::<Ledger>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_uncountable_day_is_full_and_the_next_is_not() {
        let mut ledger = Ledger::used_up(NOON);
        assert_eq!(ledger.used(NOON).day.total(), u64::MAX);
        let tomorrow = ledger.used(NOON + Duration::days(1));
        assert_eq!((tomorrow.day, tomorrow.month), (bytes(0), bytes(0)));
    }

    proptest! {
        #[test]
        fn setting_the_clock_back_never_shows_less(
            booked in prop::collection::vec((-40i64..=0, 0u64..1000), 1..20),
            back in 0i64..100,
        ) {
            let mut ledger = Ledger::default();
            for (days, more) in booked {
                ledger.add(NOON + Duration::days(days), bytes(more));
            }
            let before = ledger.used(NOON).day.total();
            prop_assert!(ledger.used(NOON - Duration::days(back)).day.total() >= before);
            prop_assert!(ledger.used(NOON).day.total() >= before);
        }
    }
}
