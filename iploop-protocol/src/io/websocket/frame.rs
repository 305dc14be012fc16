//! Frames of a WebSocket on the wire (RFC 6455 section 5).

use bytes::{BufMut, BytesMut};

/// Longest payload of a control frame (section 5.5).
pub(super) const MAX_CONTROL_BYTES: usize = 125;

/// What a frame carries (section 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    const fn from_wire(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    const fn to_wire(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    pub(super) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    /// The last frame of its message.
    pub(super) fin: bool,
    pub(super) key: Option<[u8; 4]>,
    pub(super) payload_bytes: usize,
    pub(super) header_bytes: usize,
}

/// What a WebSocket must not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Breach {
    #[error("a reserved bit or opcode, though no extension was agreed on")]
    Reserved,
    #[error("the length is not written in the shortest way, or is out of range")]
    Length,
    #[error("a control frame is fragmented or longer than {MAX_CONTROL_BYTES} bytes")]
    Control,
    #[error("a client masks its frames and a server does not")]
    Masking,
    #[error("a message begins or goes on where none may")]
    Fragments,
    #[error("the message is too long")]
    TooLong,
    #[error("only binary messages carry a tunnel")]
    Text,
    #[error("pings come faster than their answers are read")]
    Flood,
}

impl Header {
    /// The header at the start of `data`; none while it has not come whole.
    pub(super) fn decode(data: &[u8]) -> Result<Option<Self>, Breach> {
        let [first, second, rest @ ..] = data else {
            return Ok(None);
        };
        let opcode = Opcode::from_wire(first & 0x0F).filter(|_| first & 0x70 == 0);
        let opcode = opcode.ok_or(Breach::Reserved)?;
        let fin = first & 0x80 != 0;
        let (payload_bytes, length_bytes) = match second & 0x7F {
            126 => {
                let Some(length) = rest.first_chunk() else {
                    return Ok(None);
                };
                (u64::from(u16::from_be_bytes(*length)), 2)
            }
            127 => {
                let Some(length) = rest.first_chunk() else {
                    return Ok(None);
                };
                (u64::from_be_bytes(*length), 8)
            }
            short => (u64::from(short), 0),
        };
        let payload_bytes = usize::try_from(payload_bytes).map_err(|_| Breach::Length)?;
        if length_bytes != length_bytes_of(payload_bytes) {
            return Err(Breach::Length);
        }
        if opcode.is_control() && (!fin || payload_bytes > MAX_CONTROL_BYTES) {
            return Err(Breach::Control);
        }
        let is_masked = second & 0x80 != 0;
        let key = match rest.get(length_bytes..).and_then(<[u8]>::first_chunk) {
            Some(key) if is_masked => Some(*key),
            None if is_masked => return Ok(None),
            _ => None,
        };
        Ok(Some(Self {
            opcode,
            fin,
            key,
            payload_bytes,
            header_bytes: 2 + length_bytes + if is_masked { 4 } else { 0 },
        }))
    }
}

/// Appends a whole frame, whose payload `write` appends; nothing if it has none to send.
///
/// The payload is written where it stays: room for the usual header is left before it, and only a very short or a very long
/// one is moved.
pub(super) fn append(
    out: &mut BytesMut,
    opcode: Opcode,
    key: Option<[u8; 4]>,
    write: impl FnOnce(&mut BytesMut) -> bool,
) -> bool {
    let start = out.len();
    let key_bytes = key.map_or(0, |key| key.len());
    let reserved = 4 + key_bytes;
    out.put_bytes(0, reserved);
    if !write(out) {
        out.truncate(start);
        return false;
    }
    let payload_bytes = out.len() - start - reserved;
    let length_bytes = length_bytes_of(payload_bytes);
    let header_bytes = 2 + length_bytes + key_bytes;
    let payload_at = start + header_bytes;
    if header_bytes != reserved {
        out.put_bytes(0, header_bytes.saturating_sub(reserved));
        let payload = start + reserved..start + reserved + payload_bytes;
        out.copy_within(payload, payload_at);
        out.truncate(payload_at + payload_bytes);
    }
    let (head, payload) = out[start..].split_at_mut(header_bytes);
    let masked = if key.is_some() { 0x80 } else { 0 };
    let length = (payload_bytes as u64).to_be_bytes();
    head[0] = 0x80 | opcode.to_wire();
    head[1] = masked
        | match length_bytes {
            0 => length[7],
            2 => 126,
            _ => 127,
        };
    head[2..2 + length_bytes].copy_from_slice(&length[8 - length_bytes..]);
    if let Some(key) = key {
        head[2 + length_bytes..].copy_from_slice(&key);
        mask(payload, key);
    }
    true
}

