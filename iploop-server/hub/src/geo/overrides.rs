//! Places that the operator sets by hand.

use std::collections::HashMap;
use std::net::IpAddr;

use iploop_platform::exits::Place;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GeoError, Located};

/// The place of an address range: an entry of `[[geo.overrides]]`. What it leaves out stays as the files have it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// The range.
    #[schemars(with = "String", example = &"127.0.1.0/24")]
    pub cidr: IpNet,
    /// ISO 3166-1 alpha-2.
    #[schemars(example = &"DE")]
    pub country: Option<String>,
    /// Region or state.
    #[schemars(example = &"Bavaria")]
    pub region: Option<String>,
    /// City.
    #[schemars(example = &"Munich")]
    pub city: Option<String>,
    /// Postal code.
    #[schemars(example = &"80331")]
    pub zip: Option<String>,
    /// Autonomous system number.
    #[schemars(example = 64502)]
    pub asn: Option<u32>,
    /// The network's name.
    #[schemars(example = &"Example Telecom")]
    pub isp: Option<String>,
}

/// Ranges by length: a lookup asks once for each length in use, longest first.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    v4: ByLength,
    v6: ByLength,
}

#[derive(Debug, Default)]
struct ByLength {
    /// In use, longest first.
    lengths: Vec<u8>,
    places: HashMap<IpNet, Place>,
}

impl Overrides {
    pub(super) fn new(entries: &[Override]) -> Result<Self, Vec<GeoError>> {
        let mut overrides = Self::default();
        let wrong = |entry: &Override, problem| GeoError::Override {
            cidr: entry.cidr.to_string(),
            problem,
        };
        let problems: Vec<GeoError> = entries
            .iter()
            .filter_map(|entry| overrides.add(entry).err().map(|problem| wrong(entry, problem)))
            .collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        for family in [&mut overrides.v4, &mut overrides.v6] {
            family.lengths.sort_unstable_by(|a, b| b.cmp(a));
        }
        Ok(overrides)
    }

    fn add(&mut self, entry: &Override) -> Result<(), &'static str> {
        let place = place(entry)?;
        let range = entry.cidr.trunc();
        let family = self.family_mut(range.addr());
        if family.places.insert(range, place).is_some() {
            return Err("is there twice");
        }
        if !family.lengths.contains(&range.prefix_len()) {
            family.lengths.push(range.prefix_len());
        }
        Ok(())
    }

    /// Lays the most specific range's place over what is known already.
    pub(super) fn apply(&self, ip: IpAddr, located: &mut Located) {
        let family = if ip.is_ipv4() { &self.v4 } else { &self.v6 };
        let found = family
            .lengths
            .iter()
            .filter_map(|length| IpNet::new(ip, *length).ok())
            .find_map(|range| family.places.get(&range.trunc()));
        let Some(found) = found.cloned() else { return };
        let Place {
            country,
            region,
            city,
            zip,
            asn,
            isp,
        } = std::mem::take(&mut located.place);
        // Another country makes the files' finer places wrong.
        let stays = found.country.is_none() || found.country == country;
        if found.region.is_some() || !stays {
            located.region_code = None;
        }
        if !stays {
            located.facts.country_name = None;
        }
        if !stays || found.region.is_some() || found.city.is_some() || found.zip.is_some() {
            located.facts.point = None;
        }
        located.place = Place {
            country: found.country.or(country),
            region: found.region.or(region.filter(|_| stays)),
            city: found.city.or(city.filter(|_| stays)),
            zip: found.zip.or(zip.filter(|_| stays)),
            asn: found.asn.or(asn),
            isp: found.isp.or(isp),
        };
    }

    fn family_mut(&mut self, ip: IpAddr) -> &mut ByLength {
        if ip.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }
}

fn place(entry: &Override) -> Result<Place, &'static str> {
    let country = match entry.country.as_deref().map(str::trim) {
        None => None,
        Some(code) if code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            Some(code.to_ascii_uppercase())
        }
        Some(_) => return Err("country is not a code of two letters (ISO 3166-1)"),
    };
    if entry.asn == Some(0) {
        return Err("asn 0 is no network");
    }
    let name = |text: &Option<String>| match text.as_deref().map(str::trim) {
        None => Ok(None),
        Some("") => Err("a name is empty; leave the key out instead"),
        Some(text) if text.chars().any(char::is_control) => Err("a name has control characters"),
        Some(text) => Ok(Some(text.to_owned())),
    };
    Ok(Place {
        country,
        region: name(&entry.region)?,
        city: name(&entry.city)?,
        zip: name(&entry.zip)?,
        asn: entry.asn,
        isp: name(&entry.isp)?,
    })
}
