//! The values that parameters take: closed sets as enums, the rest as types that hold only what is valid.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::error::ValueFault;
use super::parameter::Parameter;

/// An enum whose variants are the words of the grammar. Words are read in any case, `_` for `-` too.
macro_rules! closed_set {
    (
        $(#[$about:meta])*
        $name:ident { $($(#[$variant_about:meta])* $variant:ident = $word:literal $(| $other:literal)*,)+ }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_about])* $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word of the grammar.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The value of a word, or of another word for the same.
            pub fn parse(word: &str) -> Option<Self> {
                $(
                    if is_word(word, $word) $(|| is_word(word, $other))* {
                        return Some(Self::$variant);
                    }
                )+
                None
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

closed_set! {
    /// How a device is connected.
    ConnectionType {
        /// Wireless LAN.
        Wifi = "wifi",
        /// Mobile network.
        Cellular = "cellular",
        /// Cable.
        Ethernet = "ethernet",
    }
}

closed_set! {
    /// Kind of device that is the exit.
    DeviceType {
        /// Android phone, tablet or box.
        Android = "android",
        /// iPhone or iPad.
        Ios = "ios",
        /// Windows computer.
        Windows = "windows",
        /// Mac.
        Mac = "mac" | "macos",
        /// Linux computer.
        Linux = "linux",
        /// A browser, through an extension.
        Browser = "browser",
    }
}

closed_set! {
    /// What `sesstype` asks for.
    SessionType {
        /// Another exit for each tunnel or request, best effort.
        Rotating = "rotating",
        /// The same exit for a while.
        Sticky = "sticky",
        /// An exit that differs from the last one, or an error.
        PerRequest = "per-request",
    }
}

closed_set! {
    /// What `rotate` asks for.
    RotateMode {
        /// A distinct exit for each request.
        Request = "request",
        /// A new exit when the lifetime ends.
        Time = "time",
        /// A new exit on demand.
        Manual = "manual",
        /// A new session when the exit's public address changes.
        IpChange = "ip-change",
    }
}

closed_set! {
    /// What follows when the exit of a sticky session goes away.
    Failover {
        /// Any exit that fits the targeting; one behind the same public address first.
        Any = "any",
        /// An exit in the same autonomous system; one behind the same public address first.
        SameAsn = "same-asn",
        /// Only an exit behind the same public address.
        SameIp = "same-ip",
        /// No other exit: `session_exit_gone`.
        None = "none",
    }
}

closed_set! {
    /// Where the name of a destination is resolved.
    Dns {
        /// On the exit device.
        Exit = "exit",
        /// At the gateway.
        Gateway = "gateway",
    }
}

closed_set! {
    /// A browser whose request headers plain HTTP requests carry.
    Profile {
        /// Chrome on Windows; also `chrome`.
        ChromeWin = "chrome-win" | "chrome",
        /// Chrome on a Mac.
        ChromeMac = "chrome-mac",
        /// Chrome on Linux.
        ChromeLinux = "chrome-linux",
        /// Chrome on Android; also `mobile` and `mobile-android`.
        ChromeAndroid = "chrome-android" | "mobile-android" | "mobile",
        /// Firefox on Windows; also `firefox`.
        FirefoxWin = "firefox-win" | "firefox",
        /// Firefox on a Mac.
        FirefoxMac = "firefox-mac",
        /// Firefox on Linux.
        FirefoxLinux = "firefox-linux",
        /// Safari on a Mac; also `safari`.
        SafariMac = "safari-mac" | "safari",
        /// Safari on an iPhone; also `mobile-ios`.
        SafariIos = "safari-ios" | "mobile-ios",
        /// Edge on Windows; also `edge`.
        EdgeWin = "edge-win" | "edge",
    }
}

/// Number of an autonomous system, 1 to 4294967294: the two ends are reserved (RFC 7607, RFC 7300).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Asn(u32);

impl Asn {
    /// The system with this number, unless it is reserved.
    pub fn new(number: u32) -> Option<Self> {
        (number != 0 && number != u32::MAX).then_some(Self(number))
    }

    /// Reads `12345` or `AS12345`.
    ///
    /// # Errors
    ///
    /// [`ValueFault::Malformed`] without digits alone, [`ValueFault::OutOfRange`] for a reserved or larger number.
    pub fn parse(text: &str) -> Result<Self, ValueFault> {
        let digits = match text.as_bytes() {
            [b'a' | b'A', b's' | b'S', ..] => &text[2..],
            _ => text,
        };
        let number = u32::try_from(whole_number(digits)?).map_err(|_| ValueFault::OutOfRange)?;
        Self::new(number).ok_or(ValueFault::OutOfRange)
    }

    /// The number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A postal code: 2 to 12 letters and digits in capitals, `SW1A 1AA` as `SW1A1AA`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PostalCode(Box<str>);

impl PostalCode {
    /// Reads a code; spaces (also `_`, `+`, `%20`) and dashes are left out.
    ///
    /// # Errors
    ///
    /// [`ValueFault::Malformed`] for any other character, [`ValueFault::OutOfRange`] for too few or too many.
    pub fn parse(text: &str) -> Result<Self, ValueFault> {
        let mut code = String::new();
        for character in text.replace("%20", " ").chars() {
            match character {
                ' ' | '_' | '+' | '-' => {}
                _ if character.is_ascii_alphanumeric() => code.push(character.to_ascii_uppercase()),
                _ => return Err(ValueFault::Malformed),
            }
        }
        if (2..=12).contains(&code.len()) {
            Ok(Self(code.into()))
        } else {
            Err(ValueFault::OutOfRange)
        }
    }

    /// The code without spaces.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PostalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PostalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The id that a customer gives a sticky session; case matters, and it belongs to the account.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SessionId(Box<str>);

impl SessionId {
    /// Longest id, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Checks an id: 1 to 64 of `A-Z a-z 0-9 . _ -`, dashes single and inside, and no parameter name behind a dash,
    /// because the grammar would read a parameter there.
    ///
    /// # Errors
    ///
    /// The [`ValueFault`] that names the broken rule.
    pub fn new(id: &str) -> Result<Self, ValueFault> {
        check_dashes(id)?;
        if id.len() > Self::MAX_BYTES {
            Err(ValueFault::TooLong)
        } else if !id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        {
            Err(ValueFault::Malformed)
        } else if id.split('-').skip(1).any(|word| Parameter::parse(word).is_some()) {
            Err(ValueFault::ParameterInside)
        } else {
            Ok(Self(id.into()))
        }
    }

    /// The id as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Least and most Mbit/s that `speed` takes.
pub(super) const SPEED_MBPS: std::ops::RangeInclusive<u64> = 1..=10_000;

/// Least and most milliseconds that `latency` takes.
pub(super) const LATENCY_MS: std::ops::RangeInclusive<u64> = 1..=60_000;

/// Shortest and longest `lifetime` and `idle`.
pub(super) const SPAN: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(86_400);

/// Reads a number within limits.
pub(super) fn number_within(text: &str, limits: &std::ops::RangeInclusive<u64>) -> Result<u64, ValueFault> {
    let number = whole_number(text)?;
    if limits.contains(&number) {
        Ok(number)
    } else {
        Err(ValueFault::OutOfRange)
    }
}

/// Reads `lifetime` and `idle`: minutes, or a number with `s`, `m` or `h`.
pub(super) fn parse_span(text: &str) -> Result<Duration, ValueFault> {
    let (digits, seconds) = match text.as_bytes().last() {
        Some(b's' | b'S') => (&text[..text.len() - 1], 1),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 60),
        Some(b'h' | b'H') => (&text[..text.len() - 1], 3600),
        _ => (text, 60),
    };
    check_span(Duration::from_secs(whole_number(digits)?.saturating_mul(seconds)))
}

/// Passes whole seconds within [`SPAN`].
pub(super) fn check_span(span: Duration) -> Result<Duration, ValueFault> {
    if span.subsec_nanos() == 0 && SPAN.contains(&span) {
        Ok(span)
    } else {
        Err(ValueFault::OutOfRange)
    }
}

/// Prints a span in its largest whole unit, as [`parse_span`] reads it.
pub(super) fn print_span(span: Duration) -> impl fmt::Display {
    let seconds = span.as_secs();
    fmt::from_fn(move |f| match seconds {
        _ if seconds.is_multiple_of(3600) => write!(f, "{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => write!(f, "{}m", seconds / 60),
        _ => write!(f, "{seconds}s"),
    })
}

/// Refuses an empty value, and dashes that are doubled or at its edge: slips that would change a session's id in silence.
pub(super) fn check_dashes(value: &str) -> Result<(), ValueFault> {
    if value.is_empty() {
        Err(ValueFault::Missing)
    } else if value.starts_with('-')
        || value.ends_with('-')
        || value.as_bytes().windows(2).any(|two| two == b"--")
    {
        Err(ValueFault::StrayDash)
    } else {
        Ok(())
    }
}

/// Digits alone: no sign, no space. A number too large for 64 bits is out of every range here.
fn whole_number(digits: &str) -> Result<u64, ValueFault> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ValueFault::Malformed);
    }
    digits.parse().map_err(|_| ValueFault::OutOfRange)
}

fn is_word(written: &str, word: &str) -> bool {
    written.len() == word.len()
        && written
            .bytes()
            .zip(word.bytes())
            .all(|(written, word)| written.to_ascii_lowercase() == word || (written == b'_' && word == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_sets_read_their_words_and_no_others() {
        for profile in Profile::ALL {
            assert_eq!(Profile::parse(profile.as_str()), Some(*profile));
        }
        assert_eq!(SessionType::parse("Per_Request"), Some(SessionType::PerRequest));
        assert_eq!(DeviceType::parse("macOS"), Some(DeviceType::Mac));
        assert_eq!(Profile::parse("mobile"), Some(Profile::ChromeAndroid));
        for other in ["", "wi-fi", "wifi ", "wif", "WIFII"] {
            assert_eq!(ConnectionType::parse(other), None, "{other}");
        }
    }

    /// `failover-same-asn` is the one exception that the tokeniser knows.
    #[test]
    fn no_word_of_a_closed_set_holds_a_parameter_name_behind_a_dash() {
        let words = (ConnectionType::ALL.iter().map(|word| word.as_str()))
            .chain(DeviceType::ALL.iter().map(|word| word.as_str()))
            .chain(SessionType::ALL.iter().map(|word| word.as_str()))
            .chain(RotateMode::ALL.iter().map(|word| word.as_str()))
            .chain(Failover::ALL.iter().map(|word| word.as_str()))
            .chain(Dns::ALL.iter().map(|word| word.as_str()))
            .chain(Profile::ALL.iter().map(|word| word.as_str()));
        let broken: Vec<_> = words
            .filter(|word| {
                word.split('-')
                    .skip(1)
                    .any(|part| Parameter::parse(part).is_some())
            })
            .collect();
        assert_eq!(broken, ["same-asn"]);
    }

    #[test]
    fn a_span_is_minutes_unless_it_says_otherwise() {
        for (text, seconds, printed) in [
            ("30", 1800, "30m"),
            ("30m", 1800, "30m"),
            ("1h", 3600, "1h"),
            ("120s", 120, "2m"),
            ("10s", 10, "10s"),
            ("24H", 86_400, "24h"),
            ("1440", 86_400, "24h"),
            ("86399s", 86_399, "86399s"),
        ] {
            let span = parse_span(text).unwrap();
            assert_eq!(span, Duration::from_secs(seconds), "{text}");
            assert_eq!(print_span(span).to_string(), printed);
        }
        for text in [
            "0",
            "9s",
            "25h",
            "1441",
            "86401s",
            "99999999999999999999",
            "18446744073709551615h",
        ] {
            assert_eq!(parse_span(text), Err(ValueFault::OutOfRange), "{text}");
        }
        for text in ["", "m", "-5", "+5", "1.5h", "5 m", "1d", "1h30m", "٣"] {
            assert_eq!(parse_span(text), Err(ValueFault::Malformed), "{text}");
        }
        assert_eq!(
            check_span(Duration::from_millis(10_500)),
            Err(ValueFault::OutOfRange)
        );
    }

    #[test]
    fn numbers_and_codes_keep_their_limits() {
        assert_eq!(Asn::parse("as15169").unwrap().number(), 15169);
        assert_eq!(Asn::parse("4294967294").unwrap().number(), u32::MAX - 1);
        for (text, fault) in [
            ("0", ValueFault::OutOfRange),
            ("4294967295", ValueFault::OutOfRange),
            ("99999999999", ValueFault::OutOfRange),
            ("AS", ValueFault::Malformed),
            ("ASAS1", ValueFault::Malformed),
            ("-1", ValueFault::Malformed),
        ] {
            assert_eq!(Asn::parse(text), Err(fault), "{text}");
        }
        assert_eq!(PostalCode::parse("sw1a-1aa").unwrap().as_str(), "SW1A1AA");
        assert_eq!(PostalCode::parse("110%2001").unwrap().as_str(), "11001");
        assert_eq!(PostalCode::parse("1"), Err(ValueFault::OutOfRange));
        assert_eq!(PostalCode::parse("1234567890123"), Err(ValueFault::OutOfRange));
        assert_eq!(PostalCode::parse("12/34"), Err(ValueFault::Malformed));
    }

    #[test]
    fn a_session_id_says_the_same_to_every_reader() {
        for id in [
            "a",
            "abc123",
            "A.b_c-d",
            "city-1",
            "550e8400-e29b-41d4-a716-446655440000",
            &"x".repeat(64),
        ] {
            assert_eq!(SessionId::new(id).unwrap().as_str(), id);
        }
        for (id, fault) in [
            ("", ValueFault::Missing),
            ("-a", ValueFault::StrayDash),
            ("a-", ValueFault::StrayDash),
            ("a--b", ValueFault::StrayDash),
            ("a b", ValueFault::Malformed),
            ("a%20b", ValueFault::Malformed),
            ("ä", ValueFault::Malformed),
            ("a\n", ValueFault::Malformed),
            ("worker-city-1", ValueFault::ParameterInside),
            ("worker-OS", ValueFault::ParameterInside),
            (&"x".repeat(65), ValueFault::TooLong),
        ] {
            assert_eq!(SessionId::new(id), Err(fault), "{id}");
        }
    }
}
