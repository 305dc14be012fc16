//! Which header fields belong to one hop, which decide how a message is framed, and which are ours.

use bytes::{BufMut, BytesMut};

/// What a field means to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Upgrade,
    Expect,
    MaxForwards,
    UserAgent,
    ProxyAuthorization,
    ProxyConnection,
    /// `X-IPLoop-Rotate`: the customer asks for a new exit of a session.
    Rotate,
    /// Ends at this hop: `Keep-Alive`, `TE`, every other `Proxy-…`, and `X-IPLoop-…`, which only we may say.
    HopByHop,
    /// Reads like a framing field to an origin that takes `_` for `-`.
    Lookalike,
    /// Goes on as it is.
    EndToEnd,
}

impl Field {
    pub(super) fn of(name: &str) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let begins = |prefix: &str| {
            name.as_bytes()
                .get(..prefix.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        // By length first: most fields of a browser match none and cost one comparison.
        match name.len() {
            4 if is("host") => Self::Host,
            2 if is("te") => Self::HopByHop,
            6 if is("expect") => Self::Expect,
            7 if is("upgrade") => Self::Upgrade,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::HopByHop,
            10 if is("user-agent") => Self::UserAgent,
            12 if is("max-forwards") => Self::MaxForwards,
            14 if is("content-length") => Self::ContentLength,
            14 if is("content_length") => Self::Lookalike,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            17 if is("transfer_encoding") => Self::Lookalike,
            16 if is("proxy-connection") => Self::ProxyConnection,
            19 if is("proxy-authorization") => Self::ProxyAuthorization,
            15 if is("x-iploop-rotate") => Self::Rotate,
            // RFC 7540 section 3.2.1: only there for an upgrade that we never pass on.
            14 if is("http2-settings") => Self::HopByHop,
            _ if begins("proxy-") || begins("x-iploop-") => Self::HopByHop,
            _ => Self::EndToEnd,
        }
    }
}

/// Fields that `Connection` may not declare to be for one hop: dropping them would change what the message means
/// (RFC 9110 section 7.6.1: never a field that is intended for all recipients).
const ESSENTIAL: &[&str] = &[
    "accept",
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "set-cookie",
    "trailer",
    "transfer-encoding",
    "user-agent",
    "vary",
    "www-authenticate",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Of these, what ends at each hop by itself: origins that follow RFC 2616 section 13.5.1 name it too, and mean no more by it.
const NAMED_BY_ORIGINS: &[&str] = &["proxy-authenticate", "trailer", "transfer-encoding"];

/// Most options of all `Connection` fields together: each costs a comparison with each field.
const MAX_OPTIONS: usize = 16;

/// What `Connection` says.
#[derive(Debug, Default)]
pub(super) struct ConnectionOptions<'a> {
    names: Vec<&'a str>,
    /// `close` is among them.
    pub(super) close: bool,
    /// `upgrade` is among them.
    pub(super) upgrade: bool,
}

/// Why `Connection` can't be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OptionsFault {
    /// It names a field that is for all recipients.
    Essential,
    /// An option that is no token, or too many of them.
    Malformed,
}

impl<'a> ConnectionOptions<'a> {
    /// Adds the options of one `Connection` field of a request.
    pub(super) fn add(&mut self, value: &'a [u8]) -> Result<(), OptionsFault> {
        self.add_but(value, &[])
    }

    /// The same of a response, whose framing is written anew whatever it names.
    pub(super) fn add_of_response(&mut self, value: &'a [u8]) -> Result<(), OptionsFault> {
        self.add_but(value, NAMED_BY_ORIGINS)
    }

    fn add_but(&mut self, value: &'a [u8], harmless: &[&str]) -> Result<(), OptionsFault> {
        let text = std::str::from_utf8(value).map_err(|_| OptionsFault::Malformed)?;
        for option in text.split(',').map(|option| option.trim_matches([' ', '\t'])) {
            if option.is_empty() {
                continue;
            }
            if !option.bytes().all(is_token_byte) || self.names.len() == MAX_OPTIONS {
                return Err(OptionsFault::Malformed);
            }
            let is_among = |names: &[&str]| names.iter().any(|name| option.eq_ignore_ascii_case(name));
            if is_among(harmless) {
                continue;
            }
            if is_among(ESSENTIAL) {
                return Err(OptionsFault::Essential);
            }
            if option.eq_ignore_ascii_case("close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case("upgrade") {
                self.upgrade = true;
            } else if !option.eq_ignore_ascii_case("keep-alive") {
                self.names.push(option);
            }
        }
        Ok(())
    }

