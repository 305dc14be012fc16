//! The PROXY protocol, versions 1 and 2: by it a balancer in front of us says who its connection is from.
//!
//! Believed from trusted balancers alone, and required of them: a balancer that did not send it would pass on whatever its own
//! client writes in its place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use tokio::time::Instant;

use crate::answer::ProxyError;
use crate::connection::Connection;

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Longest line of version 1, by its specification.
const MAX_V1_BYTES: usize = 107;

/// Longest address block of version 2 with what may follow it. Balancers send some hundred bytes at most.
const MAX_V2_BYTES: usize = 1024;

/// Why a connection is not served.
pub(super) enum Refused {
    /// Nothing came, or no more of it, in time.
    Gone,
    /// What came can't be followed.
    Error(ProxyError),
}

/// A preface that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Preface {
    /// Who the connection is from; none where the balancer speaks for itself, or does not know.
    client: Option<SocketAddr>,
    length: usize,
}

/// What the first bytes are.
#[derive(Debug, PartialEq, Eq)]
enum Reading {
    Whole(Preface),
    /// More must come.
    Part,
    /// Something else: no preface begins like this.
    Other,
    Malformed(&'static str),
}

/// Takes the preface of a trusted balancer off the connection, and refuses anybody else's.
pub(super) async fn take(
    trusted: &[IpNet],
    customer: &mut Connection,
    deadline: Instant,
) -> Result<(), Refused> {
    let peer = customer.peer().ip();
    let is_trusted = trusted.iter().any(|net| net.contains(&peer));
    loop {
        match read(customer.ahead()) {
            Reading::Other if !is_trusted => return Ok(()),
            Reading::Other => return Err(refused("it does not begin with one")),
            Reading::Malformed(what) => return Err(refused(what)),
            Reading::Whole(_) if !is_trusted => return Err(refused("its sender is not a trusted balancer")),
            Reading::Whole(Preface { client, length }) => {
                customer.take(length);
                if let Some(client) = client {
                    customer.comes_from(client);
                }
                return match customer.ahead().is_empty() {
                    true => more(customer, deadline).await,
                    false => Ok(()),
                };
            }
            Reading::Part => match more(customer, deadline).await {
                // No preface after all, and what it is instead is told what it lacks: `POST` begins like one.
                Err(Refused::Gone) if !is_trusted => return Ok(()),
                read => read?,
            },
        }
    }
}

async fn more(customer: &mut Connection, deadline: Instant) -> Result<(), Refused> {
    match customer.read_more(deadline).await {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(Refused::Gone),
    }
}

fn refused(what: &'static str) -> Refused {
    Refused::Error(ProxyError::Preface(what))
}

fn read(input: &[u8]) -> Reading {
    if begins(input, V1) {
        return if input.len() < V1.len() {
            Reading::Part
        } else {
            read_v1(input)
        };
    }
    // One empty line before a request is tolerated: only the fifth byte tells this from one.
    if begins(input, V2) {
        return if input.len() < V2.len() {
            Reading::Part
        } else {
            read_v2(input)
        };
    }
    Reading::Other
}

/// Whether `input` is the beginning of `whole`, or `whole` that of `input`.
fn begins(input: &[u8], whole: &[u8]) -> bool {
    let length = input.len().min(whole.len());
    input[..length] == whole[..length]
}

/// `PROXY TCP4 source destination port port`, or `PROXY UNKNOWN` and anything.
fn read_v1(input: &[u8]) -> Reading {
    let bounded = &input[..input.len().min(MAX_V1_BYTES)];
    let Some(end) = bounded.windows(2).position(|bytes| bytes == b"\r\n") else {
        return match bounded.len() {
            MAX_V1_BYTES => Reading::Malformed("its line is too long"),
            _ => Reading::Part,
        };
    };
    let length = end + 2;
    let Ok(line) = std::str::from_utf8(&input[V1.len()..end]) else {
        return Reading::Malformed("its line is not text");
    };
    let words: Vec<&str> = line.splitn(6, ' ').collect();
    let client = match words[..] {
        ["UNKNOWN", ..] => None,
        [family @ ("TCP4" | "TCP6"), source, _, port, _] => {
            let ip = source.parse::<IpAddr>().ok();
            let port = port.parse::<u16>().ok();
            match (ip, port) {
                (Some(ip), Some(port)) if ip.is_ipv4() == (family == "TCP4") => {
                    Some(SocketAddr::new(ip.to_canonical(), port))
                }
                _ => return Reading::Malformed("its address is not valid"),
            }
        }
        _ => return Reading::Malformed("its line is not of version 1"),
    };
    Reading::Whole(Preface { client, length })
}

/// Signature, version and command, family, length, addresses.
fn read_v2(input: &[u8]) -> Reading {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    const TCP4: u8 = 0x11;
    const TCP6: u8 = 0x21;
    let Some(&[command, family, high, low]) = input[V2.len()..].first_chunk::<4>() else {
        return Reading::Part;
    };
    let block = usize::from(u16::from_be_bytes([high, low]));
    if block > MAX_V2_BYTES {
        return Reading::Malformed("it is too long");
    }
    let begin = V2.len() + 4;
    let length = begin + block;
    let Some(block) = input.get(begin..length) else {
        return Reading::Part;
    };
    let client = match (command, family) {
        (LOCAL, _) => None,
        (PROXY, TCP4) => match block.first_chunk::<12>() {
            Some(&[a, b, c, d, _, _, _, _, high, low, _, _]) => Some(SocketAddr::new(
                Ipv4Addr::new(a, b, c, d).into(),
                u16::from_be_bytes([high, low]),
            )),
            None => return Reading::Malformed("its addresses are cut off"),
        },
        (PROXY, TCP6) => match (block.first_chunk::<16>(), block.get(32..34), block.len() >= 36) {
            (Some(&ip), Some(&[high, low]), true) => Some(SocketAddr::new(
                IpAddr::from(Ipv6Addr::from(ip)).to_canonical(),
                u16::from_be_bytes([high, low]),
            )),
            _ => return Reading::Malformed("its addresses are cut off"),
        },
        // UNIX sockets, datagrams, unspecified: nothing that we listen on.
        (PROXY, _) => None,
        _ => return Reading::Malformed("its version or command is not known"),
    };
    Reading::Whole(Preface { client, length })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [V2, &[command, family], &length, block].concat()
    }

