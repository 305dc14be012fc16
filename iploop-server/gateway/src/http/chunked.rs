//! The chunked transfer coding, read strictly (RFC 9112 section 7.1).
//!
//! What we pass on is written anew: sizes in our own form, no chunk extensions, trailers checked. So an origin reads the
//! same body as we did.

use bytes::{BufMut, Bytes, BytesMut};

use super::fields;
use super::head::{HeadScanner, LineFault};

/// Most hexadecimal digits of a chunk's size: what 64 bits hold.
const MAX_SIZE_DIGITS: u8 = 16;

/// Most bytes of extensions beside one chunk's size.
const MAX_EXTENSION_BYTES: u16 = 256;

/// Most bytes of extensions in one body: they carry nothing and cost a look at each byte.
const MAX_EXTENSION_BYTES_TOTAL: u32 = 16 * 1024;

/// Longest trailer section, in bytes.
const MAX_TRAILER_BYTES: usize = 8 * 1024;

/// Why a body isn't chunked as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkFault {
    /// Not hexadecimal, empty, or beyond 64 bits.
    #[error("a chunk's size is not valid")]
    Size,
    /// Extensions too long, or with bytes that they can't have.
    #[error("a chunk's extensions are not valid")]
    Extension,
    /// No CRLF where one must be.
    #[error("a chunk does not end in CRLF")]
    LineEnd,
    /// The trailer section.
    #[error("the trailer section is not valid: {0}")]
    Trailer(LineFault),
    /// A line of the trailer section is no field, or there are too many.
    #[error("the trailer section is not valid")]
    TrailerField,
}

/// What one call of [`ChunkedDecoder::decode`] found at the front of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// So many bytes are framing: drop them.
    pub(crate) framing: usize,
    /// So many bytes after them are content.
    pub(crate) content: usize,
    /// The body ended behind these.
    pub(crate) done: bool,
}

/// Tells content from framing.
#[derive(Clone, Debug)]
pub(crate) struct ChunkedDecoder {
    state: State,
    extension_bytes: u32,
    trailers: BytesMut,
    scanner: HeadScanner,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Size { digits: u8, size: u64 },
    Extension { size: u64, bytes: u16 },
    SizeLf { size: u64 },
    Content { left: u64 },
    ContentCr,
    ContentLf,
    Trailers,
    Done,
}

impl ChunkedDecoder {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Size { digits: 0, size: 0 },
            extension_bytes: 0,
            trailers: BytesMut::new(),
            scanner: HeadScanner::after_line(),
        }
    }

    /// Reads the front of `input`. Call again behind the content; no content and not done: more input is needed, and all
    /// of this one was framing.
    ///
    /// # Errors
    /// The body is malformed: nothing after this can be trusted.
    pub(crate) fn decode(&mut self, input: &[u8]) -> Result<Progress, ChunkFault> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            self.state = match self.state {
                State::Size { digits, size } => match (char::from(byte).to_digit(16), byte) {
                    (Some(digit), _) if digits < MAX_SIZE_DIGITS => State::Size {
                        digits: digits + 1,
                        size: (size << 4) | u64::from(digit),
                    },
                    (None, b'\r') if digits > 0 => State::SizeLf { size },
                    (None, b';') if digits > 0 => State::Extension { size, bytes: 0 },
                    _ => return Err(ChunkFault::Size),
                },
                State::Extension { size, bytes } => {
                    self.extension_bytes += 1;
                    let fits =
                        bytes < MAX_EXTENSION_BYTES && self.extension_bytes <= MAX_EXTENSION_BYTES_TOTAL;
                    match byte {
                        b'\r' => State::SizeLf { size },
                        b'\t' | b' '..=b'~' if fits => State::Extension {
                            size,
                            bytes: bytes + 1,
                        },
                        _ => return Err(ChunkFault::Extension),
                    }
                }
                State::SizeLf { size } => match (byte, size) {
                    (b'\n', 0) => State::Trailers,
                    (b'\n', left) => State::Content { left },
                    _ => return Err(ChunkFault::LineEnd),
                },
                State::Content { left } => {
                    let here = input.len() - at;
                    let content = usize::try_from(left).map_or(here, |left| left.min(here));
                    // `content` is at most `left`, so the conversion can't lose anything.
                    let left = left - u64::try_from(content).unwrap_or(left);
                    self.state = if left == 0 {
                        State::ContentCr
                    } else {
                        State::Content { left }
                    };
                    return Ok(Progress {
                        framing: at,
                        content,
                        done: false,
                    });
                }
                State::ContentCr if byte == b'\r' => State::ContentLf,
                State::ContentLf if byte == b'\n' => State::Size { digits: 0, size: 0 },
                State::ContentCr | State::ContentLf => return Err(ChunkFault::LineEnd),
                State::Trailers => {
                    self.trailers.put_u8(byte);
                    let end = self.scanner.find_end(&self.trailers, MAX_TRAILER_BYTES);
                    match end.map_err(ChunkFault::Trailer)? {
                        None => State::Trailers,
                        Some(_) => State::Done,
                    }
                }
                State::Done => {
                    return Ok(Progress {
                        framing: at,
                        content: 0,
                        done: true,
                    });
                }
            };
            at += 1;
        }
        Ok(Progress {
            framing: at,
            content: 0,
            done: matches!(self.state, State::Done),
        })
    }

    /// The trailer section of a body that is done: whole lines and the empty one.
    pub(crate) fn take_trailers(&mut self) -> Bytes {
        self.trailers.split().freeze()
    }
}

