use iploop_platform::abuse::{Actor, AuditAction, AuditEntry, AuditQuery, Told};
use iploop_platform::account::{AccountStatus, MailTokenPurpose, NewAccount, Role, Standing};
use iploop_platform::accounts::{Erased, ProfileChange, Unlock};
use iploop_platform::admin::UserChange;
use iploop_platform::api_key::{ApiKeyHash, NewApiKey};
use iploop_platform::ids::{AccountId, ApiKeyId, GatewayId, HoldId, LoginId};
use iploop_platform::ip_login::UsedAddress;
use iploop_platform::login::{NewLogin, Origin, SignInSettings};
use iploop_platform::notices::Notice;
use iploop_platform::partners::Linked;
use iploop_platform::usage::UsageRecord;
use tokio::task::JoinSet;

use super::audit::erasure;
use super::nodes::new_partner;
use super::safeguards::audit;
use super::{BONUS, Database, account_request, at, new_account, usage};

async fn account_as(db: &Database, role: Role) -> AccountId {
    let request = NewAccount {
        role,
        ..account_request(&*db.store).await
    };
    db.store.create_account(request).await.unwrap().id
}

pub(super) async fn a_profile_changes_in_what_is_given(db: &Database) {
    let account = new_account(&*db.store).await;
    let before = db.store.account(account).await.unwrap().unwrap();
    assert_eq!(before.time_zone, "UTC");
    let change = ProfileChange {
        first_name: Some("Gr\0ace".into()),
        phone: Some(Some("+49301234567".into())),
        time_zone: Some("Europe/Berlin".into()),
        ..ProfileChange::default()
    };
    let changed = db
        .store
        .change_profile(account, &change, at(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (
            changed.first_name.as_str(),
            changed.last_name.as_str(),
            changed.company.as_deref()
        ),
        ("Grace", "Lovelace", Some("Engines"))
    );
    let cleared = ProfileChange {
        company: Some(None),
        ..ProfileChange::default()
    };
    db.store
        .change_profile(account, &cleared, at(2))
        .await
        .unwrap()
        .unwrap();
    let after = db.store.account(account).await.unwrap().unwrap();
    assert_eq!(
        (
            after.company.as_deref(),
            after.phone.as_deref(),
            after.time_zone.as_str()
        ),
        (None, Some("+49301234567"), "Europe/Berlin")
    );
    let nobody = db
        .store
        .change_profile(AccountId::new(), &change, at(1))
        .await
        .unwrap();
    assert_eq!(nobody, None);
}

pub(super) async fn whatever_changes_an_account_is_dated_and_a_sign_in_is_not(db: &Database) {
    let store = &db.store;
    let account = new_account(&**store).await;
    let dated = async || store.account(account).await.unwrap().unwrap().updated_at;
    let entry = |second| audit(AuditAction::UserRoleChanged, Some(account), second);
    assert_eq!(dated().await, at(0));
    store.touch_login(account, at(1)).await.unwrap();
    assert_eq!(dated().await, at(0), "a sign-in");

    let change = ProfileChange::default();
    store.change_profile(account, &change, at(2)).await.unwrap();
    assert_eq!(dated().await, at(2), "the profile");
    for (purpose, token) in [
        (MailTokenPurpose::VerifyEmail, "verify"),
        (MailTokenPurpose::ResetPassword, "reset"),
    ] {
        let made = store
            .create_mail_token(account, purpose, token, at(2), at(99))
            .await;
        made.unwrap();
    }
    store.verify_email("verify", at(3)).await.unwrap();
    assert_eq!(dated().await, at(3), "the address");
    store.reset_password("reset", "first", at(4)).await.unwrap();
    assert_eq!(dated().await, at(4), "a forgotten password");
    assert!(
        store
            .set_password(account, "first", "second", at(5))
            .await
            .unwrap()
    );
    assert_eq!(dated().await, at(5), "a password");
    let set = store
        .set_sign_in_settings(account, Some(Some(15)), None, at(6))
        .await;
    assert!(set.unwrap());
    assert_eq!(dated().await, at(6), "sign-in settings");
    let unlock = Unlock {
        second_factor: false,
        allowed_from: true,
    };
    assert!(
        store
            .unlock_account(account, unlock, entry(7))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(dated().await, at(7), "let in again");

    let (active, suspended) = (AccountStatus::Active, AccountStatus::Suspended);
    let moved = store
        .set_account_status(account, active, suspended, entry(8), &Told::Nobody)
        .await;
    assert!(moved.unwrap());
    assert_eq!(dated().await, at(8), "suspended");
    let changes = vec![(UserChange::Status(active), entry(9))];
    store.change_user(account, changes).await.unwrap();
    assert_eq!(dated().await, at(9), "reinstated");
    assert!(
        store
            .set_standing(account, Standing::Established, entry(10))
            .await
            .unwrap()
    );
    assert_eq!(dated().await, at(10), "standing");
    let changes = vec![
        (UserChange::Role(Role::Owner), entry(11)),
        (UserChange::Role(Role::Customer), entry(12)),
    ];
    store.change_user(account, changes).await.unwrap();
    assert_eq!(dated().await, at(12), "rights");

    let partner = new_partner(&**store).await;
    let link = async |second| {
        let linked = store.link_partner_user(partner, account, entry(second)).await;
        assert_eq!(linked.unwrap(), Linked::Done);
    };
    link(13).await;
    assert_eq!(dated().await, at(13), "acts for a partner");
    assert!(
        store
            .unlink_partner_user(partner, account, entry(14))
            .await
            .unwrap()
    );
    assert_eq!(dated().await, at(14), "no longer");
    link(15).await;
    store.delete_partner(partner, at(0), entry(16)).await.unwrap();
    assert_eq!(dated().await, at(16), "the partner is gone");
    store
        .erase_account(
            account,
            AuditEntry {
                at: at(17),
                ..erasure(account)
            },
        )
        .await
        .unwrap();
    assert_eq!(dated().await, at(17), "erased");
}

pub(super) async fn sign_in_settings_are_stored_and_read_back(db: &Database) {
    let account = new_account(&*db.store).await;
    let settings = async || db.store.sign_in_settings(account).await.unwrap().unwrap();
    assert_eq!(settings().await, SignInSettings::default());
    let networks = [
        "192.0.2.0/24".parse().unwrap(),
        "2001:db8::1/128".parse().unwrap(),
    ];
    assert!(
        db.store
            .set_sign_in_settings(account, Some(Some(15)), Some(&networks), at(1))
            .await
            .unwrap()
    );
    assert_eq!(
        (settings().await.idle_minutes, settings().await.allowed_from),
        (Some(15), networks.to_vec())
    );
    let set = async |idle, from| {
        db.store
            .set_sign_in_settings(account, idle, from, at(1))
            .await
            .unwrap()
    };
    assert!(set(Some(Some(60)), None).await);
    assert!(set(None, Some(&networks[..1])).await);
    assert_eq!(
        (settings().await.idle_minutes, settings().await.allowed_from),
        (Some(60), networks[..1].to_vec()),
        "what is absent stays"
    );
    assert!(set(Some(None), Some(&[])).await);
    assert_eq!(settings().await, SignInSettings::default());
    assert!(
        !db.store
            .set_sign_in_settings(AccountId::new(), None, Some(&[]), at(1))
            .await
            .unwrap()
    );
    assert_eq!(db.store.sign_in_settings(AccountId::new()).await.unwrap(), None);
}

pub(super) async fn every_role_reads_back(db: &Database) {
    for role in [Role::Customer, Role::Admin, Role::Partner, Role::Owner] {
        let account = account_as(db, role).await;
        assert_eq!(db.store.account(account).await.unwrap().unwrap().role, role);
    }
}

pub(super) async fn an_erased_account_leaves_money_and_usage_and_nothing_personal(db: &Database) {
    let store = &db.store;
    let request = account_request(&**store).await;
    let account = store.create_account(request.clone()).await.unwrap().id;
    let hash = ApiKeyHash::of("iploop_secret");
    let key = NewApiKey {
        id: ApiKeyId::new(),
        account,
        hash,
        key_prefix: "iploop_".into(),
        name: "one".into(),
        ip_whitelist: Vec::new(),
        ip_login: false,
        limits: Default::default(),
        expires_at: None,
        now: at(0),
    };
    store.create_api_key(key).await.unwrap();
    let used = UsageRecord {
        bytes_down: 1_000,
        ..usage(account, GatewayId::new())
    };
    store.settle(&[used], at(20)).await.unwrap();
    let login = NewLogin {
        id: LoginId::new(),
        account,
        origin: Origin::new("192.0.2.1".parse().unwrap(), None),
        now: at(0),
        expires_at: at(1_000),
    };
    store.open_login(&login).await.unwrap();
    store
        .set_up_second_factor(account, "sealed", at(0))
        .await
        .unwrap();
    store
        .confirm_second_factor(account, "sealed", 7, &["code".to_owned()], at(1))
        .await
        .unwrap();
    let purpose = iploop_platform::account::MailTokenPurpose::ResetPassword;
    store
        .create_mail_token(account, purpose, "token", at(3), at(60))
        .await
        .unwrap();
    let proven = UsedAddress {
        address: "198.51.100.7".parse().unwrap(),
        account,
        at: at(4),
    };
    store.claim_address(proven, at(0)).await.unwrap();

    assert_eq!(
        store.erase_account(account, erasure(account)).await.unwrap(),
        Erased::Gone
    );
    assert_eq!(
        store.erase_account(account, erasure(account)).await.unwrap(),
        Erased::NotThere
    );
    let rest = store.account(account).await.unwrap().unwrap();
    assert_eq!(rest.status, AccountStatus::Deleted);
    assert_eq!(
        (
            rest.first_name.as_str(),
            rest.last_name.as_str(),
            rest.company,
            rest.phone
        ),
        ("", "", None, None)
    );
    assert_eq!(rest.email, format!("{account}@deleted.invalid"));
    assert!(store.key_grant(hash).await.unwrap().is_none());
    assert!(store.open_login(&login).await.unwrap().is_none());
    assert_eq!(
        store
            .reset_password("token", "$argon2id$new", at(5))
            .await
            .unwrap(),
        None
    );
    for table in [
        "SELECT COUNT(*) FROM api_keys",
        "SELECT COUNT(*) FROM login_sessions",
        "SELECT COUNT(*) FROM login_networks",
        "SELECT COUNT(*) FROM mail_tokens",
        "SELECT COUNT(*) FROM ip_login_addresses",
        "SELECT COUNT(*) FROM second_factors",
        "SELECT COUNT(*) FROM recovery_codes",
    ] {
        assert_eq!(db.number(table).await, 0, "{table}");
    }
    let balance = store.balance(account).await.unwrap();
    assert_eq!((balance.bytes, balance.used_bytes), (BONUS - 1_000, 1_000));
    let lines = store.transactions(account, None, 10).await.unwrap();
    assert_eq!(lines.len(), 2, "the bonus and the usage");
    assert_eq!(store.recent_usage(account, 10).await.unwrap().len(), 1);
    let query = AuditQuery {
        account: Some(account),
        limit: 10,
        ..AuditQuery::default()
    };
    assert_eq!(
        store.audit_entries(&query).await.unwrap().len(),
        1,
        "on record once"
    );

    let again = NewAccount {
        id: AccountId::new(),
        ..request
    };
    assert!(store.create_account(again).await.is_ok(), "the address is free");
}

pub(super) async fn the_last_admin_stays_also_when_two_go_at_once(db: &Database) {
    let admins = [
        account_as(db, Role::Admin).await,
        account_as(db, Role::Admin).await,
    ];
    let mut leaving = JoinSet::new();
    for admin in admins {
        let store = db.store.clone();
        leaving.spawn(async move { store.erase_account(admin, erasure(admin)).await.unwrap() });
    }
    let mut outcomes = leaving.join_all().await;
    outcomes.sort_by_key(|outcome| *outcome != Erased::Gone);
    assert_eq!(outcomes, [Erased::Gone, Erased::LastAdmin]);
}

pub(super) async fn who_is_locked_out_is_let_in_on_record_and_told(db: &Database) {
    let account = new_account(&*db.store).await;
    let lock = async || {
        db.store
            .set_up_second_factor(account, "sealed", at(1))
            .await
            .unwrap();
        let codes = ["a".to_owned(), "b".to_owned()];
        assert!(
            db.store
                .confirm_second_factor(account, "sealed", 7, &codes, at(2))
                .await
                .unwrap()
        );
        let networks = ["192.0.2.0/24".parse().unwrap()];
        db.store
            .set_sign_in_settings(account, Some(Some(15)), Some(&networks), at(1))
            .await
            .unwrap();
        let login = NewLogin {
            id: LoginId::new(),
            account,
            origin: Origin::new("192.0.2.1".parse().unwrap(), None),
            now: at(3),
            expires_at: at(90_000),
        };
        db.store.open_login(&login).await.unwrap().unwrap();
        login.id
    };
    let unlock = async |account, second_factor, allowed_from| {
        let unlock = Unlock {
            second_factor,
            allowed_from,
        };
        let entry = AuditEntry {
            actor: Actor::CommandLine,
            action: AuditAction::AccountUnlocked,
            reason: "by telephone".into(),
            ..erasure(account)
        };
        db.store.unlock_account(account, unlock, entry).await.unwrap()
    };
    let settings = async || db.store.sign_in_settings(account).await.unwrap().unwrap();
    let login = lock().await;
    let list_only = unlock(account, false, true).await.unwrap();
    assert_eq!(
        (
            list_only.had_second_factor,
            list_only.allowed_from.len(),
            list_only.ended_logins
        ),
        (false, 1, 1)
    );
    let left = settings().await;
    assert!(left.has_second_factor && left.allowed_from.is_empty());
    assert_eq!(left.idle_minutes, Some(15), "what keeps nobody out stays");
    let known = db.store.known_login(account, login).await.unwrap().unwrap();
    assert_eq!(known.last_seen_at, None, "the login has ended");

    lock_again(db, account).await;
    let both = unlock(account, true, true).await.unwrap();
    assert!(both.had_second_factor && both.allowed_from.len() == 1 && both.ended_logins == 0);
    assert_eq!(
        settings().await,
        SignInSettings {
            idle_minutes: Some(15),
            ..SignInSettings::default()
        }
    );
    assert_eq!(db.store.second_factor(account).await.unwrap(), None);
    assert_eq!(
        db.store.use_recovery_code(account, "a", at(9)).await.unwrap(),
        None
    );
    assert_eq!(unlock(AccountId::new(), true, true).await, None);

    let query = AuditQuery {
        account: Some(account),
        limit: 10,
        ..AuditQuery::default()
    };
    let records = db.store.audit_entries(&query).await.unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(
        records[0].before,
        serde_json::json!({"secondFactor": true, "ipAllowList": ["198.51.100.0/24"], "logins": 0})
    );
    assert_eq!(
        records[1].after,
        serde_json::json!({"secondFactor": true, "ipAllowList": [], "logins": 0})
    );
    let mails = db
        .store
        .claim_mails(at(9), HoldId::new(), at(10), 20)
        .await
        .unwrap();
    let unlocked = mails.iter().filter(|mail| mail.notice == Notice::AccountUnlocked);
    assert_eq!(unlocked.count(), 2);
}

async fn lock_again(db: &Database, account: AccountId) {
    let networks = ["198.51.100.0/24".parse().unwrap()];
    db.store
        .set_sign_in_settings(account, Some(Some(15)), Some(&networks), at(1))
        .await
        .unwrap();
}
