//! A hub whose devices are thousands is killed, and is asked to go: how soon they are back, and what the API takes meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::api;
use super::customers::eventually;
use super::site::{Settings, Site};
use super::{Bench, Bound, Figure};
use crate::child::Process;
use crate::http::{self, Connection};
use crate::load::CrowdOrder;
use crate::statistics::Latency;

/// Devices in one process: it may hold 20,000 open files, and has one core at most.
const IN_ONE_PROCESS: usize = 2_500;
const LIMIT: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Each asks one of these after the other.
const READERS: usize = 2;
const PATHS: [&str; 4] = [
    "/api/nodes/stats",
    "/api/usage/summary",
    "/api/proxy/keys",
    "/api/auth/profile",
];
const READ_EVERY: Duration = Duration::from_millis(50);

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let settings = Settings {
        tls: true,
        ..Settings::default()
    };
    let mut site = Site::start(&bench.binaries, settings).await?;
    let mut crowds = Vec::new();
    for from in (0..bench.devices).step_by(IN_ONE_PROCESS) {
        let mut crowd = Process::spawn_own(&format!("crowd-{from}"), &["crowd".to_owned()], site.folder())?;
        let order = CrowdOrder {
            hub: site.hub_access(),
            from,
            count: IN_ONE_PROCESS.min(bench.devices - from),
        };
        crowd.tell(&serde_json::to_string(&order)?).await?;
        crowds.push(crowd);
    }
    let first = watch(&site, bench.devices).await?;
    eprintln!(
        "{} devices for the first time: {:.1} s",
        bench.devices,
        first.all.as_secs_f64()
    );
    let mut figures = Vec::new();
    for how in ["killed", "asked to go"] {
        if how == "killed" {
            site.kill_server().await?;
        } else {
            site.ask_to_leave()?;
            site.left().await?;
        }
        site.start_server().await?;
        let back = watch(&site, bench.devices).await?;
        let api = back.api.map_or(f64::NAN, |latency| latency.p99_us / 1e6);
        figures.extend([
            Figure::new(
                format!("{how}: 95 % back within"),
                back.most.as_secs_f64(),
                " s",
                Bound::AtMost(60.0),
            )
            .of(format!("{} devices, TLS", bench.devices)),
            Figure::new(
                format!("{how}: all back within"),
                back.all.as_secs_f64(),
                " s",
                Bound::AtMost(120.0),
            ),
            Figure::new(
                format!("{how}: API, p99 meanwhile"),
                api,
                " s",
                Bound::AtMost(1.0),
            )
            .of(format!(
                "{} reads, p50 {:.0} ms",
                back.asked,
                back.api.map_or(f64::NAN, |latency| latency.p50_us / 1e3)
            )),
            Figure::none_of(
                format!("{how}: reads that failed"),
                back.failed,
                back.asked,
                "reads",
            ),
        ]);
    }
    drop(crowds);
    Ok(figures)
}

/// How a crowd came, from the server's ready line on.
struct Arrival {
    /// 95 of 100.
    most: Duration,
    all: Duration,
    api: Option<Latency>,
    asked: usize,
    failed: usize,
}

async fn watch(site: &Site, devices: usize) -> anyhow::Result<Arrival> {
    let began = Instant::now();
    let (api, token) = (
        site.ready.api,
        api::sign_in(site.ready.api, &site.account.email).await?,
    );
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let requests = PATHS.map(|path| http::request(("GET", api, path), Some(&token), None));
        readers.spawn(read(api, requests, Arc::clone(&stop)));
    }
    let devices = u64::try_from(devices)?;
    let mut most = None;
    let all = eventually("every device is there", LIMIT, async || {
        sleep(LOOK_EVERY).await;
        let connected = site.connected_devices().await?;
        if connected * 100 >= devices * 95 {
            most.get_or_insert_with(|| began.elapsed());
        }
        (connected >= devices).then(|| began.elapsed())
    })
    .await?;
    stop.store(true, Relaxed);
    let mut all_reads = Vec::new();
    while let Some(reads) = readers.join_next().await {
        all_reads.extend(reads?);
    }
    let took: Vec<Duration> = all_reads.iter().flatten().copied().collect();
    Ok(Arrival {
        most: most.unwrap_or(all),
        all,
        api: Latency::of(&took),
        asked: all_reads.len(),
        failed: all_reads.len() - took.len(),
    })
}

/// Asks in turn until it is told to stop; how long each took, or that it failed.
async fn read(api: SocketAddr, requests: [String; 4], stop: Arc<AtomicBool>) -> Vec<Option<Duration>> {
    let mut reads = Vec::new();
    let mut connection = None;
    for request in requests.iter().cycle() {
        if stop.load(Relaxed) {
            break;
        }
        let asked = Instant::now();
        let is_good = async {
            let open = match connection.take() {
                Some(open) => open,
                None => Connection::open(api).await?,
            };
            let open = connection.insert(open);
            anyhow::Ok(open.exchange(request).await?.status == 200)
        };
        let is_good = is_good.await.unwrap_or(false);
        reads.push(is_good.then(|| asked.elapsed()));
        if !is_good {
            connection = None;
        }
        sleep(READ_EVERY).await;
    }
    reads
}
