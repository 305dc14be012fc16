//! Where a customer wants to go, parsed once and trusted from then on.
//!
//! The text of a host means the same everywhere or it is an error: the system resolver takes `0x7f.1`, `0177.0.0.1` and
//! `2130706433` for 127.0.0.1, so those forms never get that far. A host whose last label is a number or starts with `0x` is
//! a plain dotted quad or refused; IPv6 is the text of RFC 4291, without a zone id; everything else is a host name of
//! letters, digits, hyphens, underscores and dots. International names come as A-labels (RFC 5890) only.
//!
//! ```
//! use iploop_protocol::destination::Destination;
//!
//! let destination = Destination::parse_authority("Example.COM.:443")?;
//! assert_eq!(destination.to_string(), "example.com:443");
//! assert!(Destination::parse_authority("0x7f.1:80").is_err());
//! # Ok::<(), iploop_protocol::destination::DestinationError>(())
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

/// Longest host name in octets, without the trailing dot (RFC 1035, 2.3.4).
pub const MAX_HOST_BYTES: usize = 253;

/// Longest label of a host name in octets (RFC 1035, 2.3.4).
pub const MAX_LABEL_BYTES: usize = 63;

/// Longest text that can be an authority: a name with its trailing dot, a colon and a port.
const MAX_AUTHORITY_BYTES: usize = MAX_HOST_BYTES + 1 + 1 + 5;

/// Host and port that the customer wants.
///
/// Prints as the canonical authority (`example.com:443`, `[2606:4700::1111]:443`), which parses back to the same value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// Name or literal address.
    pub host: Host,
    /// Port, 0 included: whether one may go there is the policy's question.
    pub port: u16,
}

/// A host name or a literal address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A literal address, as given: an IPv4-mapped one stays IPv6 here.
    Ip(IpAddr),
    /// A name to be resolved.
    Name(HostName),
}

/// A host name: lower case, no trailing dot, at most [`MAX_HOST_BYTES`], never the text of an address.
///
/// Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Arc<str>);

/// What is wrong with the text of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Nothing there.
    #[error("the host is empty")]
    Empty,
    /// More than [`MAX_HOST_BYTES`].
    #[error("the host is longer than {MAX_HOST_BYTES} octets")]
    TooLong,
    /// Two dots in a row, or a dot in front.
    #[error("the host has an empty label")]
    EmptyLabel,
    /// A label of more than [`MAX_LABEL_BYTES`].
    #[error("a label of the host is longer than {MAX_LABEL_BYTES} octets")]
    LabelTooLong,
    /// Letters outside ASCII.
    #[error("the host has letters outside ASCII: write an international name in punycode (xn--…)")]
    NotAscii,
    /// A character that no host has.
    #[error("the host has a character that is not allowed: {0:?}")]
    ForbiddenCharacter(char),
    /// A name that ends in a number and isn't a plain dotted quad.
    #[error("a host that ends in a number must be an IPv4 address of four plain decimal numbers")]
    NotPlainIpv4,
    /// Colons or brackets around something that is no IPv6 address.
    #[error("the host is not an IPv6 address as in RFC 4291")]
    NotIpv6,
    /// `fe80::1%eth0`: scoped to one link, which is never the customer's (RFC 4007).
    #[error("addresses with a zone id are not reachable through a proxy")]
    ZoneId,
    /// A bracket without its partner, or something between bracket and port.
    #[error("the brackets around the IPv6 address do not match")]
    Brackets,
}

/// What is wrong with the text of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// The host part.
    #[error(transparent)]
    Host(#[from] HostError),
    /// No port where one is required.
    #[error("the port is missing")]
    MissingPort,
    /// Not 0 to 65535 in plain decimal.
    #[error("the port is not a plain decimal number up to 65535")]
    BadPort,
    /// Several colons outside brackets.
    #[error("more than one colon: an IPv6 address stands in brackets, as in [2606:4700::1111]:443")]
    UnbracketedIpv6,
}

impl Destination {
    /// A destination of parts that are already parsed.
    pub fn new(host: Host, port: u16) -> Self {
        Self { host, port }
    }

    /// Parses `host:port` as CONNECT carries it (authority-form, RFC 9112 section 3.2.3). The port is required.
    pub fn parse_authority(text: &str) -> Result<Self, DestinationError> {
        let (host, port) = split_authority(text)?;
        let port = port
            .filter(|port| !port.is_empty())
            .ok_or(DestinationError::MissingPort)?;
        Ok(Self {
            host: Host::parse(host)?,
            port: parse_port(port)?,
        })
    }