    #[test]
    fn prefaces_arrive_byte_by_byte() {
        let v6 = [
            &[0x20, 1, 0xd, 0xb8][..],
            &[0; 11],
            &[7],
            &[0; 16],
            &[0x04, 0, 0x1e, 0x61],
        ]
        .concat();
        for (bytes, client) in [
            (
                b"PROXY TCP4 192.0.2.7 198.51.100.1 1024 7777\r\n".to_vec(),
                Some("192.0.2.7:1024"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 2001:db8::1 1024 7777\r\n".to_vec(),
                Some("[2001:db8::7]:1024"),
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1024 7777\r\n".to_vec(),
                Some("192.0.2.7:1024"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ff:: ff:: 65535 65535\r\n".to_vec(), None),
            (
                v2(0x21, 0x11, &[192, 0, 2, 7, 198, 51, 100, 1, 4, 0, 0x1e, 0x61]),
                Some("192.0.2.7:1024"),
            ),
            (v2(0x21, 0x21, &v6), Some("[2001:db8::7]:1024")),
            (
                v2(0x21, 0x11, &[192, 0, 2, 7, 1, 1, 1, 1, 4, 0, 0, 80, 3, 0, 1, 9]),
                Some("192.0.2.7:1024"),
            ),
            (v2(0x20, 0, &[]), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            for end in 0..bytes.len() {
                assert_eq!(
                    read(&bytes[..end]),
                    Reading::Part,
                    "after {end} bytes of {bytes:?}"
                );
            }
            let client = client.map(|text| text.parse().unwrap());
            let length = bytes.len();
            let whole = Reading::Whole(Preface { client, length });
            assert_eq!(read(&[&bytes[..], b"GET"].concat()), whole);
        }
    }

    #[test]
    fn what_begins_like_one_and_is_none_is_malformed_and_the_rest_is_something_else() {
        for bytes in [
            &b"PROXY TCP4 192.0.2.7 198.51.100.1 1024\r\n"[..],
            b"PROXY TCP4 2001:db8::7 2001:db8::1 1024 7777\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 7777\r\n",
            b"PROXY TCP5 192.0.2.7 198.51.100.1 1024 7777\r\n",
            b"PROXY \xff\r\n",
            &[&b"PROXY UNKNOWN "[..], &[b'x'; 100]].concat(),
            &v2(0x31, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 35]),
            &v2(0x21, 0x11, &[0; 1025]),
        ] {
            assert!(matches!(read(bytes), Reading::Malformed(_)), "{bytes:?}");
        }
        for bytes in [
            &b"POST / HTTP/1.1\r\n"[..],
            b"GET",
            b"\x16\x03",
            b"\x05\x01\x02",
            b"\r\nGET",
        ] {
            assert_eq!(read(bytes), Reading::Other);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), second in any::<bool>()) {
            let begin: &[u8] = if second { V2 } else { V1 };
            let _ = (read(&bytes), read(&[begin, &bytes].concat()));
        }
    }
}
