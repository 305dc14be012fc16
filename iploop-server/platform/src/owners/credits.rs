//! What an account's devices earn in an hour: whole numbers only, and against farming.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::clock::{DAY, Timestamp};
use crate::ids::NodeId;

/// Parts of a credit in which earnings are counted.
pub const NANOS_PER_CREDIT: i64 = 1_000_000_000;

/// Nano-credits for a byte: 100 credits for 10^9 bytes.
const NANOS_PER_BYTE: i128 = 100;

/// Networks with an active device from which the devices of an account count double.
const MULTI_DEVICE: usize = 3;

/// The settings that earnings follow from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditRules {
    /// Most credits of a device on a UTC day.
    pub device_credits_per_day: u32,
    /// Most credits of an account on a UTC day.
    pub account_credits_per_day: u32,
    /// Devices on one network above which an account's credits wait for an admin.
    pub suspect_devices_per_network: u32,
    /// Devices in one autonomous system above which they wait as well.
    pub suspect_devices_per_asn: u32,
    /// Multipliers of countries, in percent; others have 100.
    pub rare_percent: BTreeMap<String, u32>,
}

/// A claimed device in one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceHour {
    /// Which.
    pub node: NodeId,
    /// Paid bytes that it carried for other accounts in requests that began in the hour.
    pub bytes: i64,
    /// Banned devices earn nothing.
    pub is_banned: bool,
    /// Where it was at the end of the hour, if it was connected then.
    pub presence: Option<Presence>,
    /// What it earned before on the same UTC day.
    pub earned_today_nanos: i64,
}

/// A device that was connected at the end of an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Its public address.
    pub ip: IpAddr,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// Its autonomous system, where that is known.
    pub asn: Option<u32>,
    /// Since when without a break.
    pub connected_since: Timestamp,
}

/// What each device earned in the hour that began at `hour`, in nano-credits, in the order given; and whether the account
/// looks like a farm. `account_today_nanos`: what the account earned before on the same UTC day.
pub fn earned(
    rules: &CreditRules,
    hour: Timestamp,
    devices: &[DeviceHour],
    account_today_nanos: i64,
) -> (Vec<i64>, bool) {
    let around = Around::of(devices);
    let is_multi = around.distinct() >= MULTI_DEVICE;
    let is_suspect = around.is_suspect(rules);
    let of_account = i64::from(rules.account_credits_per_day).saturating_mul(NANOS_PER_CREDIT);
    let mut left = of_account.saturating_sub(account_today_nanos).max(0);
    let earned = devices.iter().map(|device| {
        if device.is_banned {
            return 0;
        }
        let of_device = i64::from(rules.device_credits_per_day).saturating_mul(NANOS_PER_CREDIT);
        let most = of_device.saturating_sub(device.earned_today_nanos).clamp(0, left);
        let nanos = nanos(rules, hour, device, is_multi).min(most);
        left -= nanos;
        nanos
    });
    (earned.collect(), is_suspect)
}

/// Where an account's devices are. Many of them behind one address are one household, or one rack; a rack may have addresses of
/// many networks, and still is in one autonomous system.
#[derive(Default)]
struct Around {
    by_network: BTreeMap<Prefix, u32>,
    by_asn: BTreeMap<u32, u32>,
    /// In no autonomous system that is known.
    elsewhere: BTreeSet<Prefix>,
}

/// A /24 or a /48.
type Prefix = (bool, u128);

impl Around {
    fn of(devices: &[DeviceHour]) -> Self {
        let mut around = Self::default();
        for device in devices.iter().filter(|device| !device.is_banned) {
            let Some(presence) = &device.presence else {
                continue;
            };
            let network = network(presence.ip);
            *around.by_network.entry(network).or_default() += 1;
            match presence.asn {
                Some(asn) => *around.by_asn.entry(asn).or_default() += 1,
                None => _ = around.elsewhere.insert(network),
            }
        }
        around
    }

    /// Places that differ by network as well as by autonomous system, as far as that is known.
    fn distinct(&self) -> usize {
        (self.by_asn.len() + self.elsewhere.len()).min(self.by_network.len())
    }

    fn is_suspect(&self, rules: &CreditRules) -> bool {
        let above = |counts: Option<&u32>, most| counts.is_some_and(|devices| *devices > most);
        above(self.by_network.values().max(), rules.suspect_devices_per_network)
            || above(self.by_asn.values().max(), rules.suspect_devices_per_asn)
    }
}

