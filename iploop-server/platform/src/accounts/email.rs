//! Mail addresses as we accept them.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::field::FieldProblem;

/// Longest address, in bytes (RFC 5321, section 4.5.3.1.3, without the angle brackets).
const MAX_ADDRESS: usize = 254;
/// Longest part before the `@`, in bytes (RFC 5321, section 4.5.3.1.1).
const MAX_LOCAL: usize = 64;

/// A mail address as the customer wrote it: ASCII, without quoting, comments or literals, the domain with a dot.
///
/// Narrower than RFC 5321 on purpose: what is left can stand in a header, a log search and a database as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// The address as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address without regard to case, as accounts are told apart.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// The part before the `@`.
    pub fn local(&self) -> &str {
        self.0.split_once('@').map_or("", |(local, _)| local)
    }
}

impl FromStr for EmailAddress {
    type Err = FieldProblem;

    fn from_str(text: &str) -> Result<Self, FieldProblem> {
        let text = text.trim();
        if text.is_empty() {
            return Err(FieldProblem::new("email", "Email is required"));
        }
        let valid = text.len() <= MAX_ADDRESS
            && text
                .split_once('@')
                .is_some_and(|(local, domain)| is_local(local) && is_domain(domain));
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(FieldProblem::new("email", "Email must be a valid address"))
        }
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A dot-atom of RFC 5322, section 3.2.3.
fn is_local(local: &str) -> bool {
    local.len() <= MAX_LOCAL
        && local.split('.').all(|atom| {
            !atom.is_empty()
                && atom
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
        })
}

fn is_domain(domain: &str) -> bool {
    domain.contains('.')
        && domain.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyday_addresses_are_accepted() {
        for text in [
            "a@b.co",
            "first.last+tag@mail.example.org",
            " padded@example.com ",
            "o'neil@example.com",
        ] {
            assert!(text.parse::<EmailAddress>().is_ok(), "{text}");
        }
    }

    #[test]
    fn what_could_change_a_header_or_hide_a_second_address_is_refused() {
        for text in [
            "",
            "a",
            "@b.co",
            "a@",
            "a@b",
            "a@b@c.co",
            "a..b@c.co",
            ".a@c.co",
            "a b@c.co",
            "a@b.co\r\nBcc: x@y.co",
            "\"a\"@b.co",
            "a@[127.0.0.1]",
            "a@-b.co",
            "a@b.co,c@d.co",
            "<a@b.co>",
            "a\0@b.co",
            "ä@b.co",
            "a@b.co.",
        ] {
            assert!(text.parse::<EmailAddress>().is_err(), "{text:?}");
        }
        assert!(
            format!("{}@b.co", "a".repeat(65))
                .parse::<EmailAddress>()
                .is_err()
        );
        assert!(
            format!("a@{}.co", "b.".repeat(130))
                .parse::<EmailAddress>()
                .is_err()
        );
    }
}
