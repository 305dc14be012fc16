//! The names of the parameters, and the nearest one to a slip of the pen.

use std::fmt;

use serde::{Serialize, Serializer};

/// A parameter of the targeting grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Parameter {
    /// Countries of the exit.
    Country,
    /// Countries that the exit must not be in.
    Exclude,
    /// Region or state of the exit; `state` is its other name.
    Region,
    /// City of the exit.
    City,
    /// Postal code of the exit.
    Zip,
    /// Autonomous system of the exit.
    Asn,
    /// Internet provider of the exit.
    Isp,
    /// How the device is connected.
    Net,
    /// Kind of device.
    Os,
    /// Id of a sticky session.
    Session,
    /// Kind of session.
    Sesstype,
    /// Longest life of a sticky session.
    Lifetime,
    /// Longest pause in a sticky session.
    Idle,
    /// What brings a new exit.
    Rotate,
    /// What follows when the exit of a sticky session goes away.
    Failover,
    /// Browser preset for plain HTTP requests.
    Profile,
    /// Least speed of the device.
    Speed,
    /// Highest latency of the device.
    Latency,
    /// Where names are resolved.
    Dns,
    /// More facts in the answer's headers.
    Debug,
}

impl Parameter {
    /// Every parameter, in the order of the canonical text.
    pub const ALL: [Self; 20] = [
        Self::Country,
        Self::Exclude,
        Self::Region,
        Self::City,
        Self::Zip,
        Self::Asn,
        Self::Isp,
        Self::Net,
        Self::Os,
        Self::Session,
        Self::Sesstype,
        Self::Rotate,
        Self::Lifetime,
        Self::Idle,
        Self::Failover,
        Self::Profile,
        Self::Speed,
        Self::Latency,
        Self::Dns,
        Self::Debug,
    ];

