//! Which exit a destination's host refused, by customer: it is not offered for that host for a while.
//!
//! A host refuses by not taking the connection, by breaking it before it has said anything, or by answering a plain request
//! with 403 or 429. Each refusal weighs one and halves in [`HALF_LIFE`]; an exit is left out while what it has weighs a half at
//! least: 10 minutes after one refusal, 40 minutes after many. An answer of another kind wipes it out.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use iploop_platform::exits::StreamGauge;
use iploop_platform::ids::AccountId;
use iploop_protocol::destination::Host;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::telemetry;

/// Hosts of customers that are remembered; the one that refused least lately is forgotten first.
const MAX_HOSTS: usize = 65_536;

/// Exits that are remembered of one host: more, and it is the host that is down.
const MAX_EXITS: usize = 16;

/// In this time a refusal loses half its weight.
const HALF_LIFE: Duration = Duration::from_secs(10 * 60);

/// An exit with less weight is offered again.
const LEAST_WEIGHT: f32 = 0.5;

/// The most weight that an exit has.
const MOST_WEIGHT: f32 = 8.0;

/// After this time any weight is below [`LEAST_WEIGHT`].
const FORGOTTEN_AFTER: Duration = Duration::from_secs(40 * 60);

/// What hosts refused. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Refusals {
    inner: Arc<Inner>,
}

struct Inner {
    memory: Mutex<Memory>,
    hasher: RandomState,
}

/// A customer and a host, as a number that says neither.
type Place = u64;

#[derive(Default)]
struct Memory {
    places: HashMap<Place, Refused>,
    /// In the order of their last refusals; entries with an old turn are passed over.
    order: VecDeque<(Place, u64, Instant)>,
    turn: u64,
}

struct Refused {
    exits: Vec<Exit>,
    turn: u64,
}

struct Exit {
    ip: IpAddr,
    weight: f32,
    at: Instant,
}

impl Exit {
    fn weight(&self, now: Instant) -> f32 {
        let passed = now.saturating_duration_since(self.at);
        self.weight * (-passed.as_secs_f32() / HALF_LIFE.as_secs_f32()).exp2()
    }
}

impl Default for Refusals {
    fn default() -> Self {
        let inner = Inner {
            memory: Mutex::default(),
            hasher: RandomState::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }
}

impl Refusals {
    /// The addresses of the exits that this host refused of late.
    pub(crate) fn of(&self, account: AccountId, host: &Host, now: Instant) -> Vec<IpAddr> {
        let memory = self.inner.memory.lock();
        if memory.places.is_empty() {
            return Vec::new();
        }
        let Some(refused) = memory.places.get(&self.place(account, host)) else {
            return Vec::new();
        };
        let refused = refused.exits.iter();
        refused
            .filter(|exit| exit.weight(now) >= LEAST_WEIGHT)
            .map(|exit| exit.ip)
            .collect()
    }

    /// A host refused an exit.
    pub(crate) fn note(&self, account: AccountId, host: &Host, ip: IpAddr, now: Instant) {
        telemetry::host_refused();
        let place = self.place(account, host);
        self.inner.memory.lock().note(place, ip, now);
    }

    /// What the answers through an exit are told to.
    pub(crate) fn through(
        &self,
        account: AccountId,
        host: &Host,
        ip: IpAddr,
        gauge: Arc<StreamGauge>,
    ) -> Through {
        Through {
            refusals: self.clone(),
            place: self.place(account, host),
            ip,
            gauge,
        }
    }

    fn place(&self, account: AccountId, host: &Host) -> Place {
        self.inner.hasher.hash_one((account, host))
    }
}

impl Memory {
    fn note(&mut self, place: Place, ip: IpAddr, now: Instant) {
        self.turn += 1;
        let turn = self.turn;
        let refused = self.places.entry(place).or_insert_with(|| Refused {
            exits: Vec::new(),
            turn,
        });
        refused.turn = turn;
        match refused.exits.iter_mut().find(|exit| exit.ip == ip) {
            Some(exit) => {
                exit.weight = (exit.weight(now) + 1.0).min(MOST_WEIGHT);
                exit.at = now;
            }
            None => {
                refused.exits.retain(|exit| exit.weight(now) >= LEAST_WEIGHT);
                if refused.exits.len() >= MAX_EXITS {
                    refused.exits.remove(0);
                }
                refused.exits.push(Exit {
                    ip,
                    weight: 1.0,
                    at: now,
                });
            }
        }
        self.order.push_back((place, turn, now));
        self.forget(now);
    }

