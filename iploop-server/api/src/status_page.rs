//! `GET /`: what runs here, for people.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use iploop_platform::network::CountryPresence;

use crate::html::{self, Html};
use crate::network_view::Snapshot;
use crate::state::ApiState;

/// Countries shown; the rest is counted in one line.
const MAX_COUNTRIES: usize = 50;
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
    figures(&mut body, &snapshot);
    countries(&mut body, &snapshot.locations);
    body.raw("<h2>Use it</h2><p>Proxy: <code>")
        .text(&format!("{}:{}", parts.proxy.host, parts.proxy.http_port))
        .raw("</code> for HTTP, HTTPS and SOCKS5, <code>")
        .text(&format!("{}:{}", parts.proxy.host, parts.proxy.socks5_port))
        .raw("</code> for SOCKS5.</p><ul>")
        .raw("<li><a href=\"")
        .text(concat!(env!("CARGO_PKG_REPOSITORY"), "/tree/main/docs"))
        .raw("\">Documentation</a></li>")
        .raw("<li><a href=\"api/openapi.json\">The API, as an OpenAPI 3.1 document</a></li>")
        .raw("<li><a href=\"api/proxy/locations\">Countries and cities, as JSON</a></li>")
        .raw("<li><a href=\"readyz\">Health of the parts, as JSON</a></li></ul>")
        .raw("<p class=\"soft\">As of ")
        .text(&parts.clock.now().to_string())
        .raw(". <a href=\"./\">Look again</a></p>");
    html::document(StatusCode::OK, "", "Status", body)
}

fn figures(body: &mut Html, snapshot: &Snapshot) {
    let countries = snapshot
        .locations
        .iter()
        .filter(|place| place.country != "ZZ")
        .count();
    let figures = [
        ("Devices online", snapshot.stats.connected_nodes),
        ("Ready for requests", snapshot.stats.available_nodes),
        ("Countries", u64::try_from(countries).unwrap_or(u64::MAX)),
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

fn countries(body: &mut Html, locations: &[CountryPresence]) {
    body.raw("<h2>Where</h2>");
    if locations.is_empty() {
        body.raw("<p>No device is online.</p>");
        return;
    }
    body.raw("<table><thead><tr><th scope=\"col\">Country</th><th scope=\"col\">Cities</th>")
        .raw("<th scope=\"col\" class=\"number\">Devices</th></tr></thead><tbody>");
    for place in locations.iter().take(MAX_COUNTRIES) {
        let cities: Vec<&str> = place
            .cities
            .iter()
            .take(MAX_CITIES)
            .map(|city| city.city.as_str())
            .collect();
        let country = if place.country == "ZZ" {
            "Unknown"
        } else {
            &place.country
        };
        body.raw("<tr><td>")
            .text(country)
            .raw("</td><td>")
            .text(&cities.join(", "))
            .raw("</td><td class=\"number\">")
            .number(place.nodes)
            .raw("</td></tr>");
    }
    body.raw("</tbody></table>");
    if locations.len() > MAX_COUNTRIES {
        body.raw("<p class=\"soft\">And ")
            .text(&(locations.len() - MAX_COUNTRIES).to_string())
            .raw(" more.</p>");
    }
}
