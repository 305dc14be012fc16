//! Hears of every refusal, on the way of requests: counts it, and notices who is refused too often.

use std::collections::HashMap;
use std::sync::Arc;

use iploop_protocol::policy::{Limit, RuleClass};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::config::AbuseConfig;
use super::store::RefusalCount;
use super::suspects::Suspects;
use crate::clock::{Clock, Timestamp};
use crate::ids::{AccountId, NodeId};

/// Most counts that wait to be stored. Beyond, a customer's refusals are counted without their devices, then not at all but
/// in the metrics.
const MAX_COUNTS: usize = 10_000;
/// Suspicions that wait to be acted on.
const MAX_SUSPICIONS: usize = 1024;
const DAY_MILLIS: i64 = 24 * 3600 * 1000;

/// Hears of refusals. Clones share one state; nothing in it waits.
#[derive(Clone)]
pub struct AbuseWatch(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    suspects: Mutex<Suspects>,
    counts: Mutex<HashMap<Key, Count>>,
    suspicions: mpsc::Sender<Suspicion>,
}

/// What stood in a customer's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A rule of the exit policy.
    Rule(RuleClass),
    /// A rule that a device named and this version does not know.
    UnknownRule,
    /// A limit of one customer on one device, or of one destination.
    Limit(Limit),
}

/// A customer who dialled too often what nobody may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// Who.
    pub account: AccountId,
    /// The rule that the last one ran into.
    pub rule: RuleClass,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    day: i64,
    cause: Cause,
    account: AccountId,
    node: Option<NodeId>,
}

struct Count {
    count: u64,
    first_at: Timestamp,
    last_at: Timestamp,
}

impl Cause {
    /// Of a refusal by a device, which names the class of its rule.
    pub fn told_by_device(class: &str) -> Self {
        class.parse().map_or(Self::UnknownRule, Self::Rule)
    }

    /// As it is stored and counted: the rule's class, or `limit_` and the limit's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rule(class) => class.as_str(),
            Self::UnknownRule => "unknown_rule",
            Self::Limit(limit) => match limit {
                Limit::OpenStreams => "limit_open_streams",
                Limit::DialsPerSecond => "limit_dials_per_second",
                Limit::PortsPerHost => "limit_ports_per_host_per_minute",
                Limit::HostsPerMinute => "limit_hosts_per_minute",
                Limit::FailedDials => "limit_failed_dials",
                Limit::DialsPerHost => "limit_dials_per_host_per_second",
                Limit::Customers => "limit_customers",
            },
        }
    }

    fn hard_rule(self) -> Option<RuleClass> {
        match self {
            Self::Rule(class) if class.is_hard() => Some(class),
            _ => None,
        }
    }
}

impl AbuseWatch {
    /// A watch, and the suspicions that it has.
    pub fn new(config: &AbuseConfig, clock: Arc<dyn Clock>) -> (Self, mpsc::Receiver<Suspicion>) {
        let (sender, suspicions) = mpsc::channel(MAX_SUSPICIONS);
        let watch = Self(Arc::new(Inner {
            clock,
            suspects: Mutex::new(Suspects::new(config.suspend_after, config.suspend_within)),
            counts: Mutex::default(),
            suspicions: sender,
        }));
        (watch, suspicions)
    }

    /// A watch that counts, and suspects nobody: for parts that run alone.
    pub fn unattended(clock: Arc<dyn Clock>) -> Self {
        let config = AbuseConfig {
            suspend_after: 0,
            ..AbuseConfig::default()
        };
        Self::new(&config, clock).0
    }

    /// A customer was refused: by this device, or by the gateway or hub.
    pub fn refused(&self, account: AccountId, node: Option<NodeId>, cause: Cause) {
        let by = if node.is_some() { "device" } else { "server" };
        metrics::counter!("iploop_refusals_total", "cause" => cause.name(), "by" => by).increment(1);
        let now = self.0.clock.now();
        self.count(account, node, cause, now);
        let Some(rule) = cause.hard_rule() else {
            return;
        };
        let is_too_many = self.0.suspects.lock().note(account, node, now);
        if is_too_many && self.0.suspicions.try_send(Suspicion { account, rule }).is_err() {
            tracing::error!(account.id = %account, "a customer should be suspended and nobody acts on it");
        }
    }

