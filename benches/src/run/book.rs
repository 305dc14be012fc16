//! Every value of every round, and what is read from them: medians, spreads, ratios.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::measure::Quantity;
use crate::order::Outcome;
use crate::peer::Peer;
use crate::statistics::Spread;

/// The results of one run.
pub(super) struct Book {
    pub(super) machine: Machine,
    pub(super) rounds: usize,
    pub(super) quick: bool,
    /// In the order of the table's columns.
    pub(super) peers: Vec<Peer>,
    /// Peers that were asked for and could not run, with the reason.
    pub(super) left_out: BTreeMap<&'static str, String>,
    values: Vec<Value>,
    faults: BTreeMap<(&'static str, Peer), Fault>,
    taken: BTreeSet<&'static str>,
}

/// Where the run took place.
pub(super) struct Machine {
    pub(super) cores: usize,
    pub(super) processor: String,
    pub(super) kernel: String,
}

/// Errors of one test on one peer over all rounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Fault {
    pub(super) count: u64,
    pub(super) first: String,
}

#[derive(Clone, Copy, Debug)]
struct Value {
    round: usize,
    test: &'static str,
    peer: Peer,
    quantity: Quantity,
    value: f64,
}

impl Machine {
    /// This one.
    pub(super) fn here() -> Machine {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| {
                line.strip_prefix("model name")?
                    .split_once(':')
                    .map(|(_, name)| name.trim().to_owned())
            })
            .unwrap_or_else(|| "unknown processor".to_owned());
        Machine {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

impl Book {
    pub(super) fn new(machine: Machine, rounds: usize, quick: bool, peers: Vec<Peer>) -> Book {
        Book {
            machine,
            rounds,
            quick,
            peers,
            left_out: BTreeMap::new(),
            values: Vec::new(),
            faults: BTreeMap::new(),
            taken: BTreeSet::new(),
        }
    }

    /// Takes a peer out of the run.
    pub(super) fn leave_out(&mut self, peer: Peer, reason: String) {
        self.peers.retain(|other| *other != peer);
        self.left_out.insert(peer.name(), reason);
    }

    /// Notes what one test gave on one peer.
    pub(super) fn note(
        &mut self,
        (round, test, peer): (usize, &'static str, Peer),
        outcome: &Outcome,
        quantities: &BTreeMap<Quantity, f64>,
    ) {
        self.taken.insert(test);
        self.values
            .extend(quantities.iter().map(|(quantity, value)| Value {
                round,
                test,
                peer,
                quantity: *quantity,
                value: *value,
            }));
        if outcome.errors > 0 {
            self.note_fault(
                test,
                peer,
                outcome.errors,
                outcome.first_error.as_deref().unwrap_or("unknown"),
            );
        }
    }

    /// Notes errors of one test on one peer.
    pub(super) fn note_fault(&mut self, test: &'static str, peer: Peer, count: u64, text: &str) {
        let fault = self.faults.entry((test, peer)).or_default();
        if fault.first.is_empty() {
            fault.first = text.to_owned();
        }
        fault.count += count;
    }

    pub(super) fn faults(&self) -> impl Iterator<Item = (&'static str, Peer, &Fault)> {
        self.faults
            .iter()
            .map(|((test, peer), fault)| (*test, *peer, fault))
    }

    /// Errors of one test on one peer.
    pub(super) fn fault_count(&self, test: &str, peer: Peer) -> u64 {
        self.faults()
            .filter(|(of, at, _)| *of == test && *at == peer)
            .map(|(_, _, fault)| fault.count)
            .sum()
    }

    /// Was this test taken at all?
    pub(super) fn has(&self, test: &str) -> bool {
        self.taken.contains(test)
    }

    /// A quantity over the rounds.
    pub(super) fn spread(&self, test: &str, quantity: Quantity, peer: Peer) -> Option<Spread> {
        Spread::of(
            &self
                .by_round(test, quantity, peer)
                .into_values()
                .collect::<Vec<_>>(),
        )
    }

    /// A quantity divided by that of `base` in the same round, over the rounds.
    pub(super) fn ratio(&self, test: &str, quantity: Quantity, peer: Peer, base: Peer) -> Option<Spread> {
        self.ratio_to(test, (quantity, peer), (quantity, base))
    }

    /// A quantity divided by another one of the same round, over the rounds.
    pub(super) fn ratio_to(
        &self,
        test: &str,
        (quantity, peer): (Quantity, Peer),
        (base_quantity, base): (Quantity, Peer),
    ) -> Option<Spread> {
        let bases = self.by_round(test, base_quantity, base);
        let ratios: Vec<f64> = self
            .by_round(test, quantity, peer)
            .into_iter()
            .filter_map(|(round, value)| {
                bases
                    .get(&round)
                    .filter(|base| **base > 0.0)
                    .map(|base| value / base)
            })
            .collect();
        Spread::of(&ratios)
    }

    /// Everything, for programs.
    pub(super) fn machine_readable(&self) -> serde_json::Value {
        let values: Vec<_> = self
            .values
            .iter()
            .map(|value| {
                json!({
                    "round": value.round,
                    "test": value.test,
                    "peer": value.peer.name(),
                    "quantity": value.quantity,
                    "value": value.value,
                })
            })
            .collect();
        let errors: Vec<_> = self
            .faults()
            .map(|(test, peer, fault)| {
                json!({ "test": test, "peer": peer.name(), "count": fault.count, "first": fault.first })
            })
            .collect();
        json!({
            "machine": { "cores": self.machine.cores, "processor": self.machine.processor, "kernel": self.machine.kernel },
            "rounds": self.rounds,
            "quick": self.quick,
            "peers": self.peers.iter().map(|peer| peer.name()).collect::<Vec<_>>(),
            "left_out": self.left_out,
            "rows": super::rows::machine_readable(self),
            "values": values,
            "errors": errors,
        })
    }

    fn by_round(&self, test: &str, quantity: Quantity, peer: Peer) -> BTreeMap<usize, f64> {
        self.values
            .iter()
            .filter(|value| value.test == test && value.quantity == quantity && value.peer == peer)
            .map(|value| (value.round, value.value))
            .collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::order::Figures;

    pub(crate) fn book_with(values: &[(usize, &'static str, Peer, Quantity, f64)]) -> Book {
        let machine = Machine {
            cores: 2,
            processor: "test".into(),
            kernel: "6".into(),
        };
        let mut book = Book::new(machine, 3, true, vec![Peer::Direct, Peer::Iploop, Peer::Ssh]);
        for (round, test, peer, quantity, value) in values {
            let outcome = Outcome {
                errors: 0,
                first_error: None,
                figures: Figures::default(),
            };
            book.note(
                (*round, test, *peer),
                &outcome,
                &BTreeMap::from([(*quantity, *value)]),
            );
        }
        book
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let book = book_with(&[
            (0, "small", Peer::Direct, Quantity::P50, 10.0),
            (0, "small", Peer::Ssh, Quantity::P50, 30.0),
            (1, "small", Peer::Direct, Quantity::P50, 20.0),
            (1, "small", Peer::Ssh, Quantity::P50, 100.0),
            (2, "small", Peer::Ssh, Quantity::P50, 999.0),
        ]);
        let ratio = book
            .ratio("small", Quantity::P50, Peer::Ssh, Peer::Direct)
            .unwrap();
        assert_eq!(
            ratio,
            Spread {
                median: 4.0,
                min: 3.0,
                max: 5.0,
                rounds: 2
            }
        );
        assert_eq!(
            book.ratio("small", Quantity::P50, Peer::Iploop, Peer::Direct),
            None
        );
    }
}
