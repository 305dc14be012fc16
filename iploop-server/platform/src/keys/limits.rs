//! What a key may do of what its account may: rate, connections, bytes, countries, destinations, ports.

use std::collections::BTreeSet;
use std::net::IpAddr;

use iploop_protocol::destination::{Destination, Host, HostName};
use iploop_protocol::targeting::CountrySet;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::field::{FieldProblem, keep, listed};

/// Most entries in a key's list of destinations.
pub const MAX_DESTINATIONS: usize = 200;
/// Most entries in a key's list of ports.
pub const MAX_PORTS: usize = 64;
/// Most requests a second that a limit may say: more is none.
const MAX_RATE: u32 = 100_000;

/// A key's limits, checked. The default limits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "WantedLimits", try_from = "WantedLimits")]
pub struct KeyLimits {
    /// Requests a second.
    pub rate: Option<Rate>,
    /// Tunnels and requests at the same time.
    pub max_connections: Option<u32>,
    /// Paid bytes.
    pub bytes: ByteLimits,
    /// Countries of exits; empty: any.
    pub countries: CountrySet,
    /// Destinations, the only ones unless empty.
    pub allow: DestinationList,
    /// Destinations that are refused, whatever `allow` says.
    pub deny: DestinationList,
    /// Ports, the only ones unless empty.
    pub ports: BTreeSet<u16>,
}

/// Requests a second, and how many may come at once after a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Each second.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

/// Paid bytes by period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteLimits {
    /// Each UTC day.
    pub per_day: Option<u64>,
    /// Each UTC month.
    pub per_month: Option<u64>,
    /// Since the key was made.
    pub total: Option<u64>,
}

impl ByteLimits {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Hosts, with everything below them, and networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestinationList {
    names: BTreeSet<String>,
    networks: Vec<IpNet>,
}

impl DestinationList {
    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.networks.is_empty()
    }

    /// Whether the host, or a domain above it, is listed; an address, whether its network is.
    pub fn contains(&self, host: &Host) -> bool {
        match host {
            Host::Name(name) => name.suffixes().any(|suffix| self.names.contains(suffix)),
            Host::Ip(ip) => {
                let ip = ip.to_canonical();
                self.networks.iter().any(|network| network.contains(&ip))
            }
        }
    }

    fn entries(&self) -> Vec<String> {
        let networks =
            self.networks
                .iter()
                .map(|network| match network.prefix_len() == network.max_prefix_len() {
                    true => network.addr().to_string(),
                    false => network.to_string(),
                });
        self.names.iter().cloned().chain(networks).collect()
    }
}

/// What of a destination a key does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAllowed {
    /// The host.
    Host,
    /// The port.
    Port,
}

impl KeyLimits {
    /// Whether the key may go there.
    ///
    /// # Errors
    /// What is in the way.
    pub fn check(&self, destination: &Destination) -> Result<(), NotAllowed> {
        if !self.ports.is_empty() && !self.ports.contains(&destination.port) {
            Err(NotAllowed::Port)
        } else if self.deny.contains(&destination.host)
            || (!self.allow.is_empty() && !self.allow.contains(&destination.host))
        {
            Err(NotAllowed::Host)
        } else {
            Ok(())
        }
    }
}

/// Limits as a customer writes them and as the database keeps them; absent and empty means none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WantedLimits {
    /// Requests a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// Requests at once after a rest; absent: as many as a second has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Tunnels and requests at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Paid bytes each UTC day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_day: Option<u64>,
    /// Paid bytes each UTC month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_month: Option<u64>,
    /// Paid bytes since the key was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<u64>,
    /// Two-letter codes, or `eu`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub countries: Vec<String>,
    /// Hosts with everything below them, addresses, CIDRs: the only ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_destinations: Vec<String>,
    /// The same: these not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_destinations: Vec<String>,
    /// Ports: the only ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
}

