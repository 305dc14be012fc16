//! Periods as customers mean them: local days, with the days of 23 and 25 hours that clocks bring.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan as _};

use super::{Number, Part};
use crate::clock::Timestamp;

/// The finest that sums are kept by.
pub const SLOT: Duration = Duration::from_secs(15 * 60);
/// Longest period, in days.
pub const MAX_PERIOD_DAYS: u32 = 366;

const SLOT_MS: i64 = 15 * 60 * 1000;
/// Longer than any period: one with a day of 25 hours in it still is not.
const MAX_PERIOD_MS: i64 = (MAX_PERIOD_DAYS as i64 + 1) * 24 * 3600 * 1000;
/// Nothing is older, and since then every zone is whole quarter hours from UTC.
const EARLIEST_MS: i64 = 946_684_800_000;
/// Nothing is later: the end of the year 2199.
const LATEST_MS: i64 = 7_258_118_400_000;

/// A time zone by its IANA name. The rules come with the program.
#[derive(Clone, Debug)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

/// A name that no time zone has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a time zone, such as Europe/Berlin")]
pub struct ZoneError;

/// Why there is no such period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// Its end is not after its begin.
    #[error("must be after from")]
    Empty,
    /// It is longer than [`MAX_PERIOD_DAYS`].
    #[error("must be at most 366 days after from")]
    TooLong,
    /// It is before the year 2000 or after 2199.
    #[error("must be within 2000 and 2199")]
    OutOfTime,
}

impl Default for Zone {
    fn default() -> Self {
        Self {
            name: "UTC".to_owned(),
            zone: TimeZone::UTC,
        }
    }
}

