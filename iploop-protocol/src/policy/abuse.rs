//! What customers do, counted against [`AbuseLimits`]: by a device for itself, and by the hub for each of its devices.
//!
//! Pure: time is an argument, and windows are fixed ones that begin with their first event. The device's count is the one
//! that holds; the hub's refuses sooner.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::limited::{Limit, Limited};
use super::limits::AbuseLimits;
use crate::destination::{Destination, Host};

/// Most hosts and ports that are remembered of one customer, whatever the limits say.
const MAX_PLACES: usize = 10_000;
/// Most destination hosts whose dials are counted at the same time. In a second in which more are dialled, those beyond are
/// not counted: no one of them is under attack then.
const MAX_HOSTS: usize = 16_384;
/// A full table is looked through for what rests at most this often.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// When to come back where nothing says when room will be.
const SHORTLY: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Customers, each with what it did lately. `K` names a customer, or a customer and a device.
#[derive(Debug)]
pub struct AbuseTable<K> {
    table: BTreeMap<K, Customer>,
    hosts: HostDials,
    most: usize,
    swept_at: Option<Instant>,
}

/// New dials to each destination host, of everybody together.
#[derive(Debug, Default)]
struct HostDials {
    /// By the host's hash.
    table: BTreeMap<u64, Window<u32>>,
    hasher: RandomState,
    swept_at: Option<Instant>,
}

#[derive(Debug)]
struct Customer {
    open_streams: u32,
    dials: Window<u32>,
    /// Hashes of hosts, and of hosts with ports.
    places: Window<Places>,
    outcomes: Window<Outcomes>,
    stopped_until: Option<Instant>,
    seen_at: Instant,
}

/// Something counted since `began`.
#[derive(Debug)]
struct Window<T> {
    began: Instant,
    counted: T,
}

#[derive(Debug, Default)]
struct Places {
    hosts: BTreeMap<u64, u32>,
    ports: BTreeSet<u64>,
}

#[derive(Debug, Default)]
struct Outcomes {
    all: u32,
    failed: u32,
}

impl<K: Ord + Copy> AbuseTable<K> {
    /// An empty table of at most `most` customers. Beyond, those that rest are forgotten first, and a new one waits for one
    /// of them.
    pub fn new(most: usize) -> Self {
        Self {
            table: BTreeMap::new(),
            hosts: HostDials::default(),
            most,
            swept_at: None,
        }
    }

    /// Asks for a stream. Granted ones are returned with [`AbuseTable::finished`].
    ///
    /// # Errors
    /// The limit that stands in the way. Nothing is to be returned then.
    pub fn admit(
        &mut self,
        now: Instant,
        limits: &AbuseLimits,
        who: K,
        to: &Destination,
    ) -> Result<(), Limited> {
        let (host, port) = self.places_of(to);
        let customer = self.open(now, limits, who)?;
        customer.dial(now, limits, host, port)?;
        self.hosts.admit(now, limits, &to.host)?;
        self.opened(who);
        Ok(())
    }

    /// Asks for a stream of datagrams, whose destinations are asked about by [`AbuseTable::dial`]. Granted ones are returned
    /// with [`AbuseTable::finished`].
    ///
    /// # Errors
    /// As [`AbuseTable::admit`].
    pub fn admit_datagrams(&mut self, now: Instant, limits: &AbuseLimits, who: K) -> Result<(), Limited> {
        self.open(now, limits, who)?;
        self.opened(who);
        Ok(())
    }

    /// Asks to send datagrams to a place for the first time, on a stream that was admitted.
    ///
    /// # Errors
    /// The limit that stands in the way.
    pub fn dial(
        &mut self,
        now: Instant,
        limits: &AbuseLimits,
        who: K,
        to: &Destination,
    ) -> Result<(), Limited> {
        let (host, port) = self.places_of(to);
        let customer = self.table.get_mut(&who);
        let customer = customer.ok_or(Limited::new(Limit::Customers, SHORTLY))?;
        customer.dial(now, limits, host, port)?;
        self.hosts.admit(now, limits, &to.host)
    }

    /// Hashes of the host, and of the host with the port.
    fn places_of(&self, to: &Destination) -> (u64, u64) {
        let hasher = &self.hosts.hasher;
        (hasher.hash_one(&to.host), hasher.hash_one(to))
    }

