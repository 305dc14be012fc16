//! What the fields of a request say that concerns a proxy, and the head that goes on.

use bytes::{BufMut, BytesMut};
use iploop_protocol::destination::Destination;

use super::super::fields::{self, ConnectionOptions, Field, OptionsFault, put_field};
use super::super::target::Target;
use super::{Forward, Framing, RequestFault, Version};

/// What the fields say that concerns a proxy.
pub(super) struct Seen<'a> {
    host: Option<&'a [u8]>,
    pub(super) framing: Framing,
    pub(super) options: ConnectionOptions<'a>,
    pub(super) proxy_close: bool,
    pub(super) authorization: Option<&'a [u8]>,
    websocket: Option<&'a [u8]>,
    expects_continue: bool,
    max_forwards: Option<u32>,
    pub(super) rotate: bool,
}

impl<'a> Seen<'a> {
    pub(super) fn gather(fields: &[httparse::Header<'a>], version: Version) -> Result<Self, RequestFault> {
        let mut seen = Seen {
            host: None,
            framing: Framing::None,
            options: ConnectionOptions::default(),
            proxy_close: false,
            authorization: None,
            websocket: None,
            expects_continue: false,
            max_forwards: None,
            rotate: false,
        };
        let (mut length, mut chunked, mut upgrades) = (None, false, 0);
        for field in fields {
            let value = field.value;
            match Field::of(field.name) {
                Field::Host if seen.host.replace(value).is_some() => return Err(RequestFault::HostCount),
                Field::Host => {}
                Field::ContentLength => {
                    let parsed = fields::parse_length(value).map_err(|_| RequestFault::ContentLength)?;
                    if length.replace(parsed).is_some() {
                        return Err(RequestFault::ContentLength);
                    }
                }
                Field::TransferEncoding => {
                    if chunked || version == Version::Http10 || !value.eq_ignore_ascii_case(b"chunked") {
                        return Err(RequestFault::TransferEncoding);
                    }
                    chunked = true;
                }
                Field::Lookalike => return Err(RequestFault::Lookalike),
                Field::Connection => seen.options.add(value).map_err(|fault| match fault {
                    OptionsFault::Essential => RequestFault::ConnectionNames,
                    OptionsFault::Malformed => RequestFault::Connection,
                })?,
                Field::ProxyConnection => seen.proxy_close |= value.eq_ignore_ascii_case(b"close"),
                Field::ProxyAuthorization if seen.authorization.replace(value).is_some() => {
                    return Err(RequestFault::TwoLogins);
                }
                Field::ProxyAuthorization => {}
                Field::Upgrade => {
                    upgrades += 1;
                    seen.websocket = Some(value).filter(|value| value.eq_ignore_ascii_case(b"websocket"));
                }
                // HTTP/1.0 has no interim responses (RFC 9110 section 10.1.1).
                Field::Expect if version == Version::Http10 => {}
                Field::Expect if seen.expects_continue || !value.eq_ignore_ascii_case(b"100-continue") => {
                    return Err(RequestFault::Expect);
                }
                Field::Expect => seen.expects_continue = true,
                Field::MaxForwards => {
                    // Digits and nothing else: a sign would parse too.
                    let is_number = value.len() <= 9 && value.iter().all(u8::is_ascii_digit);
                    let text = std::str::from_utf8(value).ok().filter(|_| is_number);
                    let parsed = text
                        .and_then(|text| text.parse().ok())
                        .ok_or(RequestFault::MaxForwards)?;
                    if seen.max_forwards.replace(parsed).is_some() {
                        return Err(RequestFault::MaxForwards);
                    }
                }
                Field::Rotate => seen.rotate = value == b"1",
                Field::UserAgent | Field::HopByHop | Field::EndToEnd => {}
            }
        }
        seen.framing = match (length, chunked) {
            (Some(_), true) => return Err(RequestFault::TwoFramings),
            (None, true) => Framing::Chunked,
            (None | Some(0), false) => Framing::None,
            (Some(length), false) => Framing::Length(length),
        };
        // Any other protocol, h2c above all, would speak past our reading of the connection.
        if upgrades != 1
            || !seen.options.upgrade
            || seen.framing != Framing::None
            || version == Version::Http10
        {
            seen.websocket = None;
        }
        Ok(seen)
    }

    pub(super) fn check_host(&self, target: &Target<'_>, version: Version) -> Result<(), RequestFault> {
        let Some(host) = self.host else {
            return if version == Version::Http10 {
                Ok(())
            } else {
                Err(RequestFault::HostCount)
            };
        };
        // For CONNECT many clients leave the port out whatever it is.
        let (destination, default_port) = match target {
            Target::Authority(destination) => (destination, destination.port),
            Target::Absolute { destination, .. } => (destination, 80),
        };
        let text = std::str::from_utf8(host).map_err(|_| RequestFault::HostContradicts)?;
        let host = Destination::parse_authority_or(text, default_port).map_err(RequestFault::Host)?;
        if host == *destination {
            Ok(())
        } else {
            Err(RequestFault::HostContradicts)
        }
    }

    /// Writes the head for the destination: what ends at this hop is gone, the rest is as the customer wrote it.
    pub(super) fn rewrite(
        &self,
        fields: &[httparse::Header<'_>],
        method: &str,
        path: &str,
        destination: &Destination,
        length: usize,
    ) -> Result<Forward, RequestFault> {
        let mut out = BytesMut::with_capacity(length + 32);
        out.put_slice(method.as_bytes());
        out.put_slice(match path.as_bytes() {
            [] if method == "OPTIONS" => b" *",
            [b'/', ..] => b" ",
            _ => b" /",
        });
        out.put_slice(path.as_bytes());
        out.put_slice(b" HTTP/1.1\r\n");
        if self.host.is_none() {
            put_field(&mut out, "Host", host_of(destination).as_bytes());
        }
        let mut user_agent = None;
        for field in fields {
            match Field::of(field.name) {
                _ if self.options.names(field.name) => {}
                Field::ContentLength => match self.framing {
                    Framing::Length(length) => put_field(&mut out, field.name, length.to_string().as_bytes()),
                    _ => put_field(&mut out, field.name, b"0"),
                },
                Field::TransferEncoding => put_field(&mut out, field.name, b"chunked"),
                Field::Expect if self.expects_continue => put_field(&mut out, field.name, field.value),
                Field::MaxForwards if method == "OPTIONS" => {
                    let left = self.max_forwards.and_then(|left| left.checked_sub(1));
                    let left = left.ok_or(RequestFault::MaxForwards)?;
                    put_field(&mut out, field.name, left.to_string().as_bytes());
                }
                Field::UserAgent => {
                    let start = out.len() + field.name.len() + 2;
                    put_field(&mut out, field.name, field.value);
                    user_agent = Some(start..start + field.value.len());
                }
                Field::Host | Field::EndToEnd | Field::MaxForwards => {
                    put_field(&mut out, field.name, field.value)
                }
                Field::Connection
                | Field::ProxyConnection
                | Field::ProxyAuthorization
                | Field::Upgrade
                | Field::Expect
                | Field::Rotate
                | Field::Lookalike
                | Field::HopByHop => {}
            }
        }
        if let Some(protocol) = self.websocket {
            put_field(&mut out, "Connection", b"Upgrade");
            put_field(&mut out, "Upgrade", protocol);
        }
        out.put_slice(b"\r\n");
        Ok(Forward {
            head: out.freeze(),
            user_agent,
            body: self.framing,
            expects_continue: self.expects_continue,
            is_head: method == "HEAD",
            is_idempotent: matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE"),
            upgrade: self.websocket.is_some(),
        })
    }
}

/// The value of `Host` where the customer sent none: without the scheme's own port.
fn host_of(destination: &Destination) -> String {
    let text = destination.to_string();
    match text.strip_suffix(":80") {
        Some(host) if destination.port == 80 => host.to_owned(),
        _ => text,
    }
}