impl Zone {
    /// By its IANA name, in any case.
    ///
    /// # Errors
    /// [`ZoneError`].
    pub fn named(name: &str) -> Result<Self, ZoneError> {
        // The longest known name has 32 letters; what is longer need not be looked for.
        if name.is_empty() || name.len() > 64 {
            return Err(ZoneError);
        }
        let zone = TimeZone::get(name).map_err(|_| ZoneError)?;
        Ok(Self {
            name: zone.iana_name().unwrap_or(name).to_owned(),
            zone,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The local date.
    pub(crate) fn date(&self, at: Timestamp) -> Date {
        self.zone.to_datetime(moment(at)).date()
    }

    /// When a local day begins; where clocks skip midnight, when they show its first minute.
    pub(crate) fn midnight(&self, date: Date) -> Timestamp {
        let midnight = date.at(0, 0, 0, 0);
        let begins = self.zone.to_ambiguous_timestamp(midnight).compatible();
        begins.map_or(Timestamp::from_millis(EARLIEST_MS), |at| {
            Timestamp::from_millis(at.as_millisecond())
        })
    }

    fn offset_ms(&self, at: Timestamp) -> i64 {
        i64::from(self.zone.to_offset(moment(at)).seconds()) * 1000
    }
}

/// A stretch of time in a time zone. It begins and ends with a slot.
#[derive(Clone, Debug)]
pub struct Period {
    /// From here on.
    pub from: Timestamp,
    /// To here, without it.
    pub to: Timestamp,
    /// Whose days it has.
    pub zone: Zone,
    /// Whole local days; none: it was given by its ends.
    days: Option<u32>,
}

impl Period {
    /// The last `days` local days, today included.
    ///
    /// # Errors
    /// [`PeriodError::TooLong`], [`PeriodError::OutOfTime`].
    pub fn last_days(zone: Zone, days: u32, now: Timestamp) -> Result<Self, PeriodError> {
        if !(1..=MAX_PERIOD_DAYS).contains(&days) {
            return Err(PeriodError::TooLong);
        }
        in_time(now)?;
        let today = zone.date(now);
        let first = today.saturating_sub(days_long(days - 1));
        let next = today.saturating_add(1.day());
        let mut period = Self::between(zone.clone(), zone.midnight(first), zone.midnight(next))?;
        period.days = Some(days);
        Ok(period)
    }

    /// Between two moments, each moved out to the start of a slot.
    ///
    /// # Errors
    /// [`PeriodError`].
    pub fn between(zone: Zone, from: Timestamp, to: Timestamp) -> Result<Self, PeriodError> {
        in_time(from)?;
        in_time(to)?;
        let from = slot_start(from);
        let to = slot_start(to.plus(SLOT).minus(Duration::from_millis(1)));
        match to.as_millis() - from.as_millis() {
            ..=0 => Err(PeriodError::Empty),
            length if length > MAX_PERIOD_MS => Err(PeriodError::TooLong),
            _ => Ok(Self {
                from,
                to,
                zone,
                days: None,
            }),
        }
    }

    /// The one before it, as many local days or as long, up to where this one has got by `now`: so that a day that is half
    /// over is compared with half a day.
    ///
    /// # Errors
    /// [`PeriodError::OutOfTime`].
    pub fn previous(&self, now: Timestamp) -> Result<Self, PeriodError> {
        let from = match self.days {
            Some(days) => {
                let first = self.zone.date(self.from);
                self.zone.midnight(first.saturating_sub(days_long(days)))
            }
            None => self.from.minus(self.to.since(self.from)),
        };
        in_time(from)?;
        let to = if now < self.to {
            slot_start(from.plus(now.since(self.from)).plus(SLOT)).min(self.from)
        } else {
            self.from
        };
        Ok(Self {
            from,
            to,
            zone: self.zone.clone(),
            days: self.days,
        })
    }

    /// All of it under one number.
    pub fn whole(&self, number: i64) -> Part {
        Part {
            from: self.from,
            to: self.to,
            number: Number::Is(number),
        }
    }

    /// By local day.
    pub fn by_day(&self) -> Vec<Part> {
        self.parts(|offset_ms| Number::Day { offset_ms })
    }

    /// By local hour of the day.
    pub fn by_hour(&self) -> Vec<Part> {
        self.parts(|offset_ms| Number::Hour { offset_ms })
    }

    /// The local days in it: their numbers, as [`Number::Day`] counts, and their dates.
    pub fn days(&self) -> Vec<(i64, String)> {
        let last = self.zone.date(self.to.minus(Duration::from_millis(1)));
        let mut date = self.zone.date(self.from);
        let mut days = Vec::new();
        while date <= last {
            days.push((day_number(date), date.to_string()));
            match date.tomorrow() {
                Ok(next) => date = next,
                Err(_) => break,
            }
        }
        days
    }

    /// A part for each stretch in which the clocks keep their distance from UTC.
    fn parts(&self, number: impl Fn(i64) -> Number) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut from = self.from;
        let mut offset_ms = self.zone.offset_ms(from);
        for change in self.zone.zone.following(moment(from)) {
            let at = Timestamp::from_millis(change.timestamp().as_millisecond());
            if at >= self.to {
                break;
            }
            parts.push(Part {
                from,
                to: at,
                number: number(offset_ms),
            });
            from = at;
            offset_ms = i64::from(change.offset().seconds()) * 1000;
        }
        parts.push(Part {
            from,
            to: self.to,
            number: number(offset_ms),
        });
        parts
    }
}

/// The start of the slot.
fn slot_start(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millis() - at.as_millis().rem_euclid(SLOT_MS))
}

fn in_time(at: Timestamp) -> Result<(), PeriodError> {
    if (EARLIEST_MS..=LATEST_MS).contains(&at.as_millis()) {
        Ok(())
    } else {
        Err(PeriodError::OutOfTime)
    }
}

fn days_long(days: u32) -> Span {
    i64::from(days).days()
}

fn day_number(date: Date) -> i64 {
    let midnight = date.at(0, 0, 0, 0);
    let utc = TimeZone::UTC.to_timestamp(midnight);
    utc.map_or(0, |at| at.as_millisecond().div_euclid(24 * 3600 * 1000))
}

/// Within the years that periods have, where it never fails.
fn moment(at: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        serde_json::from_value(text.into()).unwrap()
    }

    fn last_days(zone: &str, days: u32, now: &str) -> Period {
        Period::last_days(Zone::named(zone).unwrap(), days, at(now)).unwrap()
    }

    fn shown(period: &Period) -> (String, String) {
        (period.from.to_string(), period.to.to_string())
    }

