//! Entries of the audit record, for acts that are written there.

use iploop_platform::abuse::{Actor, AuditAction, AuditEntry, AuditQuery};
use iploop_platform::ids::{AccountId, AuditId};
use serde_json::Value;

use super::{Database, at};

/// An entry at 5 s.
pub(super) fn record(action: AuditAction) -> AuditEntry {
    AuditEntry {
        id: AuditId::new(),
        at: at(5),
        actor: Actor::System,
        action,
        account: None,
        subject: "it".into(),
        before: Value::Null,
        after: Value::Null,
        reason: "because".into(),
    }
}

/// The entry of an account's end.
pub(super) fn erasure(account: AccountId) -> AuditEntry {
    AuditEntry {
        account: Some(account),
        subject: account.to_string(),
        ..record(AuditAction::AccountDeleted)
    }
}

/// The newest entry.
pub(super) async fn newest(db: &Database) -> AuditEntry {
    let query = AuditQuery {
        limit: 1,
        ..AuditQuery::default()
    };
    db.store.audit_entries(&query).await.unwrap().remove(0)
}
