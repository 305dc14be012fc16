//! Of many times that were noted of a row, the latest.

use std::collections::BTreeMap;

use iploop_platform::clock::Timestamp;
use serde::Serialize;
use uuid::Uuid;

/// For `given!(id uuid, at bigint)`.
#[derive(Serialize)]
pub(super) struct Latest {
    id: Uuid,
    at: i64,
}

/// One for each row, in the order of their ids.
pub(super) fn latest<I: Copy>(times: &[(I, Timestamp)], uuid: impl Fn(I) -> Uuid) -> Vec<Latest> {
    let mut latest: BTreeMap<Uuid, i64> = BTreeMap::new();
    for &(id, at) in times {
        let at = at.as_millis();
        let slot = latest.entry(uuid(id)).or_insert(at);
        *slot = at.max(*slot);
    }
    latest.into_iter().map(|(id, at)| Latest { id, at }).collect()
}