    /// A customer who may open another stream.
    fn open(&mut self, now: Instant, limits: &AbuseLimits, who: K) -> Result<&mut Customer, Limited> {
        if !self.table.contains_key(&who) && !self.has_room(now, limits) {
            return Err(Limited::new(Limit::Customers, SHORTLY));
        }
        let customer = self.table.entry(who).or_insert_with(|| Customer::new(now));
        customer.may_open(now, limits)?;
        Ok(customer)
    }

    fn opened(&mut self, who: K) {
        if let Some(customer) = self.table.get_mut(&who) {
            customer.open_streams += 1;
        }
    }

    /// A dial ended. True: so many failed that the customer is stopped from now on.
    pub fn dialled(&mut self, now: Instant, limits: &AbuseLimits, who: K, is_failure: bool) -> bool {
        let customer = self.table.get_mut(&who);
        customer.is_some_and(|customer| customer.dialled(now, limits, is_failure))
    }

    /// A stream that was admitted is over.
    pub fn finished(&mut self, who: K) {
        if let Some(customer) = self.table.get_mut(&who) {
            customer.open_streams = customer.open_streams.saturating_sub(1);
        }
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    fn has_room(&mut self, now: Instant, limits: &AbuseLimits) -> bool {
        if self.table.len() >= self.most && may_sweep(&mut self.swept_at, now) {
            self.table.retain(|_, customer| !customer.rests(now, limits));
        }
        self.table.len() < self.most
    }
}

impl HostDials {
    /// Counts a dial to `host`.
    ///
    /// # Errors
    /// If it had as many in this second as it may. The refused one is not counted.
    fn admit(&mut self, now: Instant, limits: &AbuseLimits, host: &Host) -> Result<(), Limited> {
        let key = self.hasher.hash_one(host);
        if self.table.len() >= MAX_HOSTS && !self.table.contains_key(&key) {
            if may_sweep(&mut self.swept_at, now) {
                self.table.retain(|_, dials| !dials.is_over(now, SECOND));
            }
            if self.table.len() >= MAX_HOSTS {
                return Ok(());
            }
        }
        let window = self.table.entry(key).or_insert_with(|| Window::new(now));
        let dials = window.at(now, SECOND);
        if *dials >= limits.dials_per_host_per_second {
            return Err(Limited::new(Limit::DialsPerHost, window.left(now, SECOND)));
        }
        *dials += 1;
        Ok(())
    }
}

impl Customer {
    fn new(now: Instant) -> Self {
        Self {
            open_streams: 0,
            dials: Window::new(now),
            places: Window::new(now),
            outcomes: Window::new(now),
            stopped_until: None,
            seen_at: now,
        }
    }

    fn may_open(&mut self, now: Instant, limits: &AbuseLimits) -> Result<(), Limited> {
        self.seen_at = now;
        if let Some(until) = self.stopped_until.filter(|until| now < *until) {
            return Err(Limited::new(Limit::FailedDials, until - now));
        }
        self.stopped_until = None;
        if self.open_streams >= limits.open_streams {
            return Err(Limited::new(Limit::OpenStreams, SHORTLY));
        }
        Ok(())
    }

    fn dial(&mut self, now: Instant, limits: &AbuseLimits, host: u64, port: u64) -> Result<(), Limited> {
        let dials = self.dials.at(now, SECOND);
        if *dials >= limits.dials_per_second {
            return Err(Limited::new(Limit::DialsPerSecond, self.dials.left(now, SECOND)));
        }
        *dials += 1;
        let visited = self.places.at(now, MINUTE).visit(host, port, limits);
        visited.map_err(|limit| Limited::new(limit, self.places.left(now, MINUTE)))
    }

    fn dialled(&mut self, now: Instant, limits: &AbuseLimits, is_failure: bool) -> bool {
        let outcomes = self.outcomes.at(now, seconds(limits.failure_window_seconds));
        outcomes.all = outcomes.all.saturating_add(1);
        outcomes.failed = outcomes.failed.saturating_add(u32::from(is_failure));
        let share = u64::from(outcomes.failed) * 100;
        let too_many = share > u64::from(outcomes.all) * u64::from(limits.failure_percent);
        if outcomes.all < limits.failure_min_dials || !too_many || self.stopped_until.is_some() {
            return false;
        }
        *outcomes = Outcomes::default();
        self.stopped_until = Some(now + seconds(limits.failure_pause_seconds));
        true
    }

