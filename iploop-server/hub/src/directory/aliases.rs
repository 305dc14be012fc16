//! Other names of cities: what people write for places that GeoIP databases call by their English name.

/// Folded, in the order of the alphabet: what is written, and what the databases say.
const CITIES: &[(&str, &str)] = &[
    ("antwerpen", "antwerp"),
    ("athina", "athens"),
    ("bangalore", "bengaluru"),
    ("basel stadt", "basel"),
    ("bombay", "mumbai"),
    ("brussel", "brussels"),
    ("bruxelles", "brussels"),
    ("bucuresti", "bucharest"),
    ("calcutta", "kolkata"),
    ("cdmx", "mexico city"),
    ("ciudad de mexico", "mexico city"),
    ("cologne", "koln"),
    ("den haag", "the hague"),
    ("firenze", "florence"),
    ("frankfurt", "frankfurt am main"),
    ("geneve", "geneva"),
    ("genf", "geneva"),
    ("genova", "genoa"),
    ("hcmc", "ho chi minh city"),
    ("istambul", "istanbul"),
    ("kiev", "kyiv"),
    ("kobenhavn", "copenhagen"),
    ("koeln", "koln"),
    ("krakau", "krakow"),
    ("la", "los angeles"),
    ("lisboa", "lisbon"),
    ("lwow", "lviv"),
    ("madras", "chennai"),
    ("mailand", "milan"),
    ("milano", "milan"),
    ("moskva", "moscow"),
    ("muenchen", "munich"),
    ("munchen", "munich"),
    ("napoli", "naples"),
    ("new york city", "new york"),
    ("nuernberg", "nuremberg"),
    ("nurnberg", "nuremberg"),
    ("nyc", "new york"),
    ("odesa", "odessa"),
    ("peking", "beijing"),
    ("philly", "philadelphia"),
    ("praha", "prague"),
    ("rangoon", "yangon"),
    ("rio", "rio de janeiro"),
    ("roma", "rome"),
    ("saigon", "ho chi minh city"),
    ("sankt peterburg", "st petersburg"),
    ("sao paolo", "sao paulo"),
    ("sevilla", "seville"),
    ("sf", "san francisco"),
    ("st gallen", "saint gallen"),
    ("tel aviv yafo", "tel aviv"),
    ("torino", "turin"),
    ("venezia", "venice"),
    ("warszawa", "warsaw"),
    ("washington dc", "washington"),
    ("wien", "vienna"),
    ("zaragoza", "saragossa"),
    ("zuerich", "zurich"),
];

/// All names of a city, whichever of them is given: databases differ, too.
pub(super) fn of_city(folded: &str) -> impl Iterator<Item = &'static str> {
    let by_name = CITIES.binary_search_by_key(&folded, |(written, _)| written);
    let known = match by_name.ok().and_then(|at| CITIES.get(at)) {
        Some((_, known)) => Some(*known),
        None => CITIES
            .iter()
            .map(|(_, known)| *known)
            .find(|known| *known == folded),
    };
    let others = CITIES
        .iter()
        .filter(move |(_, other)| Some(*other) == known)
        .map(|(written, _)| *written);
    known.into_iter().chain(others)
}

#[cfg(test)]
mod tests {
    use iploop_protocol::targeting::FoldedName;

    use super::*;

    #[test]
    fn the_table_is_folded_and_in_order() {
        assert!(CITIES.is_sorted_by_key(|(written, _)| written));
        for (written, known) in CITIES {
            for name in [written, known] {
                assert_eq!(FoldedName::new(name).unwrap().as_str(), *name);
            }
        }
    }

    #[test]
    fn names_lead_to_each_other() {
        for name in ["munich", "muenchen", "munchen"] {
            let names: Vec<_> = of_city(name).collect();
            assert_eq!(names, ["munich", "muenchen", "munchen"]);
        }
        assert_eq!(of_city("haifa").next(), None);
    }
}
