//! What customers may reach through this device at the moment.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use iploop_protocol::control::PolicyUpdate;
use iploop_protocol::destination::Destination;
use iploop_protocol::policy::{
    AbuseLimits, CheckedAddresses, Context, Layer, LocalNetwork, PlatformPolicy, Policy, Refusal, RuleClass,
};

use crate::grants::Opened;
use crate::shared::{Outlook, Shared};
use crate::surroundings::{Surroundings, View, Way};

/// The exit policy with everything it depends on. Replaced whole when any of it changes.
pub(crate) struct Rules {
    policy: Policy,
    local: LocalNetwork,
    surroundings: Arc<dyn Surroundings>,
    view: Option<Arc<View>>,
    pub(crate) limits: AbuseLimits,
}

/// What the hub and the connection to it add to the rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct FromHub {
    pub(crate) policy: Option<Arc<PlatformPolicy>>,
    /// This device's address as the hub sees it.
    pub(crate) public_ip: Option<IpAddr>,
    /// The platform's own addresses, that of this hub among them.
    pub(crate) platform: Vec<IpAddr>,
}

/// Most addresses of the platform that are looked at.
const MAX_PLATFORM_ADDRESSES: usize = 1024;

impl FromHub {
    /// Takes a policy in; one that can't be read counts as missing. Returns its version.
    pub(crate) fn take_policy(&mut self, update: Option<PolicyUpdate>) -> Option<u64> {
        self.policy = update.and_then(|update| match PlatformPolicy::parse(&update.document.to_string()) {
            Ok(policy) => Some(Arc::new(policy)),
            Err(error) => {
                tracing::warn!(%error, "the platform's exit policy can't be read: only TCP ports 80 and 443 are open");
                None
            }
        });
        self.policy.as_ref().map(|policy| policy.version())
    }

    pub(crate) fn take_platform(&mut self, mut addresses: Vec<IpAddr>, hub: IpAddr) {
        addresses.truncate(MAX_PLATFORM_ADDRESSES);
        addresses.push(hub);
        self.platform = addresses;
    }
}

impl Rules {
    pub(crate) fn new(shared: &Shared, from_hub: &FromHub, outlook: &Outlook) -> Self {
        let policy = Policy::new(from_hub.policy.clone())
            .narrowed_by(Layer::Partner, Arc::clone(&shared.config.partner_policy))
            .narrowed_by(Layer::Owner, Arc::clone(&shared.config.owner_policy))
            .with_test_allow(shared.test_allow.clone());
        let mut facts = outlook
            .view
            .as_ref()
            .map(|view| view.facts.clone())
            .unwrap_or_default();
        facts.nat64.extend(outlook.nat64.iter());
        facts.platform.extend(&from_hub.platform);
        match from_hub.public_ip.map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => facts.public_v4 = Some(ip),
            Some(IpAddr::V6(ip)) => facts.public_v6 = Some(ip),
            None => {}
        }
        Self {
            policy,
            local: LocalNetwork::new(facts),
            surroundings: Arc::clone(&shared.parts.surroundings),
            view: outlook.view.clone(),
            limits: from_hub
                .policy
                .as_ref()
                .map(|policy| *policy.limits())
                .unwrap_or_default(),
        }
    }

    /// Before anybody resolves.
    pub(crate) fn check_destination(&self, to: &Destination, opened: &Opened) -> Result<(), Refusal> {
        self.policy.check_destination(to, &self.context(opened))
    }

    /// Whether datagrams go anywhere.
    pub(crate) fn opens_udp(&self, opened: &Opened) -> bool {
        self.policy.opens_udp(&self.context(opened))
    }

    /// Every answer of the resolver, by the policy and then by the system's routes.
    ///
    /// An answer that leads into another network refuses the name, as one that the policy refuses does. One that only takes
    /// another line to the internet is not dialled: IPv6 may have a line of its own, which nobody agreed to share.
    pub(crate) fn check_addresses(
        &self,
        to: &Destination,
        answers: &[IpAddr],
        opened: &Opened,
    ) -> Result<CheckedAddresses, Refusal> {
        let mut checked = self.policy.check_addresses(to, answers, &self.context(opened))?;
        let had_any = !checked.is_empty();
        let mut is_apart = false;
        checked.retain(|address| match self.way(address) {
            Way::Shared | Way::None | Way::Untold => true,
            Way::OtherLine => false,
            Way::Apart => {
                is_apart = true;
                false
            }
        });
        if is_apart || had_any && checked.is_empty() {
            return Err(RuleClass::DeviceNetwork.into());
        }
        Ok(checked)
    }

    fn context<'a>(&'a self, opened: &'a Opened) -> Context<'a> {
        Context::on_device(&self.local)
            .by(opened.transport())
            .with_grants(opened.grants(), opened.now_ms())
    }

    fn way(&self, to: SocketAddr) -> Way {
        if self.policy.test_allow().iter().any(|opened| opened == to) {
            return Way::Shared;
        }
        let Some(view) = &self.view else {
            return Way::Apart;
        };
        self.surroundings.way(view, to).unwrap_or_else(|error| {
            tracing::debug!(%error, "the way of a connection is not known");
            Way::Apart
        })
    }
}
