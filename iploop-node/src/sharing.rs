//! Whether a device shares now: the owner's limits and the state of power and network, as one pure rule.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::consent::{Consent, NetworkKind};
use crate::uplink::UplinkLimits;
use crate::usage::Used;

/// What the owner allows. The defaults are those of the consent text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerLimits {
    /// Bytes a day (UTC), both ways and on every network together.
    pub daily_bytes: u64,
    /// Bytes a month (UTC), both ways and on every network together.
    pub monthly_bytes: u64,
    /// Bytes a day on mobile data, which needs its own yes in the consent.
    pub cellular_daily_bytes: u64,
    /// Bytes a month on mobile data.
    pub cellular_monthly_bytes: u64,
    /// Streams at the same time, at least 1.
    pub max_streams: u32,
    /// Most of the uplink that customers may use, in per cent of what it carries; none: all of it. Where nobody knows what
    /// it carries ([`Conditions::uplink_bytes_per_second`]), nothing is limited by this.
    pub uplink_percent: Option<u8>,
    /// Most bytes a second that customers may send by the uplink, answers and uploads together; none: no such limit.
    pub uplink_bytes_per_second: Option<u64>,
    /// Below this charge, in per cent, a device on battery does not share.
    pub battery_floor_percent: u8,
    /// Conditions that the owner does not mind.
    pub even_if: BTreeSet<Waiver>,
}

impl Default for OwnerLimits {
    fn default() -> Self {
        Self {
            daily_bytes: 2_000_000_000,
            monthly_bytes: 30_000_000_000,
            cellular_daily_bytes: 100_000_000,
            cellular_monthly_bytes: 1_000_000_000,
            max_streams: 256,
            uplink_percent: Some(25),
            uplink_bytes_per_second: None,
            battery_floor_percent: 30,
            even_if: BTreeSet::new(),
        }
    }
}

impl OwnerLimits {
    pub(crate) fn uplink(&self) -> UplinkLimits {
        UplinkLimits {
            percent: self.uplink_percent,
            bytes_per_second: self.uplink_bytes_per_second,
        }
    }
}

/// A condition that an owner may waive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waiver {
    /// Share at any charge.
    Battery,
    /// Share in battery saver, low-power or data-saver mode.
    PowerSaver,
    /// Share on Wi-Fi or a cable that costs by the byte.
    Metered,
    /// Share while a VPN is up. What is routed into it stays out of reach.
    Vpn,
}

/// The state of the device, as far as the system tells. The default is a mains-powered device without worries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Not on a charger.
    pub on_battery: bool,
    /// Charge in per cent.
    pub battery_percent: Option<u8>,
    /// Battery saver, low-power or data-saver mode.
    pub power_saver: bool,
    /// The network costs by the byte.
    pub metered: bool,
    /// On a foreign mobile network.
    pub roaming: bool,
    /// The device is hot.
    pub high_temperature: bool,
    /// Memory is short.
    pub low_memory: bool,
    /// The network wants a login page first.
    pub captive_portal: bool,
    /// The owner excluded this network.
    pub excluded_network: bool,
    /// Bytes a second that the uplink carries, where the system measures it (Android: `getLinkUpstreamBandwidthKbps`).
    pub uplink_bytes_per_second: Option<u64>,
}

