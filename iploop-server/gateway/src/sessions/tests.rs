use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use iploop_platform::exits::{
    Exit, ExitFailure, ExitRequest, Exits, OpenedExit, OrElse, Place, Preference, Presence,
};
use iploop_platform::ids::NodeId;
use tokio::time::advance;

use super::*;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(198, 51, 100, last).into()
}

fn exit(last: u8) -> Exit {
    Exit {
        node: NodeId::new(),
        ip: ip(last),
        place: Place {
            asn: Some(64500),
            ..Place::default()
        },
        net: None,
        os: None,
    }
}

/// A network in which the exits of all sessions are like this.
struct Network(Presence);

impl Exits for Network {
    fn open(&self, _: ExitRequest) -> BoxFuture<'_, Result<OpenedExit, ExitFailure>> {
        Box::pin(std::future::pending())
    }

    fn presence(&self, _: NodeId, _: IpAddr) -> Presence {
        self.0
    }
}

const HERE: Network = Network(Presence::Here);
const GONE: Network = Network(Presence::Gone);

fn sessions(max: usize, max_per_account: usize) -> Sessions {
    let config = GatewayConfig {
        max_sessions: max,
        max_sessions_per_account: max_per_account,
        ..GatewayConfig::default()
    };
    Sessions::new(&config, Timestamp::from_millis(1_764_000_000_000), None)
}

fn try_visit(sessions: &Sessions, account: AccountId, parameters: &str) -> Result<Visit, ProxyError> {
    let targeting = Arc::new(Targeting::parse(parameters).unwrap());
    let key = ApiKeyId::from(account.uuid());
    sessions
        .visit(account, key, &targeting, CLIENT)
        .map(|visit| visit.expect("a sticky session"))
}

fn visit(sessions: &Sessions, account: AccountId, parameters: &str) -> Visit {
    try_visit(sessions, account, parameters).unwrap()
}

/// The exit that the session holds on to.
async fn held(visit: &Visit) -> Option<Preference> {
    match visit.turn(&HERE, Instant::now()).await {
        Turn::Held(held) => Some(held),
        Turn::Choose { .. } => None,
        Turn::TimedOut | Turn::Elsewhere => panic!("nobody else chooses"),
    }
}

/// Whom the session asks for, and whom it avoids, once its exit is gone.
async fn after(visit: &Visit, gone: u8) -> (Option<OrElse>, Option<IpAddr>) {
    match visit.replace(ip(gone), Instant::now()).await {
        Turn::Choose { prefer, avoid, .. } => (prefer.map(|prefer| prefer.or_else), avoid),
        _ => panic!("nobody else chooses"),
    }
}

/// What the answer to a request says that was served by this exit.
async fn answered(visit: &Visit, exit: &Exit) -> String {
    let _ = visit.turn(&HERE, Instant::now()).await;
    let text = visit.opened(exit);
    visit.told(exit.ip);
    text
}

