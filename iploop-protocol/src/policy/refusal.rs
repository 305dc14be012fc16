//! Why a destination is refused, in words that are safe to give away.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::table;
use crate::destination::DestinationError;

/// A destination refused by the exit policy.
///
/// It names the class of the rule and nothing else: no address, network or resolver answer of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("refused by the exit policy ({rule}): {}", .rule.text())]
pub struct Refusal {
    rule: RuleClass,
}

/// What about a destination was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// The address, given or resolved.
    Address,
    /// The name, before anybody resolved it.
    Name,
    /// The port, or the transport as a whole.
    Port,
    /// Name or address stand in a list of platform, partner, owner or customer.
    List,
    /// It is no destination at all.
    Malformed,
}

impl Refusal {
    /// Which rule; to count and to audit.
    pub fn rule(self) -> RuleClass {
        self.rule
    }

    /// What was refused.
    pub fn kind(self) -> RefusalKind {
        self.rule.kind()
    }

    /// Whether the rule is one that nobody may lift. Customers who keep running into these are suspended.
    pub fn is_hard(self) -> bool {
        self.rule.is_hard()
    }

    /// The error code of the gateway's answers.
    pub fn code(self) -> &'static str {
        match self.kind() {
            RefusalKind::Address | RefusalKind::Name | RefusalKind::List => "destination_forbidden",
            RefusalKind::Port => "port_forbidden",
            RefusalKind::Malformed => "invalid_destination",
        }
    }

    /// Status of the HTTP answer.
    pub fn http_status(self) -> u16 {
        match self.kind() {
            RefusalKind::Address | RefusalKind::Name | RefusalKind::Port | RefusalKind::List => 403,
            RefusalKind::Malformed => 400,
        }
    }

    /// Proxy error type for `Proxy-Status` (RFC 9209 section 2.3).
    pub fn proxy_status_error(self) -> &'static str {
        match self.kind() {
            RefusalKind::Address => "destination_ip_prohibited",
            RefusalKind::Name | RefusalKind::Port | RefusalKind::List => "http_request_denied",
            RefusalKind::Malformed => "http_request_error",
        }
    }
}

impl From<RuleClass> for Refusal {
    fn from(rule: RuleClass) -> Self {
        Self { rule }
    }
}

impl From<DestinationError> for Refusal {
    /// A text that never became a destination. The error itself says what was wrong with it.
    fn from(_: DestinationError) -> Self {
        RuleClass::Malformed.into()
    }
}

macro_rules! rule_classes {
    ($($(#[$doc:meta])* $class:ident $name:literal $kind:ident $text:literal,)*) => {
        /// The class of a rule, by a name that stays: metrics, audit records and the wire carry it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum RuleClass {
            $($(#[$doc])* #[serde(rename = $name)] $class,)*
        }

        impl RuleClass {
            /// Every class, in the order of this page.
            pub const ALL: &'static [Self] = &[$(Self::$class,)*];

            /// The stable name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$class => $name,)*
                }
            }

            /// What rules of this class look at.
            pub const fn kind(self) -> RefusalKind {
                match self {
                    $(Self::$class => RefusalKind::$kind,)*
                }
            }

            /// One sentence for the customer.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$class => $text,)*
                }
            }
        }
    };
}

