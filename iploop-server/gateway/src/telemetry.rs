//! The gateway's metrics, each name in one place.
//!
//! | name | kind | meaning |
//! |---|---|---|
//! | `iploop_gateway_connections` | gauge | customers' connections |
//! | `iploop_gateway_connections_total{protocol}` | counter | connections by what they spoke first: `http`, `http2`, `socks5`, `socks4`, `tls`, `none` |
//! | `iploop_gateway_accept_failures_total` | counter | connections that could not be accepted: open files, memory |
//! | `iploop_gateway_requests_total{type,code}` | counter | requests by `http`, `connect`, `socks5`, and error code or `ok` |
//! | `iploop_gateway_attempts_total` | counter | exits asked |
//! | `iploop_gateway_tried_total{outcome,hedged}` | counter | the same by what came of it: `opened`, `outrun` by the other one, or the code of the failure |
//! | `iploop_gateway_host_refusals_total` | counter | exits that a destination's host refused: not offered for it for a while |
//! | `iploop_gateway_connect_seconds` | histogram | from admission to an open stream |

use std::time::Duration;

use iploop_platform::metering::ProxyType;
use metrics::{counter, gauge, histogram};

/// Counts a connection for as long as it lives.
pub(crate) struct LiveConnection(());

impl LiveConnection {
    pub(crate) fn begin() -> Self {
        gauge!("iploop_gateway_connections").increment(1.0);
        Self(())
    }
}

impl Drop for LiveConnection {
    fn drop(&mut self) {
        gauge!("iploop_gateway_connections").decrement(1.0);
    }
}

pub(crate) fn spoke(protocol: &'static str) {
    counter!("iploop_gateway_connections_total", "protocol" => protocol).increment(1);
}

pub(crate) fn accept_failed() {
    counter!("iploop_gateway_accept_failures_total").increment(1);
}

pub(crate) fn connected(attempts: u32, took: Duration) {
    counter!("iploop_gateway_attempts_total").increment(u64::from(attempts));
    histogram!("iploop_gateway_connect_seconds").record(took);
}

pub(crate) fn tried(outcome: &'static str, hedged: bool) {
    let hedged = if hedged { "true" } else { "false" };
    counter!("iploop_gateway_tried_total", "outcome" => outcome, "hedged" => hedged).increment(1);
}

pub(crate) fn host_refused() {
    counter!("iploop_gateway_host_refusals_total").increment(1);
}

pub(crate) fn request(proxy_type: ProxyType, code: &'static str) {
    counter!("iploop_gateway_requests_total", "type" => proxy_type.as_str(), "code" => code).increment(1);
}
