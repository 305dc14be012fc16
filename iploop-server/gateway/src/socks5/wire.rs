//! The messages of SOCKS5 (RFC 1928) and its password login (RFC 1929), read from what has arrived so far.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{BufMut, BytesMut};
use iploop_protocol::destination::{Destination, Host, HostError};

/// The version byte of SOCKS5.
pub(super) const VERSION: u8 = 0x05;
/// The version byte of the password login.
const LOGIN_VERSION: u8 = 0x01;
/// No login: by the client's address.
pub(super) const METHOD_FREE: u8 = 0x00;
/// User name and password.
pub(super) const METHOD_PASSWORD: u8 = 0x02;
/// None of the offered methods will do.
pub(super) const METHOD_NONE: u8 = 0xFF;

/// Why a message can't be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SocksFault {
    /// Another version.
    #[error("this is not SOCKS version 5")]
    Version,
    /// Another form of login.
    #[error("this is not a login of RFC 1929")]
    LoginVersion,
    /// The reserved byte says something.
    #[error("the reserved byte is not 0")]
    Reserved,
    /// BIND, something unknown, or UDP ASSOCIATE where it is not open.
    #[error("only CONNECT is offered, and UDP ASSOCIATE where it is open")]
    Command,
    /// Neither IPv4 nor IPv6 nor a name.
    #[error("the address type is not known")]
    AddressType,
    /// A name that leads nowhere.
    #[error("the destination is not valid: {0}")]
    Destination(HostError),
}

/// A message, and how many bytes it took; none if more must come.
pub(super) type Parsed<T> = Result<Option<(T, usize)>, SocksFault>;

/// The ways of logging in that a customer offers and we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offered {
    /// By a password.
    pub(super) password: bool,
    /// By nothing.
    pub(super) free: bool,
}

/// `VER NMETHODS METHODS`: what is offered.
pub(super) fn greeting(input: &[u8]) -> Parsed<Offered> {
    let &[version, ref rest @ ..] = input else {
        return Ok(None);
    };
    if version != VERSION {
        return Err(SocksFault::Version);
    }
    let Some((methods, end)) = counted(rest, 1) else {
        return Ok(None);
    };
    let offered = Offered {
        password: methods.contains(&METHOD_PASSWORD),
        free: methods.contains(&METHOD_FREE),
    };
    Ok(Some((offered, end)))
}

/// `VER ULEN UNAME PLEN PASSWD`: user name and password.
pub(super) fn login(input: &[u8]) -> Parsed<(&[u8], &[u8])> {
    let &[version, ref rest @ ..] = input else {
        return Ok(None);
    };
    if version != LOGIN_VERSION {
        return Err(SocksFault::LoginVersion);
    }
    let Some((user, at)) = counted(rest, 1) else {
        return Ok(None);
    };
    let Some((password, end)) = input.get(at..).and_then(|rest| counted(rest, at)) else {
        return Ok(None);
    };
    Ok(Some(((user, password), end)))
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A connection.
    Connect(Destination),
    /// Datagrams, from this address where the customer knows it; a name is none.
    Associate(Option<SocketAddr>),
}

const IPV4: u8 = 0x01;
const NAME: u8 = 0x03;
const IPV6: u8 = 0x04;

/// `VER CMD RSV ATYP DST.ADDR DST.PORT`: a request.
///
/// # Errors
/// As soon as a byte makes it certain; each error is a reply code (RFC 1928 section 6).
pub(super) fn request(input: &[u8]) -> Parsed<Asked> {
    const CONNECT: u8 = 0x01;
    const ASSOCIATE: u8 = 0x03;
    let Some(&[version, command, reserved, kind]) = input.first_chunk::<4>() else {
        return match input {
            [version, ..] if *version != VERSION => Err(SocksFault::Version),
            _ => Ok(None),
        };
    };
    if version != VERSION {
        return Err(SocksFault::Version);
    }
    if reserved != 0 {
        return Err(SocksFault::Reserved);
    }
    // The address is read even where the command is refused, so that the reply answers a whole request.
    let Some((host, port, end)) = address(kind, &input[4..], 4)? else {
        return Ok(None);
    };
    let asked = match command {
        CONNECT => Asked::Connect(Destination::new(host.map_err(SocksFault::Destination)?, port)),
        ASSOCIATE => Asked::Associate(match host {
            Ok(Host::Ip(ip)) => Some(SocketAddr::new(ip, port)),
            Ok(Host::Name(_)) | Err(_) => None,
        }),
        _ => return Err(SocksFault::Command),
    };
    Ok(Some((asked, end)))
}

