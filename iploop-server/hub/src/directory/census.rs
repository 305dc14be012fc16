//! Counts over the live nodes, kept as they come and go.

use std::collections::{BTreeMap, HashMap};

use iploop_platform::network::{CityPresence, CountryPresence, NetworkStats};
use iploop_protocol::targeting::{ConnectionType, CountryCode, DeviceType};

use super::Entry;
use super::names::Symbol;

/// Counts over the live nodes.
#[derive(Debug, Default)]
pub(super) struct Census {
    nodes: u64,
    quality: u64,
    by_country: HashMap<Option<CountryCode>, u64>,
    by_os: HashMap<Option<DeviceType>, u64>,
    by_net: HashMap<Option<ConnectionType>, u64>,
    cities: HashMap<(Option<CountryCode>, Symbol), City>,
}

#[derive(Debug)]
struct City {
    label: Box<str>,
    nodes: u64,
}

impl Census {
    pub(super) fn add<T>(&mut self, entry: &Entry<T>, city_label: Option<&str>) {
        let traits = &entry.traits;
        self.nodes += 1;
        self.quality += u64::from(entry.quality);
        *self.by_country.entry(traits.country).or_default() += 1;
        *self.by_os.entry(entry.os).or_default() += 1;
        *self.by_net.entry(entry.net).or_default() += 1;
        if let Some(label) = city_label.filter(|_| traits.city.is_known()) {
            let city = self.cities.entry((traits.country, traits.city));
            city.or_insert_with(|| City {
                label: label.into(),
                nodes: 0,
            })
            .nodes += 1;
        }
    }

    pub(super) fn subtract<T>(&mut self, entry: &Entry<T>) {
        let traits = &entry.traits;
        self.nodes -= 1;
        self.quality -= u64::from(entry.quality);
        lower(&mut self.by_country, &traits.country);
        lower(&mut self.by_os, &entry.os);
        lower(&mut self.by_net, &entry.net);
        let city = (traits.country, traits.city);
        if let Some(counted) = self.cities.get_mut(&city) {
            counted.nodes -= 1;
            if counted.nodes == 0 {
                self.cities.remove(&city);
            }
        }
    }

    pub(super) fn quality_changed(&mut self, from: u8, to: u8) {
        self.quality = self.quality - u64::from(from) + u64::from(to);
    }

    pub(super) fn stats(&self, available: usize) -> NetworkStats {
        let available = u64::try_from(available).unwrap_or(u64::MAX).min(self.nodes);
        NetworkStats {
            connected_nodes: self.nodes,
            available_nodes: available,
            busy_nodes: self.nodes - available,
            country_breakdown: named(&self.by_country, "ZZ", CountryCode::as_str),
            device_type_breakdown: named(&self.by_os, "unknown", DeviceType::as_str),
            connection_type_breakdown: named(&self.by_net, "unknown", ConnectionType::as_str),
            average_quality: mean(self.quality, self.nodes),
            bandwidth_bytes: 0,
        }
    }

    pub(super) fn locations(&self) -> Vec<CountryPresence> {
        let mut countries: BTreeMap<CountryCode, CountryPresence> = BTreeMap::new();
        for (&country, &nodes) in &self.by_country {
            let Some(country) = country else { continue };
            let presence = CountryPresence {
                country: country.to_string(),
                nodes,
                cities: Vec::new(),
            };
            countries.insert(country, presence);
        }
        for ((country, _), city) in &self.cities {
            if let Some(presence) = country.and_then(|country| countries.get_mut(&country)) {
                presence.cities.push(CityPresence {
                    city: city.label.to_string(),
                    nodes: city.nodes,
                });
            }
        }
        for presence in countries.values_mut() {
            presence
                .cities
                .sort_by(|a, b| b.nodes.cmp(&a.nodes).then_with(|| a.city.cmp(&b.city)));
        }
        countries.into_values().collect()
    }
}

fn lower<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u64>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

fn named<K: Copy>(
    counts: &HashMap<Option<K>, u64>,
    unknown: &str,
    name: fn(K) -> &'static str,
) -> BTreeMap<String, u64> {
    counts
        .iter()
        .map(|(key, n)| (key.map_or(unknown, name).to_owned(), *n))
        .collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a mean for display: 2^53 nodes are not to be feared"
)]
fn mean(sum: u64, count: u64) -> Option<f64> {
    (count > 0).then(|| sum as f64 / count as f64)
}
