//! The platform's lists: the operator's file and what admins stored, as the one policy that gateway and devices get.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use iploop_protocol::policy::{
    AbuseLimits, NarrowDocument, NarrowPolicy, PlatformPolicy, PolicyError, PortRange, seed_categories,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::field::FieldProblem;
use crate::ids::PolicyEntryId;

/// Most entries that are stored.
pub const MAX_ENTRIES: u32 = 10_000;

/// Longest policy that is pushed, in bytes: it has to fit into one control message with room to spare.
pub const MAX_PUSHED_BYTES: usize = 1_000_000;

/// Longest name of a category.
const MAX_CATEGORY: usize = 40;

/// One entry of the platform's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: PolicyEntryId,
    /// What is denied.
    pub kind: EntryKind,
    /// A domain, an address or prefix, a port or range of ports, in canonical form.
    pub value: String,
    /// In force while its category is switched on.
    pub category: String,
    /// Why it is there.
    pub reason: String,
    /// Since when.
    pub added_at: Timestamp,
}

/// What an entry denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A domain with everything below.
    Suffix,
    /// An address or a prefix.
    Address,
    /// A port or a range.
    Port,
}

impl EntryKind {
    /// As in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Suffix => "suffix",
            Self::Address => "address",
            Self::Port => "port",
        }
    }
}

/// What admins stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredPolicy {
    /// Count of changes.
    pub version: u64,
    /// In place of the file's limits.
    pub limits: Option<AbuseLimits>,
    /// Categories by name, and whether each is on. One that is not here is on, unless it is a seed.
    pub categories: BTreeMap<String, bool>,
    /// Every entry, oldest first.
    pub entries: Vec<Entry>,
}

/// One change of the stored policy.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyChange {
    /// Puts an entry on the list.
    Add(Entry),
    /// Takes one off.
    Remove(PolicyEntryId),
    /// Switches a category.
    Switch {
        /// Its name.
        category: String,
        /// On or off.
        is_on: bool,
    },
    /// Sets the limits; none: as the file says.
    Limits(Option<AbuseLimits>),
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyChanged {
    /// It is stored; the version now.
    Done(u64),
    /// There is no such entry.
    NotFound,
}

impl StoredPolicy {
    /// Whether a category is in force. Seeds are off until an admin switches them on, others on until switched off.
    pub fn is_on(&self, category: &str) -> bool {
        let known = self.categories.get(category).copied();
        known.unwrap_or_else(|| !is_seed(category))
    }

    /// Every category that has a name here: seeds, switched ones, and those of entries.
    pub fn category_names(&self) -> BTreeSet<&str> {
        let seeds = seed_categories().iter().map(|seed| seed.category.as_str());
        let switched = self.categories.keys().map(String::as_str);
        let used = self.entries.iter().map(|entry| entry.category.as_str());
        seeds.chain(switched).chain(used).collect()
    }

    /// The same with a change made.
    #[must_use]
    pub fn with(mut self, change: &PolicyChange) -> Self {
        match change {
            PolicyChange::Add(entry) => self.entries.push(entry.clone()),
            PolicyChange::Remove(id) => self.entries.retain(|entry| entry.id != *id),
            PolicyChange::Switch { category, is_on } => {
                self.categories.insert(category.clone(), *is_on);
            }
            PolicyChange::Limits(limits) => self.limits = *limits,
        }
        self
    }
}

/// Whether a category comes with the product.
pub(crate) fn is_seed(category: &str) -> bool {
    seed_categories().iter().any(|seed| seed.category == category)
}

/// The policy in force: the file's lists and what is stored together, and the stored limits where there are any. Its version
/// is the sum of both versions, so that it grows with each.
///
/// # Errors
/// If it would be too long for a device.
pub fn compose(file: &PlatformPolicy, stored: &StoredPolicy) -> Result<PlatformPolicy, PolicyError> {
    let mut document = serde_json::to_value(file).map_err(|error| PolicyError::Json(error.to_string()))?;
    document["version"] = json!(file.version().saturating_add(stored.version));
    if let Some(limits) = &stored.limits {
        document["limits"] = json!(limits);
    }
    let entries = stored
        .entries
        .iter()
        .filter(|entry| stored.is_on(&entry.category))
        .map(|entry| (entry.kind, entry.value.as_str()));
    let seeds = seed_categories()
        .iter()
        .filter(|seed| stored.is_on(&seed.category))
        .flat_map(|seed| &seed.deny_suffixes)
        .map(|suffix| (EntryKind::Suffix, suffix.as_str()));
    for (kind, value) in entries.chain(seeds) {
        let list = match kind {
            EntryKind::Suffix => "denySuffixes",
            EntryKind::Address => "denyAddresses",
            EntryKind::Port => "denyPorts",
        };
        let list = &mut document["lists"][list];
        match list {
            Value::Array(values) => values.push(json!(value)),
            empty => *empty = json!([value]),
        }
    }
    let text = document.to_string();
    if text.len() > MAX_PUSHED_BYTES {
        return Err(PolicyError::TooLong);
    }
    PlatformPolicy::parse(&text)
}