    fn forgive(&mut self, place: Place, ip: IpAddr) {
        if let Some(refused) = self.places.get_mut(&place) {
            refused.exits.retain(|exit| exit.ip != ip);
            if refused.exits.is_empty() {
                self.places.remove(&place);
            }
        }
    }

    fn forget(&mut self, now: Instant) {
        while let Some(&(place, turn, at)) = self.order.front() {
            let is_latest = self
                .places
                .get(&place)
                .is_some_and(|refused| refused.turn == turn);
            let is_old = now.saturating_duration_since(at) >= FORGOTTEN_AFTER;
            let too_many = self.places.len() > MAX_HOSTS || self.order.len() > 2 * MAX_HOSTS;
            if is_latest && !is_old && !too_many {
                return;
            }
            self.order.pop_front();
            if is_latest {
                self.places.remove(&place);
            }
        }
    }
}

/// The exit that serves a request: what its answer and its bytes are told to.
pub(crate) struct Through {
    refusals: Refusals,
    place: Place,
    ip: IpAddr,
    gauge: Arc<StreamGauge>,
}

impl Through {
    /// Measures the stream's bytes.
    pub(crate) fn gauge(&self) -> &Arc<StreamGauge> {
        &self.gauge
    }

    /// The destination answered a plain request with this status.
    pub(crate) fn answered(&self, status: u16) {
        if matches!(status, 403 | 429) {
            self.refused();
        } else {
            self.took();
        }
    }

    /// The destination broke off before it said anything.
    pub(crate) fn refused(&self) {
        telemetry::host_refused();
        let mut memory = self.refusals.inner.memory.lock();
        memory.note(self.place, self.ip, Instant::now());
    }

    /// The destination talks.
    pub(crate) fn took(&self) {
        let mut memory = self.refusals.inner.memory.lock();
        if !memory.places.is_empty() {
            memory.forgive(self.place, self.ip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn host(name: &str) -> Host {
        format!("{name}:80")
            .parse::<iploop_protocol::destination::Destination>()
            .unwrap()
            .host
    }

    fn ip(n: u8) -> IpAddr {
        [198, 51, 100, n].into()
    }

    #[test]
    fn a_refused_exit_is_left_out_for_that_customer_and_host_alone() {
        let refusals = Refusals::default();
        let (account, now) = (AccountId::new(), Instant::now());
        refusals.note(account, &host("a.example"), ip(1), now);
        assert_eq!(refusals.of(account, &host("a.example"), now), [ip(1)]);
        assert!(refusals.of(account, &host("b.example"), now).is_empty());
        assert!(refusals.of(AccountId::new(), &host("a.example"), now).is_empty());
    }

    #[test]
    fn a_refusal_is_forgotten_in_time_and_many_take_longer() {
        let refusals = Refusals::default();
        let (account, host, now) = (AccountId::new(), host("a.example"), Instant::now());
        refusals.note(account, &host, ip(1), now);
        for _ in 0..100 {
            refusals.note(account, &host, ip(2), now);
        }
        assert_eq!(refusals.of(account, &host, now + 9 * MINUTE), [ip(1), ip(2)]);
        assert_eq!(refusals.of(account, &host, now + 11 * MINUTE), [ip(2)]);
        assert!(refusals.of(account, &host, now + 41 * MINUTE).is_empty());
    }

    #[test]
    fn an_answer_wipes_a_refusal_out() {
        let refusals = Refusals::default();
        let (account, host) = (AccountId::new(), host("a.example"));
        let through = refusals.through(account, &host, ip(1), Arc::default());
        for (status, is_refused) in [(403, true), (200, false), (429, true), (404, false)] {
            through.answered(status);
            let refused = refusals.of(account, &host, Instant::now());
            assert_eq!(refused.is_empty(), !is_refused, "{status}");
        }
    }

    #[test]
    fn hosts_and_exits_are_bounded() {
        let refusals = Refusals::default();
        let (account, now) = (AccountId::new(), Instant::now());
        for n in 0..200 {
            refusals.note(account, &host("a.example"), ip(n), now);
        }
        let left = refusals.of(account, &host("a.example"), now);
        assert_eq!(left.len(), MAX_EXITS);
        assert!(left.contains(&ip(199)), "the latest ones");
        let mut memory = Memory::default();
        for place in 0..200_000 {
            memory.note(place, ip(1), now);
            memory.note(u64::MAX, ip(1), now);
        }
        assert!(memory.places.len() <= MAX_HOSTS && memory.order.len() <= 2 * MAX_HOSTS);
        assert!(memory.places.contains_key(&u64::MAX));
        memory.note(0, ip(1), now + FORGOTTEN_AFTER);
        assert_eq!(memory.places.len(), 1);
    }
}