    /// Nothing that is remembered of it matters any longer.
    fn rests(&self, now: Instant, limits: &AbuseLimits) -> bool {
        let memory = MINUTE.max(seconds(limits.failure_window_seconds));
        self.open_streams == 0
            && self.stopped_until.is_none_or(|until| now >= until)
            && now.saturating_duration_since(self.seen_at) >= memory
    }
}

impl Places {
    fn visit(&mut self, host: u64, port: u64, limits: &AbuseLimits) -> Result<(), Limit> {
        if self.ports.contains(&port) {
            return Ok(());
        }
        let bound = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX).min(MAX_PLACES);
        if !self.hosts.contains_key(&host) && self.hosts.len() >= bound(limits.hosts_per_minute) {
            return Err(Limit::HostsPerMinute);
        }
        let ports_of_host = self.hosts.entry(host).or_default();
        if *ports_of_host >= limits.ports_per_host_per_minute || self.ports.len() >= MAX_PLACES {
            return Err(Limit::PortsPerHost);
        }
        *ports_of_host += 1;
        self.ports.insert(port);
        Ok(())
    }
}

impl<T: Default> Window<T> {
    fn new(now: Instant) -> Self {
        Self {
            began: now,
            counted: T::default(),
        }
    }

    fn at(&mut self, now: Instant, length: Duration) -> &mut T {
        if self.is_over(now, length) {
            *self = Self::new(now);
        }
        &mut self.counted
    }

    fn is_over(&self, now: Instant, length: Duration) -> bool {
        now.saturating_duration_since(self.began) >= length
    }

