//! `GET /`: what runs here, for people.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use iploop_platform::admin::PlatformSettings;

use crate::html::{self, Html};
use crate::network_view::Snapshot;
use crate::state::{ApiState, ProxyAddresses};

/// Countries shown; the rest is counted in one row.
const MAX_COUNTRIES: usize = 50;
/// The country of devices whose place is unknown.
const UNKNOWN: &str = "ZZ";
/// Cities named for a country.
const MAX_CITIES: usize = 5;

/// The status page.
pub(crate) async fn status_page(State(state): State<ApiState>) -> Response {
    let parts = state.parts();
    let snapshot = state.network().snapshot();
    let mut body = Html::default();
    body.raw("<p>This server answers. Running here: ")
        .text(&parts.roles.join(", "))
        .raw(". Version ")
        .text(env!("CARGO_PKG_VERSION"))
        .raw(".</p>");
    // Without the database, the rest is shown all the same.
    if let Ok(stored) = parts.store.settings().await {
        notice(&mut body, &stored.settings);
    }
    figures(&mut body, &snapshot);
    places(&mut body, &snapshot);
    proxy(&mut body, &parts.proxy, &snapshot);
    body.raw("<h2>More</h2><ul><li><a href=\"")
        .text(concat!(env!("CARGO_PKG_REPOSITORY"), "/tree/main/docs"))
        .raw("\">Documentation</a></li>")
        .raw("<li><a href=\"api/openapi.json\">The API, as an OpenAPI 3.1 document</a></li>")
        .raw("<li><a href=\"api/proxy/locations\">Countries and cities, as JSON</a></li>")
        .raw("<li><a href=\"readyz\">Health of the parts, as JSON</a></li></ul>")
        .raw("<p class=\"soft\">As of ")
        .text(&to_the_second(&parts.clock.now().to_string()))
        .raw(". <a href=\"./\">Look again</a></p>");
    html::document(StatusCode::OK, "", "Status", body)
}

/// What the operator has to say, and where to write to.
fn notice(body: &mut Html, settings: &PlatformSettings) {
    if let Some(notice) = &settings.notice {
        body.raw("<p><strong>").text(notice).raw("</strong></p>");
    }
    if let Some(address) = &settings.support_address {
        body.raw("<p>Support: ").text(address).raw("</p>");
    }
}

fn figures(body: &mut Html, snapshot: &Snapshot) {
    let countries = u64::try_from(countries(snapshot).len()).unwrap_or(u64::MAX);
    let figures = [
        ("Devices online", snapshot.stats.connected_nodes),
        ("Ready for requests", snapshot.stats.available_nodes),
        ("Countries", countries),
    ];
    body.raw("<dl class=\"figures\">");
    for (name, number) in figures {
        body.raw("<div><dt>")
            .text(name)
            .raw("</dt><dd>")
            .number(number)
            .raw("</dd></div>");
    }
    body.raw("</dl>");
}

/// Countries by their devices, most first; devices of unknown place last.
fn places(body: &mut Html, snapshot: &Snapshot) {
    body.raw("<h2>Where</h2>");
    if snapshot.stats.connected_nodes == 0 {
        body.raw("<p>No device is online. Until one connects, requests are answered with <code>503 no_exit</code>.</p>");
        return;
    }
    let countries = countries(snapshot);
    body.raw("<table><thead><tr><th scope=\"col\">Country</th><th scope=\"col\">Cities</th>")
        .raw("<th scope=\"col\" class=\"number\">Devices</th></tr></thead><tbody>");
    for (country, devices) in countries.iter().take(MAX_COUNTRIES) {
        row(body, country, &cities(snapshot, country), *devices);
    }
    if let Some(rest) = countries.get(MAX_COUNTRIES..).filter(|rest| !rest.is_empty()) {
        let devices = rest.iter().map(|(_, devices)| devices).sum();
        row(body, &format!("{} more", rest.len()), "", devices);
    }
    if let Some(devices) = snapshot.stats.country_breakdown.get(UNKNOWN) {
        row(body, "Unknown", "", *devices);
    }
    body.raw("</tbody></table>");
}

fn row(body: &mut Html, country: &str, cities: &str, devices: u64) {
    body.raw("<tr><td>")
        .text(country)
        .raw("</td><td>")
        .text(cities)
        .raw("</td><td class=\"number\">")
        .number(devices)
        .raw("</td></tr>");
}

/// Countries with their devices, most first.
fn countries(snapshot: &Snapshot) -> Vec<(&str, u64)> {
    let all = snapshot.stats.country_breakdown.iter();
    let mut countries: Vec<(&str, u64)> = all
        .filter(|(country, _)| *country != UNKNOWN)
        .map(|(country, devices)| (country.as_str(), *devices))
        .collect();
    countries.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    countries
}

