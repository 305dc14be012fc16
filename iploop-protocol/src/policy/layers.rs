//! The layers above the rule table: what platform, partner, owner and customer take away. None of them can give.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::limits::AbuseLimits;
use super::names::{self, SuffixMap};
use super::ports::PortRange;
use super::ranges::{self, AddressSet, RangeMap};
use super::refusal::RuleClass;
use crate::destination::{HostError, HostName};

/// Version of the JSON form that this code reads. A policy of another format is not read at all: unknown means deny.
pub const POLICY_FORMAT: u32 = 1;

/// Most entries of one list.
pub const MAX_LIST_ENTRIES: usize = 20_000;

/// Longest JSON text of a platform policy, in bytes.
pub const MAX_POLICY_BYTES: usize = 2 * 1024 * 1024;

/// Who narrows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// The platform's own lists.
    Platform,
    /// The partner whose app runs on the device.
    Partner,
    /// The owner of the device.
    Owner,
    /// The customer's account or key.
    Customer,
}

/// The platform's policy, pushed to devices as JSON.
///
/// ```json
/// { "format": 1, "version": 12,
///   "lists": { "denySuffixes": ["gov"], "denyAddresses": ["192.5.6.0/24"], "denyPorts": ["6000-6063"], "allowPorts": [80, 443] },
///   "ownAddresses": ["45.6.7.8"], "openUdp": true,
///   "limits": { "openStreams": 64, "dialsPerSecond": 20 } }
/// ```
/// Only `format` and `version` are required; [`AbuseLimits`] has the names and defaults of the limits. `openUdp` opens for every
/// customer what a grant of `udp_closed` opens for one: datagrams to port 443.
/// Unknown fields are an error: a list that this code doesn't know would otherwise not be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PlatformDocument", into = "PlatformDocument")]
pub struct PlatformPolicy {
    version: u64,
    lists: NarrowPolicy,
    own_addresses: Vec<IpNet>,
    own: AddressSet,
    open_udp: bool,
    limits: AbuseLimits,
}

/// What one layer takes away.
///
/// JSON with the fields `denySuffixes`, `denyAddresses` (addresses and CIDR prefixes), `denyPorts` and `allowPorts` (then only
/// these), each optional, each of at most [`MAX_LIST_ENTRIES`]. Unknown fields are an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "NarrowDocument", into = "NarrowDocument")]
pub struct NarrowPolicy {
    document: NarrowDocument,
    suffixes: SuffixMap<()>,
    addresses: AddressSet,
    denied_ports: RangeMap<u16, ()>,
    allowed_ports: Option<RangeMap<u16, ()>>,
}

/// Lists as people write them, for [`NarrowPolicy::new`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct NarrowDocument {
    /// Domains that are refused with everything below; `*.` or `.` in front changes nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_suffixes: Vec<String>,
    /// Addresses and CIDR prefixes that are refused, also as the IPv4 address inside an IPv6 one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_addresses: Vec<String>,
    /// Ports that are refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_ports: Vec<PortRange>,
    /// If given, ports outside are refused; an empty list refuses every port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_ports: Option<Vec<PortRange>>,
}

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Not JSON, or not of this shape.
    #[error("the policy can't be read: {0}")]
    Json(String),
    /// Longer than [`MAX_POLICY_BYTES`].
    #[error("the policy is longer than {MAX_POLICY_BYTES} bytes")]
    TooLong,
    /// A format of the future.
    #[error("policy format {0} is not known, only {POLICY_FORMAT}")]
    Format(u32),
    /// Longer than [`MAX_LIST_ENTRIES`].
    #[error("{0} has more than {MAX_LIST_ENTRIES} entries")]
    TooMany(&'static str),
    /// A suffix that is no name.
    #[error("denySuffixes entry {index} is not a domain: {source}")]
    Suffix {
        /// Place in the list, from 0.
        index: usize,
        /// What is wrong with it.
        source: HostError,
    },
    /// Neither an address nor a prefix.
    #[error("{list} entry {index} is not an address or a CIDR prefix")]
    Address {
        /// The list's name.
        list: &'static str,
        /// Place in the list, from 0.
        index: usize,
    },
}

impl PlatformPolicy {
    /// A policy from its parts. `version` is the platform's count of changes, for audit and for "which one do you have?".
    pub fn new(version: u64, lists: NarrowPolicy, own_addresses: Vec<IpNet>) -> Result<Self, PolicyError> {
        if own_addresses.len() > MAX_LIST_ENTRIES {
            return Err(PolicyError::TooMany("ownAddresses"));
        }
        let own = AddressSet::new(own_addresses.iter().copied());
        Ok(Self {
            version,
            lists,
            own_addresses,
            own,
            open_udp: false,
            limits: AbuseLimits::default(),
        })
    }

