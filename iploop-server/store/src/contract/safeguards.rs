use std::time::Duration;

use iploop_platform::abuse::{
    AccountGrant, Actor, AuditAction, AuditEntry, AuditQuery, Entry, EntryKind, ExitUseQuery, PolicyChange,
    PolicyChanged, RefusalCount, RefusalQuery, StoredPolicy, Told,
};
use iploop_platform::account::{AccountStatus, Standing};
use iploop_platform::api_key::{ApiKeyHash, NewApiKey};
use iploop_platform::ids::{AccountId, ApiKeyId, AuditId, GatewayId, GrantId, NodeId, PolicyEntryId};
use iploop_platform::store::StoreError;
use iploop_platform::usage::UsageRecord;
use iploop_protocol::policy::{AbuseLimits, MAX_GRANTS, Opening};
use serde_json::{Value, json};

use super::audit::newest;
use super::{Database, at, new_account, usage};

pub(super) fn audit(action: AuditAction, account: Option<AccountId>, second: i64) -> AuditEntry {
    AuditEntry {
        id: AuditId::new(),
        at: at(second),
        actor: Actor::Admin(AccountId::new()),
        action,
        account,
        subject: "something".into(),
        before: Value::Null,
        after: json!({ "is": "so" }),
        reason: "because\0".into(),
    }
}

fn entry(kind: EntryKind, value: &str) -> Entry {
    Entry {
        id: PolicyEntryId::new(),
        kind,
        value: value.into(),
        category: "complaints".into(),
        reason: "a complaint".into(),
        added_at: at(1),
    }
}

fn grant(account: AccountId, ports: &str, until: i64) -> AccountGrant {
    AccountGrant {
        id: GrantId::new(),
        account,
        opening: Opening::TcpPorts(ports.parse().unwrap()),
        until: at(until),
        reason: "a ticket".into(),
        given_at: at(0),
        revoked_at: None,
    }
}

pub(super) async fn every_change_of_the_lists_counts_up_and_is_on_record(db: &Database) {
    assert_eq!(db.store.stored_policy().await.unwrap(), StoredPolicy::default());
    let listed = entry(EntryKind::Suffix, "bad.example");
    let action = AuditAction::EntryAdded;
    let add = |entry: &Entry| PolicyChange::Add(entry.clone());
    let done = db
        .store
        .change_policy(&add(&listed), audit(action, None, 1))
        .await;
    assert_eq!(done.unwrap(), PolicyChanged::Done(1));
    let again = entry(EntryKind::Suffix, "bad.example");
    let refused = db.store.change_policy(&add(&again), audit(action, None, 2)).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict { what: "policy entry" })),
        "{refused:?}"
    );
    // The same text of another kind is something else.
    let port = entry(EntryKind::Port, "8080");
    db.store
        .change_policy(&add(&port), audit(action, None, 2))
        .await
        .unwrap();

    let switch = PolicyChange::Switch {
        category: "complaints".into(),
        is_on: false,
    };
    let done = db
        .store
        .change_policy(&switch, audit(AuditAction::CategorySwitched, None, 3))
        .await;
    assert_eq!(done.unwrap(), PolicyChanged::Done(3));
    let limits = AbuseLimits {
        open_streams: 7,
        ..AbuseLimits::default()
    };
    for (limits, before) in [(Some(limits), Value::Null), (None, json!(limits))] {
        let change = PolicyChange::Limits(limits);
        db.store
            .change_policy(&change, audit(AuditAction::LimitsSet, None, 4))
            .await
            .unwrap();
        assert_eq!(newest(db).await.before, before);
        assert_eq!(db.store.stored_policy().await.unwrap().limits, limits);
    }
    let gone = PolicyChange::Remove(listed.id);
    let removed = AuditAction::EntryRemoved;
    let done = db.store.change_policy(&gone, audit(removed, None, 5)).await;
    assert_eq!(done.unwrap(), PolicyChanged::Done(6));
    let last = newest(db).await;
    assert_eq!(
        last.before,
        json!({ "kind": "suffix", "value": "bad.example", "category": "complaints" })
    );
    assert_eq!((last.reason.as_str(), last.action), ("because", removed));
    let done = db.store.change_policy(&gone, audit(removed, None, 6)).await;
    assert_eq!(done.unwrap(), PolicyChanged::NotFound);

    let stored = db.store.stored_policy().await.unwrap();
    assert_eq!((stored.version, stored.entries), (6, vec![port]));
    assert_eq!(stored.categories, [("complaints".to_owned(), false)].into());
    assert_eq!(
        db.number("SELECT COUNT(*) FROM audit_records").await,
        6,
        "refused ones leave none"
    );
}

pub(super) async fn parallel_changes_of_the_lists_all_count(db: &Database) {
    let mut changes = tokio::task::JoinSet::new();
    for n in 0..16 {
        let store = db.store.clone();
        let change = PolicyChange::Add(entry(EntryKind::Suffix, &format!("h{n}.example")));
        changes.spawn(async move {
            store
                .change_policy(&change, audit(AuditAction::EntryAdded, None, 1))
                .await
        });
    }
    for done in changes.join_all().await {
        done.unwrap();
    }
    let stored = db.store.stored_policy().await.unwrap();
    assert_eq!((stored.version, stored.entries.len()), (16, 16));
}