/// The largest cities of a country, as far as they are known already: they are counted less often.
fn cities(snapshot: &Snapshot, country: &str) -> String {
    let Some(place) = snapshot.locations.iter().find(|place| place.country == country) else {
        return String::new();
    };
    let named = place.cities.iter().take(MAX_CITIES);
    let mut text = named
        .map(|city| city.city.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    if place.cities.len() > MAX_CITIES {
        text += &format!(" and {} more", place.cities.len() - MAX_CITIES);
    }
    text
}

/// Where the proxy is, and one request to copy.
fn proxy(body: &mut Html, proxy: &ProxyAddresses, snapshot: &Snapshot) {
    let address = |port: u16| format!("{}:{port}", proxy.host);
    let http = address(proxy.http_port);
    body.raw("<h2>Use it</h2><p>The proxy is at <code>")
        .text(&http)
        .raw("</code> for HTTP, HTTPS and SOCKS5");
    if proxy.socks5_port != proxy.http_port {
        body.raw(", and at <code>")
            .text(&address(proxy.socks5_port))
            .raw("</code>, the customary port of SOCKS5");
    }
    let countries = countries(snapshot);
    let targeting = countries
        .first()
        .map_or(String::new(), |(country, _)| format!("-country-{country}"));
    body.raw(".</p><pre><code>curl -x http://iploop:")
        .raw("<var>YOUR_KEY</var>")
        .text(&format!("{targeting}@{http} https://example.com/"))
        .raw("</code></pre>");
}

/// `2026-11-24T03:25:59.385Z` for people.
fn to_the_second(time: &str) -> String {
    match (time.get(..10), time.get(11..19)) {
        (Some(day), Some(hour)) => format!("{day} {hour} UTC"),
        _ => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use iploop_platform::network::{CityPresence, CountryPresence, NetworkStats};

    use super::*;

    fn snapshot(unknown: u64, countries: &[(&str, u64, &[&str])]) -> Snapshot {
        let city = |city: &&str| CityPresence {
            city: (*city).to_owned(),
            nodes: 1,
        };
        let presence = |(country, nodes, cities): &(&str, u64, &[&str])| CountryPresence {
            country: (*country).to_owned(),
            nodes: *nodes,
            cities: cities.iter().map(city).collect(),
        };
        let count = |(country, nodes, _): &(&str, u64, &[&str])| ((*country).to_owned(), *nodes);
        let mut country_breakdown: BTreeMap<String, u64> = countries.iter().map(count).collect();
        if unknown > 0 {
            country_breakdown.insert(UNKNOWN.to_owned(), unknown);
        }
        Snapshot {
            stats: NetworkStats {
                connected_nodes: country_breakdown.values().sum(),
                country_breakdown,
                ..NetworkStats::default()
            },
            locations: countries.iter().map(presence).collect(),
        }
    }

    fn text_of(draw: impl FnOnce(&mut Html)) -> String {
        let mut body = Html::default();
        draw(&mut body);
        body.into_string()
    }

    #[test]
    fn every_device_is_in_the_table_also_without_a_place() {
        let snapshot = snapshot(
            3,
            &[
                ("DE", 2, &["Berlin"]),
                ("US", 4, &["A", "B", "C", "D", "E", "F", "G"]),
            ],
        );
        let text = text_of(|body| places(body, &snapshot));
        let order: Vec<_> = ["<td>US", "A, B, C, D, E and 2 more", "<td>DE", "<td>Unknown</td>"]
            .iter()
            .map(|part| {
                text.find(part)
                    .unwrap_or_else(|| panic!("{part} is not in {text}"))
            })
            .collect();
        assert!(order.is_sorted(), "most devices first: {text}");
        assert!(text.contains("<td class=\"number\">3</td>"), "{text}");
    }

    #[test]
    fn nobody_is_online_only_where_nobody_is() {
        let text = text_of(|body| places(body, &snapshot(0, &[])));
        assert!(text.contains("No device is online"), "{text}");
        let text = text_of(|body| places(body, &snapshot(2, &[])));
        assert!(
            !text.contains("No device is online") && text.contains("Unknown"),
            "{text}"
        );
    }

    #[test]
    fn the_line_to_copy_asks_for_a_country_that_is_there() {
        let addresses = |socks5_port| ProxyAddresses {
            host: "proxy.test".to_owned(),
            http_port: 7777,
            socks5_port,
        };
        let text = text_of(|body| {
            proxy(
                body,
                &addresses(1080),
                &snapshot(5, &[("DE", 1, &[]), ("IL", 2, &[])]),
            )
        });
        assert!(text.contains("-country-IL@proxy.test:7777"), "{text}");
        assert!(text.contains("proxy.test:1080"), "{text}");
        let text = text_of(|body| proxy(body, &addresses(7777), &snapshot(0, &[])));
        assert!(
            text.contains("</var>@proxy.test:7777") && !text.contains("customary"),
            "{text}"
        );
    }

    #[test]
    fn a_time_is_shown_to_the_second() {
        assert_eq!(
            to_the_second("2026-11-24T03:25:59.385Z"),
            "2026-11-24 03:25:59 UTC"
        );
        assert_eq!(to_the_second("now"), "now");
    }
}
