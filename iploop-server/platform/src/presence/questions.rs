//! What one process asks the others, and how they answer.
//!
//! ```text
//! Processes::ask ──(question, its number)──▶ the process that holds it ──▶ Answering: hub and gateway of that process
//!       ◀────────────(answer, the same number)──────────
//! ```
//!
//! Nothing is kept for it anywhere: what nobody asks costs nothing, and an answer is as fresh as can be. It is waited for
//! [`ANSWER_WITHIN`] at most. A process that did not answer is not asked for a while, so that a dead one costs that wait once.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::join_all;
use iploop_protocol::targeting::Targeting;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Presence;
use crate::admin::{LiveNode, LiveNodes};
use crate::device_news::{Connected, Said};
use crate::ids::{AccountId, NodeId};
use crate::network::{Network, NodePage, NodeWish, Pool};
use crate::shared::SealedState;
use crate::sticky::{LiveSession, LiveSessions, MAX_PAGE};

/// Longest wait for an answer.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(250);
/// A process that did not answer is not asked for so long: by then one that is dead has no card any more.
const SILENT_FOR: Duration = Duration::from_secs(5);
/// Questions that wait for their answers.
const MAX_WAITING: usize = 4_096;
/// Questions of others that are worked on. Those beyond are not answered.
const MAX_ANSWERING: usize = 64;
/// Rows of one answer, and devices of one question.
const MAX_ROWS: usize = 1_000;

/// What another process is asked. It answers for itself alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Question {
    /// How many devices fit this targeting, in canonical form.
    Pool(String),
    /// Rows of its list of devices.
    Nodes {
        /// Which.
        wish: NodeWish,
        /// From this place on.
        from: u32,
        /// At most so many.
        limit: usize,
    },
    /// How a device's connection is.
    Live(NodeId),
    /// What devices said last.
    Said(Vec<NodeId>),
    /// An account's sticky sessions, by name.
    Sessions {
        /// Whose.
        account: AccountId,
        /// Behind this name.
        after: Option<String>,
        /// At most so many.
        limit: u32,
    },
    /// One of them.
    Session(AccountId, String),
}

/// What it answers, each kind of question by the answer of its name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// What fits there.
    Pool(Pool),
    /// Rows.
    Nodes(NodePage),
    /// The connection; none: it is not there.
    Live(Option<LiveNode>),
    /// In the order of the question; none: it is not there.
    Said(Vec<Option<Said>>),
    /// The sessions that its gateway has.
    Sessions(Vec<LiveSession>),
}

/// What goes from one process to another.
#[derive(Serialize, Deserialize)]
enum Letter {
    Question(u64, Question),
    Answer(u64, Answer),
}

/// The other processes, to be asked. Clones share one state.
#[derive(Clone)]
pub struct Processes(Arc<Inner>);

struct Inner {
    presence: Presence,
    state: SealedState,
    number: AtomicU64,
    /// Whose answer to which question is waited for.
    waiting: Mutex<HashMap<u64, (Uuid, oneshot::Sender<Answer>)>>,
    /// Who did not answer, and until when nobody asks it.
    silent: Mutex<HashMap<Uuid, Instant>>,
}

/// A question that waits; it does not when this is dropped.
struct Waiting<'a> {
    inner: &'a Inner,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.inner.waiting.lock().remove(&self.number);
    }
}

impl Processes {
    /// Those that `presence` knows. [`Processes::answer`] must run here and there.
    pub fn new(presence: Presence, state: SealedState) -> Self {
        Self(Arc::new(Inner {
            presence,
            state,
            number: AtomicU64::new(0),
            waiting: Mutex::default(),
            silent: Mutex::default(),
        }))
    }

