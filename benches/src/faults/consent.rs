//! An owner who takes the consent back while many streams run on the device.

use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::time::sleep;

use super::customers::{Running, eventually};
use super::site::{Settings, Site};
use super::{Bench, Bound, Figure};
use crate::child::Process;

const STREAMS: usize = 64;
const RATE: u64 = 100_000;
const LIMIT: Duration = Duration::from_secs(60);
/// How long it is watched whether the device comes back.
const AFTER: Duration = Duration::from_secs(20);
/// The agent's exit status that says that consent is needed.
const CONSENT_NEEDED: i32 = 3;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let mut site = Site::with_devices(&bench.binaries, Settings::default(), 1).await?;
    let customer = site.customer();
    let mut streams = Running::start_all(&customer, 0..STREAMS, |tag| format!("drip {tag} {RATE}")).await?;
    eventually("every stream runs", LIMIT, async || {
        streams
            .iter()
            .all(|stream| stream.arrived() > RATE / 2)
            .then_some(())
    })
    .await?;
    let withdrawn = Instant::now();
    let mut command = Command::new(site.agent());
    command
        .args(["withdraw", "--json", "--state"])
        .arg(site.device_state(0));
    let done = command.output().await?;
    anyhow::ensure!(
        done.status.success(),
        "withdraw: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    let mut last = Duration::ZERO;
    for stream in &mut streams {
        let past = stream.ended_within(LIMIT).await.unwrap_or_default();
        let ended = past
            .ended
            .ok_or_else(|| anyhow::anyhow!("a stream goes on without consent"))?;
        last = last.max(ended.saturating_duration_since(withdrawn));
    }
    let status = site.device(0)?.ended().await?;
    anyhow::ensure!(status == Some(CONSENT_NEEDED), "the agent ended with {status:?}");

    // Its computer starts it again and again.
    let (mut seen, mut restarts) = (0, 0);
    let began = Instant::now();
    while began.elapsed() < AFTER {
        let command = site.device_command(0, site.ready.hub)?;
        let mut again = Process::spawn("device-again", command, site.folder())?;
        let status = tokio::time::timeout(LIMIT, again.ended()).await??;
        anyhow::ensure!(status == Some(CONSENT_NEEDED), "the agent ended with {status:?}");
        restarts += 1;
        seen += usize::from(site.connected_devices().await != Some(0));
        sleep(Duration::from_secs(1)).await;
    }
    let let_through = customer.ask(Duration::ZERO, 1_024).await;
    Ok(vec![
        Figure::new(
            "streams closed within",
            last.as_secs_f64(),
            " s",
            Bound::AtMost(5.0),
        )
        .of(format!("{STREAMS} streams of {} kB/s", RATE / 1_000)),
        Figure::none_of("times that it was connected again", seen, restarts, "starts"),
        Figure::none_of(
            "requests served by it",
            usize::from(let_through.is_served()),
            1,
            "request",
        ),
    ])
}
