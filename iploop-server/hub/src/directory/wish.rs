//! What a request wants of a node, resolved against the names that are live.

use std::num::NonZeroU32;

use iploop_platform::exits::{Avoid, Preference};
use iploop_protocol::targeting::{CountryCode, Targeting};

use super::Entry;
use super::aliases;
use super::index::{Area, Index, Network, SetKey, Slot, Traits};
use super::names::{Names, Symbol};

/// What a request wants of a node.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The customer's wishes.
    pub targeting: &'a Targeting,
    /// The exit of a sticky session.
    pub prefer: Option<Preference>,
    /// Nodes and addresses that must not be chosen.
    pub avoid: &'a Avoid,
    /// Who asks: a node on which this customer has all the streams it may have does not fit.
    pub customer: u64,
}

/// How a node stands to a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Fits,
    Avoided,
    Unfit,
}

/// A wish in the directory's own terms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolved<'a> {
    wish: &'a Wish<'a>,
    region: Option<Symbol>,
    city: Option<Symbol>,
    zip: Option<Symbol>,
    asn: Option<NonZeroU32>,
    isp: Option<Symbol>,
    /// Most milliseconds.
    latency_ms: Option<u16>,
    /// Fewest Mbit/s.
    speed_mbps: Option<u16>,
}

impl<'a> Resolved<'a> {
    /// None if the wish names something that no live node has.
    pub(super) fn of(wish: &'a Wish<'a>, names: &Names) -> Option<Self> {
        let find = |text: Option<&str>| text.map(|text| names.find_loosely(text).ok_or(())).transpose();
        let find_city = |text: &str| {
            let other_name = || aliases::of_city(text).find_map(|name| names.find(name));
            names.find_loosely(text).or_else(other_name).ok_or(())
        };
        let targeting = wish.targeting;
        let city = targeting.city().map(|name| find_city(name.as_str()));
        let zip = targeting.postal_code().map(|code| names.find(code.as_str()));
        Some(Self {
            wish,
            region: find(targeting.region().map(|name| name.as_str())).ok()?,
            city: city.transpose().ok()?,
            zip: zip.map(|zip| zip.ok_or(())).transpose().ok()?,
            asn: targeting.asn().and_then(|asn| NonZeroU32::new(asn.number())),
            isp: find(targeting.isp().map(|name| name.as_str())).ok()?,
            latency_ms: targeting
                .max_latency()
                .map(|latency| u16::try_from(latency.as_millis()).unwrap_or(u16::MAX - 1)),
            speed_mbps: targeting
                .min_speed_mbps()
                .map(|speed| u16::try_from(speed).unwrap_or(u16::MAX)),
        })
    }

    /// The same, in one autonomous system.
    pub(super) fn in_asn(self, asn: u32) -> Option<Self> {
        let asn = NonZeroU32::new(asn)?;
        if self.asn.is_some_and(|wanted| wanted != asn) {
            return None;
        }
        Some(Self {
            asn: Some(asn),
            ..self
        })
    }

    /// The same, however slow: what a session holds on to was fast enough when it was chosen, and figures waver.
    pub(super) fn at_any_pace(self) -> Self {
        Self {
            latency_ms: None,
            speed_mbps: None,
            ..self
        }
    }

    /// Whether a node is what the wish asks for. Its load is the caller's question.
    pub(super) fn fit<T>(&self, entry: &Entry<T>) -> Fit {
        let Traits {
            country,
            region,
            region_code,
            city,
            zip,
            isp,
            asn,
        } = entry.traits;
        let Wish { targeting, avoid, .. } = self.wish;
        let is = |wanted: Option<Symbol>, has: Symbol| wanted.is_none_or(|wanted| wanted == has);
        let fits = targeting.allows_country(country)
            && (is(self.region, region) || is(self.region, region_code))
            && is(self.city, city)
            && is(self.zip, zip)
            && is(self.isp, isp)
            && self.asn.is_none_or(|wanted| asn == Some(wanted))
            && targeting
                .connection()
                .is_none_or(|wanted| entry.net == Some(wanted))
            && targeting.device().is_none_or(|wanted| entry.os == Some(wanted))
            && self.latency_ms.is_none_or(|most| entry.latency_ms <= most)
            && self
                .speed_mbps
                .is_none_or(|fewest| entry.speed_mbps >= fewest.max(1));
        if !fits {
            Fit::Unfit
        } else if avoid.ips.contains(&entry.ip) || avoid.nodes.contains(&entry.node) {
            Fit::Avoided
        } else {
            Fit::Fits
        }
    }

