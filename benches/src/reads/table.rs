//! The table of `reads` on standard output.

use std::io::Write as _;

use super::{ReadsOptions, Row, Target};
use crate::columns::aligned;
use crate::statistics::Spread;

/// Prints the table, and the errors.
pub(super) fn print(options: &ReadsOptions, rows: &[Row]) -> anyhow::Result<()> {
    let mut text = format!(
        "\n{} rounds of {} s; the server on core {}, {} connections from core {}; {} accounts with {} requests each and one more every 2 s, {} devices.\n\
         Medians (lowest to highest round); CPU is the server's, for one request.\n\n",
        options.rounds,
        options.seconds,
        options.server_core,
        options.at_once,
        options.load_core,
        options.accounts,
        options.requests,
        options.devices,
    );
    text.push_str(&aligned(&lines(rows)));
    for row in rows {
        let alone = row.spread(|figures| figures.hashes_per_second.unwrap_or_default());
        if let (Some(shares), Some(alone)) = (row.shares(), alone) {
            text.push_str(&format!(
                "\n{}: {} of what argon2id alone gave on the server's core in the same rounds, {} a second\n",
                row.name,
                cell(Some(shares), |value| format!("{value:.3}")),
                cell(Some(alone), |value| format!("{value:.1}")),
            ));
        }
    }
    for row in rows.iter().filter(|row| row.errors > 0) {
        let first = row.first_error.as_deref().unwrap_or("unknown");
        text.push_str(&format!("errors: {}: {}, first: {first}\n", row.name, row.errors));
    }
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

fn lines(rows: &[Row]) -> Vec<Vec<String>> {
    let head = [
        "API read", "a second", "p50 ms", "p99 ms", "CPU µs", "target", "reached",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let (digits, target) = match row.target {
            Target::PerSecond(target) => (0, format!("≥ {target:.0}")),
            Target::OfHashing(target) => (1, format!("≥ {target} × argon2id")),
        };
        let rate = |value: f64| format!("{value:.digits$}");
        lines.push(vec![
            row.name.to_owned(),
            cell(row.spread(|figures| figures.per_second), rate),
            cell(row.spread(|figures| figures.p50_us), millis),
            cell(row.spread(|figures| figures.p99_us), millis),
            cell(row.spread(|figures| figures.cpu_us), |value| {
                format!("{value:.0}")
            }),
            target,
            if row.is_reached() { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    lines
}

fn millis(micros: f64) -> String {
    format!("{:.2}", micros / 1_000.0)
}

fn cell(spread: Option<Spread>, show: impl Fn(f64) -> String) -> String {
    match spread {
        None => "–".to_owned(),
        Some(Spread {
            median, rounds: 1, ..
        }) => show(median),
        Some(Spread { median, min, max, .. }) => format!("{} ({}–{})", show(median), show(min), show(max)),
    }
}
