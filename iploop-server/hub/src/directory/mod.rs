//! The directory of live nodes: who is there, where, how busy, and a fitting one in constant time.
//!
//! Pure: no task, clock or randomness of its own. A choice draws two fitting nodes and takes the one that costs less, which
//! keeps load even without looking at everyone (the power of two choices):
//!
//! ```text
//! cost = (streams + 1) × (latency + 100 ms) / (quality + 10)        latency not measured: 300 ms
//! ```
//!
//! Between equally busy ones a draw decides, weighed by the inverse square of the cost. Where few fit (at most [`MAX_DRAWS`])
//! latency counts for nothing and the weight is the quality: there, avoiding the slower ones would leave a customer who wants
//! another exit each time with the same few. Draws come from the
//! narrowest set that holds every fitting node: sets exist by country, by region, city and postal code in it, by
//! autonomous system and provider in it, and by region and city with autonomous system. What the sets do not cover
//! (connection, device type, excluded countries, avoided exits, two narrow wishes at once) is tested draw by draw.
//!
//! A choice looks at [`MAX_DRAWS`] random nodes of that set and then, if none fitted, at [`MAX_SCAN`] in a row from a random
//! place. So [`NoChoice::NoExit`] is exact while the set has at most [`MAX_SCAN`] members; in a larger one, a wish that a share
//! `p` of it fulfils is missed about once in `e^(4096 p)` tries: 1 in 60 where one node in a thousand fits.
//!
//! A node that somebody waits for longer than usual just now, and one that has not dialled yet and is being tried, is passed over
//! in both, unless it is the only one.
//!
//! Only nodes that can take a stream are in the sets: a paused one, one that rests after failures, and one with as many
//! streams as it allows, is known ([`Directory::get`]) and not chosen.

mod aliases;
mod census;
mod draw;
mod hash;
mod index;
mod names;
mod rest;
mod slab;
mod survey;
mod wish;

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use hashbrown::HashTable;
use iploop_platform::exits::{Exit, OrElse, Presence};
use iploop_platform::ids::NodeId;
use iploop_platform::network::{CountryPresence, NetworkStats};
use iploop_protocol::policy::AbuseLimits;
use iploop_protocol::targeting::{ConnectionType, CountryCode, DeviceType, FoldedName, PostalCode};
use rand::Rng;

use census::Census;
use draw::Search;
use hash::IpHash;
use index::{Index, NOWHERE, Slot, Standing, Traits};
use names::{Names, Symbol};
use rest::{Condition, Resting};
use slab::Slab;
pub use survey::Survey;
use wish::Resolved;
pub use wish::Wish;

/// Random nodes looked at for one choice.
pub const MAX_DRAWS: usize = 32;

/// Nodes looked at in a row when no random one fitted: 50 to 100 µs at most.
pub const MAX_SCAN: usize = 4096;

/// Nodes behind one public address that are looked at for a sticky session whose own node is gone.
pub const MAX_NEIGHBOURS: usize = 64;

/// One connection of one node. A later connection of the same node has another key; an old key names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey {
    slot: Slot,
    generation: u32,
}

/// What the directory needs to know of a node.
#[derive(Clone, Copy, Debug)]
pub struct NodeFacts<'a> {
    /// Who and where it is. Names are folded as those of wishes are.
    pub exit: &'a Exit,
    /// The code of its region (`FL`), by which it is found as well as by the name.
    pub region_code: Option<&'a str>,
    /// Streams it takes at the same time; more than 65,535 count as that many.
    pub max_streams: u32,
    /// 0 to 100.
    pub quality: u8,
    /// Whether it takes streams now.
    pub sharing: bool,
}

/// What is measured of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// 0 to 100.
    pub quality: u8,
    /// The way to it, its dial and back; none while that is not known: then no wish for a latency is fulfilled.
    pub latency: Option<Duration>,
    /// Mbit/s towards customers, whole ones; none while that is not known: then no wish for a speed is fulfilled.
    pub speed_mbps: Option<u16>,
}

