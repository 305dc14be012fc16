use std::time::Duration;

use iploop_platform::abuse::{Actor, AuditAction, AuditQuery};
use iploop_platform::account::{AccountStatus, Role};
use iploop_platform::admin::{
    PlanChange, PlanChanged, PlanDetails, PlanQuery, PlatformSettings, Revenue, SettingsWritten, Traffic,
    UserChange, UserCounts, WantedPlan,
};
use iploop_platform::ids::{AccountId, GatewayId, PlanId};
use iploop_platform::ledger::{Act, Booking, NewEntry};
use iploop_platform::store::StoreError;
use iploop_platform::usage::UsageRecord;
use serde_json::json;
use tokio::task::JoinSet;

use super::audit::newest;
use super::nodes::{activity, registered};
use super::safeguards::audit;
use super::{Database, account_request, account_with, at, new_account, usage};

const TRIES: usize = 50;

async fn plan_page(db: &Database, after: Option<PlanId>, offset: u32, limit: u32) -> Vec<PlanDetails> {
    let query = PlanQuery { after, offset, limit };
    let page = db.store.plan_page(&query).await.unwrap();
    let all = db.number("SELECT COUNT(*) FROM plans").await;
    assert_eq!(page.total, u64::try_from(all).unwrap());
    page.rows
}

pub(super) async fn plans_come_in_pages_cheapest_first(db: &Database) {
    let (_, mut plan) = wanted(db, "Growth").await;
    for name in ["Growth B", "Growth A", "Growth C"] {
        plan.name = name.into();
        let entry = audit(AuditAction::PlanCreated, None, 1);
        db.store.create_plan(PlanId::new(), &plan, entry).await.unwrap();
    }
    let names = |plans: &[PlanDetails]| -> Vec<String> {
        plans.iter().map(|details| details.plan.name.clone()).collect()
    };
    let all = plan_page(db, None, 0, 100).await;
    assert_eq!(all.len(), 7);
    let wanted = names(&all);
    assert!(
        wanted
            .windows(4)
            .any(|four| four == ["Growth", "Growth A", "Growth B", "Growth C"]),
        "of one price by name: {wanted:?}"
    );
    let (mut by_cursor, mut by_number, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = plan_page(db, after, 0, 2).await;
        let Some(last) = page.last() else { break };
        after = Some(last.plan.id);
        by_cursor.extend(names(&page));
    }
    for offset in [0, 3, 6] {
        by_number.extend(names(&plan_page(db, None, offset, 3).await));
    }
    assert_eq!((&by_cursor, &by_number), (&wanted, &wanted));
}

async fn wanted(db: &Database, name: &str) -> (PlanId, WantedPlan) {
    let plans = plan_page(db, None, 0, 100).await;
    let details = plans.iter().find(|details| details.plan.name == name).unwrap();
    (details.plan.id, details.wanted())
}

pub(super) async fn plans_are_made_and_changed_on_record(db: &Database) {
    let (growth, mut plan) = wanted(db, "Growth").await;
    assert_eq!(plan_page(db, None, 0, 100).await.len(), 4);
    let again = db
        .store
        .create_plan(PlanId::new(), &plan, audit(AuditAction::PlanCreated, None, 1))
        .await;
    assert!(
        matches!(again, Err(StoreError::Conflict { what: "plan name" })),
        "{again:?}"
    );

    plan.name = "Tiny\0".into();
    plan.price_monthly_cents = 1;
    plan.included_bytes = None;
    plan.features = vec!["One\0".into()];
    plan.stripe_price_annual = Some("price_1".into());
    let tiny = PlanId::new();
    let entry = audit(AuditAction::PlanCreated, None, 1);
    db.store.create_plan(tiny, &plan, entry).await.unwrap();
    let made = db.store.plan_details(tiny).await.unwrap().unwrap();
    assert_eq!(
        (made.plan.name.as_str(), made.plan.features.as_slice()),
        ("Tiny", ["One".to_owned()].as_slice())
    );
    assert_eq!(made.stripe_price_annual.as_deref(), Some("price_1"));
    assert_eq!((made.stripe_price_monthly.as_ref(), made.accounts), (None, 0));
    assert_eq!(db.store.plans().await.unwrap()[1], made.plan, "cheapest first");

    let change = async |id, plan: &WantedPlan| {
        let entry = audit(AuditAction::PlanChanged, None, 2);
        db.store.change_plan(id, &plan.clone().into(), entry).await
    };
    let mut plan = made.wanted();
    assert_eq!(change(tiny, &plan).await.unwrap(), PlanChanged::AlreadySo);
    plan.is_active = false;
    plan.max_concurrent_connections = 7;
    assert_eq!(change(tiny, &plan).await.unwrap(), PlanChanged::Done);
    assert_eq!(db.store.plan_details(tiny).await.unwrap().unwrap().wanted(), plan);
    let record = newest(db).await;
    assert_eq!(
        (
            &record.before["maxConcurrentConnections"],
            &record.after["maxConcurrentConnections"]
        ),
        (&json!(50), &json!(7))
    );
    plan.name = "Growth".into();
    let taken = change(tiny, &plan).await;
    assert!(
        matches!(taken, Err(StoreError::Conflict { what: "plan name" })),
        "{taken:?}"
    );
    assert_eq!(change(PlanId::new(), &plan).await.unwrap(), PlanChanged::NotFound);

    let mut accounts = Vec::new();
    for _ in 0..3 {
        let mut request = account_request(&*db.store).await;
        request.plan = growth;
        accounts.push(db.store.create_account(request).await.unwrap().id);
    }
    let on = async |after| db.store.accounts_on(growth, after, 2).await.unwrap();
    assert_eq!(on(None).await, accounts[..2]);
    assert_eq!(on(Some(accounts[1])).await, accounts[2..]);
    assert_eq!(db.store.plan_details(growth).await.unwrap().unwrap().accounts, 3);
}