/// The network that is shared, as far as this rule is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SharedNetwork {
    /// The hub is reached from a loopback address: nothing leaves the machine, so no network has to be asked about.
    Loopback,
    /// A network of this kind; none: the system does not say. `vpn`: one is up.
    Real { kind: Option<NetworkKind>, vpn: bool },
    /// The device can't see its own network.
    Unknown,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident $name:literal $text:literal,)*) => {
        /// Why a device does not share.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[non_exhaustive]
        pub enum NotSharing {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl NotSharing {
            /// The name on the wire and in logs.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// One line for the owner.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// [`crate::Node::pause`].
    Paused "paused_by_owner" "you paused it",
    /// By the account that claimed the device: [`crate::Status::paused_from_afar`].
    PausedFromAfar "paused_from_afar" "you paused it by your account; it goes on when you say so there",
    /// [`OwnerLimits::daily_bytes`].
    DailyCap "daily_cap" "today's limit is used up; it goes on tomorrow (UTC)",
    /// [`OwnerLimits::monthly_bytes`].
    MonthlyCap "monthly_cap" "this month's limit is used up; it goes on next month (UTC)",
    /// [`OwnerLimits::cellular_daily_bytes`].
    CellularDailyCap "cellular_daily_cap" "today's limit for mobile data is used up",
    /// [`OwnerLimits::cellular_monthly_bytes`].
    CellularMonthlyCap "cellular_monthly_cap" "this month's limit for mobile data is used up",
    /// [`Consent::allows`].
    NetworkNotAllowed "network_not_allowed" "you did not allow sharing on this kind of network",
    /// [`Conditions::metered`].
    Metered "metered_network" "this network costs by the byte",
    /// [`Conditions::roaming`].
    Roaming "roaming" "the device is roaming",
    /// [`Conditions::on_battery`].
    LowBattery "low_battery" "the battery is low and no charger is connected",
    /// [`Conditions::power_saver`].
    PowerSaver "power_saver" "the device saves power or data",
    /// [`Conditions::high_temperature`].
    HighTemperature "high_temperature" "the device is hot",
    /// [`Conditions::low_memory`].
    LowMemory "low_memory" "memory is short",
    /// [`Conditions::captive_portal`].
    CaptivePortal "captive_portal" "the network wants a login page first",
    /// A VPN is up.
    Vpn "vpn" "a VPN is up",
    /// [`Conditions::excluded_network`].
    ExcludedNetwork "excluded_network" "you excluded this network",
    /// The device can't see its own network, so it could not keep customers out of it.
    NetworkUnknown "network_unknown" "the device can't see its own network, and so could not protect it",
    /// Not connected to the hub.
    NotConnected "not_connected" "the hub is not connected",
    /// No valid consent.
    ConsentNeeded "consent_needed" "it needs your consent",
    /// The owner withdrew.
    Withdrawn "withdrawn" "you withdrew your consent",
    /// The hub refuses the device.
    Rejected "rejected" "the hub refuses this device",
    /// It is shutting down.
    Stopping "stopping" "it is ending",
}

impl fmt::Display for NotSharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Why a willing owner's device does not share now; none: it does.
pub(crate) fn why_not(
    limits: &OwnerLimits,
    consent: &Consent,
    conditions: &Conditions,
    network: SharedNetwork,
    used: &Used,
) -> Option<NotSharing> {
    let minds = |waiver| !limits.even_if.contains(&waiver);
    let on_cellular = match network {
        SharedNetwork::Unknown => return Some(NotSharing::NetworkUnknown),
        SharedNetwork::Loopback => false,
        SharedNetwork::Real { kind, vpn } => {
            // A system that does not say could mean mobile data, which nobody agreed to.
            let Some(kind) = kind.filter(|kind| consent.allows(*kind)) else {
                return Some(NotSharing::NetworkNotAllowed);
            };
            let on_cellular = kind == NetworkKind::Cellular;
            let rules = [
                (conditions.excluded_network, NotSharing::ExcludedNetwork),
                (conditions.roaming, NotSharing::Roaming),
                (
                    conditions.metered && !on_cellular && minds(Waiver::Metered),
                    NotSharing::Metered,
                ),
                (conditions.captive_portal, NotSharing::CaptivePortal),
                (vpn && minds(Waiver::Vpn), NotSharing::Vpn),
            ];
            if let Some(reason) = first(rules) {
                return Some(reason);
            }
            on_cellular
        }
    };
    let charge = conditions.battery_percent.unwrap_or(0);
    let is_low = conditions.on_battery && charge < limits.battery_floor_percent;
    first([
        (is_low && minds(Waiver::Battery), NotSharing::LowBattery),
        (
            conditions.power_saver && minds(Waiver::PowerSaver),
            NotSharing::PowerSaver,
        ),
        (conditions.high_temperature, NotSharing::HighTemperature),
        (conditions.low_memory, NotSharing::LowMemory),
        (used.day.total() >= limits.daily_bytes, NotSharing::DailyCap),
        (used.month.total() >= limits.monthly_bytes, NotSharing::MonthlyCap),
        (
            on_cellular && used.day.cellular >= limits.cellular_daily_bytes,
            NotSharing::CellularDailyCap,
        ),
        (
            on_cellular && used.month.cellular >= limits.cellular_monthly_bytes,
            NotSharing::CellularMonthlyCap,
        ),
    ])
}

/// Bytes that may still be relayed on this network until the first cap is reached.
pub(crate) fn bytes_left(limits: &OwnerLimits, on_cellular: bool, used: &Used) -> u64 {
    let general = (limits.daily_bytes.saturating_sub(used.day.total()))
        .min(limits.monthly_bytes.saturating_sub(used.month.total()));
    if !on_cellular {
        return general;
    }
    general
        .min(limits.cellular_daily_bytes.saturating_sub(used.day.cellular))
        .min(limits.cellular_monthly_bytes.saturating_sub(used.month.cellular))
}

fn first<const N: usize>(rules: [(bool, NotSharing); N]) -> Option<NotSharing> {
    rules
        .into_iter()
        .find(|(holds, _)| *holds)
        .map(|(_, reason)| reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::ConsentAct;
    use crate::usage::Bytes;
    use time::macros::datetime;

    const WIFI: SharedNetwork = SharedNetwork::Real {
        kind: Some(NetworkKind::Wifi),
        vpn: false,
    };
    const CELLULAR: SharedNetwork = SharedNetwork::Real {
        kind: Some(NetworkKind::Cellular),
        vpn: false,
    };

    fn consent(networks: &[NetworkKind]) -> Consent {
        let act = ConsentAct {
            networks: networks.to_vec(),
            ..crate::consent::tests::act()
        };
        Consent::given(act, datetime!(2026-11-24 12:00 UTC)).unwrap()
    }

    fn ask(conditions: Conditions, network: SharedNetwork) -> Option<NotSharing> {
        let consent = consent(&[NetworkKind::Wifi, NetworkKind::Ethernet]);
        why_not(
            &OwnerLimits::default(),
            &consent,
            &conditions,
            network,
            &Used::default(),
        )
    }

    #[test]
    fn each_condition_of_the_consent_text_stops_sharing() {
        type Set = fn(&mut Conditions);
        let cases: [(Set, NotSharing); 9] = [
            (|c| c.metered = true, NotSharing::Metered),
            (|c| c.roaming = true, NotSharing::Roaming),
            (|c| c.power_saver = true, NotSharing::PowerSaver),
            (|c| c.high_temperature = true, NotSharing::HighTemperature),
            (|c| c.low_memory = true, NotSharing::LowMemory),
            (|c| c.captive_portal = true, NotSharing::CaptivePortal),
            (|c| c.excluded_network = true, NotSharing::ExcludedNetwork),
            (
                |c| (c.on_battery, c.battery_percent) = (true, Some(29)),
                NotSharing::LowBattery,
            ),
            (|c| c.on_battery = true, NotSharing::LowBattery),
        ];
        for (set, reason) in cases {
            let mut conditions = Conditions::default();
            set(&mut conditions);
            assert_eq!(ask(conditions, WIFI), Some(reason));
        }
        let charged = Conditions {
            on_battery: true,
            battery_percent: Some(30),
            ..Conditions::default()
        };
        assert_eq!(ask(charged, WIFI), None);
        let charging = Conditions {
            battery_percent: Some(3),
            ..Conditions::default()
        };
        assert_eq!(ask(charging, WIFI), None);
    }

    #[test]
    fn a_network_that_the_owner_did_not_allow_or_that_nobody_knows_is_not_shared() {
        let none = Conditions::default();
        assert_eq!(ask(none, CELLULAR), Some(NotSharing::NetworkNotAllowed));
        let unsaid = SharedNetwork::Real {
            kind: None,
            vpn: false,
        };
        assert_eq!(ask(none, unsaid), Some(NotSharing::NetworkNotAllowed));
        assert_eq!(
            ask(none, SharedNetwork::Unknown),
            Some(NotSharing::NetworkUnknown)
        );
        let vpn = SharedNetwork::Real {
            kind: Some(NetworkKind::Ethernet),
            vpn: true,
        };
        assert_eq!(ask(none, vpn), Some(NotSharing::Vpn));
    }

    #[test]
    fn on_loopback_no_network_is_asked_about() {
        let conditions = Conditions {
            metered: true,
            ..Conditions::default()
        };
        assert_eq!(ask(conditions, SharedNetwork::Loopback), None);
    }

    #[test]
    fn owners_waive_what_is_theirs_to_waive() {
        let limits = OwnerLimits {
            even_if: BTreeSet::from([Waiver::Vpn, Waiver::Metered, Waiver::Battery, Waiver::PowerSaver]),
            ..OwnerLimits::default()
        };
        let conditions = Conditions {
            on_battery: true,
            metered: true,
            power_saver: true,
            ..Conditions::default()
        };
        let vpn = SharedNetwork::Real {
            kind: Some(NetworkKind::Wifi),
            vpn: true,
        };
        let consent = consent(&[NetworkKind::Wifi]);
        assert_eq!(
            why_not(&limits, &consent, &conditions, vpn, &Used::default()),
            None
        );
    }

    #[test]
    fn caps_stop_sharing_and_mobile_data_has_its_own() {
        let consent = consent(&[NetworkKind::Wifi, NetworkKind::Cellular]);
        let limits = OwnerLimits::default();
        let ask = |network, used: &Used| why_not(&limits, &consent, &Conditions::default(), network, used);
        let used = |day, month| Used { day, month };
        let bytes = |other, cellular| Bytes { other, cellular };
        let cellular_day = used(bytes(0, 100_000_000), bytes(0, 100_000_000));
        assert_eq!(ask(CELLULAR, &cellular_day), Some(NotSharing::CellularDailyCap));
        assert_eq!(ask(WIFI, &cellular_day), None);
        let cellular_month = used(bytes(0, 0), bytes(0, 1_000_000_000));
        assert_eq!(
            ask(CELLULAR, &cellular_month),
            Some(NotSharing::CellularMonthlyCap)
        );
        let day = used(bytes(1_950_000_000, 50_000_000), bytes(1_950_000_000, 50_000_000));
        assert_eq!(ask(WIFI, &day), Some(NotSharing::DailyCap));
        let month = used(bytes(1, 0), bytes(30_000_000_000, 0));
        assert_eq!(ask(WIFI, &month), Some(NotSharing::MonthlyCap));
        assert_eq!(bytes_left(&limits, false, &day), 0);
        assert_eq!(bytes_left(&limits, true, &Used::default()), 100_000_000);
        assert_eq!(bytes_left(&limits, false, &Used::default()), 2_000_000_000);
    }
}
