// Generated from docs/openapi.json by `cargo xtask api`: not to be edited.

//! `usage`: operations of the API, with what they send and answer.

use http::Method;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::shared::{DaySums, PeriodInfo, Sums};
use crate::error::Error;
use crate::management::{Api, Download};
use crate::values::Timestamp;

/// Operations of this part of the API: [`Api::usage`].
#[derive(Clone, Copy, Debug)]
pub struct Usage<'a>(pub(super) &'a Api);

impl Usage<'_> {
    /// Sums by country of the exit.
    ///
    /// `GET /api/usage/by-country`.
    pub async fn usage_by_country(&self, query: &UsageQuery) -> Result<CountriesAnswer, Error> {
        self.0
            .call(Method::GET, "/api/usage/by-country")
            .query(query)
            .answer()
            .await?
            .json()
    }

    /// Sums by country of the exit.
    ///
    /// `GET /api/usage/by-country`. This one as `text/csv`.
    pub async fn usage_by_country_csv(&self, query: &UsageQuery) -> Result<Download, Error> {
        self.0
            .call(Method::GET, "/api/usage/by-country")
            .query(query)
            .form("csv")
            .download()
            .await
    }

    /// Sums by host of the destination. The first 500 hosts of a UTC day are told apart, 100 in each 15 minutes of a day that is not
    /// whole; the others count together.
    ///
    /// `GET /api/usage/by-destination`.
    pub async fn usage_by_destination(
        &self,
        query: &UsageByDestinationQuery,
    ) -> Result<DestinationsAnswer, Error> {
        self.0
            .call(Method::GET, "/api/usage/by-destination")
            .query(query)
            .answer()
            .await?
            .json()
    }

    /// Sums by host of the destination. The first 500 hosts of a UTC day are told apart, 100 in each 15 minutes of a day that is not
    /// whole; the others count together.
    ///
    /// `GET /api/usage/by-destination`. This one as `text/csv`.
    pub async fn usage_by_destination_csv(&self, query: &UsageByDestinationQuery) -> Result<Download, Error> {
        self.0
            .call(Method::GET, "/api/usage/by-destination")
            .query(query)
            .form("csv")
            .download()
            .await
    }

    /// Sums by key, deleted ones included.
    ///
    /// `GET /api/usage/by-key`.
    pub async fn usage_by_key(&self, query: &UsageQuery) -> Result<KeysAnswer, Error> {
        self.0
            .call(Method::GET, "/api/usage/by-key")
            .query(query)
            .answer()
            .await?
            .json()
    }

    /// Sums by key, deleted ones included.
    ///
    /// `GET /api/usage/by-key`. This one as `text/csv`.
    pub async fn usage_by_key_csv(&self, query: &UsageQuery) -> Result<Download, Error> {
        self.0
            .call(Method::GET, "/api/usage/by-key")
            .query(query)
            .form("csv")
            .download()
            .await
    }

    /// Sums by status of the answer and error code.
    ///
    /// `GET /api/usage/by-status`.
    pub async fn usage_by_status(&self, query: &UsageQuery) -> Result<StatusesAnswer, Error> {
        self.0
            .call(Method::GET, "/api/usage/by-status")
            .query(query)
            .answer()
            .await?
            .json()
    }

    /// Sums by status of the answer and error code.
    ///
    /// `GET /api/usage/by-status`. This one as `text/csv`.
    pub async fn usage_by_status_csv(&self, query: &UsageQuery) -> Result<Download, Error> {
        self.0
            .call(Method::GET, "/api/usage/by-status")
            .query(query)
            .form("csv")
            .download()
            .await
    }

    /// Sums by the way to the proxy: plain HTTP, CONNECT or SOCKS5.
    ///
    /// `GET /api/usage/by-type`.
    pub async fn usage_by_type(&self, query: &UsageQuery) -> Result<TypesAnswer, Error> {
        self.0
            .call(Method::GET, "/api/usage/by-type")
            .query(query)
            .answer()
            .await?
            .json()
    }

    /// Sums by the way to the proxy: plain HTTP, CONNECT or SOCKS5.
    ///
    /// `GET /api/usage/by-type`. This one as `text/csv`.
    pub async fn usage_by_type_csv(&self, query: &UsageQuery) -> Result<Download, Error> {
        self.0
            .call(Method::GET, "/api/usage/by-type")
            .query(query)
            .form("csv")
            .download()
            .await
    }

    /// Sums by local day: days of 23 and 25 hours where clocks change.
    ///
    /// `GET /api/usage/daily`.
    pub async fn daily_usage(&self, query: &UsageQuery) -> Result<DailyAnswer, Error> {
        self.0
            .call(Method::GET, "/api/usage/daily")
            .query(query)
            .answer()
            .await?
            .json()
    }

    /// Sums by local day: days of 23 and 25 hours where clocks change.
    ///
    /// `GET /api/usage/daily`. This one as `text/csv`.
    pub async fn daily_usage_csv(&self, query: &UsageQuery) -> Result<Download, Error> {
        self.0
            .call(Method::GET, "/api/usage/daily")
            .query(query)
            .form("csv")
            .download()
            .await
    }

    /// Sums by local hour of the day, over all days of the period.
    ///
    /// `GET /api/usage/hourly`.
    pub async fn hourly_usage(&self, query: &UsageQuery) -> Result<HourlyAnswer, Error> {
        self.0
            .call(Method::GET, "/api/usage/hourly")
            .query(query)
            .answer()
            .await?
            .json()
    }

    /// Sums by local hour of the day, over all days of the period.
    ///
    /// `GET /api/usage/hourly`. This one as `text/csv`.
    pub async fn hourly_usage_csv(&self, query: &UsageQuery) -> Result<Download, Error> {
        self.0
            .call(Method::GET, "/api/usage/hourly")
            .query(query)
            .form("csv")
            .download()
            .await
    }

    /// The newest requests, those still running included.
    ///
    /// `GET /api/usage/recent`.
    pub async fn recent_usage(&self, query: &RecentUsageQuery) -> Result<RecentAnswer, Error> {
        self.0
            .call(Method::GET, "/api/usage/recent")
            .query(query)
            .answer()
            .await?
            .json()
    }

    /// The newest requests, those still running included.
    ///
    /// `GET /api/usage/recent`. This one as `text/csv`.
    pub async fn recent_usage_csv(&self, query: &RecentUsageQuery) -> Result<Download, Error> {
        self.0
            .call(Method::GET, "/api/usage/recent")
            .query(query)
            .form("csv")
            .download()
            .await
    }

    /// The requests that fit, newest first, those still running included. A request appears within 10 seconds of its begin, and
    /// its counters follow its bytes within 10 seconds. Kept for as long as the operator's `usage.retention` says.
    ///
    /// `GET /api/usage/requests`.
    pub async fn search_usage(&self, query: &SearchUsageQuery) -> Result<Page, Error> {
        self.0
            .call(Method::GET, "/api/usage/requests")
            .query(query)
            .answer()
            .await?
            .json()
    }

    /// The requests that fit, newest first, in one stream. Each row ends with its `cursor`: where there are more than `limit`, the
    /// last row's leads on. An answer that breaks off is not whole. In CSV, a cell that a spreadsheet would take for a formula
    /// begins with an apostrophe.
    ///
    /// `GET /api/usage/requests/export`.
    pub async fn export_usage(&self, query: &ExportUsageQuery) -> Result<Download, Error> {
        self.0
            .call(Method::GET, "/api/usage/requests/export")
            .query(query)
            .accept("*/*")
            .download()
            .await
    }

    /// The receipt of one request, by the id that its answer carried as `X-IPLoop-Request-Id`: bytes, what was paid, the exit, how
    /// long each part took.
    ///
    /// `GET /api/usage/requests/{requestId}`.
    pub async fn request_receipt(&self, request_id: Uuid) -> Result<RequestInfo, Error> {
        self.0
            .call(Method::GET, &format!("/api/usage/requests/{request_id}"))
            .answer()
            .await?
            .json()
    }

    /// Sums over the requests that began in the period, those that still run included, beside those of the period before.
    ///
    /// `GET /api/usage/summary`.
    pub async fn usage_summary(&self, query: &UsageQuery) -> Result<SummaryAnswer, Error> {
        self.0
            .call(Method::GET, "/api/usage/summary")
            .query(query)
            .answer()
            .await?
            .json()
    }

    /// Sums over the requests that began in the period, those that still run included, beside those of the period before.
    ///
    /// `GET /api/usage/summary`. This one as `text/csv`.
    pub async fn usage_summary_csv(&self, query: &UsageQuery) -> Result<Download, Error> {
        self.0
            .call(Method::GET, "/api/usage/summary")
            .query(query)
            .form("csv")
            .download()
            .await
    }
}

