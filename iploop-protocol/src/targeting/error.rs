//! What can be wrong with credentials and targeting, in words for the customer.
//!
//! Nothing here repeats a key: what the customer wrote is quoted through [`Excerpt`] only.

use std::fmt::{self, Write as _};

use super::MAX_FIELD_BYTES;
use super::country;
use super::parameter::Parameter;

/// A targeting text that says nothing we can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetingError {
    /// No parameter has this name.
    #[error("there is no parameter `{name}`")]
    Unknown {
        /// What stands where a name was expected.
        name: Excerpt,
        /// The parameter that was probably meant.
        nearest: Option<Parameter>,
    },
    /// The parameter is repeated in one field, or says different things in the two.
    #[error(
        "`{parameter}` is given twice{}",
        if *.in_both_fields { ", and user name and password say different things" } else { "" }
    )]
    Duplicate {
        /// The parameter.
        parameter: Parameter,
        /// Whether the two are in different fields.
        in_both_fields: bool,
    },
    /// Two parameters can't both hold.
    #[error("{}", .why.told(*.parameter, *.with))]
    Conflict {
        /// The parameter to look at first.
        parameter: Parameter,
        /// The one that it contradicts.
        with: Parameter,
        /// What the contradiction is.
        why: Contradiction,
    },
    /// The value of a parameter is not one.
    #[error("`{parameter}` {fault}{}", if .given.is_empty() { String::new() } else { format!(": `{}`", .given) })]
    Value {
        /// The parameter.
        parameter: Parameter,
        /// What was given.
        given: Excerpt,
        /// What is wrong with it.
        fault: ValueFault,
    },
    /// The text is longer than [`MAX_FIELD_BYTES`].
    #[error("the parameters are longer than {MAX_FIELD_BYTES} bytes")]
    TooLong,
}

impl TargetingError {
    /// The code of the answer: `unknown_parameter`, `duplicate_parameter`, `conflicting_parameters`,
    /// `invalid_country` or `invalid_value`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown_parameter",
            Self::Duplicate { .. } => "duplicate_parameter",
            Self::Conflict { .. } => "conflicting_parameters",
            Self::Value {
                fault: ValueFault::Missing,
                ..
            }
            | Self::TooLong => "invalid_value",
            Self::Value {
                parameter: Parameter::Country | Parameter::Exclude,
                ..
            } => "invalid_country",
            Self::Value { .. } => "invalid_value",
        }
    }

    /// The parameter at fault; for an unknown one, what was written. `None` when the text as a whole is at fault.
    pub fn parameter(&self) -> Option<&str> {
        match self {
            Self::Unknown { name, .. } => Some(name.as_str()),
            Self::Duplicate { parameter, .. }
            | Self::Conflict { parameter, .. }
            | Self::Value { parameter, .. } => Some(parameter.as_str()),
            Self::TooLong => None,
        }
    }

    /// How to put it right, one sentence.
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown { name, .. } if name.is_empty() => STRAY_DASH.to_owned(),
            Self::Unknown {
                nearest: Some(nearest),
                ..
            } => {
                format!("did you mean `{nearest}`? It takes {}", nearest.takes())
            }
            Self::Unknown { nearest: None, .. } => {
                let names: Vec<_> = Parameter::ALL
                    .iter()
                    .map(|parameter| parameter.as_str())
                    .collect();
                format!("the parameters are {}", names.join(", "))
            }
            Self::Duplicate {
                parameter,
                in_both_fields: true,
            } => {
                format!("write `{parameter}` in one field, or the same value in both")
            }
            Self::Duplicate {
                parameter,
                in_both_fields: false,
            } => {
                format!("write `{parameter}` once; {}", inside_a_name(*parameter))
            }
            Self::Conflict { parameter, with, why } => why.hint(*parameter, *with),
            Self::Value {
                parameter,
                fault: ValueFault::Missing,
                ..
            } => {
                format!("it takes {}; {}", parameter.takes(), inside_a_name(*parameter))
            }
            Self::Value {
                fault: ValueFault::StrayDash,
                ..
            } => STRAY_DASH.to_owned(),
            Self::Value {
                parameter,
                given,
                fault: ValueFault::NotACountry,
            } => {
                let codes = given.as_str();
                match codes.split(['+', ' ']).find_map(country::meant) {
                    Some(code) => format!("did you mean {code}? The codes are those of ISO 3166-1 alpha-2"),
                    None if codes.contains('-') => format!("join several countries by +: {parameter}-US+CA"),
                    None => format!("it takes {}", parameter.takes()),
                }
            }
            Self::Value { parameter, .. } => format!("it takes {}", parameter.takes()),
            Self::TooLong => {
                format!("leave out what is not needed, so that {MAX_FIELD_BYTES} bytes are enough")
            }
        }
    }

    pub(super) fn value(parameter: Parameter, given: &str, fault: ValueFault) -> Self {
        Self::Value {
            parameter,
            given: Excerpt::of(given),
            fault,
        }
    }

    pub(super) fn unknown(name: &str) -> Self {
        Self::Unknown {
            name: Excerpt::of(name),
            nearest: Parameter::nearest(name),
        }
    }
}

