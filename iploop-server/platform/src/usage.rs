//! What was relayed, for whom: the record of each request, and sums over them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{AccountId, ApiKeyId, GatewayId, NodeId, RequestId};

/// One request with its bytes so far: a row of `usage_records`.
///
/// Bytes are totals since the request began, so that booking the same record twice, or a later one after an earlier one,
/// books each byte once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Autonomous system of the exit.
    #[serde(default)]
    pub exit_asn: Option<u32>,
    /// Public address of the exit. For admins: customers see its network only.
    #[serde(default)]
    pub exit_ip: Option<IpAddr>,
    /// How long its parts took.
    #[serde(default)]
    pub timings: Timings,
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

/// How long the parts of a request took, in milliseconds; what did not happen is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timings {
    /// The choices of an exit, all attempts together.
    pub select_ms: Option<u32>,
    /// The dial of the exit that served.
    pub dial_ms: Option<u32>,
    /// From the request's admission to the answer's first byte.
    pub first_byte_ms: Option<u32>,
}

impl UsageRecord {
    /// Bytes that the request takes from the balance: both directions, or none where the failure is ours.
    pub fn billed_bytes(&self) -> u64 {
        match self.billable {
            true => self.bytes_up.saturating_add(self.bytes_down),
            false => 0,
        }
    }

    /// The host of [`destination`](Self::destination), without port and brackets.
    pub fn destination_host(&self) -> &str {
        let host = self
            .destination
            .rsplit_once(':')
            .map_or(&*self.destination, |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// The network of an exit's address, as customers see it: the address itself is a person's.
pub fn masked(ip: IpAddr) -> IpNet {
    let ip = ip.to_canonical();
    let prefix = if ip.is_ipv4() { 24 } else { 48 };
    IpNet::new(ip, prefix).unwrap_or(IpNet::from(ip)).trunc()
}

/// Which requests of an account are wanted, the newest first. What is none does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UsageSearch {
    /// Begun at or after this.
    pub from: Option<Timestamp>,
    /// Begun before this.
    pub to: Option<Timestamp>,
    /// Made with this key.
    pub api_key: Option<ApiKeyId>,
    /// Ended with this code; `ok`: ended well.
    pub code: Option<String>,
    /// Exit in this country, in capitals.
    pub country: Option<String>,
    /// To this host, as [`UsageRecord::destination_host`] has it.
    pub host: Option<String>,
    /// Answered with this status.
    pub status: Option<u16>,
    /// `http`, `connect` or `socks5`.
    pub proxy_type: Option<String>,
    /// Of this sticky session.
    pub session: Option<String>,
    /// Behind this one in the order of the answer.
    pub after: Option<UsageCursor>,
}

/// A place in the list of an account's requests: the request that was seen last. New requests do not move it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UsageCursor {
    /// When that request began.
    pub started_at: Timestamp,
    /// Its id.
    pub id: RequestId,
}

impl UsageCursor {
    /// The place of this request.
    pub fn of(record: &UsageRecord) -> Self {
        Self {
            started_at: record.started_at,
            id: record.id,
        }
    }
}

impl fmt::Display for UsageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}", self.started_at.as_millis(), self.id.uuid().simple())
    }
}

impl FromStr for UsageCursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let (millis, id) = text.split_once('.').ok_or(NotACursor)?;
        Ok(Self {
            started_at: Timestamp::from_millis(i64::from_str_radix(millis, 16).map_err(|_| NotACursor)?),
            id: id.parse().map_err(|_| NotACursor)?,
        })
    }
}

/// A text that no answer gave as a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct NotACursor;

/// What an account did in a period, for limits by the day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayUse {
    /// Requests.
    pub requests: u64,
    /// Bytes delivered in requests that our side broke: what was not charged.
    pub forgiven_bytes: u64,
}

/// Sums over a period.
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
    /// Of both directions, what was paid.
    pub billed_bytes: i64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exits_address_is_shown_as_its_network() {
        let shown = |ip: &str| masked(ip.parse().unwrap()).to_string();
        assert_eq!(shown("203.0.113.77"), "203.0.113.0/24");
        assert_eq!(shown("::ffff:203.0.113.77"), "203.0.113.0/24");
        assert_eq!(shown("2001:db8:1:2::3"), "2001:db8:1::/48");
    }

    #[test]
    fn a_cursor_reads_back_and_nothing_else_is_one() {
        let cursor = UsageCursor {
            started_at: Timestamp::from_millis(1_764_000_000_123),
            id: RequestId::new(),
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", ".", "12", "zz.00", "1.2", "' OR 1=1 --"] {
            assert_eq!(text.parse::<UsageCursor>(), Err(NotACursor), "{text}");
        }
    }
}
