use std::time::Duration;

use iploop_platform::account::AccountStatus;
use iploop_platform::ids::{AccountId, LoginId};
use iploop_platform::login::{MAX_LOGINS, MAX_NETWORKS, NewLogin, OpenedLogin, Origin};
use tokio::task::JoinSet;

use super::{Database, at, new_account};

const NEW: Option<OpenedLogin> = Some(OpenedLogin { is_new_network: true });
const KNOWN: Option<OpenedLogin> = Some(OpenedLogin {
    is_new_network: false,
});

fn login(account: AccountId, address: &str, second: i64) -> NewLogin {
    NewLogin {
        id: LoginId::new(),
        account,
        origin: Origin::new(address.parse().unwrap(), Some("browser\0")),
        now: at(second),
        expires_at: at(second + 1_000),
    }
}

pub(super) async fn a_login_lives_until_it_is_ended_and_is_revoked_then(db: &Database) {
    let store = &db.store;
    let (account, stranger) = (new_account(&**store).await, new_account(&**store).await);
    let (first, second) = (login(account, "192.0.2.1", 0), login(account, "2001:db8::1", 1));
    store.open_login(&first).await.unwrap();
    store.open_login(&second).await.unwrap();
    let listed = store.logins(account, at(2)).await.unwrap();
    assert_eq!(
        listed.iter().map(|login| login.id).collect::<Vec<_>>(),
        [second.id, first.id]
    );
    assert_eq!(
        (
            listed[1].address.to_string().as_str(),
            listed[1].user_agent.as_str()
        ),
        ("192.0.2.1", "browser")
    );
    let known = store.known_login(account, first.id).await.unwrap().unwrap();
    assert_eq!((known.account.id, known.last_seen_at), (account, Some(at(0))));
    assert_eq!(known.password_hash, "$argon2id$first");

    assert_eq!(
        store.end_login(stranger, first.id).await.unwrap(),
        None,
        "another's"
    );
    let of_stranger = store.known_login(stranger, first.id).await.unwrap().unwrap();
    assert_eq!(of_stranger.last_seen_at, None);
    assert_eq!(
        store.end_login(account, first.id).await.unwrap(),
        Some(first.expires_at)
    );
    assert_eq!(store.end_login(account, first.id).await.unwrap(), None, "once");
    let ended = store.known_login(account, first.id).await.unwrap().unwrap();
    assert_eq!(ended.last_seen_at, None);
    let revoked = [(first.id.to_string(), first.expires_at)];
    assert_eq!(store.revoked_logins(at(2)).await.unwrap(), revoked);
    assert!(
        store
            .known_login(AccountId::new(), first.id)
            .await
            .unwrap()
            .is_none()
    );
}

pub(super) async fn all_logins_but_one_end_together(db: &Database) {
    let account = new_account(&*db.store).await;
    let logins: Vec<_> = (0..3).map(|second| login(account, "192.0.2.1", second)).collect();
    for login in &logins {
        db.store.open_login(login).await.unwrap();
    }
    let ended = db
        .store
        .end_other_logins(account, Some(logins[1].id))
        .await
        .unwrap();
    assert_eq!(ended, [(logins[0].id, at(1_000)), (logins[2].id, at(1_002))]);
    assert_eq!(db.store.logins(account, at(3)).await.unwrap().len(), 1);
    assert_eq!(db.store.end_other_logins(account, None).await.unwrap().len(), 1);
    assert_eq!(db.store.end_other_logins(account, None).await.unwrap(), []);
    assert_eq!(db.store.revoked_logins(at(3)).await.unwrap().len(), 3);
}

pub(super) async fn a_new_password_ends_every_login(db: &Database) {
    let account = new_account(&*db.store).await;
    let first = login(account, "192.0.2.1", 0);
    db.store.open_login(&first).await.unwrap();
    let known = db.store.password_hash(account).await.unwrap().unwrap();
    let second = "$argon2id$second";
    assert!(
        db.store
            .set_password(account, &known, second, at(1))
            .await
            .unwrap()
    );
    assert_eq!(db.store.logins(account, at(1)).await.unwrap(), []);
    db.store
        .open_login(&login(account, "192.0.2.1", 2))
        .await
        .unwrap();
    let purpose = iploop_platform::account::MailTokenPurpose::ResetPassword;
    db.store
        .create_mail_token(account, purpose, "token", at(3), at(60))
        .await
        .unwrap();
    db.store
        .reset_password("token", "$argon2id$third", at(4))
        .await
        .unwrap();
    assert_eq!(db.store.logins(account, at(4)).await.unwrap(), []);
}

