//! `cargo xtask test`: every check, in the order in which they fail fastest.

use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use crate::process::{cargo, run};
use crate::{setup, web};

/// Run every check and every test; installs what they need and this machine lacks.
#[derive(clap::Args)]
pub(crate) struct Test {
    /// Only the tests, without format, lints and documentation.
    #[arg(long)]
    only_tests: bool,
}

impl Test {
    pub(crate) fn run(self) -> Result<()> {
        let started = Instant::now();
        if !self.only_tests {
            step("format", &mut cargo(["fmt", "--all", "--check"]))?;
        }
        setup::for_tests()?;
        if !self.only_tests {
            let mut clippy = cargo([
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--",
            ]);
            step("lints", clippy.args(["-D", "warnings"]))?;
            let mut docs = cargo(["doc", "--quiet", "--workspace", "--all-features", "--no-deps"]);
            step("documentation", docs.env("RUSTDOCFLAGS", "-D warnings"))?;
            // Advisories need a database from the network, and change without us: `cargo deny check` is for those.
            if setup::is_installed("cargo-deny") {
                let mut deny = cargo([
                    "deny",
                    "--log-level",
                    "error",
                    "check",
                    "licenses",
                    "bans",
                    "sources",
                ]);
                step("dependencies", &mut deny)?;
            } else {
                println!("── dependencies: not checked; cargo install cargo-deny --locked");
            }
        }
        timed("dashboard", || web::check(self.only_tests))?;
        // The system tests drive the real binaries.
        step(
            "binaries",
            &mut cargo([
                "build",
                "--quiet",
                "--package",
                "iploop-server",
                "--package",
                "iploop-node-agent",
            ]),
        )?;
        // One run names every failure.
        let mut tests = cargo(["test", "--workspace", "--all-features", "--no-fail-fast"]);
        tests
            .env("IPLOOP_TEST_PYTHON", setup::python())
            .env("IPLOOP_TEST_NODE_FOLDER", setup::node_folder())
            .env("IPLOOP_TEST_DASHBOARD", web::dist())
            .env("STRIPE_MOCK", setup::stripe_mock());
        step("tests", &mut tests)?;
        // They ran on SQLite and in one process's memory.
        let mut api = cargo([
            "test",
            "--package",
            "iploop-api",
            "--all-features",
            "--test",
            "it",
        ]);
        api.env("IPLOOP_TEST_DATA", "servers");
        step("the API on PostgreSQL and Redis", &mut api)?;
        // Ignored elsewhere, since it needs a program that is no package of Debian's.
        if setup::pebble().exists() {
            let mut acme = cargo([
                "test",
                "--package",
                "iploop-gateway",
                "--all-features",
                "--test",
                "it",
            ]);
            acme.args(["acme::", "--", "--include-ignored"])
                .env("PEBBLE", setup::pebble());
            step("certificates by ACME", &mut acme)?;
        } else {
            println!("── certificates by ACME: not tested, without pebble");
        }
        step("demo", &mut cargo(["xtask", "demo", "--once"]))?;
        println!("\nEverything passed in {} s.", started.elapsed().as_secs());
        Ok(())
    }
}

fn step(name: &str, command: &mut Command) -> Result<()> {
    timed(name, || run(command))
}

fn timed(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    println!("── {name}");
    work()?;
    println!("── {name}: {} s", started.elapsed().as_secs());
    Ok(())
}
