//! Sticky sessions, over a restart.

use std::net::IpAddr;
use std::sync::Arc;

use iploop_platform::ids::{AccountId, ApiKeyId, NodeId};
use iploop_platform::sticky::{HeldExit, StickySession};
use tokio::task::JoinSet;

use super::at;
use super::database::Database;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A session as long as it has had no exit.
fn session(account: AccountId, name: &str) -> StickySession {
    StickySession {
        account,
        name: name.into(),
        api_key: None,
        targeting: format!("session-{name}"),
        exit: None,
        left_ip: None,
        told_ip: None,
        created_at: at(0),
        last_used_at: None,
        expires_at: at(600),
        forget_at: at(1_200),
        requests: 0,
        bytes_up: 0,
        bytes_down: 0,
        rotations: 0,
    }
}

fn with_exit(session: StickySession) -> StickySession {
    StickySession {
        api_key: Some(ApiKeyId::new()),
        exit: Some(HeldExit {
            node: NodeId::new(),
            ip: ip("2001:db8::7"),
            country: Some("US".into()),
            city: Some("São Paulo".into()),
            asn: Some(u32::MAX),
            since: at(3),
        }),
        left_ip: Some(ip("198.51.100.1")),
        told_ip: Some(ip("198.51.100.2")),
        last_used_at: Some(at(4)),
        requests: 7,
        bytes_up: u64::try_from(i64::MAX).unwrap(),
        bytes_down: 9,
        rotations: 2,
        ..session
    }
}

/// What an account has, as a server that starts would read it.
async fn kept(db: &Database, account: AccountId, now: i64) -> Vec<StickySession> {
    let mut all = Vec::new();
    let mut after: Option<(AccountId, String)> = None;
    loop {
        let behind = after.as_ref().map(|(account, name)| (*account, name.as_str()));
        let page = db.store.sticky_sessions(behind, at(now), 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.account, last.name.clone()));
        all.extend(page.into_iter().filter(|session| session.account == account));
    }
    all
}

pub(super) async fn a_session_reads_back_as_it_was_written(db: &Database) {
    let account = AccountId::new();
    let sessions = [with_exit(session(account, "a")), session(account, "a.B_c-d")];
    db.store.keep_sticky_sessions(&sessions, &[]).await.unwrap();
    assert_eq!(kept(db, account, 0).await, sessions);
}

pub(super) async fn a_later_write_takes_the_place_of_the_earlier(db: &Database) {
    let account = AccountId::new();
    let first = session(account, "a");
    let then = with_exit(first.clone());
    db.store.keep_sticky_sessions(&[first], &[]).await.unwrap();
    // Twice in one batch, too: the last one counts.
    let older = session(account, "a");
    db.store
        .keep_sticky_sessions(&[older, then.clone()], &[])
        .await
        .unwrap();
    assert_eq!(kept(db, account, 0).await, [then]);
}

pub(super) async fn an_ended_session_is_gone_and_no_other(db: &Database) {
    let (account, other) = (AccountId::new(), AccountId::new());
    let sessions = [session(account, "a"), session(account, "b"), session(other, "a")];
    db.store.keep_sticky_sessions(&sessions, &[]).await.unwrap();
    let ended = [(account, "a".to_owned()), (account, "never".to_owned())];
    db.store.keep_sticky_sessions(&[], &ended).await.unwrap();
    assert_eq!(kept(db, account, 0).await, sessions[1..2]);
    assert_eq!(kept(db, other, 0).await, sessions[2..]);
    // Ended and begun again in between: the new one stays.
    let again = with_exit(session(account, "b"));
    db.store
        .keep_sticky_sessions(std::slice::from_ref(&again), &[(account, "b".to_owned())])
        .await
        .unwrap();
    assert_eq!(kept(db, account, 0).await, [again]);
}

pub(super) async fn pages_meet_every_session_once(db: &Database) {
    let account = AccountId::new();
    let names = ["A", "Z", "a", "a-b", "a.b", "a_b", "ab", "z", "0"];
    let sessions: Vec<_> = names.iter().map(|name| session(account, name)).collect();
    db.store.keep_sticky_sessions(&sessions, &[]).await.unwrap();
    let mut met: Vec<_> = kept(db, account, 0)
        .await
        .into_iter()
        .map(|session| session.name)
        .collect();
    met.sort();
    let mut expected = names.map(str::to_owned);
    expected.sort();
    assert_eq!(met, expected);
}

pub(super) async fn what_is_to_be_forgotten_is_not_read_and_then_deleted(db: &Database) {
    let account = AccountId::new();
    let long = StickySession {
        forget_at: at(5_000),
        ..session(account, "long")
    };
    db.store
        .keep_sticky_sessions(&[session(account, "short"), long.clone()], &[])
        .await
        .unwrap();
    assert_eq!(kept(db, account, 1_200).await, std::slice::from_ref(&long));
    assert!(db.store.forget_sticky_sessions(at(1_200)).await.unwrap() >= 1);
    assert_eq!(kept(db, account, 0).await, [long]);
}

pub(super) async fn parallel_writes_of_the_same_sessions_all_end(db: &Database) {
    let account = AccountId::new();
    let sessions: Vec<_> = (0..50).map(|at| session(account, &format!("s{at}"))).collect();
    let backwards: Vec<_> = sessions.iter().rev().cloned().collect();
    let ended: Vec<_> = (0..25).map(|at| (account, format!("s{at}"))).collect();
    let mut writes = JoinSet::new();
    for turn in 0..8 {
        let store = Arc::clone(&db.store);
        let order = if turn % 2 == 0 { &sessions } else { &backwards }.clone();
        let gone = if turn % 3 == 0 { ended.clone() } else { vec![] };
        writes.spawn(async move { store.keep_sticky_sessions(&order, &gone).await });
    }
    for written in writes.join_all().await {
        written.unwrap();
    }
    assert_eq!(kept(db, account, 0).await.len(), 50);
}
