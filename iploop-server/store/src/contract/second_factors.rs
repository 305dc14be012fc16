use iploop_platform::ids::AccountId;
use tokio::task::JoinSet;

use super::{Database, at, new_account};

/// Tries of one code at the same time.
const TRIES: usize = 50;

fn codes() -> Vec<String> {
    (0..10).map(|number| format!("code {number}")).collect()
}

async fn account_with_factor(db: &Database) -> AccountId {
    let account = new_account(&*db.store).await;
    assert!(
        db.store
            .set_up_second_factor(account, "sealed", at(0))
            .await
            .unwrap()
    );
    assert!(
        db.store
            .confirm_second_factor(account, "sealed", 7, &codes(), at(1))
            .await
            .unwrap()
    );
    account
}

pub(super) async fn a_second_factor_is_on_once_it_is_confirmed(db: &Database) {
    let store = &db.store;
    let account = new_account(&**store).await;
    assert_eq!(store.second_factor(account).await.unwrap(), None);
    assert!(store.set_up_second_factor(account, "first", at(0)).await.unwrap());
    assert!(
        store
            .set_up_second_factor(account, "second", at(1))
            .await
            .unwrap(),
        "not confirmed: replaced"
    );
    let waiting = store.second_factor(account).await.unwrap().unwrap();
    assert_eq!((waiting.is_on, waiting.sealed_secret.as_str()), (false, "second"));
    assert!(
        !store
            .sign_in_settings(account)
            .await
            .unwrap()
            .unwrap()
            .has_second_factor
    );
    assert!(!store.use_step(account, 9).await.unwrap(), "not on");
    assert!(
        !store.replace_recovery_codes(account, &codes()).await.unwrap(),
        "not on"
    );

    assert!(
        !store
            .confirm_second_factor(account, "first", 7, &codes(), at(2))
            .await
            .unwrap(),
        "replaced"
    );
    assert!(
        store
            .confirm_second_factor(account, "second", 7, &codes(), at(2))
            .await
            .unwrap()
    );
    assert!(
        !store
            .confirm_second_factor(account, "second", 8, &codes(), at(2))
            .await
            .unwrap(),
        "once"
    );
    assert!(
        !store.set_up_second_factor(account, "third", at(3)).await.unwrap(),
        "it is on"
    );
    let on = store.second_factor(account).await.unwrap().unwrap();
    assert_eq!((on.is_on, on.last_step, on.codes_left), (true, 7, 10));
    assert!(
        store
            .sign_in_settings(account)
            .await
            .unwrap()
            .unwrap()
            .has_second_factor
    );

    assert!(store.end_second_factor(account, at(9)).await.unwrap());
    assert!(!store.end_second_factor(account, at(9)).await.unwrap());
    assert_eq!(store.second_factor(account).await.unwrap(), None);
    assert_eq!(
        store.use_recovery_code(account, "code 1", at(4)).await.unwrap(),
        None
    );
}

pub(super) async fn a_step_is_used_once_and_none_before_it(db: &Database) {
    let account = account_with_factor(db).await;
    assert!(!db.store.use_step(account, 7).await.unwrap(), "used to confirm");
    assert!(db.store.use_step(account, 9).await.unwrap());
    assert!(!db.store.use_step(account, 9).await.unwrap());
    assert!(!db.store.use_step(account, 8).await.unwrap());
    assert!(
        !db.store
            .use_step(new_account(&*db.store).await, 10)
            .await
            .unwrap()
    );
}

pub(super) async fn a_step_is_used_exactly_once_of_many_parallel_tries(db: &Database) {
    let account = account_with_factor(db).await;
    let mut tries = JoinSet::new();
    for _ in 0..TRIES {
        let store = db.store.clone();
        tries.spawn(async move { store.use_step(account, 9).await.unwrap() });
    }
    assert_eq!(tries.join_all().await.into_iter().filter(|won| *won).count(), 1);
}

pub(super) async fn a_recovery_code_is_used_exactly_once_of_many_parallel_tries(db: &Database) {
    let (account, stranger) = (account_with_factor(db).await, account_with_factor(db).await);
    let mut tries = JoinSet::new();
    for _ in 0..TRIES {
        let store = db.store.clone();
        tries.spawn(async move { store.use_recovery_code(account, "code 3", at(2)).await.unwrap() });
    }
    let won: Vec<_> = tries.join_all().await.into_iter().flatten().collect();
    assert_eq!(won, [9]);
    assert_eq!(
        db.store
            .use_recovery_code(account, "code\0 4", at(2))
            .await
            .unwrap(),
        Some(8)
    );
    assert_eq!(
        db.store
            .use_recovery_code(account, "unknown", at(2))
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        db.store
            .use_recovery_code(stranger, "code 3", at(2))
            .await
            .unwrap(),
        Some(9)
    );
}

pub(super) async fn new_recovery_codes_take_the_place_of_all(db: &Database) {
    let account = account_with_factor(db).await;
    db.store
        .use_recovery_code(account, "code 1", at(2))
        .await
        .unwrap();
    assert!(
        db.store
            .replace_recovery_codes(account, &["fresh".to_owned()])
            .await
            .unwrap()
    );
    assert_eq!(
        db.store
            .use_recovery_code(account, "code 2", at(3))
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        db.store.use_recovery_code(account, "fresh", at(3)).await.unwrap(),
        Some(0)
    );
}
