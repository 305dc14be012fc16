//! What Linux tells about power (`Documentation/ABI/testing/sysfs-class-power`).

use std::fs;
use std::path::Path;

use iploop_node::Conditions;

/// Where the kernel lists power supplies.
pub(crate) const POWER_SUPPLIES: &str = "/sys/class/power_supply";

/// Most supplies that are looked at.
const MAX_SUPPLIES: usize = 64;

/// The state of power; on systems that don't tell, that of a device on mains.
pub(crate) fn look(supplies: &Path) -> Conditions {
    let Ok(entries) = fs::read_dir(supplies) else {
        return Conditions::default();
    };
    let mut is_discharging = false;
    let mut is_plugged_in = false;
    let mut percent: Option<u8> = None;
    for entry in entries.flatten().take(MAX_SUPPLIES) {
        let read = |name: &str| {
            let text = fs::read_to_string(entry.path().join(name)).unwrap_or_default();
            text.trim().to_owned()
        };
        match read("type").as_str() {
            // Batteries of mice and the like say that they are a device's.
            "Battery" if read("scope") != "Device" => {
                is_discharging |= read("status") == "Discharging";
                let charge = read("capacity").parse().ok();
                percent = match (percent, charge) {
                    (Some(one), Some(other)) => Some(std::cmp::min(one, other)),
                    (one, other) => one.or(other),
                };
            }
            "Mains" | "USB" => is_plugged_in |= read("online") == "1",
            _ => {}
        }
    }
    Conditions {
        on_battery: is_discharging && !is_plugged_in,
        battery_percent: percent,
        ..Conditions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discharging_battery_counts_and_that_of_a_mouse_does_not() {
        let temp = tempfile::tempdir().unwrap();
        let supply = |name: &str, files: &[(&str, &str)]| {
            let folder = temp.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            for (file, text) in files {
                fs::write(folder.join(file), format!("{text}\n")).unwrap();
            }
        };
        assert_eq!(look(temp.path()), Conditions::default());
        supply(
            "mouse",
            &[
                ("type", "Battery"),
                ("scope", "Device"),
                ("status", "Discharging"),
                ("capacity", "5"),
            ],
        );
        assert_eq!(look(temp.path()), Conditions::default());
        supply(
            "BAT0",
            &[("type", "Battery"), ("status", "Discharging"), ("capacity", "42")],
        );
        supply("AC", &[("type", "Mains"), ("online", "0")]);
        let on_battery = look(temp.path());
        assert!(on_battery.on_battery);
        assert_eq!(on_battery.battery_percent, Some(42));
        supply("AC", &[("online", "1")]);
        assert!(!look(temp.path()).on_battery);
        assert_eq!(look(&temp.path().join("nothing")), Conditions::default());
    }
}