    /// Parses the authority of a URI or the value of `Host`, where a missing or empty port means the scheme's default
    /// (RFC 3986 section 3.2.3). User information is refused.
    pub fn parse_authority_or(text: &str, default_port: u16) -> Result<Self, DestinationError> {
        let (host, port) = split_authority(text)?;
        let port = match port {
            None | Some("") => default_port,
            Some(port) => parse_port(port)?,
        };
        Ok(Self {
            host: Host::parse(host)?,
            port,
        })
    }
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse_authority(text)
    }
}

impl From<SocketAddr> for Destination {
    /// The address and port; a zone is dropped, and the policy refuses every address that could carry one.
    fn from(address: SocketAddr) -> Self {
        Self {
            host: Host::Ip(address.ip()),
            port: address.port(),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

impl Host {
    /// Parses a name or a literal: the host of an authority, or the name field of SOCKS5 (address type 3), which many
    /// clients fill with a literal. IPv6 stands bare or in brackets.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        check_characters(text)?;
        if text.contains(['[', ']']) {
            let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            return parse_ipv6(inner.ok_or(HostError::Brackets)?);
        }
        if text.contains(':') {
            return parse_ipv6(text);
        }
        let name = check_labels(text)?;
        if ends_in_number(name) {
            // Parsed with its trailing dot, if any: `1.2.3.4.` is a name to some and an address to others.
            return match text.parse::<Ipv4Addr>() {
                Ok(ip) => Ok(Self::Ip(ip.into())),
                Err(_) => Err(HostError::NotPlainIpv4),
            };
        }
        Ok(Self::Name(HostName::from_checked(name)))
    }

    /// Like [`Host::parse`], from bytes of the wire.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HostError> {
        if bytes.len() > MAX_AUTHORITY_BYTES {
            return Err(HostError::TooLong);
        }
        Self::parse(std::str::from_utf8(bytes).map_err(|_| HostError::NotAscii)?)
    }

    /// The literal address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Host {
    /// Without brackets: those belong to the authority, which [`Destination`] prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl HostName {
    /// Parses a name; the text of an address, plain or legacy, is an error.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        match Host::parse(text)? {
            Host::Name(name) => Ok(name),
            Host::Ip(IpAddr::V4(_)) => Err(HostError::NotPlainIpv4),
            Host::Ip(IpAddr::V6(_)) => Err(HostError::ForbiddenCharacter(':')),
        }
    }

    /// The name, lower case and without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name and each of its parent domains, the longest first: `a.b.c`, `b.c`, `c`.
    pub fn suffixes(&self) -> impl Iterator<Item = &str> {
        let mut rest = Some(self.as_str());
        std::iter::from_fn(move || {
            let suffix = rest?;
            rest = suffix.split_once('.').map(|(_, parent)| parent);
            Some(suffix)
        })
    }

    fn from_checked(name: &str) -> Self {
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Self(name.to_ascii_lowercase().into())
        } else {
            Self(name.into())
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Parts a bounded, clean authority; the host keeps its brackets, the port may be empty.
fn split_authority(text: &str) -> Result<(&str, Option<&str>), DestinationError> {
    check_characters(text)?;
    if text.starts_with('[') {
        let (host, rest) = text.split_at(text.find(']').ok_or(HostError::Brackets)? + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(HostError::Brackets.into()),
        };
    }
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((_, rest)) if rest.contains(':') => Err(DestinationError::UnbracketedIpv6),
        Some((host, port)) => Ok((host, Some(port))),
    }
}

/// Plain decimal without sign and leading zeros: `u16::from_str` alone takes `+80` and `0080`.
fn parse_port(text: &str) -> Result<u16, DestinationError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain {
        text.parse().map_err(|_| DestinationError::BadPort)
    } else {
        Err(DestinationError::BadPort)
    }
}

/// Bounds the text and refuses what is in no host and no authority: one place for NUL, CR, LF, space, `@`, `/`, `\`, `%`.
fn check_characters(text: &str) -> Result<(), HostError> {
    if text.len() > MAX_AUTHORITY_BYTES {
        return Err(HostError::TooLong);
    }
    match text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '[' | ']')))
    {
        None => Ok(()),
        Some(c) if !c.is_ascii() => Err(HostError::NotAscii),
        Some('%') if text.contains(':') => Err(HostError::ZoneId),
        Some(c) => Err(HostError::ForbiddenCharacter(c)),
    }
}

/// Checks lengths and labels and takes one trailing dot off. The characters are checked already.
fn check_labels(text: &str) -> Result<&str, HostError> {
    if text.is_empty() {
        return Err(HostError::Empty);
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > MAX_HOST_BYTES {
        return Err(HostError::TooLong);
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err(HostError::EmptyLabel);
        }
        if label.len() > MAX_LABEL_BYTES {
            return Err(HostError::LabelTooLong);
        }
    }
    Ok(name)
}

fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X")
}