/// What is wrong with one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ValueFault {
    /// Nothing was given.
    #[error("has no value")]
    Missing,
    /// A `-` stands at the edge of the value or beside another.
    #[error("has a stray `-` in its value")]
    StrayDash,
    /// Not one of the values that the parameter knows.
    #[error("does not know this value")]
    NotInList,
    /// Not a code of ISO 3166-1 alpha-2.
    #[error("is not a list of country codes")]
    NotACountry,
    /// Characters or shape that the value can't have.
    #[error("has a malformed value")]
    Malformed,
    /// Longer than the parameter allows.
    #[error("has a value that is too long")]
    TooLong,
    /// A number below or above the limits.
    #[error("has a value out of range")]
    OutOfRange,
    /// A `%` that is not `%XX`, or bytes that are not UTF-8.
    #[error("has a value with broken percent-encoding")]
    Encoding,
    /// A line break or another control character.
    #[error("has a control character in its value")]
    ControlCharacter,
    /// A word behind a `-` is itself a parameter name, so that the text would be read differently.
    #[error("has a parameter name inside its value")]
    ParameterInside,
}

/// Why two parameters can't both hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Contradiction {
    /// One asks for a new exit each time, the other for the same exit.
    MovesAndStays,
    /// A parameter of sticky sessions without such a session.
    NoSession,
    /// The pause that ends the session is longer than the session.
    IdleBeyondLifetime,
    /// Every country that is asked for is excluded too.
    NoCountryLeft,
}

impl Contradiction {
    fn told(self, parameter: Parameter, with: Parameter) -> String {
        match self {
            Self::MovesAndStays => {
                format!("`{parameter}` asks for a new exit each time, `{with}` for the same exit")
            }
            Self::NoSession => format!("`{parameter}` belongs to a sticky session, and none is asked for"),
            Self::IdleBeyondLifetime => {
                format!(
                    "`{parameter}` is longer than `{with}` (10 minutes unless given), so it would never matter"
                )
            }
            Self::NoCountryLeft => format!("`{parameter}` leaves no country of `{with}`"),
        }
    }

    fn hint(self, parameter: Parameter, with: Parameter) -> String {
        match self {
            Self::MovesAndStays => format!("leave out one of `{parameter}` and `{with}`"),
            Self::NoSession => format!("add session-ID or sesstype-sticky, or leave out `{parameter}`"),
            Self::IdleBeyondLifetime => format!("give a `{with}` of at least the same length"),
            Self::NoCountryLeft => format!("leave out `{parameter}`, or name other countries"),
        }
    }
}

/// Credentials that open no door.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// There is neither a key nor anything in its place: ask for credentials (407).
    #[error("no API key was sent")]
    Missing,
    /// What was sent can't be a login (407).
    #[error("{0}")]
    Invalid(CredentialsFault),
    /// The key has the right form, the parameters beside it are wrong (400).
    #[error(transparent)]
    Targeting(#[from] TargetingError),
}

impl CredentialsError {
    /// The code of the answer: `credentials_missing`, `credentials_invalid`, or that of the [`TargetingError`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "credentials_missing",
            Self::Invalid(_) => "credentials_invalid",
            Self::Targeting(error) => error.code(),
        }
    }

    /// The parameter at fault, if it is one.
    pub fn parameter(&self) -> Option<&str> {
        match self {
            Self::Missing | Self::Invalid(_) => None,
            Self::Targeting(error) => error.parameter(),
        }
    }

    /// How to put it right, one sentence.
    pub fn hint(&self) -> String {
        match self {
            Self::Missing => LOGIN.to_owned(),
            Self::Invalid(fault) => fault.hint().to_owned(),
            Self::Targeting(error) => error.hint(),
        }
    }
}

/// What is wrong with user name and password themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsFault {
    /// Something was sent, but nothing that begins like a key.
    #[error("neither password nor user name begins with an API key")]
    NoKey,
    /// Begins like a key and is none.
    #[error("the API key is malformed")]
    MalformedKey,
    /// A key of a partner, which connects devices and is no login for the proxy.
    #[error("this is a partner key, not an API key")]
    PartnerKey,
    /// User name and password hold different keys.
    #[error("user name and password hold different API keys")]
    TwoKeys,
    /// The user name has no form that a user name has.
    #[error("the user name is no account id")]
    UserName,
    /// A field is longer than [`MAX_FIELD_BYTES`].
    #[error("user name or password is longer than {MAX_FIELD_BYTES} bytes")]
    TooLong,
}

