//! Name rules: which names are refused before anybody resolves them.

use std::cmp::Ordering;

use super::table::{self, Row};
use crate::destination::{HostError, HostName};

/// The row of the table that a name falls under.
pub(super) fn row(name: &HostName) -> Option<Row> {
    let table = table::get();
    let single = !name.as_str().contains('.');
    table.names.get(name).or(table.single_label.filter(|_| single))
}

/// Suffixes of names, each with a value. A suffix covers itself and everything below it, on label borders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SuffixMap<V> {
    /// Sorted by length, then text: most steps of a search compare two numbers.
    entries: Vec<(Box<str>, V)>,
}

impl<V: Copy> SuffixMap<V> {
    pub(super) const fn empty() -> Self {
        Self { entries: Vec::new() }
    }

    /// Of canonical names (lower case, no trailing dot).
    pub(super) fn new(mut entries: Vec<(Box<str>, V)>) -> Self {
        entries.sort_by(|(a, _), (b, _)| by_length(a, b));
        entries.dedup_by(|(a, _), (b, _)| a == b);
        entries.shrink_to_fit();
        Self { entries }
    }

    /// The value of the longest suffix that covers `name`.
    pub(super) fn get(&self, name: &HostName) -> Option<V> {
        if self.entries.is_empty() {
            return None;
        }
        name.suffixes().find_map(|suffix| {
            let index = self
                .entries
                .binary_search_by(|(entry, _)| by_length(entry, suffix))
                .ok()?;
            self.entries.get(index).map(|(_, value)| *value)
        })
    }
}

fn by_length(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// A suffix as people write them: `example.com`, `.example.com` and `*.example.com` all mean the domain and all below.
pub(super) fn parse_suffix(text: &str) -> Result<HostName, HostError> {
    HostName::parse(
        text.strip_prefix("*.")
            .or_else(|| text.strip_prefix('.'))
            .unwrap_or(text),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::RuleClass;

    fn rule(name: &str) -> Option<RuleClass> {
        row(&HostName::parse(name).unwrap()).map(|row| row.rule)
    }

    #[test]
    fn local_names_are_refused_whatever_their_spelling() {
        for (name, expected) in [
            ("localhost", RuleClass::LocalName),
            ("LOCALHOST.", RuleClass::LocalName),
            ("a.b.localhost", RuleClass::LocalName),
            ("printer.local", RuleClass::LocalName),
            ("Printer.LOCAL.", RuleClass::LocalName),
            ("api.internal", RuleClass::LocalName),
            ("nas.lan", RuleClass::LocalName),
            ("router.home.arpa", RuleClass::LocalName),
            ("home.arpa", RuleClass::LocalName),
            ("abc.onion", RuleClass::OnionName),
            ("metadata.google.internal", RuleClass::MetadataName),
            ("x.metadata.google.internal.", RuleClass::MetadataName),
            ("router", RuleClass::SingleLabel),
            ("com", RuleClass::SingleLabel),
            ("xn--bcher-kva", RuleClass::SingleLabel),
        ] {
            assert_eq!(rule(name), Some(expected), "{name}");
        }
    }

    #[test]
    fn suffixes_end_on_label_borders() {
        for name in [
            "example.com",
            "notlocal.example",
            "mylocal.example",
            "x.notlocalhost.com",
            "in-addr.arpa",
            "lan.example",
        ] {
            assert_eq!(rule(name), None, "{name}");
        }
        assert_eq!(rule("a.xlan"), None);
    }

    #[test]
    fn a_written_suffix_may_carry_a_star_or_a_dot() {
        for text in ["example.com", ".example.com", "*.Example.COM", "example.com."] {
            assert_eq!(parse_suffix(text).unwrap().as_str(), "example.com");
        }
        for text in [
            "",
            "*",
            "*.",
            "a.*.example",
            "..example",
            "1.2.3.4",
            "bücher.example",
        ] {
            assert!(parse_suffix(text).is_err(), "{text}");
        }
    }
}
