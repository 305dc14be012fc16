//! What a usage record costs, and how two versions of one record become one.

use std::cmp::Reverse;

use iploop_platform::usage::UsageRecord;
use serde::Serialize;

/// Bytes that a record takes from the balance: both directions, or none where the failure is ours.
pub(crate) fn cost_bytes(record: &UsageRecord) -> i64 {
    signed(record.billed_bytes())
}

/// One version out of two of the same record. It is commutative, associative and idempotent, so the order in which versions
/// arrive, and how often, makes no difference:
///
/// * each count of bytes is the larger one, so fewer bytes never replace more;
/// * everything else comes from one of the two: an ended version before a running one, of two ended ones the one that
///   ended first (a gateway that restarts ends what its journal still shows as running, later and with less known), then
///   the one with more attempts. What remains equal is ordered by its fields, for the sake of the first sentence.
pub(crate) fn merge(one: UsageRecord, other: &UsageRecord) -> UsageRecord {
    let (bytes_up, bytes_down) = (
        one.bytes_up.max(other.bytes_up),
        one.bytes_down.max(other.bytes_down),
    );
    let believed = if facts(other) > facts(&one) {
        other.clone()
    } else {
        one
    };
    UsageRecord {
        bytes_up,
        bytes_down,
        ..believed
    }
}

/// What requests sum to. Sums of absurd counts stop at the column's end instead of failing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Sums {
    pub(crate) requests: i64,
    pub(crate) successful: i64,
    pub(crate) bytes_uploaded: i64,
    pub(crate) bytes_downloaded: i64,
    pub(crate) billed_bytes: i64,
    pub(crate) duration_ms: i64,
    pub(crate) ended: i64,
}

impl Sums {
    /// Of one request.
    pub(crate) fn of(record: &UsageRecord) -> Self {
        let duration = record
            .ended_at
            .map(|end| end.since(record.started_at).as_millis());
        Self {
            requests: 1,
            successful: i64::from(record.error.is_none()),
            bytes_uploaded: signed(record.bytes_up),
            bytes_downloaded: signed(record.bytes_down),
            billed_bytes: cost_bytes(record),
            duration_ms: duration.map_or(0, |millis| i64::try_from(millis).unwrap_or(i64::MAX)),
            ended: i64::from(record.ended_at.is_some()),
        }
    }

    pub(crate) fn plus(self, more: Self) -> Self {
        self.with(more, i64::saturating_add)
    }

    pub(crate) fn minus(self, less: Self) -> Self {
        self.with(less, i64::saturating_sub)
    }

    fn with(self, other: Self, join: fn(i64, i64) -> i64) -> Self {
        Self {
            requests: join(self.requests, other.requests),
            successful: join(self.successful, other.successful),
            bytes_uploaded: join(self.bytes_uploaded, other.bytes_uploaded),
            bytes_downloaded: join(self.bytes_downloaded, other.bytes_downloaded),
            billed_bytes: join(self.billed_bytes, other.billed_bytes),
            duration_ms: join(self.duration_ms, other.duration_ms),
            ended: join(self.ended, other.ended),
        }
    }
}

/// A size for a BIGINT column, at most `i64::MAX`.
pub(crate) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Everything but the id, who pays and the bytes, in the order of how much it is to be believed.
fn facts(record: &UsageRecord) -> impl Ord + use<'_> {
    (
        (
            record.ended_at.is_some(),
            Reverse(record.ended_at),
            record.attempts,
            record.status,
            &record.error,
        ),
        (
            !record.billable,
            record.node,
            &record.exit_country,
            &record.exit_city,
            record.exit_asn,
            record.exit_ip,
            &record.session,
        ),
        (
            &record.proxy_type,
            &record.destination,
            record.started_at,
            record.api_key,
            record.gateway,
            record.timings,
        ),
    )
}

#[cfg(test)]
mod tests {
    use iploop_platform::clock::Timestamp;
    use iploop_platform::ids::{AccountId, ApiKeyId, GatewayId, RequestId};
    use iploop_platform::usage::Timings;
    use proptest::prelude::*;

    use super::*;

    fn record() -> UsageRecord {
        UsageRecord {
            id: RequestId::new(),
            account: AccountId::new(),
            api_key: ApiKeyId::new(),
            gateway: GatewayId::new(),
            node: None,
            session: None,
            bytes_up: 10,
            bytes_down: 100,
            billable: true,
            proxy_type: "connect".into(),
            destination: "example.com:443".into(),
            exit_country: None,
            exit_city: None,
            exit_asn: None,
            exit_ip: None,
            timings: Timings::default(),
            status: None,
            error: None,
            attempts: 1,
            started_at: Timestamp::from_millis(1_000),
            ended_at: None,
        }
    }

    fn versions() -> impl Strategy<Value = UsageRecord> {
        let base = record();
        (
            0_u64..4,
            0_u64..4,
            any::<bool>(),
            prop::option::of(0_i64..3),
            0_u32..3,
            prop::option::of(0_u16..3),
        )
            .prop_map(
                move |(bytes_up, bytes_down, billable, ended, attempts, status)| UsageRecord {
                    bytes_up,
                    bytes_down,
                    billable,
                    ended_at: ended.map(Timestamp::from_millis),
                    attempts,
                    status,
                    ..base.clone()
                },
            )
    }

    proptest! {
        #[test]
        fn order_and_repetition_make_no_difference(a in versions(), b in versions(), c in versions()) {
            prop_assert_eq!(merge(a.clone(), &a), a.clone());
            prop_assert_eq!(merge(a.clone(), &b), merge(b.clone(), &a));
            prop_assert_eq!(merge(merge(a.clone(), &b), &c), merge(a, &merge(b, &c)));
        }
    }

    #[test]
    fn an_ended_record_stays_ended_and_the_first_end_stands() {
        let running = record();
        let ended = UsageRecord {
            ended_at: Some(Timestamp::from_millis(2_000)),
            status: Some(200),
            bytes_down: 500,
            ..running.clone()
        };
        let recovered = UsageRecord {
            ended_at: Some(Timestamp::from_millis(9_000)),
            error: Some("gateway_restarted".into()),
            ..running.clone()
        };
        assert_eq!(merge(ended.clone(), &running), ended);
        assert_eq!(merge(recovered, &ended), ended);
    }

    #[test]
    fn bytes_beyond_the_column_count_as_its_largest_value() {
        let huge = UsageRecord {
            bytes_up: u64::MAX,
            bytes_down: u64::MAX,
            ..record()
        };
        assert_eq!(cost_bytes(&huge), i64::MAX);
        assert_eq!(
            cost_bytes(&UsageRecord {
                billable: false,
                ..huge
            }),
            0
        );
    }
}
