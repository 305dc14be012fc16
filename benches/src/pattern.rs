//! Bytes that tell where they belong: what every benchmark stream carries, and the check of it.
//!
//! The pattern is a ring of pseudo-random words, prebuilt once, that a stream walks from a start given by its seed.
//! Its length is a prime number of words, so bytes that were lost, doubled, moved by any buffer size or taken from
//! another stream don't match. Sending is a slice of the ring, checking is a comparison with one: no work per byte.

use std::sync::LazyLock;

/// A prime: no buffer or frame size divides the ring.
const RING_WORDS: u64 = 32_771;
const RING_BYTES: usize = 262_168;

/// Twice the ring, so that a slice of one whole ring starts anywhere.
static RING: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let ring: Vec<u8> = (0..RING_WORDS)
        .flat_map(|index| scramble(index).to_le_bytes())
        .collect();
    [ring.as_slice(), ring.as_slice()].concat()
});

/// A byte arrived that the stream's pattern doesn't have at its place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// Of the first wrong byte, from the start of the payload.
    pub(crate) position: u64,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "wrong byte at position {}", self.position)
    }
}

impl std::error::Error for Mismatch {}

/// The pattern of `seed` from `position` on: 256 KiB and a few bytes.
pub(crate) fn slice_at(seed: u32, position: u64) -> &'static [u8] {
    let word = u64::from(seed.wrapping_mul(0x9E37_79B1)) % RING_WORDS;
    let offset = (word * 8 + position % RING_BYTES as u64) % RING_BYTES as u64;
    let offset = usize::try_from(offset).expect("an offset in the ring is small");
    &RING[offset..offset + RING_BYTES]
}

/// The next piece to send of a payload of `total` bytes; empty at its end.
pub(crate) fn piece(seed: u32, position: u64, total: u64) -> &'static [u8] {
    let slice = slice_at(seed, position);
    match usize::try_from(total.saturating_sub(position)) {
        Ok(left) if left < slice.len() => &slice[..left],
        _ => slice,
    }
}

/// Checks that `bytes` are the pattern of `seed` from `position` on.
pub(crate) fn check(seed: u32, position: u64, bytes: &[u8]) -> Result<(), Mismatch> {
    let mut at = position;
    for chunk in bytes.chunks(RING_BYTES) {
        let expected = &slice_at(seed, at)[..chunk.len()];
        if chunk != expected {
            let wrong = chunk
                .iter()
                .zip(expected)
                .take_while(|(got, want)| got == want)
                .count();
            return Err(Mismatch {
                position: at + wrong as u64,
            });
        }
        at += chunk.len() as u64;
    }
    Ok(())
}

/// Sebastiano Vigna's splitmix64: one well mixed word per index.
fn scramble(index: u64) -> u64 {
    let mut word = index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(seed: u32, from: u64, to: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while from + (bytes.len() as u64) < to {
            bytes.extend_from_slice(piece(seed, from + bytes.len() as u64, to));
        }
        bytes
    }

    #[test]
    fn what_was_sent_matches_however_it_is_cut() {
        let bytes = payload(7, 0, 1_000_003);
        assert_eq!(bytes.len(), 1_000_003);
        for cut in [1, 1_460, 16_384, 300_000] {
            let mut position = 0;
            for chunk in bytes.chunks(cut) {
                assert_eq!(check(7, position, chunk), Ok(()));
                position += chunk.len() as u64;
            }
        }
    }

    #[test]
    fn one_wrong_bit_is_found_at_its_place() {
        let mut bytes = payload(3, 0, 600_000);
        bytes[432_101] ^= 1;
        assert_eq!(check(3, 0, &bytes), Err(Mismatch { position: 432_101 }));
    }

    #[test]
    fn lost_and_doubled_blocks_are_found() {
        for block in [1, 8, 1_460, 16_384, 65_536, 262_144, 1 << 20] {
            assert!(
                check(9, 0, &payload(9, block, block + 64)).is_err(),
                "{block} bytes lost"
            );
            assert!(
                check(9, block, &payload(9, 0, 64)).is_err(),
                "{block} bytes doubled"
            );
        }
    }

    #[test]
    fn streams_have_different_bytes() {
        let starts: std::collections::BTreeSet<&[u8]> =
            (0..1_000).map(|seed| &slice_at(seed, 0)[..8]).collect();
        assert_eq!(starts.len(), 1_000);
    }

    #[test]
    fn ring_is_as_long_as_its_words() {
        assert_eq!(RING.len(), 2 * RING_BYTES);
        assert_eq!(RING_BYTES as u64, RING_WORDS * 8);
    }
}
