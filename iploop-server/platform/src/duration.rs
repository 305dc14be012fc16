//! Durations in configuration: a number with its unit, never a bare number.
//!
//! For `#[serde(with = "iploop_platform::duration")]` on a [`Duration`] of a configuration struct.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

/// Reads `250ms`, `15s`, `5m`, `1h` or `1d`.
///
/// # Errors
/// Names the text and the way out: `"15" has no unit; write "15s" or "15m"`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(Text)
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit, such as \"15s\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(E::custom)
    }

    // A bare number, which is what `15` is in a file and in the environment.
    fn visit_i64<E: Error>(self, number: i64) -> Result<Duration, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Duration, E> {
        self.visit_str(&number.to_string())
    }
}

/// Writes the form that [`deserialize`] reads, in the largest unit that keeps it exact to the millisecond.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let millis = duration.as_millis();
    let (unit, name) = UNITS
        .iter()
        .rev()
        .find(|(unit, _)| millis != 0 && millis.is_multiple_of(*unit))
        .unwrap_or(&UNITS[0]);
    serializer.collect_str(&format_args!("{}{name}", millis / unit))
}

/// The form that [`deserialize`] reads, for a JSON schema: `#[schemars(with = "iploop_platform::duration::DurationText")]`.
#[derive(Debug)]
pub enum DurationText {}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^\\s*[0-9]+\\s*(ms|s|m|h|d)\\s*$" })
    }
}

/// Units by their length in milliseconds, shortest first.
const UNITS: [(u128, &str); 5] = [
    (1, "ms"),
    (1_000, "s"),
    (60_000, "m"),
    (3_600_000, "h"),
    (86_400_000, "d"),
];

fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| {
        format!("\"{text}\" is no duration; write a whole number with a unit, such as \"15s\"")
    })?;
    if unit.is_empty() {
        return Err(format!(
            "\"{text}\" has no unit; write \"{text}s\" or \"{text}m\""
        ));
    }
    let (millis, _) = UNITS
        .iter()
        .find(|(_, name)| *name == unit.trim())
        .ok_or_else(|| format!("\"{text}\" has an unknown unit; use ms, s, m, h or d"))?;
    u64::try_from(u128::from(number) * millis)
        .map(Duration::from_millis)
        .map_err(|_| format!("\"{text}\" is too long"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(serde::Deserialize, serde::Serialize)]
    struct Section {
        #[serde(with = "super")]
        wait: Duration,
    }

    fn read(text: &str) -> Result<Duration, String> {
        serde_json::from_value::<Section>(json!({ "wait": text }))
            .map(|section| section.wait)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_unit_is_read_and_written_back() {
        for text in ["0ms", "250ms", "15s", "5m", "36h", "1d"] {
            let wait = read(text).unwrap();
            let written = serde_json::to_value(Section { wait }).unwrap();
            assert_eq!(written["wait"], text);
        }
        assert_eq!(read(" 2 h").unwrap(), Duration::from_secs(7200));
    }

    #[test]
    fn a_mistake_says_the_way_out() {
        assert_eq!(
            read("15").unwrap_err(),
            "\"15\" has no unit; write \"15s\" or \"15m\""
        );
        for bare in [json!(15), json!(-15), json!(1.5), json!(true)] {
            let said = serde_json::from_value::<Section>(json!({ "wait": bare }))
                .err()
                .unwrap()
                .to_string();
            assert!(said.contains("\"15s\""), "{said}");
        }
        assert!(read("15 parsecs").unwrap_err().contains("use ms, s, m, h or d"));
        assert!(read("soon").unwrap_err().contains("such as \"15s\""));
        assert!(read("99999999999999999999d").is_err());
        assert!(read("999999999999999d").unwrap_err().contains("too long"));
    }
}