    /// What was counted since the last call.
    pub(super) fn take_counts(&self) -> Vec<RefusalCount> {
        let counts = std::mem::take(&mut *self.0.counts.lock());
        counts
            .into_iter()
            .map(|(key, count)| RefusalCount {
                day: key.day,
                cause: key.cause.name().to_owned(),
                account: key.account,
                node: key.node,
                count: count.count,
                first_at: count.first_at,
                last_at: count.last_at,
            })
            .collect()
    }

    /// Forgets what a customer did: an admin has looked at it.
    pub(crate) fn forgive(&self, account: AccountId) {
        self.0.suspects.lock().forget(account);
    }

    fn count(&self, account: AccountId, node: Option<NodeId>, cause: Cause, now: Timestamp) {
        let mut key = Key {
            day: now.as_millis().div_euclid(DAY_MILLIS),
            cause,
            account,
            node,
        };
        let mut counts = self.0.counts.lock();
        if counts.len() >= MAX_COUNTS && !counts.contains_key(&key) {
            key.node = None;
            if !counts.contains_key(&key) {
                metrics::counter!("iploop_refusals_uncounted_total").increment(1);
                return;
            }
        }
        let count = counts.entry(key).or_insert(Count {
            count: 0,
            first_at: now,
            last_at: now,
        });
        count.count += 1;
        count.last_at = now;
    }
}

impl std::fmt::Debug for AbuseWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AbuseWatch").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A clock that stands until it is moved.
    #[derive(Default)]
    struct StandingClock(Mutex<Timestamp>);

    impl StandingClock {
        fn advance(&self, by: Duration) {
            let mut now = self.0.lock();
            *now = now.plus(by);
        }
    }

    impl Clock for StandingClock {
        fn now(&self) -> Timestamp {
            *self.0.lock()
        }
    }

    fn watch(suspend_after: u32) -> (AbuseWatch, mpsc::Receiver<Suspicion>, Arc<StandingClock>) {
        let clock = Arc::new(StandingClock::default());
        let config = AbuseConfig {
            suspend_after,
            ..AbuseConfig::default()
        };
        let (watch, suspicions) = AbuseWatch::new(&config, clock.clone());
        (watch, suspicions, clock)
    }

    #[test]
    fn hard_refusals_raise_a_suspicion_and_others_are_only_counted() {
        let (watch, mut suspicions, _) = watch(3);
        let account = AccountId::new();
        for cause in [
            Cause::Rule(RuleClass::MailAndLoginPorts),
            Cause::Rule(RuleClass::PlatformList),
            Cause::Limit(Limit::PortsPerHost),
            Cause::told_by_device("something new"),
        ] {
            for _ in 0..10 {
                watch.refused(account, None, cause);
            }
        }
        assert!(suspicions.try_recv().is_err());
        for _ in 0..3 {
            watch.refused(account, None, Cause::Rule(RuleClass::Loopback));
        }
        let rule = RuleClass::Loopback;
        assert_eq!(suspicions.try_recv(), Ok(Suspicion { account, rule }));
        let mut counts: Vec<_> = watch
            .take_counts()
            .into_iter()
            .map(|count| (count.cause, count.count))
            .collect();
        counts.sort();
        let expected = [
            ("limit_ports_per_host_per_minute", 10),
            ("loopback", 3),
            ("mail_and_login_ports", 10),
            ("platform_list", 10),
            ("unknown_rule", 10),
        ];
        assert_eq!(counts, expected.map(|(cause, count)| (cause.to_owned(), count)));
        assert!(watch.take_counts().is_empty());
    }

    #[test]
    fn counts_are_kept_by_day_and_device_and_are_bounded() {
        let (watch, _suspicions, clock) = watch(0);
        let (account, node) = (AccountId::new(), NodeId::new());
        let cause = Cause::Rule(RuleClass::OwnerList);
        watch.refused(account, Some(node), cause);
        watch.refused(account, None, cause);
        clock.advance(Duration::from_secs(24 * 3600));
        watch.refused(account, Some(node), cause);
        let counts = watch.take_counts();
        assert_eq!(counts.len(), 3);
        assert_eq!(counts.iter().filter(|count| count.node == Some(node)).count(), 2);

        watch.refused(account, None, cause);
        for _ in 0..MAX_COUNTS + 10 {
            watch.refused(account, Some(NodeId::new()), cause);
        }
        let counts = watch.take_counts();
        assert_eq!(counts.len(), MAX_COUNTS);
        let without_device = counts.iter().find(|count| count.node.is_none()).unwrap();
        assert_eq!(
            without_device.count, 12,
            "those beyond are counted without their devices"
        );
    }
}
