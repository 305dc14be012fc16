//! `reads`: how many reads a second the API answers, from a server that has one core to itself.
//!
//! ```text
//! core A   this program, its load with keep-alive connections, and simulated devices
//! core B   iploop-server with every role, on SQLite
//! ```
//!
//! Everything is as in production: signed-in accounts with the cookie of a real sign-in, every check on, a history of
//! requests booked through the store itself.

mod cores;
mod hashing;
mod history;
mod http;
mod load;
mod routes;
mod site;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;

pub(crate) use hashing::main as hashing_main;
pub(crate) use load::main as load_main;

use crate::child::Process;
use crate::process::cost_of;
use crate::statistics::Spread;
use load::{Done, Order};
use routes::{Route, SIGN_IN};
use site::Site;

/// An order takes this much longer than its seconds at most.
const ORDER_LIMIT: Duration = Duration::from_secs(60);
/// What a route has to reach, in requests a second.
const TARGET_PER_SECOND: f64 = 2_000.0;
/// What signing in has to reach, as a share of what argon2id alone gives.
const SIGN_IN_TARGET: f64 = 0.9;

/// Sign-ins at the same time: each is a try at the account's password until it turns out right (`login.tries_per_hour`).
const SIGN_INS_AT_ONCE: usize = 8;

/// How to measure the API's reads.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReadsOptions {
    /// Seconds for each route in each round
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Rounds over all routes
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only routes whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 16)]
    at_once: usize,
    /// Signed-in accounts that ask in turn
    #[arg(long, default_value_t = 8)]
    accounts: usize,
    /// Requests in the log of each account, over the last 30 days
    #[arg(long, default_value_t = 5_000)]
    requests: usize,
    /// Devices that are connected
    #[arg(long, default_value_t = 200)]
    devices: usize,
    /// The server's core
    #[arg(long, default_value_t = 1)]
    server_core: usize,
    /// The core of everything else
    #[arg(long, default_value_t = 0)]
    load_core: usize,
    /// Writes the figures of every round to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Folder of iploop-server; by default that of this program
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

/// What one route gave in one round.
#[derive(Clone, Copy, Debug)]
struct Figures {
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    /// Of the server, for one request.
    cpu_us: f64,
}

/// A row of the table: what was measured in each round, and what it is held to.
struct Row {
    name: &'static str,
    rounds: Vec<Figures>,
    target_per_second: f64,
    errors: u64,
    first_error: Option<String>,
}

impl Row {
    fn new(name: &'static str, target_per_second: f64) -> Self {
        Self {
            name,
            rounds: Vec::new(),
            target_per_second,
            errors: 0,
            first_error: None,
        }
    }

    fn note(&mut self, done: Done, cpu_seconds: f64) {
        self.errors += done.errors;
        self.first_error = self.first_error.take().or(done.first_error);
        let Some(latency) = done.latency else { return };
        self.rounds.push(Figures {
            per_second: latency.count as f64 / done.seconds,
            p50_us: latency.p50_us,
            p99_us: latency.p99_us,
            cpu_us: cpu_seconds * 1e6 / done.asked.max(1) as f64,
        });
    }

    fn spread(&self, of: impl Fn(&Figures) -> f64) -> Option<Spread> {
        Spread::of(&self.rounds.iter().map(of).collect::<Vec<_>>())
    }

    /// An error is a miss.
    fn is_reached(&self) -> bool {
        let per_second = self.spread(|figures| figures.per_second);
        self.errors == 0 && per_second.is_some_and(|spread| spread.median >= self.target_per_second)
    }
}

