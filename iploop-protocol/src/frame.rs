//! The unit on the wire: one frame, its encoding and its decoding (`docs/protocol.md`, Frames).
//!
//! ```text
//!  0      1       2        4            8
//!  +------+-------+--------+------------+---------------------+
//!  | type | flags | length | stream id  | payload (length) …  |
//!  +------+-------+--------+------------+---------------------+
//! ```
//!
//! Integers are big-endian. A message of the carrier (a WebSocket binary message) holds one or more whole frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::codes::{CloseCode, ResetCode};
use crate::destination::{Destination, Host};

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 8;

/// Largest payload of one DATA frame, in bytes.
///
/// 16 KiB: a window update waits at most one frame, 131 ms on a 1 Mbit/s uplink; a TLS record is full.
/// Peers may send less, never more (`docs/protocol.md`, DATA).
pub const MAX_DATA_BYTES: usize = 16 * 1024;

/// Largest payload of any frame: the length field's range.
pub const MAX_PAYLOAD_BYTES: usize = u16::MAX as usize;

/// Largest message of the carrier that a peer has to accept, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 128 * 1024;

/// Longest text in a RESET, in bytes.
pub const MAX_RESET_DETAIL_BYTES: usize = 128;

/// Longest text in a CLOSE, in bytes.
pub const MAX_CLOSE_REASON_BYTES: usize = 256;

/// Largest datagram carried in a DATAGRAM frame, in bytes: what fits a UDP packet over Ethernet, with room.
pub const MAX_DATAGRAM_BYTES: usize = 2048;

/// One relayed connection in a tunnel. 0 is the tunnel itself; odd ids are opened by the hub, even ones by the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

impl StreamId {
    /// The tunnel itself.
    pub const TUNNEL: Self = Self(0);
}

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Bytes to and from one TCP destination.
    Tcp,
    /// UDP datagrams, each with its own address.
    Udp,
}

/// The payload of OPEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// What the stream carries.
    pub kind: StreamKind,
    /// Bytes the opener is ready to receive on this stream.
    pub window_bytes: u32,
    /// Milliseconds that the other side may take to dial.
    pub timeout_ms: u32,
    /// Opaque id of the customer, for limits per customer on the device; the same for all streams of one customer.
    pub customer: u64,
    /// Where to dial. Ignored for [`StreamKind::Udp`].
    pub destination: Destination,
}

/// One frame. Payloads are slices of the message they came in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are those of the frame's line in docs/protocol.md"
)]
pub enum Frame {
    /// A new stream, with the first bytes for its destination.
    Open {
        stream: StreamId,
        open: Open,
        early: Bytes,
        fin: bool,
    },
    /// The answer to OPEN: the destination is connected.
    Opened {
        stream: StreamId,
        window_bytes: u32,
        dial_ms: u32,
    },
    /// Bytes of a stream; `fin`: the last ones in this direction.
    Data {
        stream: StreamId,
        data: Bytes,
        fin: bool,
    },
    /// The stream ends now, in both directions.
    Reset {
        stream: StreamId,
        code: ResetCode,
        detail: Bytes,
    },
    /// Credit: so many more bytes may be sent, on a stream or (stream 0) on the tunnel.
    Window { stream: StreamId, credit_bytes: u32 },
    /// To be answered with PONG and the same value.
    Ping(u64),
    /// The answer to PING.
    Pong(u64),
    /// A part of a control message, JSON (`docs/protocol.md`, Control messages); `more`: further parts follow.
    Control { part: Bytes, more: bool },
    /// No new streams from now on; those open may finish within `grace_ms`.
    Drain { grace_ms: u32 },
    /// One datagram of a UDP stream, from or to `peer`.
    Datagram {
        stream: StreamId,
        peer: Destination,
        data: Bytes,
    },
    /// The tunnel ends now. `retry_after_s` 0: the receiver chooses when to come back.
    Close {
        code: CloseCode,
        retry_after_s: u32,
        reason: Bytes,
    },
    /// A frame of the range kept for extensions, to be skipped.
    Extension,
}