/// Why nobody was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoChoice {
    /// No node that can take a stream fits.
    NoExit,
    /// Some fit, but each is among those to avoid.
    NoOtherExit,
    /// The sticky session's exit is gone, and nothing that may take its place is there.
    SessionExitGone,
    /// Some fit, but on each of them this customer has as many streams as it may.
    CustomerFull,
}

/// The live nodes, each with a handle of the caller's.
#[derive(Debug)]
pub struct Directory<T> {
    nodes: Slab<T>,
    by_node: HashTable<Slot>,
    /// The first of the nodes behind each address; they are linked.
    by_ip: HashTable<Slot>,
    ip_hash: IpHash,
    names: Names,
    index: Index,
    census: Census,
    resting: Resting,
    /// Open streams of a customer on a connection; each is taken back by its own close, also after the node left.
    claims: HashMap<(NodeKey, u64), u32>,
    /// Open streams that one customer may have on one node.
    max_streams_per_customer: u32,
}

/// A live node.
#[derive(Debug)]
struct Entry<T> {
    node: NodeId,
    ip: IpAddr,
    traits: Traits,
    net: Option<ConnectionType>,
    os: Option<DeviceType>,
    max_streams: u16,
    streams: u16,
    /// [`u16::MAX`] until it is measured.
    latency_ms: u16,
    /// 0 until it is measured.
    speed_mbps: u16,
    quality: u8,
    sharing: bool,
    /// No dial of this connection has succeeded yet.
    untried: bool,
    /// Dials that have taken longer than usual so far.
    overdue: u16,
    condition: Condition,
    standing: Standing,
    /// Others behind the same address.
    next: Option<NonZeroU32>,
    previous: Option<NonZeroU32>,
    handle: T,
}

impl<T> Default for Directory<T> {
    fn default() -> Self {
        Self {
            nodes: Slab::default(),
            by_node: HashTable::new(),
            by_ip: HashTable::new(),
            ip_hash: IpHash::default(),
            names: Names::default(),
            index: Index::default(),
            census: Census::default(),
            resting: Resting::default(),
            claims: HashMap::new(),
            max_streams_per_customer: AbuseLimits::default().open_streams,
        }
    }
}

impl<T> Directory<T> {
    /// Sets how many open streams one customer may have on one node; those above it stay open.
    pub fn set_max_streams_per_customer(&mut self, most: u32) {
        self.max_streams_per_customer = most;
    }

    /// Adds a node. An earlier connection of it is taken out and handed back.
    pub fn insert(&mut self, facts: &NodeFacts<'_>, handle: T) -> (NodeKey, Option<T>) {
        let replaced = self.slot_of(facts.exit.node).and_then(|slot| self.take(slot));
        let place = &facts.exit.place;
        let traits = Traits {
            country: place.country.as_deref().and_then(CountryCode::parse),
            region: self.hold_name(place.region.as_deref()),
            region_code: self.hold_name(facts.region_code),
            city: self.hold_name(place.city.as_deref()),
            zip: self.hold_zip(place.zip.as_deref()),
            isp: self.hold_name(place.isp.as_deref()),
            asn: place.asn.and_then(NonZeroU32::new),
        };
        let entry = Entry {
            node: facts.exit.node,
            ip: facts.exit.ip,
            traits,
            net: facts.exit.net.as_deref().and_then(ConnectionType::parse),
            os: facts.exit.os.as_deref().and_then(DeviceType::parse),
            max_streams: u16::try_from(facts.max_streams).unwrap_or(u16::MAX),
            streams: 0,
            quality: facts.quality.min(100),
            latency_ms: u16::MAX,
            speed_mbps: 0,
            sharing: facts.sharing,
            untried: true,
            overdue: 0,
            condition: Condition::Well,
            standing: [NOWHERE; _],
            next: None,
            previous: None,
            handle,
        };
        self.census.add(&entry, place.city.as_deref());
        let key = self.nodes.insert(entry);
        let hash_of = |slot: &Slot| self.nodes.get(*slot).map_or(0, |entry| hash::of_node(entry.node));
        self.by_node
            .insert_unique(hash::of_node(facts.exit.node), key.slot, hash_of);
        self.join_neighbours(key.slot, facts.exit.ip);
        self.relist(key.slot);
        (key, replaced)
    }

