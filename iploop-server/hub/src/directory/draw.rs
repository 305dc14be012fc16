//! One choice: the better of two that are drawn at random, or found in a row where few fit.

use iploop_platform::exits::Preference;
use iploop_platform::ids::NodeId;
use rand::{Rng, RngExt};

use super::index::Slot;
use super::wish::{Fit, Pools, Resolved};
use super::{Directory, Entry, MAX_DRAWS, MAX_NEIGHBOURS, MAX_SCAN, NoChoice, Wish, unlink};

/// Quality below which a node is not avoided any further: without it, one bad hour would be for ever.
const QUALITY_FLOOR: u64 = 10;

/// Latency assumed of a node that was not measured, in milliseconds: as for its quality.
const ASSUMED_LATENCY_MS: u64 = 300;

/// Latency below which less of it does not matter much, in milliseconds: without it, the nearest few would have all the
/// streams.
const LATENCY_FLOOR_MS: u64 = 100;

/// One choice under way.
pub(super) struct Search<'d, 'w, T> {
    pub(super) directory: &'d Directory<T>,
    pub(super) wish: &'w Wish<'w>,
    /// Somebody fitted who is to be avoided.
    pub(super) avoided: bool,
    /// Somebody fitted on whom the customer has all the streams it may have.
    pub(super) customer_full: bool,
}

impl<T> Search<'_, '_, T> {
    /// The better of two random nodes that fit.
    pub(super) fn any(&mut self, wanted: &Resolved<'_>, random: &mut impl Rng) -> Option<Slot> {
        let pools = wanted.pools(&self.directory.index);
        let total = pools.len();
        if total == 0 {
            return None;
        }
        let (mut first, mut doubted): (Option<Slot>, Option<Slot>) = (None, None);
        for _ in 0..if total > MAX_DRAWS { MAX_DRAWS } else { 0 } {
            let Some(drawn) = pools.get(random.random_range(0..total)) else {
                continue;
            };
            if first == Some(drawn) || !self.fits(wanted, drawn) {
                continue;
            }
            if self.is_doubted(drawn) {
                doubted.get_or_insert(drawn);
                continue;
            }
            match first {
                None => first = Some(drawn),
                Some(other) => return Some(self.draw(other, drawn, Pool::Large, random)),
            }
        }
        first.or(doubted).or_else(|| self.scan(wanted, &pools, random))
    }

    /// The better of the first two that fit, in a row from a random place.
    fn scan(&mut self, wanted: &Resolved<'_>, pools: &Pools<'_>, random: &mut impl Rng) -> Option<Slot> {
        let total = pools.len();
        let start = random.random_range(0..total);
        let pool = match total {
            ..=MAX_DRAWS => Pool::Small,
            _ => Pool::Large,
        };
        let (mut first, mut doubted): (Option<Slot>, Option<Slot>) = (None, None);
        for step in 0..total.min(MAX_SCAN) {
            let at = (start + step) % total;
            let Some(next) = pools.get(at).filter(|next| self.fits(wanted, *next)) else {
                continue;
            };
            if self.is_doubted(next) {
                doubted.get_or_insert(next);
                continue;
            }
            match first {
                None => first = Some(next),
                Some(other) => return Some(self.draw(other, next, pool, random)),
            }
        }
        first.or(doubted)
    }

    /// This node, else whoever fits.
    pub(super) fn node_or_any(
        &mut self,
        wanted: &Resolved<'_>,
        node: NodeId,
        random: &mut impl Rng,
    ) -> Option<Slot> {
        let slot = self.directory.slot_of(node);
        let itself = slot.filter(|slot| self.fits(wanted, *slot));
        itself.or_else(|| self.any(wanted, random))
    }

    /// The preferred node if it has the preferred address, else the best of its neighbours.
    pub(super) fn same_ip(&mut self, wanted: &Resolved<'_>, preference: Preference) -> Option<Slot> {
        let Preference { node, ip, .. } = preference;
        let at_home = |slot: &Slot| {
            self.directory
                .nodes
                .get(*slot)
                .is_some_and(|entry| entry.ip == ip)
        };
        let slot = self.directory.slot_of(node).filter(at_home);
        if let Some(slot) = slot.filter(|slot| self.fits(wanted, *slot)) {
            return Some(slot);
        }
        let mut next = self.directory.first_at(ip);
        let mut best: Option<Slot> = None;
        for _ in 0..MAX_NEIGHBOURS {
            let Some(slot) = next else { break };
            if self.fits(wanted, slot) {
                best = Some(best.map_or(slot, |other| self.better(other, slot, Pool::Small)));
            }
            next = self
                .directory
                .nodes
                .get(slot)
                .and_then(|entry| entry.next)
                .map(unlink);
        }
        best
    }