/// `RSV FRAG ATYP DST.ADDR DST.PORT DATA`: a datagram's destination and content; none if it is malformed or a fragment.
pub(super) fn datagram(input: &[u8]) -> Option<(Destination, &[u8])> {
    let (&[0, 0, 0, kind], rest) = input.split_first_chunk::<4>()? else {
        return None;
    };
    let (host, port, end) = address(kind, rest, 4).ok()??;
    Some((Destination::new(host.ok()?, port), &input[end..]))
}

/// Writes `ATYP ADDR PORT`.
pub(crate) fn put_address(out: &mut BytesMut, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.put_u8(IPV4);
            out.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.put_u8(IPV6);
            out.put_slice(&ip.octets());
        }
    }
    out.put_u16(address.port());
}

/// Host, port and where they end.
type Address = (Result<Host, HostError>, u16, usize);

/// An address of this type; `at` bytes come before it.
fn address(kind: u8, rest: &[u8], at: usize) -> Result<Option<Address>, SocksFault> {
    let (host, length) = match kind {
        IPV4 => match rest.first_chunk::<4>() {
            Some(octets) => (Ok(Host::Ip(IpAddr::V4(Ipv4Addr::from(*octets)))), 4),
            None => return Ok(None),
        },
        IPV6 => match rest.first_chunk::<16>() {
            Some(octets) => (Ok(Host::Ip(IpAddr::V6(Ipv6Addr::from(*octets)))), 16),
            None => return Ok(None),
        },
        NAME => match counted(rest, 0) {
            Some((name, end)) => (Host::from_bytes(name), end),
            None => return Ok(None),
        },
        _ => return Err(SocksFault::AddressType),
    };
    let port = rest.get(length..).and_then(<[u8]>::first_chunk::<2>);
    Ok(port.map(|port| (host, u16::from_be_bytes(*port), at + length + 2)))
}

