//! Devices that break the protocol in every way that `tests/python/hostile.py` knows: how each ends, and what stays of them.

use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::customers::{Load, eventually};
use super::site::{Settings, Site};
use super::{Bench, Bound, Figure};
use crate::child::Process;
use crate::load::CrowdOrder;
use crate::process::cost_of;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/hostile.py");
/// How often each attack is made, and connections that say nothing.
const ROUNDS: usize = 6;
const MUTE: usize = 500;
const WAVES: usize = 3;
const CUSTOMERS: usize = 4;
/// Until what was in use is given back.
const SETTLE: Duration = Duration::from_secs(15);
const LIMIT: Duration = Duration::from_secs(180);

/// A line of the script.
#[derive(Debug, Deserialize)]
struct Said {
    event: String,
    attack: Option<String>,
    /// The code in the hub's CLOSE frame.
    close: Option<u64>,
}

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let site = Site::with_devices(&bench.binaries, Settings::default(), 1).await?;
    let customer = site.customer();
    let pid = site.server().pid()?;
    // What a server needs that serves, also as many devices.
    let warm = Load::start(&customer, CUSTOMERS, 1_024, |_| false);
    meet_honest_devices(&site).await?;
    warm.stop().await;
    sleep(SETTLE).await;
    let before = cost_of(pid)?.anonymous_kib;
    let load = Load::start(&customer, CUSTOMERS, 1_024, |_| false);
    let (mut attacks, mut undefined, mut after_first) = (0, 0, f64::NAN);
    for wave in 0..WAVES {
        let mut command = Command::new("python3");
        command
            .arg(SCRIPT)
            .args(["--hub", &format!("ws://{}/ws", site.ready.hub)])
            .args(["--partner-key", site.partner()])
            .args([
                "--rounds",
                &ROUNDS.to_string(),
                "--mute",
                &MUTE.to_string(),
                "--silent",
                "0",
            ]);
        let mut attackers = Process::spawn(&format!("attackers-{wave}"), command, site.folder())?;
        loop {
            let said: Said = timeout(LIMIT, attackers.next_json()).await??;
            if said.event == "over" {
                break;
            }
            attacks += 1;
            if said.close.is_none() {
                eprintln!(
                    "hostile devices: {} was not closed by a code",
                    said.attack.unwrap_or_default()
                );
                undefined += 1;
            }
        }
        if wave == 0 {
            sleep(SETTLE).await;
            after_first = cost_of(pid)?.anonymous_kib;
        }
    }
    let served = load.stop().await;
    let lost = served.iter().filter(|asked| !asked.is_served()).count();
    wait_for_devices(&site, 1).await?;
    sleep(SETTLE).await;
    let after = cost_of(pid)?.anonymous_kib;
    let panics = site
        .server()
        .log()
        .lines()
        .filter(|line| line.contains("panicked"))
        .count();
    Ok(vec![
        Figure::none_of("closed without a code", undefined, attacks, "attacks"),
        Figure::none_of("panics", panics, attacks, "attacks"),
        Figure::new(
            "server's memory afterwards, of that before",
            after / before,
            "×",
            Bound::AtMost(1.1),
        )
        .of(format!("{before:.0} KiB became {after:.0}")),
        Figure::new(
            "of that after the first wave",
            after / after_first,
            "×",
            Bound::AtMost(1.1),
        )
        .of(format!(
            "{after_first:.0} KiB became {after:.0} by two waves more"
        )),
        Figure::none_of("requests of others lost", lost, served.len(), "requests"),
    ])
}

/// As many honest devices as there will be mute ones come and go.
async fn meet_honest_devices(site: &Site) -> anyhow::Result<()> {
    let mut crowd = Process::spawn_own("honest", &["crowd".to_owned()], site.folder())?;
    let order = CrowdOrder {
        hub: site.hub_access(),
        from: 1_000,
        count: MUTE,
    };
    crowd.tell(&serde_json::to_string(&order)?).await?;
    wait_for_devices(site, 1 + u64::try_from(MUTE)?).await?;
    crowd.end().await;
    wait_for_devices(site, 1).await
}

async fn wait_for_devices(site: &Site, count: u64) -> anyhow::Result<()> {
    eventually("these devices are connected and no other", LIMIT, async || {
        (site.connected_devices().await == Some(count)).then_some(())
    })
    .await
}