rule_classes! {
    /// 0.0.0.0/8 and `::`.
    ThisNetwork "this_network" Address "addresses of \"this network\" are not reachable",
    /// RFC 1918.
    Private "private" Address "private addresses are not reachable",
    /// RFC 6598.
    CarrierNat "carrier_nat" Address "carrier NAT addresses are not reachable",
    /// 127.0.0.0/8 and `::1`.
    Loopback "loopback" Address "loopback addresses are not reachable",
    /// Link-local addresses, cloud metadata among them.
    LinkLocal "link_local" Address "link-local addresses are not reachable",
    /// 192.0.0.0/24 and 2001::/23.
    ProtocolAssignment "protocol_assignment" Address "addresses reserved for protocols are not reachable",
    /// Addresses for examples.
    Documentation "documentation" Address "documentation addresses are not reachable",
    /// 6to4 and its relays.
    SixToFour "six_to_four" Address "6to4 addresses are not reachable",
    /// Sinks for misdirected reverse look-ups.
    As112 "as112" Address "AS112 addresses are closed unless opened for the account",
    /// AMT relays.
    MulticastRelay "multicast_relay" Address "multicast relays are not reachable",
    /// RFC 2544.
    Benchmarking "benchmarking" Address "benchmarking addresses are not reachable",
    /// Multicast groups.
    Multicast "multicast" Address "multicast addresses are not reachable",
    /// 240.0.0.0/4.
    Reserved "reserved" Address "reserved addresses are not reachable",
    /// 255.255.255.255.
    Broadcast "broadcast" Address "the broadcast address is not reachable",
    /// A cloud platform's host service.
    CloudHost "cloud_host" Address "cloud host services are not reachable",
    /// IPv6 outside 2000::/3.
    NotGlobalUnicast "not_global_unicast" Address "only global unicast IPv6 addresses are reachable",
    /// ::/96.
    Ipv4Compatible "ipv4_compatible" Address "IPv4-compatible IPv6 addresses are not reachable",
    /// fc00::/7.
    UniqueLocal "unique_local" Address "unique local addresses are not reachable",
    /// fec0::/10.
    SiteLocal "site_local" Address "site-local addresses are not reachable",
    /// 100::/64 and 100:0:0:1::/64.
    Discard "discard" Address "discard addresses are not reachable",
    /// 5f00::/16.
    SegmentRouting "segment_routing" Address "segment routing addresses are not reachable",
    /// A NAT64 prefix that isn't the device's own.
    LocalNat64 "local_nat64" Address "local NAT64 addresses are not reachable",
    /// Anything that belongs to the device's own surroundings. One class on purpose: which of them it is would be told.
    DeviceNetwork "device_network" Address "the network of the sharing device is not reachable",
    /// The platform's own servers.
    PlatformAddress "platform_address" Address "the platform's own servers are not reachable through it",
    /// A name of one label.
    SingleLabel "single_label" Name "names of a single label are not resolved",
    /// `localhost`, `.local`, `.lan` and their like.
    LocalName "local_name" Name "local names are not resolved",
    /// `.onion`.
    OnionName "onion_name" Name "onion names are not resolved",
    /// Cloud metadata by name.
    MetadataName "metadata_name" Name "metadata services are not reachable",
    /// TCP ports that nobody may open.
    NeverPorts "never_ports" Port "this port is closed for everyone",
    /// Mail, remote login and remote desktop.
    MailAndLoginPorts "mail_and_login_ports" Port "mail and login ports are closed unless opened for the account",
    /// Databases.
    DataStorePorts "data_store_ports" Port "database ports are closed unless opened for the account",
    /// Chat, news, peer-to-peer and voice.
    ChatAndP2pPorts "chat_and_p2p_ports" Port "chat, peer-to-peer and voice ports are closed unless opened for the account",
    /// Every TCP port that stands in no other class.
    ExtendedPorts "extended_ports" Port "ports beyond the web's are closed unless opened for the account",
    /// UDP to a port that may be opened.
    UdpClosed "udp_closed" Port "UDP is closed unless opened for the account",
    /// UDP ports known for reflection.
    UdpNeverPorts "udp_never_ports" Port "this UDP port is closed for everyone",
    /// Every other UDP port.
    UdpOtherPorts "udp_other_ports" Port "only web ports are reachable by UDP",
    /// Not 80 or 443 while the platform's policy is missing or unreadable.
    PolicyMissing "policy_missing" Port "only ports 80 and 443 are open until the policy has arrived",
    /// Name or address in the platform's list.
    PlatformList "platform_list" List "the platform does not serve this destination",
    /// Name or address in the partner's list.
    PartnerList "partner_list" List "the partner of the sharing device does not serve this destination",
    /// Name or address in the device owner's list.
    OwnerList "owner_list" List "the owner of the sharing device does not serve this destination",
    /// Name or address in the customer's own list.
    CustomerList "customer_list" List "the block list of the account or key has this destination",
    /// Port closed by the platform.
    PlatformPorts "platform_ports" Port "the platform has closed this port",
    /// Port closed by the partner.
    PartnerPorts "partner_ports" Port "the partner of the sharing device has closed this port",
    /// Port closed by the device owner.
    OwnerPorts "owner_ports" Port "the owner of the sharing device has closed this port",
    /// Port closed by the customer.
    CustomerPorts "customer_ports" Port "the account or key has closed this port",
    /// No destination.
    Malformed "malformed" Malformed "this is not a valid destination",
}

impl RuleClass {
    /// Whether nobody may lift rules of this class.
    pub fn is_hard(self) -> bool {
        table::get().tier(self) == Some(table::Tier::Hard)
    }

    /// Whether a platform admin may open rules of this class for one customer.
    pub fn is_openable(self) -> bool {
        table::get().tier(self) == Some(table::Tier::Default)
    }
}

impl fmt::Display for RuleClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that no rule class has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no rule class has this name")]
pub struct UnknownRuleClass;

impl FromStr for RuleClass {
    type Err = UnknownRuleClass;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|class| class.as_str() == name)
            .ok_or(UnknownRuleClass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn rule_names_are_unique_stable_words_that_parse_back() {
        let names: BTreeSet<&str> = RuleClass::ALL.iter().map(|class| class.as_str()).collect();
        assert_eq!(names.len(), RuleClass::ALL.len());
        for class in RuleClass::ALL {
            let name = class.as_str();
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{name}"
            );
            assert_eq!(name.parse(), Ok(*class));
            assert_eq!(serde_json::to_string(class).unwrap(), format!("\"{name}\""));
        }
        assert_eq!("Loopback".parse::<RuleClass>(), Err(UnknownRuleClass));
    }

    #[test]
    fn each_kind_has_its_whole_answer() {
        let answer = |rule: RuleClass| {
            let refusal = Refusal::from(rule);
            (
                refusal.http_status(),
                refusal.code(),
                refusal.proxy_status_error(),
            )
        };
        assert_eq!(
            answer(RuleClass::Loopback),
            (403, "destination_forbidden", "destination_ip_prohibited")
        );
        assert_eq!(
            answer(RuleClass::LocalName),
            (403, "destination_forbidden", "http_request_denied")
        );
        assert_eq!(
            answer(RuleClass::OwnerList),
            (403, "destination_forbidden", "http_request_denied")
        );
        assert_eq!(
            answer(RuleClass::NeverPorts),
            (403, "port_forbidden", "http_request_denied")
        );
        assert_eq!(
            answer(RuleClass::OwnerPorts),
            (403, "port_forbidden", "http_request_denied")
        );
        assert_eq!(
            answer(RuleClass::Malformed),
            (400, "invalid_destination", "http_request_error")
        );
    }

    #[test]
    fn the_text_names_the_rule_class_only() {
        assert_eq!(
            Refusal::from(RuleClass::DeviceNetwork).to_string(),
            "refused by the exit policy (device_network): the network of the sharing device is not reachable"
        );
    }
}
