//! A moment, as the API writes it.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::UtcOffset;
use time::format_description::well_known::Rfc3339;

/// A moment in UTC; its text is RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(OffsetDateTime);

impl Timestamp {
    /// This moment; none where RFC 3339 has no text for it, outside the years 0 to 9999.
    pub fn new(time: OffsetDateTime) -> Option<Self> {
        let time = time.checked_to_offset(UtcOffset::UTC)?;
        (0..=9999).contains(&time.year()).then_some(Self(time))
    }

    /// For calculations.
    pub fn time(self) -> OffsetDateTime {
        self.0
    }
}

impl FromStr for Timestamp {
    type Err = time::error::Parse;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = OffsetDateTime::parse(text, &Rfc3339)?;
        // A year next to the last one, in an offset that leads out of it.
        Ok(Self::new(time).unwrap_or(Self(time.replace_offset(UtcOffset::UTC))))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.format(&Rfc3339).map_err(|_| fmt::Error)?)
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
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_in_any_offset_and_written_in_utc() {
        for (read, written) in [
            ("2026-11-27T10:00:00Z", "2026-11-27T10:00:00Z"),
            ("2026-11-27T10:00:00.250+02:00", "2026-11-27T08:00:00.25Z"),
            ("9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59Z"),
            ("0000-01-01T00:00:00+12:00", "0000-01-01T00:00:00Z"),
        ] {
            assert_eq!(read.parse::<Timestamp>().unwrap().to_string(), written);
        }
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
