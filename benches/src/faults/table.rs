//! The table of `faults` on standard output.

use std::io::Write as _;

use serde_json::json;

use super::{Bound, Figure, Outcome};
use crate::columns::aligned;

/// Prints the table, and what could not be measured.
pub(super) fn print(outcomes: &[Outcome]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text(outcomes).as_bytes())?;
    Ok(stdout.flush()?)
}

fn text(outcomes: &[Outcome]) -> String {
    let mut lines = vec![
        ["fault", "figure", "target", "reached", "seen"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut errors = String::new();
    for outcome in outcomes {
        lines.push(vec![outcome.fault.title().to_owned()]);
        match &outcome.figures {
            Ok(figures) => lines.extend(figures.iter().map(line)),
            Err(error) => {
                let empty = String::new();
                lines.push(vec![
                    "  not measured".to_owned(),
                    empty.clone(),
                    empty.clone(),
                    "NO".to_owned(),
                    empty,
                ]);
                errors.push_str(&format!("error: {}: {error:#}\n", outcome.fault.name()));
            }
        }
    }
    format!("\n{}{errors}", aligned(&lines))
}

fn line(figure: &Figure) -> Vec<String> {
    let with_unit = |value: f64| format!("{}{}", number(value), figure.unit);
    vec![
        format!("  {}", figure.name),
        with_unit(figure.value),
        match figure.bound {
            Bound::AtMost(bound) => format!("≤ {}", with_unit(bound)),
            Bound::AtLeast(bound) => format!("≥ {}", with_unit(bound)),
            Bound::None => String::new(),
        },
        match figure.is_reached() {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        }
        .to_owned(),
        figure.of.clone(),
    ]
}

/// Whole numbers as they are, others with three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The table for programs.
pub(super) fn machine_readable(outcomes: &[Outcome]) -> serde_json::Value {
    let faults: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            let figures = outcome.figures.as_ref().map_or(&[][..], Vec::as_slice);
            let figures: Vec<_> = figures
                .iter()
                .map(|figure| json!({ "figure": figure, "reached": figure.is_reached() }))
                .collect();
            let error = outcome.figures.as_ref().err().map(|error| format!("{error:#}"));
            json!({
                "name": outcome.fault.name(), "title": outcome.fault.title(), "seconds": outcome.seconds,
                "figures": figures, "error": error,
            })
        })
        .collect();
    json!({ "faults": faults })
}

#[cfg(test)]
mod tests {
    use super::super::Fault;
    use super::*;

    #[test]
    fn rows_say_what_was_reached_and_what_could_not_be_measured() {
        let outcomes = [
            Outcome {
                fault: Fault::Drain,
                figures: Ok(vec![
                    Figure::none_of("refused connections", 0, 1200, "requests"),
                    Figure::new("gone", 31.25, " s", Bound::AtMost(31.0)),
                ]),
                seconds: 1.0,
            },
            Outcome {
                fault: Fault::Redis,
                figures: Err(anyhow::anyhow!("no redis-server")),
                seconds: 1.0,
            },
        ];
        let text = text(&outcomes);
        let row = |name: &str| {
            let line = text.lines().find(|line| line.contains(name)).unwrap();
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            row("refused connections")[1..],
            ["0", "≤ 0", "yes", "of 1200 requests"]
        );
        assert_eq!(row("gone")[1..], ["31.2 s", "≤ 31 s", "NO"]);
        assert_eq!(row("not measured")[1..], ["NO"]);
        assert!(text.contains("error: redis: no redis-server"), "{text}");
    }
}
