//! Shared state of a platform that is one process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use iploop_platform::clock::Timestamp;
use iploop_platform::shared::{
    Allowance, Change, Charge, Heard, Name, Note, Share, SharedError, SharedState, Take, Tally, Topic,
};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::CHANGES_BEHIND;

/// Names of one kind that are held: below 100 bytes each.
const MAX_NAMES: usize = 65_536;

/// In this process, in bounded tables.
#[derive(Debug)]
pub struct MemoryState {
    /// When each allowance will be whole again, in microseconds since 1970 (the generic cell rate algorithm), by kind.
    whole_at: Mutex<Tables<i64>>,
    shares: Mutex<Tables<HashMap<Uuid, Part>>>,
    tallies: Mutex<Tables<Count>>,
    boards: Mutex<Tables<HashMap<Uuid, Value>>>,
    notes: Mutex<Tables<Value>>,
    changes: broadcast::Sender<Change>,
    topics: [broadcast::Sender<Heard>; Topic::ALL.len()],
    /// To itself: there is nobody else.
    letters: broadcast::Sender<Heard>,
    process: Uuid,
}

type Tables<V> = HashMap<&'static str, HashMap<Name, V>>;

/// What one holder has, and until when it is believed.
#[derive(Clone, Copy, Debug)]
struct Part {
    count: u32,
    until: Timestamp,
}

/// A count, and which turn each holder added last.
#[derive(Clone, Debug)]
struct Count {
    whole: u64,
    turns: HashMap<Uuid, Uuid>,
    until: Timestamp,
}

/// What is kept until a time.
#[derive(Clone, Debug)]
struct Value {
    bytes: Vec<u8>,
    until: Timestamp,
}

impl Default for MemoryState {
    fn default() -> Self {
        Self {
            whole_at: Mutex::default(),
            shares: Mutex::default(),
            tallies: Mutex::default(),
            boards: Mutex::default(),
            notes: Mutex::default(),
            topics: std::array::from_fn(|_| broadcast::Sender::new(CHANGES_BEHIND)),
            changes: broadcast::Sender::new(CHANGES_BEHIND),
            letters: broadcast::Sender::new(CHANGES_BEHIND),
            process: Uuid::now_v7(),
        }
    }
}

#[async_trait]
impl SharedState for MemoryState {
    async fn take(&self, name: Name, allowance: Allowance, now: Timestamp) -> Result<Take, SharedError> {
        let mut tables = self.whole_at.lock();
        let table = tables.entry(name.space()).or_default();
        let (now, refill) = (micros_at(now), micros(allowance.refill));
        let whole_at = table.get(&name).copied().unwrap_or(now).max(now) + refill;
        let wait = whole_at - now - refill.saturating_mul(allowance.burst.into());
        if wait > 0 {
            return Ok(Take::Wait(duration(wait)));
        }
        make_room(table, &name, |whole_at| *whole_at > now);
        table.insert(name, whole_at);
        Ok(Take::Taken)
    }

    async fn give_back(&self, name: Name, allowance: Allowance) -> Result<(), SharedError> {
        let mut tables = self.whole_at.lock();
        if let Some(whole_at) = tables
            .get_mut(name.space())
            .and_then(|table| table.get_mut(&name))
        {
            *whole_at -= micros(allowance.refill);
        }
        Ok(())
    }

    async fn charge(&self, charges: &[Charge], now: Timestamp) -> Result<Vec<Duration>, SharedError> {
        let now = micros_at(now);
        let mut tables = self.whole_at.lock();
        let charged = charges.iter().map(|charge| {
            let table = tables.entry(charge.name.space()).or_default();
            let since = micros_at(charge.since);
            let before = table.get(&charge.name).copied().unwrap_or(since).max(since);
            let whole_at = before.saturating_add(micros(charge.refill).saturating_mul(charge.count.into()));
            if charge.count > 0 && whole_at > now {
                make_room(table, &charge.name, |whole_at| *whole_at > now);
                table.insert(charge.name, whole_at);
            }
            duration(whole_at - now)
        });
        Ok(charged.collect())
    }

    async fn share(
        &self,
        holder: Uuid,
        shares: &[Share],
        lasts: Duration,
        now: Timestamp,
    ) -> Result<Vec<u64>, SharedError> {
        let until = now.plus(lasts);
        let mut tables = self.shares.lock();
        let others = shares.iter().map(|share| {
            let table = tables.entry(share.name.space()).or_default();
            make_room(table, &share.name, |parts| {
                parts.values().any(|part| part.until > now)
            });
            let parts = table.entry(share.name).or_default();
            parts.insert(
                holder,
                Part {
                    count: share.count,
                    until,
                },
            );
            parts.retain(|_, part| part.until > now && part.count > 0);
            let others = parts.iter().filter(|(other, _)| **other != holder);
            let sum = others.map(|(_, part)| u64::from(part.count)).sum();
            if parts.is_empty() {
                table.remove(&share.name);
            }
            sum
        });
        Ok(others.collect())
    }

