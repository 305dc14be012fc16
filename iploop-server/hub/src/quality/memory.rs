//! The quality of nodes that are not connected: one that comes back soon is still the same.

use std::collections::{HashMap, VecDeque};

use iploop_platform::ids::NodeId;

use super::Quality;

/// The quality of nodes that left, up to a number of nodes; the one that left first is forgotten first.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    left: HashMap<NodeId, (Quality, u64)>,
    order: VecDeque<(NodeId, u64)>,
    next: u64,
}

impl Memory {
    /// Remembers at most `limit` nodes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            left: HashMap::new(),
            order: VecDeque::new(),
            next: 0,
        }
    }

    /// Keeps the quality of a node that leaves.
    pub fn keep(&mut self, node: NodeId, quality: Quality) {
        self.next += 1;
        self.left.insert(node, (quality, self.next));
        self.order.push_back((node, self.next));
        // Entries of nodes that came back stay in line until their turn, so the line has twice the length at most.
        while self.left.len() > self.limit || self.order.len() > 2 * self.limit {
            let Some((first, turn)) = self.order.pop_front() else {
                break;
            };
            if self.left.get(&first).is_some_and(|(_, kept)| *kept == turn) {
                self.left.remove(&first);
            }
        }
    }

    /// Takes back the quality of a node that comes.
    pub fn recall(&mut self, node: NodeId) -> Option<Quality> {
        self.left.remove(&node).map(|(quality, _)| quality)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn remembers_the_latest_up_to_its_limit() {
        let quality = Quality::new(Instant::now());
        let mut memory = Memory::new(3);
        let nodes: Vec<NodeId> = (0..5).map(|_| NodeId::new()).collect();
        for node in &nodes {
            memory.keep(*node, quality);
        }
        assert_eq!(memory.recall(nodes[1]), None);
        assert_eq!(memory.recall(nodes[2]), Some(quality));
        assert_eq!(memory.recall(nodes[2]), None);
    }

    #[test]
    fn coming_and_going_does_not_grow_it() {
        let quality = Quality::new(Instant::now());
        let mut memory = Memory::new(3);
        let node = NodeId::new();
        for _ in 0..1000 {
            memory.keep(node, quality);
            assert_eq!(memory.recall(node), Some(quality));
        }
        memory.keep(node, quality);
        assert!(memory.order.len() <= 6);
        assert_eq!(memory.recall(node), Some(quality));
    }
}
