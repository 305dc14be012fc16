use std::time::Duration;

use iploop_platform::clock::Timestamp;
use iploop_platform::events::EventKind;
use iploop_platform::ids::{AccountId, EventId, HoldId, WebhookId};
use iploop_platform::webhooks::{
    Attempt, Claim, DeliveryQuery, DeliveryState, DisabledBy, Effort, Finish, HeaderField, MAX_FAILURES,
    MAX_PENDING, NewWebhook, SealedSecret, StoredChange, Verdict, Webhook,
};
use tokio::task::JoinSet;

use super::events::event;
use super::{Database, at, new_account};

/// How long these tests hold a delivery.
const HOLD: Duration = Duration::from_secs(40);

pub(super) fn sealed(text: &str) -> SealedSecret {
    SealedSecret {
        sealed: text.as_bytes().to_vec(),
        preview: format!("whsec_…{text}"),
    }
}

pub(super) fn request(account: AccountId, events: &[EventKind]) -> NewWebhook {
    NewWebhook {
        id: WebhookId::new(),
        account,
        url: "https://example.com/hook".into(),
        description: Some("first".into()),
        events: events.iter().copied().collect(),
        effort: Effort {
            timeout_seconds: Some(20),
            max_retries: None,
        },
        secret: sealed("one"),
        now: at(0),
    }
}

pub(super) async fn webhook_for(db: &Database, account: AccountId, events: &[EventKind]) -> WebhookId {
    db.store
        .create_webhook(request(account, events))
        .await
        .unwrap()
        .id
}

pub(super) async fn claim(db: &Database, now: Timestamp) -> Vec<Claim> {
    db.store
        .claim_deliveries(now, now.plus(HOLD), 10, 100)
        .await
        .unwrap()
}

