use iploop_platform::abuse::AuditAction;
use iploop_platform::account::AccountStatus;
use iploop_platform::admin::UserChange;
use iploop_platform::api_key::{ApiKeyHash, NewApiKey};
use iploop_platform::clock::{DAY, Timestamp};
use iploop_platform::events::{Event, EventKind, Feed, FeedStep, PurseWatch};
use iploop_platform::ids::{AccountId, ApiKeyId, EventId, GatewayId};
use iploop_platform::keys::KeyLimits;
use iploop_platform::notices::Preferences;
use iploop_platform::usage::UsageRecord;
use serde_json::json;
use tokio::task::JoinSet;

use super::safeguards::audit;
use super::webhooks::{claim, webhook_for};
use super::{Database, at, new_account, usage};

pub(crate) fn event(account: AccountId, kind: EventKind, seconds: i64) -> Event {
    Event::new(account, kind, at(seconds), json!({"n": seconds, "text": "a\"ö"}))
}

pub(super) async fn an_event_reaches_the_webhooks_that_ask_for_it(db: &Database) {
    let (ada, eve) = (new_account(&*db.store).await, new_account(&*db.store).await);
    let wants_both = webhook_for(db, ada, &[EventKind::BalanceLow, EventKind::ApiKeyCreated]).await;
    let wants_one = webhook_for(db, ada, &[EventKind::BalanceLow]).await;
    webhook_for(db, eve, &[EventKind::BalanceLow]).await;
    let events = [
        event(ada, EventKind::BalanceLow, 1),
        event(ada, EventKind::ApiKeyCreated, 2),
        event(ada, EventKind::UsageThreshold, 3),
    ];
    db.store.publish(&events).await.unwrap();
    let mut found: Vec<_> = claim(db, at(10))
        .await
        .into_iter()
        .map(|claim| (claim.webhook, claim.event))
        .collect();
    found.sort_by_key(|(webhook, event)| (*webhook, event.id));
    let mut wanted = vec![
        (wants_both, events[0].clone()),
        (wants_both, events[1].clone()),
        (wants_one, events[0].clone()),
    ];
    wanted.sort_by_key(|(webhook, event)| (*webhook, event.id));
    assert_eq!(found, wanted);
}

pub(super) async fn a_key_and_its_event_come_and_go_together(db: &Database) {
    let account = new_account(&*db.store).await;
    webhook_for(db, account, &[EventKind::ApiKeyCreated, EventKind::ApiKeyDeleted]).await;
    let id = ApiKeyId::new();
    let key = NewApiKey {
        id,
        account,
        hash: ApiKeyHash::of("x"),
        key_prefix: "iploop_0123456".into(),
        name: "scraper".into(),
        ip_whitelist: Vec::new(),
        ip_login: false,
        limits: KeyLimits::default(),
        expires_at: None,
        now: at(1),
    };
    db.store.create_api_key(key.clone()).await.unwrap();
    assert!(
        db.store
            .create_api_key(NewApiKey {
                id: ApiKeyId::new(),
                ..key
            })
            .await
            .is_err(),
        "the hash is taken"
    );
    assert!(db.store.delete_api_key(account, id, at(2)).await.unwrap());
    assert!(!db.store.delete_api_key(account, id, at(3)).await.unwrap());
    let told: Vec<_> = claim(db, at(10))
        .await
        .into_iter()
        .map(|claim| (claim.event.kind, claim.event.at, claim.event.data))
        .collect();
    let data = json!({"keyId": id, "name": "scraper", "keyPrefix": "iploop_0123456"});
    assert_eq!(
        told,
        [
            (EventKind::ApiKeyCreated, at(1), data.clone()),
            (EventKind::ApiKeyDeleted, at(2), data)
        ]
    );
}

