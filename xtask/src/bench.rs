//! `cargo xtask bench`: our own load generator against us, a direct connection, and peers; then against our API; then faults.

use std::process::Command;

use anyhow::Result;

use crate::process::{cargo, run};

/// Compare with a direct connection and with the peers that are on this machine.
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Passed on: see `benches/README.md`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        run(&mut cargo([
            "build",
            "--release",
            "--package",
            "iploop-server",
            "--package",
            "iploop-node-agent",
            "--package",
            "iploop-benches",
        ]))?;
        match self.arguments.split_first() {
            None => ["run", "reads", "faults"]
                .into_iter()
                .try_for_each(|what| run(&mut bench(what))),
            Some((what, rest)) if ["run", "reads", "faults"].contains(&what.as_str()) => {
                run(bench(what).args(rest))
            }
            // Arguments alone choose among the peers' tests.
            Some(_) => run(bench("run").args(&self.arguments)),
        }
    }
}

fn bench(what: &str) -> Command {
    cargo([
        "run",
        "--quiet",
        "--release",
        "--package",
        "iploop-benches",
        "--",
        what,
    ])
}