    /// Asks one process. None: it did not answer in time, or not lately.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn ask(&self, process: Uuid, question: &Question) -> Option<Answer> {
        let inner = &*self.0;
        let is_silent = |until: &Instant| Instant::now() < *until;
        if inner.silent.lock().get(&process).is_some_and(is_silent) {
            return None;
        }
        let number = inner.number.fetch_add(1, Relaxed);
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = inner.waiting.lock();
            if waiting.len() >= MAX_WAITING {
                return None;
            }
            waiting.insert(number, (process, answer));
        }
        let _waiting = Waiting { inner, number };
        let letter = serde_json::to_vec(&Letter::Question(number, question.clone())).ok()?;
        match inner.state.send(process, letter).await {
            Ok(true) => {}
            // Nobody listens there, for it begins or is gone; or nobody knows.
            Ok(false) | Err(_) => return None,
        }
        match timeout(ANSWER_WITHIN, answered).await {
            Ok(answer) => answer.ok(),
            Err(_) => {
                inner.note_silent(process);
                None
            }
        }
    }

    /// Asks all other processes at once; the answers that came in time.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn ask_all(&self, question: &Question) -> Vec<Answer> {
        let others = self.0.presence.others();
        let asked = others.into_iter().map(|process| self.ask(process, question));
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Answers the other processes, and hears their answers, until `stop`.
    ///
    /// # Cancel safety
    /// May be dropped at any time: the others wait in vain once.
    pub async fn answer(self, answering: Answering, stop: CancellationToken) {
        let answering = Arc::new(answering);
        let room = Arc::new(Semaphore::new(MAX_ANSWERING));
        let mut letters = self.0.state.letters();
        let mut answers = JoinSet::new();
        let work = async {
            while let Some(next) = letters.next().await {
                while answers.try_join_next().is_some() {}
                // What is lost is not answered; what another version says and this one does not know is as if it was lost.
                let Some((from, letter)) = next else { continue };
                match serde_json::from_slice(&letter) {
                    Ok(Letter::Answer(number, answer)) => self.0.answered(from, number, answer),
                    Ok(Letter::Question(number, question)) => {
                        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                            continue;
                        };
                        let (answering, inner) = (Arc::clone(&answering), Arc::clone(&self.0));
                        answers.spawn(async move {
                            let _permit = permit;
                            let answer = answering.answer(question).await;
                            inner.reply(from, number, answer).await;
                        });
                    }
                    Err(_) => {}
                }
            }
        };
        let _: Option<()> = stop.run_until_cancelled(work).await;
    }
}

impl Inner {
    fn note_silent(&self, process: Uuid) {
        let now = Instant::now();
        let mut silent = self.silent.lock();
        silent.retain(|_, until| *until > now);
        silent.insert(process, now + SILENT_FOR);
        metrics::counter!("iploop_processes_silent_total").increment(1);
        tracing::warn!(%process, "another process did not answer: what it has is missing for some seconds");
    }

    fn answered(&self, from: Uuid, number: u64, answer: Answer) {
        let mut waiting = self.waiting.lock();
        if waiting.get(&number).is_some_and(|(asked, _)| *asked == from)
            && let Some((_, answered)) = waiting.remove(&number)
        {
            // Whoever asked may have gone.
            let _ = answered.send(answer);
        }
    }

    async fn reply(&self, to: Uuid, number: u64, answer: Option<Answer>) {
        let letter = answer.and_then(|answer| serde_json::to_vec(&Letter::Answer(number, answer)).ok());
        if let Some(letter) = letter
            && let Err(error) = self.state.send(to, letter).await
        {
            tracing::debug!(%error, "another process did not get its answer");
        }
    }
}

impl fmt::Debug for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processes").finish_non_exhaustive()
    }
}

/// What this process has, for the others who ask.
pub struct Answering {
    /// Its devices, together …
    pub network: Arc<dyn Network>,
    /// … and one by one.
    pub nodes: Arc<dyn LiveNodes>,
    /// What they say.
    pub connected: Arc<dyn Connected>,
    /// Its gateway's sessions.
    pub sessions: Arc<dyn LiveSessions>,
}

impl Answering {
    /// None where the question can't be understood.
    async fn answer(&self, question: Question) -> Option<Answer> {
        Some(match question {
            Question::Pool(targeting) => Answer::Pool(self.network.pool(&Targeting::parse(&targeting).ok()?)),
            Question::Nodes { wish, from, limit } => {
                Answer::Nodes(self.network.nodes(&wish, from, limit.min(MAX_ROWS)))
            }
            Question::Live(node) => Answer::Live(self.nodes.live(node)),
            Question::Said(nodes) => {
                let nodes = nodes.into_iter().take(MAX_ROWS);
                Answer::Said(nodes.map(|node| self.connected.said(node)).collect())
            }
            Question::Sessions {
                account,
                after,
                limit,
            } => {
                let limit = limit.min(MAX_PAGE + 1);
                Answer::Sessions(self.sessions.sessions_now(account, after.as_deref(), limit).await)
            }
            Question::Session(account, name) => {
                let session = self.sessions.session_now(account, &name).await;
                Answer::Sessions(session.into_iter().collect())
            }
        })
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering").finish_non_exhaustive()
    }
}