    /// Takes a node out; none if it is not there any more.
    pub fn remove(&mut self, key: NodeKey) -> Option<T> {
        self.nodes.of(key)?;
        self.take(key.slot)
    }

    /// Sets what is measured of a node.
    pub fn set_figures(&mut self, key: NodeKey, figures: Figures) {
        let Some(entry) = self.nodes.of_mut(key) else {
            return;
        };
        entry.latency_ms = figures.latency.map_or(u16::MAX, |latency| {
            u16::try_from(latency.as_millis())
                .unwrap_or(u16::MAX)
                .min(u16::MAX - 1)
        });
        entry.speed_mbps = figures.speed_mbps.unwrap_or(0);
        let quality = figures.quality.min(100);
        self.census.quality_changed(entry.quality, quality);
        entry.quality = quality;
    }

    /// Says whether a node takes streams: false while its owner paused it or it drains.
    pub fn set_sharing(&mut self, key: NodeKey, sharing: bool) {
        let Some(entry) = self.nodes.of_mut(key) else {
            return;
        };
        entry.sharing = sharing;
        self.relist(key.slot);
    }

    /// Counts a stream that is about to be opened on a node; false if it has no room any more for this customer.
    ///
    /// Each true is undone by one [`Directory::close_stream`].
    pub fn open_stream(&mut self, key: NodeKey, customer: u64) -> bool {
        let Some(entry) = self.nodes.of_mut(key) else {
            return false;
        };
        if !entry.has_room() {
            return false;
        }
        let claim = self.claims.get(&(key, customer)).copied().unwrap_or(0);
        if claim >= self.max_streams_per_customer {
            return false;
        }
        self.claims.insert((key, customer), claim + 1);
        entry.streams += 1;
        entry.condition = entry.condition.asked();
        self.relist(key.slot);
        true
    }

    /// Counts a stream that ended.
    pub fn close_stream(&mut self, key: NodeKey, customer: u64) {
        let Some(claim) = self.claims.get_mut(&(key, customer)) else {
            return;
        };
        *claim -= 1;
        if *claim == 0 {
            self.claims.remove(&(key, customer));
        }
        if let Some(entry) = self.nodes.of_mut(key) {
            entry.streams -= 1;
            entry.condition = entry.condition.left();
            self.relist(key.slot);
        }
    }

    /// Chooses a node that fits and has room.
    ///
    /// The preferred address comes first, by its own node or by another; then the node at whatever address it has now, if
    /// that one may take its place; then whoever may. The choice is not a claim: [`Directory::open_stream`] makes it one.
    ///
    /// # Errors
    /// Why nobody was chosen; how far that can be relied on stands at the top of this module.
    pub fn choose(&self, wish: &Wish<'_>, random: &mut impl Rng) -> Result<NodeKey, NoChoice> {
        let mut search = Search {
            directory: self,
            wish,
            avoided: false,
            customer_full: false,
        };
        let slot = match wish.prefer {
            None => Resolved::of(wish, &self.names)
                .and_then(|wanted| search.any(&wanted, random))
                .ok_or(search.nobody()),
            Some(preference) => {
                let wanted = Resolved::of(wish, &self.names);
                let kept = wanted.and_then(|wanted| search.same_ip(&wanted.at_any_pace(), preference));
                // The session's exit is there: it is not left because its customer uses it much.
                if kept.is_none() && search.customer_full {
                    return Err(NoChoice::CustomerFull);
                }
                kept.or_else(|| match preference.or_else {
                    OrElse::SameIp => None,
                    OrElse::SameAsn(asn) => {
                        search.node_or_any(&wanted?.in_asn(asn)?, preference.node, random)
                    }
                    OrElse::Any => search.node_or_any(&wanted?, preference.node, random),
                })
                .ok_or(match preference.or_else {
                    OrElse::Any => search.nobody(),
                    OrElse::SameIp | OrElse::SameAsn(_) => NoChoice::SessionExitGone,
                })
            }
        }?;
        Ok(self.nodes.key(slot))
    }

    /// The handle of a node.
    pub fn get(&self, key: NodeKey) -> Option<&T> {
        self.nodes.of(key).map(|entry| &entry.handle)
    }