    fn left(&self, now: Instant, length: Duration) -> Duration {
        length.saturating_sub(now.saturating_duration_since(self.began))
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

fn may_sweep(swept_at: &mut Option<Instant>, now: Instant) -> bool {
    let may = swept_at.is_none_or(|at| now.saturating_duration_since(at) >= SWEEP_EVERY);
    if may {
        *swept_at = Some(now);
    }
    may
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 4096;

    const LIMITS: AbuseLimits = AbuseLimits {
        open_streams: 3,
        dials_per_second: 20,
        ports_per_host_per_minute: 2,
        hosts_per_minute: 4,
        failure_min_dials: 10,
        failure_percent: 80,
        failure_window_seconds: 60,
        failure_pause_seconds: 600,
        dials_per_host_per_second: 10_000,
    };

    fn to(text: &str) -> Destination {
        text.parse().unwrap()
    }

    fn limit(asked: Result<(), Limited>) -> Result<(), Limit> {
        asked.map_err(|limited| limited.limit)
    }

    #[test]
    fn open_streams_are_counted_per_customer() {
        let mut customers = AbuseTable::new(MAX);
        let now = Instant::now();
        let admit = |customers: &mut AbuseTable<u64>, who| {
            limit(customers.admit(now, &LIMITS, who, &to("a.example:80")))
        };
        for _ in 0..3 {
            assert_eq!(admit(&mut customers, 1), Ok(()));
        }
        assert_eq!(admit(&mut customers, 1), Err(Limit::OpenStreams));
        assert_eq!(admit(&mut customers, 2), Ok(()));
        customers.finished(1);
        assert_eq!(admit(&mut customers, 1), Ok(()));
    }

    #[test]
    fn dials_ports_and_hosts_have_their_windows() {
        let limits = AbuseLimits {
            open_streams: 1000,
            ..LIMITS
        };
        let mut customers = AbuseTable::new(MAX);
        let start = Instant::now();
        let mut admit = |now, text| limit(customers.admit(now, &limits, 7, &to(text)));
        for _ in 0..20 {
            assert_eq!(admit(start, "a.example:80"), Ok(()));
        }
        assert_eq!(admit(start, "a.example:80"), Err(Limit::DialsPerSecond));
        let second = start + SECOND;
        assert_eq!(admit(second, "a.example:81"), Ok(()));
        assert_eq!(admit(second, "a.example:82"), Err(Limit::PortsPerHost));
        assert_eq!(admit(second, "a.example:81"), Ok(()), "a known port is no scan");
        for host in ["b.example:80", "1.1.1.1:80", "[2606:4700::1111]:80"] {
            assert_eq!(admit(second, host), Ok(()));
        }
        assert_eq!(admit(second, "e.example:80"), Err(Limit::HostsPerMinute));
        assert_eq!(admit(start + MINUTE, "e.example:80"), Ok(()));
    }

    #[test]
    fn failing_dials_stop_the_customer_for_a_while() {
        let limits = AbuseLimits {
            open_streams: 1000,
            dials_per_second: 1000,
            ..LIMITS
        };
        let mut customers = AbuseTable::new(MAX);
        let now = Instant::now();
        let dial = |customers: &mut AbuseTable<u64>, now, fails| {
            limit(customers.admit(now, &limits, 7, &to("a.example:80")))?;
            let stopped = customers.dialled(now, &limits, 7, fails);
            customers.finished(7);
            Ok::<bool, Limit>(stopped)
        };
        assert_eq!(dial(&mut customers, now, false), Ok(false));
        assert_eq!(dial(&mut customers, now, false), Ok(false));
        for _ in 0..8 {
            assert_eq!(
                dial(&mut customers, now, true),
                Ok(false),
                "80 per cent are not more than 80"
            );
        }
        assert_eq!(dial(&mut customers, now, true), Ok(true));
        assert_eq!(dial(&mut customers, now, true), Err(Limit::FailedDials));
        let end = now + Duration::from_secs(600);
        assert_eq!(
            dial(&mut customers, end - Duration::from_millis(1), true),
            Err(Limit::FailedDials)
        );
        assert_eq!(dial(&mut customers, end, true), Ok(false));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_rests() {
        let mut customers = AbuseTable::new(MAX);
        let now = Instant::now();
        for who in 0..MAX as u64 {
            assert_eq!(
                limit(customers.admit(now, &LIMITS, who, &to("a.example:80"))),
                Ok(())
            );
            if who > 0 {
                customers.finished(who);
            }
        }
        let one_more = |customers: &mut AbuseTable<u64>, now| {
            limit(customers.admit(now, &LIMITS, u64::MAX, &to("a.example:80")))
        };
        assert_eq!(one_more(&mut customers, now), Err(Limit::Customers));
        assert_eq!(one_more(&mut customers, now + MINUTE), Ok(()));
        assert_eq!(
            customers.table.len(),
            2,
            "the one with an open stream, and the new one"
        );
    }

    #[test]
    fn one_host_takes_so_many_dials_a_second_from_all_customers_together() {
        let limits = AbuseLimits {
            dials_per_host_per_second: 4,
            ..LIMITS
        };
        let mut customers = AbuseTable::new(MAX);
        let now = Instant::now();
        for who in 0..4 {
            assert_eq!(customers.admit(now, &limits, who, &to("a.example:80")), Ok(()));
        }
        let later = now + Duration::from_millis(250);
        let refused = customers.admit(later, &limits, 4, &to("A.example:443"));
        let limited = Limited {
            limit: Limit::DialsPerHost,
            retry_after: Duration::from_millis(750),
        };
        assert_eq!(refused, Err(limited), "whatever the port");
        assert_eq!(customers.admit(later, &limits, 4, &to("b.example:80")), Ok(()));
        assert_eq!(
            customers.admit(now + SECOND, &limits, 5, &to("a.example:80")),
            Ok(())
        );
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let limits = AbuseLimits {
            open_streams: 1000,
            dials_per_second: 2,
            failure_min_dials: 1,
            ..LIMITS
        };
        let mut customers = AbuseTable::new(MAX);
        let start = Instant::now();
        let mut at = |millis: u64, text: &str| {
            let now = start + Duration::from_millis(millis);
            let asked = customers.admit(now, &limits, 7, &to(text));
            asked.map_err(|limited| (limited.limit, limited.retry_after.as_millis()))
        };
        assert_eq!(at(0, "a.example:80"), Ok(()));
        assert_eq!(at(100, "a.example:81"), Ok(()));
        assert_eq!(at(400, "a.example:82"), Err((Limit::DialsPerSecond, 600)));
        assert_eq!(at(1000, "a.example:82"), Err((Limit::PortsPerHost, 59_000)));
        let stopped_at = start + Duration::from_secs(2);
        assert!(customers.dialled(stopped_at, &limits, 7, true));
        let asked = customers.admit(stopped_at + SECOND, &limits, 7, &to("a.example:80"));
        let limited = Limited {
            limit: Limit::FailedDials,
            retry_after: Duration::from_secs(599),
        };
        assert_eq!(asked, Err(limited));
    }

    #[test]
    fn the_table_of_hosts_is_bounded() {
        let mut hosts = HostDials::default();
        let now = Instant::now();
        for n in 0..MAX_HOSTS + 10 {
            let host = to(&format!("h{n}.example:80")).host;
            assert_eq!(hosts.admit(now, &LIMITS, &host), Ok(()));
        }
        assert_eq!(hosts.table.len(), MAX_HOSTS);
        let host = to("new.example:80").host;
        assert_eq!(hosts.admit(now + SECOND, &LIMITS, &host), Ok(()));
        assert_eq!(hosts.table.len(), 1, "a second later nothing of it matters");
    }
}