/// A field with its length in front, and where it ends; `at` bytes come before the length.
fn counted(input: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let (&length, rest) = input.split_first()?;
    let field = rest.get(..usize::from(length))?;
    Some((field, at + 1 + field.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::ProxyError;
    use proptest::prelude::*;

    /// Feeds a message byte by byte: none until its last byte, whatever follows.
    fn byte_by_byte<T: PartialEq + std::fmt::Debug>(
        message: &[u8],
        read: impl Fn(&[u8]) -> Parsed<T>,
        expected: T,
    ) {
        for end in 0..message.len() {
            assert_eq!(read(&message[..end]), Ok(None), "after {end} bytes");
        }
        let whole = Ok(Some((expected, message.len())));
        assert_eq!(read(message), whole);
        assert_eq!(read(&[message, b"rest"].concat()), whole);
    }

    fn asked(kind: u8, address: &[u8]) -> Vec<u8> {
        [&[5, 1, 0, kind], address, &[0x01, 0xbb]].concat()
    }

    #[test]
    fn greetings_arrive_byte_by_byte() {
        let offered = |password, free| Offered { password, free };
        byte_by_byte(&[5, 1, 2], greeting, offered(true, false));
        byte_by_byte(&[5, 2, 0, 1], greeting, offered(false, true));
        byte_by_byte(&[5, 0], greeting, offered(false, false));
        let all: Vec<u8> = [5, 255].into_iter().chain(1..=255).collect();
        byte_by_byte(&all, greeting, offered(true, false));
    }

    #[test]
    fn logins_have_fields_of_up_to_255_bytes() {
        let user = [b'u'; 255];
        let password = [b'p'; 255];
        let message = [&[1, 255][..], &user, &[255], &password].concat();
        assert_eq!(message.len(), 513);
        for end in 0..message.len() {
            assert_eq!(login(&message[..end]), Ok(None));
        }
        assert_eq!(
            login(&message),
            Ok(Some(((&user[..], &password[..]), message.len())))
        );
        assert_eq!(login(&[1, 0, 0]), Ok(Some(((&[][..], &[][..]), 3))));
        assert!(login(&[5]).is_err());
    }

    #[test]
    fn requests_arrive_byte_by_byte() {
        for (kind, address, to) in [
            (1, &[1, 2, 3, 4][..], "1.2.3.4:443"),
            (3, b"\x0bExample.com", "example.com:443"),
            (3, b"\x071.2.3.4", "1.2.3.4:443"),
            (3, b"\x142606:4700:4700::1111", "[2606:4700:4700::1111]:443"),
            (
                4,
                &[0x26, 6, 0x47, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0x11],
                "[2606:4700::1111]:443",
            ),
        ] {
            byte_by_byte(
                &asked(kind, address),
                request,
                Asked::Connect(Destination::parse_authority(to).unwrap()),
            );
        }
        let name = [vec![253], vec![b'a'; 253]].concat();
        assert!(matches!(
            request(&asked(3, &name)),
            Err(SocksFault::Destination(_))
        ));
    }

    #[test]
    fn each_refusal_has_its_reply_code() {
        for (message, reply) in [
            (vec![5, 2, 0, 1, 1, 2, 3, 4, 0, 80], 0x07),
            (vec![5, 9, 0, 1, 1, 2, 3, 4, 0, 80], 0x07),
            (vec![5, 1, 0, 2], 0x08),
            (vec![5, 1, 0, 0], 0x08),
            (vec![5, 1, 1, 1], 0x01),
            (vec![4], 0x01),
            (asked(3, b"\x00"), 0x01),
            (asked(3, b"\x06a..com"), 0x01),
            (asked(3, b"\x060x7f.1"), 0x01),
            (asked(3, b"\x0a2130706433"), 0x01),
            (asked(3, b"\x05a\r\nb:"), 0x01),
            (asked(3, b"\x05a\x00b.c"), 0x01),
        ] {
            assert_eq!(
                ProxyError::from(request(&message).unwrap_err()).row().reply as u8,
                reply,
                "{message:?}"
            );
        }
    }

    #[test]
    fn associations_name_the_customers_address_or_none() {
        let asked = |bytes: &[u8]| request(bytes).unwrap().unwrap().0;
        for (address, expected) in [
            (&[1, 0, 0, 0, 0, 0, 0][..], Some("0.0.0.0:0")),
            (&[1, 192, 0, 2, 7, 4, 0], Some("192.0.2.7:1024")),
            (b"\x03\x01x\x00\x00", None),
            (b"\x03\x00\x00\x00", None),
        ] {
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(asked(&[&[5, 3, 0], address].concat()), Asked::Associate(expected));
        }
    }

    #[test]
    fn datagrams_carry_their_address_and_fragments_are_refused() {
        for (bytes, to, data) in [
            (
                &b"\0\0\0\x01\x01\x01\x01\x01\x01\xbbdata"[..],
                "1.1.1.1:443",
                &b"data"[..],
            ),
            (b"\0\0\0\x03\x09a.example\x01\xbb", "a.example:443", b""),
            (
                b"\0\0\0\x04\x26\x06\x47\0\0\0\0\0\0\0\0\0\0\0\x11\x11\x01\xbbx",
                "[2606:4700::1111]:443",
                b"x",
            ),
        ] {
            assert_eq!(datagram(bytes), Some((to.parse().unwrap(), data)));
        }
        for bytes in [
            &b""[..],
            b"\0\0\0\x01\x01\x01\x01\x01\x01",
            b"\0\0\x01\x01\x01\x01\x01\x01\x01\xbbfirst of many",
            b"\0\0\x80\x01\x01\x01\x01\x01\x01\xbbthe last of many",
            b"\0\x01\0\x01\x01\x01\x01\x01\x01\xbbreserved",
            b"\0\0\0\x02\x01\x01\x01\x01\x01\xbb",
            b"\0\0\0\x03\x060x7f.1\x01\xbb",
        ] {
            assert_eq!(datagram(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (greeting(&bytes), login(&bytes), request(&bytes), datagram(&bytes));
        }
    }
}
