//! How many registrations run, and how many wait for their turn.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// A door with a line of bounded length before it.
pub(super) struct Gate {
    turns: Semaphore,
    waiting: AtomicUsize,
    line: usize,
}

/// A place in the line, given up by dropping it.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    pub(super) fn new(turns: usize, line: usize) -> Self {
        let turns = turns.min(Semaphore::MAX_PERMITS);
        Self {
            turns: Semaphore::new(turns),
            waiting: AtomicUsize::new(0),
            line,
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits for a turn, first come, first served; none at once if the line is full.
    pub(super) async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(turn) = self.turns.try_acquire() {
            return Some(turn);
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.line {
            drop(Waiting(&self.waiting));
            return None;
        }
        let _waiting = Waiting(&self.waiting);
        self.turns.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_line_is_bounded_and_moves_on() {
        let gate = Gate::new(1, 1);
        let first = gate.enter().now_or_never().unwrap().unwrap();
        let mut second = Box::pin(gate.enter());
        assert!(second.as_mut().now_or_never().is_none(), "waits");
        assert!(gate.enter().now_or_never().unwrap().is_none(), "the line is full");
        drop(first);
        assert!(second.now_or_never().unwrap().is_some());
        assert_eq!(gate.waiting(), 0);
    }

    #[test]
    fn who_leaves_the_line_makes_room() {
        let gate = Gate::new(1, 1);
        let _first = gate.enter().now_or_never().unwrap().unwrap();
        let mut second = Box::pin(gate.enter());
        assert!(second.as_mut().now_or_never().is_none());
        drop(second);
        let mut third = Box::pin(gate.enter());
        assert!(
            third.as_mut().now_or_never().is_none(),
            "waits in the place of the second"
        );
    }
}
