//! Sets of nodes by place and network, from which a member is drawn in constant time.
//!
//! Each listed node is a member of up to eleven sets ([`set_keys`]). A set is a plain array of slots; the node remembers where in
//! it it stands, so that joining and leaving move one element.

use std::collections::HashMap;
use std::num::NonZeroU32;

use iploop_protocol::targeting::CountryCode;

use super::names::Symbol;

/// A node's number in the directory.
pub(super) type Slot = u32;

/// Where a node stands in each of its sets; [`NOWHERE`] in those that it does not belong to.
pub(super) type Standing = [u32; KINDS];

/// Not a member.
pub(super) const NOWHERE: u32 = u32::MAX;

const KINDS: usize = 11;

/// A set that has lost more than three quarters of what it has room for gives the room back, unless it is this small.
const KEEP_ROOM: usize = 64;

/// What nodes are indexed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    pub(super) country: Option<CountryCode>,
    pub(super) region: Symbol,
    /// Its code, where that is another name of it.
    pub(super) region_code: Symbol,
    pub(super) city: Symbol,
    pub(super) zip: Symbol,
    pub(super) isp: Symbol,
    pub(super) asn: Option<NonZeroU32>,
}

/// What a set's members have in common. Without a country, that is: of unknown country.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SetKey {
    pub(super) country: Option<CountryCode>,
    pub(super) area: Area,
    pub(super) network: Network,
}

/// A part of a country.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Area {
    Whole,
    Region(Symbol),
    City(Symbol),
    Zip(Symbol),
}

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Network {
    Any,
    Asn(NonZeroU32),
    Isp(Symbol),
}

/// The sets.
#[derive(Debug, Default)]
pub(super) struct Index {
    all: Vec<Slot>,
    sets: HashMap<SetKey, Vec<Slot>>,
    /// In which countries a region, city, postal code or network has members: for wishes that name no country.
    homes: HashMap<(Area, Network), Vec<Option<CountryCode>>>,
}

/// Lends the index the standings of nodes: those of others change when one leaves.
pub(super) trait Members {
    fn member_mut(&mut self, slot: Slot) -> Option<(&Traits, &mut Standing)>;
}

impl Index {
    /// Adds a node to all sets that its traits name.
    pub(super) fn join(&mut self, slot: Slot, traits: &Traits) -> Standing {
        let mut standing = [NOWHERE; KINDS];
        standing[0] = push(&mut self.all, slot);
        for (at, key) in standing[1..].iter_mut().zip(set_keys(traits)) {
            let Some(key) = key else { continue };
            let set = self.sets.entry(key).or_default();
            if set.is_empty() && is_home(&key) {
                self.homes
                    .entry((key.area, key.network))
                    .or_default()
                    .push(key.country);
            }
            *at = push(set, slot);
        }
        standing
    }

    /// Takes a node out of all its sets.
    pub(super) fn leave(&mut self, standing: &Standing, traits: &Traits, others: &mut impl Members) {
        take(&mut self.all, None, standing[0], others);
        for (kind, key) in (1..).zip(set_keys(traits)) {
            let Some(key) = key else { continue };
            let Some(set) = self.sets.get_mut(&key) else {
                continue;
            };
            take(set, Some(key), standing[kind], others);
            if set.is_empty() {
                self.sets.remove(&key);
                if is_home(&key) {
                    self.leave_home(&key);
                }
            }
        }
    }

    /// Every listed node.
    pub(super) fn all(&self) -> &[Slot] {
        &self.all
    }

    /// The nodes that have `key` in common.
    pub(super) fn set(&self, key: &SetKey) -> &[Slot] {
        self.sets.get(key).map_or(&[], Vec::as_slice)
    }

    /// The countries in which a part of a country, or a network, has members. Not both at once.
    pub(super) fn homes(&self, area: Area, network: Network) -> &[Option<CountryCode>] {
        self.homes.get(&(area, network)).map_or(&[], Vec::as_slice)
    }

    /// Whether nothing is kept.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.homes.is_empty()
    }

    fn leave_home(&mut self, key: &SetKey) {
        let home = (key.area, key.network);
        let Some(countries) = self.homes.get_mut(&home) else {
            return;
        };
        countries.retain(|country| *country != key.country);
        if countries.is_empty() {
            self.homes.remove(&home);
        }
    }
}

/// The sets beside `all`, in the order of [`Standing`].
fn set_keys(traits: &Traits) -> [Option<SetKey>; KINDS - 1] {
    let region = traits.region.is_known().then_some(Area::Region(traits.region));
    let region_code = traits.region_code.is_known() && traits.region_code != traits.region;
    let region_code = region_code.then_some(Area::Region(traits.region_code));
    let city = traits.city.is_known().then_some(Area::City(traits.city));
    let zip = traits.zip.is_known().then_some(Area::Zip(traits.zip));
    let isp = traits.isp.is_known().then_some(Network::Isp(traits.isp));
    let asn = traits.asn.map(Network::Asn);
    let key = |area: Option<Area>, network: Option<Network>| {
        Some(SetKey {
            country: traits.country,
            area: area?,
            network: network?,
        })
    };
    [
        key(Some(Area::Whole), Some(Network::Any)),
        key(region, Some(Network::Any)),
        key(region_code, Some(Network::Any)),
        key(city, Some(Network::Any)),
        key(zip, Some(Network::Any)),
        key(Some(Area::Whole), asn),
        key(Some(Area::Whole), isp),
        key(region, asn),
        key(region_code, asn),
        key(city, asn),
    ]
}

/// Whether the set tells where something is at home: it names a part of a country or a network, not both.
fn is_home(key: &SetKey) -> bool {
    (key.area == Area::Whole) != (key.network == Network::Any)
}

fn push(set: &mut Vec<Slot>, slot: Slot) -> u32 {
    let at = u32::try_from(set.len()).expect("a set holds each slot once, and slots are u32");
    set.push(slot);
    at
}

/// Takes the member at `at` out of a set, into whose place the last one moves; no key: the set of all.
fn take(set: &mut Vec<Slot>, key: Option<SetKey>, at: u32, others: &mut impl Members) {
    let Ok(at_index) = usize::try_from(at) else { return };
    if at_index >= set.len() {
        return;
    }
    set.swap_remove(at_index);
    if let Some((traits, standing)) = set.get(at_index).and_then(|&moved| others.member_mut(moved)) {
        // One node's region may be another's region code: which of its sets this is, its own traits tell.
        let kind = match key {
            None => Some(0),
            Some(_) => set_keys(traits)
                .iter()
                .position(|own| *own == key)
                .map(|at| at + 1),
        };
        if let Some(standing) = kind.and_then(|kind| standing.get_mut(kind)) {
            *standing = at;
        }
    }
    if set.capacity() > KEEP_ROOM && set.len() < set.capacity() / 4 {
        set.shrink_to(set.capacity() / 2);
    }
}
