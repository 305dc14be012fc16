//! Tables as CSV (RFC 4180).

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};

/// The media type, with its header line.
pub(super) const MEDIA_TYPE: &str = "text/csv; charset=utf-8; header=present";

/// A whole table, as a file of this name.
pub(super) fn answer(name: &'static str, columns: &str, rows: impl Iterator<Item = Vec<String>>) -> Response {
    let mut text = String::from(columns);
    text.push_str("\r\n");
    for row in rows {
        put_row(&mut text, &row);
    }
    let headers = [
        (CONTENT_TYPE, MEDIA_TYPE.to_owned()),
        (
            CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}.csv\""),
        ),
    ];
    (headers, text).into_response()
}

/// A line.
pub(crate) fn put_row(text: &mut String, cells: &[String]) {
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        put_cell(text, cell);
    }
    text.push_str("\r\n");
}

/// A cell in quotes where it needs them; what a spreadsheet would take for a formula is made text.
fn put_cell(text: &mut String, cell: &str) {
    // Spreadsheets skip blanks, and some of them read the wide forms of East Asian keyboards as the narrow ones.
    let is_formula = cell.starts_with(['\t', '\r', '\n'])
        || cell
            .trim_start()
            .starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    let needs_quotes = is_formula || cell.contains(['"', ',', '\r', '\n']);
    if !needs_quotes {
        text.push_str(cell);
        return;
    }
    text.push('"');
    if is_formula {
        text.push('\'');
    }
    text.push_str(&cell.replace('"', "\"\""));
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_needed_and_formulas_are_text() {
        let written = |cell: &str| {
            let mut text = String::new();
            put_cell(&mut text, cell);
            text
        };
        assert_eq!(written("example.com:443"), "example.com:443");
        assert_eq!(written("S\u{e3}o \"Paulo\", x"), "\"S\u{e3}o \"\"Paulo\"\", x\"");
        for formula in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\tx",
            "\r=1",
            " =1+1",
            "\u{a0}=1",
            "\u{ff1d}1+1",
            "\u{ff20}SUM(A1)",
        ] {
            assert_eq!(written(formula), format!("\"'{formula}\""));
        }
    }
}
