//! Which process holds which device, and how many devices there are at all processes together.
//!
//! ```text
//! hub ──(came, went)──▶ PresenceTask ──▶ shared state: a note for each device, one card for each process
//! the others' cards, every second ──▶ Presence ──▶ figures of the whole network; which process is alive
//! the others' places, every 5 s   ──▶    ''    ──▶ countries and cities
//! whatever else is asked here ──▶ Processes ──▶ the process that knows: pools, rows, single devices, sticky sessions
//! ```
//!
//! A device is where its note says, while that process's card holds: a process that is gone takes its devices along, whatever
//! notes it left. Notes that were lost come back: all are written anew when news may have been missed, and now and then.

mod everywhere;
mod places;
mod questions;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Release};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::everywhere::{NetworkEverywhere, NodesEverywhere};
pub use self::questions::{ANSWER_WITHIN, Answer, Answering, Processes, Question};

use crate::admin::LiveNodes;
use crate::clock::Clock;
use crate::ids::NodeId;
use crate::network::{CountryPresence, Network, NetworkStats};
use crate::shared::{Change, Name, Note, SharedError, SharedState};

/// How often a process shows its card.
const EVERY: Duration = Duration::from_secs(1);
/// How long a process that is not heard of counts.
const CARD_LASTS: Duration = Duration::from_secs(5);
/// Cards are exchanged for so long before nobody is taken to be missing: in a Redis that comes back empty, too.
const WHOLE_AFTER: Duration = Duration::from_secs(3);
/// How long a device's note is kept …
const NOTE_LASTS: Duration = Duration::from_secs(3600);
/// … and how often all are written anew.
const ANEW_EVERY: Duration = Duration::from_secs(1200);
/// Busy devices that a card names: others at that process count as available in lists.
const MAX_BUSY: usize = 1_000;
/// Devices written down together.
const BATCH: usize = 1_000;

/// Told when a device comes to this process and when it goes. Never waits.
pub trait NodeMoves: Send + Sync + 'static {
    /// It is connected here.
    fn came(&self, node: NodeId);
    /// It is connected here no more.
    fn went(&self, node: NodeId);
}

/// What a process shows of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Card {
    stats: NetworkStats,
    busy: Vec<NodeId>,
}

/// What is known of all processes. Clones share one state.
#[derive(Clone)]
pub struct Presence(Arc<Inner>);

struct Inner {
    process: Uuid,
    shared: Arc<dyn SharedState>,
    clock: Arc<dyn Clock>,
    /// The others', as of the last second.
    cards: RwLock<HashMap<Uuid, Card>>,
    /// Since when each second's exchange of cards has worked.
    heard_since: Mutex<Option<Instant>>,
    /// The others' places, as told last.
    places: RwLock<Arc<places::Places>>,
    /// Connected here.
    here: Mutex<HashSet<NodeId>>,
    /// Came or went and is not written down.
    moved: Mutex<HashSet<NodeId>>,
    /// All that are here are to be written anew.
    all_anew: AtomicBool,
    has_moved: Notify,
}

impl Presence {
    /// Of a process that begins. The task must run.
    pub fn new(shared: Arc<dyn SharedState>, clock: Arc<dyn Clock>) -> (Self, PresenceTask) {
        let presence = Self(Arc::new(Inner {
            process: shared.process(),
            shared,
            clock,
            cards: RwLock::default(),
            heard_since: Mutex::default(),
            places: RwLock::default(),
            here: Mutex::default(),
            moved: Mutex::default(),
            all_anew: AtomicBool::new(false),
            has_moved: Notify::new(),
        }));
        let task = PresenceTask(presence.clone());
        (presence, task)
    }

    /// This process: another id each time that one starts.
    pub fn process(&self) -> Uuid {
        self.0.process
    }

    /// The other process that holds a device; none also where nobody knows. Waits for the shared state 250 ms at most.
    pub async fn elsewhere(&self, node: NodeId) -> Option<Uuid> {
        if self.0.here.lock().contains(&node) {
            return None;
        }
        self.holders(&[node]).await.pop().flatten()
    }

