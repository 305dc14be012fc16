//! Sums as customers read them.

use iploop_platform::usage::UsageSummary;
use serde::Serialize;
use utoipa::ToSchema;

use crate::units::gigabytes;

/// Sums over requests.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sums {
    total_requests: u64,
    successful_requests: u64,
    failed_requests: u64,
    /// Percent; none without requests.
    success_rate: Option<f64>,
    bytes_uploaded: u64,
    bytes_downloaded: u64,
    total_bytes: u64,
    /// Of these, what was paid: not what our side broke.
    billed_bytes: u64,
    /// 10^9 bytes.
    total_gb_transferred: f64,
    /// Mean duration of the requests that ended; none without.
    avg_response_time_ms: Option<u64>,
}

impl From<UsageSummary> for Sums {
    fn from(sums: UsageSummary) -> Self {
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        let total = count(sums.total_requests);
        let successful = count(sums.successful_requests);
        let ended = count(sums.ended_requests);
        let bytes = count(sums.bytes_up).saturating_add(count(sums.bytes_down));
        Self {
            total_requests: total,
            successful_requests: successful,
            failed_requests: total.saturating_sub(successful),
            success_rate: (total > 0).then(|| percent(successful, total)),
            bytes_uploaded: count(sums.bytes_up),
            bytes_downloaded: count(sums.bytes_down),
            total_bytes: bytes,
            billed_bytes: count(sums.billed_bytes),
            total_gb_transferred: gigabytes(bytes),
            avg_response_time_ms: count(sums.total_duration_ms).checked_div(ended),
        }
    }
}

impl Sums {
    /// The columns of [`cells`](Self::cells), in the names of the JSON.
    pub(super) const COLUMNS: &'static str = "totalRequests,successfulRequests,failedRequests,successRate,bytesUploaded,\
                                              bytesDownloaded,totalBytes,billedBytes,avgResponseTimeMs";

    /// A line of CSV that begins with these cells.
    pub(super) fn cells<const N: usize>(&self, first: [String; N]) -> Vec<String> {
        let or_nothing = |value: Option<String>| value.unwrap_or_default();
        let sums = [
            self.total_requests.to_string(),
            self.successful_requests.to_string(),
            self.failed_requests.to_string(),
            or_nothing(self.success_rate.map(|rate| rate.to_string())),
            self.bytes_uploaded.to_string(),
            self.bytes_downloaded.to_string(),
            self.total_bytes.to_string(),
            self.billed_bytes.to_string(),
            or_nothing(self.avg_response_time_ms.map(|time| time.to_string())),
        ];
        first.into_iter().chain(sums).collect()
    }
}

/// To one decimal place; 100 only if all succeeded.
fn percent(part: u64, whole: u64) -> f64 {
    let tenths = u128::from(part) * 1000 / u128::from(whole.max(1));
    tenths as f64 / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_100_only_without_a_failure() {
        assert_eq!(percent(999_999, 1_000_000), 99.9);
        assert_eq!(percent(3, 3), 100.0);
        assert_eq!(percent(0, 3), 0.0);
    }

    #[test]
    fn no_requests_means_no_rate_and_no_mean() {
        let sums = Sums::from(UsageSummary::default());
        assert_eq!(sums.success_rate, None);
        assert_eq!(sums.avg_response_time_ms, None);
    }
}