pub(super) async fn a_grant_reaches_the_login_until_it_is_revoked(db: &Database) {
    let (account, other) = (new_account(&*db.store).await, new_account(&*db.store).await);
    let hash = ApiKeyHash::of("iploop_1");
    let key = NewApiKey {
        id: ApiKeyId::new(),
        account,
        hash,
        key_prefix: "iploop_0123456".into(),
        ip_whitelist: Vec::new(),
        ip_login: false,
        limits: Default::default(),
        name: "k".into(),
        expires_at: None,
        now: at(0),
    };
    db.store.create_api_key(key).await.unwrap();
    let terms = async || db.store.key_grant(hash).await.unwrap().unwrap().terms;
    assert_eq!(
        (terms().await.standing, terms().await.grants.iter().count()),
        (Standing::New, 0)
    );

    let given = grant(account, "5900-5910", 60);
    let action = AuditAction::GrantGiven;
    assert!(
        db.store
            .give_grant(&given, audit(action, Some(account), 0))
            .await
            .unwrap()
    );
    let nobody = grant(AccountId::new(), "22", 60);
    assert!(
        !db.store
            .give_grant(&nobody, audit(action, None, 0))
            .await
            .unwrap()
    );
    assert_eq!(terms().await.grants.iter().collect::<Vec<_>>(), [given.grant()]);
    assert_eq!(
        db.store.grants(account, at(1)).await.unwrap(),
        std::slice::from_ref(&given)
    );

    let revoke = async |whose, second| {
        let entry = audit(AuditAction::GrantRevoked, Some(whose), second);
        db.store.revoke_grant(whose, given.id, entry).await.unwrap()
    };
    assert_eq!(revoke(other, 2).await, None);
    let closed = AccountGrant {
        revoked_at: Some(at(3)),
        ..given.clone()
    };
    assert_eq!(revoke(account, 3).await, Some(closed.clone()));
    assert_eq!(revoke(account, 4).await, None);
    assert_eq!(terms().await.grants.iter().count(), 0);
    assert_eq!(db.store.grants(account, at(5)).await.unwrap(), [closed]);
    assert_eq!(db.number("SELECT COUNT(*) FROM audit_records").await, 2);
}

pub(super) async fn grants_that_hold_are_bounded_and_ended_ones_make_room(db: &Database) {
    let account = new_account(&*db.store).await;
    let action = AuditAction::GrantGiven;
    for _ in 0..MAX_GRANTS {
        let given = grant(account, "22", 60);
        db.store
            .give_grant(&given, audit(action, Some(account), 0))
            .await
            .unwrap();
    }
    let one_more = grant(account, "22", 60);
    let refused = db
        .store
        .give_grant(&one_more, audit(action, Some(account), 0))
        .await;
    assert!(
        matches!(refused, Err(StoreError::LimitReached { what: "grants", .. })),
        "{refused:?}"
    );
    let later = AccountGrant {
        given_at: at(60),
        until: at(90),
        ..one_more
    };
    assert!(
        db.store
            .give_grant(&later, audit(action, Some(account), 60))
            .await
            .unwrap()
    );
    let all = db.store.grants(account, at(60)).await.unwrap();
    assert_eq!((all.len(), all[0].id), (MAX_GRANTS + 1, later.id));
}

pub(super) async fn a_status_moves_once_with_its_reason(db: &Database) {
    let account = new_account(&*db.store).await;
    let (active, suspended) = (AccountStatus::Active, AccountStatus::Suspended);
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = db.store.clone();
        let entry = audit(AuditAction::AccountSuspended, Some(account), 1);
        tries.spawn(async move {
            store
                .set_account_status(account, active, suspended, entry, &Told::Nobody)
                .await
                .unwrap()
        });
    }
    let moved = tries.join_all().await;
    assert_eq!(moved.iter().filter(|moved| **moved).count(), 1);
    let known = db.store.account(account).await.unwrap().unwrap();
    assert_eq!(
        (known.status, known.status_reason.as_deref()),
        (suspended, Some("because"))
    );
    assert_eq!(db.number("SELECT COUNT(*) FROM audit_records").await, 1);
    let entry = audit(AuditAction::AccountReinstated, Some(account), 2);
    assert!(
        db.store
            .set_account_status(account, suspended, active, entry, &Told::Nobody)
            .await
            .unwrap()
    );
    assert_eq!(db.store.account(account).await.unwrap().unwrap().status, active);

    let raise = async || {
        let entry = audit(AuditAction::StandingSet, Some(account), 3);
        db.store
            .set_standing(account, Standing::Established, entry)
            .await
            .unwrap()
    };
    assert!(raise().await && !raise().await);
    assert_eq!(
        db.store.account(account).await.unwrap().unwrap().standing,
        Standing::Established
    );
}

