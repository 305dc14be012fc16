use iploop_platform::abuse::{Actor, AuditAction};
use iploop_platform::account::Role;
use iploop_platform::api_key::ApiKeyHash;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, AppId, GatewayId, PartnerId};
use iploop_platform::ledger::{Act, Booking, NewEntry};
use iploop_platform::node::{NodeRegistration, Registered};
use iploop_platform::partners::{
    AppFacts, AppPlatform, AppState, KeyReplacement, Linked, MAX_APPS, PartnerChange, PartnerDeleted,
};
use iploop_platform::store::StoreError;
use iploop_platform::usage::UsageRecord;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::audit::{erasure, newest, record};
use super::books::books_are_in_order;
use super::nodes::{new_partner, registration};
use super::{Database, account_with, at, usage};

fn app(bundle_id: &str) -> AppFacts {
    AppFacts {
        name: "Game".into(),
        platform: AppPlatform::Android,
        bundle_id: bundle_id.into(),
        store_url: Some("https://store.example/game".into()),
    }
}

async fn key_works(db: &Database, key: &str, now: Timestamp) -> bool {
    let found = db.store.partner_by_key(ApiKeyHash::of(key), now).await;
    found.unwrap().is_some()
}

async fn replace(db: &Database, partner: PartnerId, key: &str, old_until: Timestamp) {
    let replacement = KeyReplacement {
        key_hash: ApiKeyHash::of(key),
        key_prefix: format!("iplp_{key}"),
        old_until,
    };
    let entry = record(AuditAction::PartnerKeyReplaced);
    let replaced = db.store.replace_partner_key(partner, &replacement, entry).await;
    assert_eq!(replaced.unwrap().unwrap().api_key_prefix, format!("iplp_{key}"));
}

pub(super) async fn a_replaced_key_works_for_its_overlap_and_the_one_before_it_no_longer(db: &Database) {
    let partner = new_partner(&*db.store).await;
    let first = partner.to_string();
    replace(db, partner, "second", at(100)).await;
    assert!(key_works(db, "second", at(99)).await && key_works(db, &first, at(99)).await);
    assert!(!key_works(db, &first, at(100)).await);
    replace(db, partner, "third", at(100)).await;
    assert!(!key_works(db, &first, at(9)).await && key_works(db, "second", at(9)).await);
    // Without an overlap it ends at once.
    replace(db, partner, "fourth", at(5)).await;
    assert!(!key_works(db, "third", at(5)).await && key_works(db, "fourth", at(5)).await);
    let entry = newest(db).await;
    assert_eq!(entry.action, AuditAction::PartnerKeyReplaced);
    assert_eq!(
        (&entry.before["apiKeyPrefix"], &entry.after["apiKeyPrefix"]),
        (&json!("iplp_third"), &json!("iplp_fourth"))
    );
}

pub(super) async fn a_change_is_whole_and_on_record(db: &Database) {
    let partner = new_partner(&*db.store).await;
    let change = PartnerChange {
        name: Some("Toys".into()),
        email: Some(Some("a@toys.example".into())),
        is_active: Some(false),
        revenue_share_bp: Some(6_667),
    };
    let entry = || record(AuditAction::PartnerChanged);
    let changed = db
        .store
        .change_partner(partner, &change, entry())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (changed.name.as_str(), changed.email.as_deref()),
        ("Toys", Some("a@toys.example"))
    );
    assert_eq!((changed.is_active, changed.revenue_share_bp), (false, 6_667));
    let stays = PartnerChange {
        email: Some(None),
        ..PartnerChange::default()
    };
    let changed = db
        .store
        .change_partner(partner, &stays, entry())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((changed.name.as_str(), changed.email), ("Toys", None));
    let entry_of = newest(db).await;
    assert_eq!(
        (&entry_of.before["email"], &entry_of.after["email"]),
        (&json!("a@toys.example"), &Value::Null)
    );
    let nobody = db
        .store
        .change_partner(PartnerId::new(), &stays, entry())
        .await
        .unwrap();
    assert_eq!(nobody, None);
}

