//! `reads`: how many reads a second the API answers, from a server that has one core to itself.
//!
//! ```text
//! core A   this program, its load with keep-alive connections, and simulated devices
//! core B   iploop-server with every role, on SQLite
//! ```
//!
//! Everything is as in production: signed-in accounts with the cookie of a real sign-in, every check on, a history of
//! requests booked through the store itself.

mod hashing;
mod history;
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
use crate::cores;
use crate::process::cost_of;
use crate::statistics::Spread;
use load::{Done, Order};
use routes::{Route, SIGN_IN};
use site::Site;

/// An order takes this much longer than its seconds at most.
const ORDER_LIMIT: Duration = Duration::from_secs(60);
/// What a route has to reach, in requests a second.
const TARGET_PER_SECOND: f64 = 2_000.0;
/// What signing in has to reach, as a share of what argon2id alone gives on the same core beside the same bookings and devices.
const SIGN_IN_TARGET: f64 = 0.9;

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
    /// What argon2id alone gave right before and after, where the row is held to that.
    hashes_per_second: Option<f64>,
}

/// What a row is held to.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// So many a second.
    PerSecond(f64),
    /// So large a share of what argon2id alone gives.
    OfHashing(f64),
}

/// A row of the table: what was measured in each round, and what it is held to.
struct Row {
    name: &'static str,
    rounds: Vec<Figures>,
    target: Target,
    errors: u64,
    first_error: Option<String>,
}

impl Row {
    fn new(name: &'static str, target: Target) -> Self {
        Self {
            name,
            rounds: Vec::new(),
            target,
            errors: 0,
            first_error: None,
        }
    }

    fn note(&mut self, done: Done, cpu_seconds: f64) {
        self.errors += done.errors;
        self.first_error = self.first_error.take().or(done.first_error);
        let Some(latency) = done.latency else { return };
        self.rounds.push(Figures {
            per_second: done.per_second,
            p50_us: latency.p50_us,
            p99_us: latency.p99_us,
            cpu_us: cpu_seconds * 1e6 / done.asked.max(1) as f64,
            hashes_per_second: None,
        });
    }

    /// Of a round, what argon2id alone gave in it.
    fn note_hashing(&mut self, before: f64, after: f64) {
        if let Some(figures) = self.rounds.last_mut() {
            figures.hashes_per_second = Some(f64::midpoint(before, after));
        }
    }

    /// The share of argon2id alone, round by round.
    fn shares(&self) -> Option<Spread> {
        let share = |figures: &Figures| Some(figures.per_second / figures.hashes_per_second?);
        let shares: Option<Vec<f64>> = self.rounds.iter().map(share).collect();
        Spread::of(&shares?)
    }

    fn spread(&self, of: impl Fn(&Figures) -> f64) -> Option<Spread> {
        Spread::of(&self.rounds.iter().map(of).collect::<Vec<_>>())
    }

    /// An error is a miss.
    fn is_reached(&self) -> bool {
        let (reached, target) = match self.target {
            Target::PerSecond(target) => (self.spread(|figures| figures.per_second), target),
            Target::OfHashing(target) => (self.shares(), target),
        };
        self.errors == 0 && reached.is_some_and(|spread| spread.median >= target)
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
        .map(|route| Row::new(route.name, Target::PerSecond(TARGET_PER_SECOND)))
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
    if signs_in {
        let mut row = Row::new(SIGN_IN, Target::OfHashing(SIGN_IN_TARGET));
        // In turn, so that both have the same bookings and devices beside them, and the same moods of the machine.
        let hashing = || site.hashes_per_second(options.server_core, options.seconds);
        let mut before = hashing().await?;
        for round in 0..options.rounds {
            let requests = vec![vec![site.sign_in()]];
            take(&site, &mut load, (&options, requests), &mut row).await?;
            let after = hashing().await?;
            row.note_hashing(before, after);
            before = after;
            eprintln!("sign-ins: round {} of {}", round + 1, options.rounds);
        }
        rows.push(row);
    }
    site.finish().await.context("booking beside the reads")?;
    table::print(&options, &rows)?;
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_vec_pretty(&machine_readable(&rows))?)?;
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

fn machine_readable(rows: &[Row]) -> serde_json::Value {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let rounds: Vec<_> = row
                .rounds
                .iter()
                .map(|figures| {
                    json!({
                        "perSecond": figures.per_second, "p50Us": figures.p50_us, "p99Us": figures.p99_us,
                        "cpuUs": figures.cpu_us, "argon2idPerSecond": figures.hashes_per_second,
                    })
                })
                .collect();
            let (per_second, share) = match row.target {
                Target::PerSecond(target) => (Some(target), None),
                Target::OfHashing(target) => (None, Some(target)),
            };
            json!({
                "name": row.name, "rounds": rounds, "targetPerSecond": per_second, "targetOfArgon2id": share,
                "reached": row.is_reached(), "errors": row.errors, "firstError": row.first_error,
            })
        })
        .collect();
    json!({ "rows": rows })
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
            per_second: count as f64 / 2.0,
            errors,
            first_error: (errors > 0).then(|| "503".to_owned()),
        }
    }

    #[test]
    fn a_row_is_reached_by_its_median_and_by_no_row_with_errors() {
        let mut row = Row::new("keys", Target::PerSecond(2_000.0));
        assert!(!row.is_reached(), "nothing was measured");
        for count in [3_000, 4_200, 4_400] {
            row.note(done(count, 0), 1.0);
        }
        assert!(row.is_reached());
        row.note(done(9_000, 1), 1.0);
        assert!(!row.is_reached());
    }

    #[test]
    fn signing_in_is_held_to_what_argon2id_gave_in_the_same_round() {
        let mut row = Row::new(SIGN_IN, Target::OfHashing(0.9));
        for (count, before, after) in [(40, 22.0, 22.0), (10, 5.0, 6.0), (36, 20.0, 18.0)] {
            row.note(done(count, 0), 1.0);
            assert!(!row.is_reached(), "half a round");
            row.note_hashing(before, after);
        }
        let shares = row.shares().unwrap();
        assert!((shares.min - 10.0 / 11.0).abs() < 1e-9 && shares.max < 0.95);
        assert!(row.is_reached());
        for _ in 0..4 {
            row.note(done(40, 0), 1.0);
            row.note_hashing(40.0, 40.0);
        }
        assert!(!row.is_reached());
    }
}