/// Frame types on the wire.
mod kind {
    pub(super) const OPEN: u8 = 0x01;
    pub(super) const OPENED: u8 = 0x02;
    pub(super) const DATA: u8 = 0x03;
    pub(super) const RESET: u8 = 0x04;
    pub(super) const WINDOW: u8 = 0x05;
    pub(super) const PING: u8 = 0x06;
    pub(super) const PONG: u8 = 0x07;
    pub(super) const CONTROL: u8 = 0x08;
    pub(super) const DRAIN: u8 = 0x09;
    pub(super) const DATAGRAM: u8 = 0x0A;
    pub(super) const CLOSE: u8 = 0x0B;
    /// Types from here to 0x7F are skipped by those that do not know them.
    pub(super) const EXTENSION_FIRST: u8 = 0x40;
    pub(super) const EXTENSION_LAST: u8 = 0x7F;
}

/// The FIN flag of OPEN and DATA, the MORE flag of CONTROL.
const FLAG: u8 = 0x01;

/// Address types, as in SOCKS5 (RFC 1928 section 5).
mod address {
    pub(super) const V4: u8 = 0x01;
    pub(super) const NAME: u8 = 0x03;
    pub(super) const V6: u8 = 0x04;
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message ends inside a frame.
    #[error("the message ends inside a frame")]
    Truncated,
    /// The message is empty.
    #[error("the message holds no frame")]
    Empty,
    /// A type that this version does not know and may not skip.
    #[error("unknown frame type {0:#04x}")]
    UnknownType(u8),
    /// A payload of a length that its type can't have.
    #[error("frame type {kind:#04x} can't have {length} bytes")]
    Length {
        /// The frame's type.
        kind: u8,
        /// The length it announced.
        length: usize,
    },
    /// A stream id where none belongs, or none where one belongs.
    #[error("frame type {kind:#04x} can't be on stream {stream}")]
    Stream {
        /// The frame's type.
        kind: u8,
        /// The stream it named.
        stream: u32,
    },
    /// A field with a value it can't have.
    #[error("invalid {0}")]
    Field(&'static str),
}

impl Frame {
    /// Takes the next frame off a message.
    ///
    /// # Errors
    /// Any bytes give a frame or an error; nothing is allocated for a length that is not there.
    pub fn decode(message: &mut Bytes) -> Result<Self, DecodeError> {
        if message.is_empty() {
            return Err(DecodeError::Empty);
        }
        if message.len() < HEADER_BYTES {
            return Err(DecodeError::Truncated);
        }
        let kind = message.get_u8();
        let flags = message.get_u8();
        let length = usize::from(message.get_u16());
        let stream = message.get_u32();
        if message.len() < length {
            return Err(DecodeError::Truncated);
        }
        let mut payload = message.split_to(length);
        let flag = flags & FLAG != 0;
        let on_tunnel = matches!(
            kind,
            kind::PING | kind::PONG | kind::CONTROL | kind::DRAIN | kind::CLOSE
        );
        let anywhere = kind == kind::WINDOW || kind >= kind::EXTENSION_FIRST;
        if !anywhere && on_tunnel != (stream == 0) {
            return Err(DecodeError::Stream { kind, stream });
        }
        let wrong = DecodeError::Length { kind, length };
        let stream = StreamId(stream);
        let exactly = |n: usize| if length == n { Ok(()) } else { Err(wrong) };
        Ok(match kind {
            kind::OPEN => {
                let open = Open::decode(&mut payload)?;
                if payload.len() > MAX_DATA_BYTES || (open.kind == StreamKind::Udp && !payload.is_empty()) {
                    return Err(wrong);
                }
                if open.kind == StreamKind::Udp && flag {
                    return Err(DecodeError::Field("end of a UDP stream"));
                }
                Self::Open {
                    stream,
                    open,
                    early: payload,
                    fin: flag,
                }
            }
            kind::OPENED => {
                exactly(8)?;
                Self::Opened {
                    stream,
                    window_bytes: payload.get_u32(),
                    dial_ms: payload.get_u32(),
                }
            }
            kind::DATA => {
                if length > MAX_DATA_BYTES || (length == 0 && !flag) {
                    return Err(wrong);
                }
                Self::Data {
                    stream,
                    data: payload,
                    fin: flag,
                }
            }
            kind::RESET => {
                if !(2..=2 + MAX_RESET_DETAIL_BYTES).contains(&length) {
                    return Err(wrong);
                }
                let code = ResetCode::from_wire(payload.get_u16());
                Self::Reset {
                    stream,
                    code,
                    detail: payload,
                }
            }
            kind::WINDOW => {
                exactly(4)?;
                match payload.get_u32() {
                    0 => return Err(DecodeError::Field("credit")),
                    credit_bytes => Self::Window { stream, credit_bytes },
                }
            }
            kind::PING => {
                exactly(8)?;
                Self::Ping(payload.get_u64())
            }
            kind::PONG => {
                exactly(8)?;
                Self::Pong(payload.get_u64())
            }
            kind::CONTROL => {
                if length == 0 {
                    return Err(wrong);
                }
                Self::Control {
                    part: payload,
                    more: flag,
                }
            }
            kind::DRAIN => {
                exactly(4)?;
                Self::Drain {
                    grace_ms: payload.get_u32(),
                }
            }
            kind::DATAGRAM => {
                let peer = decode_destination(&mut payload)?;
                if payload.len() > MAX_DATAGRAM_BYTES {
                    return Err(wrong);
                }
                Self::Datagram {
                    stream,
                    peer,
                    data: payload,
                }
            }
            kind::CLOSE => {
                if !(6..=6 + MAX_CLOSE_REASON_BYTES).contains(&length) {
                    return Err(wrong);
                }
                let code = CloseCode::from_wire(payload.get_u16());
                Self::Close {
                    code,
                    retry_after_s: payload.get_u32(),
                    reason: payload,
                }
            }
            kind::EXTENSION_FIRST..=kind::EXTENSION_LAST => Self::Extension,
            unknown => return Err(DecodeError::UnknownType(unknown)),
        })
    }