    #[test]
    fn days_are_local_also_when_clocks_change_and_in_zones_of_half_and_quarter_hours() {
        for (zone, now, from, to, hours) in [
            (
                "UTC",
                "2026-03-29T12:00:00Z",
                "2026-03-29T00:00:00Z",
                "2026-03-30T00:00:00Z",
                24.0,
            ),
            (
                "Europe/Berlin",
                "2026-03-29T12:00:00Z",
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
                23.0,
            ),
            (
                "Europe/Berlin",
                "2026-10-25T12:00:00Z",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
                25.0,
            ),
            (
                "Australia/Lord_Howe",
                "2026-04-05T12:00:00Z",
                "2026-04-04T13:00:00Z",
                "2026-04-05T13:30:00Z",
                24.5,
            ),
            (
                "Asia/Kathmandu",
                "2026-01-01T20:00:00Z",
                "2026-01-01T18:15:00Z",
                "2026-01-02T18:15:00Z",
                24.0,
            ),
        ] {
            let period = last_days(zone, 1, now);
            assert_eq!(shown(&period), (from.to_owned(), to.to_owned()), "{zone}");
            assert_eq!(
                period.to.since(period.from).as_secs_f64() / 3600.0,
                hours,
                "{zone}"
            );
        }
    }

    #[test]
    fn a_day_that_clocks_begin_at_one_begins_there() {
        let period = last_days("Africa/Cairo", 1, "2026-04-24T12:00:00Z");
        assert_eq!(period.from.to_string(), "2026-04-23T22:00:00Z");
        assert_eq!(period.days(), [(20_567, "2026-04-24".to_owned())]);
    }

    #[test]
    fn parts_follow_the_clocks_and_cover_the_period_without_gap() {
        let period = last_days("Europe/Berlin", 3, "2026-03-30T12:00:00Z");
        let parts = period.by_day();
        let hour = 3_600_000;
        assert_eq!(
            parts.iter().map(|part| part.number).collect::<Vec<_>>(),
            [
                Number::Day { offset_ms: hour },
                Number::Day { offset_ms: 2 * hour }
            ]
        );
        assert_eq!((parts[0].from, parts[1].to), (period.from, period.to));
        assert_eq!(parts[0].to, parts[1].from);
        assert_eq!(parts[0].to, at("2026-03-29T01:00:00Z"));
        let dates: Vec<String> = period.days().into_iter().map(|(_, date)| date).collect();
        assert_eq!(dates, ["2026-03-28", "2026-03-29", "2026-03-30"]);
    }

    #[test]
    fn the_period_before_has_as_many_days_or_is_as_long() {
        let now = at("2026-03-31T12:00:00Z");
        let days = last_days("Europe/Berlin", 7, "2026-03-31T12:00:00Z");
        let before = days.previous(days.to).unwrap();
        assert_eq!(before.days().len(), 7);
        assert_eq!(before.from.to_string(), "2026-03-17T23:00:00Z");
        assert_eq!(before.to, days.from);
        // 6 days and 14 hours are over, the hour included that a clock left out.
        let so_far = days.previous(now).unwrap();
        assert_eq!(so_far.to.to_string(), "2026-03-24T12:15:00Z");
        let given = Period::between(
            Zone::default(),
            at("2026-01-02T03:04:05Z"),
            at("2026-01-02T04:00:01Z"),
        )
        .unwrap();
        assert_eq!(
            shown(&given),
            ("2026-01-02T03:00:00Z".into(), "2026-01-02T04:15:00Z".into())
        );
        assert_eq!(
            shown(&given.previous(now).unwrap()),
            ("2026-01-02T01:45:00Z".into(), "2026-01-02T03:00:00Z".into())
        );
    }

    #[test]
    fn what_is_no_period_or_no_zone_is_refused() {
        let between = |from: &str, to: &str| Period::between(Zone::default(), at(from), at(to)).map(drop);
        assert_eq!(
            between("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
            Err(PeriodError::Empty)
        );
        assert_eq!(
            between("2026-01-01T00:00:00Z", "2027-01-03T00:15:00Z"),
            Err(PeriodError::TooLong)
        );
        assert_eq!(
            between("1999-01-01T00:00:00Z", "2027-01-03T00:15:00Z"),
            Err(PeriodError::OutOfTime)
        );
        assert!(matches!(
            Period::last_days(Zone::default(), 367, at("2026-01-01T00:00:00Z")),
            Err(PeriodError::TooLong)
        ));
        for name in ["", "Europe/Bielefeld", "../../etc/passwd", &"A".repeat(100)] {
            assert_eq!(Zone::named(name).err(), Some(ZoneError), "{name}");
        }
        assert_eq!(Zone::named("europe/berlin").unwrap().name(), "Europe/Berlin");
    }
}
