//! What a platform admin has opened for one customer: default-deny rules and ports, each up to a date.

use serde::{Deserialize, Serialize};

use super::ports::PortRange;
use super::refusal::RuleClass;
use super::table::{Row, Tier};

/// Most openings that one customer has.
pub const MAX_GRANTS: usize = 64;

/// The openings of one customer.
///
/// They lift default rules only: asked about a hard rule, a grant has no say, whatever message brought it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Grant>", into = "Vec<Grant>")]
pub struct Grants {
    grants: Vec<Grant>,
}

/// One opening. Who gave it and why is in the platform's audit record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Grant {
    /// What is open.
    pub opening: Opening,
    /// Open before this time; UTC, in milliseconds since 1970.
    pub until_ms: u64,
}

/// What a grant opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Opening {
    /// Everything under one rule class, such as `as112`, `extended_ports` or `udp_closed`.
    Rule(OpenableRule),
    /// These TCP ports, whatever their class; ports that nobody may open stay shut.
    TcpPorts(PortRange),
}

/// A rule class that an admin may open. There is none for a hard rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RuleClass", into = "RuleClass")]
pub struct OpenableRule(RuleClass);

/// Why something can't be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// Hard rules, and lists, which are lifted by changing the list.
    #[error("the rule {0} can't be opened for a customer")]
    NotOpenable(RuleClass),
    /// More than [`MAX_GRANTS`].
    #[error("more than {MAX_GRANTS} grants")]
    TooMany,
}

impl Grants {
    /// Nothing opened: what most customers have.
    pub const NONE: &'static Self = &Self { grants: Vec::new() };

    /// These openings.
    pub fn new(grants: Vec<Grant>) -> Result<Self, GrantError> {
        if grants.len() > MAX_GRANTS {
            Err(GrantError::TooMany)
        } else {
            Ok(Self { grants })
        }
    }

    /// Every opening, those past their date included.
    pub fn iter(&self) -> impl Iterator<Item = Grant> {
        self.grants.iter().copied()
    }

    pub(super) fn lift_address(&self, row: Row, now_ms: u64) -> bool {
        self.lift(row, now_ms, |_| false)
    }

    pub(super) fn lift_tcp_port(&self, row: Row, port: u16, now_ms: u64) -> bool {
        self.lift(row, now_ms, |range| range.contains(port))
    }

    pub(super) fn lift_udp_port(&self, row: Row, now_ms: u64) -> bool {
        self.lift(row, now_ms, |_| false)
    }

    fn lift(&self, row: Row, now_ms: u64, covers: impl Fn(PortRange) -> bool) -> bool {
        row.tier == Tier::Default
            && self
                .grants
                .iter()
                .filter(|grant| now_ms < grant.until_ms)
                .any(|grant| match grant.opening {
                    Opening::Rule(OpenableRule(rule)) => rule == row.rule,
                    Opening::TcpPorts(range) => covers(range),
                })
    }
}

impl OpenableRule {
    /// The class.
    pub fn rule(self) -> RuleClass {
        self.0
    }
}

impl TryFrom<RuleClass> for OpenableRule {
    type Error = GrantError;

    fn try_from(rule: RuleClass) -> Result<Self, Self::Error> {
        if rule.is_openable() {
            Ok(Self(rule))
        } else {
            Err(GrantError::NotOpenable(rule))
        }
    }
}

impl From<OpenableRule> for RuleClass {
    fn from(rule: OpenableRule) -> Self {
        rule.0
    }
}

impl TryFrom<Vec<Grant>> for Grants {
    type Error = GrantError;

    fn try_from(grants: Vec<Grant>) -> Result<Self, Self::Error> {
        Self::new(grants)
    }
}

impl From<Grants> for Vec<Grant> {
    fn from(grants: Grants) -> Self {
        grants.grants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_travel_as_json_and_hard_rules_can_not_be_written() {
        let text =
            r#"[{"opening":{"rule":"as112"},"untilMs":5},{"opening":{"tcpPorts":"5900-5910"},"untilMs":9}]"#;
        let grants: Grants = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&grants).unwrap(), text);
        for class in RuleClass::ALL {
            let text = format!(r#"[{{"opening":{{"rule":"{class}"}},"untilMs":5}}]"#);
            assert_eq!(
                serde_json::from_str::<Grants>(&text).is_ok(),
                class.is_openable(),
                "{class}"
            );
        }
        let many = vec![grants.iter().next().unwrap(); MAX_GRANTS + 1];
        assert_eq!(Grants::new(many), Err(GrantError::TooMany));
    }

    #[test]
    fn a_grant_lifts_its_default_row_until_its_date() {
        let grant = |opening| {
            Grants::new(vec![Grant {
                opening,
                until_ms: 100,
            }])
            .unwrap()
        };
        let row = |rule, tier| Row { rule, tier };
        let as112 = grant(Opening::Rule(RuleClass::As112.try_into().unwrap()));
        assert!(as112.lift_address(row(RuleClass::As112, Tier::Default), 99));
        assert!(!as112.lift_address(row(RuleClass::As112, Tier::Default), 100));
        assert!(!as112.lift_address(row(RuleClass::As112, Tier::Hard), 99));
        let all = grant(Opening::TcpPorts(PortRange::new(0, u16::MAX).unwrap()));
        assert!(all.lift_tcp_port(row(RuleClass::ExtendedPorts, Tier::Default), 8081, 0));
        assert!(!all.lift_tcp_port(row(RuleClass::NeverPorts, Tier::Hard), 25, 0));
        assert!(!all.lift_udp_port(row(RuleClass::UdpClosed, Tier::Default), 0));
        assert!(!all.lift_address(row(RuleClass::As112, Tier::Default), 0));
    }
}
