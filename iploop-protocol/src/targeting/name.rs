//! Names of places and providers, folded so that every usual way of writing one is equal.

use std::fmt;

use serde::{Serialize, Serializer};

use super::error::ValueFault;

/// The name of a region, a city or a provider in the form that is compared.
///
/// Lower case, words apart by single spaces, Latin letters without their marks, apostrophes and full stops gone:
/// `São Paulo`, `sao-paulo`, `SAO_PAULO` and `s%C3%A3o+paulo` are one name, `St. John's` is `st johns`. Fold the names of
/// a GeoIP database with [`FoldedName::new`] and compare for equality.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FoldedName(Box<str>);

impl FoldedName {
    /// Longest folded name, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Folds a name.
    ///
    /// # Errors
    ///
    /// [`ValueFault::ControlCharacter`], [`ValueFault::TooLong`] after folding, [`ValueFault::Malformed`] when no
    /// letter or digit is left.
    pub fn new(name: &str) -> Result<Self, ValueFault> {
        let mut folded = String::with_capacity(name.len().min(Self::MAX_BYTES));
        let mut word_ended = false;
        for character in name.chars() {
            if character.is_control() {
                return Err(ValueFault::ControlCharacter);
            } else if is_dropped(character) {
                continue;
            } else if character.is_alphanumeric() {
                if std::mem::take(&mut word_ended) && !folded.is_empty() {
                    folded.push(' ');
                }
                push_folded(&mut folded, character);
                if folded.len() > Self::MAX_BYTES {
                    return Err(ValueFault::TooLong);
                }
            } else {
                word_ended = true;
            }
        }
        if folded.is_empty() {
            Err(ValueFault::Malformed)
        } else {
            Ok(Self(folded.into()))
        }
    }

    /// Folds a name as the grammar carries it: `%XX` first stands for a byte of UTF-8.
    ///
    /// # Errors
    ///
    /// Those of [`Self::new`], and [`ValueFault::Encoding`] for a `%` without two hex digits or for bytes that are not UTF-8.
    pub fn decode(text: &str) -> Result<Self, ValueFault> {
        if text.contains('%') {
            Self::new(&percent_decoded(text)?)
        } else {
            Self::new(text)
        }
    }

    /// The folded name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Prints the name as the grammar takes it, with `_` for spaces: no word of it can be taken for a parameter, not even for
/// one that we invent later.
impl fmt::Display for FoldedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.split(' ').enumerate().try_for_each(|(place, word)| {
            f.write_str(if place > 0 { "_" } else { "" })?;
            f.write_str(word)
        })
    }
}

impl fmt::Debug for FoldedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for FoldedName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Apostrophes and full stops, which people leave out, and the combining marks of decomposed text.
fn is_dropped(character: char) -> bool {
    matches!(
        character,
        '\'' | '’' | '‘' | 'ʼ' | '`' | '.' | '\u{300}'..='\u{36f}'
    )
}

fn push_folded(folded: &mut String, character: char) {
    if character.is_ascii() {
        folded.push(character.to_ascii_lowercase());
        return;
    }
    for lower in character.to_lowercase().filter(|lower| !is_dropped(*lower)) {
        match unmarked(lower) {
            Some(plain) => folded.push_str(plain),
            None => folded.push(lower),
        }
    }
}

fn percent_decoded(text: &str) -> Result<String, ValueFault> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => match (rest.next().and_then(hex_digit), rest.next().and_then(hex_digit)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(ValueFault::Encoding),
            },
            _ => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| ValueFault::Encoding)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The ASCII spelling of a lower-case Latin letter with a mark: Latin-1 to Latin Extended-B, and Latin Extended Additional.
