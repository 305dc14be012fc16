//! Where a head ends, and the bytes that may not stand in one (RFC 9112 sections 2.2 and 5).
//!
//! Lenient readers differ: one takes a bare LF for a line end, another does not, and a message read differently on two
//! hops is a smuggled request. So lines end in CRLF and nothing else, and control bytes end the conversation.

/// Longest head of a request, in bytes. Longer ones get 431.
pub(crate) const MAX_REQUEST_HEAD_BYTES: usize = 32 * 1024;

/// Longest head of a response, in bytes: some sites set many cookies.
pub(crate) const MAX_RESPONSE_HEAD_BYTES: usize = 64 * 1024;

/// Most header fields of a request.
pub(crate) const MAX_REQUEST_FIELDS: usize = 100;

/// Most header fields of a response.
pub(crate) const MAX_RESPONSE_FIELDS: usize = 200;

/// Why bytes can't be a head, whatever follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineFault {
    /// LF without CR, or CR without LF.
    #[error("a line does not end in CRLF")]
    LineEnd,
    /// NUL or another control byte.
    #[error("a control byte stands in the head")]
    ControlByte,
    /// A line that continues the one before (obs-fold, RFC 9112 section 5.2).
    #[error("a header line is folded")]
    Fold,
    /// Longer than allowed.
    #[error("the head is too long")]
    TooLong,
    /// Nothing more comes.
    #[error("the head ends before its empty line")]
    Cut,
}

/// Finds the end of a head that arrives in pieces; every byte is looked at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeadScanner {
    seen: usize,
    /// Bytes of `\r\n\r\n` that stand right before `seen`.
    matched: u8,
}

impl HeadScanner {
    /// A scanner for the section after a line end, where an empty line ends it at once: trailers.
    pub(crate) fn after_line() -> Self {
        Self { seen: 0, matched: 2 }
    }

    /// Looks at what has arrived so far, always from the head's first byte on: the head's length with its empty line, or
    /// none if more must come.
    ///
    /// # Errors
    /// As soon as a byte makes it certain that this is no head of at most `limit` bytes.
    pub(crate) fn find_end(&mut self, buffer: &[u8], limit: usize) -> Result<Option<usize>, LineFault> {
        let end = buffer.len().min(limit);
        for (at, &byte) in buffer.iter().enumerate().take(end).skip(self.seen) {
            self.matched = match (byte, self.matched) {
                (b'\n', 1) => 2,
                (b'\n', 3) => {
                    self.seen = at + 1;
                    return Ok(Some(at + 1));
                }
                (b'\r', 0) => 1,
                (b'\r', 2) => 3,
                (b'\n' | b'\r', _) | (_, 1 | 3) => return Err(LineFault::LineEnd),
                (b' ' | b'\t', 2) => return Err(LineFault::Fold),
                (b'\t' | b' '..=b'~' | 0x80.., _) => 0,
                _ => return Err(LineFault::ControlByte),
            };
        }
        self.seen = self.seen.max(end);
        if buffer.len() >= limit {
            Err(LineFault::TooLong)
        } else {
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(bytes: &[u8]) -> Result<Option<usize>, LineFault> {
        HeadScanner::default().find_end(bytes, 64)
    }

    #[test]
    fn a_head_ends_at_its_empty_line() {
        assert_eq!(scan(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest"), Ok(Some(27)));
        assert_eq!(scan(b"GET / HTTP/1.1\r\nHost: a\r\n\r"), Ok(None));
        assert_eq!(HeadScanner::after_line().find_end(b"\r\nrest", 64), Ok(Some(2)));
        assert_eq!(
            HeadScanner::after_line().find_end(b"a: b\r\n\r\n", 64),
            Ok(Some(8))
        );
    }

    #[test]
    fn only_crlf_ends_a_line() {
        for bytes in [
            &b"GET / HTTP/1.1\nHost"[..],
            b"a\rb",
            b"a\r\n\rb",
            b"a\r\r\n",
            b"a\r\n\n",
            b"\n",
        ] {
            assert_eq!(scan(bytes), Err(LineFault::LineEnd), "{bytes:?}");
        }
    }

    #[test]
    fn control_bytes_and_folds_are_refused_at_once() {
        for byte in (0..0x20).chain([0x7f]).filter(|byte| !b"\t\r\n".contains(byte)) {
            assert_eq!(scan(&[b'a', byte]), Err(LineFault::ControlByte), "{byte:#x}");
        }
        assert_eq!(scan(b"a: b\r\n c"), Err(LineFault::Fold));
        assert_eq!(scan(b"a: b\r\n\tc"), Err(LineFault::Fold));
    }

    #[test]
    fn a_head_is_bounded() {
        assert_eq!(scan(&[b'a'; 63]), Ok(None));
        assert_eq!(scan(&[b'a'; 64]), Err(LineFault::TooLong));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(bytes in prop::collection::vec(prop::sample::select(&b"a:\r\n\t \0\x80"[..]), 0..40), cuts in prop::collection::vec(0usize..40, 0..6)) {
            let whole = scan(&bytes);
            let mut scanner = HeadScanner::default();
            let mut cuts: Vec<_> = cuts.into_iter().filter(|&cut| cut < bytes.len()).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let mut last = Ok(None);
            for cut in cuts {
                last = scanner.find_end(&bytes[..cut], 64);
                if last != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(last, whole);
        }
    }
}