pub(super) async fn one_of_many_takes_each_step_of_a_feed(db: &Database) {
    let account = new_account(&*db.store).await;
    webhook_for(db, account, &[EventKind::NodeConnected]).await;
    assert_eq!(db.store.feed("exits").await.unwrap(), None);
    for round in 0..3 {
        let from = db.store.feed("exits").await.unwrap().map(|feed| feed.at);
        let mut tries = JoinSet::new();
        for _ in 0..8 {
            let store = db.store.clone();
            let step = FeedStep {
                name: "exits",
                from,
                to: Feed {
                    at: at(round),
                    state: json!({"DE": round}),
                },
                events: vec![event(account, EventKind::NodeConnected, round)],
            };
            tries.spawn(async move { store.advance_feed(&step).await.unwrap() });
        }
        let taken = tries.join_all().await.into_iter().filter(|taken| *taken).count();
        assert_eq!(taken, 1);
        let feed = Feed {
            at: at(round),
            state: json!({"DE": round}),
        };
        assert_eq!(db.store.feed("exits").await.unwrap(), Some(feed));
    }
    let mut told: Vec<_> = Vec::new();
    for seconds in [10, 11] {
        told.extend(claim(db, at(seconds)).await);
    }
    assert_eq!(db.number("SELECT COUNT(*) FROM events").await, 3);
}

pub(super) async fn subscribers_are_listed_once_in_pages(db: &Database) {
    let mut accounts = Vec::new();
    for _ in 0..3 {
        let account = new_account(&*db.store).await;
        webhook_for(db, account, &[EventKind::NodeConnected]).await;
        webhook_for(db, account, &[EventKind::NodeConnected, EventKind::BalanceLow]).await;
        accounts.push(account);
    }
    accounts.sort();
    let store = &db.store;
    let page = |after| store.subscribers(EventKind::NodeConnected, after, 2);
    assert_eq!(page(None).await.unwrap(), accounts[..2]);
    assert_eq!(page(Some(accounts[1])).await.unwrap(), accounts[2..]);
    assert_eq!(page(Some(accounts[2])).await.unwrap(), []);
}

pub(super) async fn a_sample_of_failed_requests_says_how_many_there_were(db: &Database) {
    let (ada, silent) = (new_account(&*db.store).await, new_account(&*db.store).await);
    webhook_for(db, ada, &[EventKind::RequestFailed]).await;
    webhook_for(db, silent, &[EventKind::BalanceLow]).await;
    let gateway = GatewayId::new();
    let failed = |account, ended: i64| UsageRecord {
        error: Some("node_timeout".into()),
        status: Some(504),
        exit_country: Some("DE".into()),
        ended_at: Some(at(ended)),
        ..usage(account, gateway)
    };
    let records = [
        failed(ada, 20),
        failed(ada, 21),
        failed(ada, 22),
        failed(ada, 30),
        failed(silent, 21),
        UsageRecord {
            error: None,
            ..failed(ada, 21)
        },
        UsageRecord {
            ended_at: None,
            ..failed(ada, 21)
        },
    ];
    db.store.settle(&records, at(40)).await.unwrap();
    let found = db.store.failed_requests(at(20), at(30), 2).await.unwrap();
    let requests: Vec<_> = found.iter().map(|found| (found.request, found.of)).collect();
    assert_eq!(requests, [(records[0].id, 3), (records[1].id, 3)]);
    let first = &found[0];
    assert_eq!(
        (first.account, first.status, first.code.as_str()),
        (ada, Some(504), "node_timeout")
    );
    assert_eq!((first.country.as_deref(), first.ended_at), (Some("DE"), at(20)));
    assert_eq!(db.store.failed_requests(at(31), at(99), 2).await.unwrap(), []);
}