pub(super) async fn changes_of_a_plan_at_the_same_moment_all_stand(db: &Database) {
    let (growth, before) = wanted(db, "Growth").await;
    let mut tries = JoinSet::new();
    for number in 0..TRIES {
        let store = db.store.clone();
        let change = match number % 4 {
            0 => PlanChange {
                price_per_gb_micros: Some(1),
                ..PlanChange::default()
            },
            1 => PlanChange {
                requests_per_day: Some(2),
                asn: Some(true),
                ..PlanChange::default()
            },
            2 => PlanChange {
                price_annual_cents: Some(None),
                ..PlanChange::default()
            },
            _ => PlanChange {
                is_active: Some(false),
                ..PlanChange::default()
            },
        };
        tries.spawn(async move {
            let entry = audit(AuditAction::PlanChanged, None, 1);
            store.change_plan(growth, &change, entry).await.unwrap()
        });
    }
    let changed = tries.join_all().await;
    let done = changed.iter().filter(|changed| **changed == PlanChanged::Done);
    assert_eq!(done.count(), 4, "each once");
    let mut after = before;
    (after.price_per_gb_micros, after.requests_per_day) = (1, 2);
    (after.gates.asn, after.price_annual_cents, after.is_active) = (true, None, false);
    assert_eq!(wanted(db, "Growth").await.1, after);
}

pub(super) async fn the_plan_of_new_accounts_stays_on_offer_whatever_is_tried_at_once(db: &Database) {
    let names = ["Starter", "Growth", "Business", "Pay-as-you-go"];
    let mut plans = Vec::new();
    for name in names {
        plans.push(wanted(db, name).await);
    }
    let mut tries = JoinSet::new();
    for number in 0..TRIES {
        let store = db.store.clone();
        let (id, mut plan) = plans[number % plans.len()].clone();
        tries.spawn(async move {
            if number % 3 == 0 {
                let version = store.settings().await.unwrap().version;
                let settings = PlatformSettings {
                    first_plan: id,
                    ..PlatformSettings::default()
                };
                let entry = audit(AuditAction::SettingsChanged, None, 1);
                store.change_settings(version, &settings, entry).await.unwrap();
            } else {
                plan.is_active = false;
                let entry = audit(AuditAction::PlanChanged, None, 1);
                store.change_plan(id, &plan.into(), entry).await.unwrap();
            }
        });
    }
    tries.join_all().await;
    let first = db.store.settings().await.unwrap().settings.first_plan;
    let details = db.store.plan_details(first).await.unwrap().unwrap();
    assert!(details.plan.is_active);
    let mut off = details.wanted();
    off.is_active = false;
    let entry = audit(AuditAction::PlanChanged, None, 1);
    let refused = db.store.change_plan(first, &off.into(), entry).await.unwrap();
    assert_eq!(refused, PlanChanged::FirstPlan);
}

