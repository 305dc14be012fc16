//! Which limit on a customer was reached, and when another try makes sense.

use std::str::FromStr;
use std::time::Duration;

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Limit {
    /// Streams open at the same time.
    OpenStreams,
    /// New dials in a second.
    DialsPerSecond,
    /// Different ports of one host in a minute.
    PortsPerHost,
    /// Different hosts in a minute.
    HostsPerMinute,
    /// Too many dials failed: stopped for a while.
    FailedDials,
    /// New dials to one destination host in a second, of all customers together.
    DialsPerHost,
    /// Too many customers at the same time.
    Customers,
}

/// A limit that was reached, and when another try makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Which.
    pub limit: Limit,
    /// After this time it may go.
    pub retry_after: Duration,
}

impl Limit {
    /// Every limit.
    pub const ALL: [Self; 7] = [
        Self::OpenStreams,
        Self::DialsPerSecond,
        Self::PortsPerHost,
        Self::HostsPerMinute,
        Self::FailedDials,
        Self::DialsPerHost,
        Self::Customers,
    ];

    /// Its name: the text of a refusal by a device.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenStreams => "open_streams",
            Self::DialsPerSecond => "dials_per_second",
            Self::PortsPerHost => "ports_per_host_per_minute",
            Self::HostsPerMinute => "hosts_per_minute",
            Self::FailedDials => "failed_dials",
            Self::DialsPerHost => "dials_per_host_per_second",
            Self::Customers => "customers",
        }
    }

    /// When to come back, where a device said the limit's name alone.
    pub const fn usual_wait(self) -> Duration {
        match self {
            Self::OpenStreams | Self::DialsPerSecond | Self::DialsPerHost | Self::Customers => {
                Duration::from_secs(1)
            }
            Self::PortsPerHost | Self::HostsPerMinute | Self::FailedDials => Duration::from_secs(60),
        }
    }
}

impl Limited {
    pub(super) fn new(limit: Limit, retry_after: Duration) -> Self {
        Self { limit, retry_after }
    }
}

/// No limit has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no limit has this name")]
pub struct UnknownLimit;

impl FromStr for Limit {
    type Err = UnknownLimit;

    fn from_str(name: &str) -> Result<Self, UnknownLimit> {
        let named = Self::ALL.into_iter().find(|limit| limit.as_str() == name);
        named.ok_or(UnknownLimit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_limits_parse_back() {
        for limit in Limit::ALL {
            assert_eq!(limit.as_str().parse(), Ok(limit));
        }
        assert_eq!("patience".parse::<Limit>(), Err(UnknownLimit));
    }
}
