//! The rule table, `data/exit-policy.json`: read once, kept as sorted arrays.

use std::sync::LazyLock;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::names::SuffixMap;
use super::ports::{PortRange, PortTable};
use super::ranges::{self, RangeMap};
use super::refusal::RuleClass;

/// Who may lift a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Nobody.
    Hard,
    /// A platform admin, for one customer and up to a date.
    Default,
}

/// A rule and who may lift it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) rule: RuleClass,
    pub(super) tier: Tier,
}

/// A row of the address table, for pages that show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressRule {
    /// The ranges that are refused.
    pub ranges: Vec<IpNet>,
    /// The class that refusals name.
    pub rule: RuleClass,
    /// Who may lift it.
    pub tier: Tier,
    /// What lives there.
    pub what: String,
    /// The RFCs that say so.
    pub rfc: Vec<u16>,
}

/// Domains that a platform admin adds to the platform's list, or takes out of it, as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct SeedCategory {
    /// A name that stays, such as `government_and_military`.
    pub category: String,
    /// The domains, each with everything below it. A beginning: the admin's own list goes beside it.
    pub deny_suffixes: Vec<String>,
}

/// What the table says about an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum V6Row {
    Refuse(Row),
    /// The last 32 bits are an IPv4 address, whose own row counts.
    Ipv4Inside,
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) address_rules: Vec<AddressRule>,
    pub(super) v4: RangeMap<u32, Row>,
    pub(super) v6: RangeMap<u128, V6Row>,
    pub(super) names: SuffixMap<Row>,
    pub(super) single_label: Option<Row>,
    pub(super) tcp: PortTable,
    pub(super) udp: PortTable,
    pub(super) ports_without_platform_policy: RangeMap<u16, ()>,
    pub(super) seed_categories: Vec<SeedCategory>,
    tiers: Tiers,
}

/// Every row of the address table.
pub fn address_rules() -> &'static [AddressRule] {
    &get().address_rules
}

/// The categories that a platform's list can start from. None is in force by itself.
pub fn seed_categories() -> &'static [SeedCategory] {
    &get().seed_categories
}

pub(super) fn get() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| {
        Table::parse(include_str!("../../data/exit-policy.json"))
            .expect("the table is part of this source, and a test parses it")
    });
    &TABLE
}

impl Table {
    /// The tier of a class, if it is one of the table: lists and malformed destinations have none.
    pub(super) fn tier(&self, rule: RuleClass) -> Option<Tier> {
        self.tiers.row(rule).map(|row| row.tier)
    }

    fn parse(text: &str) -> Result<Self, TableError> {
        let document: Document = serde_json::from_str(text)?;
        let mut tiers = Tiers::default();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for rule in &document.addresses {
            let row = tiers.note(Row {
                rule: rule.rule,
                tier: rule.tier,
            })?;
            for range in &rule.ranges {
                match range {
                    IpNet::V4(net) => v4.push(spanned(ranges::span_v4(*net), row)),
                    IpNet::V6(net) => v6.push(spanned(ranges::span_v6(*net), V6Row::Refuse(row))),
                }
            }
        }
        for embedding in &document.embedded {
            match embedding.range {
                IpNet::V6(net) if net.prefix_len() == 96 => {
                    v6.push(spanned(ranges::span_v6(net), V6Row::Ipv4Inside));
                }
                net => return Err(TableError::NotLast32Bits(net)),
            }
        }
        let mut names = Vec::new();
        for rule in &document.names {
            let row = tiers.note(Row {
                rule: rule.rule,
                tier: rule.tier,
            })?;
            names.extend(rule.suffixes.iter().map(|suffix| (suffix.as_str().into(), row)));
        }
        for rule in document.tcp.rules.iter().chain(&document.udp.rules) {
            tiers.note(Row {
                rule: rule.rule,
                tier: rule.tier,
            })?;
        }
        for row in [document.tcp.other, document.udp.other] {
            tiers.note(row)?;
        }
        for rule in &document.decided_in_code {
            tiers.note(Row {
                rule: rule.rule,
                tier: rule.tier,
            })?;
        }
        Ok(Self {
            address_rules: document.addresses,
            v4: RangeMap::innermost(&v4),
            v6: RangeMap::innermost(&v6),
            names: SuffixMap::new(names),
            single_label: tiers.row(RuleClass::SingleLabel),
            tcp: document.tcp.into_table(),
            udp: document.udp.into_table(),
            ports_without_platform_policy: PortRange::union(&document.ports_without_platform_policy),
            seed_categories: document.seed_categories,
            tiers,
        })
    }
}

#[derive(Debug, thiserror::Error)]
enum TableError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("{0} does not leave the last 32 bits to an IPv4 address")]
    NotLast32Bits(IpNet),
    #[error("{0} has rows of two tiers")]
    MixedTiers(RuleClass),
}

/// The tier of each class: one class is never half hard, else its name would tell nobody what it means.
#[derive(Debug, Default)]
struct Tiers(Vec<(RuleClass, Tier)>);

