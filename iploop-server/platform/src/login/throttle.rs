//! How often somebody may try: an allowance per key, in a bounded table.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;

/// `burst` tries at once, and one more each `refill`.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// At once.
    pub burst: u32,
    /// Until one more.
    pub refill: Duration,
}

impl Allowance {
    /// `tries` an hour, all of them at once if need be; at least one.
    pub fn per_hour(tries: u32) -> Self {
        let burst = tries.max(1);
        Self {
            burst,
            refill: Duration::from_secs(3600) / burst,
        }
    }
}

/// Allowances by key, at most `capacity` of them.
///
/// A key costs an entry only while its allowance is not whole. When the table is full of such keys an eighth of it is
/// forgotten: whoever can fill it got past other limits already, and this bounds memory and work.
pub(crate) struct Throttle<K> {
    allowance: Allowance,
    capacity: usize,
    /// When each key's allowance will be whole again (the generic cell rate algorithm's "theoretical arrival time").
    whole_at: Mutex<HashMap<K, Timestamp>>,
}

impl<K: Eq + Hash + Clone> Throttle<K> {
    pub(crate) fn new(allowance: Allowance, capacity: usize) -> Self {
        Self {
            allowance,
            capacity,
            whole_at: Mutex::new(HashMap::new()),
        }
    }

    /// Takes one try, or says how long until there is one.
    pub(crate) fn take(&self, key: &K, now: Timestamp) -> Result<(), Duration> {
        let mut table = self.whole_at.lock();
        let whole_at = table
            .get(key)
            .copied()
            .unwrap_or(now)
            .max(now)
            .plus(self.allowance.refill);
        let most = self.allowance.refill * self.allowance.burst;
        if let Some(wait) = whole_at
            .since(now)
            .checked_sub(most)
            .filter(|wait| !wait.is_zero())
        {
            return Err(wait);
        }
        if table.len() >= self.capacity && !table.contains_key(key) {
            self.make_room(&mut table, now);
        }
        table.insert(key.clone(), whole_at);
        Ok(())
    }

    /// Gives one try back: it turned out to be a good one.
    pub(crate) fn give_back(&self, key: &K) {
        if let Some(whole_at) = self.whole_at.lock().get_mut(key) {
            *whole_at = whole_at.minus(self.allowance.refill);
        }
    }

    fn make_room(&self, table: &mut HashMap<K, Timestamp>, now: Timestamp) {
        table.retain(|_, whole_at| *whole_at > now);
        let keep = self.capacity - (self.capacity / 8).max(1);
        let surplus: Vec<K> = table.keys().skip(keep).cloned().collect();
        for key in surplus {
            table.remove(&key);
        }
    }
}

/// What counts as one client: an IPv4 address, or the /64 that one IPv6 customer usually gets.
pub(crate) fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance = Allowance {
        burst: 3,
        refill: Duration::from_secs(10),
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_764_000_000_000 + seconds * 1000)
    }

    #[test]
    fn a_burst_passes_then_one_each_refill() {
        let throttle = Throttle::new(ALLOWANCE, 10);
        for _ in 0..3 {
            assert_eq!(throttle.take(&"a", at(0)), Ok(()));
        }
        assert_eq!(throttle.take(&"a", at(0)), Err(Duration::from_secs(10)));
        assert_eq!(throttle.take(&"a", at(4)), Err(Duration::from_secs(6)));
        assert_eq!(throttle.take(&"b", at(4)), Ok(()), "another key has its own");
        assert_eq!(throttle.take(&"a", at(10)), Ok(()));
        assert!(throttle.take(&"a", at(10)).is_err());
    }

    #[test]
    fn refused_tries_do_not_prolong_the_wait() {
        let throttle = Throttle::new(ALLOWANCE, 10);
        for _ in 0..100 {
            let _ = throttle.take(&"a", at(0));
        }
        assert_eq!(throttle.take(&"a", at(10)), Ok(()));
    }

    #[test]
    fn a_try_given_back_counts_as_none() {
        let throttle = Throttle::new(ALLOWANCE, 10);
        for _ in 0..100 {
            assert_eq!(throttle.take(&"a", at(0)), Ok(()));
            throttle.give_back(&"a");
        }
    }

    #[test]
    fn the_table_never_outgrows_its_capacity() {
        let throttle = Throttle::new(ALLOWANCE, 64);
        for key in 0..10_000 {
            assert_eq!(throttle.take(&key, at(0)), Ok(()));
            assert!(throttle.whole_at.lock().len() <= 64);
        }
    }

    #[test]
    fn one_ipv6_customer_is_one_client() {
        let network = |text: &str| client_network(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }
}
