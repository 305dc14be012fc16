//! What is wrong with which field of a form: collected, so that a customer mends all of it at once.

use serde::Serialize;

/// One field that can't be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldProblem {
    /// The field's name in JSON.
    pub field: &'static str,
    /// A sentence for the customer.
    pub message: String,
}

impl FieldProblem {
    /// `field` can't be accepted because of `message`.
    pub fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field,
            message: message.into(),
        }
    }
}

/// A line of text of `min` to `max` characters after trimming, without control characters.
pub(crate) fn line(
    field: &'static str,
    label: &str,
    text: &str,
    min: usize,
    max: usize,
) -> Result<String, FieldProblem> {
    let text = text.trim();
    let length = text.chars().count();
    if length == 0 && min > 0 {
        Err(FieldProblem::new(field, format!("{label} is required")))
    } else if length < min {
        Err(FieldProblem::new(
            field,
            format!("{label} must be at least {min} characters"),
        ))
    } else if length > max {
        Err(FieldProblem::new(
            field,
            format!("{label} must be at most {max} characters"),
        ))
    } else if text.chars().any(breaks_or_turns) {
        Err(FieldProblem::new(
            field,
            format!("{label} must not contain control characters"),
        ))
    } else {
        Ok(text.to_owned())
    }
}

/// Why something is done, for the record: the same rule for whoever does it.
pub(crate) fn reason(text: &str) -> Result<String, FieldProblem> {
    line("reason", "Reason", text, 3, 500)
}

/// Control characters, and those that end a line or turn its direction, so that a name reads as another one to an admin.
fn breaks_or_turns(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Problems as one line, for a log.
pub(crate) fn listed(problems: &[FieldProblem]) -> String {
    let texts: Vec<_> = problems
        .iter()
        .map(|problem| format!("{}: {}", problem.field, problem.message))
        .collect();
    texts.join("; ")
}

/// Keeps the value, or notes the problem and goes on with the other fields.
pub(crate) fn keep<T>(result: Result<T, FieldProblem>, problems: &mut Vec<FieldProblem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_trims_and_counts_characters_not_bytes() {
        assert_eq!(line("name", "Name", "  Zoë ", 3, 3).unwrap(), "Zoë");
        assert_eq!(
            line("name", "Name", " ", 1, 3).unwrap_err().message,
            "Name is required"
        );
        assert_eq!(
            line("name", "Name", "Z", 2, 3).unwrap_err().message,
            "Name must be at least 2 characters"
        );
        assert_eq!(
            line("name", "Name", "abcd", 2, 3).unwrap_err().message,
            "Name must be at most 3 characters"
        );
        for turned in ["a\r\nBcc: b", "moc.\u{202e}live", "a\u{2066}b", "a\u{2028}b"] {
            assert!(line("name", "Name", turned, 2, 30).is_err(), "{turned:?}");
        }
        assert!(line("name", "Name", "\u{5d0}\u{5d1}\u{200f} \u{627}", 2, 30).is_ok());
    }
}