impl WantedLimits {
    /// The limits, if every one can be accepted.
    ///
    /// # Errors
    /// Every field that can't, with the reason.
    pub fn check(&self) -> Result<KeyLimits, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let rate = self.rate(&mut problems);
        let connections = at_least_one("limits.maxConnections", self.max_connections);
        let max_connections = keep(connections, &mut problems).flatten();
        let mut bytes = |field, given: Option<u64>| keep(size(field, given), &mut problems).flatten();
        let bytes = ByteLimits {
            per_day: bytes("limits.bytesPerDay", self.bytes_per_day),
            per_month: bytes("limits.bytesPerMonth", self.bytes_per_month),
            total: bytes("limits.bytesTotal", self.bytes_total),
        };
        let countries = keep(countries(&self.countries), &mut problems);
        let allow = destinations("limits.allowDestinations", &self.allow_destinations);
        let allow = keep(allow, &mut problems);
        let deny = destinations("limits.denyDestinations", &self.deny_destinations);
        let deny = keep(deny, &mut problems);
        let ports = keep(ports(&self.ports), &mut problems);
        match (countries, allow, deny, ports) {
            (Some(countries), Some(allow), Some(deny), Some(ports)) if problems.is_empty() => Ok(KeyLimits {
                rate,
                max_connections,
                bytes,
                countries,
                allow,
                deny,
                ports,
            }),
            _ => Err(problems),
        }
    }

    fn rate(&self, problems: &mut Vec<FieldProblem>) -> Option<Rate> {
        let in_range = |field, given: Option<u32>| match given {
            Some(given) if !(1..=MAX_RATE).contains(&given) => Err(FieldProblem::new(
                field,
                format!("Must be between 1 and {MAX_RATE}"),
            )),
            other => Ok(other),
        };
        let per_second = keep(
            in_range("limits.requestsPerSecond", self.requests_per_second),
            problems,
        );
        let burst = keep(in_range("limits.burst", self.burst), problems);
        match (per_second.flatten(), burst.flatten()) {
            (Some(per_second), burst) => Some(Rate {
                per_second,
                burst: burst.unwrap_or(per_second),
            }),
            (None, None) => None,
            (None, Some(_)) => {
                if self.requests_per_second.is_none() {
                    problems.push(FieldProblem::new(
                        "limits.burst",
                        "Needs requestsPerSecond beside it",
                    ));
                }
                None
            }
        }
    }
}

impl From<KeyLimits> for WantedLimits {
    fn from(limits: KeyLimits) -> Self {
        Self {
            requests_per_second: limits.rate.map(|rate| rate.per_second),
            burst: limits.rate.map(|rate| rate.burst),
            max_connections: limits.max_connections,
            bytes_per_day: limits.bytes.per_day,
            bytes_per_month: limits.bytes.per_month,
            bytes_total: limits.bytes.total,
            countries: limits.countries.iter().map(|code| code.to_string()).collect(),
            allow_destinations: limits.allow.entries(),
            deny_destinations: limits.deny.entries(),
            ports: limits.ports.into_iter().collect(),
        }
    }
}

impl TryFrom<WantedLimits> for KeyLimits {
    type Error = String;

    fn try_from(wanted: WantedLimits) -> Result<Self, String> {
        wanted.check().map_err(|problems| listed(&problems))
    }
}

fn at_least_one(field: &'static str, given: Option<u32>) -> Result<Option<u32>, FieldProblem> {
    match given {
        Some(0) => Err(FieldProblem::new(
            field,
            "Must be at least 1; switch the key off to stop it",
        )),
        other => Ok(other),
    }
}

fn size(field: &'static str, given: Option<u64>) -> Result<Option<u64>, FieldProblem> {
    match given {
        Some(bytes) if bytes == 0 || i64::try_from(bytes).is_err() => Err(FieldProblem::new(
            field,
            "Must be at least 1 byte and at most 9223372036854775807; switch the key off to stop it",
        )),
        other => Ok(other),
    }
}

fn countries(codes: &[String]) -> Result<CountrySet, FieldProblem> {
    if codes.is_empty() {
        return Ok(CountrySet::EMPTY);
    }
    let problem = |_| {
        let most = CountrySet::MAX_COUNTRIES;
        FieldProblem::new(
            "limits.countries",
            format!("Must be two-letter codes of ISO 3166-1 or eu, at most {most} countries"),
        )
    };
    CountrySet::parse(&codes.join("+")).map_err(problem)
}

fn destinations(field: &'static str, entries: &[String]) -> Result<DestinationList, FieldProblem> {
    let problem = |message: String| FieldProblem::new(field, message);
    if entries.len() > MAX_DESTINATIONS {
        return Err(problem(format!("At most {MAX_DESTINATIONS} entries")));
    }
    let mut list = DestinationList::default();
    for (at, entry) in entries.iter().enumerate() {
        let entry = entry.trim();
        let network = entry
            .parse::<IpAddr>()
            .map(|ip| IpNet::from(ip.to_canonical()))
            .or_else(|_| entry.parse::<IpNet>());
        if let Ok(network) = network {
            let network = network.trunc();
            if !list.networks.contains(&network) {
                list.networks.push(network);
            }
            continue;
        }
        let name = HostName::parse(entry).map_err(|_| {
            problem(format!(
                "Entry {} is no host name, address or CIDR; example.com stands for all below it, without * and port",
                at + 1
            ))
        })?;
        list.names.insert(name.as_str().to_owned());
    }
    list.networks.sort_unstable();
    Ok(list)
}

