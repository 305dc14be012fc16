//! Who sends next: deficit round robin by bytes, with streams that just became active first.
//!
//! Two lists as in FQ-CoDel (RFC 8290 section 4.1): a stream that has been quiet goes ahead of the bulk streams, so a small
//! request passes beside any number of downloads. In each round over the bulk streams every stream has one quantum,
//! however often it falls quiet and wakes, so none can starve another.

use std::collections::VecDeque;

use super::sending::{BULK_BYTES, FULL_DATA_BYTES};
use crate::frame::StreamId;

/// Bytes a stream may send in a round: what one flush carries, so that the peer's reader gets it whole.
pub(super) const QUANTUM_BYTES: i64 = BULK_BYTES as i64;

/// A stream's place in the scheduler.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    queued: bool,
    /// Stands in, or was taken from, the list of new streams.
    is_new: bool,
    /// Bytes it may still send in `round`.
    deficit: i64,
    round: u32,
}

impl Turn {
    /// Whether all that the stream sent in its round fits one message.
    pub(super) fn said_little(&self) -> bool {
        QUANTUM_BYTES - self.deficit <= i64::from(FULL_DATA_BYTES)
    }
}

/// The two lists. Each stream is in at most one of them, at most once.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    new: VecDeque<StreamId>,
    old: VecDeque<StreamId>,
    round: u32,
    /// Streams of the old list that had no turn in this round yet.
    left_in_round: usize,
}

impl Scheduler {
    /// A stream became able to send.
    pub(super) fn activate(&mut self, id: StreamId, turn: &mut Turn) {
        if turn.queued {
            return;
        }
        if turn.round != self.round || self.old.is_empty() {
            turn.round = self.round;
            turn.deficit = QUANTUM_BYTES;
        }
        turn.queued = true;
        turn.is_new = turn.deficit > 0;
        if turn.is_new {
            self.new.push_back(id);
        } else {
            self.old.push_back(id);
        }
    }

    /// The stream whose turn it is; it leaves its list and comes back by [`Scheduler::requeue`].
    pub(super) fn next(&mut self) -> Option<StreamId> {
        if let Some(id) = self.new.pop_front() {
            return Some(id);
        }
        if self.left_in_round == 0 {
            self.round = self.round.wrapping_add(1);
            self.left_in_round = self.old.len();
        }
        self.left_in_round = self.left_in_round.saturating_sub(1);
        self.old.pop_front()
    }

    /// Bytes that the stream just taken by [`Scheduler::next`] may send.
    pub(super) fn allowance(&self, turn: &mut Turn) -> usize {
        if turn.round != self.round {
            turn.round = self.round;
            turn.deficit = (turn.deficit + QUANTUM_BYTES).min(QUANTUM_BYTES);
        }
        usize::try_from(turn.deficit).unwrap_or(0)
    }

    /// The stream sent `bytes` and has more: it keeps its place until its quantum is used up.
    pub(super) fn requeue(&mut self, id: StreamId, turn: &mut Turn, bytes: usize) {
        Self::spend(turn, bytes);
        if turn.deficit <= 0 {
            turn.is_new = false;
            self.old.push_back(id);
        } else {
            self.put_back(id, *turn);
        }
    }

    /// Whether the next stream is one that has been quiet.
    pub(super) fn next_is_new(&self) -> bool {
        !self.new.is_empty()
    }

    /// The stream just taken by [`Scheduler::next`] keeps its turn for later.
    pub(super) fn put_back(&mut self, id: StreamId, turn: Turn) {
        if turn.is_new {
            self.new.push_front(id);
        } else {
            self.left_in_round += 1;
            self.old.push_front(id);
        }
    }

    /// The stream sent `bytes` and can send no more now.
    pub(super) fn rest(turn: &mut Turn, bytes: usize) {
        Self::spend(turn, bytes);
        turn.queued = false;
    }

    /// Ids in the lists, those of streams that are gone included.
    pub(super) fn len(&self) -> usize {
        self.new.len() + self.old.len()
    }

    /// Drops the ids of streams that are gone.
    pub(super) fn retain(&mut self, is_there: impl Fn(StreamId) -> bool) {
        self.new.retain(|id| is_there(*id));
        self.old.retain(|id| is_there(*id));
        self.left_in_round = self.left_in_round.min(self.old.len());
    }

    /// Whether no stream waits.
    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.old.is_empty()
    }

    fn spend(turn: &mut Turn, bytes: usize) {
        turn.deficit -= i64::try_from(bytes).unwrap_or(i64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_stream_goes_ahead_of_bulk_again_and_again_but_not_beyond_its_quantum() {
        let mut scheduler = Scheduler::default();
        let mut turns = [Turn::default(); 5];
        let bulk: Vec<StreamId> = (1..5).map(StreamId).collect();
        for id in &bulk {
            scheduler.activate(*id, &mut turns[id.0 as usize]);
        }
        let (mut small_sent, mut bulk_sent) = (0usize, 0usize);
        for _ in 0..10_000 {
            scheduler.activate(StreamId(0), &mut turns[0]);
            let id = scheduler.next().unwrap();
            let turn = &mut turns[id.0 as usize];
            let allowance = scheduler.allowance(turn);
            if id.0 == 0 {
                small_sent += 1000.min(allowance);
                Scheduler::rest(turn, 1000);
            } else {
                bulk_sent += 16_384.min(allowance);
                scheduler.requeue(id, turn, 16_384.min(allowance));
            }
        }
        let share = small_sent as f64 / (small_sent + bulk_sent) as f64;
        assert!(share <= 0.22, "one of five streams took {share}");
        assert!(share >= 0.15, "the quiet stream got only {share}");
    }

    #[test]
    fn bulk_streams_share_equally() {
        let mut scheduler = Scheduler::default();
        let mut turns = [Turn::default(); 32];
        let mut sent = [0usize; 32];
        for id in 0..32u32 {
            scheduler.activate(StreamId(id), &mut turns[id as usize]);
        }
        for _ in 0..32 * 200 {
            let id = scheduler.next().unwrap();
            let turn = &mut turns[id.0 as usize];
            let bytes = scheduler.allowance(turn).min(16_384);
            sent[id.0 as usize] += bytes;
            scheduler.requeue(id, turn, bytes);
        }
        let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
        assert!(most - least <= 2 * BULK_BYTES, "{least}..{most}");
    }
}
