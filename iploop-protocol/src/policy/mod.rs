//! The exit policy: what a device may dial for a customer.
//!
//! A shared device must never become a way into its owner's home, nor a source of abuse in its owner's name. The rules are one
//! table, `data/exit-policy.json`, used by gateway and device alike.
//!
//! # How a decision is made
//!
//! ```text
//! text ──▶ Destination ──check_destination──▶ resolve once ──check_addresses──▶ CheckedAddresses ──▶ dial, matches_peer
//!          or malformed   name, literal, port               every answer
//! ```
//!
//! 1. **Both ends decide.** The gateway asks first, so that a refusal costs no device. The device asks again, and its answer
//!    counts: it alone knows its [`LocalNetwork`], and it holds when the gateway is wrong or hostile.
//! 2. **Names** ([`check_destination`](Policy::check_destination)): single labels and local names are refused unresolved, then
//!    the lists of the layers, then the port.
//! 3. **Addresses**, given or resolved: an IPv6 address that carries an IPv4 one (mapped, translated, NAT64 by the well-known
//!    prefix or by one that the device itself discovered) is judged as both. Refused are the ranges of the table, the device's
//!    surroundings, the platform's own addresses, then what the layers list. **One refused answer refuses the whole name**
//!    (rebinding). A device then asks its system which way each address would leave, and keeps the internet's only
//!    ([`CheckedAddresses::retain`]).
//! 4. **Ports**: open, openable by an admin for one customer ([`Grants`]), or shut for everyone.
//! 5. **Layers only narrow**: rule table ∧ platform ∧ partner ∧ owner ∧ customer. Each is asked on its own and any may refuse; no
//!    type of a layer has a way to allow. What [`Grants`] say is heard for default rules only, so no message lifts a hard
//!    one. Without a platform policy (missing, unreadable) only TCP ports 80 and 443 are open and no grant counts.
//! 6. [`TestAllow`] opens single addresses for tests and the demo. It comes from the process's own command line or configuration,
//!    never from a message.
//!
//! A refusal is made before any packet leaves for the destination, and names the class of the rule only ([`Refusal`]).

mod abuse;
mod address;
mod checked;
mod grants;
mod layers;
mod limited;
mod limits;
mod local;
mod names;
mod nat64;
mod ports;
mod ranges;
mod refusal;
mod table;
mod test_allow;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::destination::{Destination, Host, HostName};
use address::Reading;

pub use abuse::AbuseTable;
pub use checked::{CheckedAddresses, MAX_CHECKED_ADDRESSES};
pub use grants::{Grant, GrantError, Grants, MAX_GRANTS, OpenableRule, Opening};
pub use layers::{
    Layer, MAX_LIST_ENTRIES, MAX_POLICY_BYTES, NarrowDocument, NarrowPolicy, POLICY_FORMAT, PlatformPolicy,
    PolicyError,
};
pub use limited::{Limit, Limited, UnknownLimit};
pub use limits::AbuseLimits;
pub use local::{LocalFacts, LocalNetwork, MAX_NAT64_PREFIXES};
pub use nat64::{Nat64Prefix, Nat64PrefixError};
pub use ports::{PortRange, PortRangeError, Transport};
pub use refusal::{Refusal, RefusalKind, RuleClass, UnknownRuleClass};
pub use table::{AddressRule, SeedCategory, Tier, address_rules, seed_categories};
pub use test_allow::{MAX_TEST_ALLOW, TestAllow, TestAllowError};

/// Longest time that a resolver's answer is kept. Each use checks it again: the device's networks may have changed.
pub const MAX_ANSWER_AGE: Duration = Duration::from_secs(60);

/// The rule table and the layers above it. Cloning shares the layers.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    platform: Option<Arc<PlatformPolicy>>,
    narrow: Vec<(Layer, Arc<NarrowPolicy>)>,
    test_allow: Arc<TestAllow>,
}

/// What a decision depends on besides policy and destination.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    local: &'a LocalNetwork,
    transport: Transport,
    grants: &'a Grants,
    now_ms: u64,
}

impl Context<'static> {
    /// At the gateway, which knows nothing of the device's network: TCP, no grants.
    pub fn at_gateway() -> Self {
        Self::on_device(LocalNetwork::NONE)
    }
}

impl<'a> Context<'a> {
    /// On a device with these surroundings: TCP, no grants.
    pub fn on_device(local: &'a LocalNetwork) -> Self {
        Self {
            local,
            transport: Transport::Tcp,
            grants: Grants::NONE,
            now_ms: u64::MAX,
        }
    }

    /// For this transport. With [`Transport::Udp`] each datagram's destination is asked about.
    pub fn by(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    /// For a customer with these grants, at this time (UTC, milliseconds since 1970).
    pub fn with_grants(self, grants: &'a Grants, now_ms: u64) -> Self {
        Self {
            grants,
            now_ms,
            ..self
        }
    }
}

impl Policy {
    /// The rule table and the platform's policy. Without one (missing, unreadable) only TCP ports 80 and 443 are open.
    pub fn new(platform: Option<Arc<PlatformPolicy>>) -> Self {
        Self {
            platform,
            narrow: Vec::new(),
            test_allow: Arc::default(),
        }
    }