/// Whether a body may begin like this: for what came along with its head, before anything is passed on.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(input: &[u8]) -> Result<(), ChunkFault> {
    let mut decoder = ChunkedDecoder::new();
    let mut at = 0;
    while at < input.len() {
        let progress = decoder.decode(&input[at..])?;
        at += progress.framing + progress.content;
        if progress.done {
            return put_last_chunk(&mut BytesMut::new(), &mut decoder);
        }
    }
    Ok(())
}

/// Writes the last chunk with the trailers that may go on.
///
/// # Errors
/// The trailers are malformed.
pub(crate) fn put_last_chunk(out: &mut BytesMut, decoder: &mut ChunkedDecoder) -> Result<(), ChunkFault> {
    out.put_slice(b"0\r\n");
    fields::rewrite_trailers(&decoder.take_trailers(), out)
        .map_err(|fields::NotTrailers| ChunkFault::TrailerField)
}

/// Writes the line before a chunk of `content` bytes, which must not be 0.
pub(crate) fn put_size(out: &mut BytesMut, content: usize) {
    debug_assert!(content > 0, "an empty chunk would end the body");
    let digits = (usize::BITS - content.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        let nibble = u8::try_from((content >> (digit * 4)) & 0xf).unwrap_or(0);
        out.put_u8(if nibble < 10 {
            b'0' + nibble
        } else {
            b'a' + nibble - 10
        });
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Decoded = (Vec<u8>, Bytes, Vec<u8>);

    /// Decodes with the input cut into pieces of `step` bytes: the content, the trailers, and what is left over.
    fn decode(input: &[u8], step: usize) -> Result<Option<Decoded>, ChunkFault> {
        let mut decoder = ChunkedDecoder::new();
        let mut content = Vec::new();
        let mut at = 0;
        while at < input.len() {
            let piece = &input[at..input.len().min(at + step)];
            let progress = decoder.decode(piece)?;
            content.extend_from_slice(&piece[progress.framing..][..progress.content]);
            at += progress.framing + progress.content;
            if progress.done {
                return Ok(Some((content, decoder.take_trailers(), input[at..].to_vec())));
            }
        }
        Ok(None)
    }

    #[test]
    fn content_is_told_from_framing_however_it_arrives() {
        let input = b"5\r\nhello\r\n00A;name=\"value\"\r\n, world, 1\r\n0\r\nX: y\r\n\r\nGET /";
        for step in 1..=input.len() {
            let (content, trailers, rest) = decode(input, step).unwrap().unwrap();
            assert_eq!(content, b"hello, world, 1");
            assert_eq!(trailers, &b"X: y\r\n\r\n"[..]);
            assert_eq!(rest, b"GET /");
        }
    }

    #[test]
    fn malformed_bodies_are_refused() {
        for (input, fault) in [
            (&b"\r\n"[..], ChunkFault::Size),
            (b"g\r\n", ChunkFault::Size),
            (b"-1\r\n", ChunkFault::Size),
            (b"+1\r\n", ChunkFault::Size),
            (b"0x5\r\n", ChunkFault::Size),
            (b" 5\r\n", ChunkFault::Size),
            (b"5 \r\n", ChunkFault::Size),
            (b"5\n", ChunkFault::Size),
            (b"5_0\r\n", ChunkFault::Size),
            (b"10000000000000000\r\n", ChunkFault::Size),
            (b";a\r\n", ChunkFault::Size),
            (b"5;a\nb", ChunkFault::Extension),
            (b"5;a\0", ChunkFault::Extension),
            (b"5\r\r", ChunkFault::LineEnd),
            (b"5\rhello", ChunkFault::LineEnd),
            (b"5\r\nhelloX", ChunkFault::LineEnd),
            (b"5\r\nhello\n", ChunkFault::LineEnd),
            (b"5\r\nhello\rX", ChunkFault::LineEnd),
            (b"0\r\n\n", ChunkFault::Trailer(LineFault::LineEnd)),
            (b"0\r\n folded", ChunkFault::Trailer(LineFault::Fold)),
            (b"0\r\nA: b\0", ChunkFault::Trailer(LineFault::ControlByte)),
        ] {
            for step in [1, 64] {
                assert_eq!(decode(input, step), Err(fault), "{input:?}");
            }
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let long = format!("1;{}", "e".repeat(257));
        assert_eq!(decode(long.as_bytes(), 64), Err(ChunkFault::Extension));
        let many = format!("1;{}\r\na\r\n", "e".repeat(200)).repeat(100);
        assert_eq!(decode(many.as_bytes(), 64), Err(ChunkFault::Extension));
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(2000));
        assert_eq!(
            decode(trailers.as_bytes(), 64),
            Err(ChunkFault::Trailer(LineFault::TooLong))
        );
    }

    #[test]
    fn a_body_may_begin_only_as_it_may_go_on() {
        for input in [
            &b""[..],
            b"5",
            b"5\r\nhel",
            b"5\r\nhello\r\n0\r\nX: y",
            b"0\r\n\r\nGET /",
        ] {
            assert_eq!(check(input), Ok(()), "{input:?}");
        }
        for (input, fault) in [
            (&b"zz\r\n"[..], ChunkFault::Size),
            (b"5\r\nhello\r\nzz\r\n", ChunkFault::Size),
            (b"5\r\nhelloX", ChunkFault::LineEnd),
            (b"0\r\nno colon\r\n\r\n", ChunkFault::TrailerField),
        ] {
            assert_eq!(check(input), Err(fault), "{input:?}");
        }
    }

    #[test]
    fn a_body_without_its_last_chunk_is_not_done() {
        assert_eq!(decode(b"5\r\nhello\r\n", 64), Ok(None));
        assert_eq!(decode(b"5\r\nhello\r\n0\r\n", 64), Ok(None));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..6), step in 1usize..70) {
            let mut wire = BytesMut::new();
            for part in &parts {
                put_size(&mut wire, part.len());
                wire.put_slice(part);
                wire.put_slice(b"\r\n");
            }
            wire.put_slice(b"0\r\n\r\n");
            let (content, _, rest) = decode(&wire, step).unwrap().unwrap();
            prop_assert_eq!(content, parts.concat());
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn no_bytes_panic(input in prop::collection::vec(prop::sample::select(&b"0123af;\r\n \tX:"[..]), 0..200), step in 1usize..20) {
            let _ = decode(&input, step);
        }
    }
}