/// A value in canonical form.
pub(crate) fn parse_value(kind: EntryKind, text: &str) -> Result<String, FieldProblem> {
    let text = text.trim();
    let wrong = |message: &str| FieldProblem::new("value", message);
    let suffix = || text.strip_prefix("*.").or(text.strip_prefix('.')).unwrap_or(text);
    let (document, canonical) = match kind {
        EntryKind::Suffix => {
            let name = suffix()
                .strip_suffix('.')
                .unwrap_or(suffix())
                .to_ascii_lowercase();
            let document = NarrowDocument {
                deny_suffixes: vec![name.clone()],
                ..NarrowDocument::default()
            };
            (document, name)
        }
        EntryKind::Address => {
            let net = text
                .parse::<IpNet>()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            let net = net.map_err(|_| wrong("Write an address or a prefix, such as 192.0.2.0/24"))?;
            let canonical = net.trunc().to_string();
            let document = NarrowDocument {
                deny_addresses: vec![canonical.clone()],
                ..NarrowDocument::default()
            };
            (document, canonical)
        }
        EntryKind::Port => {
            let range = text.parse::<PortRange>();
            let range = range.map_err(|_| wrong("Write a port or a range, such as 6000-6063"))?;
            (NarrowDocument::default(), range.to_string())
        }
    };
    NarrowPolicy::new(document).map_err(|_| wrong("Write a domain in ASCII, such as example.com"))?;
    Ok(canonical)
}

/// A category's name: lower-case words joined by `_`.
pub(crate) fn parse_category(text: &str) -> Result<String, FieldProblem> {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !text.is_empty() && text.len() <= MAX_CATEGORY && text.bytes().all(is_word) {
        Ok(text.to_owned())
    } else {
        Err(FieldProblem::new(
            "category",
            "Write a category in lower case with _ between words, at most 40 characters",
        ))
    }
}

#[cfg(test)]
mod tests {
    use iploop_protocol::policy::{Context, Policy};
    use std::sync::Arc;

    use super::*;

    fn entry(kind: EntryKind, value: &str, category: &str) -> Entry {
        Entry {
            id: PolicyEntryId::new(),
            kind,
            value: parse_value(kind, value).unwrap(),
            category: category.to_owned(),
            reason: "a test".to_owned(),
            added_at: Timestamp::from_millis(0),
        }
    }

    fn refuses(policy: &PlatformPolicy, to: &str) -> bool {
        let policy = Policy::new(Some(Arc::new(policy.clone())));
        policy
            .check_destination(&to.parse().unwrap(), &Context::at_gateway())
            .is_err()
    }

    #[test]
    fn the_policy_in_force_is_file_and_store_together() {
        let file = r#"{"format":1,"version":5,"lists":{"denySuffixes":["file.example"]},"ownAddresses":["45.6.7.8"],"limits":{"openStreams":8}}"#;
        let file = PlatformPolicy::parse(file).unwrap();
        let mut stored = StoredPolicy {
            version: 3,
            entries: vec![
                entry(EntryKind::Suffix, "*.Store.Example.", "complaints"),
                entry(EntryKind::Address, "93.184.216.34", "complaints"),
                entry(EntryKind::Port, "8080-8081", "complaints"),
            ],
            ..StoredPolicy::default()
        };
        let policy = compose(&file, &stored).unwrap();
        assert_eq!(policy.version(), 8);
        assert_eq!(policy.limits().open_streams, 8);
        for to in [
            "a.file.example:80",
            "store.example:443",
            "93.184.216.34:80",
            "example.com:8080",
            "45.6.7.8:80",
        ] {
            assert!(refuses(&policy, to), "{to}");
        }
        assert!(!refuses(&policy, "example.com:80") && !refuses(&policy, "nasa.gov:80"));

        stored.categories = [
            ("complaints".to_owned(), false),
            ("government_and_military".to_owned(), true),
        ]
        .into();
        stored.limits = Some(AbuseLimits::default());
        let policy = compose(&file, &stored).unwrap();
        assert_eq!(policy.limits().open_streams, 64);
        assert!(refuses(&policy, "nasa.gov:80") && refuses(&policy, "a.file.example:80"));
        assert!(!refuses(&policy, "store.example:443"));
    }

    #[test]
    fn values_have_one_form_and_nonsense_has_none() {
        for (kind, given, canonical) in [
            (EntryKind::Suffix, " .Example.COM. ", "example.com"),
            (EntryKind::Address, "192.0.2.77/24", "192.0.2.0/24"),
            (EntryKind::Address, "2001:DB8::1", "2001:db8::1/128"),
            (EntryKind::Port, "25", "25"),
            (EntryKind::Port, "6000-6063", "6000-6063"),
        ] {
            assert_eq!(parse_value(kind, given).unwrap(), canonical, "{given}");
        }
        for (kind, given) in [
            (EntryKind::Suffix, ""),
            (EntryKind::Suffix, "http://example.com"),
            (EntryKind::Suffix, "127.1"),
            (EntryKind::Suffix, "bücher.example"),
            (EntryKind::Address, "example.com"),
            (EntryKind::Address, "10.0.0.0/33"),
            (EntryKind::Port, "65536"),
            (EntryKind::Port, "9-1"),
        ] {
            assert!(parse_value(kind, given).is_err(), "{given}");
        }
        assert!(parse_category("banking_login").is_ok());
        for name in ["", "Banking", "a b", &"a".repeat(41)] {
            assert!(parse_category(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_does_not_fit_into_a_message_is_refused() {
        let long = |n: u32| format!("{n}.{}.example", "a".repeat(60));
        let stored = StoredPolicy {
            entries: (0..15_000)
                .map(|n| entry(EntryKind::Suffix, &long(n), "many"))
                .collect(),
            ..StoredPolicy::default()
        };
        let file = PlatformPolicy::parse(r#"{"format":1,"version":1}"#).unwrap();
        assert_eq!(compose(&file, &stored), Err(PolicyError::TooLong));
    }
}