fn ports(given: &[u16]) -> Result<BTreeSet<u16>, FieldProblem> {
    let ports: BTreeSet<u16> = given.iter().copied().collect();
    if ports.contains(&0) || ports.len() > MAX_PORTS {
        return Err(FieldProblem::new(
            "limits.ports",
            format!("At most {MAX_PORTS} ports, each from 1 to 65535"),
        ));
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(wanted: &WantedLimits) -> KeyLimits {
        wanted.check().unwrap()
    }

    fn texts(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|entry| (*entry).to_owned()).collect()
    }

    fn to(destination: &str) -> Destination {
        destination.parse().unwrap()
    }

    #[test]
    fn a_host_stands_for_all_below_it_and_deny_wins() {
        let limits = limits(&WantedLimits {
            allow_destinations: texts(&["Example.COM", "192.0.2.0/24", "2001:db8::1"]),
            deny_destinations: texts(&["private.example.com", "192.0.2.7"]),
            ports: vec![443, 80],
            ..WantedLimits::default()
        });
        for allowed in [
            "example.com:443",
            "www.example.com:80",
            "192.0.2.8:443",
            "[::ffff:192.0.2.8]:443",
            "[2001:db8::1]:443",
        ] {
            assert_eq!(limits.check(&to(allowed)), Ok(()), "{allowed}");
        }
        for refused in [
            "notexample.com:443",
            "example.com.evil.test:443",
            "com:443",
            "private.example.com:443",
            "a.private.example.com:443",
            "192.0.2.7:443",
            "198.51.100.1:443",
            "[2001:db8::2]:443",
        ] {
            assert_eq!(limits.check(&to(refused)), Err(NotAllowed::Host), "{refused}");
        }
        assert_eq!(limits.check(&to("example.com:22")), Err(NotAllowed::Port));
    }

    #[test]
    fn a_deny_list_alone_allows_the_rest() {
        let limits = limits(&WantedLimits {
            deny_destinations: texts(&["example.com"]),
            ..WantedLimits::default()
        });
        assert_eq!(limits.check(&to("example.org:8080")), Ok(()));
        assert_eq!(limits.check(&to("www.example.com:443")), Err(NotAllowed::Host));
        assert_eq!(KeyLimits::default().check(&to("example.com:1")), Ok(()));
    }

    #[test]
    fn limits_read_back_as_they_were_written() {
        let limits = limits(&WantedLimits {
            requests_per_second: Some(5),
            burst: Some(20),
            max_connections: Some(3),
            bytes_per_day: Some(1),
            bytes_per_month: Some(2),
            bytes_total: Some(3),
            countries: texts(&["de", "eu", "US"]),
            allow_destinations: texts(&["b.example", "a.example", "10.1.2.3/8", "192.0.2.1"]),
            deny_destinations: texts(&["x.example."]),
            ports: vec![443, 80, 443],
        });
        let text = serde_json::to_string(&limits).unwrap();
        assert_eq!(serde_json::from_str::<KeyLimits>(&text).unwrap(), limits);
        assert_eq!(limits.countries.len(), 28);
        assert_eq!(
            limits.allow.entries(),
            ["a.example", "b.example", "10.0.0.0/8", "192.0.2.1"]
        );
        assert_eq!(serde_json::to_string(&KeyLimits::default()).unwrap(), "{}");
    }

    #[test]
    fn every_wrong_field_is_named_with_a_way_out() {
        let wrong = WantedLimits {
            requests_per_second: Some(0),
            burst: Some(0),
            max_connections: Some(0),
            bytes_per_day: Some(0),
            bytes_per_month: Some(u64::MAX),
            bytes_total: Some(0),
            countries: texts(&["UK"]),
            allow_destinations: texts(&["*.example.com"]),
            deny_destinations: texts(&["https://example.com/"]),
            ports: vec![0],
        };
        let problems = wrong.check().unwrap_err();
        let fields: Vec<_> = problems.iter().map(|problem| problem.field).collect();
        assert_eq!(
            fields,
            [
                "limits.requestsPerSecond",
                "limits.burst",
                "limits.maxConnections",
                "limits.bytesPerDay",
                "limits.bytesPerMonth",
                "limits.bytesTotal",
                "limits.countries",
                "limits.allowDestinations",
                "limits.denyDestinations",
                "limits.ports",
            ]
        );
        let lone = WantedLimits {
            burst: Some(5),
            ..WantedLimits::default()
        };
        assert_eq!(lone.check().unwrap_err()[0].field, "limits.burst");
        let many = WantedLimits {
            deny_destinations: vec!["example.com".to_owned(); MAX_DESTINATIONS + 1],
            ..WantedLimits::default()
        };
        assert!(many.check().is_err());
    }
}
