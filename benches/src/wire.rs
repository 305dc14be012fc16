//! The origin's protocol: one fixed header from the client, then pattern bytes both ways.
//!
//! ```text
//! "IPBX" seed:u32 up:u64 down:u64      exchange: `up` bytes follow and are checked, `down` bytes come back
//! "IPBS" seed:u32 0:u64  0:u64         stall: what follows is never read
//! "GET "                               HTTP/1.1: answered with 1 KiB of pattern
//! ```
//!
//! Numbers are little-endian. Exchanges may be repeated and pipelined on one connection. A payload that is not the pattern
//! ends the connection: an answer means that every byte before it was checked.

/// Bytes of an encoded [`Request`].
pub(crate) const HEADER_BYTES: usize = 24;

const EXCHANGE: [u8; 4] = *b"IPBX";
const STALL: [u8; 4] = *b"IPBS";

/// What a client asks of the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Take `up` bytes, check them, then give `down` bytes, both of the pattern of `seed`.
    Exchange { seed: u32, up: u64, down: u64 },
    /// Read nothing more, hold the connection.
    Stall { seed: u32 },
}

/// The first bytes are no request of this protocol.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotOurs;

impl Request {
    pub(crate) fn encode(self) -> [u8; HEADER_BYTES] {
        let (magic, seed, up, down) = match self {
            Request::Exchange { seed, up, down } => (EXCHANGE, seed, up, down),
            Request::Stall { seed } => (STALL, seed, 0, 0),
        };
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&magic);
        header[4..8].copy_from_slice(&seed.to_le_bytes());
        header[8..16].copy_from_slice(&up.to_le_bytes());
        header[16..].copy_from_slice(&down.to_le_bytes());
        header
    }

    pub(crate) fn decode(header: &[u8; HEADER_BYTES]) -> Result<Request, NotOurs> {
        let seed = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&header[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        match [header[0], header[1], header[2], header[3]] {
            EXCHANGE => Ok(Request::Exchange {
                seed,
                up: number(8),
                down: number(16),
            }),
            STALL => Ok(Request::Stall { seed }),
            _ => Err(NotOurs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_wire() {
        for request in [
            Request::Exchange {
                seed: u32::MAX,
                up: 40,
                down: u64::MAX,
            },
            Request::Stall { seed: 5 },
        ] {
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert_eq!(Request::decode(b"GET / HTTP/1.1\r\nHost: a\r"), Err(NotOurs));
    }
}