pub(super) async fn a_purse_is_seen_until_it_is_noted_and_once_by_many(db: &Database) {
    let account = new_account(&*db.store).await;
    webhook_for(db, account, &[EventKind::BalanceLow]).await;
    let moved = async || {
        let moved = db.store.moved_purses(None, 100).await.unwrap();
        moved.into_iter().find(|purse| purse.account == account)
    };
    let first = moved().await.unwrap();
    assert_eq!(
        (first.balance_bytes, first.used_bytes, first.seen),
        (super::BONUS, 0, None)
    );
    assert_eq!((first.threshold_percent, first.low_bytes), (50, 500_000_000));
    let note = async |watch: PurseWatch| {
        let mut tries = JoinSet::new();
        for _ in 0..8 {
            let (store, events) = (db.store.clone(), [event(account, EventKind::BalanceLow, 1)]);
            tries.spawn(async move { store.note_purse(account, &watch, &events).await.unwrap() });
        }
        tries.join_all().await.into_iter().filter(|noted| *noted).count()
    };
    let (watch, _) = first.look();
    assert_eq!(note(watch).await, 1);
    assert_eq!(moved().await, None, "nothing moved since");

    let preferences = Preferences {
        usage_threshold_percent: 7,
        balance_low_bytes: 42,
        ..Preferences::default()
    };
    db.store
        .change_preferences(account, &preferences.into(), at(1))
        .await
        .unwrap();
    let record = UsageRecord {
        bytes_down: 1_000,
        ..usage(account, GatewayId::new())
    };
    db.store.settle(&[record], at(2)).await.unwrap();
    let second = moved().await.unwrap();
    assert_eq!(second.seen, Some(watch));
    assert_eq!((second.threshold_percent, second.low_bytes), (7, 42));
    assert_eq!(db.store.moved_purses(Some(account), 100).await.unwrap(), []);
    assert_eq!(note(second.look().0).await, 1);
    assert_eq!(
        db.number("SELECT COUNT(*) FROM events").await,
        2,
        "one for each look"
    );
}

pub(super) async fn what_is_old_is_forgotten_in_bounded_steps(db: &Database) {
    let account = new_account(&*db.store).await;
    webhook_for(db, account, &[EventKind::QuotaWarning]).await;
    let events: Vec<_> = (0..5)
        .map(|n| event(account, EventKind::QuotaWarning, n))
        .collect();
    db.store.publish(&events).await.unwrap();
    let count = async || {
        db.number("SELECT (SELECT COUNT(*) FROM events) + (SELECT COUNT(*) FROM webhook_deliveries)")
            .await
    };
    assert_eq!(db.store.forget_events(at(4), 3).await.unwrap(), 3);
    assert_eq!(count().await, 4);
    assert_eq!(db.store.forget_events(at(4), 3).await.unwrap(), 1);
    assert_eq!(db.store.forget_events(at(4), 3).await.unwrap(), 0);
    assert_eq!(count().await, 2);
    // Mails that wait stay however old they are.
    let far: Timestamp = at(0).plus(DAY * 400);
    db.store.forget_events(far, 100).await.unwrap();
    assert_eq!(db.number("SELECT COUNT(*) FROM mail_outbox").await, 5);
}

pub(super) async fn a_suspended_account_is_told_once_it_goes_on_and_a_deleted_one_never(db: &Database) {
    let account = new_account(&*db.store).await;
    let webhook = webhook_for(db, account, &[EventKind::BalanceLow]).await;
    let to = async |status| {
        let entry = audit(AuditAction::AccountSuspended, Some(account), 1);
        let changes = vec![(UserChange::Status(status), entry)];
        db.store.change_user(account, changes).await.unwrap();
    };
    let subscribers = async || {
        let kind = EventKind::BalanceLow;
        db.store.subscribers(kind, None, 10).await.unwrap()
    };
    let tell = async |second| {
        let event = event(account, EventKind::BalanceLow, second);
        db.store.publish(std::slice::from_ref(&event)).await.unwrap();
        event.id
    };
    let first = tell(1).await;
    to(AccountStatus::Suspended).await;
    let second = tell(2).await;
    assert!(claim(db, at(10)).await.is_empty());
    assert_eq!(subscribers().await, []);
    to(AccountStatus::Active).await;
    assert_eq!(subscribers().await, [account]);
    let claims = claim(db, at(10)).await;
    let told: Vec<EventId> = claims.iter().map(|claim| claim.event.id).collect();
    assert_eq!(told, [first, second]);

    to(AccountStatus::Deleted).await;
    let third = tell(12).await;
    assert!(claim(db, at(1_000)).await.is_empty(), "their holds have ended");
    assert_eq!(subscribers().await, []);
    assert_eq!(db.store.delivery(account, webhook, third).await.unwrap(), None);
}
