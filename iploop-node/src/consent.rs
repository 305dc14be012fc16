//! The owner's consent. Without one there is no [`crate::Node`], and so no connection.

use std::fmt;
use std::time::Duration;

use iploop_protocol::control::ConsentStatement;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How long a consent lasts: then the owner is asked again.
pub const CONSENT_LASTS: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Longest text that can be shown to an owner, in bytes.
pub(crate) const MAX_TEXT_BYTES: usize = 256 * 1024;

/// A kind of network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// Wireless LAN.
    Wifi,
    /// A cable.
    Ethernet,
    /// Mobile data: needs its own yes, and has caps of its own.
    Cellular,
}

/// What the owner did, on which text.
#[derive(Clone, Debug)]
pub struct ConsentAct {
    /// Version of the text.
    pub text_version: String,
    /// The whole text as it was shown. Its hash goes on record.
    pub text: String,
    /// BCP 47 tag of its language.
    pub language: String,
    /// How the owner said yes: `button`, `command-line`, …
    pub act: String,
    /// The networks that may be used.
    pub networks: Vec<NetworkKind>,
    /// The owner confirmed the minimum age.
    pub minimum_age: bool,
}

/// An owner's yes: who can show one may connect.
///
/// It comes from an affirmative act ([`Consent::given`]) or from the state folder where such an act was recorded
/// ([`crate::StateDir::consent`]), and from nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    statement: ConsentStatement,
    given_at: OffsetDateTime,
    networks: Vec<NetworkKind>,
}

/// Why there is no valid consent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsentError {
    /// Something is missing from the act or not of its form.
    #[error("the consent record is not complete: {field} {problem}")]
    Incomplete {
        /// The field of [`ConsentAct`].
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The minimum age was not confirmed.
    #[error("the owner has not confirmed the minimum age")]
    MinimumAge,
    /// Given too long ago.
    #[error("the consent was given on {} and has lasted its 12 months: ask the owner again", .given_at.date())]
    Expired {
        /// When it was given.
        given_at: OffsetDateTime,
    },
    /// The owner took it back.
    #[error("the owner withdrew consent on {at}: it takes a new consent to share again")]
    Withdrawn {
        /// When, RFC 3339.
        at: String,
    },
    /// The hub has no valid, current record for this text, or doesn't accept it.
    #[error("the hub asks for a new consent: {0}")]
    RequiredByHub(String),
}

impl NetworkKind {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wifi => "wifi",
            Self::Ethernet => "ethernet",
            Self::Cellular => "cellular",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Wifi, Self::Ethernet, Self::Cellular]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for NetworkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Consent {
    /// Puts an affirmative act on record. Call it when the owner acts, not before and not instead.
    ///
    /// # Errors
    /// If a part of the record is missing or malformed, or the minimum age was not confirmed.
    pub fn given(act: ConsentAct, at: OffsetDateTime) -> Result<Self, ConsentError> {
        let given_at = at.format(&Rfc3339).map_err(|_| ConsentError::Incomplete {
            field: "given_at",
            problem: "is not a time of this calendar",
        })?;
        if act.text.trim().is_empty() || act.text.len() > MAX_TEXT_BYTES {
            return Err(ConsentError::Incomplete {
                field: "text",
                problem: "must be the text that was shown, at most 256 KiB",
            });
        }
        Self::from_statement(ConsentStatement {
            id: uuid::Uuid::now_v7().to_string(),
            text_version: act.text_version,
            text_hash: text_hash(&act.text),
            language: act.language,
            given_at,
            act: act.act,
            networks: act.networks.iter().map(|kind| kind.as_str().to_owned()).collect(),
            minimum_age: act.minimum_age,
        })
    }

    /// From a record that was made by [`Consent::given`].
    pub(crate) fn from_statement(statement: ConsentStatement) -> Result<Self, ConsentError> {
        let word = |field, text: &str, longest: usize| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            if (1..=longest).contains(&text.len()) && text.bytes().all(plain) {
                return Ok(());
            }
            let problem = "must be a short word of letters, digits, dots, hyphens and underscores";
            Err(ConsentError::Incomplete { field, problem })
        };
        word("id", &statement.id, 64)?;
        word("text_version", &statement.text_version, 32)?;
        word("text_hash", &statement.text_hash, 64)?;
        word("language", &statement.language, 35)?;
        word("act", &statement.act, 64)?;
        if !statement.minimum_age {
            return Err(ConsentError::MinimumAge);
        }
        let mut networks = Vec::new();
        for text in &statement.networks {
            let kind = NetworkKind::parse(text).ok_or(ConsentError::Incomplete {
                field: "networks",
                problem: "has a kind of network that is not known",
            })?;
            if !networks.contains(&kind) {
                networks.push(kind);
            }
        }
        if networks.is_empty() {
            return Err(ConsentError::Incomplete {
                field: "networks",
                problem: "must name at least one kind",
            });
        }
        let given_at =
            OffsetDateTime::parse(&statement.given_at, &Rfc3339).map_err(|_| ConsentError::Incomplete {
                field: "given_at",
                problem: "must be an RFC 3339 time",
            })?;
        Ok(Self {
            statement,
            given_at,
            networks,
        })
    }

    /// The record's own id.
    pub fn id(&self) -> &str {
        &self.statement.id
    }

    /// The record as the hub gets it.
    pub fn statement(&self) -> &ConsentStatement {
        &self.statement
    }

    /// When the owner acted.
    pub fn given_at(&self) -> OffsetDateTime {
        self.given_at
    }

    /// Whether the owner said yes to this very text.
    pub fn is_for(&self, text_version: &str, text: &str) -> bool {
        self.statement.text_version == text_version && self.statement.text_hash == text_hash(text)
    }

    /// Whether the owner allowed this kind of network.
    pub fn allows(&self, network: NetworkKind) -> bool {
        self.networks.contains(&network)
    }

    /// Whether it still lasts.
    ///
    /// # Errors
    /// [`ConsentError::Expired`] after [`CONSENT_LASTS`].
    pub fn check_current(&self, now: OffsetDateTime) -> Result<(), ConsentError> {
        // A clock that was set back makes no consent younger than new.
        if now - self.given_at > CONSENT_LASTS {
            return Err(ConsentError::Expired {
                given_at: self.given_at,
            });
        }
        Ok(())
    }
}