/// The query of `search_usage`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchUsageQuery {
    /// Begun at or after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Begun before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// Made with this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_id: Option<Uuid>,
    /// Ended with this error code; `ok`: ended without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Exit in this country: two letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// To this host: the whole name or address, without a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Answered with this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
    /// `http`, `connect` or `socks5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// Of this sticky session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Go on behind this place: the `nextCursor` of a page, or the `cursor` of an exported row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Most requests wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The query of `export_usage`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportUsageQuery {
    /// Begun at or after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Begun before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// Made with this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_id: Option<Uuid>,
    /// Ended with this error code; `ok`: ended without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Exit in this country: two letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// To this host: the whole name or address, without a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Answered with this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
    /// `http`, `connect` or `socks5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// Of this sticky session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Go on behind this place: the `nextCursor` of a page, or the `cursor` of an exported row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// `csv` (RFC 4180, with a header line) or `ndjson`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Most requests wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The query of `recent_usage`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecentUsageQuery {
    /// Most requests wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only those made with this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Uuid>,
}

/// The query of `usage_by_country`, `usage_by_key`, `usage_by_status`, `usage_by_type`, `daily_usage`, `hourly_usage`, `usage_summary`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageQuery {
    /// The last days, today included, from midnight to midnight in `tz`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Requests begun at or after this; sums are by 15 minutes, so it is moved back to the start of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Requests begun before this, moved on to the end of 15 minutes; without it: until now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// IANA name of a time zone, such as `Europe/Berlin`: whose days and hours; default: the account's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// Only what was used with this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Uuid>,
}