    /// Whether a field is declared to be for this hop.
    pub(super) fn names(&self, field: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(field))
    }
}

/// Why a `Content-Length` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotALength;

/// Reads the value of `Content-Length`: plain decimal, no list, at most what a signed 64-bit number holds.
pub(super) fn parse_length(value: &[u8]) -> Result<u64, NotALength> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(NotALength);
    }
    let text = std::str::from_utf8(value).map_err(|_| NotALength)?;
    text.parse()
        .ok()
        .filter(|&length| i64::try_from(length).is_ok())
        .ok_or(NotALength)
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Most fields of a trailer section.
const MAX_TRAILER_FIELDS: usize = 32;

/// Writes a trailer section anew, with its empty line; none if it is malformed. Fields that frame, route, authenticate or
/// speak for us are left out (RFC 9110 section 6.5.1).
pub(super) fn rewrite_trailers(section: &[u8], out: &mut BytesMut) -> Result<(), NotTrailers> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut fields) else {
        return Err(NotTrailers);
    };
    for field in fields.iter().filter(|field| may_be_trailer(field.name)) {
        put_field(out, field.name, field.value);
    }
    out.put_slice(b"\r\n");
    Ok(())
}

/// A trailer section that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotTrailers;

/// Writes one field line.
pub(super) fn put_field(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

fn may_be_trailer(name: &str) -> bool {
    Field::of(name) == Field::EndToEnd
        && !ESSENTIAL
            .iter()
            .any(|essential| name.eq_ignore_ascii_case(essential))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_known_whatever_their_case() {
        for (name, field) in [
            ("HOST", Field::Host),
            ("content-Length", Field::ContentLength),
            ("Transfer-Encoding", Field::TransferEncoding),
            ("Content_Length", Field::Lookalike),
            ("Transfer_Encoding", Field::Lookalike),
            ("Proxy-Authorization", Field::ProxyAuthorization),
            ("proxy-foo", Field::HopByHop),
            ("X-IPLoop-Exit-Ip", Field::HopByHop),
            ("x-iploop-rotate", Field::Rotate),
            ("TE", Field::HopByHop),
            ("Te-Deum", Field::EndToEnd),
            ("Accept", Field::EndToEnd),
        ] {
            assert_eq!(Field::of(name), field, "{name}");
        }
    }

    #[test]
    fn connection_may_not_take_essential_fields_away() {
        let mut options = ConnectionOptions::default();
        assert_eq!(options.add(b"close, X-Custom ,, keep-alive,Upgrade"), Ok(()));
        assert!(
            options.close && options.upgrade && options.names("x-custom") && !options.names("keep-alive")
        );
        for value in [
            &b"Host"[..],
            b"close, content-length",
            b"Transfer-Encoding",
            b"proxy-authorization",
            b"cookie",
        ] {
            assert_eq!(
                ConnectionOptions::default().add(value),
                Err(OptionsFault::Essential)
            );
        }
        for value in [
            &b"a b"[..],
            b"clo\x80se",
            b"a;b",
            b"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q",
        ] {
            assert_eq!(
                ConnectionOptions::default().add(value),
                Err(OptionsFault::Malformed)
            );
        }
    }

    #[test]
    fn trailers_carry_nothing_that_matters_to_a_hop() {
        let rewrite = |section: &str| {
            let mut out = BytesMut::new();
            rewrite_trailers(section.as_bytes(), &mut out).map(|()| String::from_utf8(out.to_vec()).unwrap())
        };
        assert_eq!(
            rewrite("X-Sum: 1\r\nContent-Length: 5\r\nHost: evil\r\nX-IPLoop-Error: x\r\nCookie: y\r\n\r\n"),
            Ok("X-Sum: 1\r\n\r\n".to_owned())
        );
        assert_eq!(rewrite("\r\n"), Ok("\r\n".to_owned()));
        assert_eq!(rewrite("no colon\r\n\r\n"), Err(NotTrailers));
        assert_eq!(
            rewrite(&format!("{}\r\n", "a: b\r\n".repeat(33))),
            Err(NotTrailers)
        );
    }

    #[test]
    fn lengths_are_plain_decimal() {
        assert_eq!(parse_length(b"0"), Ok(0));
        assert_eq!(parse_length(b"9223372036854775807"), Ok(i64::MAX.unsigned_abs()));
        for value in [
            &b""[..],
            b"+1",
            b"-1",
            b"1,1",
            b"1 ",
            b" 1",
            b"0x1",
            b"9223372036854775808",
            b"99999999999999999999",
        ] {
            assert_eq!(parse_length(value), Err(NotALength), "{value:?}");
        }
    }
}