    /// Appends the frame to a message.
    ///
    /// The caller keeps payloads within the limits of their types; longer texts of RESET and CLOSE are cut.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Open {
                stream,
                open,
                early,
                fin,
            } => {
                debug_assert!(
                    early.len() <= MAX_DATA_BYTES,
                    "early data is at most one DATA payload"
                );
                let at = begin(out, kind::OPEN, u8::from(*fin), *stream);
                open.encode(out);
                out.put_slice(early);
                end(out, at);
            }
            Self::Opened {
                stream,
                window_bytes,
                dial_ms,
            } => {
                let at = begin(out, kind::OPENED, 0, *stream);
                out.put_u32(*window_bytes);
                out.put_u32(*dial_ms);
                end(out, at);
            }
            Self::Data { stream, data, fin } => {
                data_header(out, *stream, data.len(), *fin);
                out.put_slice(data);
            }
            Self::Reset { stream, code, detail } => {
                let at = begin(out, kind::RESET, 0, *stream);
                out.put_u16(code.to_wire());
                out.put_slice(&detail[..detail.len().min(MAX_RESET_DETAIL_BYTES)]);
                end(out, at);
            }
            Self::Window { stream, credit_bytes } => {
                let at = begin(out, kind::WINDOW, 0, *stream);
                out.put_u32(*credit_bytes);
                end(out, at);
            }
            Self::Ping(value) => {
                let at = begin(out, kind::PING, 0, StreamId::TUNNEL);
                out.put_u64(*value);
                end(out, at);
            }
            Self::Pong(value) => {
                let at = begin(out, kind::PONG, 0, StreamId::TUNNEL);
                out.put_u64(*value);
                end(out, at);
            }
            Self::Control { part, more } => {
                debug_assert!(part.len() <= MAX_PAYLOAD_BYTES, "a part fits a frame");
                let at = begin(out, kind::CONTROL, u8::from(*more), StreamId::TUNNEL);
                out.put_slice(part);
                end(out, at);
            }
            Self::Drain { grace_ms } => {
                let at = begin(out, kind::DRAIN, 0, StreamId::TUNNEL);
                out.put_u32(*grace_ms);
                end(out, at);
            }
            Self::Datagram { stream, peer, data } => {
                debug_assert!(data.len() <= MAX_DATAGRAM_BYTES, "a datagram fits its frame");
                let at = begin(out, kind::DATAGRAM, 0, *stream);
                encode_destination(peer, out);
                out.put_slice(data);
                end(out, at);
            }
            Self::Close {
                code,
                retry_after_s,
                reason,
            } => {
                let at = begin(out, kind::CLOSE, 0, StreamId::TUNNEL);
                out.put_u16(code.to_wire());
                out.put_u32(*retry_after_s);
                out.put_slice(&reason[..reason.len().min(MAX_CLOSE_REASON_BYTES)]);
                end(out, at);
            }
            Self::Extension => {}
        }
    }
}

