//! Sets of nodes by place and network, from which a member is drawn in constant time.
//!
//! Each listed node is a member of up to eleven sets ([`set_keys`]). A set is a plain array of slots; the node remembers where in
//! it it stands, so that joining and leaving move one element.

use std::collections::HashMap;
use std::num::NonZeroU32;

use hashbrown::HashTable;
use iploop_protocol::targeting::CountryCode;

use super::hash;
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
#[derive(Debug)]
pub(super) struct Index {
    all: Vec<Slot>,
    /// Whole countries, by [`country_number`]: a wish for many countries reads many of them.
    countries: Vec<Vec<Slot>>,
    sets: HashTable<Set>,
    /// In which countries a region, city, postal code or network has members: for wishes that name no country.
    homes: HashMap<(Area, Network), Vec<Option<CountryCode>>>,
}

/// One set beside those of whole countries.
#[derive(Debug)]
struct Set {
    key: PackedKey,
    members: SetMembers,
}

/// Most sets are of one: a city of the one network that the only node there has.
#[derive(Debug)]
enum SetMembers {
    One(Slot),
    #[expect(
        clippy::box_collection,
        reason = "8 bytes instead of 24 in each of hundreds of thousands of sets"
    )]
    Many(Box<Vec<Slot>>),
}

/// A [`SetKey`] in 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PackedKey {
    area: u32,
    network: u32,
    country: u16,
    /// Which kinds of area and network the numbers are.
    shape: u8,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            countries: (0..COUNTRY_NUMBERS).map(|_| Vec::new()).collect(),
            sets: HashTable::new(),
            homes: HashMap::new(),
        }
    }
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
            if let Some(country) = self.whole_country_mut(&key) {
                *at = push(country, slot);
                continue;
            }
            let packed = PackedKey::of(&key);
            match self.sets.find_mut(packed.hash(), |set| set.key == packed) {
                Some(set) => *at = set.members.push(slot),
                None => {
                    let set = Set {
                        key: packed,
                        members: SetMembers::One(slot),
                    };
                    self.sets.insert_unique(packed.hash(), set, |set| set.key.hash());
                    *at = 0;
                    if is_home(&key) {
                        self.homes
                            .entry((key.area, key.network))
                            .or_default()
                            .push(key.country);
                    }
                }
            }
        }
        standing
    }

    /// Takes a node out of all its sets.
    pub(super) fn leave(&mut self, standing: &Standing, traits: &Traits, others: &mut impl Members) {
        if let Some(moved) = take(&mut self.all, standing[0]) {
            moved_to(moved, None, standing[0], others);
        }
        for (at, key) in standing[1..].iter().zip(set_keys(traits)) {
            let Some(key) = key else { continue };
            let moved = match self.whole_country_mut(&key) {
                Some(country) => take(country, *at),
                None => self.leave_set(&key, *at),
            };
            if let Some(moved) = moved {
                moved_to(moved, Some(key), *at, others);
            }
        }
    }

    /// Takes the member at `at` out; the one that moved into its place.
    fn leave_set(&mut self, key: &SetKey, at: u32) -> Option<Slot> {
        let packed = PackedKey::of(key);
        let mut found = self
            .sets
            .find_entry(packed.hash(), |set| set.key == packed)
            .ok()?;
        if let SetMembers::Many(many) = &mut found.get_mut().members {
            let moved = take(many, at);
            if !many.is_empty() {
                return moved;
            }
        }
        found.remove();
        if is_home(key) {
            self.leave_home(key);
        }
        None
    }

    /// Every listed node.
    pub(super) fn all(&self) -> &[Slot] {
        &self.all
    }

    /// The nodes that have `key` in common.
    pub(super) fn set(&self, key: &SetKey) -> &[Slot] {
        if is_whole_country(key) {
            return self
                .countries
                .get(country_number(key.country))
                .map_or(&[], Vec::as_slice);
        }
        let packed = PackedKey::of(key);
        self.sets
            .find(packed.hash(), |set| set.key == packed)
            .map_or(&[], |set| set.members.as_slice())
    }

    /// The countries in which a part of a country, or a network, has members. Not both at once.
    pub(super) fn homes(&self, area: Area, network: Network) -> &[Option<CountryCode>] {
        self.homes.get(&(area, network)).map_or(&[], Vec::as_slice)
    }

    /// Whether nothing is kept.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.homes.is_empty() && self.countries.iter().all(Vec::is_empty)
    }

    fn whole_country_mut(&mut self, key: &SetKey) -> Option<&mut Vec<Slot>> {
        if is_whole_country(key) {
            self.countries.get_mut(country_number(key.country))
        } else {
            None
        }
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

impl SetMembers {
    fn as_slice(&self) -> &[Slot] {
        match self {
            Self::One(slot) => std::slice::from_ref(slot),
            Self::Many(many) => many,
        }
    }

    fn push(&mut self, slot: Slot) -> u32 {
        match self {
            Self::One(first) => {
                *self = Self::Many(Box::new(vec![*first, slot]));
                1
            }
            Self::Many(many) => push(many, slot),
        }
    }
}

impl PackedKey {
    fn of(key: &SetKey) -> Self {
        let (area_kind, area) = match key.area {
            Area::Whole => (0, 0),
            Area::Region(symbol) => (1, symbol.number()),
            Area::City(symbol) => (2, symbol.number()),
            Area::Zip(symbol) => (3, symbol.number()),
        };
        let (network_kind, network) = match key.network {
            Network::Any => (0, 0),
            Network::Asn(asn) => (1, asn.get()),
            Network::Isp(symbol) => (2, symbol.number()),
        };
        let country = u16::try_from(country_number(key.country)).unwrap_or(0);
        Self {
            area,
            network,
            country,
            shape: area_kind << 2 | network_kind,
        }
    }

    fn hash(self) -> u64 {
        let Self {
            area,
            network,
            country,
            shape,
        } = self;
        hash::mix(
            u64::from(area) << 32 | u64::from(network),
            u64::from(country) << 8 | u64::from(shape),
        )
    }
}

/// Numbers that [`country_number`] gives: two letters, and one for the unknown.
const COUNTRY_NUMBERS: usize = 26 * 26 + 1;

/// A country's place in an array; 0 for the unknown one.
fn country_number(country: Option<CountryCode>) -> usize {
    match country.map(CountryCode::as_str).map(str::as_bytes) {
        Some(&[a, b]) => usize::from(a.wrapping_sub(b'A')) * 26 + usize::from(b.wrapping_sub(b'A')) + 1,
        _ => 0,
    }
}

fn is_whole_country(key: &SetKey) -> bool {
    key.area == Area::Whole && key.network == Network::Any
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

/// Takes the member at `at` out of a set; the last one, if it moved into that place.
fn take(set: &mut Vec<Slot>, at: u32) -> Option<Slot> {
    let at = usize::try_from(at).ok().filter(|at| *at < set.len())?;
    set.swap_remove(at);
    if set.capacity() > KEEP_ROOM && set.len() < set.capacity() / 4 {
        set.shrink_to(set.capacity() / 2);
    }
    set.get(at).copied()
}

/// Tells a node that it stands at another place in a set now; no key: the set of all.
fn moved_to(moved: Slot, key: Option<SetKey>, at: u32, others: &mut impl Members) {
    let Some((traits, standing)) = others.member_mut(moved) else {
        return;
    };
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