    fn fits(&mut self, wanted: &Resolved<'_>, slot: Slot) -> bool {
        let Some(entry) = self.directory.nodes.get(slot).filter(|entry| entry.is_listed()) else {
            return false;
        };
        let fit = wanted.fit(entry);
        if fit == Fit::Unfit {
            return false;
        }
        if self.customer_is_full(slot, entry) {
            self.customer_full = true;
            return false;
        }
        self.avoided |= fit == Fit::Avoided;
        fit == Fit::Fits
    }

    fn is_doubted(&self, slot: Slot) -> bool {
        let entry = self.directory.nodes.get(slot);
        entry.is_some_and(Entry::is_doubted)
    }

    fn customer_is_full(&self, slot: Slot, entry: &Entry<T>) -> bool {
        let most = self.directory.max_streams_per_customer;
        u32::from(entry.streams) >= most
            && self
                .directory
                .claims
                .get(&(self.directory.nodes.key(slot), self.wish.customer))
                .is_some_and(|streams| *streams >= most)
    }

    /// The one that costs less. Between two that are equally busy a draw decides, weighed by what they cost: otherwise, where
    /// few fit and little goes on, the second best would never be used.
    fn draw(&self, a: Slot, b: Slot, pool: Pool, random: &mut impl Rng) -> Slot {
        let known = |slot: Slot| self.directory.nodes.get(slot);
        match (known(a), known(b)) {
            (Some(one), Some(other)) if one.streams == other.streams => {
                let (worth_a, worth_b) = worths(one, other, pool);
                if random.random_range(0..worth_a + worth_b) < worth_a {
                    a
                } else {
                    b
                }
            }
            _ => self.better(a, b, pool),
        }
    }

    /// The one that costs less.
    fn better(&self, a: Slot, b: Slot, pool: Pool) -> Slot {
        let known = |slot: Slot| self.directory.nodes.get(slot);
        let (Some(one), Some(other)) = (known(a), known(b)) else {
            return a;
        };
        let load = |entry: &Entry<T>| u64::from(entry.streams) + 1;
        // By products, since quotients would have to be rounded; each is below 2^44.
        let cost_a = load(one) * slowness(one, pool) * goodness(other);
        let cost_b = load(other) * slowness(other, pool) * goodness(one);
        if cost_b < cost_a { b } else { a }
    }

    pub(super) fn nobody(&self) -> NoChoice {
        if self.avoided {
            NoChoice::NoOtherExit
        } else if self.customer_full {
            NoChoice::CustomerFull
        } else {
            NoChoice::NoExit
        }
    }
}

/// From how many a choice is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pool {
    /// Each of them is wanted now and then.
    Small,
    /// There is always another as good.
    Large,
}

/// How much two nodes are worth beside each other, apart from their load.
fn worths<T>(a: &Entry<T>, b: &Entry<T>, pool: Pool) -> (u64, u64) {
    match pool {
        Pool::Small => (goodness(a), goodness(b)),
        // The inverse squares of what they cost; each factor is below 2^24, so that the squares and their sum fit.
        Pool::Large => {
            let worth_a = goodness(a) * slowness(b, pool);
            let worth_b = goodness(b) * slowness(a, pool);
            (worth_a * worth_a, worth_b * worth_b)
        }
    }
}

fn goodness<T>(entry: &Entry<T>) -> u64 {
    u64::from(entry.quality) + QUALITY_FLOOR
}

fn slowness<T>(entry: &Entry<T>, pool: Pool) -> u64 {
    let latency_ms = match (pool, entry.latency_ms) {
        (Pool::Small, _) => return 1,
        (Pool::Large, u16::MAX) => ASSUMED_LATENCY_MS,
        (Pool::Large, measured) => u64::from(measured),
    };
    latency_ms + LATENCY_FLOOR_MS
}
