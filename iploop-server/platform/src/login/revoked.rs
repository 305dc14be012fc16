//! Tokens refused before their time, in memory: what the database holds, read again every few seconds.

use std::collections::HashMap;

use parking_lot::RwLock;
use uuid::Uuid;

use crate::clock::Timestamp;

/// Most token ids held: 24 bytes each. A day of sign-outs; past it a sign-out is refused rather than forgotten.
const MAX_REVOKED: usize = 1_000_000;

/// Token ids and when they expire by themselves.
#[derive(Default)]
pub(crate) struct Revoked(RwLock<HashMap<Uuid, Timestamp>>);

/// No room for another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Revoked {
    pub(crate) fn contains(&self, token: Uuid) -> bool {
        self.0.read().contains_key(&token)
    }

    pub(crate) fn add(&self, token: Uuid, expires_at: Timestamp, now: Timestamp) -> Result<(), Full> {
        let mut table = self.0.write();
        if table.len() >= MAX_REVOKED {
            table.retain(|_, expires_at| *expires_at > now);
            if table.len() >= MAX_REVOKED {
                return Err(Full);
            }
        }
        table.insert(token, expires_at);
        Ok(())
    }

    /// Adds what the database knows and forgets what expired by itself. Never un-revokes.
    pub(crate) fn merge(&self, rows: Vec<(String, Timestamp)>, now: Timestamp) {
        let mut table = self.0.write();
        table.retain(|_, expires_at| *expires_at > now);
        let room = MAX_REVOKED.saturating_sub(table.len());
        table.extend(
            rows.into_iter()
                .take(room)
                .filter_map(|(id, at)| Some((id.parse().ok()?, at))),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_adds_and_forgets_only_what_expired() {
        let revoked = Revoked::default();
        let now = Timestamp::from_millis(1_000);
        let later = Timestamp::from_millis(2_000);
        let [here, elsewhere, old] = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
        revoked.add(here, later, now).unwrap();
        revoked.add(old, now, now).unwrap();
        revoked.merge(
            vec![(elsewhere.to_string(), later), ("no id".to_owned(), later)],
            now,
        );
        assert!(
            revoked.contains(here),
            "what this process revoked stays, even before the database says so"
        );
        assert!(revoked.contains(elsewhere));
        assert!(!revoked.contains(old));
    }
}