#[tokio::test(start_paused = true)]
async fn a_session_keeps_its_exit_for_its_lifetime_from_first_use() {
    let sessions = sessions(100, 100);
    let account = AccountId::new();
    let parameters = "session-a-lifetime-30s";
    let first = exit(1);
    assert_eq!(
        answered(&visit(&sessions, account, parameters), &first).await,
        "a"
    );
    for _ in 0..2 {
        advance(Duration::from_secs(14)).await;
        let held = held(&visit(&sessions, account, parameters)).await.unwrap();
        assert_eq!((held.node, held.ip), (first.node, first.ip));
    }
    advance(Duration::from_secs(2)).await;
    assert_eq!(held(&visit(&sessions, account, parameters)).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_new_session_of_an_old_name_announces_another_address_for_an_hour() {
    for (pause, text) in [(0, "rotated"), (3_000, "rotated"), (4_000, "a")] {
        let sessions = sessions(100, 100);
        let account = AccountId::new();
        let parameters = "session-a-lifetime-30s";
        answered(&visit(&sessions, account, parameters), &exit(1)).await;
        advance(Duration::from_secs(31 + pause)).await;
        sessions.inner.register.sweep(sessions.inner.now());
        assert_eq!(
            answered(&visit(&sessions, account, parameters), &exit(2)).await,
            text,
            "after {pause} s"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_address_again_is_no_change() {
    let sessions = sessions(100, 100);
    let account = AccountId::new();
    for parameters in ["session-a-lifetime-30s", "session-b-rotate-time-lifetime-30s"] {
        let first = answered(&visit(&sessions, account, parameters), &exit(1)).await;
        advance(Duration::from_secs(31)).await;
        assert_eq!(
            answered(&visit(&sessions, account, parameters), &exit(1)).await,
            first
        );
    }
}

#[tokio::test(start_paused = true)]
async fn idle_ends_a_session_that_nobody_uses() {
    let sessions = sessions(100, 100);
    let account = AccountId::new();
    let parameters = "session-a-idle-10s";
    let running = visit(&sessions, account, parameters);
    answered(&running, &exit(1)).await;
    advance(Duration::from_secs(60)).await;
    assert!(
        held(&visit(&sessions, account, parameters)).await.is_some(),
        "a tunnel runs all the time"
    );
    drop(running);
    advance(Duration::from_secs(11)).await;
    assert_eq!(held(&visit(&sessions, account, parameters)).await, None);
}

#[tokio::test(start_paused = true)]
async fn rotation_by_clock_and_by_demand_avoids_the_old_exit_and_says_so() {
    for (parameters, by_demand) in [
        ("session-a-rotate-time-lifetime-10s", false),
        ("session-a-rotate-manual", true),
    ] {
        let sessions = sessions(100, 100);
        let account = AccountId::new();
        answered(&visit(&sessions, account, parameters), &exit(1)).await;
        let visit = if by_demand {
            visit(&sessions, account, parameters)
        } else {
            advance(Duration::from_secs(10)).await;
            visit(&sessions, account, parameters)
        };
        if by_demand {
            visit.rotate();
        }
        let Turn::Choose { avoid, prefer, .. } = visit.turn(&HERE, Instant::now()).await else {
            panic!("{parameters}")
        };
        assert_eq!((avoid, prefer), (Some(ip(1)), None));
        assert_eq!(answered(&visit, &exit(2)).await, "rotated");
        assert_eq!(answered(&visit, &exit(2)).await, "a", "announced once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_no_answer_told_of_is_announced_by_the_next() {
    let sessions = sessions(100, 100);
    let account = AccountId::new();
    answered(&visit(&sessions, account, "session-a"), &exit(1)).await;
    let failing = visit(&sessions, account, "session-a");
    after(&failing, 1).await;
    // Opened, and then the destination gave no answer.
    assert_eq!(failing.opened(&exit(2)), "rotated");
    drop(failing);
    assert_eq!(
        answered(&visit(&sessions, account, "session-a"), &exit(2)).await,
        "rotated"
    );
    assert_eq!(
        answered(&visit(&sessions, account, "session-a"), &exit(2)).await,
        "a"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_exit_is_replaced_as_failover_says_and_announced() {
    let sessions = sessions(100, 100);
    for (failover, or_else) in [
        ("any", OrElse::Any),
        ("same-asn", OrElse::SameAsn(64500)),
        ("same-ip", OrElse::SameIp),
        ("none", OrElse::SameIp),
    ] {
        let account = AccountId::new();
        let visit = visit(&sessions, account, &format!("session-a-failover-{failover}"));
        answered(&visit, &exit(1)).await;
        let held = held(&visit).await.unwrap();
        assert_eq!(
            (held.ip, held.or_else),
            (ip(1), OrElse::SameIp),
            "first the address"
        );
        assert_eq!(after(&visit, 1).await, (Some(or_else), None));
        assert_eq!(answered(&visit, &exit(2)).await, "rotated");
    }
}

#[tokio::test(start_paused = true)]
async fn one_request_replaces_a_lost_exit_for_all() {
    let sessions = sessions(100, 100);
    let account = AccountId::new();
    let first = visit(&sessions, account, "session-a");
    let second = visit(&sessions, account, "session-a");
    answered(&first, &exit(1)).await;
    assert!(held(&first).await.is_some() && held(&second).await.is_some());
    let deadline = Instant::now() + Duration::from_secs(5);
    let turn = first.replace(ip(1), deadline).await;
    assert!(matches!(turn, Turn::Choose { .. }));
    let mut waiting = Box::pin(second.replace(ip(1), deadline));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    first.opened(&exit(2));
    drop(turn);
    assert!(matches!(waiting.await, Turn::Held(held) if held.ip == ip(2)));
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_does_not_bring_back_an_exit_that_was_left() {
    let sessions = sessions(100, 100);
    let account = AccountId::new();
    let first = exit(1);
    answered(&visit(&sessions, account, "session-a-rotate-manual"), &first).await;
    let slow = visit(&sessions, account, "session-a-rotate-manual");
    assert!(held(&slow).await.is_some());
    let rotating = visit(&sessions, account, "session-a-rotate-manual");
    rotating.rotate();
    assert_eq!(answered(&rotating, &exit(2)).await, "rotated");
    // Its answer comes from the old exit, which is another than the customer was told last.
    assert_eq!(slow.opened(&first), "rotated");
    slow.told(first.ip);
    let next = visit(&sessions, account, "session-a-rotate-manual");
    assert_eq!(held(&next).await.unwrap().ip, ip(2));
    assert_eq!(next.opened(&exit(2)), "rotated");
}

#[tokio::test(start_paused = true)]
async fn an_address_change_ends_a_session_at_once_where_that_was_asked() {
    let moved = Network(Presence::Moved(ip(9)));
    for (parameters, ends) in [("session-a", false), ("session-a-rotate-ip-change", true)] {
        let sessions = sessions(100, 100);
        let account = AccountId::new();
        answered(&visit(&sessions, account, parameters), &exit(1)).await;
        let session = sessions.inner.register.get(account, "a").unwrap();
        let now = sessions.inner.now();
        assert!(session.view(&HERE, now).is_some() && session.view(&GONE, now).is_some());
        let next = visit(&sessions, account, parameters);
        let turn = next.turn(&moved, Instant::now()).await;
        assert_eq!(
            matches!(
                turn,
                Turn::Choose {
                    prefer: None,
                    avoid: None,
                    ..
                }
            ),
            ends
        );
        drop(turn);
        if ends {
            assert_eq!(answered(&next, &exit(9)).await, "rotated");
            assert!(session.view(&moved, now).is_none(), "seen without a request");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_change_begins_a_new_clock_only_where_that_was_asked() {
    for (parameters, lives_on) in [
        ("session-a-lifetime-20s", false),
        ("session-a-rotate-ip-change-lifetime-20s", true),
    ] {
        let sessions = sessions(100, 100);
        let account = AccountId::new();
        answered(&visit(&sessions, account, parameters), &exit(1)).await;
        advance(Duration::from_secs(15)).await;
        let next = visit(&sessions, account, parameters);
        after(&next, 1).await;
        next.opened(&exit(2));
        drop(next);
        advance(Duration::from_secs(15)).await;
        let held = held(&visit(&sessions, account, parameters)).await;
        assert_eq!(held.is_some(), lives_on, "{parameters}");
    }
}

#[tokio::test(start_paused = true)]
async fn parallel_first_requests_share_one_exit() {
    let sessions = sessions(100, 100);
    let account = AccountId::new();
    let first = visit(&sessions, account, "session-a");
    let second = visit(&sessions, account, "session-a");
    let turn = first.turn(&HERE, Instant::now()).await;
    assert!(matches!(turn, Turn::Choose { avoid: None, .. }));
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut waiting = Box::pin(second.turn(&HERE, deadline));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    first.opened(&exit(1));
    drop(turn);
    assert!(matches!(waiting.await, Turn::Held(held) if held.ip == ip(1)));

    let other = AccountId::new();
    let first = visit(&sessions, other, "session-a");
    let _turn = first.turn(&HERE, Instant::now()).await;
    let waiting = visit(&sessions, other, "session-a");
    assert!(matches!(waiting.turn(&HERE, deadline).await, Turn::TimedOut));
}

#[test]
fn a_derived_name_is_stable_and_differs_by_key_targeting_and_client() {
    let key = ApiKeyId::new();
    let name = |key, text: &str, client: &str| {
        let targeting = Targeting::parse(text).unwrap();
        let sticky = targeting.rotation().sticky().unwrap();
        name_of(sticky, key, &targeting, client.parse().unwrap())
    };
    let one = name(key, "sesstype-sticky-country-US", "192.0.2.1");
    assert_eq!(one, name(key, "country-us-sesstype-sticky", "192.0.2.1"));
    assert_eq!(one, name(key, "country-us-sesstype-sticky", "::ffff:192.0.2.1"));
    assert_ne!(
        one,
        name(ApiKeyId::new(), "sesstype-sticky-country-US", "192.0.2.1")
    );
    assert_ne!(one, name(key, "sesstype-sticky-country-CA", "192.0.2.1"));
    assert_ne!(one, name(key, "sesstype-sticky-country-US", "192.0.2.2"));
    assert!(one.starts_with("auto-") && one.len() == 21);
    assert_eq!(&*name(key, "session-mine", "192.0.2.1"), "mine");
}

#[tokio::test(start_paused = true)]
async fn a_live_session_is_never_put_out_and_one_too_many_says_when_there_is_room() {
    let sessions = sessions(1_000, 3);
    let account = AccountId::new();
    for at in 0..3 {
        let parameters = format!("session-s{at}-lifetime-{}s", 60 + at);
        answered(&visit(&sessions, account, &parameters), &exit(at)).await;
    }
    advance(Duration::from_secs(20)).await;
    match try_visit(&sessions, account, "session-more") {
        Err(ProxyError::TooManySessions { limit, retry_after }) => {
            assert_eq!((limit, retry_after), (3, Duration::from_secs(40)));
        }
        _ => panic!("there is no room"),
    }
    assert!(try_visit(&sessions, AccountId::new(), "session-more").is_ok());
    for at in 0..3 {
        let visit = visit(
            &sessions,
            account,
            &format!("session-s{at}-lifetime-{}s", 60 + at),
        );
        assert_eq!(held(&visit).await.map(|held| held.ip), Some(ip(at)));
    }
    advance(Duration::from_secs(41)).await;
    assert!(
        try_visit(&sessions, account, "session-more").is_ok(),
        "the first has ended"
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_gateway_refuses_new_sessions_and_remembers_less() {
    let sessions = sessions(4, 4);
    let (account, other) = (AccountId::new(), AccountId::new());
    for at in 0..4 {
        answered(
            &visit(&sessions, account, &format!("session-s{at}-lifetime-30s")),
            &exit(at),
        )
        .await;
    }
    assert!(matches!(
        try_visit(&sessions, other, "session-a"),
        Err(ProxyError::Overloaded)
    ));
    assert!(
        held(&visit(&sessions, account, "session-s0-lifetime-30s"))
            .await
            .is_some()
    );
    advance(Duration::from_secs(31)).await;
    sessions.inner.register.sweep(sessions.inner.now());
    assert!(try_visit(&sessions, other, "session-a").is_ok());
    assert_eq!(sessions.inner.register.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_and_need_not_be_remembered_is_swept() {
    let sessions = sessions(100, 100);
    let account = AccountId::new();
    let running = visit(&sessions, account, "session-running-lifetime-30s");
    answered(&running, &exit(1)).await;
    answered(&visit(&sessions, account, "session-a-lifetime-30s"), &exit(1)).await;
    visit(&sessions, account, "session-never-served-lifetime-30s");
    let mut left = Vec::new();
    for seconds in [29, 2, 3_600] {
        advance(Duration::from_secs(seconds)).await;
        sessions.inner.register.sweep(sessions.inner.now());
        left.push(sessions.inner.register.len());
    }
    assert_eq!(left, [3, 2, 1]);
}