pub(super) async fn a_partner_with_connected_devices_is_not_deleted(db: &Database) {
    let partner = new_partner(&*db.store).await;
    let device = registration(partner, "device-1");
    db.store.register_node(device).await.unwrap();
    let entry = || record(AuditAction::PartnerDeleted);
    let deleted = db.store.delete_partner(partner, at(0), entry()).await.unwrap();
    assert_eq!(deleted, PartnerDeleted::HasActiveDevices(1));
    // What was not heard of for long is not connected, whatever its row says.
    let deleted = db.store.delete_partner(partner, at(1), entry()).await.unwrap();
    assert_eq!(deleted, PartnerDeleted::Gone);
}

pub(super) async fn a_deleted_partner_is_gone_and_still_can_be_paid(db: &Database) {
    let (partner, account) = (new_partner(&*db.store).await, account_with(&*db.store, 0).await);
    let device = registration(partner, "device-1");
    let node = device.id;
    db.store.register_node(device).await.unwrap();
    let book = |act, key: &str| NewEntry {
        act,
        description: "Something".into(),
        reason: None,
        actor: Actor::System,
        key: Some(key.into()),
        metadata: json!({}),
        audit: None,
        now: at(5),
    };
    let purchase = Act::Purchase {
        account,
        bytes: 1_000,
        money_micros: 1_000,
        reference: None,
    };
    db.store.book(&book(purchase, "p")).await.unwrap();
    let served = UsageRecord {
        node: Some(node),
        bytes_down: 1_000,
        ..usage(account, GatewayId::new())
    };
    db.store.settle(&[served], at(20)).await.unwrap();
    db.store
        .create_app(partner, AppId::new(), &app("a"), record(AuditAction::AppHandedIn))
        .await
        .unwrap()
        .unwrap();
    let user = account_with(&*db.store, 0).await;
    let linked = record(AuditAction::PartnerUserLinked);
    db.store.link_partner_user(partner, user, linked).await.unwrap();
    let entry = || record(AuditAction::PartnerDeleted);
    let deleted = db.store.delete_partner(partner, at(2), entry()).await.unwrap();
    assert_eq!(deleted, PartnerDeleted::Gone);

    assert_eq!(db.store.partner(partner, at(0)).await.unwrap(), None);
    assert_eq!(db.store.partners(None, at(0), 10).await.unwrap(), vec![]);
    assert!(!key_works(db, &partner.to_string(), at(6)).await);
    assert_eq!(db.store.partner_apps(partner).await.unwrap(), vec![]);
    assert_eq!(db.store.partner_of(user).await.unwrap(), None);
    assert_eq!(
        db.store.account(user).await.unwrap().unwrap().role,
        Role::Customer
    );
    let again = db.store.delete_partner(partner, at(2), entry()).await.unwrap();
    assert_eq!(again, PartnerDeleted::NotThere);
    let payout = Act::Payout {
        partner,
        money_micros: 700,
        reference: Some("wire 1".into()),
    };
    let paid = db.store.book(&book(payout, "w")).await.unwrap();
    assert!(matches!(paid, Booking::Done(_)), "{paid:?}");
    let payouts = db.store.payouts(partner, at(5), at(6), 10).await.unwrap();
    assert_eq!((payouts.len(), payouts[0].amount_micros), (1, 700));
    assert_eq!(payouts[0].reference.as_deref(), Some("wire 1"));
    assert_eq!(db.store.payouts(partner, at(0), at(5), 10).await.unwrap(), vec![]);
    books_are_in_order(&*db.store).await;
}

