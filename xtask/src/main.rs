//! The project's chores: `cargo xtask demo`, `test`, `bench`, `fuzz`, `config`, `api`, `web`.
#![expect(clippy::print_stdout, reason = "this program talks to people")]

mod api;
mod bench;
mod client;
mod config;
mod demo;
#[cfg(test)]
mod documents;
mod fuzz;
mod process;
mod setup;
mod test;
mod web;

use anyhow::Result;
use clap::Parser;

/// The project's chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    /// Start a server and three devices on this machine, and send requests through them.
    Demo(demo::Demo),
    /// Run every check and every test; installs what they need and this machine lacks.
    Test(test::Test),
    /// Compare with a direct connection and with the peers that are on this machine.
    Bench(bench::Bench),
    /// Feed the parsers and the tunnel with hostile bytes for a long time.
    Fuzz(fuzz::Fuzz),
    /// Write the sample configuration and its JSON schema anew, into docs/configuration.
    Config(config::Config),
    /// Write the API's OpenAPI document anew, into docs, and the customer's library from it.
    Api(api::Api),
    /// Build the dashboard into web/dist.
    Web(web::Web),
}

fn main() -> Result<()> {
    match Chore::parse() {
        Chore::Demo(demo) => demo.run(),
        Chore::Test(test) => test.run(),
        Chore::Bench(bench) => bench.run(),
        Chore::Fuzz(fuzz) => fuzz.run(),
        Chore::Config(config) => config.run(),
        Chore::Api(api) => api.run(),
        Chore::Web(web) => web.run(),
    }
}