    /// The processes that hold these devices, this one included, in their order.
    pub async fn holders(&self, nodes: &[NodeId]) -> Vec<Option<Uuid>> {
        let names: Vec<Name> = nodes.iter().map(|node| name_of(*node)).collect();
        let read = self.0.shared.read(&names, self.0.clock.now()).await;
        let noted = read.unwrap_or_else(|_| vec![None; nodes.len()]);
        let (here, cards) = (self.0.here.lock(), self.0.cards.read());
        let holder = |(node, noted): (&NodeId, Option<Vec<u8>>)| {
            if here.contains(node) {
                return Some(self.0.process);
            }
            let process = Uuid::from_slice(&noted?).ok()?;
            cards.contains_key(&process).then_some(process)
        };
        nodes.iter().zip(noted).map(holder).collect()
    }

    /// As [`Presence::holders`], of one device; an error where that can't be known.
    async fn find(&self, node: NodeId) -> Result<Option<Uuid>, SharedError> {
        let read = self.0.shared.read(&[name_of(node)], self.0.clock.now()).await?;
        let process = read.into_iter().flatten().next();
        let process = process.and_then(|process| Uuid::from_slice(&process).ok());
        Ok(process.filter(|process| self.0.cards.read().contains_key(process)))
    }

    /// The other processes that are alive, in the order of their ids.
    fn others(&self) -> Vec<Uuid> {
        let mut others: Vec<Uuid> = self.0.cards.read().keys().copied().collect();
        others.sort_unstable();
        others
    }

    /// Whether every process that is alive has been heard of: each shows its card once a second.
    fn is_whole(&self) -> bool {
        let since = *self.0.heard_since.lock();
        since.is_some_and(|since| since.elapsed() >= WHOLE_AFTER)
    }

    /// Countries and cities, as other processes that are alive told them.
    fn places_elsewhere(&self) -> Vec<CountryPresence> {
        let told = Arc::clone(&self.0.places.read());
        let cards = self.0.cards.read();
        let alive = told.iter().filter(|(process, _)| cards.contains_key(process));
        alive.flat_map(|(_, places)| places.iter().cloned()).collect()
    }

    /// The other processes' figures.
    fn figures_elsewhere(&self) -> Vec<NetworkStats> {
        let cards = self.0.cards.read();
        cards.values().map(|card| card.stats.clone()).collect()
    }

    /// Devices that are busy at other processes.
    fn busy_elsewhere(&self) -> Vec<NodeId> {
        let cards = self.0.cards.read();
        cards
            .values()
            .flat_map(|card| card.busy.iter().copied())
            .collect()
    }

    fn note_move(&self, node: NodeId) {
        self.0.moved.lock().insert(node);
        self.0.has_moved.notify_one();
    }

    /// Shows this process's card and reads the others'.
    async fn show(&self, card: &Card) -> Result<(), SharedError> {
        let card = serde_json::to_vec(card).unwrap_or_default();
        let inner = &*self.0;
        let board = Name::new("network", "processes");
        let others = inner
            .shared
            .post(board, inner.process, &card, CARD_LASTS, inner.clock.now())
            .await?;
        let read = |(process, card): (Uuid, Vec<u8>)| Some((process, serde_json::from_slice(&card).ok()?));
        let cards: HashMap<Uuid, Card> = others.into_iter().filter_map(read).collect();
        note_processes(cards.len());
        *inner.cards.write() = cards;
        Ok(())
    }