    /// The same with datagrams open for every customer, or not.
    #[must_use]
    pub fn with_open_udp(self, open_udp: bool) -> Self {
        Self { open_udp, ..self }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: AbuseLimits) -> Self {
        Self { limits, ..self }
    }

    /// Reads the JSON text that the hub pushes.
    ///
    /// On an error there is no policy, and [`Policy::new`](super::Policy::new) without one is the narrow one to use.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLong);
        }
        serde_json::from_str(text).map_err(|error| PolicyError::Json(error.to_string()))
    }

    /// The platform's count of changes.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What one customer may do on one device.
    pub fn limits(&self) -> &AbuseLimits {
        &self.limits
    }

    pub(super) fn opens_udp(&self) -> bool {
        self.open_udp
    }

    pub(super) fn lists(&self) -> &NarrowPolicy {
        &self.lists
    }

    pub(super) fn owns(&self, ip: IpAddr) -> bool {
        self.own.contains(ip)
    }
}

impl NarrowPolicy {
    /// Prepares lists to be asked.
    pub fn new(document: NarrowDocument) -> Result<Self, PolicyError> {
        document.check_lengths()?;
        let suffixes = document.deny_suffixes.iter().enumerate().map(|(index, text)| {
            let name = names::parse_suffix(text).map_err(|source| PolicyError::Suffix { index, source })?;
            Ok((name.as_str().into(), ()))
        });
        Ok(Self {
            suffixes: SuffixMap::new(suffixes.collect::<Result<_, PolicyError>>()?),
            addresses: AddressSet::new(parse_nets("denyAddresses", &document.deny_addresses)?),
            denied_ports: PortRange::union(&document.deny_ports),
            allowed_ports: document.allow_ports.as_deref().map(PortRange::union),
            document,
        })
    }

    /// The lists as they were written.
    pub fn document(&self) -> &NarrowDocument {
        &self.document
    }

    pub(super) fn denies_name(&self, name: &HostName) -> bool {
        self.suffixes.get(name).is_some()
    }

    pub(super) fn denies_address(&self, ip: IpAddr) -> bool {
        self.addresses.contains(ip)
    }

    pub(super) fn denies_port(&self, port: u16) -> bool {
        self.denied_ports.contains(port)
            || self
                .allowed_ports
                .as_ref()
                .is_some_and(|allowed| !allowed.contains(port))
    }
}

impl Default for NarrowPolicy {
    /// Takes nothing away.
    fn default() -> Self {
        Self {
            document: NarrowDocument::default(),
            suffixes: SuffixMap::empty(),
            addresses: AddressSet::empty(),
            denied_ports: RangeMap::empty(),
            allowed_ports: None,
        }
    }
}

impl Layer {
    /// The class of refusals by name or address.
    pub(super) fn list_rule(self) -> RuleClass {
        match self {
            Self::Platform => RuleClass::PlatformList,
            Self::Partner => RuleClass::PartnerList,
            Self::Owner => RuleClass::OwnerList,
            Self::Customer => RuleClass::CustomerList,
        }
    }

    /// The class of refusals by port.
    pub(super) fn port_rule(self) -> RuleClass {
        match self {
            Self::Platform => RuleClass::PlatformPorts,
            Self::Partner => RuleClass::PartnerPorts,
            Self::Owner => RuleClass::OwnerPorts,
            Self::Customer => RuleClass::CustomerPorts,
        }
    }
}

impl NarrowDocument {
    fn check_lengths(&self) -> Result<(), PolicyError> {
        for (list, len) in [
            ("denySuffixes", self.deny_suffixes.len()),
            ("denyAddresses", self.deny_addresses.len()),
            ("denyPorts", self.deny_ports.len()),
            ("allowPorts", self.allow_ports.as_ref().map_or(0, Vec::len)),
        ] {
            if len > MAX_LIST_ENTRIES {
                return Err(PolicyError::TooMany(list));
            }
        }
        Ok(())
    }
}

impl TryFrom<NarrowDocument> for NarrowPolicy {
    type Error = PolicyError;

    fn try_from(document: NarrowDocument) -> Result<Self, Self::Error> {
        Self::new(document)
    }
}

