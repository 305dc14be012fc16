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