fn field(name: &str, value: &str) -> HeaderField {
    HeaderField {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

fn attempt(now: Timestamp, error: Option<&str>) -> Attempt {
    Attempt {
        at: now,
        status: error.map_or(Some(200), |_| None),
        duration_ms: 12,
        sent: vec![
            field("webhook-id", "7"),
            field("webhook-signature", "v1,a= v1,b="),
        ],
        answer_fields: vec![field("server", "caf\u{fffd}"), field("server", "\"\\")],
        answer: "thanks\0".into(),
        error: error.map(str::to_owned),
    }
}

async fn finish(db: &Database, claim: &Claim, verdict: Verdict, now: Timestamp) -> bool {
    let error = (verdict != Verdict::Delivered).then_some("no");
    let finish = Finish {
        claim,
        attempt: &attempt(now, error),
        verdict,
        now,
    };
    db.store.finish_delivery(finish).await.unwrap()
}

/// An account with a webhook and one event for it.
pub(super) async fn one_due(db: &Database) -> (AccountId, WebhookId, EventId) {
    let account = new_account(&*db.store).await;
    let webhook = webhook_for(db, account, &[EventKind::BalanceLow]).await;
    let event = event(account, EventKind::BalanceLow, 1);
    db.store.publish(std::slice::from_ref(&event)).await.unwrap();
    (account, webhook, event.id)
}

pub(super) async fn read(db: &Database, account: AccountId, webhook: WebhookId) -> Webhook {
    db.store.webhook(account, webhook).await.unwrap().unwrap()
}

async fn state(
    db: &Database,
    (account, webhook, event): (AccountId, WebhookId, EventId),
) -> (DeliveryState, u32, usize) {
    let delivery = db.store.delivery(account, webhook, event).await.unwrap().unwrap();
    (delivery.state, delivery.tries, delivery.attempts.len())
}

pub(super) async fn a_due_delivery_is_held_by_one_of_twenty(db: &Database) {
    let account = new_account(&*db.store).await;
    for _ in 0..3 {
        webhook_for(db, account, &[EventKind::BalanceLow]).await;
    }
    let events: Vec<_> = (0..4).map(|n| event(account, EventKind::BalanceLow, n)).collect();
    db.store.publish(&events).await.unwrap();
    let mut workers = JoinSet::new();
    for _ in 0..20 {
        let store = db.store.clone();
        workers.spawn(async move {
            store
                .claim_deliveries(at(9), at(9).plus(HOLD), 10, 5)
                .await
                .unwrap()
        });
    }
    let mut held: Vec<_> = workers
        .join_all()
        .await
        .into_iter()
        .flatten()
        .map(|claim| claim.ids())
        .collect();
    held.extend(claim(db, at(9)).await.iter().map(Claim::ids));
    let all = held.len();
    held.sort_unstable();
    held.dedup();
    assert_eq!((all, held.len()), (12, 12), "each once");
}

pub(super) async fn a_hold_that_ran_out_is_taken_over_with_the_same_event(db: &Database) {
    let (account, webhook, event) = one_due(db).await;
    let lost = claim(db, at(10)).await.pop().unwrap();
    assert!(claim(db, at(49)).await.is_empty(), "still held");
    let taken = claim(db, at(50)).await.pop().unwrap();
    assert_eq!((taken.webhook, taken.event.id), (webhook, event));
    // Whoever lost the hold notes nothing any more.
    assert!(!finish(db, &lost, Verdict::Delivered, at(51)).await);
    assert_eq!(
        state(db, (account, webhook, event)).await,
        (DeliveryState::Pending, 0, 0)
    );
    assert!(finish(db, &taken, Verdict::Delivered, at(52)).await);
    assert!(!finish(db, &taken, Verdict::Delivered, at(52)).await);
    assert_eq!(
        state(db, (account, webhook, event)).await,
        (DeliveryState::Delivered, 1, 1)
    );
    assert!(claim(db, at(9999)).await.is_empty());
    let webhook = read(db, account, webhook).await;
    assert_eq!(
        (webhook.delivered, webhook.failed, webhook.last_triggered_at),
        (1, 0, Some(at(52)))
    );
}

pub(super) async fn a_slow_webhook_takes_no_more_than_its_places(db: &Database) {
    let account = new_account(&*db.store).await;
    let slow = webhook_for(db, account, &[EventKind::BalanceLow]).await;
    let events: Vec<_> = (0..30)
        .map(|n| event(account, EventKind::BalanceLow, n))
        .collect();
    db.store.publish(&events).await.unwrap();
    let quick = webhook_for(db, account, &[EventKind::QuotaWarning]).await;
    db.store
        .publish(&[event(account, EventKind::QuotaWarning, 40)])
        .await
        .unwrap();
    let hold = async |now: Timestamp| {
        db.store
            .claim_deliveries(now, now.plus(HOLD), 2, 10)
            .await
            .unwrap()
    };
    let first = hold(at(50)).await;
    let of = |claims: &[Claim], webhook| claims.iter().filter(|claim| claim.webhook == webhook).count();
    assert_eq!((of(&first, slow), of(&first, quick)), (2, 1));
    assert!(hold(at(51)).await.is_empty(), "its two places are taken");
    let done = first.iter().find(|claim| claim.webhook == slow).unwrap();
    finish(db, done, Verdict::Again(at(500)), at(52)).await;
    assert_eq!(of(&hold(at(53)).await, slow), 1);
}

pub(super) async fn a_failed_try_waits_for_its_time(db: &Database) {
    let ids @ (account, webhook, event) = one_due(db).await;
    let held = claim(db, at(10)).await.pop().unwrap();
    finish(db, &held, Verdict::Again(at(100)), at(11)).await;
    assert!(claim(db, at(99)).await.is_empty());
    let held = claim(db, at(100)).await.pop().unwrap();
    assert_eq!(held.tries, 1);
    finish(db, &held, Verdict::Failed, at(101)).await;
    assert_eq!(state(db, ids).await, (DeliveryState::Failed, 2, 2));
    let delivery = db.store.delivery(account, webhook, event).await.unwrap().unwrap();
    let first = Attempt {
        answer: "thanks".into(),
        ..attempt(at(101), Some("no"))
    };
    assert_eq!(delivery.attempts[0], first, "the latest first");
    assert_eq!(read(db, account, webhook).await.failure_count, 1);
}

pub(super) async fn ten_failures_in_a_row_switch_a_webhook_off_and_mail_its_owner(db: &Database) {
    let account = new_account(&*db.store).await;
    let webhook = webhook_for(db, account, &[EventKind::BalanceLow]).await;
    let fail = async |verdict| {
        db.store
            .publish(&[event(account, EventKind::BalanceLow, 1)])
            .await
            .unwrap();
        let held = claim(db, at(10)).await.pop().unwrap();
        finish(db, &held, verdict, at(11)).await;
        read(db, account, webhook).await
    };
    let mails = async || {
        db.number("SELECT COUNT(*) FROM mail_outbox WHERE template = 'webhook_disabled'")
            .await
    };
    for _ in 1..MAX_FAILURES {
        assert!(fail(Verdict::Failed).await.is_active);
    }
    assert_eq!(fail(Verdict::Delivered).await.failure_count, 0, "not in a row");
    for _ in 1..MAX_FAILURES {
        assert!(fail(Verdict::Failed).await.is_active);
    }
    db.store
        .publish(&[event(account, EventKind::BalanceLow, 99)])
        .await
        .unwrap();
    let off = fail(Verdict::Failed).await;
    assert_eq!(
        (off.is_active, off.disabled_by),
        (false, Some(DisabledBy::Failures))
    );
    assert_eq!(mails().await, 1);
    assert!(claim(db, at(9999)).await.is_empty(), "what waited is given up");
    let on = StoredChange {
        is_active: Some(true),
        ..StoredChange::default()
    };
    let on = db
        .store
        .change_webhook(account, webhook, on, at(20))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((on.is_active, on.failure_count, on.disabled_by), (true, 0, None));
    let gone = fail(Verdict::Gone).await;
    assert_eq!(
        (gone.is_active, gone.disabled_by),
        (false, Some(DisabledBy::Gone))
    );
    assert_eq!(mails().await, 2);
}

pub(super) async fn a_test_goes_to_one_webhook_active_or_not_and_counts_for_nothing(db: &Database) {
    let account = new_account(&*db.store).await;
    let webhook = webhook_for(db, account, &[EventKind::BalanceLow]).await;
    webhook_for(db, account, &[EventKind::BalanceLow]).await;
    let off = StoredChange {
        is_active: Some(false),
        ..StoredChange::default()
    };
    db.store
        .change_webhook(account, webhook, off, at(1))
        .await
        .unwrap();
    let test = event(account, EventKind::Test, 2);
    let begin = |event| db.store.begin_test(webhook, event, HoldId::new(), at(60));
    assert!(
        begin(event(AccountId::new(), EventKind::Test, 2))
            .await
            .unwrap()
            .is_none()
    );
    let held = begin(test.clone()).await.unwrap().unwrap();
    assert_eq!((&held.event, held.secret.as_slice()), (&test, b"one".as_slice()));
    assert!(claim(db, at(10)).await.is_empty());
    assert!(finish(db, &held, Verdict::Failed, at(3)).await);
    let webhook = read(db, account, webhook).await;
    assert_eq!(
        (webhook.delivered, webhook.failed, webhook.failure_count),
        (0, 0, 0)
    );
    assert_eq!(
        state(db, (account, webhook.id, test.id)).await,
        (DeliveryState::Failed, 1, 1)
    );
}

pub(super) async fn deliveries_come_in_pages_newest_first_with_their_last_try(db: &Database) {
    let account = new_account(&*db.store).await;
    let webhook = webhook_for(db, account, &[EventKind::BalanceLow]).await;
    let events: Vec<_> = (0..5).map(|n| event(account, EventKind::BalanceLow, n)).collect();
    db.store.publish(&events).await.unwrap();
    for held in claim(db, at(10)).await.iter().take(2) {
        finish(db, held, Verdict::Again(at(11)), at(10)).await;
    }
    for held in claim(db, at(60)).await.iter().filter(|held| held.tries == 1) {
        finish(db, held, Verdict::Delivered, at(61)).await;
    }
    let page = async |before, state, limit| {
        let query = DeliveryQuery { before, state, limit };
        db.store
            .deliveries(account, webhook, query)
            .await
            .unwrap()
            .unwrap()
    };
    let first = page(None, None, 3).await;
    let ids: Vec<_> = first.iter().map(|delivery| delivery.event.id).collect();
    assert_eq!(ids, [events[4].id, events[3].id, events[2].id]);
    let second = page(Some(ids[2]), None, 3).await;
    assert_eq!(second.len(), 2);
    assert_eq!(
        (
            second[0].attempts.len(),
            second[0].attempts[0].at,
            second[0].tries
        ),
        (1, at(61), 2)
    );
    assert_eq!(page(None, Some(DeliveryState::Delivered), 9).await, second);
    assert_eq!(page(None, Some(DeliveryState::Failed), 9).await, []);
    let query = DeliveryQuery {
        before: None,
        state: None,
        limit: 9,
    };
    assert!(
        db.store
            .deliveries(AccountId::new(), webhook, query)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        db.store
            .delivery(AccountId::new(), webhook, ids[0])
            .await
            .unwrap()
            .is_none()
    );
}

pub(super) async fn of_many_tries_of_a_delivery_the_last_fifty_are_kept(db: &Database) {
    let (account, webhook, event) = one_due(db).await;
    for second in 0..52 {
        let now = at(100 + second);
        let replayed = db.store.replay_delivery(account, webhook, event, now).await;
        assert!(replayed.unwrap());
        let held = claim(db, now).await.pop().unwrap();
        assert!(finish(db, &held, Verdict::Delivered, now).await);
    }
    let delivery = db.store.delivery(account, webhook, event).await.unwrap().unwrap();
    let kept: Vec<Timestamp> = delivery.attempts.iter().map(|attempt| attempt.at).collect();
    assert_eq!((kept.len(), kept[0], kept[49]), (50, at(151), at(102)));
    assert_eq!(db.number("SELECT COUNT(*) FROM webhook_attempts").await, 50);
}

pub(super) async fn replays_bring_the_same_events_again_and_what_was_missed(db: &Database) {
    let account = new_account(&*db.store).await;
    let webhook = webhook_for(db, account, &[EventKind::BalanceLow]).await;
    let events: Vec<_> = (0..3).map(|n| event(account, EventKind::BalanceLow, n)).collect();
    db.store.publish(&events[..1]).await.unwrap();
    let held = claim(db, at(10)).await.pop().unwrap();
    assert!(
        db.store
            .replay_delivery(account, webhook, events[0].id, at(11))
            .await
            .unwrap()
    );
    finish(db, &held, Verdict::Delivered, at(12)).await;
    assert!(
        claim(db, at(13)).await.is_empty(),
        "what is under way is not replayed"
    );
    let switch = async |on| {
        let change = StoredChange {
            is_active: Some(on),
            ..StoredChange::default()
        };
        db.store
            .change_webhook(account, webhook, change, at(13))
            .await
            .unwrap();
    };
    switch(false).await;
    db.store.publish(&events[1..]).await.unwrap();
    switch(true).await;
    assert!(claim(db, at(20)).await.is_empty());
    let replay = async |since, limit| {
        db.store
            .replay_since(account, webhook, since, limit, at(30))
            .await
            .unwrap()
    };
    assert_eq!(replay(at(1), 1).await, Some(1));
    let ids = |claims: Vec<Claim>| claims.into_iter().map(|claim| claim.event.id).collect::<Vec<_>>();
    assert_eq!(ids(claim(db, at(31)).await), [events[1].id]);
    assert_eq!(replay(at(0), 99).await, Some(2), "one is under way");
    assert_eq!(ids(claim(db, at(32)).await), [events[0].id, events[2].id]);
    assert!(
        !db.store
            .replay_delivery(AccountId::new(), webhook, events[0].id, at(40))
            .await
            .unwrap()
    );
    assert!(
        !db.store
            .replay_delivery(account, webhook, EventId::new(), at(40))
            .await
            .unwrap()
    );
    assert_eq!(
        db.store
            .replay_since(AccountId::new(), webhook, at(0), 9, at(40))
            .await
            .unwrap(),
        None
    );
}

pub(super) async fn deliveries_that_wait_for_a_webhook_are_bounded(db: &Database) {
    let account = new_account(&*db.store).await;
    webhook_for(db, account, &[EventKind::RequestFailed]).await;
    let events: Vec<_> = (0..10)
        .map(|n| event(account, EventKind::RequestFailed, n))
        .collect();
    for _ in 0..MAX_PENDING / 10 + 3 {
        let fresh: Vec<_> = events
            .iter()
            .map(|event| iploop_platform::events::Event {
                id: EventId::new(),
                ..event.clone()
            })
            .collect();
        db.store.publish(&fresh).await.unwrap();
    }
    let waiting = db.number("SELECT COUNT(*) FROM webhook_deliveries").await;
    assert_eq!(waiting, i64::from(MAX_PENDING));
}

pub(super) async fn deleting_while_events_come_and_go_leaves_no_deadlock(db: &Database) {
    let account = new_account(&*db.store).await;
    let mut webhooks = Vec::new();
    for _ in 0..6 {
        webhooks.push(webhook_for(db, account, &[EventKind::BalanceLow]).await);
    }
    let mut work = JoinSet::new();
    for (n, webhook) in webhooks.into_iter().enumerate() {
        let store = db.store.clone();
        work.spawn(async move {
            store
                .publish(&[event(account, EventKind::BalanceLow, 1)])
                .await
                .unwrap();
            for held in store
                .claim_deliveries(at(9), at(9).plus(HOLD), 10, 50)
                .await
                .unwrap()
            {
                let attempt = attempt(at(9), None);
                let finish = Finish {
                    claim: &held,
                    attempt: &attempt,
                    verdict: Verdict::Delivered,
                    now: at(9),
                };
                store.finish_delivery(finish).await.unwrap();
            }
            if n % 2 == 0 {
                store.delete_webhook(account, webhook).await.unwrap();
            }
        });
    }
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }
    assert_eq!(db.store.webhooks(account).await.unwrap().len(), 3);
}
