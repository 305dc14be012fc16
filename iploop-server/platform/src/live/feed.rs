//! One account's events: a short memory, and a queue for each watcher.

use std::collections::VecDeque;

use tokio::sync::broadcast;

use super::together::Others;
use super::{Event, EventId};

/// Events that a feed remembers: some 100 KiB.
const REMEMBERED: usize = 256;
/// Events that may wait for a watcher.
const QUEUE: usize = 64;
/// Seconds of the window in which requests are counted.
pub(super) const WINDOW: usize = 60;
/// Seconds for which a feed that nobody watches is remembered.
const KEPT: u32 = 60;

/// An event with its id, if it is one that can be asked for again.
type Numbered = (Option<EventId>, Event);

/// The events of an account, or of the process.
pub(super) struct Feed {
    run: i64,
    next: u64,
    memory: VecDeque<Numbered>,
    queue: broadcast::Sender<Numbered>,
    /// The last state of each kind, for whoever comes.
    states: Vec<Event>,
    requests_now: u64,
    /// Requests of the last seconds, the newest at the end.
    requests: VecDeque<u64>,
    unwatched_for: u32,
    /// Somebody looked at it here and may come back.
    kept_here: bool,
    pub(super) others: Others,
}

impl Feed {
    pub(super) fn new(run: i64) -> Self {
        Self {
            run,
            next: 0,
            memory: VecDeque::new(),
            queue: broadcast::Sender::new(QUEUE),
            states: Vec::new(),
            requests_now: 0,
            requests: VecDeque::new(),
            unwatched_for: 0,
            kept_here: false,
            others: Others::default(),
        }
    }

    /// Whether events are for somebody here, and not only for other processes.
    pub(super) fn is_kept_here(&self) -> bool {
        self.kept_here
    }

    /// Tells that events were lost on their way here.
    pub(super) fn gap(&mut self) {
        if self.kept_here {
            self.tell((None, Event::Gap));
        }
    }

    pub(super) fn watchers(&self) -> usize {
        self.queue.receiver_count()
    }

    pub(super) fn watch(&mut self, last: Option<EventId>) -> Watch {
        self.unwatched_for = 0;
        self.kept_here = true;
        let mut waiting: VecDeque<Numbered> = self.states.iter().map(|state| (None, state.clone())).collect();
        if let Some(last) = last {
            let is_known = last.run == self.run && last.number < self.next;
            let forgotten = self.next - self.memory.len() as u64;
            if !is_known || last.number + 1 < forgotten {
                waiting.push_back((None, Event::Gap));
            }
            let is_new = |id: Option<EventId>| !is_known || id.is_some_and(|id| id.number > last.number);
            waiting.extend(self.memory.iter().filter(|(id, _)| is_new(*id)).cloned());
        }
        Watch {
            waiting,
            queue: self.queue.subscribe(),
        }
    }

    pub(super) fn count_request(&mut self) {
        self.requests_now += 1;
    }

    /// Tells an event that can be asked for again.
    pub(super) fn remember(&mut self, event: Event) {
        let id = EventId {
            run: self.run,
            number: self.next,
        };
        self.next += 1;
        if self.memory.len() == REMEMBERED {
            self.memory.pop_front();
        }
        self.memory.push_back((Some(id), event.clone()));
        self.tell((Some(id), event));
    }

    /// Tells a state, if it is another one than before. Those who come later hear the last one.
    pub(super) fn state(&mut self, state: Event) {
        let kind = std::mem::discriminant(&state);
        let known = self
            .states
            .iter_mut()
            .find(|known| std::mem::discriminant(*known) == kind);
        match known {
            Some(known) if *known == state => return,
            Some(known) => *known = state.clone(),
            None => self.states.push(state.clone()),
        }
        self.tell((None, state));
    }

    /// A second is over: the requests of the window, and how many seconds it has.
    pub(super) fn second(&mut self) -> (u64, u64) {
        if self.requests.len() == WINDOW {
            self.requests.pop_front();
        }
        self.requests.push_back(std::mem::take(&mut self.requests_now));
        (self.requests.iter().sum(), self.requests.len() as u64)
    }

    /// A second is over; whether the feed is to be forgotten.
    pub(super) fn is_left(&mut self) -> bool {
        self.unwatched_for = if self.watchers() == 0 {
            self.unwatched_for + 1
        } else {
            0
        };
        self.kept_here &= self.unwatched_for <= KEPT;
        !self.kept_here && !self.others.is_wanted()
    }

    fn tell(&self, event: Numbered) {
        // Fails where nobody watches.
        let _ = self.queue.send(event);
    }
}

/// What one watcher sees. Dropping it ends the watching.
pub struct Watch {
    waiting: VecDeque<Numbered>,
    queue: broadcast::Receiver<Numbered>,
}

impl Watch {
    /// The next event, with its id if it can be asked for again; none: the watcher is too slow, or the process ends.
    ///
    /// # Cancel safety
    /// Safe: an event is either given or kept.
    pub async fn next(&mut self) -> Option<(Option<EventId>, Event)> {
        if let Some(event) = self.waiting.pop_front() {
            return Some(event);
        }
        // Lagged or closed: either way the end.
        self.queue.recv().await.ok()
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