/// Masks or unmasks a payload (section 5.3).
pub(super) fn mask(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// Bytes of the extended length: the shortest form is the only one allowed.
const fn length_bytes_of(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..=125 => 0,
        126..=0xFFFF => 2,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(payload: &[u8], key: Option<[u8; 4]>) -> BytesMut {
        let mut out = BytesMut::from(&b"before"[..]);
        assert!(append(&mut out, Opcode::Binary, key, |out| {
            out.extend_from_slice(payload);
            true
        }));
        assert_eq!(&out.split_to(6)[..], b"before");
        out
    }

    #[test]
    fn examples_of_the_rfc_are_read_and_written() {
        // Section 5.7: "Hello" unmasked and masked, here as binary messages.
        let plain = [0x82, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        assert_eq!(&framed(b"Hello", None)[..], plain);
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let masked = [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(&framed(b"Hello", Some(key))[..], masked);
        // 256 bytes, and 64 KiB.
        assert_eq!(framed(&[7; 256], None)[..4], [0x82, 0x7E, 0x01, 0x00]);
        let long = framed(&[7; 65_536], None);
        assert_eq!(long[..10], [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]);
        let header = Header::decode(&long).unwrap().unwrap();
        assert_eq!((header.header_bytes, header.payload_bytes), (10, 65_536));
    }

    #[test]
    fn nothing_is_left_of_a_frame_that_has_nothing_to_say() {
        let mut out = BytesMut::from(&b"before"[..]);
        assert!(!append(&mut out, Opcode::Binary, Some([1; 4]), |_| false));
        assert_eq!(&out[..], b"before");
    }

    #[test]
    fn what_the_rfc_forbids_is_refused() {
        for (frame, breach) in [
            (&[0xC2, 0x00][..], Breach::Reserved),
            (&[0x83, 0x00], Breach::Reserved),
            (&[0x8B, 0x00], Breach::Reserved),
            (&[0x09, 0x00], Breach::Control),
            (&[0x89, 0x7E, 0x00, 0x7E], Breach::Control),
            (&[0x82, 0x7E, 0x00, 0x7D], Breach::Length),
            (&[0x82, 0x7F, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], Breach::Length),
        ] {
            assert_eq!(Header::decode(frame), Err(breach), "{frame:x?}");
        }
    }

    proptest! {
        #[test]
        fn every_frame_is_read_as_it_was_written(length in 0usize..70_000, key: Option<[u8; 4]>, cut in 0usize..14) {
            let payload: Vec<u8> = (0..=255).cycle().take(length).collect();
            let mut frame = framed(&payload, key);
            let header = Header::decode(&frame).unwrap().unwrap();
            prop_assert_eq!(header.payload_bytes, length);
            prop_assert!(header.fin && header.opcode == Opcode::Binary && header.key == key);
            // Whatever is missing of the header, it is waited for.
            let cut = cut.min(header.header_bytes - 1);
            prop_assert_eq!(Header::decode(&frame[..cut]).unwrap(), None);
            let mut read = frame.split_off(header.header_bytes);
            if let Some(key) = key {
                mask(&mut read, key);
            }
            prop_assert_eq!(&read[..], &payload[..]);
        }
    }
}