#[rustfmt::skip]
fn unmarked(letter: char) -> Option<&'static str> {
    Some(match letter {
        'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ā' | 'ă' | 'ą' | 'ǎ' | 'ǟ' | 'ǡ' | 'ǻ' | 'ȁ' | 'ȃ' | 'ȧ' | 'ḁ' | 'ạ' | 'ả' | 'ấ' | 'ầ' | 'ẩ' | 'ẫ' | 'ậ' | 'ắ' | 'ằ' | 'ẳ' | 'ẵ' | 'ặ' => "a",
        'æ' => "ae",
        'ḃ' | 'ḅ' | 'ḇ' => "b",
        'ç' | 'ć' | 'ĉ' | 'ċ' | 'č' | 'ḉ' => "c",
        'ð' | 'ď' | 'đ' | 'ḋ' | 'ḍ' | 'ḏ' | 'ḑ' | 'ḓ' => "d",
        'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ĕ' | 'ė' | 'ę' | 'ě' | 'ȅ' | 'ȇ' | 'ȩ' | 'ḕ' | 'ḗ' | 'ḙ' | 'ḛ' | 'ḝ' | 'ẹ' | 'ẻ' | 'ẽ' | 'ế' | 'ề' | 'ể' | 'ễ' | 'ệ' => "e",
        'ḟ' => "f",
        'ĝ' | 'ğ' | 'ġ' | 'ģ' | 'ǧ' | 'ǵ' | 'ḡ' => "g",
        'ĥ' | 'ħ' | 'ȟ' | 'ḣ' | 'ḥ' | 'ḧ' | 'ḩ' | 'ḫ' | 'ẖ' => "h",
        'ì' | 'í' | 'î' | 'ï' | 'ĩ' | 'ī' | 'ĭ' | 'į' | 'ı' | 'ǐ' | 'ȉ' | 'ȋ' | 'ḭ' | 'ḯ' | 'ỉ' | 'ị' => "i",
        'ĵ' | 'ǰ' => "j",
        'ķ' | 'ǩ' | 'ḱ' | 'ḳ' | 'ḵ' => "k",
        'ĺ' | 'ļ' | 'ľ' | 'ł' | 'ḷ' | 'ḹ' | 'ḻ' | 'ḽ' => "l",
        'ḿ' | 'ṁ' | 'ṃ' => "m",
        'ñ' | 'ń' | 'ņ' | 'ň' | 'ŋ' | 'ǹ' | 'ṅ' | 'ṇ' | 'ṉ' | 'ṋ' => "n",
        'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' | 'ō' | 'ŏ' | 'ő' | 'ơ' | 'ǒ' | 'ǫ' | 'ǭ' | 'ȍ' | 'ȏ' | 'ȫ' | 'ȭ' | 'ȯ' | 'ȱ' | 'ṍ' | 'ṏ' | 'ṑ' | 'ṓ' | 'ọ' | 'ỏ' | 'ố' | 'ồ' | 'ổ' | 'ỗ' | 'ộ' | 'ớ' | 'ờ' | 'ở' | 'ỡ' | 'ợ' => "o",
        'œ' => "oe",
        'ṕ' | 'ṗ' => "p",
        'ŕ' | 'ŗ' | 'ř' | 'ȑ' | 'ȓ' | 'ṙ' | 'ṛ' | 'ṝ' | 'ṟ' => "r",
        'ś' | 'ŝ' | 'ş' | 'š' | 'ș' | 'ṡ' | 'ṣ' | 'ṥ' | 'ṧ' | 'ṩ' => "s",
        'ß' => "ss",
        'ţ' | 'ť' | 'ŧ' | 'ț' | 'ṫ' | 'ṭ' | 'ṯ' | 'ṱ' | 'ẗ' => "t",
        'þ' => "th",
        'ù' | 'ú' | 'û' | 'ü' | 'ũ' | 'ū' | 'ŭ' | 'ů' | 'ű' | 'ų' | 'ư' | 'ǔ' | 'ǖ' | 'ǘ' | 'ǚ' | 'ǜ' | 'ȕ' | 'ȗ' | 'ṳ' | 'ṵ' | 'ṷ' | 'ṹ' | 'ṻ' | 'ụ' | 'ủ' | 'ứ' | 'ừ' | 'ử' | 'ữ' | 'ự' => "u",
        'ṽ' | 'ṿ' => "v",
        'ŵ' | 'ẁ' | 'ẃ' | 'ẅ' | 'ẇ' | 'ẉ' | 'ẘ' => "w",
        'ẋ' | 'ẍ' => "x",
        'ý' | 'ÿ' | 'ŷ' | 'ȳ' | 'ẏ' | 'ẙ' | 'ỳ' | 'ỵ' | 'ỷ' | 'ỹ' => "y",
        'ź' | 'ż' | 'ž' | 'ẑ' | 'ẓ' | 'ẕ' => "z",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_way_of_writing_a_name_is_the_same_name() {
        for (folded, written) in [
            (
                "new york",
                &[
                    "new-york",
                    "new_york",
                    "New+York",
                    "NEW YORK",
                    "new%20york",
                    "new%2Dyork",
                    " new  york_",
                ][..],
            ),
            (
                "sao paulo",
                &[
                    "São Paulo",
                    "sao-paulo",
                    "s%C3%A3o_paulo",
                    "Sa\u{303}o Paulo",
                    "SÃO+PAULO",
                ],
            ),
            ("st johns", &["St. John's", "st-johns", "St John’s"]),
            ("dusseldorf", &["Düsseldorf", "dusseldorf"]),
            ("lodz", &["Łódź", "lodz"]),
            ("istanbul", &["İstanbul", "istanbul"]),
            ("ho chi minh city", &["Hồ Chí Minh City", "ho_chi_minh_city"]),
            ("weissenfels", &["Weißenfels", "WEIẞENFELS"]),
            ("москва", &["Москва", "МОСКВА"]),
            ("東京", &["東京", "%E6%9D%B1%E4%BA%AC"]),
            ("at t", &["AT&T", "at%26t"]),
        ] {
            for written in written {
                assert_eq!(FoldedName::decode(written).unwrap().as_str(), folded, "{written}");
            }
        }
    }

    #[test]
    fn a_name_must_be_one() {
        for (written, fault) in [
            ("", ValueFault::Malformed),
            ("_-+", ValueFault::Malformed),
            ("...", ValueFault::Malformed),
            ("new%2york", ValueFault::Encoding),
            ("new%", ValueFault::Encoding),
            ("%FF", ValueFault::Encoding),
            ("new\nyork", ValueFault::ControlCharacter),
            ("new%0Ayork", ValueFault::ControlCharacter),
            ("nul%00", ValueFault::ControlCharacter),
            (&"x".repeat(65), ValueFault::TooLong),
        ] {
            assert_eq!(FoldedName::decode(written), Err(fault), "{written}");
        }
        assert!(FoldedName::new(&"x".repeat(64)).is_ok());
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing_and_never_panics(text in any::<String>()) {
            if let Ok(name) = FoldedName::new(&text) {
                prop_assert_eq!(&FoldedName::new(name.as_str()).unwrap(), &name);
                prop_assert_eq!(&FoldedName::decode(&name.to_string()).unwrap(), &name);
                prop_assert!(!name.to_string().contains(['-', ' ']));
            }
            let _ = FoldedName::decode(&text);
        }
    }
}
