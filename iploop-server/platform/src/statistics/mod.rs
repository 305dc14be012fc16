//! What an account used, summed: over a period, by local day, by hour of the day, and by what its requests have in common.
//!
//! The sums come from roll-ups that the store keeps with every booking, in the same transaction: they equal the sums over the
//! request log and its archive to the byte, and stay when the log is cut. Their slots are 15 minutes, so that local days are
//! exact in every time zone of today, those with half and quarter hours included.

mod period;
mod store;

pub use period::{MAX_PERIOD_DAYS, Period, PeriodError, SLOT, Zone, ZoneError};
pub use store::Statistics;

use crate::clock::Timestamp;

/// Destinations that are counted by name in 15 minutes of an account; further ones are counted together.
pub const MAX_HOSTS_PER_SLOT: usize = 100;
/// As [`MAX_HOSTS_PER_SLOT`], in a UTC day.
pub const MAX_HOSTS_PER_DAY: usize = 500;

/// What requests have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Nothing: all of a key's. The smallest, so that sums by time and by key read little.
    All,
    /// `http`, `connect` or `socks5`.
    ProxyType,
    /// Country of the exit; empty: none, or not known.
    Country,
    /// Status and error code, as [`StatusName`] reads them.
    Status,
    /// Host of the destination; empty: all beyond [`MAX_HOSTS_PER_SLOT`] or [`MAX_HOSTS_PER_DAY`] together.
    Host,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::All,
        Self::ProxyType,
        Self::Country,
        Self::Status,
        Self::Host,
    ];

    /// As it stands in the data.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::ProxyType => "type",
            Self::Country => "country",
            Self::Status => "status",
            Self::Host => "host",
        }
    }
}

/// How a request was answered, as the name of a sum: `200`, `502 connection_refused`, or nothing of a request that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusName {
    /// Status of the answer.
    pub status: Option<u16>,
    /// The error's code, if it failed.
    pub error: Option<String>,
}

impl StatusName {
    /// Reads what [`write`](Self::write) wrote.
    pub fn read(name: &str) -> Self {
        let (status, error) = name.split_once(' ').unwrap_or((name, ""));
        Self {
            status: status.parse().ok(),
            error: (!error.is_empty()).then(|| error.to_owned()),
        }
    }

    /// The name.
    pub fn write(status: Option<u16>, error: Option<&str>) -> String {
        let status = status.map_or_else(String::new, |status| status.to_string());
        match error {
            Some(error) => format!("{status} {error}"),
            None => status,
        }
    }
}

/// A stretch of time to sum over, and the number that its sums go under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// From here on: the start of a slot.
    pub from: Timestamp,
    /// To here, without it: the start of a slot.
    pub to: Timestamp,
    /// Which number.
    pub number: Number,
}

/// The number that the sums of a [`Part`] go under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    /// This one.
    Is(i64),
    /// The local day, in days since 1970, where the clock is so many milliseconds ahead of UTC.
    Day {
        /// What is added to UTC.
        offset_ms: i64,
    },
    /// The local hour of the day, 0 to 23.
    Hour {
        /// What is added to UTC.
        offset_ms: i64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_back_from_its_name() {
        for (status, error) in [
            (None, None),
            (Some(200), None),
            (Some(502), Some("connection_refused")),
            (None, Some("gateway_restarted")),
        ] {
            let read = StatusName::read(&StatusName::write(status, error));
            assert_eq!((read.status, read.error.as_deref()), (status, error));
        }
    }
}
