//! The command line: `run` for people, the rest for the processes that `run` starts.

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::faults::{self, FaultsOptions};
use crate::link::{self, LinkOptions};
use crate::reads::ReadsOptions;
use crate::run::{self, RunOptions};
use crate::{load, origin, reads};

/// Compares IPLoop with a direct connection and with tunnels that do the same work.
#[derive(Debug, Parser)]
#[command(name = "iploop-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Takes every test on every peer in rounds and prints the table
    Run(RunOptions),
    /// Asks the API of a server on one core for its heaviest reads and prints the table
    Reads(ReadsOptions),
    /// Breaks, floods and attacks a running system, and prints what of its promises held
    Faults(FaultsOptions),
    /// The destination behind every peer
    #[command(hide = true)]
    Origin,
    /// A relay that delays and limits
    #[command(hide = true)]
    Link(LinkOptions),
    /// One test through one route; the order comes on standard input
    #[command(hide = true)]
    Load,
    /// Devices that come back again and again; the order comes on standard input
    #[command(hide = true)]
    Crowd,
    /// The API's reads; orders come on standard input
    #[command(hide = true)]
    ReadsLoad,
    /// Password checks without a server; the job comes on standard input
    #[command(hide = true)]
    ReadsHashing,
}

/// Reads the command line and does what it says.
///
/// # Errors
///
/// When the origin or the load can't be started or a file can't be written. A peer that can't run is no error.
pub fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run(options) => until_told(run::main(options)),
        Command::Reads(options) => until_told(reads::main(options)),
        Command::Faults(options) => until_told(faults::main(options)),
        Command::Origin => origin::main(),
        Command::Link(options) => link::main(&options),
        Command::Load => load::main(),
        Command::Crowd => load::crowd_main(),
        Command::ReadsLoad => reads::load_main(),
        Command::ReadsHashing => reads::hashing_main(),
    }
}

/// Runs `work` on this thread; a signal drops it, and that ends every process it started and removes their folders.
fn until_told(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            done = work => done,
            signal = told_to_end() => anyhow::bail!("ended by {}", signal?),
        }
    })
}

async fn told_to_end() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| "an interrupt"),
        _ = terminate.recv() => Ok("a request to terminate"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::peer::Peer;

    #[test]
    fn command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn peers_are_named_in_a_list_and_an_unknown_one_is_refused_with_the_known() {
        assert!(Cli::try_parse_from(["iploop-bench", "run", "--peers", "direct,ssh"]).is_ok());
        let refused = Cli::try_parse_from(["iploop-bench", "run", "--peers", "carrier-pigeon"]).unwrap_err();
        assert!(refused.to_string().contains(Peer::Ssh.name()), "{refused}");
    }
}
