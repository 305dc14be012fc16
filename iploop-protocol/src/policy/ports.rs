//! Port rules: which ports are open, which an admin may open, which nobody may.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ranges::RangeMap;
use super::table::{self, Row};

/// How the customer wants to reach a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// A stream.
    Tcp,
    /// Datagrams: closed for everyone who hasn't been granted them.
    Udp,
}

/// A range of ports, both ends included. In JSON a number, or text such as `"135-139"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "PortText", into = "PortText")]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// A text that is no range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a port or a range of ports such as 6881-6999")]
pub struct PortRangeError;

impl PortRange {
    /// The ports from `first` to `last`; an error if they are the wrong way round.
    pub fn new(first: u16, last: u16) -> Result<Self, PortRangeError> {
        if first <= last {
            Ok(Self { first, last })
        } else {
            Err(PortRangeError)
        }
    }

    /// The lowest port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub fn last(self) -> u16 {
        self.last
    }

    /// Whether `port` is one of them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    pub(super) fn union(ranges: &[Self]) -> RangeMap<u16, ()> {
        RangeMap::union(ranges.iter().map(|range| (range.first, range.last)).collect())
    }
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self::new(parse_port(first)?, parse_port(last)?)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

fn parse_port(text: &str) -> Result<u16, PortRangeError> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_err(|_| PortRangeError)
    } else {
        Err(PortRangeError)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PortText {
    Number(u16),
    Text(String),
}

impl TryFrom<PortText> for PortRange {
    type Error = PortRangeError;

    fn try_from(text: PortText) -> Result<Self, Self::Error> {
        match text {
            PortText::Number(port) => Ok(port.into()),
            PortText::Text(text) => text.parse(),
        }
    }
}

impl From<PortRange> for PortText {
    fn from(range: PortRange) -> Self {
        if range.first == range.last {
            Self::Number(range.first)
        } else {
            Self::Text(range.to_string())
        }
    }
}

/// The rows of one transport: open, or refused by a rule; ports without a row fall under `other`.
#[derive(Debug)]
pub(super) struct PortTable {
    rows: RangeMap<u16, Option<Row>>,
    other: Row,
}

impl PortTable {
    pub(super) fn new(rows: &[(u16, u16, Option<Row>)], other: Row) -> Self {
        Self {
            rows: RangeMap::innermost(rows),
            other,
        }
    }

    fn row(&self, port: u16) -> Option<Row> {
        self.rows.get(port).unwrap_or(Some(self.other))
    }
}

/// The hard or default row that a port falls under; `None` for an open one.
pub(super) fn row(transport: Transport, port: u16) -> Option<Row> {
    match transport {
        Transport::Tcp => table::get().tcp.row(port),
        Transport::Udp => table::get().udp.row(port),
    }
}

/// Whether a port is open while the platform's policy is missing.
pub(super) fn open_without_platform_policy(transport: Transport, port: u16) -> bool {
    transport == Transport::Tcp && table::get().ports_without_platform_policy.contains(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::RuleClass;
    use crate::policy::table::Tier;

    /// The page's table, written a second time on purpose.
    fn expected_tcp(port: u16) -> Option<&'static str> {
        match port {
            80 | 443 | 8080 | 8443 => None,
            0 | 19 | 23 | 25 | 69 | 111 | 135..=139 | 161 | 445 | 512..=515 | 548 | 623 | 1900 | 2049 => {
                Some("never_ports")
            }
            2375..=2376 | 5353 | 5555 | 7547 | 9100 | 10250 | 11211 => Some("never_ports"),
            21 | 22 | 110 | 143 | 465 | 587 | 993 | 995 | 2525 | 3389 | 5900..=5910 => {
                Some("mail_and_login_ports")
            }
            1433 | 1521 | 3306 | 5432 | 5984 | 6379 | 9200 | 9300 | 27017 => Some("data_store_ports"),
            119 | 563 | 194 | 1214 | 4661..=4666 | 5060..=5061 | 6000..=6063 | 6346..=6429 => {
                Some("chat_and_p2p_ports")
            }
            6660..=6669 | 6679 | 6697 | 6699 | 6881..=6999 => Some("chat_and_p2p_ports"),
            _ => Some("extended_ports"),
        }
    }

    fn expected_udp(port: u16) -> &'static str {
        match port {
            443 => "udp_closed",
            19 | 53 | 69 | 111 | 123 | 137 | 161 | 389 | 1900 | 3702 | 5353 | 11211 => "udp_never_ports",
            _ => "udp_other_ports",
        }
    }

    #[test]
    fn every_port_has_the_class_of_the_page() {
        for port in 0..=u16::MAX {
            assert_eq!(
                row(Transport::Tcp, port).map(|row| row.rule.as_str()),
                expected_tcp(port),
                "{port}"
            );
            let udp = row(Transport::Udp, port).unwrap();
            assert_eq!(udp.rule.as_str(), expected_udp(port), "{port}");
            assert_eq!(
                open_without_platform_policy(Transport::Tcp, port),
                port == 80 || port == 443
            );
            assert!(!open_without_platform_policy(Transport::Udp, port));
        }
    }

    #[test]
    fn only_these_port_classes_may_be_opened() {
        let openable: Vec<&str> = RuleClass::ALL
            .iter()
            .filter(|class| class.is_openable())
            .map(|c| c.as_str())
            .collect();
        assert_eq!(
            openable,
            [
                "as112",
                "mail_and_login_ports",
                "data_store_ports",
                "chat_and_p2p_ports",
                "extended_ports",
                "udp_closed"
            ]
        );
        assert_eq!(row(Transport::Tcp, 25).unwrap().tier, Tier::Hard);
        assert_eq!(row(Transport::Udp, 53).unwrap().tier, Tier::Hard);
        assert_eq!(row(Transport::Udp, 8443).unwrap().tier, Tier::Hard);
    }

    #[test]
    fn ranges_are_a_number_or_a_text_in_json() {
        let ranges: Vec<PortRange> = serde_json::from_str(r#"[80, "135-139", "443"]"#).unwrap();
        assert_eq!(serde_json::to_string(&ranges).unwrap(), r#"[80,"135-139",443]"#);
        for text in [
            r#""139-135""#,
            r#""80-""#,
            r#""-80""#,
            r#""""#,
            "65536",
            "-1",
            r#""+80""#,
            r#""1-2-3""#,
            r#""70000""#,
        ] {
            assert!(serde_json::from_str::<PortRange>(text).is_err(), "{text}");
        }
    }
}
