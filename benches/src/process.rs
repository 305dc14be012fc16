//! What a process and its descendants cost: CPU seconds and memory, read from `/proc`.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// `/proc/PID/stat` counts in these per second on every Linux of today (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// A process and all its descendants at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// User and system time of all threads since their start.
    pub(crate) cpu_seconds: f64,
    /// Proportional share of anonymous memory: heap and stacks, without files.
    pub(crate) anonymous_kib: f64,
    /// Resident memory.
    pub(crate) resident_kib: f64,
    /// Highest resident memory since [`forget_peak`].
    pub(crate) peak_kib: f64,
}

impl std::ops::Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost {
            cpu_seconds: self.cpu_seconds + other.cpu_seconds,
            anonymous_kib: self.anonymous_kib + other.anonymous_kib,
            resident_kib: self.resident_kib + other.resident_kib,
            peak_kib: self.peak_kib + other.peak_kib,
        }
    }
}

/// The cost of `root` and its descendants so far.
pub(crate) fn cost_of(root: u32) -> anyhow::Result<Cost> {
    let mut sum = Cost::default();
    for pid in family(root)? {
        // A descendant may end while we look.
        if let Ok(cost) = one_process(pid) {
            sum = sum + cost;
        } else {
            anyhow::ensure!(pid != root, "process {root} has ended");
        }
    }
    Ok(sum)
}

/// Starts the peak of `root` and its descendants anew at their present size (proc(5), `clear_refs`).
pub(crate) fn forget_peak(root: u32) -> anyhow::Result<()> {
    for pid in family(root)? {
        fs::write(format!("/proc/{pid}/clear_refs"), "5").with_context(|| format!("clear_refs of {pid}"))?;
    }
    Ok(())
}

fn one_process(pid: u32) -> anyhow::Result<Cost> {
    let stat = Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat"))?).context("stat")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(Cost {
        cpu_seconds: stat.cpu_ticks / TICKS_PER_SECOND,
        anonymous_kib: kib(&rollup, "Pss_Anon:")
            .or_else(|| kib(&rollup, "Anonymous:"))
            .context("smaps_rollup")?,
        resident_kib: kib(&status, "VmRSS:").context("VmRSS")?,
        peak_kib: kib(&status, "VmHWM:").context("VmHWM")?,
    })
}

/// `root` and every process that descends from it.
pub(crate) fn family(root: u32) -> anyhow::Result<BTreeSet<u32>> {
    let mut pairs = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        if let Some(stat) = Stat::parse(&text) {
            pairs.push((pid, stat.parent));
        }
    }
    Ok(descendants(root, &pairs))
}

fn descendants(root: u32, pairs: &[(u32, u32)]) -> BTreeSet<u32> {
    let mut family = BTreeSet::from([root]);
    loop {
        let before = family.len();
        family.extend(
            pairs
                .iter()
                .filter(|(_, parent)| family.contains(parent))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if family.len() == before {
            return family;
        }
    }
}

struct Stat {
    parent: u32,
    cpu_ticks: f64,
}

impl Stat {
    /// The name in parentheses may hold anything, so fields are counted from its last parenthesis.
    fn parse(text: &str) -> Option<Stat> {
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
        Some(Stat {
            parent: fields.get(1)?.parse().ok()?,
            cpu_ticks: ticks(11)? + ticks(12)?,
        })
    }
}

fn kib(text: &str, label: &str) -> Option<f64> {
    text.lines().find_map(|line| {
        line.strip_prefix(label)?
            .split_ascii_whitespace()
            .next()?
            .parse()
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_a_name_with_parentheses() {
        let text = "4242 (a) b) (c) S 17 4242 1 0 -1 4194560 100 0 0 0 250 50 7 8 20 0 3 0 12345 1000 200 18446744073709551615";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat.parent, 17);
        assert!((stat.cpu_ticks - 300.0).abs() < f64::EPSILON);
        assert!(Stat::parse("4242 (short) S 1").is_none());
    }

    #[test]
    fn labels_are_matched_whole() {
        let rollup = "Rss:                1892 kB\nPss_Anon:             96 kB\nPss:   500 kB\n";
        assert_eq!(kib(rollup, "Pss_Anon:"), Some(96.0));
        assert_eq!(kib(rollup, "Pss:"), Some(500.0));
        assert_eq!(kib(rollup, "Swap:"), None);
    }

    #[test]
    fn family_holds_grandchildren_and_no_strangers() {
        let pairs = [(9, 5), (5, 2), (2, 1), (7, 1), (11, 9)];
        assert_eq!(descendants(5, &pairs), BTreeSet::from([5, 9, 11]));
    }

    #[test]
    fn own_cost_is_readable() {
        let cost = cost_of(std::process::id()).unwrap();
        assert!(
            cost.anonymous_kib > 0.0 && cost.resident_kib > 0.0 && cost.peak_kib >= cost.resident_kib * 0.5
        );
        forget_peak(std::process::id()).unwrap();
    }
}
