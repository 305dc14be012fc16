//! `run`: every test on every peer in rounds, then the table.

mod book;
mod measure;
mod rounds;
mod rows;
mod suite;
mod table;

use std::path::PathBuf;

use clap::Args;

use crate::peer::Peer;

/// How to run the comparison.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunOptions {
    /// Two short rounds, about two minutes: the figures are rough
    #[arg(long)]
    quick: bool,
    /// Rounds instead of the usual number
    #[arg(long)]
    rounds: Option<usize>,
    /// Only tests whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Peers to compare; `direct` is always among them
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    peers: Option<Vec<Peer>>,
    /// Writes every value of every round to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Folder of iploop-server and iploop-node; by default that of this program
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

/// Runs the comparison and prints its table.
pub(crate) async fn main(options: RunOptions) -> anyhow::Result<()> {
    let RunOptions {
        quick,
        rounds,
        only,
        peers,
        json,
        binaries,
    } = options;
    let plan = rounds::Plan {
        effort: if quick {
            suite::Effort::quick()
        } else {
            suite::Effort::full()
        },
        quick,
        rounds,
        only,
        peers: peers.unwrap_or_else(|| Peer::USUAL.to_vec()),
        binaries,
    };
    let book = rounds::take(plan).await?;
    table::print(&book)?;
    if let Some(file) = json {
        std::fs::write(file, serde_json::to_vec_pretty(&book.machine_readable())?)?;
    }
    Ok(())
}