    /// The same, narrowed once more. A layer added twice narrows twice.
    #[must_use]
    pub fn narrowed_by(mut self, layer: Layer, policy: Arc<NarrowPolicy>) -> Self {
        self.narrow.push((layer, policy));
        self
    }

    /// The same with single addresses opened for a test.
    #[must_use]
    pub fn with_test_allow(self, test_allow: TestAllow) -> Self {
        Self {
            test_allow: Arc::new(test_allow),
            ..self
        }
    }

    /// The opened test addresses: the registration says so, and a production hub refuses it.
    pub fn test_allow(&self) -> &TestAllow {
        &self.test_allow
    }

    /// The first check, before anybody resolves: the name or the literal address, and the port.
    ///
    /// For a literal this is the whole decision, so it also serves a UDP datagram. Allocates nothing.
    pub fn check_destination(&self, destination: &Destination, context: &Context<'_>) -> Result<(), Refusal> {
        let port = destination.port;
        match &destination.host {
            Host::Ip(ip) => self.check_address(*ip, port, context),
            Host::Name(name) => {
                self.check_name(name)?;
                if !self.test_allow.has_port(port) {
                    self.check_port(port, context)?;
                }
                self.check_listed_port(port)
            }
        }
    }

    /// The second check, of every answer of the resolver after following CNAMEs. One refused answer refuses all.
    ///
    /// Includes the first check, so that what comes out has passed everything. A cached answer is checked again at each use. For
    /// a literal pass the address itself (or what the system made of it on an IPv6-only network).
    pub fn check_addresses(
        &self,
        destination: &Destination,
        answers: &[IpAddr],
        context: &Context<'_>,
    ) -> Result<CheckedAddresses, Refusal> {
        self.check_destination(destination, context)?;
        for ip in answers {
            self.check_address(*ip, destination.port, context)?;
        }
        Ok(CheckedAddresses::new(answers, destination.port))
    }

    /// Whether datagrams go anywhere at all: who has nothing opened is told so at once, and not datagram by datagram.
    pub fn opens_udp(&self, context: &Context<'_>) -> bool {
        const QUIC: u16 = 443;
        self.check_port(QUIC, &context.by(Transport::Udp)).is_ok()
    }

    fn check_name(&self, name: &HostName) -> Result<(), Refusal> {
        if let Some(row) = names::row(name) {
            return Err(row.rule.into());
        }
        match self.layers().find(|(_, policy)| policy.denies_name(name)) {
            Some((layer, _)) => Err(layer.list_rule().into()),
            None => Ok(()),
        }
    }

    fn check_address(&self, ip: IpAddr, port: u16, context: &Context<'_>) -> Result<(), Refusal> {
        let reading = Reading::of(ip, context.local.nat64());
        if !self.test_allow.contains(ip, port) {
            self.check_reading(&reading, context)?;
            self.check_port(port, context)?;
        }
        let listed = |policy: &NarrowPolicy| reading.addresses().any(|ip| policy.denies_address(ip));
        if let Some((layer, _)) = self.layers().find(|(_, policy)| listed(policy)) {
            return Err(layer.list_rule().into());
        }
        self.check_listed_port(port)
    }

    /// The table, the device's surroundings and the platform's own addresses.
    fn check_reading(&self, reading: &Reading, context: &Context<'_>) -> Result<(), Refusal> {
        if let Some(row) = reading.row
            && !(self.platform.is_some() && context.grants.lift_address(row, context.now_ms))
        {
            return Err(row.rule.into());
        }
        if let Some(rule) = context.local.rule(reading) {
            return Err(rule.into());
        }
        let own = |platform: &Arc<PlatformPolicy>| reading.addresses().any(|ip| platform.owns(ip));
        if self.platform.as_ref().is_some_and(own) {
            return Err(RuleClass::PlatformAddress.into());
        }
        Ok(())
    }

    fn check_port(&self, port: u16, context: &Context<'_>) -> Result<(), Refusal> {
        let row = ports::row(context.transport, port);
        let Some(platform) = &self.platform else {
            return match row {
                _ if ports::open_without_platform_policy(context.transport, port) => Ok(()),
                Some(row) => Err(row.rule.into()),
                None => Err(RuleClass::PolicyMissing.into()),
            };
        };
        let lifted = |row: table::Row| match context.transport {
            Transport::Tcp => context.grants.lift_tcp_port(row, port, context.now_ms),
            Transport::Udp if platform.opens_udp() && row.tier == Tier::Default => true,
            Transport::Udp => context.grants.lift_udp_port(row, context.now_ms),
        };
        match row {
            Some(row) if !lifted(row) => Err(row.rule.into()),
            _ => Ok(()),
        }
    }

    fn check_listed_port(&self, port: u16) -> Result<(), Refusal> {
        match self.layers().find(|(_, policy)| policy.denies_port(port)) {
            Some((layer, _)) => Err(layer.port_rule().into()),
            None => Ok(()),
        }
    }

    /// Every layer above the table, the platform's first.
    fn layers(&self) -> impl Iterator<Item = (Layer, &NarrowPolicy)> {
        let platform = self
            .platform
            .iter()
            .map(|platform| (Layer::Platform, platform.lists()));
        platform.chain(self.narrow.iter().map(|(layer, policy)| (*layer, &**policy)))
    }
}

#[cfg(test)]
mod tests;
