//! What each customer does on this device, so that none of them abuses it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use iploop_protocol::destination::Destination;
use iploop_protocol::policy::AbuseLimits;
use tokio::time::Instant;

/// Most customers that are remembered. Beyond, those that rest are forgotten first, and a new one waits for one of them.
const MAX_CUSTOMERS: usize = 4096;
/// Most hosts and ports that are remembered of one customer, whatever the limits say.
const MAX_PLACES: usize = 10_000;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The table of customers. Time is an argument; windows are fixed ones that begin with their first event.
#[derive(Debug, Default)]
pub(crate) struct Customers {
    table: BTreeMap<u64, Customer>,
    hasher: RandomState,
}

/// Which limit a customer ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    OpenStreams,
    DialsPerSecond,
    PortsPerHost,
    HostsPerMinute,
    /// Too many dials failed: stopped for a while.
    FailedDials,
    /// Too many customers at the same time.
    Customers,
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

impl Limit {
    /// The text of the refusal.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::OpenStreams => "open_streams",
            Self::DialsPerSecond => "dials_per_second",
            Self::PortsPerHost => "ports_per_host_per_minute",
            Self::HostsPerMinute => "hosts_per_minute",
            Self::FailedDials => "failed_dials",
            Self::Customers => "customers",
        }
    }
}

impl Customers {
    /// Asks for a stream. Granted ones are returned with [`Customers::finished`].
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        limits: &AbuseLimits,
        customer: u64,
        to: &Destination,
    ) -> Result<(), Limit> {
        if !self.table.contains_key(&customer) && self.table.len() >= MAX_CUSTOMERS {
            self.table.retain(|_, customer| !customer.rests(now, limits));
            if self.table.len() >= MAX_CUSTOMERS {
                return Err(Limit::Customers);
            }
        }
        let host = self.hasher.hash_one(&to.host);
        let port = self.hasher.hash_one(to);
        let customer = self.table.entry(customer).or_insert_with(|| Customer::new(now));
        customer.seen_at = now;
        if customer.stopped_until.is_some_and(|until| now < until) {
            return Err(Limit::FailedDials);
        }
        customer.stopped_until = None;
        if customer.open_streams >= limits.open_streams {
            return Err(Limit::OpenStreams);
        }
        let dials = customer.dials.at(now, SECOND);
        if *dials >= limits.dials_per_second {
            return Err(Limit::DialsPerSecond);
        }
        *dials += 1;
        customer.places.at(now, MINUTE).visit(host, port, limits)?;
        customer.open_streams += 1;
        Ok(())
    }

    /// A dial ended. True: so many failed that the customer is stopped from now on.
    pub(crate) fn dialled(
        &mut self,
        now: Instant,
        limits: &AbuseLimits,
        customer: u64,
        is_failure: bool,
    ) -> bool {
        let Some(customer) = self.table.get_mut(&customer) else {
            return false;
        };
        let outcomes = customer.outcomes.at(now, seconds(limits.failure_window_seconds));
        outcomes.all = outcomes.all.saturating_add(1);
        outcomes.failed = outcomes.failed.saturating_add(u32::from(is_failure));
        let share = u64::from(outcomes.failed) * 100;
        let too_many = share > u64::from(outcomes.all) * u64::from(limits.failure_percent);
        if outcomes.all < limits.failure_min_dials || !too_many || customer.stopped_until.is_some() {
            return false;
        }
        *outcomes = Outcomes::default();
        customer.stopped_until = Some(now + seconds(limits.failure_pause_seconds));
        true
    }

    /// A stream that was admitted is over.
    pub(crate) fn finished(&mut self, customer: u64) {
        if let Some(customer) = self.table.get_mut(&customer) {
            customer.open_streams = customer.open_streams.saturating_sub(1);
        }
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
        if now.saturating_duration_since(self.began) >= length {
            *self = Self::new(now);
        }
        &mut self.counted
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AbuseLimits = AbuseLimits {
        open_streams: 3,
        dials_per_second: 20,
        ports_per_host_per_minute: 2,
        hosts_per_minute: 4,
        failure_min_dials: 10,
        failure_percent: 80,
        failure_window_seconds: 60,
        failure_pause_seconds: 600,
        dials_per_host_per_second: 200,
    };

    fn to(text: &str) -> Destination {
        text.parse().unwrap()
    }

    #[test]
    fn open_streams_are_counted_per_customer() {
        let mut customers = Customers::default();
        let now = Instant::now();
        let admit = |customers: &mut Customers, who| customers.admit(now, &LIMITS, who, &to("a.example:80"));
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
        let mut customers = Customers::default();
        let start = Instant::now();
        let mut admit = |now, text| customers.admit(now, &limits, 7, &to(text));
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
        let mut customers = Customers::default();
        let now = Instant::now();
        let dial = |customers: &mut Customers, now, fails| {
            customers.admit(now, &limits, 7, &to("a.example:80"))?;
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
        let mut customers = Customers::default();
        let now = Instant::now();
        for who in 0..MAX_CUSTOMERS as u64 {
            assert_eq!(customers.admit(now, &LIMITS, who, &to("a.example:80")), Ok(()));
            if who > 0 {
                customers.finished(who);
            }
        }
        let one_more =
            |customers: &mut Customers, now| customers.admit(now, &LIMITS, u64::MAX, &to("a.example:80"));
        assert_eq!(one_more(&mut customers, now), Err(Limit::Customers));
        assert_eq!(one_more(&mut customers, now + MINUTE), Ok(()));
        assert_eq!(
            customers.table.len(),
            2,
            "the one with an open stream, and the new one"
        );
    }
}