/// SHA-256 of a text, in hex: how a consent record names the text that was shown.
pub fn text_hash(text: &str) -> String {
    use std::fmt::Write;
    Sha256::digest(text.as_bytes())
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a String has no way to fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use time::macros::datetime;

    pub(crate) fn act() -> ConsentAct {
        ConsentAct {
            text_version: "2026-11".into(),
            text: "Other people's traffic will leave through this device.".into(),
            language: "en".into(),
            act: "button".into(),
            networks: vec![NetworkKind::Wifi, NetworkKind::Ethernet],
            minimum_age: true,
        }
    }

    const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    #[test]
    fn an_act_with_anything_missing_is_no_consent() {
        type Spoil = fn(&mut ConsentAct);
        let cases: [(&str, Spoil); 8] = [
            ("text_version", |act| act.text_version.clear()),
            ("text_version", |act| act.text_version = "a b".into()),
            ("text", |act| act.text = " \n".into()),
            ("text", |act| act.text = "x".repeat(MAX_TEXT_BYTES + 1)),
            ("language", |act| act.language.clear()),
            ("act", |act| act.act.clear()),
            ("act", |act| act.act = "x".repeat(65)),
            ("networks", |act| act.networks.clear()),
        ];
        for (expected, spoil) in cases {
            let mut act = act();
            spoil(&mut act);
            let error = Consent::given(act, NOW).unwrap_err();
            assert!(
                matches!(error, ConsentError::Incomplete { field, .. } if field == expected),
                "{expected}: {error}"
            );
        }
        let child = ConsentAct {
            minimum_age: false,
            ..act()
        };
        assert_eq!(Consent::given(child, NOW), Err(ConsentError::MinimumAge));
    }

    #[test]
    fn the_record_holds_the_hash_of_the_very_text_and_reads_back() {
        let consent = Consent::given(act(), NOW).unwrap();
        assert_eq!(consent.statement().given_at, "2026-11-24T12:00:00Z");
        assert_eq!(
            text_hash("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(consent.is_for("2026-11", &act().text));
        assert!(!consent.is_for("2026-11", "another text"));
        assert!(!consent.is_for("2026-12", &act().text));
        assert!(consent.allows(NetworkKind::Wifi) && !consent.allows(NetworkKind::Cellular));
        assert_eq!(Consent::from_statement(consent.statement().clone()), Ok(consent));
    }

    #[test]
    fn a_consent_lasts_twelve_months() {
        let consent = Consent::given(act(), NOW).unwrap();
        assert_eq!(consent.check_current(NOW + CONSENT_LASTS), Ok(()));
        assert!(
            consent
                .check_current(NOW + CONSENT_LASTS + Duration::from_secs(1))
                .is_err()
        );
        assert_eq!(consent.check_current(NOW - CONSENT_LASTS), Ok(()));
    }
}
