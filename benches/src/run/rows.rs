//! The rows of the table, with their targets: the project's speed figures (`docs/contracts.md`).

use serde_json::json;

use super::book::Book;
use super::measure::Quantity;
use crate::peer::{Peer, RTT_MS};
use crate::statistics::Spread;

/// One line of the table.
pub(super) struct Row {
    pub(super) title: &'static str,
    pub(super) test: &'static str,
    pub(super) quantity: Quantity,
    pub(super) shown: Shown,
    pub(super) target: Option<Target>,
}

/// How a value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// As a multiple of direct's value of the same round.
    Ratio,
    /// As a multiple of direct's median of the same round. Direct's own tail is no measure: beside downloads it moves 25-fold from
    /// round to round (`docs/decisions/0011-what-repeats.md`).
    OfMedian,
    /// As it is.
    Plain,
    /// As a multiple of the path's round trip.
    RoundTrips,
}

/// The peers whose device leg is encrypted, as ours is. What depends on how much a machine's kernel, wake-ups and ciphers cost is
/// held against them and not against a number of another machine (`docs/decisions/0010-speed-against-peers.md`).
const ENCRYPTED: [Peer; 2] = [Peer::Ssh, Peer::RatholeTls];

/// Two rates that are closer than this are the same: further apart are the medians of one program in two runs.
const SAME: f64 = 0.05;

/// What ours has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    Ceiling(f64),
    Floor(f64),
    /// No more than the best of [`ENCRYPTED`], in the same rounds.
    NotAboveEncrypted,
    /// No less than the best of them, but for [`SAME`].
    NotBelowEncrypted,
    /// At most this with the device leg in clear, and with TLS.
    CeilingByLeg {
        clear: f64,
        tls: f64,
    },
}

impl Target {
    fn is_met_by(self, value: f64, peer: Peer) -> bool {
        match self {
            Target::Ceiling(bound) => value <= bound,
            Target::Floor(bound) => value >= bound,
            Target::NotAboveEncrypted => value <= 1.0,
            Target::NotBelowEncrypted => value >= 1.0 - SAME,
            Target::CeilingByLeg { clear, tls } => {
                value <= if peer == Peer::IploopClear { clear } else { tls }
            }
        }
    }
}

