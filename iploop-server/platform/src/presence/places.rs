//! Where the devices of all processes are: countries and cities, told every few seconds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::Presence;
use crate::network::{CityPresence, CountryPresence, Network};
use crate::shared::{Name, SharedError};

/// How often a process tells its places.
const EVERY: Duration = Duration::from_secs(5);
/// How long they are believed: the process itself is not, once its card is gone.
const LASTS: Duration = Duration::from_secs(20);
/// Cities that one process tells of, those with most devices: some 100 KiB. Devices in others count in their country alone.
pub(super) const MAX_CITIES: usize = 2_000;

/// As told, by process.
pub(super) type Places = HashMap<Uuid, Vec<CountryPresence>>;

/// Tells and hears of places, for ever.
pub(super) async fn tell(presence: &Presence, network: &dyn Network) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard_at = Instant::now();
    loop {
        ticks.tick().await;
        match exchange(presence, network).await {
            Ok(places) => {
                *presence.0.places.write() = Arc::new(places);
                heard_at = Instant::now();
            }
            Err(_) if heard_at.elapsed() > LASTS => *presence.0.places.write() = Arc::default(),
            Err(_) => {}
        }
    }
}

async fn exchange(presence: &Presence, network: &dyn Network) -> Result<Places, SharedError> {
    let inner = &*presence.0;
    let own = serde_json::to_vec(&largest(network.locations())).unwrap_or_default();
    let board = Name::new("network", "places");
    let now = inner.clock.now();
    let told = inner.shared.post(board, inner.process, &own, LASTS, now).await?;
    let read = |(process, places): (Uuid, Vec<u8>)| Some((process, serde_json::from_slice(&places).ok()?));
    Ok(told.into_iter().filter_map(read).collect())
}

/// The cities with most devices: the same ones that others are told of, so that every process shows the same.
pub(super) fn largest(mut places: Vec<CountryPresence>) -> Vec<CountryPresence> {
    let mut cities: Vec<u64> = places
        .iter()
        .flat_map(|country| country.cities.iter().map(|city| city.nodes))
        .collect();
    if cities.len() <= MAX_CITIES {
        return places;
    }
    let (_, least, _) = cities.select_nth_unstable_by(MAX_CITIES - 1, |a, b| b.cmp(a));
    let least = *least;
    // Those above the least come all; of those that equal it, as many as there is room for.
    let above = places
        .iter()
        .flat_map(|country| &country.cities)
        .filter(|city| city.nodes > least)
        .count();
    let mut room = MAX_CITIES - above;
    for country in &mut places {
        country.cities.retain(|city| {
            let is_equal = city.nodes == least && room > 0;
            room -= usize::from(is_equal);
            is_equal || city.nodes > least
        });
    }
    places
}

/// All of them together, as one process would list them.
pub(super) fn sum<'a>(all: impl IntoIterator<Item = &'a CountryPresence>) -> Vec<CountryPresence> {
    let mut countries: BTreeMap<&str, (u64, BTreeMap<&str, u64>)> = BTreeMap::new();
    for place in all {
        let (nodes, cities) = countries.entry(&place.country).or_default();
        *nodes = nodes.saturating_add(place.nodes);
        for city in &place.cities {
            let count = cities.entry(&city.city).or_default();
            *count = count.saturating_add(city.nodes);
        }
    }
    let country = |(country, (nodes, cities)): (&str, (u64, BTreeMap<&str, u64>))| {
        let mut cities: Vec<CityPresence> = cities
            .into_iter()
            .map(|(city, nodes)| CityPresence {
                city: city.to_owned(),
                nodes,
            })
            .collect();
        cities.sort_by(|a, b| b.nodes.cmp(&a.nodes).then_with(|| a.city.cmp(&b.city)));
        CountryPresence {
            country: country.to_owned(),
            nodes,
            cities,
        }
    };
    countries.into_iter().map(country).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn country(country: &str, cities: &[(&str, u64)]) -> CountryPresence {
        CountryPresence {
            country: country.to_owned(),
            nodes: cities.iter().map(|(_, nodes)| nodes).sum(),
            cities: cities
                .iter()
                .map(|(city, nodes)| CityPresence {
                    city: (*city).to_owned(),
                    nodes: *nodes,
                })
                .collect(),
        }
    }

    #[test]
    fn places_of_two_processes_add_up_in_the_order_of_one() {
        let here = [country("DE", &[("Berlin", 2), ("Bonn", 1)]), country("US", &[])];
        let there = [country("DE", &[("Bonn", 4)]), country("FR", &[("Lyon", 1)])];
        let seen = sum(here.iter().chain(&there));
        let wanted = [
            country("DE", &[("Bonn", 5), ("Berlin", 2)]),
            country("FR", &[("Lyon", 1)]),
            country("US", &[]),
        ];
        assert_eq!(seen, wanted);
        assert_eq!(seen, sum(there.iter().chain(&here)), "whoever answers");
    }

    #[test]
    fn the_cities_that_are_told_are_bounded_and_the_largest() {
        let names: Vec<String> = (0..MAX_CITIES * 2).map(|number| number.to_string()).collect();
        let cities: Vec<(&str, u64)> = (0..)
            .zip(&names)
            .map(|(number, name)| (name.as_str(), if number < 10 { 5 } else { 1 }))
            .collect();
        let kept = largest(vec![country("DE", &cities), country("FR", &[("Lyon", 3)])]);
        assert_eq!(
            kept.iter().map(|country| country.cities.len()).sum::<usize>(),
            MAX_CITIES
        );
        assert_eq!(kept[1].cities.len(), 1);
        assert_eq!(kept[0].cities.iter().filter(|city| city.nodes == 5).count(), 10);
        assert_eq!(
            kept[0].nodes,
            50 + MAX_CITIES as u64 * 2 - 10,
            "all count in the country"
        );
    }
}
