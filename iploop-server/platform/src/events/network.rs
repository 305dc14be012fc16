//! The network in a customer's eyes: how many exits came and went, by country. Never which ones.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::EventKind;

/// Exits by country.
pub(super) type Census = BTreeMap<String, u64>;

/// The net changes from one census to the next; none where nothing changed.
pub(super) fn changes(before: &Census, now: &Census) -> Vec<(EventKind, Value)> {
    let (mut came, mut went) = (Vec::new(), Vec::new());
    let countries = before
        .keys()
        .chain(now.keys().filter(|country| !before.contains_key(*country)));
    for country in countries {
        let count = |census: &Census| census.get(country).copied().unwrap_or(0);
        let (was, is) = (count(before), count(now));
        let entry = json!({ "country": country, "count": was.abs_diff(is), "online": is });
        match is.cmp(&was) {
            std::cmp::Ordering::Greater => came.push(entry),
            std::cmp::Ordering::Less => went.push(entry),
            std::cmp::Ordering::Equal => {}
        }
    }
    [
        (EventKind::NodeConnected, came),
        (EventKind::NodeDisconnected, went),
    ]
    .into_iter()
    .filter(|(_, countries)| !countries.is_empty())
    .map(|(kind, countries)| (kind, json!({ "countries": countries })))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(counts: &[(&str, u64)]) -> Census {
        counts
            .iter()
            .map(|(country, count)| ((*country).to_owned(), *count))
            .collect()
    }

    #[test]
    fn what_came_and_went_is_told_by_country() {
        let found = changes(
            &census(&[("DE", 2), ("FR", 1), ("US", 3)]),
            &census(&[("DE", 5), ("JP", 1), ("US", 3)]),
        );
        let entry = |country: &str, count: u64, online: u64| json!({"country": country, "count": count, "online": online});
        assert_eq!(
            found,
            [
                (
                    EventKind::NodeConnected,
                    json!({"countries": [entry("DE", 3, 5), entry("JP", 1, 1)]})
                ),
                (
                    EventKind::NodeDisconnected,
                    json!({"countries": [entry("FR", 1, 0)]})
                ),
            ]
        );
        assert_eq!(changes(&census(&[("DE", 2)]), &census(&[("DE", 2)])), []);
    }
}
