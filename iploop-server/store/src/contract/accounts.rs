use std::time::Duration;

use iploop_platform::account::{AccountStatus, MailTokenPurpose, NewAccount, Role};
use iploop_platform::ids::AccountId;
use iploop_platform::store::StoreError;
use tokio::task::JoinSet;

use super::{BONUS, Database, account_request, account_with, at, new_account};

const TRIES: usize = 50;

pub(super) async fn a_new_account_has_its_plan_and_its_bonus(db: &Database) {
    let request = account_request(&*db.store).await;
    let account = db.store.create_account(request.clone()).await.unwrap();
    assert_eq!(account.id, request.id);
    assert_eq!(
        account.email, request.email,
        "the address stays as it was written"
    );
    assert_eq!(
        (account.first_name.as_str(), account.last_name.as_str()),
        ("Ada", "Lovelace")
    );
    assert_eq!(account.company.as_deref(), Some("Engines"));
    assert_eq!(
        (account.status, account.role),
        (AccountStatus::Active, Role::Customer)
    );
    assert!(!account.email_verified);
    assert_eq!((account.created_at, account.last_login_at), (at(0), None));

    assert_eq!(
        db.store.plan_of(account.id).await.unwrap().unwrap().name,
        "Starter"
    );
    let balance = db.store.balance(account.id).await.unwrap();
    assert_eq!(
        (balance.bytes, balance.leased_bytes, balance.used_bytes),
        (BONUS, 0, 0)
    );
    assert_eq!(
        db.number("SELECT CAST(SUM(bytes) AS BIGINT) FROM billing_transactions")
            .await,
        BONUS
    );
}

pub(super) async fn an_account_without_bonus_has_no_transaction(db: &Database) {
    let account = account_with(&*db.store, 0).await;
    assert_eq!(db.store.balance(account).await.unwrap().bytes, 0);
    assert_eq!(db.number("SELECT COUNT(*) FROM billing_transactions").await, 0);
}

pub(super) async fn an_address_is_taken_in_any_case(db: &Database) {
    let first = NewAccount {
        email: "Zoë@Example.com".into(),
        ..account_request(&*db.store).await
    };
    db.store.create_account(first).await.unwrap();
    let again = NewAccount {
        email: " ZOË@example.COM ".into(),
        ..account_request(&*db.store).await
    };
    let refused = db.store.create_account(again.clone()).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict { what: "email" })),
        "{refused:?}"
    );
    assert_eq!(
        db.store.account(again.id).await.unwrap(),
        None,
        "nothing of the refused account stays"
    );
    assert_eq!(db.store.balance(again.id).await.unwrap().bytes, 0);
}

pub(super) async fn one_of_many_parallel_registrations_gets_the_address(db: &Database) {
    let mut tries = JoinSet::new();
    for _ in 0..TRIES {
        let store = db.store.clone();
        let request = NewAccount {
            email: "ada@example.com".into(),
            ..account_request(&*db.store).await
        };
        tries.spawn(async move { store.create_account(request).await });
    }
    let results = tries.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let refused = |result: &&Result<_, _>| matches!(result, Err(StoreError::Conflict { what: "email" }));
    assert_eq!(results.iter().filter(refused).count(), TRIES - 1);
    assert_eq!(db.number("SELECT COUNT(*) FROM user_plans").await, 1);
}

pub(super) async fn an_account_is_found_by_id_and_by_address_in_any_case(db: &Database) {
    let request = account_request(&*db.store).await;
    let made = db.store.create_account(request.clone()).await.unwrap();
    assert_eq!(db.store.account(made.id).await.unwrap(), Some(made.clone()));
    let found = db
        .store
        .account_by_email(&request.email.to_uppercase())
        .await
        .unwrap();
    assert_eq!(found, Some((made.clone(), "$argon2id$first".to_owned())));
    assert_eq!(
        db.store.password_hash(made.id).await.unwrap().as_deref(),
        Some("$argon2id$first")
    );
}

pub(super) async fn unknown_accounts_are_none(db: &Database) {
    let nobody = AccountId::new();
    assert_eq!(db.store.account(nobody).await.unwrap(), None);
    assert_eq!(
        db.store.account_by_email("nobody@example.com").await.unwrap(),
        None
    );
    assert_eq!(db.store.password_hash(nobody).await.unwrap(), None);
}

pub(super) async fn a_password_changes_and_a_login_is_noted(db: &Database) {
    let (account, other) = (new_account(&*db.store).await, new_account(&*db.store).await);
    let known = db.store.password_hash(account).await.unwrap().unwrap();
    let set = async |hash: &str| db.store.set_password(account, &known, hash, at(1)).await.unwrap();
    assert!(set("$argon2id$second").await);
    assert!(
        !set("$argon2id$third").await,
        "the known one is another one by now"
    );
    db.store.touch_login(account, at(2)).await.unwrap();
    assert_eq!(
        db.store.password_hash(account).await.unwrap().as_deref(),
        Some("$argon2id$second")
    );
    assert_eq!(
        db.store.account(account).await.unwrap().unwrap().last_login_at,
        Some(at(2))
    );
    assert_eq!(
        db.store.password_hash(other).await.unwrap().as_deref(),
        Some("$argon2id$first")
    );
    assert_eq!(
        db.store.account(other).await.unwrap().unwrap().last_login_at,
        None
    );
}