/// Before caps.
fn nanos(rules: &CreditRules, hour: Timestamp, device: &DeviceHour, is_multi: bool) -> i64 {
    let mut percent: i128 = 100;
    if let Some(presence) = &device.presence {
        if is_multi {
            percent *= 2;
        }
        let end = hour.plus(DAY / 24);
        if presence.connected_since <= end.minus(DAY) {
            percent = percent * 3 / 2;
        }
        let rare = presence
            .country
            .as_ref()
            .and_then(|country| rules.rare_percent.get(country));
        percent = percent * i128::from(rare.copied().unwrap_or(100).clamp(100, 300)) / 100;
    }
    let nanos = i128::from(device.bytes.max(0)) * NANOS_PER_BYTE * percent / 100;
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

fn network(ip: IpAddr) -> Prefix {
    match ip.to_canonical() {
        IpAddr::V4(ip) => (false, u128::from(ip.to_bits() >> 8)),
        IpAddr::V6(ip) => (true, ip.to_bits() >> 80),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: i64 = 1_000_000_000;
    const HOUR: Timestamp = Timestamp::from_millis(1_764_000_000_000);

    fn rules() -> CreditRules {
        CreditRules {
            device_credits_per_day: 5_000,
            account_credits_per_day: 20_000,
            suspect_devices_per_network: 5,
            suspect_devices_per_asn: 7,
            rare_percent: [("IS".to_owned(), 300)].into(),
        }
    }

    fn device(ip: &str, days_connected: u32) -> DeviceHour {
        DeviceHour {
            node: NodeId::new(),
            bytes: GB,
            is_banned: false,
            presence: Some(Presence {
                ip: ip.parse().unwrap(),
                country: Some("IS".to_owned()),
                asn: None,
                connected_since: HOUR.minus(DAY * days_connected),
            }),
            earned_today_nanos: 0,
        }
    }

    fn credits(devices: &[DeviceHour]) -> Vec<i64> {
        let (earned, _) = earned(&rules(), HOUR, devices, 0);
        earned.into_iter().map(|nanos| nanos / NANOS_PER_CREDIT).collect()
    }

    #[test]
    fn multipliers_stack_to_nine() {
        let plain = DeviceHour {
            presence: None,
            ..device("192.0.2.1", 0)
        };
        assert_eq!(credits(&[plain]), [100]);
        assert_eq!(credits(&[device("192.0.2.1", 0)]), [300]);
        assert_eq!(credits(&[device("192.0.2.1", 1)]), [450]);
        let three = ["192.0.2.1", "198.51.100.1", "2001:db8::1"].map(|ip| device(ip, 1));
        assert_eq!(credits(&three), [900, 900, 900]);
    }

    #[test]
    fn devices_of_one_network_do_not_multiply_and_too_many_are_suspect() {
        let same = ["192.0.2.1", "192.0.2.2", "::ffff:192.0.2.3"].map(|ip| device(ip, 0));
        assert_eq!(credits(&same), [300, 300, 300]);
        let rack: Vec<DeviceHour> = (1..=6)
            .map(|host| device(&format!("192.0.2.{host}"), 0))
            .collect();
        assert!(earned(&rules(), HOUR, &rack, 0).1);
        assert!(!earned(&rules(), HOUR, &rack[..5], 0).1);
    }

    fn in_asn(ip: &str, asn: u32) -> DeviceHour {
        let mut device = device(ip, 0);
        if let Some(presence) = &mut device.presence {
            presence.asn = Some(asn);
        }
        device
    }

    #[test]
    fn networks_of_one_autonomous_system_do_not_multiply_and_too_many_devices_in_it_are_suspect() {
        let ips = ["192.0.2.1", "198.51.100.1", "203.0.113.1"];
        assert_eq!(credits(&ips.map(|ip| in_asn(ip, 64_500))), [300; 3]);
        let mut numbers = 64_500..;
        let apart = ips.map(|ip| in_asn(ip, numbers.next().unwrap()));
        assert_eq!(credits(&apart), [600; 3]);
        let known_in_part = [in_asn(ips[0], 64_500), in_asn(ips[1], 64_501), device(ips[2], 0)];
        assert_eq!(
            credits(&known_in_part),
            [600; 3],
            "the network counts where that is all we know"
        );
        let one_network = [64_500, 64_501, 64_502].map(|asn| in_asn("192.0.2.1", asn));
        assert_eq!(credits(&one_network), [300; 3]);
        let rack: Vec<DeviceHour> = (0..8)
            .map(|network| in_asn(&format!("10.0.{network}.1"), 64_500))
            .collect();
        assert!(earned(&rules(), HOUR, &rack, 0).1);
        assert!(!earned(&rules(), HOUR, &rack[..7], 0).1);
    }

    #[test]
    fn banned_devices_earn_nothing_and_do_not_help_others() {
        let mut three = ["192.0.2.1", "198.51.100.1", "203.0.113.1"].map(|ip| device(ip, 0));
        three[0].is_banned = true;
        assert_eq!(credits(&three), [0, 300, 300]);
    }

    #[test]
    fn a_day_has_a_cap_for_each_device_and_for_the_account() {
        let mut much = device("192.0.2.1", 0);
        much.bytes = i64::MAX;
        assert_eq!(credits(&[much.clone()]), [5_000]);
        much.earned_today_nanos = 4_999 * NANOS_PER_CREDIT;
        assert_eq!(credits(&[much.clone()]), [1]);
        much.earned_today_nanos = 0;
        let many = vec![much; 5];
        assert_eq!(credits(&many), [5_000, 5_000, 5_000, 5_000, 0]);
        let (earned, _) = earned(&rules(), HOUR, &many, i64::MAX);
        assert_eq!(earned, [0; 5]);
    }
}
