//! What was relayed, for whom: the record of each request, and sums over them.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::ids::{AccountId, ApiKeyId, GatewayId, NodeId, RequestId};

/// One request with its bytes so far: a row of `usage_records`.
///
/// Bytes are totals since the request began, so that booking the same record twice, or a later one after an earlier one,
/// books each byte once.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageRecord {
    /// The request.
    pub id: RequestId,
    /// Who pays.
    pub account: AccountId,
    /// With which key.
    pub api_key: ApiKeyId,
    /// The gateway that counted: its leases are drawn on.
    pub gateway: GatewayId,
    /// The device that served it last.
    pub node: Option<NodeId>,
    /// The sticky session's name.
    pub session: Option<String>,
    /// Customer to destination.
    pub bytes_up: u64,
    /// Destination to customer.
    pub bytes_down: u64,
    /// False where the failure is ours: the bytes are recorded and cost nothing.
    pub billable: bool,
    /// `http`, `connect` or `socks5`.
    pub proxy_type: String,
    /// Host and port, never more of a URL.
    pub destination: String,
    /// Country of the exit.
    pub exit_country: Option<String>,
    /// City of the exit.
    pub exit_city: Option<String>,
    /// Status of the answer, as sent to the customer or as mapped from SOCKS5.
    pub status: Option<u16>,
    /// The error's code, if it failed.
    pub error: Option<String>,
    /// Exits tried.
    pub attempts: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; none while it runs.
    pub ended_at: Option<Timestamp>,
}

/// Sums over a period (PRD 5.4).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageSummary {
    /// Requests that ended or are running.
    pub total_requests: i64,
    /// Of these, the ones without an error.
    pub successful_requests: i64,
    /// Customer to destination.
    pub bytes_up: i64,
    /// Destination to customer.
    pub bytes_down: i64,
    /// Sum of the durations of ended requests, in milliseconds.
    pub total_duration_ms: i64,
    /// Ended requests.
    pub ended_requests: i64,
}

/// What an account has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// Bytes not yet used, those under lease included. Negative where a crash let a stream run past the end.
    pub bytes: i64,
    /// Of these, the ones under lease at gateways.
    pub leased_bytes: i64,
    /// Bytes used in all.
    pub used_bytes: i64,
}
