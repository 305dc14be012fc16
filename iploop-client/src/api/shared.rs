// Generated from docs/openapi.json by `cargo xtask api`: not to be edited.

//! What several parts of the API use, and what every error is said in.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::values::Timestamp;

/// A local day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DaySums {
    /// Mean duration of the requests that ended; none without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avg_response_time_ms: Option<u64>,
    /// Of these, what was paid: not what our side broke.
    pub billed_bytes: u64,
    /// `bytesDownloaded`.
    pub bytes_downloaded: u64,
    /// `bytesUploaded`.
    pub bytes_uploaded: u64,
    /// `failedRequests`.
    pub failed_requests: u64,
    /// Percent; none without requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<f64>,
    /// `successfulRequests`.
    pub successful_requests: u64,
    /// `totalBytes`.
    pub total_bytes: u64,
    /// 10^9 bytes.
    pub total_gb_transferred: f64,
    /// `totalRequests`.
    pub total_requests: u64,
    /// `date`.
    pub date: String,
}

/// One field that can't be accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FieldError {
    /// Its name in the request.
    pub field: String,
    /// What is wrong, to be shown beside it.
    pub message: String,
}

/// From when to when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PeriodInfo {
    /// Local days that it has or touches.
    pub days: u64,
    /// `from`.
    pub from: Timestamp,
    /// `to`.
    pub to: Timestamp,
    /// Whose days and hours.
    pub tz: String,
}

/// What went wrong, for programs by `code` and for people by `detail` and `hint`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Problem {
    /// Stable name of the error.
    pub code: String,
    /// What happened, to be shown as it is.
    pub detail: String,
    /// Each field that can't be accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The targeting parameter at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// Names this request in our logs.
    pub request_id: Uuid,
    /// The HTTP status.
    pub status: u32,
    /// The status in words.
    pub title: String,
    /// `urn:iploop:error:` and the code.
    pub r#type: String,
}

/// Sums over requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Sums {
    /// Mean duration of the requests that ended; none without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avg_response_time_ms: Option<u64>,
    /// Of these, what was paid: not what our side broke.
    pub billed_bytes: u64,
    /// `bytesDownloaded`.
    pub bytes_downloaded: u64,
    /// `bytesUploaded`.
    pub bytes_uploaded: u64,
    /// `failedRequests`.
    pub failed_requests: u64,
    /// Percent; none without requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<f64>,
    /// `successfulRequests`.
    pub successful_requests: u64,
    /// `totalBytes`.
    pub total_bytes: u64,
    /// 10^9 bytes.
    pub total_gb_transferred: f64,
    /// `totalRequests`.
    pub total_requests: u64,
}