pub(super) async fn audit_records_come_in_pages_and_as_a_feed(db: &Database) {
    let (account, other) = (AccountId::new(), AccountId::new());
    let mut all = Vec::new();
    for second in 0..5 {
        let whose = if second == 2 { other } else { account };
        let entry = AuditEntry {
            actor: match second {
                3 => Actor::System,
                4 => Actor::User(account),
                _ => Actor::CommandLine,
            },
            reason: "because".into(),
            ..audit(AuditAction::AccountSuspended, Some(whose), second)
        };
        db.store.append_audit(entry.clone()).await.unwrap();
        all.push(entry);
    }
    let page = async |query: AuditQuery| db.store.audit_entries(&query).await.unwrap();
    let query = AuditQuery {
        limit: 2,
        account: Some(account),
        ..AuditQuery::default()
    };
    let first = page(query.clone()).await;
    assert_eq!(first, [all[4].clone(), all[3].clone()]);
    let before = Some(first[1].id);
    assert_eq!(
        page(AuditQuery {
            before,
            ..query.clone()
        })
        .await,
        [all[1].clone(), all[0].clone()]
    );
    let action = Some(AuditAction::GrantGiven);
    assert_eq!(page(AuditQuery { action, ..query }).await, []);

    let feed = async |from, after| db.store.audit_since(at(from), after, 2).await.unwrap();
    let first = feed(1, None).await;
    assert_eq!(first, all[1..3]);
    assert_eq!(feed(1, Some(first[1].id)).await, all[3..5]);
    assert_eq!(feed(5, None).await, []);
}

pub(super) async fn refusals_add_up_by_day_cause_customer_and_device(db: &Database) {
    let (account, node) = (AccountId::new(), NodeId::new());
    let count = |day, node, count, last| RefusalCount {
        day,
        cause: "loopback".into(),
        account,
        node,
        count,
        first_at: at(last - 1),
        last_at: at(last),
    };
    let first = [
        count(5, None, 1, 10),
        count(5, Some(node), 2, 11),
        count(4, None, 3, 9),
    ];
    db.store.add_refusals(&first).await.unwrap();
    db.store.add_refusals(&[count(5, None, 4, 20)]).await.unwrap();
    db.store.add_refusals(&[]).await.unwrap();
    let query = RefusalQuery {
        limit: 10,
        ..RefusalQuery::default()
    };
    let together = RefusalCount {
        first_at: at(9),
        ..count(5, None, 5, 20)
    };
    let all = [together.clone(), first[1].clone(), first[2].clone()];
    assert_eq!(db.store.refusals(&query).await.unwrap(), all);
    let of = async |query: RefusalQuery| db.store.refusals(&query).await.unwrap();
    let from_today = RefusalQuery {
        from_day: 5,
        account: Some(account),
        cause: Some("loopback".into()),
        ..query.clone()
    };
    assert_eq!(of(from_today.clone()).await, all[..2]);
    let at_node = RefusalQuery {
        node: Some(node),
        ..from_today
    };
    assert_eq!(of(at_node).await, all[1..2]);
    assert_eq!(
        of(RefusalQuery {
            limit: 1,
            ..query.clone()
        })
        .await,
        all[..1]
    );
    assert_eq!(db.store.forget_refusals(5, 10).await.unwrap(), 1);
    assert_eq!(of(query).await, all[..2]);
}

pub(super) async fn who_left_by_an_address_at_a_time_is_found(db: &Database) {
    let account = new_account(&*db.store).await;
    let gateway = GatewayId::new();
    let left_by = |ip: &str, started: i64, ended: Option<i64>| UsageRecord {
        exit_ip: Some(ip.parse().unwrap()),
        started_at: at(started),
        ended_at: ended.map(at),
        ..usage(account, gateway)
    };
    let records = [
        left_by("93.184.216.34", 100, Some(200)),
        left_by("::ffff:93.184.216.34", 150, None),
        left_by("93.184.216.34", 300, Some(310)),
        left_by("93.184.216.35", 100, Some(200)),
        left_by("93.184.216.34", -100_000, None),
        usage(account, gateway),
    ];
    db.store.settle(&records, at(400)).await.unwrap();
    let found = async |ip: &str, second, within| {
        let query = ExitUseQuery {
            ip: ip.parse().unwrap(),
            at: at(second),
            within: Duration::from_secs(within),
            limit: 10,
        };
        let uses = db.store.exit_uses(&query).await.unwrap();
        uses.into_iter().map(|used| used.request).collect::<Vec<_>>()
    };
    assert_eq!(
        found("93.184.216.34", 180, 0).await,
        [records[1].id, records[0].id]
    );
    assert_eq!(
        found("::ffff:93.184.216.34", 120, 0).await,
        [records[0].id],
        "one form of an address"
    );
    assert_eq!(
        found("93.184.216.34", 250, 60).await,
        [records[2].id, records[1].id, records[0].id]
    );
    assert_eq!(found("93.184.216.36", 180, 0).await, []);
}
