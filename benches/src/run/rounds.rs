//! The order of a run: rounds, in each round the paths, on each path the tests, in each test the peers in turn.
//!
//! All peers of a path run at the same time, idle but for the one measured, so that direct and a tunnel are measured
//! seconds apart. Who comes first changes with every test and round.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;

use super::book::{Book, Machine};
use super::measure::measure;
use super::suite::{Effort, Test, suite};
use crate::child::Process;
use crate::origin;
use crate::peer::{Env, PathKind, Peer, Running};

/// What to take.
pub(super) struct Plan {
    pub(super) effort: Effort,
    pub(super) quick: bool,
    pub(super) rounds: Option<usize>,
    pub(super) only: Option<String>,
    pub(super) peers: Vec<Peer>,
    pub(super) binaries: Option<PathBuf>,
}

/// Takes all rounds. A peer that can't run is left out; a test that fails is an error in the book.
pub(super) async fn take(plan: Plan) -> anyhow::Result<Book> {
    let folder = tempfile::tempdir()?;
    let mut origin = Process::spawn_own("origin", &["origin".to_owned()], folder.path())?;
    let origin::Ready { address } = origin.ready().await?;
    let binaries = match plan.binaries.clone() {
        Some(folder) => folder,
        None => std::env::current_exe()?.parent().context("no folder")?.to_owned(),
    };
    let mut env = Env {
        origin: address,
        path: PathKind::Loopback,
        binaries,
    };
    let tests: Vec<Test> = suite(plan.effort)
        .into_iter()
        .filter(|test| {
            plan.only
                .as_ref()
                .is_none_or(|only| test.name.contains(only.as_str()))
        })
        .collect();
    anyhow::ensure!(!tests.is_empty(), "no test has that name");

    let rounds = plan.rounds.unwrap_or(plan.effort.rounds);
    let mut book = Book::new(Machine::here(), rounds, plan.quick, with_direct(plan.peers));
    for peer in book.peers.clone() {
        if let Some(reason) = peer.missing(&env) {
            book.leave_out(peer, reason);
        }
    }
    for round in 0..rounds {
        for path in [PathKind::Loopback, PathKind::Delayed, PathKind::Limited] {
            env.path = path;
            let tests: Vec<&Test> = tests.iter().filter(|test| test.path == path).collect();
            if !tests.is_empty() {
                take_path(&mut book, &env, round, &tests).await;
            }
        }
    }
    Ok(book)
}

/// Direct first: it is what the others are compared with.
fn with_direct(peers: Vec<Peer>) -> Vec<Peer> {
    let mut all = vec![Peer::Direct];
    for peer in peers {
        if !all.contains(&peer) {
            all.push(peer);
        }
    }
    all
}

async fn take_path(book: &mut Book, env: &Env, round: usize, tests: &[&Test]) {
    let mut running: BTreeMap<Peer, Running> = BTreeMap::new();
    for (index, test) in tests.iter().enumerate() {
        let peers: Vec<Peer> = book
            .peers
            .iter()
            .copied()
            .filter(|peer| test.suits(*peer))
            .collect();
        for peer in rotated(&peers, round + index) {
            let kept = running.remove(&peer);
            match take_test(book, env, (round, test, peer), kept).await {
                Ok(usable) => {
                    running.insert(peer, usable);
                }
                // Started anew for the next test.
                Err(error) => {
                    progress(round, test.name, peer, &format!("{error:#}"));
                    book.note_fault(test.name, peer, 1, &format!("{error:#}"));
                }
            }
        }
    }
    for peer in running.into_values() {
        peer.stop().await;
    }
}

/// One test on one peer, started first if need be; gives it back for the next test.
async fn take_test(
    book: &mut Book,
    env: &Env,
    (round, test, peer): (usize, &Test, Peer),
    kept: Option<Running>,
) -> anyhow::Result<Running> {
    let start = Instant::now();
    let running = match kept {
        Some(running) if !test.fresh || peer == Peer::Direct => running,
        old => {
            if let Some(old) = old {
                old.stop().await;
            }
            peer.start(env).await.context("start")?
        }
    };
    let (outcome, quantities) = measure(&running, env.origin, test).await?;
    progress(
        round,
        test.name,
        peer,
        &format!(
            "{:.1} s, {} errors",
            start.elapsed().as_secs_f64(),
            outcome.errors
        ),
    );
    book.note((round, test.name, peer), &outcome, &quantities);
    Ok(running)
}

fn rotated(peers: &[Peer], by: usize) -> Vec<Peer> {
    let mut order = peers.to_vec();
    if !order.is_empty() {
        order.rotate_left(by % peers.len());
    }
    order
}

/// What is going on, for whoever waits.
fn progress(round: usize, test: &str, peer: Peer, text: &str) {
    eprintln!("round {} {test} {peer}: {text}", round + 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_is_always_compared_and_everyone_once() {
        assert_eq!(
            with_direct(vec![Peer::Ssh, Peer::Direct, Peer::Ssh]),
            [Peer::Direct, Peer::Ssh]
        );
    }

    #[test]
    fn everyone_comes_first_in_turn() {
        let peers = [Peer::Direct, Peer::Iploop, Peer::Ssh];
        assert_eq!(
            [0, 1, 2, 3].map(|by| rotated(&peers, by)[0]),
            [Peer::Direct, Peer::Iploop, Peer::Ssh, Peer::Direct]
        );
        assert!(rotated(&[], 1).is_empty());
    }
}
