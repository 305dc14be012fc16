use iploop_platform::abuse::{AuditAction, AuditEntry, AuditQuery, Told};
use iploop_platform::account::{Account, AccountStatus, NewAccount, Role};
use iploop_platform::admin::{UserChange, UserChanged, UserPage, UserQuery};
use iploop_platform::api_key::{ApiKeyHash, NewApiKey};
use iploop_platform::ids::{AccountId, ApiKeyId, PlanId};
use iploop_platform::keys::KeyLimits;
use iploop_platform::partners::Linked;
use iploop_platform::store::StoreError;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::audit::newest;
use super::nodes::new_partner;
use super::safeguards::audit;
use super::{BONUS, Database, account_request, at, new_account};

const TRIES: usize = 50;

async fn plan(db: &Database, name: &str) -> PlanId {
    let plans = db.store.plans().await.unwrap();
    plans.iter().find(|plan| plan.name == name).unwrap().id
}

async fn user(db: &Database, change: impl FnOnce(&mut NewAccount)) -> Account {
    let mut request = account_request(&*db.store).await;
    change(&mut request);
    db.store.create_account(request).await.unwrap()
}

async fn admin(db: &Database) -> AccountId {
    let is_admin = |new: &mut NewAccount| {
        new.role = Role::Admin;
        new.email_verified = true;
    };
    user(db, is_admin).await.id
}

fn with(change: UserChange, account: AccountId) -> (UserChange, AuditEntry) {
    (change, audit(AuditAction::UserRoleChanged, Some(account), 1))
}

async fn change(db: &Database, account: AccountId, one: UserChange) -> UserChanged {
    let changes = vec![with(one, account)];
    db.store.change_user(account, changes).await.unwrap()
}

async fn found(db: &Database, query: UserQuery) -> Vec<AccountId> {
    let page = db
        .store
        .user_page(&UserQuery { limit: 100, ..query })
        .await
        .unwrap();
    assert_eq!(page.total, page.rows.len() as u64);
    page.rows.iter().map(|row| row.account.id).collect()
}

pub(super) async fn a_page_of_users_is_what_was_asked_for(db: &Database) {
    let ada = user(db, |_| {}).await;
    let growth = plan(db, "Growth").await;
    let grace = user(db, |new| new.plan = growth).await;
    let root = admin(db).await;
    change(db, ada.id, UserChange::Status(AccountStatus::Suspended)).await;
    let of = |query: UserQuery| found(db, query);
    assert_eq!(
        of(UserQuery::default()).await,
        [root, grace.id, ada.id],
        "newest first"
    );
    let suspended = UserQuery {
        status: Some(AccountStatus::Suspended),
        ..UserQuery::default()
    };
    assert_eq!(of(suspended.clone()).await, [ada.id]);
    let admins = UserQuery {
        role: Some(Role::Admin),
        ..UserQuery::default()
    };
    assert_eq!(of(admins).await, [root]);
    let on_growth = UserQuery {
        plan: Some(growth),
        ..UserQuery::default()
    };
    assert_eq!(of(on_growth.clone()).await, [grace.id]);
    let both = UserQuery {
        plan: Some(growth),
        ..suspended
    };
    assert!(of(both).await.is_empty());

    let UserPage { rows, .. } = db
        .store
        .user_page(&UserQuery {
            limit: 5,
            ..on_growth
        })
        .await
        .unwrap();
    assert_eq!(rows[0].account, grace);
    assert_eq!(rows[0].plan, Some((growth, "Growth".to_owned())));
    assert_eq!((rows[0].balance_bytes, rows[0].used_bytes), (BONUS, 0));
}

pub(super) async fn pages_meet_every_user_once_by_number_and_by_cursor(db: &Database) {
    let mut all = Vec::new();
    for _ in 0..7 {
        all.insert(0, new_account(&*db.store).await);
    }
    let mut by_number = Vec::new();
    let mut by_cursor = Vec::new();
    for offset in [0, 3, 6] {
        let query = UserQuery {
            offset,
            limit: 3,
            ..UserQuery::default()
        };
        let page = db.store.user_page(&query).await.unwrap();
        assert_eq!(page.total, 7);
        by_number.extend(page.rows.iter().map(|row| row.account.id));
        let query = UserQuery {
            before: by_cursor.last().copied(),
            limit: 3,
            ..UserQuery::default()
        };
        let page = db.store.user_page(&query).await.unwrap();
        assert_eq!(page.total, 7, "whatever the page");
        by_cursor.extend(page.rows.iter().map(|row| row.account.id));
    }
    assert_eq!(by_number, all);
    assert_eq!(by_cursor, all);
}

