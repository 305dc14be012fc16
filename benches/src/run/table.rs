//! The table on standard output.

use std::io::Write;

use super::book::Book;
use super::measure::Quantity;
use super::rows::{Row, Shown, Target, rows};
use crate::columns::aligned;
use crate::peer::Peer;
use crate::statistics::Spread;

/// Prints legend, table, errors and peers left out.
pub(super) fn print(book: &Book) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text(book).as_bytes())?;
    Ok(stdout.flush()?)
}

fn text(book: &Book) -> String {
    let mut text = format!(
        "\n{} rounds{}, {} cores ({}), Linux {}, loopback.\n\
         Medians (lowest to highest round); × is the ratio to direct of the same round.\n\n",
        book.rounds,
        if book.quick { ", quick: rough figures" } else { "" },
        book.machine.cores,
        book.machine.processor,
        book.machine.kernel,
    );
    text.push_str(&aligned(&lines(book)));
    text.push('\n');
    for peer in &book.peers {
        text.push_str(&format!("{:<14} {}\n", peer, peer.description()));
    }
    for (peer, reason) in &book.left_out {
        text.push_str(&format!("{peer:<14} left out: {reason}\n"));
    }
    for (test, peer, fault) in book.faults() {
        text.push_str(&format!(
            "errors: {test} on {peer}: {}, first: {}\n",
            fault.count, fault.first
        ));
    }
    text
}

fn lines(book: &Book) -> Vec<Vec<String>> {
    let ours: Vec<Peer> = book.peers.iter().copied().filter(|peer| peer.is_ours()).collect();
    let mut head = vec!["test".to_owned()];
    head.extend(book.peers.iter().map(|peer| peer.name().to_owned()));
    head.extend(["target".to_owned(), "reached".to_owned()]);
    let mut lines = vec![head];
    for row in rows().iter().filter(|row| book.has(row.test)) {
        let mut line = vec![row.title.to_owned()];
        for peer in &book.peers {
            line.push(
                row.value(book, *peer)
                    .map_or_else(|| "–".to_owned(), |spread| cell(row, *peer, spread)),
            );
        }
        line.push(
            row.target
                .map_or_else(String::new, |target| target_text(row, target)),
        );
        let marks: Vec<&str> = ours
            .iter()
            .map(|peer| match row.reached(book, *peer) {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "",
            })
            .collect();
        line.push(marks.join("/"));
        lines.push(line);
    }
    lines
}

fn cell(
    row: &Row,
    peer: Peer,
    Spread {
        median,
        min,
        max,
        rounds,
    }: Spread,
) -> String {
    let is_ratio = is_ratio(row) && peer != Peer::Direct;
    let show = |value: f64| {
        if is_ratio {
            number(value)
        } else {
            plain(row, value)
        }
    };
    let unit = if is_ratio { "×" } else { unit(row) };
    if rounds == 1 {
        return format!("{}{unit}", show(median));
    }
    format!("{}{unit} ({}–{})", show(median), show(min), show(max))
}

fn is_ratio(row: &Row) -> bool {
    matches!(row.shown, Shown::Ratio | Shown::OfMedian)
}

fn target_text(row: &Row, target: Target) -> String {
    let unit = if is_ratio(row) { "×" } else { unit(row) };
    match target {
        Target::Ceiling(bound) => format!("≤ {}{unit}", number(bound)),
        Target::Floor(bound) => format!("≥ {}{unit}", number(bound)),
        Target::CeilingByLeg { clear, tls } => format!("≤ {clear} ws, {tls} wss"),
        Target::NotAboveEncrypted => "≤ encrypted peers".to_owned(),
        Target::NotBelowEncrypted => "≥ encrypted peers".to_owned(),
    }
}

/// The plain value in the unit of [`unit`].
fn plain(row: &Row, value: f64) -> String {
    match row.quantity {
        Quantity::BytesPerSecond => number(value / 1e6),
        Quantity::P50
        | Quantity::P99
        | Quantity::HealthyP99
        | Quantity::Slowdown
        | Quantity::TailSlowdown => number(value),
        Quantity::ConnectionsPerSecond
        | Quantity::CpuPer10kConnections
        | Quantity::CpuPerGib
        | Quantity::BulkKept
        | Quantity::Served
        | Quantity::FirstToLast
        | Quantity::MemoryPerStream
        | Quantity::GatewayMemoryPerStream
        | Quantity::PeakGrowth => number(value),
    }
}

fn unit(row: &Row) -> &'static str {
    match (row.shown, row.quantity) {
        (Shown::RoundTrips, _) | (_, Quantity::Slowdown | Quantity::TailSlowdown) => "",
        (_, Quantity::P50 | Quantity::P99 | Quantity::HealthyP99) => " µs",
        (_, Quantity::BytesPerSecond) => " MB/s",
        (_, Quantity::ConnectionsPerSecond) => "/s",
        _ => "",
    }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::book::tests::book_with;
    use super::*;

    #[test]
    fn table_shows_ratios_targets_and_marks() {
        let book = book_with(&[
            (0, "small", Peer::Direct, Quantity::P50, 30.0),
            (0, "small", Peer::Iploop, Quantity::P50, 90.0),
            (0, "small", Peer::Ssh, Quantity::P50, 210.0),
            (1, "small", Peer::Direct, Quantity::P50, 32.0),
            (1, "small", Peer::Iploop, Quantity::P50, 64.0),
        ]);
        let text = text(&book);
        let line = text
            .lines()
            .find(|line| line.starts_with("64-byte request"))
            .unwrap();
        let cells: Vec<&str> = line
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect();
        assert_eq!(
            cells,
            [
                "64-byte request, open tunnel, p50",
                "31.0 µs (30.0–32.0)",
                "2.50× (2.00–3.00)",
                "7.00×",
                "≤ 3.50×",
                "yes"
            ]
        );
        assert!(!text.contains("one download"), "tests not taken have no row");
    }

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(
            [0.0, 0.386, 9.996, 99.96, 1_234.5].map(number),
            ["0.00", "0.39", "10.0", "100", "1234"]
        );
    }
}
