//! Records by slot, each slot used again with a new generation.

use super::index::{Members, Slot, Standing, Traits};
use super::{Entry, NodeKey};

/// Nodes whose records lie together.
const CHUNK: usize = 1024;

/// Records by slot, in chunks that never move.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<Place<T>>>,
    free: Vec<Slot>,
    used: usize,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    entry: Option<Entry<T>>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            used: 0,
        }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, entry: Entry<T>) -> NodeKey {
        let slot = self.free.pop().unwrap_or_else(|| self.grow());
        if let Some(place) = self.place_mut(slot) {
            place.entry = Some(entry);
        }
        self.key(slot)
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Entry<T>> {
        let place = self.place_mut(slot)?;
        let entry = place.entry.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot);
        Some(entry)
    }

    pub(super) fn key(&self, slot: Slot) -> NodeKey {
        NodeKey {
            slot,
            generation: self.place(slot).map_or(0, |place| place.generation),
        }
    }

    /// Whether the slot was ever in use.
    pub(super) fn has(&self, slot: Slot) -> bool {
        self.place(slot).is_some()
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Entry<T>> {
        self.place(slot)?.entry.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Entry<T>> {
        self.place_mut(slot)?.entry.as_mut()
    }

    pub(super) fn of(&self, key: NodeKey) -> Option<&Entry<T>> {
        self.place(key.slot)
            .filter(|place| place.generation == key.generation)?
            .entry
            .as_ref()
    }

    pub(super) fn of_mut(&mut self, key: NodeKey) -> Option<&mut Entry<T>> {
        self.place_mut(key.slot)
            .filter(|place| place.generation == key.generation)?
            .entry
            .as_mut()
    }

    fn grow(&mut self) -> Slot {
        if self.used == self.chunks.len() * CHUNK {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(Place {
                generation: 0,
                entry: None,
            });
        }
        self.used += 1;
        // One less than the number, so that a link of slot + 1 fits u32 as well.
        u32::try_from(self.used).expect("fewer than 2^32 nodes fit the memory of any machine") - 1
    }

    fn place(&self, slot: Slot) -> Option<&Place<T>> {
        let slot = usize::try_from(slot).ok()?;
        self.chunks.get(slot / CHUNK)?.get(slot % CHUNK)
    }

    fn place_mut(&mut self, slot: Slot) -> Option<&mut Place<T>> {
        let slot = usize::try_from(slot).ok()?;
        self.chunks.get_mut(slot / CHUNK)?.get_mut(slot % CHUNK)
    }
}

impl<T> Members for Slab<T> {
    fn member_mut(&mut self, slot: Slot) -> Option<(&Traits, &mut Standing)> {
        self.get_mut(slot)
            .map(|entry| (&entry.traits, &mut entry.standing))
    }
}