impl From<NarrowPolicy> for NarrowDocument {
    fn from(policy: NarrowPolicy) -> Self {
        policy.document
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PlatformDocument {
    format: u32,
    version: u64,
    #[serde(default)]
    lists: NarrowPolicy,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    own_addresses: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    open_udp: bool,
    #[serde(default)]
    limits: AbuseLimits,
}

impl TryFrom<PlatformDocument> for PlatformPolicy {
    type Error = PolicyError;

    fn try_from(document: PlatformDocument) -> Result<Self, Self::Error> {
        if document.format != POLICY_FORMAT {
            return Err(PolicyError::Format(document.format));
        }
        let own = parse_nets("ownAddresses", &document.own_addresses)?;
        Ok(Self::new(document.version, document.lists, own)?
            .with_open_udp(document.open_udp)
            .with_limits(document.limits))
    }
}

impl From<PlatformPolicy> for PlatformDocument {
    fn from(policy: PlatformPolicy) -> Self {
        Self {
            format: POLICY_FORMAT,
            version: policy.version,
            lists: policy.lists,
            own_addresses: policy.own_addresses.iter().map(IpNet::to_string).collect(),
            open_udp: policy.open_udp,
            limits: policy.limits,
        }
    }
}

fn parse_nets(list: &'static str, texts: &[String]) -> Result<Vec<IpNet>, PolicyError> {
    let nets = texts.iter().enumerate();
    nets.map(|(index, text)| ranges::parse_net(text).ok_or(PolicyError::Address { list, index }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_policy_travels_as_json() {
        let text = r#"{"format":1,"version":12,"lists":{"denySuffixes":["*.gov"],"denyAddresses":["192.5.6.0/24"],"denyPorts":["6000-6063"],"allowPorts":[80,443]},"ownAddresses":["45.6.7.8/32"],"limits":{"openStreams":8}}"#;
        let policy = PlatformPolicy::parse(text).unwrap();
        assert_eq!(policy.version(), 12);
        assert_eq!(
            policy.limits(),
            &AbuseLimits {
                open_streams: 8,
                ..AbuseLimits::default()
            }
        );
        let written = serde_json::to_string(&policy).unwrap();
        assert!(
            written.starts_with(text.split(",\"limits\"").next().unwrap()),
            "{written}"
        );
        assert_eq!(PlatformPolicy::parse(&written).unwrap(), policy);
        assert_eq!(
            PlatformPolicy::parse(r#"{"format":1,"version":1}"#)
                .unwrap()
                .lists,
            NarrowPolicy::default()
        );
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"format":1}"#,
            r#"{"format":2,"version":1}"#,
            r#"{"format":1,"version":-1}"#,
            r#"{"format":1,"version":1,"allowPrivate":true}"#,
            r#"{"format":1,"version":1,"lists":{"allowSuffixes":["x.example"]}}"#,
            r#"{"format":1,"version":1,"lists":{"denySuffixes":["a..b"]}}"#,
            r#"{"format":1,"version":1,"lists":{"denySuffixes":["127.1"]}}"#,
            r#"{"format":1,"version":1,"lists":{"denyAddresses":["10.0.0.0/33"]}}"#,
            r#"{"format":1,"version":1,"lists":{"denyAddresses":["example.com"]}}"#,
            r#"{"format":1,"version":1,"lists":{"denyPorts":[65536]}}"#,
            r#"{"format":1,"version":1,"ownAddresses":["gateway.example"]}"#,
            r#"{"format":1,"version":1} trailing"#,
        ] {
            assert!(
                matches!(PlatformPolicy::parse(text), Err(PolicyError::Json(_))),
                "{text}"
            );
        }
        assert_eq!(
            PlatformPolicy::parse(&" ".repeat(MAX_POLICY_BYTES + 1)),
            Err(PolicyError::TooLong)
        );
    }

    #[test]
    fn lists_are_bounded() {
        let deny_ports = vec![PortRange::from(1); MAX_LIST_ENTRIES + 1];
        let document = NarrowDocument {
            deny_ports,
            ..NarrowDocument::default()
        };
        assert_eq!(
            NarrowPolicy::new(document),
            Err(PolicyError::TooMany("denyPorts"))
        );
    }

    #[test]
    fn an_empty_allow_list_closes_every_port() {
        let policy = NarrowPolicy::new(NarrowDocument {
            allow_ports: Some(vec![]),
            ..NarrowDocument::default()
        })
        .unwrap();
        assert!(policy.denies_port(443));
        assert!(!NarrowPolicy::default().denies_port(443));
    }
}