    /// The present connection of a node.
    pub fn find(&self, node: NodeId) -> Option<(NodeKey, &T)> {
        let slot = self.slot_of(node)?;
        Some((self.nodes.key(slot), &self.nodes.get(slot)?.handle))
    }

    /// Whether an address is still there, and if not, where its node went.
    pub fn presence(&self, node: NodeId, ip: IpAddr) -> Presence {
        let itself = self.slot_of(node).and_then(|slot| self.nodes.get(slot));
        match itself {
            Some(entry) if entry.ip == ip => Presence::Here,
            _ if self.first_at(ip).is_some() => Presence::Here,
            Some(entry) => Presence::Moved(entry.ip),
            None => Presence::Gone,
        }
    }

    /// Live nodes by number, a page at a time: those from `from` on, about `many`, and where to go on; none at the end.
    ///
    /// A walk over all pages meets each node that stays at least once.
    pub fn page(&self, from: u32, many: u32) -> (Vec<(NodeKey, T)>, Option<u32>)
    where
        T: Clone,
    {
        let to = from.saturating_add(many);
        let page = (from..to).filter_map(|slot| {
            let entry = self.nodes.get(slot)?;
            Some((self.nodes.key(slot), entry.handle.clone()))
        });
        (page.collect(), self.nodes.has(to).then_some(to))
    }

    /// What `wanted` makes of live nodes, by number from `from` on, at most `most`, and where to go on; none at the end.
    ///
    /// `wanted` also hears whether the node can take a stream, and its quality. Looks at [`MAX_SCAN`] places at most.
    pub fn list<R>(
        &self,
        from: u32,
        most: usize,
        mut wanted: impl FnMut(&T, bool, u8) -> Option<R>,
    ) -> (Vec<R>, Option<u32>) {
        let mut rows = Vec::new();
        let mut slot = from;
        for _ in 0..MAX_SCAN {
            if rows.len() >= most || !self.nodes.has(slot) {
                break;
            }
            let entry = self.nodes.get(slot);
            rows.extend(entry.and_then(|entry| wanted(&entry.handle, entry.has_room(), entry.quality)));
            slot += 1;
        }
        (rows, self.nodes.has(slot).then_some(slot))
    }

    /// Whether a node can take a stream now.
    pub fn is_available(&self, key: NodeKey) -> bool {
        self.nodes.of(key).is_some_and(Entry::is_listed)
    }

    /// Live nodes that can take no stream now, at most `limit`. Looks at all nodes where there is one.
    pub fn unavailable(&self, limit: usize) -> Vec<NodeId> {
        let many = limit.min(self.len().saturating_sub(self.available()));
        let slots = (0..).take_while(|slot| many > 0 && self.nodes.has(*slot));
        let entries = slots.filter_map(|slot| self.nodes.get(slot));
        let busy = entries.filter(|entry| !entry.is_listed());
        busy.take(many).map(|entry| entry.node).collect()
    }

    /// Streams counted on a node.
    pub fn streams(&self, key: NodeKey) -> Option<u32> {
        self.nodes.of(key).map(|entry| u32::from(entry.streams))
    }

