//! Random numbers that repeat (SplitMix64).

/// A generator; the seed is all of its state.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Evenly from 0 to `bound`, which is left out.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Whether something that happens `of` times in `in_` happens now.
    pub(crate) fn chance(&mut self, of: u64, in_: u64) -> bool {
        self.below(in_) < of
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    /// Below one bound, a quarter of the time below another.
    pub(crate) fn mostly(&mut self, bound: usize, now_and_then: usize) -> usize {
        let bound = if self.chance(1, 4) { now_and_then } else { bound };
        self.index(bound)
    }
}