    /// The sets that together hold every fitting node: one for each country in question, each the narrowest there is.
    pub(super) fn pools<'i>(&self, index: &'i Index) -> Pools<'i> {
        let mut pools = Pools::default();
        let targeting = self.wish.targeting;
        if !targeting.countries().is_empty() {
            for country in targeting.countries().without(*targeting.excluded()).iter() {
                pools.add(self.narrowest(index, Some(country)));
            }
        } else if let Some(homes) = self.homes(index) {
            for &country in homes.iter().filter(|country| targeting.allows_country(**country)) {
                pools.add(self.narrowest(index, country));
            }
        } else {
            pools.add(index.all());
        }
        pools
    }

    /// Where to look when no country is named: the countries of the rarest thing that is.
    fn homes<'i>(&self, index: &'i Index) -> Option<&'i [Option<CountryCode>]> {
        let areas = self
            .areas()
            .into_iter()
            .flatten()
            .map(|area| (area, Network::Any));
        let networks = self
            .networks()
            .into_iter()
            .flatten()
            .map(|network| (Area::Whole, network));
        areas
            .chain(networks)
            .map(|(area, network)| index.homes(area, network))
            .min_by_key(|homes| homes.len())
    }

    /// The smallest set of one country that holds every fitting node of it.
    fn narrowest<'i>(&self, index: &'i Index, country: Option<CountryCode>) -> &'i [Slot] {
        let mut narrowest: Option<&[Slot]> = None;
        let mut consider = |area: Area, network: Network| {
            let set = index.set(&SetKey {
                country,
                area,
                network,
            });
            if narrowest.is_none_or(|best| set.len() < best.len()) {
                narrowest = Some(set);
            }
        };
        for area in self.areas().into_iter().flatten() {
            match self.asn {
                Some(asn) if !matches!(area, Area::Zip(_)) => consider(area, Network::Asn(asn)),
                _ => consider(area, Network::Any),
            }
        }
        for network in self.networks().into_iter().flatten() {
            consider(Area::Whole, network);
        }
        narrowest.unwrap_or_else(|| {
            index.set(&SetKey {
                country,
                area: Area::Whole,
                network: Network::Any,
            })
        })
    }

    fn areas(&self) -> [Option<Area>; 3] {
        [
            self.region.map(Area::Region),
            self.city.map(Area::City),
            self.zip.map(Area::Zip),
        ]
    }

    fn networks(&self) -> [Option<Network>; 2] {
        [self.asn.map(Network::Asn), self.isp.map(Network::Isp)]
    }
}

/// Sets without common members, drawn from as if they were one.
#[derive(Debug, Default)]
pub(super) struct Pools<'i> {
    first: &'i [Slot],
    more: Vec<&'i [Slot]>,
    total: usize,
}

impl<'i> Pools<'i> {
    fn add(&mut self, set: &'i [Slot]) {
        self.total += set.len();
        if self.first.is_empty() {
            self.first = set;
        } else if !set.is_empty() {
            if self.more.is_empty() {
                // Room for the 27 countries of `eu` at once.
                self.more.reserve(32);
            }
            self.more.push(set);
        }
    }

    /// Members of all sets.
    pub(super) fn len(&self) -> usize {
        self.total
    }

    /// The member at `at`, counted through all sets.
    pub(super) fn get(&self, mut at: usize) -> Option<Slot> {
        for set in std::iter::once(&self.first).chain(&self.more) {
            match set.get(at) {
                Some(slot) => return Some(*slot),
                None => at -= set.len(),
            }
        }
        None
    }
}