    /// Writes down who came and went.
    async fn write(&self) -> Result<(), SharedError> {
        let inner = &*self.0;
        if inner.all_anew.swap(false, AcqRel) {
            let here: Vec<NodeId> = inner.here.lock().iter().copied().collect();
            inner.moved.lock().extend(here);
        }
        loop {
            let batch: Vec<NodeId> = inner.moved.lock().iter().copied().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(());
            }
            let (came, went): (Vec<NodeId>, Vec<NodeId>) = {
                let here = inner.here.lock();
                batch.iter().copied().partition(|node| here.contains(node))
            };
            let value = inner.process.as_bytes().to_vec();
            let notes: Vec<Note> = came
                .iter()
                .map(|node| Note {
                    name: name_of(*node),
                    value: value.clone(),
                    lasts: NOTE_LASTS,
                })
                .collect();
            let gone: Vec<_> = went.iter().map(|node| (name_of(*node), value.clone())).collect();
            inner.shared.keep(&notes, inner.clock.now()).await?;
            inner.shared.take_away(&gone).await?;
            // Who moved once more meanwhile is written once more.
            let (here, mut moved) = (inner.here.lock(), inner.moved.lock());
            for node in came {
                if here.contains(&node) {
                    moved.remove(&node);
                }
            }
            for node in went {
                if !here.contains(&node) {
                    moved.remove(&node);
                }
            }
        }
    }
}

impl NodeMoves for Presence {
    fn came(&self, node: NodeId) {
        self.0.here.lock().insert(node);
        self.note_move(node);
    }

    fn went(&self, node: NodeId) {
        self.0.here.lock().remove(&node);
        self.note_move(node);
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence")
            .field("process", &self.0.process)
            .finish_non_exhaustive()
    }
}

fn name_of(node: NodeId) -> Name {
    Name::new("node", &node.to_string())
}

/// How many are alive, this one included: 1 while the shared state is away.
fn note_processes(others: usize) {
    metrics::gauge!("iploop_processes").set(others as f64 + 1.0);
}

/// Tells the others of this process, and hears of them.
#[derive(Debug)]
pub struct PresenceTask(Presence);

impl PresenceTask {
    /// Runs until `shutdown`, with the figures of this process alone.
    ///
    /// # Cancel safety
    /// May be dropped at any time: the others notice within 5 seconds.
    pub async fn run(
        self,
        network: Arc<dyn Network>,
        nodes: Arc<dyn LiveNodes>,
        shutdown: CancellationToken,
    ) {
        let Self(presence) = self;
        let work = async {
            tokio::join!(
                show(&presence, &*network, &*nodes),
                places::tell(&presence, &*network),
                write(&presence),
                follow(&presence)
            )
        };
        let _: Option<((), (), (), ())> = shutdown.run_until_cancelled(work).await;
    }
}

async fn show(presence: &Presence, network: &dyn Network, nodes: &dyn LiveNodes) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard_at = Instant::now();
    loop {
        ticks.tick().await;
        let card = Card {
            stats: network.stats(),
            busy: nodes.busy(MAX_BUSY),
        };
        match presence.show(&card).await {
            Ok(()) => {
                heard_at = Instant::now();
                presence.0.heard_since.lock().get_or_insert(heard_at);
                continue;
            }
            Err(_) if heard_at.elapsed() > CARD_LASTS => {
                presence.0.cards.write().clear();
                note_processes(0);
            }
            Err(_) => {}
        }
        *presence.0.heard_since.lock() = None;
    }
}

async fn write(presence: &Presence) {
    let mut anew = interval(ANEW_EVERY);
    anew.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = presence.0.has_moved.notified() => {}
            _ = anew.tick() => presence.0.all_anew.store(true, Release),
        }
        while let Err(error) = presence.write().await {
            tracing::debug!(%error, "where devices are was not written down");
            tokio::time::sleep(EVERY).await;
        }
    }
}

/// Where news may have been missed, notes may be lost too.
async fn follow(presence: &Presence) {
    let mut changes = presence.0.shared.changes();
    loop {
        match changes.recv().await {
            Ok(Change::Missed) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {
                presence.0.all_anew.store(true, Release);
                presence.0.has_moved.notify_one();
            }
            Ok(_) => {}
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
        }
    }
}
