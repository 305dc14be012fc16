//! Text fields of control messages, bounded while they are read: nothing downstream has to cut or clean them.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, Error};

use super::MAX_TEXT_BYTES;

pub(super) fn one<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Text::deserialize(from).map(|Text(text)| text)
}

pub(super) fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text: Option<Text> = Option::deserialize(from)?;
    Ok(text.map(|Text(text)| text))
}

pub(super) fn many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let texts: Vec<Text> = Vec::deserialize(from)?;
    Ok(texts.into_iter().map(|Text(text)| text).collect())
}

pub(super) fn keys<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, u64>, D::Error> {
    let counts: BTreeMap<Text, u64> = BTreeMap::deserialize(from)?;
    Ok(counts
        .into_iter()
        .map(|(Text(text), count)| (text, count))
        .collect())
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        // The text itself may be a secret, and stays out of the error.
        if text.len() > MAX_TEXT_BYTES {
            return Err(D::Error::custom(format_args!(
                "a text of more than {MAX_TEXT_BYTES} bytes"
            )));
        }
        if text.chars().any(char::is_control) {
            return Err(D::Error::custom("a text with a control character"));
        }
        Ok(Self(text))
    }
}
