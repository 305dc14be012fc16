//! `faults`: what the system promises for bad days, and how much of it holds, on real processes.
//!
//! ```text
//! customers (here) ──▶ iploop-server ◀── iploop-node, or simulated devices ──▶ destination (a thread here)
//!                          │
//!                    SQLite, or PostgreSQL and Redis of the run's own
//! ```
//!
//! Each fault is brought about as in life: processes are killed, stopped or asked to go by signals, a path is frozen, peers
//! break the protocol. What has to be true at all times is proven by tests; these are the figures.

mod api;
mod balance;
mod consent;
mod crash;
mod crowd;
mod customers;
mod destination;
mod drain;
mod hostile_devices;
mod hostile_hub;
mod outage;
mod overload;
mod path;
mod postgres;
mod site;
mod table;

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

/// How to measure what is promised for bad days.
#[derive(Clone, Debug, Args)]
pub(crate) struct FaultsOptions {
    /// Only faults whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Devices of the hub that restarts
    #[arg(long, default_value_t = 10_000)]
    devices: usize,
    /// The server's core under overload
    #[arg(long, default_value_t = 1)]
    server_core: usize,
    /// The core of everything else then
    #[arg(long, default_value_t = 0)]
    load_core: usize,
    /// Writes the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Folder of iploop-server and iploop-node; by default that of this program
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    HostileDevices,
    HostileHub,
    Crash,
    Balance,
    TwoGateways,
    Withdrawal,
    DeadPath,
    Crowd,
    Drain,
    Redis,
    Postgres,
    Overload,
}

impl Fault {
    const ALL: [Self; 12] = [
        Self::HostileDevices,
        Self::HostileHub,
        Self::Crash,
        Self::Balance,
        Self::TwoGateways,
        Self::Withdrawal,
        Self::DeadPath,
        Self::Drain,
        Self::Redis,
        Self::Postgres,
        Self::Overload,
        Self::Crowd,
    ];

    /// Its name, for `--only` and programs.
    fn name(self) -> &'static str {
        match self {
            Self::HostileDevices => "hostile-devices",
            Self::HostileHub => "hostile-hub",
            Self::Crash => "crash",
            Self::Balance => "balance",
            Self::TwoGateways => "two-gateways",
            Self::Withdrawal => "withdrawal",
            Self::DeadPath => "dead-path",
            Self::Crowd => "hub-restart",
            Self::Drain => "drain",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::Overload => "overload",
        }
    }

    /// What stands above its rows.
    fn title(self) -> &'static str {
        match self {
            Self::HostileDevices => "devices that break the protocol",
            Self::HostileHub => "a hub that breaks the protocol",
            Self::Crash => "the server is killed under load",
            Self::Balance => "a balance ends under load",
            Self::TwoGateways => "a balance ends at two gateways",
            Self::Withdrawal => "consent is withdrawn under load",
            Self::DeadPath => "the path to devices dies in silence",
            Self::Crowd => "a hub with many devices restarts",
            Self::Drain => "SIGTERM under load",
            Self::Redis => "Redis freezes, then dies",
            Self::Postgres => "PostgreSQL freezes, then dies",
            Self::Overload => "five times what the gateway can serve",
        }
    }

    async fn measure(self, bench: &Bench) -> anyhow::Result<Vec<Figure>> {
        match self {
            Self::HostileDevices => hostile_devices::measure(bench).await,
            Self::HostileHub => hostile_hub::measure(bench).await,
            Self::Crash => crash::measure(bench).await,
            Self::Balance => balance::measure(bench).await,
            Self::TwoGateways => balance::measure_two(bench).await,
            Self::Withdrawal => consent::measure(bench).await,
            Self::DeadPath => path::measure(bench).await,
            Self::Crowd => crowd::measure(bench).await,
            Self::Drain => drain::measure(bench).await,
            Self::Redis => outage::measure_redis(bench).await,
            Self::Postgres => outage::measure_postgres(bench).await,
            Self::Overload => overload::measure(bench).await,
        }
    }
}

/// What every fault needs to know.
struct Bench {
    binaries: PathBuf,
    devices: usize,
    server_core: usize,
    load_core: usize,
}

/// What a figure is held to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// Only shown.
    None,
}

/// One row.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    bound: Bound,
    /// Of how much this is seen.
    of: String,
}

impl Figure {
    fn new(name: impl Into<String>, value: f64, unit: &'static str, bound: Bound) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            bound,
            of: String::new(),
        }
    }

    /// How many of `all` did what none may do.
    fn none_of(name: impl Into<String>, count: usize, all: usize, what: &str) -> Self {
        Self::new(name, count as f64, "", Bound::AtMost(0.0)).of(format!("of {all} {what}"))
    }

    fn of(self, of: impl Into<String>) -> Self {
        Self {
            of: of.into(),
            ..self
        }
    }

    /// `None` where it is held to nothing.
    fn is_reached(&self) -> Option<bool> {
        match self.bound {
            Bound::AtMost(bound) => Some(self.value <= bound),
            Bound::AtLeast(bound) => Some(self.value >= bound),
            Bound::None => None,
        }
    }
}

/// What one fault came to.
struct Outcome {
    fault: Fault,
    figures: anyhow::Result<Vec<Figure>>,
    seconds: f64,
}

/// Brings about every fault in turn and prints the table.
pub(crate) async fn main(options: FaultsOptions) -> anyhow::Result<()> {
    let binaries = match options.binaries.clone() {
        Some(folder) => folder,
        None => std::env::current_exe()?.parent().context("no folder")?.to_owned(),
    };
    let bench = Bench {
        // They are started in folders of their own.
        binaries: binaries.canonicalize()?,
        devices: options.devices,
        server_core: options.server_core,
        load_core: options.load_core,
    };
    let wanted = |fault: &Fault| {
        options
            .only
            .as_ref()
            .is_none_or(|only| fault.name().contains(only.as_str()))
    };
    let faults: Vec<Fault> = Fault::ALL.into_iter().filter(wanted).collect();
    anyhow::ensure!(!faults.is_empty(), "no fault has that name");
    let mut results = Vec::with_capacity(faults.len());
    for fault in faults {
        let began = std::time::Instant::now();
        let figures = fault.measure(&bench).await;
        let seconds = began.elapsed().as_secs_f64();
        eprintln!("{} took {seconds:.0} s", fault.name());
        results.push(Outcome {
            fault,
            figures,
            seconds,
        });
    }
    table::print(&results)?;
    if let Some(file) = &options.json {
        std::fs::write(
            file,
            serde_json::to_vec_pretty(&table::machine_readable(&results))?,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        assert_eq!(names.len(), Fault::ALL.len());
    }

    #[test]
    fn a_figure_is_held_to_its_bound_and_no_number_is_a_miss() {
        let at = |value, bound| Figure::new("x", value, "s", bound).is_reached();
        assert_eq!(at(5.0, Bound::AtMost(5.0)), Some(true));
        assert_eq!(at(5.1, Bound::AtMost(5.0)), Some(false));
        assert_eq!(at(0.9, Bound::AtLeast(0.9)), Some(true));
        assert_eq!(at(f64::NAN, Bound::AtLeast(0.9)), Some(false));
        assert_eq!(at(7.0, Bound::None), None);
    }
}
