//! `cargo xtask bench`: our own load generator against us, a direct connection, and peers; then against our API.

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
        run(bench("run").args(&self.arguments))?;
        // Arguments choose among the peers' tests.
        if self.arguments.is_empty() {
            run(&mut bench("reads"))?;
        }
        Ok(())
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