/// The query of `usage_by_destination`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageByDestinationQuery {
    /// The last days, today included, from midnight to midnight in `tz`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Requests begun at or after this; sums are by 15 minutes, so it is moved back to the start of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Requests begun before this, moved on to the end of 15 minutes; without it: until now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// IANA name of a time zone, such as `Europe/Berlin`: whose days and hours; default: the account's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// Only what was used with this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Uuid>,
    /// Most hosts by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Sums by country of the exit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CountriesAnswer {
    /// Most requests first.
    pub countries: Vec<CountrySums>,
    /// From when to when.
    pub period: PeriodInfo,
}

/// A country of exits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CountrySums {
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
    /// ISO 3166-1 alpha-2; none: no exit, or its place is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// Sums by local day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DailyAnswer {
    /// Every day of the period, oldest first; empty if nothing was used in any.
    pub days: Vec<DaySums>,
    /// From when to when.
    pub period: PeriodInfo,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DestinationSums {
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
    /// Name or address; none: all other hosts together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// Sums by destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DestinationsAnswer {
    /// Most requests first, the rest together last.
    pub destinations: Vec<DestinationSums>,
    /// From when to when.
    pub period: PeriodInfo,
}

/// The form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// `csv`.
    #[serde(rename = "csv")]
    Csv,
    /// `ndjson`.
    #[serde(rename = "ndjson")]
    Ndjson,
    /// A word that this version of the library does not know.
    #[serde(untagged)]
    Other(String),
}

/// An hour of the day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct HourSums {
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
    /// 0 to 23.
    pub hour: u32,
}

/// Sums by local hour of the day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HourlyAnswer {
    /// Every hour of the day, all days of the period together; empty if nothing was used in any.
    pub hours: Vec<HourSums>,
    /// From when to when.
    pub period: PeriodInfo,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct KeySums {
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
    /// `apiKeyId`.
    pub api_key_id: Uuid,
    /// None: it was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,
    /// None: it was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Sums by key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeysAnswer {
    /// Most requests first.
    pub keys: Vec<KeySums>,
    /// From when to when.
    pub period: PeriodInfo,
}

/// A page of the request log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Page {
    /// For the next page; none: this was the last. New requests do not move it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// Newest first.
    pub requests: Vec<RequestInfo>,
}

/// The sums of the period before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Previous {
    /// From when to when.
    pub period: PeriodInfo,
    /// Sums over requests.
    pub summary: Sums,
}

/// The newest requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecentAnswer {
    /// Newest first.
    pub requests: Vec<RequestInfo>,
}

/// One request, running or ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RequestInfo {
    /// `apiKeyId`.
    pub api_key_id: Uuid,
    /// Exits tried.
    pub attempts: u32,
    /// False: it cost nothing, the failure was ours.
    pub billable: bool,
    /// What was paid for.
    pub billed_bytes: u64,
    /// `bytesDownloaded`.
    pub bytes_downloaded: u64,
    /// `bytesUploaded`.
    pub bytes_uploaded: u64,
    /// Host and port.
    pub destination: String,
    /// How long the exit that served took to dial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dial_ms: Option<u32>,
    /// From begin to end; none while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// None while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The error's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Autonomous system of the exit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_asn: Option<u32>,
    /// Network of the exit's address: the address itself is a person's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_network: Option<String>,
    /// From the request's begin to the answer's first byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u32>,
    /// `id`.
    pub id: Uuid,
    /// `http`, `connect` or `socks5`.
    pub proxy_type: String,
    /// Always 1: each request is listed by itself, and a tunnel is one.
    pub request_count: u32,
    /// How long the choice of the exit took, all attempts together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select_ms: Option<u32>,
    /// The sticky session's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// `startedAt`.
    pub started_at: Timestamp,
    /// `statusCode`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u32>,
    /// None while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    /// City of the exit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_city: Option<String>,
    /// Country of the exit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_country: Option<String>,
    /// `totalBytes`.
    pub total_bytes: u64,
}

/// How requests were answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StatusSums {
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
    /// The error's code; none: no error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// None: still without an answer, or it is too old for it to be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u32>,
}

/// Sums by answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StatusesAnswer {
    /// From when to when.
    pub period: PeriodInfo,
    /// Most requests first.
    pub statuses: Vec<StatusSums>,
}

/// Sums over a period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SummaryAnswer {
    /// From when to when.
    pub period: PeriodInfo,
    /// The period before, for comparison: as many days, and as far into them as this period has got.
    pub previous: Previous,
    /// Sums over requests.
    pub summary: Sums,
}

/// A way to the proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TypeSums {
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
    /// `http`, `connect` or `socks5`; none: too old for it to be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_type: Option<String>,
}

/// Sums by proxy type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TypesAnswer {
    /// From when to when.
    pub period: PeriodInfo,
    /// Most requests first.
    pub types: Vec<TypeSums>,
}
