//! What an admin of the platform has opened for single customers, as the hub tells it.

use std::collections::BTreeMap;
use std::sync::Arc;

use iploop_protocol::control::GrantsUpdate;
use iploop_protocol::policy::{Grants, Transport};
use parking_lot::RwLock;
use time::OffsetDateTime;

/// Most customers with grants that are remembered; for one beyond, nothing is open.
const MAX_CUSTOMERS: usize = 1024;

/// Grants by the number in OPEN, for as long as the tunnel lasts.
#[derive(Debug, Default)]
pub(crate) struct CustomerGrants(RwLock<BTreeMap<u64, Arc<Grants>>>);

/// What is open for one customer at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    grants: Option<Arc<Grants>>,
    now_ms: u64,
    transport: Transport,
}

impl CustomerGrants {
    /// Takes in what the hub says, in place of what it said before.
    pub(crate) fn take(&self, update: &GrantsUpdate) {
        let Some((customer, grants)) = update.read() else {
            return;
        };
        let mut table = self.0.write();
        if grants.iter().next().is_none() {
            table.remove(&customer);
        } else if table.len() < MAX_CUSTOMERS || table.contains_key(&customer) {
            table.insert(customer, Arc::new(grants));
        }
    }

    /// What is open for a customer now.
    pub(crate) fn of(&self, customer: u64, now: OffsetDateTime) -> Opened {
        Opened {
            grants: self.0.read().get(&customer).cloned(),
            now_ms: u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(u64::MAX),
            transport: Transport::Tcp,
        }
    }
}

impl Opened {
    /// The same for datagrams.
    pub(crate) fn for_datagrams(self) -> Self {
        Self {
            transport: Transport::Udp,
            ..self
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    pub(crate) fn grants(&self) -> &Grants {
        self.grants.as_deref().unwrap_or(Grants::NONE)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(customer: u64, grants: serde_json::Value) -> GrantsUpdate {
        GrantsUpdate {
            customer: format!("{customer:016x}"),
            grants,
        }
    }

    #[test]
    fn the_table_is_bounded_and_an_empty_list_takes_out() {
        let table = CustomerGrants::default();
        let open = serde_json::json!([{ "opening": { "rule": "as112" }, "untilMs": 5 }]);
        for customer in 0..=MAX_CUSTOMERS as u64 {
            table.take(&update(customer, open.clone()));
        }
        let count = |customer| {
            table
                .of(customer, OffsetDateTime::UNIX_EPOCH)
                .grants()
                .iter()
                .count()
        };
        assert_eq!((count(0), count(MAX_CUSTOMERS as u64)), (1, 0));
        table.take(&update(0, serde_json::json!([])));
        table.take(&update(MAX_CUSTOMERS as u64, open));
        assert_eq!((count(0), count(MAX_CUSTOMERS as u64)), (0, 1));
    }
}