    /// Live nodes.
    pub fn len(&self) -> usize {
        self.by_node.len()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    /// Nodes that can take a stream.
    pub fn available(&self) -> usize {
        self.index.all().len()
    }

    /// Counts over the live nodes; bytes are not known here.
    pub fn stats(&self) -> NetworkStats {
        self.census.stats(self.available())
    }

    /// Countries and cities with live nodes.
    pub fn locations(&self) -> Vec<CountryPresence> {
        self.census.locations()
    }

    /// A name that can't be folded can't be asked for either: it counts as unknown.
    fn hold_name(&mut self, name: Option<&str>) -> Symbol {
        let folded = name.and_then(|name| FoldedName::new(name).ok());
        self.names.hold(folded.as_ref().map(FoldedName::as_str))
    }

    fn hold_zip(&mut self, code: Option<&str>) -> Symbol {
        let code = code.and_then(|code| PostalCode::parse(code).ok());
        self.names.hold(code.as_ref().map(PostalCode::as_str))
    }

    fn take(&mut self, slot: Slot) -> Option<T> {
        let entry = self.nodes.remove(slot)?;
        if entry.is_listed() {
            self.index.leave(&entry.standing, &entry.traits, &mut self.nodes);
        }
        let listed = self
            .by_node
            .find_entry(hash::of_node(entry.node), |other| *other == slot);
        if let Ok(listed) = listed {
            listed.remove();
        }
        self.leave_neighbours(slot, &entry);
        self.census.subtract(&entry);
        let Traits {
            region,
            region_code,
            city,
            zip,
            isp,
            ..
        } = entry.traits;
        for symbol in [region, region_code, city, zip, isp] {
            self.names.release(symbol);
        }
        Some(entry.handle)
    }

    /// Puts a node into the sets, or takes it out of them, as its room now demands.
    fn relist(&mut self, slot: Slot) {
        let Some(entry) = self.nodes.get_mut(slot) else {
            return;
        };
        let has_room = entry.has_room();
        if has_room == entry.is_listed() {
            return;
        }
        if has_room {
            entry.standing = self.index.join(slot, &entry.traits);
        } else {
            let standing = std::mem::replace(&mut entry.standing, [NOWHERE; _]);
            let traits = entry.traits;
            self.index.leave(&standing, &traits, &mut self.nodes);
        }
    }

    fn slot_of(&self, node: NodeId) -> Option<Slot> {
        let is_it = |slot: &Slot| self.nodes.get(*slot).is_some_and(|entry| entry.node == node);
        self.by_node.find(hash::of_node(node), is_it).copied()
    }

    /// The first of those behind an address.
    fn first_at(&self, ip: IpAddr) -> Option<Slot> {
        let is_it = |slot: &Slot| self.nodes.get(*slot).is_some_and(|entry| entry.ip == ip);
        self.by_ip.find(self.ip_hash.of(ip), is_it).copied()
    }

    fn join_neighbours(&mut self, slot: Slot, ip: IpAddr) {
        let hash = self.ip_hash.of(ip);
        let is_it =
            |other: &Slot| *other != slot && self.nodes.get(*other).is_some_and(|entry| entry.ip == ip);
        let Some(first) = self.by_ip.find_mut(hash, is_it) else {
            let hash_of = |slot: &Slot| self.nodes.get(*slot).map_or(0, |entry| self.ip_hash.of(entry.ip));
            self.by_ip.insert_unique(hash, slot, hash_of);
            return;
        };
        let next = std::mem::replace(first, slot);
        if let Some(entry) = self.nodes.get_mut(next) {
            entry.previous = link(slot);
        }
        if let Some(entry) = self.nodes.get_mut(slot) {
            entry.next = link(next);
        }
    }

    fn leave_neighbours(&mut self, slot: Slot, entry: &Entry<T>) {
        let (previous, next) = (entry.previous.map(unlink), entry.next.map(unlink));
        if let Some(next) = next.and_then(|next| self.nodes.get_mut(next)) {
            next.previous = entry.previous;
        }
        if let Some(previous) = previous {
            if let Some(previous) = self.nodes.get_mut(previous) {
                previous.next = entry.next;
            }
            return;
        }
        let first = self
            .by_ip
            .find_entry(self.ip_hash.of(entry.ip), |other| *other == slot);
        if let Ok(mut first) = first {
            match next {
                Some(next) => *first.get_mut() = next,
                None => {
                    first.remove();
                }
            }
        }
    }
}

impl<T> Entry<T> {
    fn is_listed(&self) -> bool {
        self.standing[0] != NOWHERE
    }

    /// Somebody waits for it longer than usual, or for the first sign that it dials at all: the next one rather asks another.
    fn is_doubted(&self) -> bool {
        self.overdue > 0 || (self.untried && self.streams > 0)
    }

    fn has_room(&self) -> bool {
        self.sharing && self.condition.may_be_asked() && self.streams < self.max_streams
    }
}

/// A slot as a link of 4 bytes: one more, so that zero can mean nobody.
fn link(slot: Slot) -> Option<NonZeroU32> {
    NonZeroU32::new(slot.wrapping_add(1))
}

fn unlink(link: NonZeroU32) -> Slot {
    link.get() - 1
}

#[cfg(test)]
mod tests;