fn parse_ipv6(text: &str) -> Result<Host, HostError> {
    text.parse::<Ipv6Addr>()
        .map(|ip| Host::Ip(ip.into()))
        .map_err(|_| HostError::NotIpv6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> String {
        match Host::parse(text) {
            Ok(Host::Name(name)) => name.to_string(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn names_are_lower_case_and_lose_one_trailing_dot() {
        assert_eq!(name("Example.COM."), "example.com");
        assert_eq!(name("_dmarc.a-b.example"), "_dmarc.a-b.example");
        assert_eq!(name("xn--bcher-kva.example"), "xn--bcher-kva.example");
        assert_eq!(name("localhost"), "localhost");
        assert_eq!(name("1.2.3.4.example"), "1.2.3.4.example");
        assert_eq!(name("0x7f.example"), "0x7f.example");
    }

    #[test]
    fn legacy_forms_of_addresses_are_errors_never_names() {
        for text in [
            "0x7f.1",
            "0x7f.0.0.1",
            "0X7F000001",
            "0x7f000001",
            "0x",
            "example.0xzz",
            "0177.0.0.1",
            "127.0.0.01",
            "017700000001",
            "2130706433",
            "4294967296",
            "127.1",
            "127.0.1",
            "127.0.0.1.",
            "1.2.3.4.",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3",
            "example.1",
            "1",
            "0",
            "example.com.123.",
        ] {
            assert_eq!(Host::parse(text), Err(HostError::NotPlainIpv4), "{text}");
            assert!(HostName::parse(text).is_err(), "{text}");
        }
        for text in [
            "①.②.③.④",
            "127。0。0。1",
            "１２７.0.0.1",
            "bücher.example",
            "a\u{ad}b.example",
        ] {
            assert_eq!(Host::parse(text), Err(HostError::NotAscii), "{text}");
        }
        assert_eq!(Host::from_bytes(b"\xff\xfe.example"), Err(HostError::NotAscii));
    }

    #[test]
    fn plain_literals_are_addresses() {
        for (text, ip) in [
            ("127.0.0.1", "127.0.0.1"),
            ("1.2.3.4", "1.2.3.4"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("2606:4700::1111", "2606:4700::1111"),
            ("2606:4700:0:0:0:0:0:1111", "2606:4700::1111"),
            ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
            ("FE80::1", "fe80::1"),
        ] {
            assert_eq!(Host::parse(text), Ok(Host::Ip(ip.parse().unwrap())), "{text}");
            assert!(HostName::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_host_is_named() {
        for (text, error) in [
            ("", HostError::Empty),
            (".", HostError::EmptyLabel),
            ("..", HostError::EmptyLabel),
            (".example.com", HostError::EmptyLabel),
            ("example..com", HostError::EmptyLabel),
            ("example.com..", HostError::EmptyLabel),
            ("fe80::1%eth0", HostError::ZoneId),
            ("[fe80::1%25eth0]", HostError::ZoneId),
            ("example%2ecom", HostError::ForbiddenCharacter('%')),
            ("a b.example", HostError::ForbiddenCharacter(' ')),
            ("user@example.com", HostError::ForbiddenCharacter('@')),
            ("example.com/", HostError::ForbiddenCharacter('/')),
            ("example.com\\", HostError::ForbiddenCharacter('\\')),
            ("example.com\0", HostError::ForbiddenCharacter('\0')),
            ("example.com\r\nx", HostError::ForbiddenCharacter('\r')),
            ("example.com\n", HostError::ForbiddenCharacter('\n')),
            ("[::1", HostError::Brackets),
            ("::1]", HostError::Brackets),
            ("[[::1]]", HostError::NotIpv6),
            ("[127.0.0.1]", HostError::NotIpv6),
            ("[]", HostError::NotIpv6),
            ("[example.com]", HostError::NotIpv6),
            (":", HostError::NotIpv6),
            ("1::2::3", HostError::NotIpv6),
            ("::ffff:0177.0.0.1", HostError::NotIpv6),
            ("::ffff:127.1", HostError::NotIpv6),
            ("::12345", HostError::NotIpv6),
        ] {
            assert_eq!(Host::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn lengths_are_bounded_at_their_edges() {
        let label = "a".repeat(MAX_LABEL_BYTES);
        assert!(Host::parse(&label).is_ok());
        assert_eq!(Host::parse(&format!("{label}a")), Err(HostError::LabelTooLong));
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(longest.len(), MAX_HOST_BYTES);
        assert_eq!(name(&longest), longest);
        assert_eq!(name(&format!("{longest}.")), longest);
        assert!(Destination::parse_authority(&format!("{longest}.:65535")).is_ok());
        assert_eq!(Host::parse(&format!("{longest}a")), Err(HostError::TooLong));
        assert_eq!(Host::from_bytes(&[b'a'; 100_000]), Err(HostError::TooLong));
    }

    #[test]
    fn authorities_need_a_plain_port_and_bracketed_ipv6() {
        for (text, canonical) in [
            ("Example.com.:443", "example.com:443"),
            ("[::1]:443", "[::1]:443"),
            ("[2606:4700:0::1111]:80", "[2606:4700::1111]:80"),
            ("1.1.1.1:65535", "1.1.1.1:65535"),
            ("example.com:0", "example.com:0"),
        ] {
            assert_eq!(Destination::parse_authority(text).unwrap().to_string(), canonical);
        }
        for (text, error) in [
            ("example.com", DestinationError::MissingPort),
            ("example.com:", DestinationError::MissingPort),
            ("[::1]", DestinationError::MissingPort),
            ("[::1]:", DestinationError::MissingPort),
            ("example.com:65536", DestinationError::BadPort),
            ("example.com:99999999999999999999", DestinationError::BadPort),
            (
                "example.com:+80",
                DestinationError::Host(HostError::ForbiddenCharacter('+')),
            ),
            ("example.com:-1", DestinationError::BadPort),
            ("example.com:080", DestinationError::BadPort),
            ("example.com:0x50", DestinationError::BadPort),
            ("example.com:http", DestinationError::BadPort),
            ("example.com:80:90", DestinationError::UnbracketedIpv6),
            ("::1:443", DestinationError::UnbracketedIpv6),
            ("[::1]443", DestinationError::Host(HostError::Brackets)),
            ("[::1]:443]", DestinationError::BadPort),
            (":443", DestinationError::Host(HostError::Empty)),
            (
                "user:pass@example.com:443",
                DestinationError::Host(HostError::ForbiddenCharacter('@')),
            ),
            (
                "http://example.com:80",
                DestinationError::Host(HostError::ForbiddenCharacter('/')),
            ),
            (
                "example.com:443 ",
                DestinationError::Host(HostError::ForbiddenCharacter(' ')),
            ),
            ("127.1:80", DestinationError::Host(HostError::NotPlainIpv4)),
        ] {
            assert_eq!(Destination::parse_authority(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_missing_port_is_the_default_where_the_scheme_gives_one() {
        let parse = |text| Destination::parse_authority_or(text, 80).map(|d| d.to_string());
        assert_eq!(parse("example.com"), Ok("example.com:80".into()));
        assert_eq!(parse("example.com:"), Ok("example.com:80".into()));
        assert_eq!(parse("[::1]"), Ok("[::1]:80".into()));
        assert_eq!(parse("example.com:8080"), Ok("example.com:8080".into()));
        assert_eq!(parse("example.com:x"), Err(DestinationError::BadPort));
        assert_eq!(parse("::1"), Err(DestinationError::UnbracketedIpv6));
        assert_eq!(parse(""), Err(DestinationError::Host(HostError::Empty)));
    }

    #[test]
    fn suffixes_walk_up_the_tree() {
        let name = HostName::parse("a.b.example").unwrap();
        assert_eq!(
            name.suffixes().collect::<Vec<_>>(),
            ["a.b.example", "b.example", "example"]
        );
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_parses_prints_back_to_itself(text in any::<String>(), port in any::<u16>()) {
            let _ = Host::from_bytes(text.as_bytes());
            for text in [text.clone(), format!("{text}:{port}"), format!("[{text}]:{port}")] {
                if let Ok(destination) = Destination::parse_authority(&text) {
                    prop_assert_eq!(Destination::parse_authority(&destination.to_string()), Ok(destination));
                }
            }
        }

        #[test]
        fn near_misses_do_not_panic_and_round_trip(text in "[a-zA-Z0-9:.%x_\\[\\]-]{0,24}", port in any::<u16>()) {
            if let Ok(host) = Host::parse(&text) {
                prop_assert_eq!(&Host::parse(&host.to_string()), &Ok(host.clone()));
                let destination = Destination::new(host, port);
                prop_assert_eq!(destination.to_string().parse(), Ok(destination));
            }
        }

        #[test]
        fn every_address_round_trips(ip in any::<IpAddr>(), port in any::<u16>()) {
            let destination = Destination::from(SocketAddr::new(ip, port));
            prop_assert_eq!(destination.to_string().parse(), Ok(destination));
        }

        #[test]
        fn a_name_never_is_something_that_a_resolver_takes_for_an_address(text in "[0-9a-fA-FxX.]{1,20}") {
            if let Ok(Host::Name(name)) = Host::parse(&text) {
                let last = name.suffixes().last().unwrap_or_default();
                prop_assert!(last.parse::<u128>().is_err() && !last.starts_with("0x"));
            }
        }
    }
}
