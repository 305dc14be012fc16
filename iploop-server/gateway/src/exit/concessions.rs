//! What a search gives up, one thing after the other, where no exit has everything that is wished for.
//!
//! A request that can still succeed does: so a host's refusal outranks rotation of the usual kind, which is best effort, and no request
//! goes to an exit that is known to be refused for the sake of another address. Where the host refused every exit, they rotate. A new exit that
//! a customer asked for by name (a session's rotation, another one for each request) outranks what the host refused.

use std::net::IpAddr;

/// Which exit is ruled out besides those that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rotating {
    /// None.
    Free,
    /// The last one of the key, as far as that can be.
    Rather(IpAddr),
    /// The one that the session has left on purpose, if there is another.
    Left(IpAddr),
    /// The last one of the key, whatever follows.
    Never(IpAddr),
}

impl Rotating {
    /// For a session that has left this exit.
    pub(super) fn left(exit: Option<IpAddr>) -> Self {
        exit.map_or(Self::Free, Self::Left)
    }
}

/// What is still avoided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wishes {
    /// The exit to rotate away from.
    rotation: bool,
    /// The exits that the host refused.
    memory: bool,
}

/// The wishes of one search that can be given up.
#[derive(Debug)]
pub(super) struct Concessions {
    rotating: Rotating,
    refused: Vec<IpAddr>,
    now: Wishes,
    /// What comes after, the dearest first.
    rest: std::slice::Iter<'static, Wishes>,
}

impl Concessions {
    pub(super) fn new(rotating: Rotating, refused: Vec<IpAddr>) -> Self {
        const fn only(rotation: bool, memory: bool) -> Wishes {
            Wishes { rotation, memory }
        }
        const NOTHING: Wishes = only(false, false);
        let rest: &'static [Wishes] = match (rotating, refused.is_empty()) {
            (Rotating::Free | Rotating::Never(_), true) => &[],
            (Rotating::Free, false) => const { &[NOTHING] },
            (Rotating::Rather(_) | Rotating::Left(_), true) => const { &[NOTHING] },
            (Rotating::Rather(_), false) => const { &[only(false, true), only(true, false), NOTHING] },
            (Rotating::Left(_), false) => const { &[only(true, false), only(false, true), NOTHING] },
            (Rotating::Never(_), false) => const { &[only(true, false)] },
        };
        Self {
            rotating,
            refused,
            now: only(true, true),
            rest: rest.iter(),
        }
    }

    /// The addresses that are avoided now.
    pub(super) fn avoided(&self) -> impl Iterator<Item = IpAddr> {
        let left = match self.rotating {
            Rotating::Rather(ip) | Rotating::Left(ip) | Rotating::Never(ip) if self.now.rotation => Some(ip),
            _ => None,
        };
        let refused: &[IpAddr] = if self.now.memory { &self.refused } else { &[] };
        left.into_iter().chain(refused.iter().copied())
    }

    /// No exit is left: gives up what costs least. False: there is nothing more to give up.
    pub(super) fn concede(&mut self) -> bool {
        match self.rest.next() {
            Some(wishes) => {
                self.now = *wishes;
                true
            }
            None => false,
        }
    }

    /// The last exit was ruled out whatever follows.
    pub(super) fn is_distinct(&self) -> bool {
        matches!(self.rotating, Rotating::Never(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [198, 51, 100, last].into()
    }

    /// What is avoided, step by step, where the host refused exits 8 and 9.
    fn steps(rotating: Rotating, refused: &[u8]) -> Vec<Vec<u8>> {
        let mut concessions = Concessions::new(rotating, refused.iter().map(|last| ip(*last)).collect());
        let mut steps = Vec::new();
        loop {
            let last = |ip| match ip {
                IpAddr::V4(ip) => ip.octets()[3],
                IpAddr::V6(_) => 0,
            };
            steps.push(concessions.avoided().map(last).collect());
            if !concessions.concede() {
                return steps;
            }
        }
    }

    #[test]
    fn a_host_outranks_the_usual_rotation_and_no_rotation_that_was_asked_for() {
        let none: &[u8] = &[];
        for (rotating, with_memory, without) in [
            (Rotating::Free, vec![vec![8, 9], vec![]], vec![vec![]]),
            (
                Rotating::Rather(ip(1)),
                vec![vec![1, 8, 9], vec![8, 9], vec![1], vec![]],
                vec![vec![1], vec![]],
            ),
            (
                Rotating::Left(ip(1)),
                vec![vec![1, 8, 9], vec![1], vec![8, 9], vec![]],
                vec![vec![1], vec![]],
            ),
            (
                Rotating::Never(ip(1)),
                vec![vec![1, 8, 9], vec![1]],
                vec![vec![1]],
            ),
        ] {
            assert_eq!(steps(rotating, &[8, 9]), with_memory, "{rotating:?}");
            assert_eq!(steps(rotating, none), without, "{rotating:?}");
        }
    }
}