pub(super) async fn settings_are_written_by_who_read_the_newest(db: &Database) {
    let first = db.store.settings().await.unwrap();
    assert_eq!(
        (first.version, &first.settings),
        (1, &PlatformSettings::default())
    );
    let (starter, _) = wanted(db, "Starter").await;
    assert_eq!(first.settings.first_plan, starter);
    let closed = PlatformSettings {
        registrations_open: false,
        notice: Some("away on Sunday".into()),
        ..PlatformSettings::default()
    };
    let write = async |version, settings: &PlatformSettings| {
        let entry = audit(AuditAction::SettingsChanged, None, 1);
        db.store.change_settings(version, settings, entry).await.unwrap()
    };
    assert_eq!(write(1, &closed).await, SettingsWritten::Done(2));
    assert_eq!(db.store.settings().await.unwrap().settings, closed);
    assert_eq!(newest(db).await.before["registrationsOpen"], json!(true));
    assert_eq!(
        write(1, &PlatformSettings::default()).await,
        SettingsWritten::Changed
    );
    let nowhere = PlatformSettings {
        first_plan: PlanId::new(),
        ..closed.clone()
    };
    assert_eq!(write(2, &nowhere).await, SettingsWritten::PlanNotOffered);

    let mut tries = JoinSet::new();
    for _ in 0..TRIES {
        let (store, closed) = (db.store.clone(), closed.clone());
        tries.spawn(async move {
            let entry = audit(AuditAction::SettingsChanged, None, 1);
            store.change_settings(2, &closed, entry).await.unwrap()
        });
    }
    let written = tries.join_all().await;
    let done = written
        .iter()
        .filter(|written| **written == SettingsWritten::Done(3));
    assert_eq!(done.count(), 1, "one of many");
}

pub(super) async fn figures_count_users_requests_and_devices(db: &Database) {
    let mut root = account_request(&*db.store).await;
    (root.role, root.email_verified) = (Role::Admin, true);
    let root = db.store.create_account(root).await.unwrap().id;
    db.store.touch_login(root, at(60)).await.unwrap();
    let (ada, gone) = (new_account(&*db.store).await, new_account(&*db.store).await);
    let delete = vec![(
        UserChange::Status(AccountStatus::Deleted),
        audit(AuditAction::UserDeleted, Some(gone), 1),
    )];
    db.store.change_user(gone, delete).await.unwrap();

    let gateway = GatewayId::new();
    let record = |second: i64, error: Option<&str>| UsageRecord {
        bytes_up: 100,
        bytes_down: 1_000,
        billable: error.is_none(),
        error: error.map(str::to_owned),
        started_at: at(second),
        ended_at: Some(at(second + 1)),
        ..usage(ada, gateway)
    };
    // An hour that is archived, and today's.
    let old = at(-100 * 86_400);
    db.store
        .settle(&[record(-100 * 86_400 + 5, None)], old)
        .await
        .unwrap();
    let before = old.hour_start().plus(Duration::from_secs(2 * 3600));
    assert_eq!(db.store.archive_usage(before, 100).await.unwrap(), 1);
    let today = [
        record(10, None),
        record(20, Some("no_exit")),
        record(30, Some("no_exit")),
    ];
    db.store.settle(&today, at(40)).await.unwrap();

    let (_, node) = registered(db, "device-1").await;
    db.store.note_activity(&[activity(node)]).await.unwrap();
    let (_, silent) = registered(db, "device-2").await;
    let stats = db.store.stored_stats(at(-3600), at(600)).await.unwrap();
    let _ = silent;
    assert_eq!(
        stats.users,
        UserCounts {
            total: 2,
            active: 2,
            suspended: 0,
            deleted: 1,
            admins: 1,
            verified: 1,
            new: 3,
            signed_in: 1,
        }
    );
    assert_eq!(stats.plans, [("Starter".to_owned(), 2)].into());
    let recent = Traffic {
        requests: 3,
        successful: 1,
        bytes_up: 300,
        bytes_down: 3_000,
        billed_bytes: 1_100,
    };
    assert_eq!(stats.recent, recent);
    let all_time = Traffic {
        requests: 4,
        successful: 2,
        bytes_up: 400,
        bytes_down: 4_000,
        billed_bytes: 2_200,
    };
    assert_eq!(stats.all_time, all_time);
    assert_eq!(stats.errors, [("no_exit".to_owned(), 2)].into());
    assert_eq!(stats.nodes, [("available".to_owned(), 2)].into());
    assert_eq!(stats.versions, [("2.0.0".to_owned(), 2)].into());
    let mid_slot = db.store.stored_stats(at(15), at(600)).await.unwrap();
    assert_eq!(
        mid_slot.recent.requests, 2,
        "to the millisecond, whatever sums are kept by"
    );
    assert_eq!(mid_slot.errors, [("no_exit".to_owned(), 2)].into());
    let later = db.store.stored_stats(at(25), at(600)).await.unwrap();
    assert_eq!((later.recent.requests, later.errors["no_exit"]), (1, 1));
    let much_later = db.store.stored_stats(at(86_400), at(86_400)).await.unwrap();
    assert_eq!(
        much_later.nodes,
        [("inactive".to_owned(), 2)].into(),
        "not heard of"
    );
    assert_eq!((much_later.recent, much_later.users.new), (Traffic::default(), 0));
}

