//! The path between some devices and the hub swallows everything and tells nobody, and comes back.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::customers::{Asked, Load, Outcome, eventually, field};
use super::site::{Settings, Site};
use super::{Bench, Bound, Figure};
use crate::child::Process;
use crate::link;

/// Behind the path, and beside it.
const FAR: u64 = 4;
const NEAR: u64 = 2;
const CUSTOMERS: usize = 8;
/// What is promised, and half a second for the look and the machine.
const NOTICED_WITHIN_S: f64 = 45.5;
/// Requests after it was noticed.
const AFTERWARDS: usize = 200;
const LIMIT: Duration = Duration::from_secs(120);

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let mut site = Site::with_devices(&bench.binaries, Settings::default(), usize::try_from(NEAR)?).await?;
    let arguments = ["link", "--upstream", &site.ready.hub.to_string(), "--rtt-ms", "2"].map(str::to_owned);
    let mut path = Process::spawn_own("path", &arguments, site.folder())?;
    let link::Ready { address } = path.ready().await?;
    for _ in 0..FAR {
        site.add_device(address).await?;
    }
    let customer = site.customer().with("-debug-1");
    path.signal(Signal::STOP)?;
    let cut = Instant::now();
    let load = Load::start(&customer, CUSTOMERS, 1_024, |_| false);
    eventually("the hub gives the devices up", LIMIT, async || {
        (site.connected_devices().await == Some(NEAR)).then_some(())
    })
    .await?;
    let noticed = cut.elapsed();
    let meanwhile = load.stop().await;
    let lost = meanwhile.iter().filter(|asked| !asked.is_served()).count();
    if let Some(first) = meanwhile.iter().find(|asked| !asked.is_served()) {
        eprintln!("dead path: {first:?}");
    }
    let mut afterwards = Vec::with_capacity(AFTERWARDS);
    for _ in 0..AFTERWARDS {
        afterwards.push(customer.ask(Duration::ZERO, 1_024).await);
    }
    path.signal(Signal::CONT)?;
    let mended = Instant::now();
    eventually("every device is back", LIMIT, async || {
        (site.connected_devices().await == Some(NEAR + FAR)).then_some(())
    })
    .await?;
    let back = mended.elapsed();
    let longest = meanwhile.iter().map(|asked| asked.took).max().unwrap_or_default();
    let strayed = afterwards
        .iter()
        .filter(|asked| !is_served_at_once(asked))
        .count();
    Ok(vec![
        Figure::new(
            "noticed within, the last device",
            noticed.as_secs_f64(),
            " s",
            Bound::AtMost(NOTICED_WITHIN_S),
        )
        .of(format!("{FAR} of {} devices", FAR + NEAR)),
        Figure::none_of("requests lost meanwhile", lost, meanwhile.len(), "requests").of(format!(
            "of {} requests, the slowest {:.1} s",
            meanwhile.len(),
            longest.as_secs_f64()
        )),
        Figure::none_of(
            "requests sent there afterwards",
            strayed,
            afterwards.len(),
            "requests",
        ),
        Figure::new(
            "back within, the last device",
            back.as_secs_f64(),
            " s",
            Bound::AtMost(30.0),
        ),
    ])
}

/// Served by the first device that was asked.
fn is_served_at_once(asked: &Asked) -> bool {
    match &asked.outcome {
        Outcome::Served { head } => {
            field(head, "X-IPLoop-Debug").is_some_and(|debug| debug.ends_with("attempts=1"))
        }
        _ => false,
    }
}
