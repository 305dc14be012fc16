use iploop_platform::abuse::{Actor, AuditAction, AuditEntry, AuditQuery};
use iploop_platform::ids::{AccountId, TicketId};
use iploop_platform::store::StoreError;
use iploop_platform::support::{MAX_OPEN_TICKETS, NewTicket, TicketChange, TicketQuery, TicketStatus};
use serde_json::json;
use std::sync::Arc;
use tokio::task::JoinSet;

use super::audit::record;
use super::{Database, at, new_account};

fn new(account: AccountId, subject: &str) -> NewTicket {
    NewTicket {
        id: TicketId::new(),
        account,
        subject: subject.into(),
        message: "It does\0 not work.\nWhy?".into(),
        mail_to: None,
        now: at(1),
    }
}

fn entry(action: AuditAction) -> AuditEntry {
    AuditEntry {
        actor: Actor::Admin(AccountId::new()),
        ..record(action)
    }
}

pub(super) async fn a_ticket_is_answered_and_closed_with_its_records(db: &Database) {
    let account = new_account(&*db.store).await;
    let ticket = db
        .store
        .create_ticket(new(account, "first"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ticket.message, "It does not work.\nWhy?");
    assert_eq!((ticket.status, &ticket.answer), (TicketStatus::Open, &None));
    let read = db.store.ticket(Some(account), ticket.id).await.unwrap();
    assert_eq!(read.as_ref(), Some(&ticket));
    assert_eq!(db.store.ticket(None, ticket.id).await.unwrap(), read);

    let answer = TicketChange::Answer("Because.".into());
    let answered = db
        .store
        .change_ticket(ticket.id, &answer, entry(AuditAction::TicketAnswered))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (answered.status, answered.updated_at),
        (TicketStatus::Answered, at(5))
    );
    assert_eq!(answered.answer.as_deref(), Some("Because."));
    let closed = db
        .store
        .change_ticket(ticket.id, &TicketChange::Close, entry(AuditAction::TicketClosed))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(closed.status, TicketStatus::Closed);
    assert_eq!(closed.answer.as_deref(), Some("Because."), "the answer stays");

    let query = AuditQuery {
        account: Some(account),
        limit: 10,
        ..AuditQuery::default()
    };
    let records = db.store.audit_entries(&query).await.unwrap();
    let told: Vec<_> = records
        .iter()
        .map(|record| (record.action, &record.before["status"]))
        .collect();
    assert_eq!(
        told,
        [
            (AuditAction::TicketClosed, &json!("answered")),
            (AuditAction::TicketAnswered, &json!("open"))
        ]
    );
    let again = db
        .store
        .change_ticket(ticket.id, &answer, entry(AuditAction::TicketAnswered));
    assert_eq!(again.await.unwrap(), None, "it is over");
}

pub(super) async fn another_accounts_ticket_is_out_of_reach(db: &Database) {
    let (owner, other) = (new_account(&*db.store).await, new_account(&*db.store).await);
    let ticket = db.store.create_ticket(new(owner, "mine")).await.unwrap().unwrap();
    assert_eq!(db.store.ticket(Some(other), ticket.id).await.unwrap(), None);
    let of_other = TicketQuery {
        account: Some(other),
        limit: 10,
        ..TicketQuery::default()
    };
    assert_eq!(db.store.tickets(&of_other).await.unwrap(), []);
    let nobodys = new(AccountId::new(), "nobody's");
    assert_eq!(db.store.create_ticket(nobodys).await.unwrap(), None);
}

pub(super) async fn tickets_come_in_pages_newest_first(db: &Database) {
    let account = new_account(&*db.store).await;
    for number in 0..5 {
        let subject = number.to_string();
        db.store.create_ticket(new(account, &subject)).await.unwrap();
    }
    let mut query = TicketQuery {
        account: Some(account),
        status: Some(TicketStatus::Open),
        limit: 2,
        before: None,
    };
    let mut seen = Vec::new();
    loop {
        let page = db.store.tickets(&query).await.unwrap();
        let Some(last) = page.last() else { break };
        query.before = Some(last.id);
        seen.extend(page.into_iter().map(|ticket| ticket.subject));
    }
    assert_eq!(seen, ["4", "3", "2", "1", "0"]);
}

pub(super) async fn open_tickets_are_bounded_also_under_parallel_tries(db: &Database) {
    let account = new_account(&*db.store).await;
    let mut tries = JoinSet::new();
    for _ in 0..MAX_OPEN_TICKETS + 5 {
        let store = Arc::clone(&db.store);
        tries.spawn(async move { store.create_ticket(new(account, "many")).await });
    }
    let made = tries.join_all().await;
    let refused = made
        .iter()
        .filter(|made| matches!(made, Err(StoreError::LimitReached { .. })))
        .count();
    assert_eq!(refused, 5);
    let ticket = made.into_iter().find_map(Result::ok).flatten().unwrap();
    let close = entry(AuditAction::TicketClosed);
    db.store
        .change_ticket(ticket.id, &TicketChange::Close, close)
        .await
        .unwrap();
    assert!(
        db.store
            .create_ticket(new(account, "one more"))
            .await
            .unwrap()
            .is_some()
    );
}