/// Appends the header of a DATA frame whose payload the caller appends: the hot path, without a [`Frame`] between.
pub(crate) fn data_header(out: &mut BytesMut, stream: StreamId, length: usize, fin: bool) {
    debug_assert!(length <= MAX_DATA_BYTES, "payload of a DATA frame");
    out.put_u8(kind::DATA);
    out.put_u8(u8::from(fin));
    out.put_u16(u16::try_from(length).unwrap_or(u16::MAX));
    out.put_u32(stream.0);
}

/// Writes a header with the length left open; returns where the frame began.
fn begin(out: &mut BytesMut, kind: u8, flags: u8, stream: StreamId) -> usize {
    let at = out.len();
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u16(0);
    out.put_u32(stream.0);
    at
}

/// Fills in the length of the frame that began at `at`.
fn end(out: &mut BytesMut, at: usize) {
    let length = out.len() - at - HEADER_BYTES;
    debug_assert!(length <= MAX_PAYLOAD_BYTES, "payload fits the length field");
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    out[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
}

impl Open {
    fn decode(payload: &mut Bytes) -> Result<Self, DecodeError> {
        if payload.len() < 17 {
            return Err(DecodeError::Truncated);
        }
        let kind = match payload.get_u8() {
            1 => StreamKind::Tcp,
            2 => StreamKind::Udp,
            _ => return Err(DecodeError::Field("stream kind")),
        };
        let window_bytes = payload.get_u32();
        let timeout_ms = payload.get_u32();
        let customer = payload.get_u64();
        let destination = decode_destination(payload)?;
        Ok(Self {
            kind,
            window_bytes,
            timeout_ms,
            customer,
            destination,
        })
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(match self.kind {
            StreamKind::Tcp => 1,
            StreamKind::Udp => 2,
        });
        out.put_u32(self.window_bytes);
        out.put_u32(self.timeout_ms);
        out.put_u64(self.customer);
        encode_destination(&self.destination, out);
    }
}

fn decode_destination(payload: &mut Bytes) -> Result<Destination, DecodeError> {
    let kind = payload.try_get_u8().map_err(|_| DecodeError::Truncated)?;
    let host = match kind {
        address::V4 => {
            let bits = payload.try_get_u32().map_err(|_| DecodeError::Truncated)?;
            Host::Ip(IpAddr::V4(Ipv4Addr::from_bits(bits)))
        }
        address::V6 => {
            let bits = payload.try_get_u128().map_err(|_| DecodeError::Truncated)?;
            Host::Ip(IpAddr::V6(Ipv6Addr::from_bits(bits)))
        }
        address::NAME => {
            let length = usize::from(payload.try_get_u8().map_err(|_| DecodeError::Truncated)?);
            if payload.len() < length {
                return Err(DecodeError::Truncated);
            }
            let name = payload.split_to(length);
            let name = std::str::from_utf8(&name).map_err(|_| DecodeError::Field("host name"))?;
            Host::parse(name).map_err(|_| DecodeError::Field("host name"))?
        }
        _ => return Err(DecodeError::Field("address type")),
    };
    let port = payload.try_get_u16().map_err(|_| DecodeError::Truncated)?;
    Ok(Destination { host, port })
}

fn encode_destination(destination: &Destination, out: &mut BytesMut) {
    match &destination.host {
        Host::Ip(IpAddr::V4(ip)) => {
            out.put_u8(address::V4);
            out.put_u32(ip.to_bits());
        }
        Host::Ip(IpAddr::V6(ip)) => {
            out.put_u8(address::V6);
            out.put_u128(ip.to_bits());
        }
        Host::Name(name) => {
            let name = name.as_str();
            out.put_u8(address::NAME);
            // A host name has at most 253 octets: `HostName` allows no more.
            out.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
            out.put_slice(name.as_bytes());
        }
    }
    out.put_u16(destination.port);
}