/// Measures every route in rounds and prints the table.
pub(crate) async fn main(options: ReadsOptions) -> anyhow::Result<()> {
    let binaries = match options.binaries.clone() {
        Some(folder) => folder,
        None => std::env::current_exe()?.parent().context("no folder")?.to_owned(),
    };
    let wanted = |name: &str| {
        options
            .only
            .as_ref()
            .is_none_or(|only| name.contains(only.as_str()))
    };
    let routes: Vec<Route> = routes::all()
        .into_iter()
        .filter(|route| wanted(route.name))
        .collect();
    let signs_in = wanted(SIGN_IN);
    anyhow::ensure!(signs_in || !routes.is_empty(), "no route has that name");

    cores::pin(options.load_core)?;
    let size = site::Size {
        accounts: options.accounts.max(1),
        requests: options.requests,
        devices: options.devices,
    };
    let site = Site::start(&binaries, options.server_core, size).await?;
    let mut load = Process::spawn_own("reads-load", &["reads-load".to_owned()], site.folder())?;

    let mut rows: Vec<Row> = routes
        .iter()
        .map(|route| Row::new(route.name, TARGET_PER_SECOND))
        .collect();
    for round in 0..options.rounds {
        for (route, row) in routes.iter().zip(&mut rows) {
            let requests = site
                .readers()
                .map(|reader| route.requests(site.api(), reader))
                .collect();
            take(&site, &mut load, (&options, requests), row).await?;
        }
        eprintln!("round {} of {}", round + 1, options.rounds);
    }
    let mut bare = None;
    if signs_in {
        let per_second = site
            .hashes_per_second(options.server_core, options.seconds)
            .await?;
        bare = Some(per_second);
        let mut row = Row::new(SIGN_IN, SIGN_IN_TARGET * per_second);
        let few = ReadsOptions {
            at_once: options.at_once.min(SIGN_INS_AT_ONCE),
            ..options.clone()
        };
        for _ in 0..options.rounds {
            let requests = vec![vec![site.sign_in()]];
            take(&site, &mut load, (&few, requests), &mut row).await?;
        }
        rows.push(row);
    }
    site.finish().await.context("booking beside the reads")?;
    table::print(&options, &rows, bare)?;
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_vec_pretty(&machine_readable(&rows, bare))?)?;
    }
    Ok(())
}

/// One route in one round.
async fn take(
    site: &Site,
    load: &mut Process,
    (options, requests): (&ReadsOptions, Vec<Vec<String>>),
    row: &mut Row,
) -> anyhow::Result<()> {
    let order = Order {
        api: site.api(),
        requests,
        at_once: options.at_once,
        seconds: options.seconds,
    };
    let before = cost_of(site.server_pid()?)?;
    load.tell(&serde_json::to_string(&order)?).await?;
    let limit = ORDER_LIMIT + Duration::try_from_secs_f64(options.seconds)?;
    let done = tokio::time::timeout(limit, load.next_json())
        .await
        .with_context(|| format!("{} took too long", row.name))??;
    let after = cost_of(site.server_pid()?)?;
    row.note(done, after.cpu_seconds - before.cpu_seconds);
    Ok(())
}

fn machine_readable(rows: &[Row], bare: Option<f64>) -> serde_json::Value {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let rounds: Vec<_> = row
                .rounds
                .iter()
                .map(|figures| {
                    json!({
                        "perSecond": figures.per_second, "p50Us": figures.p50_us, "p99Us": figures.p99_us,
                        "cpuUs": figures.cpu_us,
                    })
                })
                .collect();
            json!({
                "name": row.name, "rounds": rounds, "targetPerSecond": row.target_per_second,
                "reached": row.is_reached(), "errors": row.errors, "firstError": row.first_error,
            })
        })
        .collect();
    json!({ "rows": rows, "argon2idPerSecond": bare })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Latency;

    fn done(count: usize, errors: u64) -> Done {
        Done {
            latency: Some(Latency {
                count,
                p50_us: 5.0,
                p99_us: 9.0,
            }),
            asked: count as u64,
            seconds: 2.0,
            errors,
            first_error: (errors > 0).then(|| "503".to_owned()),
        }
    }

    #[test]
    fn a_row_is_reached_by_its_median_and_by_no_row_with_errors() {
        let mut row = Row::new("keys", 2_000.0);
        assert!(!row.is_reached(), "nothing was measured");
        for count in [3_000, 4_200, 4_400] {
            row.note(done(count, 0), 1.0);
        }
        assert!(row.is_reached());
        row.note(done(9_000, 1), 1.0);
        assert!(!row.is_reached());
    }
}
