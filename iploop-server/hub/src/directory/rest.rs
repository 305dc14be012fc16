//! Nodes that rest after failures: out of the sets until their time is over, then tried by one request at a time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Instant;

use iploop_platform::ids::NodeId;

use super::wish::{Fit, Resolved};
use super::{Directory, MAX_SCAN, NodeKey, Wish};

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

/// When which rest ends. A node that was roused and rests again may have an earlier entry left, which wakes it sooner.
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
            // One entry for each that rests still: the latest.
            let mut latest: HashMap<NodeKey, Instant> = HashMap::new();
            for Reverse((end, key)) in self.resting.ends.drain() {
                let entry = self.nodes.of(key);
                if entry.is_some_and(|entry| entry.condition == Condition::Resting) {
                    let kept = latest.entry(key).or_insert(end);
                    *kept = end.max(*kept);
                }
            }
            let ends = latest.into_iter().map(|(key, end)| Reverse((end, key)));
            self.resting.ends.extend(ends);
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

    /// Puts one resting node that fits on trial before its time: for a wish that nobody else fulfils. False if there is none among
    /// the first [`MAX_SCAN`].
    pub fn rouse(&mut self, wish: &Wish<'_>) -> bool {
        let Some(wanted) = Resolved::of(wish, &self.names) else {
            return false;
        };
        let fitting = self
            .resting
            .ends
            .iter()
            .take(MAX_SCAN)
            .filter(|Reverse((_, key))| {
                self.nodes.of(*key).is_some_and(|entry| {
                    entry.condition == Condition::Resting
                        && entry.sharing
                        && entry.streams < entry.max_streams
                        && wanted.fit(entry) == Fit::Fits
                })
            });
        let Some(Reverse((_, key))) = fitting.min_by_key(|Reverse((end, _))| *end) else {
            return false;
        };
        let key = *key;
        if let Some(entry) = self.nodes.of_mut(key) {
            entry.condition = Condition::Trial;
        }
        self.relist(key.slot);
        true
    }

    /// Lets a node be asked although it rests: by the sticky session that holds on to it.
    pub fn rouse_node(&mut self, node: NodeId) {
        if let Some(slot) = self.slot_of(node)
            && let Some(entry) = self.nodes.get_mut(slot)
            && entry.condition != Condition::Well
        {
            entry.condition = Condition::Well;
            self.relist(slot);
        }
    }

    /// A node works: it rests no more, and its trial is over.
    pub fn works(&mut self, key: NodeKey) {
        if let Some(entry) = self.nodes.of_mut(key) {
            entry.untried = false;
            if entry.condition != Condition::Well {
                entry.condition = Condition::Well;
                self.relist(key.slot);
            }
        }
    }

    /// A dial of the node takes longer than usual: until [`Directory::trust`] others are asked rather.
    pub fn doubt(&mut self, key: NodeKey) {
        if let Some(entry) = self.nodes.of_mut(key) {
            entry.overdue = entry.overdue.saturating_add(1);
        }
    }

    /// That dial has ended, whatever came of it.
    pub fn trust(&mut self, key: NodeKey) {
        if let Some(entry) = self.nodes.of_mut(key) {
            entry.overdue = entry.overdue.saturating_sub(1);
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
