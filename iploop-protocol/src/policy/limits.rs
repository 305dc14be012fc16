//! How much one customer may do on one device before it looks like abuse.

use serde::{Deserialize, Serialize};

/// Limits per customer and device, pushed with the platform's policy.
///
/// Fields missing in JSON have the default; unknown ones are an error. Zero allows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct AbuseLimits {
    /// Streams open at the same time.
    pub open_streams: u32,
    /// New dials in a second.
    pub dials_per_second: u32,
    /// Different ports of one host in a minute: more looks like a port scan.
    pub ports_per_host_per_minute: u32,
    /// Different hosts in a minute.
    pub hosts_per_minute: u32,
    /// Dials within the failure window from which the share of failed ones counts.
    pub failure_min_dials: u32,
    /// Failed dials in per cent of all; above it the customer is stopped on this device.
    pub failure_percent: u8,
    /// Length of the failure window, in seconds.
    pub failure_window_seconds: u32,
    /// How long the customer is stopped on this device, in seconds.
    pub failure_pause_seconds: u32,
    /// New dials in a second to one destination host, of all customers and devices together.
    pub dials_per_host_per_second: u32,
}

impl AbuseLimits {
    /// The same with so many per cent of what one customer may do; at least 1 of what was not 0. What is counted of failures
    /// and of all customers together stays.
    #[must_use]
    pub fn scaled(self, percent: u32) -> Self {
        let part = |limit: u32| {
            let part = u64::from(limit) * u64::from(percent) / 100;
            u32::try_from(part).unwrap_or(u32::MAX).max(u32::from(limit > 0))
        };
        Self {
            open_streams: part(self.open_streams),
            dials_per_second: part(self.dials_per_second),
            ports_per_host_per_minute: part(self.ports_per_host_per_minute),
            hosts_per_minute: part(self.hosts_per_minute),
            ..self
        }
    }
}

impl Default for AbuseLimits {
    fn default() -> Self {
        Self {
            open_streams: 64,
            dials_per_second: 20,
            ports_per_host_per_minute: 10,
            hosts_per_minute: 100,
            failure_min_dials: 50,
            failure_percent: 80,
            failure_window_seconds: 60,
            failure_pause_seconds: 600,
            dials_per_host_per_second: 200,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_limits_is_never_nothing_unless_the_whole_is() {
        let limits = AbuseLimits::default().scaled(50);
        let of = |limits: AbuseLimits| {
            (
                limits.open_streams,
                limits.dials_per_second,
                limits.ports_per_host_per_minute,
                limits.hosts_per_minute,
            )
        };
        assert_eq!(of(limits), (32, 10, 5, 50));
        assert_eq!(of(AbuseLimits::default().scaled(1)), (1, 1, 1, 1));
        let closed = AbuseLimits {
            open_streams: 0,
            ..AbuseLimits::default()
        };
        assert_eq!(closed.scaled(50).open_streams, 0);
        assert_eq!(limits.dials_per_host_per_second, 200);
    }
}