impl CredentialsFault {
    fn hint(self) -> &'static str {
        match self {
            Self::NoKey | Self::TooLong => LOGIN,
            Self::MalformedKey => {
                "a key is iploop_ and 48 hex digits; look for a lost or added character, also a space or line break at \
                 its end, and put a - before the first parameter"
            }
            Self::PartnerKey => {
                "take a key from the dashboard's API keys page; partner keys (iplp_) connect devices"
            }
            Self::TwoKeys => "send the key once, in the password",
            Self::UserName => {
                "the user name is the account's id, its short id or iploop, and the key is the password"
            }
        }
    }
}

/// A few characters of what a customer wrote, safe to show and to log.
///
/// At most 32 characters, printable ones only, and nothing from the first place on that looks like a key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Excerpt(Box<str>);

impl Excerpt {
    /// Quotes the beginning of `text`.
    pub fn of(text: &str) -> Self {
        let shown = &text[..secret_start(text).unwrap_or(text.len())];
        let mut excerpt = String::new();
        let mut characters = shown.chars();
        for character in characters.by_ref().take(MAX_EXCERPT_CHARS) {
            let printable = character.is_alphanumeric() || character.is_ascii_graphic() || character == ' ';
            excerpt.push(if printable { character } else { '?' });
        }
        if characters.next().is_some() || shown.len() < text.len() {
            excerpt.push('…');
        }
        Self(excerpt.into())
    }

    /// The quoted text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        f.write_str(&self.0)?;
        f.write_char('"')
    }
}

const MAX_EXCERPT_CHARS: usize = 32;

/// So many hex digits in a row are taken for a piece of a key.
const SECRET_HEX_DIGITS: usize = 16;

const LOGIN: &str = "log in as iploop with the API key as the password: iploop:iploop_…-country-US";

const STRAY_DASH: &str =
    "a - stands doubled or at the edge; parameters are name-value pairs joined by single dashes";

fn inside_a_name(parameter: Parameter) -> String {
    format!("if the word `{parameter}` is part of a name, write _ before it, as in salt_lake_city")
}

/// Where a key or a long run of hex digits begins. Both begin at an ASCII byte, so the place is a character boundary.
fn secret_start(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let begins_key = |place: usize| {
        ["iploop_", "iplp_"].iter().any(|prefix| {
            bytes[place..]
                .get(..prefix.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
        })
    };
    let mut run = 0;
    for (place, byte) in bytes.iter().enumerate() {
        if begins_key(place) {
            return Some(place);
        }
        run = if byte.is_ascii_hexdigit() { run + 1 } else { 0 };
        if run == SECRET_HEX_DIGITS {
            return Some(place + 1 - run);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_printable_and_holds_no_key() {
        let key = format!("iploop_{}", "0123456789abcdef".repeat(3));
        for (text, excerpt) in [
            ("US", "US"),
            ("a\r\nX-Evil: 1", "a??X-Evil: 1"),
            ("\u{202e}gnp", "?gnp"),
            ("東京", "東京"),
            (&"x".repeat(100), &format!("{}…", "x".repeat(32))),
            (&key, "…"),
            (&format!("US-{}", key.to_uppercase()), "US-…"),
            (&format!("x{}", &key[7..]), "x…"),
            ("iplp_", "…"),
            ("0123456789abcde", "0123456789abcde"),
        ] {
            assert_eq!(Excerpt::of(text).as_str(), excerpt);
        }
    }

    #[test]
    fn hints_name_the_way_out() {
        for (error, hint) in [
            (TargetingError::unknown("contry"), "`country`"),
            (TargetingError::unknown("wonder"), "country, exclude, region"),
            (TargetingError::unknown(""), "doubled"),
            (
                TargetingError::value(Parameter::Country, "UK", ValueFault::NotACountry),
                "GB",
            ),
            (
                TargetingError::value(Parameter::Country, "US-CA", ValueFault::NotACountry),
                "country-US+CA",
            ),
            (
                TargetingError::value(Parameter::City, "", ValueFault::Missing),
                "salt_lake_city",
            ),
            (
                TargetingError::value(Parameter::Speed, "fast", ValueFault::Malformed),
                "speed-10",
            ),
        ] {
            assert!(error.hint().contains(hint), "{error}: {}", error.hint());
        }
    }
}