/// All rows in the order of the speed figures.
pub(super) fn rows() -> Vec<Row> {
    use Quantity::*;
    use Shown::*;
    let row = |title, test, quantity, shown, target| Row {
        title,
        test,
        quantity,
        shown,
        target,
    };
    let at_most = |bound| Some(Target::Ceiling(bound));
    let at_least = |bound| Some(Target::Floor(bound));
    let (not_above, not_below) = (Some(Target::NotAboveEncrypted), Some(Target::NotBelowEncrypted));
    vec![
        row(
            "64-byte request, open tunnel, p50",
            "small",
            P50,
            Ratio,
            at_most(3.5),
        ),
        row("  p99", "small", P99, OfMedian, None),
        row("new connection + 1 KiB, p50", "connect-1", P50, Ratio, not_above),
        row(
            "connections per second, 16 at once",
            "connect-16",
            ConnectionsPerSecond,
            Ratio,
            not_below,
        ),
        row(
            "connections per second, 64 at once",
            "connect-64",
            ConnectionsPerSecond,
            Ratio,
            not_below,
        ),
        row(
            "CPU s per 10,000 connections",
            "connect-16",
            CpuPer10kConnections,
            Plain,
            not_above,
        ),
        row("one download", "bulk-1-down", BytesPerSecond, Ratio, not_below),
        row("  CPU s per GiB", "bulk-1-down", CpuPerGib, Plain, not_above),
        row("one upload", "bulk-1-up", BytesPerSecond, Ratio, not_below),
        row("  CPU s per GiB", "bulk-1-up", CpuPerGib, Plain, not_above),
        row("32 downloads", "bulk-32-down", BytesPerSecond, Ratio, not_below),
        row("  CPU s per GiB", "bulk-32-down", CpuPerGib, Plain, not_above),
        row("32 uploads", "bulk-32-up", BytesPerSecond, Ratio, not_below),
        row("  CPU s per GiB", "bulk-32-up", CpuPerGib, Plain, not_above),
        row(
            "small request beside 32 downloads, p50",
            "beside",
            P50,
            Ratio,
            at_most(30.0),
        ),
        row("  p99", "beside", P99, OfMedian, at_most(150.0)),
        row("  bulk kept", "beside", BulkKept, Plain, at_least(0.9)),
        row(
            "first to last of 32 equal downloads",
            "equal",
            FirstToLast,
            Plain,
            at_least(0.9),
        ),
        row(
            "  peak memory growth, KiB",
            "equal",
            PeakGrowth,
            Plain,
            at_most(10_240.0),
        ),
        row(
            "memory per stalled download, KiB",
            "stalled-down",
            MemoryPerStream,
            Plain,
            at_most(256.0),
        ),
        row(
            "  the others' p50 against before",
            "stalled-down",
            Slowdown,
            Plain,
            at_most(1.2),
        ),
        row(
            "memory per stalled upload, KiB",
            "stalled-up",
            MemoryPerStream,
            Plain,
            at_most(256.0),
        ),
        row(
            "  the others' p50 against before",
            "stalled-up",
            Slowdown,
            Plain,
            at_most(1.2),
        ),
        row(
            "idle customer tunnel at the gateway, KiB",
            "idle",
            GatewayMemoryPerStream,
            Plain,
            at_most(8.0),
        ),
        row(
            "idle device at the hub, KiB",
            "devices",
            GatewayMemoryPerStream,
            Plain,
            Some(Target::CeilingByLeg {
                clear: 12.0,
                tls: 26.0,
            }),
        ),
        row(
            "200 devices, 20 % dead, 10 % slow: served",
            "fleet",
            Served,
            Plain,
            at_least(0.995),
        ),
        row("  new connection, p50", "fleet", P50, Plain, None),
        row("  p99", "fleet", P99, Plain, None),
        row("  p99 of the healthy fleet", "fleet", HealthyP99, Plain, None),
        row("  p99 over that", "fleet", TailSlowdown, Plain, at_most(2.0)),
        row(
            "50 ms: new connection + 1 KiB, p50",
            "delayed-connect-1",
            P50,
            Ratio,
            at_most(1.05),
        ),
        row(
            "50 ms: plain HTTP, round trips",
            "delayed-http",
            P50,
            RoundTrips,
            at_most(1.1),
        ),
        row(
            "50 ms: connections per second, 64 at once",
            "delayed-connect-64",
            ConnectionsPerSecond,
            Ratio,
            at_least(0.9),
        ),
        row(
            "50 ms: one download of 16 MiB",
            "delayed-bulk",
            BytesPerSecond,
            Ratio,
            at_least(0.55),
        ),
        row(
            "20 Mbit/s, 8 downloads: small request, p50",
            "limited",
            P50,
            Ratio,
            at_most(1.1),
        ),
        row("  bulk", "limited", BytesPerSecond, Ratio, at_least(0.97)),
    ]
}

impl Row {
    /// What the peer's cell shows. Direct's is always plain.
    pub(super) fn value(&self, book: &Book, peer: Peer) -> Option<Spread> {
        match self.shown {
            Shown::Ratio if peer != Peer::Direct => book.ratio(self.test, self.quantity, peer, Peer::Direct),
            Shown::OfMedian if peer != Peer::Direct => {
                book.ratio_to(self.test, (self.quantity, peer), (Quantity::P50, Peer::Direct))
            }
            Shown::Ratio | Shown::OfMedian | Shown::Plain => book.spread(self.test, self.quantity, peer),
            Shown::RoundTrips => {
                let rtt_us = RTT_MS as f64 * 1_000.0;
                let Spread {
                    median,
                    min,
                    max,
                    rounds,
                } = book.spread(self.test, self.quantity, peer)?;
                Some(Spread {
                    median: median / rtt_us,
                    min: min / rtt_us,
                    max: max / rtt_us,
                    rounds,
                })
            }
        }
    }

    /// Has the peer reached the target? `None` without a target or a value. An error in the test is a miss.
    pub(super) fn reached(&self, book: &Book, peer: Peer) -> Option<bool> {
        let target = self.target?;
        let is_met = match target {
            Target::NotAboveEncrypted | Target::NotBelowEncrypted => {
                let mut ratios = ENCRYPTED
                    .iter()
                    .filter_map(|other| book.ratio(self.test, self.quantity, peer, *other))
                    .peekable();
                ratios.peek()?;
                ratios.all(|ratio| target.is_met_by(ratio.median, peer))
            }
            Target::Ceiling(_) | Target::Floor(_) | Target::CeilingByLeg { .. } => {
                target.is_met_by(self.value(book, peer)?.median, peer)
            }
        };
        Some(is_met && book.fault_count(self.test, peer) == 0)
    }
}

