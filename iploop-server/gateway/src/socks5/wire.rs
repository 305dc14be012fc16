//! The messages of SOCKS5 (RFC 1928) and its password login (RFC 1929), read from what has arrived so far.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use iploop_protocol::destination::{Destination, Host, HostError};

/// The version byte of SOCKS5.
pub(super) const VERSION: u8 = 0x05;
/// The version byte of the password login.
const LOGIN_VERSION: u8 = 0x01;
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
    /// BIND, UDP ASSOCIATE or something unknown.
    #[error("only CONNECT is offered")]
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

/// `VER NMETHODS METHODS`: whether a password login is offered.
pub(super) fn greeting(input: &[u8]) -> Parsed<bool> {
    let &[version, ref rest @ ..] = input else {
        return Ok(None);
    };
    if version != VERSION {
        return Err(SocksFault::Version);
    }
    let Some((methods, end)) = counted(rest, 1) else {
        return Ok(None);
    };
    Ok(Some((methods.contains(&METHOD_PASSWORD), end)))
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

/// `VER CMD RSV ATYP DST.ADDR DST.PORT`: the destination of a CONNECT.
///
/// # Errors
/// As soon as a byte makes it certain; each error is a reply code (RFC 1928 section 6).
pub(super) fn request(input: &[u8]) -> Parsed<Destination> {
    const CONNECT: u8 = 0x01;
    const IPV4: u8 = 0x01;
    const NAME: u8 = 0x03;
    const IPV6: u8 = 0x04;
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
    let rest = &input[4..];
    // The address is read even where the command is refused, so that the reply answers a whole request.
    let (host, at) = match kind {
        IPV4 => match rest.first_chunk::<4>() {
            Some(octets) => (Ok(Host::Ip(IpAddr::V4(Ipv4Addr::from(*octets)))), 8),
            None => return Ok(None),
        },
        IPV6 => match rest.first_chunk::<16>() {
            Some(octets) => (Ok(Host::Ip(IpAddr::V6(Ipv6Addr::from(*octets)))), 20),
            None => return Ok(None),
        },
        NAME => match counted(rest, 4) {
            Some((name, end)) => (Host::from_bytes(name), end),
            None => return Ok(None),
        },
        _ => return Err(SocksFault::AddressType),
    };
    let Some(port) = input.get(at..).and_then(<[u8]>::first_chunk::<2>) else {
        return Ok(None);
    };
    if command != CONNECT {
        return Err(SocksFault::Command);
    }
    let host = host.map_err(SocksFault::Destination)?;
    Ok(Some((Destination::new(host, u16::from_be_bytes(*port)), at + 2)))
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
        byte_by_byte(&[5, 1, 2], greeting, true);
        byte_by_byte(&[5, 2, 0, 1], greeting, false);
        byte_by_byte(&[5, 0], greeting, false);
        let all: Vec<u8> = [5, 255].into_iter().chain(1..=255).collect();
        byte_by_byte(&all, greeting, true);
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
                Destination::parse_authority(to).unwrap(),
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
            (vec![5, 3, 0, 1, 0, 0, 0, 0, 0, 0], 0x07),
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

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (greeting(&bytes), login(&bytes), request(&bytes));
        }
    }
}