pub(super) async fn a_search_knows_no_case_and_takes_every_letter_as_itself(db: &Database) {
    let zoe = user(db, |new| {
        new.email = "Z_oe%1@Example.com".into();
        new.first_name = "ZOË".into();
        new.last_name = "O'Brien\\x".into();
        new.company = Some("100% Ltd".into());
    })
    .await
    .id;
    let other = user(db, |new| new.email = "zaoeb1@example.com".into()).await.id;
    let search = |text: &str| {
        let query = UserQuery {
            search: Some(text.to_owned()),
            ..UserQuery::default()
        };
        found(db, query)
    };
    for text in [
        "z_OE%",
        "zoë",
        "ZOË o'b",
        "O'BRIEN\\X",
        "100%",
        "e%1@example",
        "\0zoë",
    ] {
        assert_eq!(search(text).await, [zoe], "{text}");
    }
    assert_eq!(search("1@EXAMPLE.com").await, [other, zoe]);
    for text in ["z__oe", "o'br_en", "%%"] {
        assert!(search(text).await.is_empty(), "{text}");
    }
}

pub(super) async fn a_user_made_by_an_admin_is_on_record(db: &Database) {
    let request = account_request(&*db.store).await;
    let entry = audit(AuditAction::UserCreated, Some(request.id), 3);
    let made = db.store.create_user(request.clone(), entry).await.unwrap();
    assert_eq!(db.store.account(request.id).await.unwrap(), Some(made));
    assert_eq!(db.store.balance(request.id).await.unwrap().bytes, BONUS);
    let record = newest(db).await;
    assert_eq!(record.account, Some(request.id));
    assert_eq!(record.after["email"], json!(request.email));

    let again = NewAccount {
        id: AccountId::new(),
        ..request
    };
    let entry = audit(AuditAction::UserCreated, Some(again.id), 4);
    let refused = db.store.create_user(again, entry).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict { what: "email" })),
        "{refused:?}"
    );
    assert_eq!(newest(db).await, record, "nothing of it stays");
}

pub(super) async fn changes_are_made_all_or_none_each_with_its_record(db: &Database) {
    let (growth, starter) = (plan(db, "Growth").await, plan(db, "Starter").await);
    let ada = user(db, |new| new.email_verified = true).await.id;
    let changes = vec![
        with(UserChange::Role(Role::Admin), ada),
        with(UserChange::Status(AccountStatus::Active), ada),
        with(UserChange::Plan(growth), ada),
    ];
    let done = db.store.change_user(ada, changes).await.unwrap();
    assert_eq!(done, UserChanged::Done(2), "it is active already");
    let query = AuditQuery {
        account: Some(ada),
        limit: 10,
        ..AuditQuery::default()
    };
    let records = db.store.audit_entries(&query).await.unwrap();
    let values: Vec<(Value, Value)> = records
        .into_iter()
        .map(|record| (record.before, record.after))
        .collect();
    assert_eq!(
        values,
        [
            (
                json!({ "plan": starter, "name": "Starter" }),
                json!({ "plan": growth, "name": "Growth" })
            ),
            (json!({ "role": "customer" }), json!({ "role": "admin" })),
        ]
    );
    assert_eq!(db.store.plan_of(ada).await.unwrap().unwrap().id, growth);

    let nowhere = PlanId::new();
    let grace = new_account(&*db.store).await;
    let changes = vec![
        with(UserChange::Status(AccountStatus::Suspended), grace),
        with(UserChange::Plan(nowhere), grace),
    ];
    let refused = db.store.change_user(grace, changes).await.unwrap();
    assert_eq!(refused, UserChanged::NoSuchPlan);
    let status = db.store.account(grace).await.unwrap().unwrap().status;
    assert_eq!(status, AccountStatus::Active, "all or none");
    let nobody = AccountId::new();
    assert_eq!(
        change(db, nobody, UserChange::Role(Role::Admin)).await,
        UserChanged::NotFound
    );
    db.execute("UPDATE plans SET is_active = FALSE WHERE name = 'Business'")
        .await;
    let business = plan(db, "Business").await;
    assert_eq!(
        change(db, grace, UserChange::Plan(business)).await,
        UserChanged::PlanInactive
    );
}