/// The table for programs.
pub(super) fn machine_readable(book: &Book) -> Vec<serde_json::Value> {
    let mut parent = "";
    rows()
        .into_iter()
        .map(|row| {
            if !row.title.starts_with(' ') {
                parent = row.title;
            }
            let cells: serde_json::Map<String, serde_json::Value> = book
                .peers
                .iter()
                .filter_map(|peer| {
                    let cell =
                        json!({ "value": row.value(book, *peer)?, "reached": row.reached(book, *peer) });
                    Some((peer.name().to_owned(), cell))
                })
                .collect();
            let title = if row.title == parent {
                parent.to_owned()
            } else {
                format!("{parent}: {}", row.title.trim())
            };
            json!({ "title": title, "test": row.test, "quantity": row.quantity, "cells": cells })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::book::tests::book_with;
    use super::super::suite::{Effort, suite};
    use super::*;
    use crate::order::{Figures, Outcome};

    #[test]
    fn every_row_has_its_test_and_every_test_a_row() {
        let tests = suite(Effort::full());
        for row in rows() {
            assert!(tests.iter().any(|test| test.name == row.test), "{}", row.title);
        }
        for test in tests {
            assert!(rows().iter().any(|row| row.test == test.name), "{}", test.name);
        }
    }

    #[test]
    fn a_target_is_reached_by_the_median_and_missed_with_an_error() {
        let mut book = book_with(&[
            (
                0,
                "connect-16",
                Peer::Direct,
                Quantity::ConnectionsPerSecond,
                100.0,
            ),
            (
                0,
                "connect-16",
                Peer::Iploop,
                Quantity::ConnectionsPerSecond,
                45.0,
            ),
            (0, "connect-16", Peer::Iploop, Quantity::CpuPer10kConnections, 2.0),
            (0, "connect-16", Peer::Ssh, Quantity::ConnectionsPerSecond, 40.0),
            (0, "connect-16", Peer::Ssh, Quantity::CpuPer10kConnections, 3.0),
            (
                0,
                "connect-16",
                Peer::RatholeTls,
                Quantity::CpuPer10kConnections,
                1.9,
            ),
        ]);
        let rows = rows();
        let of = |quantity| {
            rows.iter()
                .find(|row| row.test == "connect-16" && row.quantity == quantity)
                .unwrap()
        };
        let (rate, cpu) = (
            of(Quantity::ConnectionsPerSecond),
            of(Quantity::CpuPer10kConnections),
        );
        assert_eq!(rate.reached(&book, Peer::Iploop), Some(true));
        assert_eq!(
            cpu.reached(&book, Peer::Iploop),
            Some(false),
            "one of the two costs less"
        );
        let outcome = Outcome {
            errors: 1,
            first_error: Some("reset".into()),
            figures: Figures::default(),
        };
        book.note(
            (1, "connect-16", Peer::Iploop),
            &outcome,
            &std::collections::BTreeMap::new(),
        );
        assert_eq!(rate.reached(&book, Peer::Iploop), Some(false));
    }

    #[test]
    fn rates_that_no_run_can_tell_apart_are_the_same() {
        for (ours, reached) in [(96.0, true), (94.0, false)] {
            let book = book_with(&[
                (0, "bulk-32-down", Peer::Iploop, Quantity::BytesPerSecond, ours),
                (0, "bulk-32-down", Peer::Ssh, Quantity::BytesPerSecond, 80.0),
                (
                    0,
                    "bulk-32-down",
                    Peer::RatholeTls,
                    Quantity::BytesPerSecond,
                    100.0,
                ),
            ]);
            let rows = rows();
            let row = rows.iter().find(|row| row.title == "32 downloads").unwrap();
            assert_eq!(row.reached(&book, Peer::Iploop), Some(reached), "{ours}");
        }
    }

    #[test]
    fn a_tail_is_held_against_the_median_of_direct() {
        let book = book_with(&[
            (0, "beside", Peer::Direct, Quantity::P50, 40.0),
            (0, "beside", Peer::Direct, Quantity::P99, 100.0),
            (0, "beside", Peer::Iploop, Quantity::P99, 4_000.0),
            (1, "beside", Peer::Direct, Quantity::P50, 50.0),
            (1, "beside", Peer::Direct, Quantity::P99, 2_500.0),
            (1, "beside", Peer::Iploop, Quantity::P99, 5_000.0),
        ]);
        let rows = rows();
        let row = rows
            .iter()
            .find(|row| row.test == "beside" && row.quantity == Quantity::P99)
            .unwrap();
        let value = row.value(&book, Peer::Iploop).unwrap();
        assert!(
            (value.min - 100.0).abs() < 1e-9 && (value.max - 100.0).abs() < 1e-9,
            "{value:?}"
        );
        assert_eq!(row.reached(&book, Peer::Iploop), Some(true));
    }
}