    async fn tally(
        &self,
        holder: Uuid,
        tallies: &[Tally],
        lasts: Duration,
        now: Timestamp,
    ) -> Result<Vec<u64>, SharedError> {
        let mut tables = self.tallies.lock();
        let wholes = tallies.iter().map(|tally| {
            let table = tables.entry(tally.name.space()).or_default();
            if table.get(&tally.name).is_some_and(|count| count.until <= now) {
                table.remove(&tally.name);
            }
            make_room(table, &tally.name, |count| count.until > now);
            let count = table.entry(tally.name).or_insert(Count {
                whole: 0,
                turns: HashMap::new(),
                until: now,
            });
            count.until = now.plus(lasts);
            count.whole = count.whole.max(tally.at_least);
            if count.turns.insert(holder, tally.turn) != Some(tally.turn) {
                count.whole = count.whole.saturating_add(tally.add.into());
            }
            count.whole
        });
        Ok(wholes.collect())
    }

    async fn post(
        &self,
        board: Name,
        holder: Uuid,
        card: &[u8],
        lasts: Duration,
        now: Timestamp,
    ) -> Result<Vec<(Uuid, Vec<u8>)>, SharedError> {
        let mut tables = self.boards.lock();
        let table = tables.entry(board.space()).or_default();
        make_room(table, &board, |cards| cards.values().any(|card| card.until > now));
        let cards = table.entry(board).or_default();
        let card = Value {
            bytes: card.to_vec(),
            until: now.plus(lasts),
        };
        cards.insert(holder, card);
        cards.retain(|_, card| card.until > now);
        let others = cards.iter().filter(|(other, _)| **other != holder);
        Ok(others.map(|(other, card)| (*other, card.bytes.clone())).collect())
    }

    async fn keep(&self, notes: &[Note], now: Timestamp) -> Result<(), SharedError> {
        let mut tables = self.notes.lock();
        for note in notes {
            let table = tables.entry(note.name.space()).or_default();
            make_room(table, &note.name, |kept| kept.until > now);
            let value = Value {
                bytes: note.value.clone(),
                until: now.plus(note.lasts),
            };
            table.insert(note.name, value);
        }
        Ok(())
    }

    async fn read(&self, names: &[Name], now: Timestamp) -> Result<Vec<Option<Vec<u8>>>, SharedError> {
        let tables = self.notes.lock();
        let values = names.iter().map(|name| {
            let kept = tables.get(name.space())?.get(name)?;
            (kept.until > now).then(|| kept.bytes.clone())
        });
        Ok(values.collect())
    }

    async fn take_away(&self, values: &[(Name, Vec<u8>)]) -> Result<(), SharedError> {
        let mut tables = self.notes.lock();
        for (name, value) in values {
            if let Some(table) = tables.get_mut(name.space())
                && table.get(name).is_some_and(|kept| kept.bytes == *value)
            {
                table.remove(name);
            }
        }
        Ok(())
    }

    async fn tell(&self, topic: Topic, message: &[u8]) -> Result<(), SharedError> {
        let told = Heard::Told {
            from: self.process,
            message: Arc::from(message),
        };
        // Nobody listening is nobody to tell.
        let _ = self.topics[topic as usize].send(told);
        Ok(())
    }

    fn hear(&self, topic: Topic) -> broadcast::Receiver<Heard> {
        self.topics[topic as usize].subscribe()
    }

    fn process(&self) -> Uuid {
        self.process
    }

    async fn send(&self, to: Uuid, message: &[u8]) -> Result<bool, SharedError> {
        let told = Heard::Told {
            from: self.process,
            message: Arc::from(message),
        };
        Ok(to == self.process && self.letters.send(told).is_ok())
    }

    fn letters(&self) -> broadcast::Receiver<Heard> {
        self.letters.subscribe()
    }

    async fn publish(&self, change: Change) -> Result<(), SharedError> {
        // Nobody listening is nobody to tell.
        let _ = self.changes.send(change);
        Ok(())
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn ping(&self) -> Result<(), SharedError> {
        Ok(())
    }
}

/// Makes room for `name`: what no longer counts is forgotten, and if that is not enough an eighth of the rest. Whoever can
/// fill a table got past other limits already, and this bounds memory and work.
fn make_room<V>(table: &mut HashMap<Name, V>, name: &Name, counts: impl Fn(&V) -> bool) {
    if table.len() < MAX_NAMES || table.contains_key(name) {
        return;
    }
    table.retain(|_, value| counts(value));
    let surplus: Vec<Name> = table.keys().skip(MAX_NAMES - MAX_NAMES / 8).copied().collect();
    for name in surplus {
        table.remove(&name);
    }
}

pub(super) fn micros_at(at: Timestamp) -> i64 {
    at.as_millis().saturating_mul(1000)
}

/// At least one: an allowance that comes back in no time is none.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4).max(1)
}

pub(super) fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_tables_never_outgrow_their_capacity() {
        let state = MemoryState::default();
        let now = Timestamp::from_millis(1_764_000_000_000);
        let allowance = Allowance {
            burst: 3,
            refill: Duration::from_secs(10),
        };
        let holder = Uuid::from_u128(1);
        for subject in 0..MAX_NAMES + MAX_NAMES / 4 {
            let name = Name::new("many", &subject.to_string());
            assert_eq!(state.take(name, allowance, now).await, Ok(Take::Taken));
            let share = Share { name, count: 1 };
            state
                .share(holder, &[share], Duration::from_secs(1), now)
                .await
                .unwrap();
        }
        assert!(state.whole_at.lock()["many"].len() <= MAX_NAMES);
        assert!(state.shares.lock()["many"].len() <= MAX_NAMES);
    }
}