pub(super) async fn the_latest_sight_of_a_login_stands(db: &Database) {
    let account = new_account(&*db.store).await;
    let first = login(account, "192.0.2.1", 0);
    db.store.open_login(&first).await.unwrap();
    let unknown = LoginId::new();
    db.store
        .touch_logins(&[(first.id, at(70)), (unknown, at(70)), (first.id, at(60))])
        .await
        .unwrap();
    db.store.touch_logins(&[(first.id, at(65))]).await.unwrap();
    db.store.touch_logins(&[]).await.unwrap();
    let known = db.store.known_login(account, first.id).await.unwrap().unwrap();
    assert_eq!(known.last_seen_at, Some(at(70)));
}

pub(super) async fn an_account_has_a_bounded_number_of_logins_also_under_parallel_ones(db: &Database) {
    let account = new_account(&*db.store).await;
    let first = login(account, "192.0.2.1", 0);
    db.store.open_login(&first).await.unwrap();
    let mut opening = JoinSet::new();
    for _ in 0..MAX_LOGINS + 20 {
        let (store, login) = (db.store.clone(), login(account, "192.0.2.1", 1));
        opening.spawn(async move { store.open_login(&login).await.unwrap() });
    }
    opening.join_all().await;
    let logins = db.store.logins(account, at(1)).await.unwrap();
    assert_eq!(logins.len(), MAX_LOGINS);
    assert!(
        logins.iter().all(|login| login.id != first.id),
        "the one seen longest ago went"
    );
}

pub(super) async fn expired_logins_are_forgotten_and_never_listed(db: &Database) {
    let account = new_account(&*db.store).await;
    for second in [0, 10, 20] {
        db.store
            .open_login(&login(account, "192.0.2.1", second))
            .await
            .unwrap();
    }
    assert_eq!(db.store.logins(account, at(1_010)).await.unwrap().len(), 1);
    assert_eq!(db.store.forget_logins(at(1_010), 1).await.unwrap(), 1);
    assert_eq!(db.store.forget_logins(at(1_010), 5).await.unwrap(), 1);
    assert_eq!(db.number("SELECT COUNT(*) FROM login_sessions").await, 1);
}

pub(super) async fn a_network_is_new_once_and_the_first_is_not(db: &Database) {
    let account = new_account(&*db.store).await;
    let open = async |address: &str, second| {
        db.store
            .open_login(&login(account, address, second))
            .await
            .unwrap()
    };
    assert_eq!(open("192.0.2.1", 0).await, KNOWN, "the first one");
    assert_eq!(open("192.0.2.200", 1).await, KNOWN);
    assert_eq!(open("198.51.100.1", 2).await, NEW);
    assert_eq!(open("198.51.100.1", 3).await, KNOWN);
    for number in 0..MAX_NETWORKS {
        assert_eq!(open(&format!("10.0.{number}.1"), 10).await, NEW);
    }
    let networks = db.store.login_networks(account).await.unwrap();
    assert_eq!(networks.len(), MAX_NETWORKS);
    assert_eq!(open("192.0.2.1", 20).await, NEW, "forgotten meanwhile");
}

pub(super) async fn an_account_that_is_not_active_opens_no_login(db: &Database) {
    let account = new_account(&*db.store).await;
    db.execute("UPDATE users SET status = 'suspended'").await;
    let status = db.store.account(account).await.unwrap().unwrap().status;
    assert_eq!(status, AccountStatus::Suspended);
    assert_eq!(
        db.store
            .open_login(&login(account, "192.0.2.1", 0))
            .await
            .unwrap(),
        None
    );
    let nobody = login(AccountId::new(), "192.0.2.1", 0);
    assert_eq!(db.store.open_login(&nobody).await.unwrap(), None);
}

pub(super) async fn parallel_openings_sights_and_ends_do_not_deadlock(db: &Database) {
    let account = new_account(&*db.store).await;
    let logins: Vec<_> = (0..10)
        .map(|second| login(account, "192.0.2.1", second))
        .collect();
    for login in &logins {
        db.store.open_login(login).await.unwrap();
    }
    let mut tasks = JoinSet::new();
    for number in 0..30_usize {
        let (store, mut seen) = (db.store.clone(), logins.clone());
        seen.rotate_left(number % 10);
        tasks.spawn(async move {
            let later = at(100).plus(Duration::from_millis(number as u64));
            let sights: Vec<_> = seen.iter().map(|login| (login.id, later)).collect();
            match number % 3 {
                0 => store.touch_logins(&sights).await.unwrap(),
                1 => drop(store.end_other_logins(account, Some(seen[0].id)).await.unwrap()),
                _ => drop(
                    store
                        .open_login(&login(account, "198.51.100.1", 200))
                        .await
                        .unwrap(),
                ),
            }
        });
    }
    assert_eq!(tasks.join_all().await.len(), 30);
}