pub(super) async fn apps_are_looked_at_again_once_they_change(db: &Database) {
    let partner = new_partner(&*db.store).await;
    let made = db
        .store
        .create_app(partner, AppId::new(), &app("a"), record(AuditAction::AppHandedIn))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((made.state, made.bundle_id.as_str()), (AppState::Pending, "a"));
    let taken = db
        .store
        .create_app(partner, AppId::new(), &app("a"), record(AuditAction::AppHandedIn))
        .await;
    assert!(
        matches!(taken, Err(StoreError::Conflict { what: "app" })),
        "{taken:?}"
    );
    let review = |state| {
        db.store
            .review_app(partner, made.id, state, record(AuditAction::AppReviewed))
    };
    let approved = review(AppState::Approved).await.unwrap().unwrap();
    assert_eq!(
        (approved.state, approved.state_reason.as_deref()),
        (AppState::Approved, Some("because"))
    );
    let entry = newest(db).await;
    assert_eq!(
        (&entry.before["state"], &entry.after["state"]),
        (&json!("pending"), &json!("approved"))
    );
    let change = |bundle| async move {
        let facts = app(bundle);
        db.store
            .change_app(partner, made.id, &facts, record(AuditAction::AppChanged))
            .await
            .unwrap()
            .unwrap()
    };
    let changed = change("b").await;
    assert_eq!((changed.state, changed.state_reason), (AppState::Pending, None));
    review(AppState::Suspended).await.unwrap();
    assert_eq!(
        change("c").await.state,
        AppState::Suspended,
        "nobody talks himself out of it"
    );
    assert!(
        !db.store
            .delete_app(partner, made.id, record(AuditAction::AppRemoved))
            .await
            .unwrap()
    );
    review(AppState::Approved).await.unwrap();
    assert!(
        db.store
            .delete_app(partner, made.id, record(AuditAction::AppRemoved))
            .await
            .unwrap()
    );
    assert_eq!(db.store.partner_apps(partner).await.unwrap(), vec![]);
    assert_eq!(
        db.store
            .create_app(
                PartnerId::new(),
                AppId::new(),
                &app("a"),
                record(AuditAction::AppHandedIn)
            )
            .await
            .unwrap(),
        None
    );
}

pub(super) async fn a_partner_has_so_many_apps_also_of_parallel_tries(db: &Database) {
    let partner = new_partner(&*db.store).await;
    let mut tries = JoinSet::new();
    for number in 0..MAX_APPS + 5 {
        let store = db.store.clone();
        tries.spawn(async move {
            store
                .create_app(
                    partner,
                    AppId::new(),
                    &app(&number.to_string()),
                    record(AuditAction::AppHandedIn),
                )
                .await
                .is_ok()
        });
    }
    let made = tries.join_all().await.into_iter().filter(|made| *made).count();
    assert_eq!(made, usize::try_from(MAX_APPS).unwrap());
}

pub(super) async fn an_app_that_is_not_admitted_brings_no_device(db: &Database) {
    let partner = new_partner(&*db.store).await;
    let register = |review_apps| {
        let device = NodeRegistration {
            review_apps,
            ..registration(partner, "device-1")
        };
        db.store.register_node(device)
    };
    assert_eq!(register(true).await.unwrap(), Registered::AppNotAdmitted);
    assert_eq!(db.store.node_count().await.unwrap(), 0, "nothing is kept of it");
    assert!(matches!(register(false).await.unwrap(), Registered::Accepted(_)));
    let facts = app("com.example.game");
    let made = db
        .store
        .create_app(partner, AppId::new(), &facts, record(AuditAction::AppHandedIn))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        register(true).await.unwrap(),
        Registered::AppNotAdmitted,
        "pending"
    );
    let review = |state| {
        db.store
            .review_app(partner, made.id, state, record(AuditAction::AppReviewed))
    };
    review(AppState::Approved).await.unwrap();
    assert!(matches!(register(true).await.unwrap(), Registered::Accepted(_)));
    review(AppState::Suspended).await.unwrap();
    for review_apps in [true, false] {
        assert_eq!(register(review_apps).await.unwrap(), Registered::AppNotAdmitted);
    }
    // Approved elsewhere, but not for this kind of device.
    let elsewhere = AppFacts {
        platform: AppPlatform::Ios,
        ..facts
    };
    let made = db
        .store
        .create_app(
            partner,
            AppId::new(),
            &elsewhere,
            record(AuditAction::AppHandedIn),
        )
        .await
        .unwrap()
        .unwrap();
    let entry = record(AuditAction::AppReviewed);
    db.store
        .review_app(partner, made.id, AppState::Approved, entry)
        .await
        .unwrap();
    assert_eq!(register(true).await.unwrap(), Registered::AppNotAdmitted);
}

