//! One session at several gateways, put together.

use std::collections::BTreeMap;

use super::LiveSession;

/// The sessions of this gateway and of others, each once, by name. Who used one last knows best what it is; requests that run are
/// those of all.
pub(super) fn merged(here: Vec<LiveSession>, elsewhere: Vec<LiveSession>) -> Vec<LiveSession> {
    let mut all: BTreeMap<String, LiveSession> = BTreeMap::new();
    for live in here.into_iter().chain(elsewhere) {
        let both = match all.remove(&live.session.name) {
            Some(known) => of_both(known, live),
            None => live,
        };
        all.insert(both.session.name.clone(), both);
    }
    all.into_values().collect()
}

fn of_both(a: LiveSession, b: LiveSession) -> LiveSession {
    let running = a.running.saturating_add(b.running);
    let (mut newer, older) = match a.session.last_used_at >= b.session.last_used_at {
        true => (a, b),
        false => (b, a),
    };
    let (kept, other) = (&mut newer.session, &older.session);
    kept.requests = kept.requests.max(other.requests);
    kept.bytes_up = kept.bytes_up.max(other.bytes_up);
    kept.bytes_down = kept.bytes_down.max(other.bytes_down);
    kept.rotations = kept.rotations.max(other.rotations);
    newer.running = running;
    newer.idle_until = newer.idle_until.filter(|_| running == 0);
    newer
}

#[cfg(test)]
mod tests {
    use super::super::StickySession;
    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::AccountId;

    fn live(name: &str, used: i64, requests: u64, running: u32) -> LiveSession {
        let at = Timestamp::from_millis;
        LiveSession {
            session: StickySession {
                account: AccountId::from(uuid::Uuid::from_u128(1)),
                name: name.to_owned(),
                api_key: None,
                targeting: format!("session-{name}"),
                exit: None,
                left_ip: None,
                told_ip: None,
                created_at: at(0),
                last_used_at: Some(at(used)),
                expires_at: at(used + 1000),
                forget_at: at(used + 1000),
                requests,
                bytes_up: 0,
                bytes_down: 0,
                rotations: 0,
            },
            expires_at: at(used + 1000),
            idle_until: Some(at(used + 500)),
            running,
        }
    }

    #[test]
    fn a_session_at_two_gateways_is_one_and_the_order_of_the_gateways_does_not_show() {
        let (one, other) = (live("b", 10, 7, 1), live("b", 20, 3, 2));
        let alone = live("a", 1, 1, 0);
        let seen = merged(vec![one.clone()], vec![other.clone(), alone.clone()]);
        assert_eq!(seen, merged(vec![other, alone.clone()], vec![one]));
        assert_eq!(seen[0], alone);
        let both = &seen[1];
        assert_eq!(
            (both.running, both.session.requests, both.idle_until),
            (3, 7, None)
        );
        assert_eq!(both.session.last_used_at, Some(Timestamp::from_millis(20)));
    }
}