pub(super) async fn a_deleted_user_stays_deleted_and_its_keys_are_off(db: &Database) {
    let ada = new_account(&*db.store).await;
    let key = NewApiKey {
        id: ApiKeyId::new(),
        account: ada,
        hash: ApiKeyHash::of("a key"),
        key_prefix: "iploop_0000000".into(),
        name: "one".into(),
        limits: KeyLimits::default(),
        ip_whitelist: Vec::new(),
        ip_login: false,
        expires_at: None,
        now: at(0),
    };
    db.store.create_api_key(key).await.unwrap();
    let gone = UserChange::Status(AccountStatus::Deleted);
    assert_eq!(change(db, ada, gone).await, UserChanged::Done(1));
    let grant = db
        .store
        .key_grant(ApiKeyHash::of("a key"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(grant.account_status, AccountStatus::Deleted);
    assert!(!grant.key.is_active);
    assert_eq!(change(db, ada, gone).await, UserChanged::Done(0));
    for back in [
        UserChange::Status(AccountStatus::Active),
        UserChange::Role(Role::Admin),
    ] {
        assert_eq!(change(db, ada, back).await, UserChanged::Deleted);
    }
    assert_eq!(
        db.store.balance(ada).await.unwrap().bytes,
        BONUS,
        "the books stay"
    );
}

pub(super) async fn an_admin_is_active_and_verified(db: &Database) {
    let make_admin = UserChange::Role(Role::Admin);
    let unverified = new_account(&*db.store).await;
    assert_eq!(change(db, unverified, make_admin).await, UserChanged::NotEligible);
    let suspended = user(db, |new| new.email_verified = true).await.id;
    change(db, suspended, UserChange::Status(AccountStatus::Suspended)).await;
    assert_eq!(change(db, suspended, make_admin).await, UserChanged::NotEligible);
    change(db, suspended, UserChange::Status(AccountStatus::Active)).await;
    assert_eq!(change(db, suspended, make_admin).await, UserChanged::Done(1));
}

pub(super) async fn another_role_ends_that_a_user_acts_for_a_partner(db: &Database) {
    let partner = new_partner(&*db.store).await;
    let ada = new_account(&*db.store).await;
    let entry = || audit(AuditAction::PartnerUserLinked, Some(ada), 1);
    let linked = db.store.link_partner_user(partner, ada, entry()).await.unwrap();
    assert_eq!(linked, Linked::Done);
    assert_eq!(
        change(db, ada, UserChange::Role(Role::Owner)).await,
        UserChanged::Done(1)
    );
    assert_eq!(db.store.partner_of(ada).await.unwrap(), None);
    let before = newest(db).await.before;
    assert_eq!(before, json!({ "role": "partner", "partnerId": partner }));
    assert_eq!(
        change(db, ada, UserChange::Role(Role::Customer)).await,
        UserChanged::Done(1)
    );
    let again = db.store.link_partner_user(partner, ada, entry()).await.unwrap();
    assert_eq!(again, Linked::Done, "nothing of it was left");
}

pub(super) async fn the_last_active_admin_stays_one_whatever_is_tried_at_once(db: &Database) {
    let mut admins = Vec::new();
    for _ in 0..5 {
        admins.push(admin(db).await);
    }
    let mut tries = JoinSet::new();
    for number in 0..TRIES {
        let store = db.store.clone();
        let target = admins[number % admins.len()];
        tries.spawn(async move {
            let suspend = UserChange::Status(AccountStatus::Suspended);
            let change = match number % 4 {
                0 => UserChange::Role(Role::Customer),
                1 => suspend,
                2 => UserChange::Status(AccountStatus::Deleted),
                _ => {
                    let entry = audit(AuditAction::AccountSuspended, Some(target), 1);
                    let (from, to) = (AccountStatus::Active, AccountStatus::Suspended);
                    let done = store
                        .set_account_status(target, from, to, entry, &Told::Nobody)
                        .await;
                    assert!(
                        matches!(done, Ok(_) | Err(StoreError::Conflict { what: "last admin" })),
                        "{done:?}"
                    );
                    return;
                }
            };
            store
                .change_user(target, vec![with(change, target)])
                .await
                .unwrap();
        });
    }
    tries.join_all().await;
    let left = "SELECT COUNT(*) FROM users WHERE role = 'admin' AND status = 'active'";
    assert_eq!(db.number(left).await, 1);
    let query = UserQuery {
        role: Some(Role::Admin),
        status: Some(AccountStatus::Active),
        ..UserQuery::default()
    };
    let last = found(db, query).await[0];
    for change_to in [
        UserChange::Role(Role::Customer),
        UserChange::Status(AccountStatus::Suspended),
        UserChange::Status(AccountStatus::Deleted),
    ] {
        assert_eq!(change(db, last, change_to).await, UserChanged::LastAdmin);
    }
}
