//! Nodes that rest after failures: out of the sets until their time is over, then tried by one request at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::{Directory, NodeKey};

/// Ended rests looked at for one choice, so that none takes long.
const WAKE_AT_ONCE: usize = 8;

/// Most entries of nodes that are gone or woke early, beside one for each live node.
const MOST_STALE: usize = 1024;

/// Whether a node is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Condition {
    /// As often as it has room.
    #[default]
    Well,
    /// Not at all.
    Resting,
    /// By one request.
    Trial,
    /// That request is under way.
    OnTrial,
}

impl Condition {
    pub(super) fn may_be_asked(self) -> bool {
        matches!(self, Self::Well | Self::Trial)
    }

    /// After a stream was opened on the node.
    pub(super) fn asked(self) -> Self {
        match self {
            Self::Trial => Self::OnTrial,
            other => other,
        }
    }

    /// After a stream was closed: if it was the trial, it said nothing, and the next one is.
    pub(super) fn left(self) -> Self {
        match self {
            Self::OnTrial => Self::Trial,
            other => other,
        }
    }
}

/// When which rest ends.
#[derive(Debug, Default)]
pub(super) struct Resting {
    ends: BinaryHeap<Reverse<(Instant, NodeKey)>>,
}

impl<T> Directory<T> {
    /// Lets a node rest until then; see [`Directory::wake`].
    pub fn rest(&mut self, key: NodeKey, until: Instant) {
        let Some(entry) = self.nodes.of_mut(key) else {
            return;
        };
        let rests = std::mem::replace(&mut entry.condition, Condition::Resting) == Condition::Resting;
        self.relist(key.slot);
        // One that rests already keeps its time: those who were asking it all say the same.
        if !rests {
            self.resting.ends.push(Reverse((until, key)));
        }
        if self.resting.ends.len() > self.by_node.len() + MOST_STALE {
            let nodes = &self.nodes;
            self.resting.ends.retain(|Reverse((_, key))| {
                nodes
                    .of(*key)
                    .is_some_and(|entry| entry.condition == Condition::Resting)
            });
        }
    }

    /// Puts nodes whose rest is over on trial, a few at a time.
    pub fn wake(&mut self, now: Instant) {
        for _ in 0..WAKE_AT_ONCE {
            match self.resting.ends.peek() {
                Some(Reverse((end, _))) if *end <= now => {}
                _ => return,
            }
            let Some(Reverse((_, key))) = self.resting.ends.pop() else {
                return;
            };
            if let Some(entry) = self.nodes.of_mut(key)
                && entry.condition == Condition::Resting
            {
                entry.condition = Condition::Trial;
                self.relist(key.slot);
            }
        }
    }

    /// A node works: it rests no more, and its trial is over.
    pub fn works(&mut self, key: NodeKey) {
        if let Some(entry) = self.nodes.of_mut(key)
            && entry.condition != Condition::Well
        {
            entry.condition = Condition::Well;
            self.relist(key.slot);
        }
    }

    /// Whether a node that rested is being tried.
    pub fn is_on_trial(&self, key: NodeKey) -> bool {
        self.nodes
            .of(key)
            .is_some_and(|entry| entry.condition == Condition::OnTrial)
    }

    /// Rests that have not ended.
    pub fn resting(&self) -> usize {
        self.resting.ends.len()
    }
}
