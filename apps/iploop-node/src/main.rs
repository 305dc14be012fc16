//! The IPLoop desktop agent: shares this computer's idle bandwidth, with its owner's consent.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use iploop_node_agent::{Args, execute, exit};

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // One thread carries more than any uplink, and costs a guest in somebody's computer less than several that wake each other.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(execute(args)),
        Err(error) => Err(error.into()),
    };
    exit::code(outcome)
}