pub(super) async fn a_mail_token_is_good_for_its_purpose_until_it_expires(db: &Database) {
    let account = new_account(&*db.store).await;
    let purpose = MailTokenPurpose::ResetPassword;
    db.store
        .create_mail_token(account, purpose, "token", at(0), at(60))
        .await
        .unwrap();
    assert_eq!(
        db.store.mail_token(purpose, "token", at(59)).await.unwrap(),
        Some(account)
    );
    assert_eq!(db.store.mail_token(purpose, "token", at(60)).await.unwrap(), None);
    assert_eq!(db.store.mail_token(purpose, "other", at(1)).await.unwrap(), None);
    assert_eq!(
        db.store
            .mail_token(MailTokenPurpose::VerifyEmail, "token", at(1))
            .await
            .unwrap(),
        None
    );

    assert_eq!(
        db.store.verify_email("token", at(1)).await.unwrap(),
        None,
        "not its purpose"
    );
    assert_eq!(
        db.store
            .reset_password("token", "$argon2id$second", at(60))
            .await
            .unwrap(),
        None,
        "expired"
    );
    assert_eq!(
        db.store.password_hash(account).await.unwrap().as_deref(),
        Some("$argon2id$first")
    );
}

pub(super) async fn a_newer_mail_token_ends_the_one_before(db: &Database) {
    let account = new_account(&*db.store).await;
    let (verify, reset) = (MailTokenPurpose::VerifyEmail, MailTokenPurpose::ResetPassword);
    db.store
        .create_mail_token(account, verify, "verify", at(0), at(60))
        .await
        .unwrap();
    db.store
        .create_mail_token(account, reset, "first", at(0), at(60))
        .await
        .unwrap();
    assert_eq!(
        db.store
            .reset_password("first", "$argon2id$second", at(1))
            .await
            .unwrap(),
        Some(account)
    );
    db.store
        .create_mail_token(account, reset, "second", at(2), at(60))
        .await
        .unwrap();
    db.store
        .create_mail_token(account, reset, "third", at(2), at(60))
        .await
        .unwrap();
    assert_eq!(db.store.mail_token(reset, "first", at(3)).await.unwrap(), None);
    assert_eq!(db.store.mail_token(reset, "second", at(3)).await.unwrap(), None);
    assert_eq!(
        db.store.mail_token(reset, "third", at(3)).await.unwrap(),
        Some(account)
    );
    assert_eq!(
        db.store.mail_token(verify, "verify", at(3)).await.unwrap(),
        Some(account),
        "another purpose"
    );
}

pub(super) async fn an_address_is_verified_exactly_once_of_many_parallel_tries(db: &Database) {
    let account = new_account(&*db.store).await;
    db.store
        .create_mail_token(account, MailTokenPurpose::VerifyEmail, "token", at(0), at(60))
        .await
        .unwrap();
    let mut tries = JoinSet::new();
    for _ in 0..TRIES {
        let store = db.store.clone();
        tries.spawn(async move { store.verify_email("token", at(1)).await.unwrap() });
    }
    let successes: Vec<_> = tries.join_all().await.into_iter().flatten().collect();
    assert_eq!(successes, [account]);
    assert!(db.store.account(account).await.unwrap().unwrap().email_verified);
}

pub(super) async fn a_password_is_reset_exactly_once_of_many_parallel_tries(db: &Database) {
    let account = new_account(&*db.store).await;
    db.store
        .create_mail_token(account, MailTokenPurpose::ResetPassword, "token", at(0), at(60))
        .await
        .unwrap();
    let mut tries = JoinSet::new();
    for number in 0..TRIES {
        let store = db.store.clone();
        tries.spawn(async move {
            let hash = format!("$argon2id${number}");
            store
                .reset_password("token", &hash, at(1))
                .await
                .unwrap()
                .map(|account| (account, hash))
        });
    }
    let successes: Vec<_> = tries.join_all().await.into_iter().flatten().collect();
    let [(winner, hash)] = &successes[..] else {
        panic!("{successes:?}")
    };
    assert_eq!(*winner, account);
    assert_eq!(
        db.store.password_hash(account).await.unwrap().as_ref(),
        Some(hash)
    );
}

pub(super) async fn a_revoked_login_is_listed_until_it_expires(db: &Database) {
    db.store.revoke_login("late", at(120)).await.unwrap();
    db.store.revoke_login("early", at(60)).await.unwrap();
    db.store.revoke_login("early", at(60)).await.unwrap();
    let both = [("early".to_owned(), at(60)), ("late".to_owned(), at(120))];
    assert_eq!(db.store.revoked_logins(at(0)).await.unwrap(), both);
    assert_eq!(db.store.revoked_logins(at(60)).await.unwrap(), both[1..]);
    // Long after its end, the row is gone too.
    let much_later = at(60).plus(Duration::from_secs(2 * 60 * 60));
    assert_eq!(db.store.revoked_logins(much_later).await.unwrap(), []);
    assert_eq!(db.number("SELECT COUNT(*) FROM revoked_logins").await, 0);
}

pub(super) async fn text_with_nul_is_stored_without_it(db: &Database) {
    let request = NewAccount {
        email: "a\0da@example.com".into(),
        first_name: "A\0da".into(),
        company: Some("\0".into()),
        ..account_request(&*db.store).await
    };
    let account = db.store.create_account(request).await.unwrap();
    assert_eq!(
        (account.first_name.as_str(), account.company.as_deref()),
        ("Ada", Some(""))
    );
    assert!(
        db.store
            .account_by_email("ada\0@example.com")
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(db.store.verify_email("\0", at(1)).await.unwrap(), None);
}