    /// The name as the grammar writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Country => "country",
            Self::Exclude => "exclude",
            Self::Region => "region",
            Self::City => "city",
            Self::Zip => "zip",
            Self::Asn => "asn",
            Self::Isp => "isp",
            Self::Net => "net",
            Self::Os => "os",
            Self::Session => "session",
            Self::Sesstype => "sesstype",
            Self::Lifetime => "lifetime",
            Self::Idle => "idle",
            Self::Rotate => "rotate",
            Self::Failover => "failover",
            Self::Profile => "profile",
            Self::Speed => "speed",
            Self::Latency => "latency",
            Self::Dns => "dns",
            Self::Debug => "debug",
        }
    }

    /// The parameter with this name, in any case: keyboards of phones like to begin with a capital.
    pub fn parse(name: &str) -> Option<Self> {
        let mut lower = [0; LONGEST_NAME];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        Some(match &*lower {
            b"country" => Self::Country,
            b"exclude" => Self::Exclude,
            b"region" | b"state" => Self::Region,
            b"city" => Self::City,
            b"zip" => Self::Zip,
            b"asn" => Self::Asn,
            b"isp" => Self::Isp,
            b"net" => Self::Net,
            b"os" => Self::Os,
            b"session" => Self::Session,
            b"sesstype" => Self::Sesstype,
            b"lifetime" => Self::Lifetime,
            b"idle" => Self::Idle,
            b"rotate" => Self::Rotate,
            b"failover" => Self::Failover,
            b"profile" => Self::Profile,
            b"speed" => Self::Speed,
            b"latency" => Self::Latency,
            b"dns" => Self::Dns,
            b"debug" => Self::Debug,
            _ => return None,
        })
    }

    /// The parameter that someone who wrote `name` probably meant: other services' names, then spelling.
    pub fn nearest(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        if let Some((_, meant)) = ELSEWHERE.iter().find(|(other, _)| *other == name) {
            return Some(*meant);
        }
        Self::ALL
            .into_iter()
            .map(|parameter| (distance(&name, parameter.as_str()), parameter))
            .filter(|(distance, parameter)| *distance <= if parameter.as_str().len() > 4 { 2 } else { 1 })
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, parameter)| parameter)
    }

    /// The parameter that `name` is one slip away from; only for long names, which nobody hits by chance.
    pub(super) fn slip(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        Self::ALL
            .into_iter()
            .find(|parameter| parameter.as_str().len() > 4 && distance(&name, parameter.as_str()) == 1)
    }

    /// What the parameter takes, with an example; the second half of a hint.
    pub(super) const fn takes(self) -> &'static str {
        match self {
            Self::Country => "two-letter codes joined by +, or eu: country-US, country-US+CA",
            Self::Exclude => "two-letter codes joined by +, or eu: exclude-RU+BY",
            Self::Region => "the name or code of a region: region-california",
            Self::City => "the name of a city, spaces as _ or -: city-new_york",
            Self::Zip => "a postal code of 2 to 12 letters and digits: zip-10001",
            Self::Asn => "the number of an autonomous system, 1 to 4294967294: asn-12345",
            Self::Isp => "the name of a provider, spaces as _ or -: isp-deutsche_telekom",
            Self::Net => "wifi, cellular or ethernet: net-wifi",
            Self::Os => "android, ios, windows, mac, linux or browser: os-android",
            Self::Session => {
                "1 to 64 letters, digits, dots, underscores and single dashes inside: session-abc123"
            }
            Self::Sesstype => "rotating, sticky or per-request: sesstype-sticky",
            Self::Lifetime => {
                "minutes, or a number with s, m or h, from 10s to 24h: lifetime-30, lifetime-90s"
            }
            Self::Idle => "minutes, or a number with s, m or h, from 10s to 24h: idle-5, idle-90s",
            Self::Rotate => "request, time, manual or ip-change: rotate-request",
            Self::Failover => "any, same-asn, same-ip or none: failover-same-asn",
            Self::Profile => {
                "chrome-win, chrome-mac, chrome-linux, chrome-android, firefox-win, firefox-mac, firefox-linux, \
                 safari-mac, safari-ios or edge-win: profile-chrome-win"
            }
            Self::Speed => "whole Mbit/s, 1 to 10000: speed-10",
            Self::Latency => "whole milliseconds, 1 to 60000: latency-100",
            Self::Dns => "exit or gateway: dns-exit",
            Self::Debug => "1 or 0: debug-1",
        }
    }

    /// Whether any token may be part of the value, so that nothing behind it can be called unknown.
    pub(super) const fn is_free_text(self) -> bool {
        matches!(
            self,
            Self::Region | Self::City | Self::Isp | Self::Zip | Self::Session
        )
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Parameter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

const LONGEST_NAME: usize = 8;

/// A slip makes a name at most this much longer than the longest one.
const LONGEST_SLIP: usize = LONGEST_NAME + 2;

/// What other services and other fields call it.
const ELSEWHERE: [(&str, Parameter); 24] = [
    ("carrier", Parameter::Isp),
    ("cc", Parameter::Country),
    ("device", Parameter::Os),
    ("duration", Parameter::Lifetime),
    ("geo", Parameter::Country),
    ("loc", Parameter::Country),
    ("location", Parameter::Country),
    ("network", Parameter::Net),
    ("platform", Parameter::Os),
    ("postal", Parameter::Zip),
    ("postcode", Parameter::Zip),
    ("province", Parameter::Region),
    ("rotation", Parameter::Rotate),
    ("sess", Parameter::Session),
    ("sessid", Parameter::Session),
    ("sessionid", Parameter::Session),
    ("sessiontype", Parameter::Sesstype),
    ("sesstime", Parameter::Lifetime),
    ("sid", Parameter::Session),
    ("st", Parameter::Region),
    ("time", Parameter::Lifetime),
    ("ttl", Parameter::Lifetime),
    ("verbose", Parameter::Debug),
    ("zipcode", Parameter::Zip),
];

/// Edits between two names: insert, delete, replace, swap neighbours. Long or foreign text is simply far away.
fn distance(written: &str, name: &str) -> usize {
    let (written, name) = (written.as_bytes(), name.as_bytes());
    if written.len() < 2 || written.len() > LONGEST_SLIP || !written.is_ascii() {
        return usize::MAX;
    }
    let mut rows = [[0; LONGEST_NAME + 1]; LONGEST_SLIP + 1];
    for (column, cell) in rows[0].iter_mut().enumerate() {
        *cell = column;
    }
    for row in 1..=written.len() {
        rows[row][0] = row;
        for column in 1..=name.len() {
            let same = written[row - 1] == name[column - 1];
            let mut least = (rows[row - 1][column] + 1)
                .min(rows[row][column - 1] + 1)
                .min(rows[row - 1][column - 1] + usize::from(!same));
            let swapped = row > 1
                && column > 1
                && written[row - 1] == name[column - 2]
                && written[row - 2] == name[column - 1];
            if swapped {
                least = least.min(rows[row - 2][column - 2] + 1);
            }
            rows[row][column] = least;
        }
    }
    rows[written.len()][name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_in_any_case() {
        for parameter in Parameter::ALL {
            assert!(parameter.as_str().len() <= LONGEST_NAME);
            assert_eq!(Parameter::parse(parameter.as_str()), Some(parameter));
            assert_eq!(
                Parameter::parse(&parameter.as_str().to_uppercase()),
                Some(parameter)
            );
        }
        assert_eq!(Parameter::parse("state"), Some(Parameter::Region));
        for other in ["", "countr", "countryy", "country ", "sessiontype", "ćity"] {
            assert_eq!(Parameter::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_slip_finds_the_name_that_was_meant() {
        for (written, meant) in [
            ("contry", Parameter::Country),
            ("Coutnry", Parameter::Country),
            ("sesion", Parameter::Session),
            ("sessid", Parameter::Session),
            ("lifetme", Parameter::Lifetime),
            ("ctiy", Parameter::City),
            ("zipcode", Parameter::Zip),
            ("TTL", Parameter::Lifetime),
        ] {
            assert_eq!(Parameter::nearest(written), Some(meant), "{written}");
        }
        for far in ["", "x", "foo", "wonderland", "ünïcödé", &"c".repeat(2000)] {
            assert_eq!(Parameter::nearest(far), None, "{far}");
        }
    }

    #[test]
    fn every_parameter_says_what_it_takes_and_the_example_parses() {
        for parameter in Parameter::ALL {
            let example = parameter.takes().rsplit(": ").next().unwrap();
            for example in example.split(", ") {
                assert!(
                    super::super::Targeting::parse(example).is_ok() || parameter == Parameter::Failover,
                    "{example}"
                );
                assert!(example.starts_with(parameter.as_str()), "{example}");
            }
        }
    }
}