pub(super) async fn an_account_acts_for_one_partner(db: &Database) {
    let (ours, theirs) = (new_partner(&*db.store).await, new_partner(&*db.store).await);
    let user = account_with(&*db.store, 0).await;
    let link = |partner, account| {
        let entry = record(AuditAction::PartnerUserLinked);
        db.store.link_partner_user(partner, account, entry)
    };
    assert_eq!(link(PartnerId::new(), user).await.unwrap(), Linked::NoPartner);
    assert_eq!(link(ours, AccountId::new()).await.unwrap(), Linked::NoAccount);
    let gone = account_with(&*db.store, 0).await;
    db.store.erase_account(gone, erasure(gone)).await.unwrap();
    assert_eq!(link(ours, gone).await.unwrap(), Linked::Deleted);
    assert_eq!(link(ours, user).await.unwrap(), Linked::Done);
    assert_eq!(link(theirs, user).await.unwrap(), Linked::OtherRole);
    assert_eq!(db.store.partner_of(user).await.unwrap(), Some(ours));
    let users = async |after, limit| db.store.partner_users(ours, after, limit).await.unwrap();
    let found = users(None, 10).await;
    assert_eq!(
        (found.len(), found[0].account, found[0].linked_at),
        (1, user, at(5))
    );
    let email = db.store.account(user).await.unwrap().unwrap().email;
    assert_eq!(found[0].email, email);
    let second = account_with(&*db.store, 0).await;
    assert_eq!(link(ours, second).await.unwrap(), Linked::Done);
    assert_eq!(users(None, 1).await, found);
    let behind = users(Some(user), 1).await;
    assert_eq!(behind[0].account, second);
    assert_eq!(users(Some(second), 1).await, []);
    assert_eq!(db.store.account(user).await.unwrap().unwrap().role, Role::Partner);
    let unlink = |partner| {
        let entry = record(AuditAction::PartnerUserUnlinked);
        db.store.unlink_partner_user(partner, user, entry)
    };
    assert!(!unlink(theirs).await.unwrap());
    assert!(unlink(ours).await.unwrap());
    assert!(!unlink(ours).await.unwrap());
    assert_eq!(
        db.store.account(user).await.unwrap().unwrap().role,
        Role::Customer
    );
}

pub(super) async fn a_partner_sees_its_own_alone(db: &Database) {
    let (ours, theirs) = (new_partner(&*db.store).await, new_partner(&*db.store).await);
    for (partner, device) in [(ours, "device-1"), (ours, "device-2"), (theirs, "device-3")] {
        db.store
            .register_node(registration(partner, device))
            .await
            .unwrap();
    }
    let summary = db.store.partner(ours, at(0)).await.unwrap().unwrap();
    assert_eq!(
        (summary.devices, summary.active_devices, summary.earned_micros),
        (2, 2, 0)
    );
    assert_eq!(
        db.store
            .partner(ours, at(1))
            .await
            .unwrap()
            .unwrap()
            .active_devices,
        0
    );
    let devices = db.store.partner_devices(ours, None, 1).await.unwrap();
    assert_eq!(devices[0].country.as_deref(), Some("DE"));
    let rest = db
        .store
        .partner_devices(ours, Some(devices[0].id), 10)
        .await
        .unwrap();
    assert_eq!(rest.len(), 1);
    let countries = db.store.partner_countries(ours, at(0)).await.unwrap();
    assert_eq!(
        (countries.len(), countries[0].devices, countries[0].active_devices),
        (1, 2, 2)
    );
    let made = db
        .store
        .create_app(theirs, AppId::new(), &app("a"), record(AuditAction::AppHandedIn))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        db.store
            .change_app(ours, made.id, &app("b"), record(AuditAction::AppChanged))
            .await
            .unwrap(),
        None
    );
    let entry = record(AuditAction::AppReviewed);
    let reviewed = db
        .store
        .review_app(ours, made.id, AppState::Approved, entry)
        .await
        .unwrap();
    assert_eq!(reviewed, None);
    assert!(
        !db.store
            .delete_app(ours, made.id, record(AuditAction::AppRemoved))
            .await
            .unwrap()
    );
    assert!(
        !db.store
            .delete_app(theirs, AppId::new(), record(AuditAction::AppRemoved))
            .await
            .unwrap()
    );
    let page = db.store.partners(Some(ours), at(0), 10).await.unwrap();
    assert_eq!(
        page.iter().map(|row| row.partner.id).collect::<Vec<_>>(),
        vec![theirs]
    );
}