impl Tiers {
    fn row(&self, rule: RuleClass) -> Option<Row> {
        self.0
            .iter()
            .find(|(class, _)| *class == rule)
            .map(|(rule, tier)| Row {
                rule: *rule,
                tier: *tier,
            })
    }

    fn note(&mut self, row: Row) -> Result<Row, TableError> {
        match self.0.iter().find(|(class, _)| *class == row.rule) {
            Some((_, tier)) if *tier != row.tier => return Err(TableError::MixedTiers(row.rule)),
            Some(_) => {}
            None => self.0.push((row.rule, row.tier)),
        }
        Ok(row)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    addresses: Vec<AddressRule>,
    embedded: Vec<Embedding>,
    names: Vec<NameRule>,
    tcp: PortRules,
    udp: PortRules,
    ports_without_platform_policy: Vec<PortRange>,
    seed_categories: Vec<SeedCategory>,
    decided_in_code: Vec<CodeRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Embedding {
    range: IpNet,
    #[serde(rename = "what")]
    _what: String,
    #[serde(rename = "rfc")]
    _rfc: Vec<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NameRule {
    suffixes: Vec<String>,
    rule: RuleClass,
    tier: Tier,
    #[serde(rename = "what")]
    _what: String,
    #[serde(rename = "rfc")]
    _rfc: Vec<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeRule {
    rule: RuleClass,
    tier: Tier,
    #[serde(rename = "what")]
    _what: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PortRules {
    open: Vec<PortRange>,
    rules: Vec<PortRule>,
    other: Row,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PortRule {
    ports: Vec<PortRange>,
    rule: RuleClass,
    tier: Tier,
}

impl PortRules {
    fn into_table(self) -> PortTable {
        let mut rows: Vec<_> = self
            .open
            .iter()
            .map(|range| (range.first(), range.last(), None))
            .collect();
        for PortRule { ports, rule, tier } in self.rules {
            rows.extend(
                ports
                    .iter()
                    .map(|range| (range.first(), range.last(), Some(Row { rule, tier }))),
            );
        }
        PortTable::new(&rows, self.other)
    }
}

fn spanned<K, V>((first, last): (K, K), value: V) -> (K, K, V) {
    (first, last, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::HostName;
    use crate::policy::RefusalKind;

    fn document() -> Document {
        serde_json::from_str(include_str!("../../data/exit-policy.json")).unwrap()
    }

    #[test]
    fn the_table_parses() {
        let table = Table::parse(include_str!("../../data/exit-policy.json")).unwrap();
        assert_eq!(table.address_rules, address_rules());
    }

    #[test]
    fn every_class_that_is_no_list_has_a_tier() {
        for class in RuleClass::ALL {
            let listed = get().tier(*class).is_some();
            let layer = class.kind() == RefusalKind::List
                || ["platform_ports", "partner_ports", "owner_ports", "customer_ports"]
                    .contains(&class.as_str());
            let stateful = matches!(class, RuleClass::PolicyMissing | RuleClass::Malformed);
            assert_eq!(listed, !(layer || stateful), "{class}");
            assert!(!(class.is_hard() && class.is_openable()));
        }
    }

    #[test]
    fn nothing_openable_lies_inside_a_hard_range() {
        let rules = address_rules();
        for openable in rules.iter().filter(|rule| rule.tier == Tier::Default) {
            for inner in &openable.ranges {
                let hard = rules
                    .iter()
                    .filter(|rule| rule.tier == Tier::Hard)
                    .flat_map(|rule| &rule.ranges);
                assert!(hard.into_iter().all(|outer| !outer.contains(inner)), "{inner}");
            }
        }
    }

    #[test]
    fn ranges_have_no_bits_behind_their_prefix() {
        let document = document();
        let embedded = document.embedded.iter().map(|embedding| &embedding.range);
        for net in document
            .addresses
            .iter()
            .flat_map(|rule| &rule.ranges)
            .chain(embedded)
        {
            assert_eq!(*net, net.trunc());
        }
    }

    /// 6379 lies inside a range of another class; the innermost names it, which is only fair among equals.
    #[test]
    fn rows_that_hold_the_same_port_have_the_same_tier() {
        for ports in [document().tcp, document().udp] {
            let open = ports.open.iter().map(|range| (*range, None));
            let refused = ports
                .rules
                .iter()
                .flat_map(|rule| rule.ports.iter().map(|range| (*range, Some(rule.tier))));
            let rows: Vec<_> = open.chain(refused).collect();
            for (a, tier) in &rows {
                for (b, other) in &rows {
                    assert!(
                        tier == other || a.last() < b.first() || b.last() < a.first(),
                        "{a} and {b}"
                    );
                }
            }
        }
    }

    #[test]
    fn suffixes_are_canonical_names() {
        let document = document();
        let seeds = document
            .seed_categories
            .iter()
            .flat_map(|category| &category.deny_suffixes);
        for suffix in document.names.iter().flat_map(|rule| &rule.suffixes).chain(seeds) {
            assert_eq!(HostName::parse(suffix).unwrap().as_str(), suffix);
        }
    }
}