pub(super) async fn audit_records_are_found_by_who_what_and_when(db: &Database) {
    let mut records = Vec::new();
    for second in 0..4 {
        let account = (second % 2 == 0).then(AccountId::new);
        let mut entry = audit(AuditAction::NodeBanned, account, second);
        entry.subject = format!("device {second}");
        db.store.append_audit(entry.clone()).await.unwrap();
        records.insert(0, entry.id);
    }
    let found = async |query: AuditQuery| {
        let query = AuditQuery { limit: 10, ..query };
        let entries = db.store.audit_entries(&query).await.unwrap();
        entries.iter().map(|entry| entry.id).collect::<Vec<_>>()
    };
    let none = AuditQuery::default;
    assert_eq!(found(none()).await, records);
    let subject = Some("device 2".to_owned());
    assert_eq!(found(AuditQuery { subject, ..none() }).await, [records[1]]);
    let (from, to) = (Some(at(1)), Some(at(3)));
    assert_eq!(found(AuditQuery { from, to, ..none() }).await, records[1..3]);
    let last = newest(db).await;
    let Actor::Admin(actor) = last.actor else {
        panic!("an admin's")
    };
    let actor = Some(actor);
    assert_eq!(found(AuditQuery { actor, ..none() }).await, [last.id]);
}

pub(super) async fn revenue_follows_the_ledger_by_day_and_by_plan(db: &Database) {
    let gateway = GatewayId::new();
    let day = at(0).day_start();
    let later = |hours: u64| day.plus(Duration::from_secs(hours * 3600));
    let (_, node) = registered(db, "device-1").await;
    let ada = account_with(&*db.store, 0).await;
    let book = async |act: Act, now| {
        let entry = NewEntry {
            act,
            description: "a test".into(),
            reason: None,
            actor: Actor::System,
            key: None,
            metadata: json!({}),
            audit: None,
            now,
        };
        let Booking::Done(booked) = db.store.book(&entry).await.unwrap() else {
            panic!("refused")
        };
        booked.entry
    };
    let purchase = Act::Purchase {
        account: ada,
        bytes: 1_000,
        money_micros: 1_000_000,
        reference: None,
    };
    let purchase = book(purchase, later(1)).await;
    let used = UsageRecord {
        node: Some(node),
        bytes_down: 100,
        started_at: later(25),
        ended_at: Some(later(25)),
        ..usage(ada, gateway)
    };
    db.store.settle(&[used], later(26)).await.unwrap();
    let refund = Act::Refund {
        account: ada,
        bytes: 100,
        money_micros: 50_000,
        purchase: Some(purchase),
        reference: None,
        is_forced: false,
    };
    book(refund, later(27)).await;

    let days = db.store.revenue_by_day(day, later(48)).await.unwrap();
    let first = Revenue {
        purchased_micros: 1_000_000,
        ..Revenue::default()
    };
    let second = Revenue {
        refunded_micros: 50_000,
        sold_bytes: 100,
        sold_micros: 100_000,
        partners_micros: 70_000,
        ..Revenue::default()
    };
    assert_eq!(days, [(day, first), (later(24), second)]);
    assert_eq!(second.earned_micros(), 30_000);
    let (starter, _) = wanted(db, "Starter").await;
    let mut all = first;
    all.add(&second);
    let plans = db.store.revenue_by_plan(day, later(48)).await.unwrap();
    assert_eq!(plans, [(starter, "Starter".to_owned(), all)]);
    assert_eq!(db.store.revenue_by_day(later(48), later(72)).await.unwrap(), []);
}
