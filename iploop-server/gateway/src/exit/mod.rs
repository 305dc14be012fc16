//! The way out: one exit after the other until one has reached the destination, or nobody is left to ask.
//!
//! An attempt that failed before the destination could act moves on to another exit, within the deadline. What the
//! destination itself refused is tried once more elsewhere, because a device's network may be to blame, and then believed.
//! An exit that the destination's host refused lately is not offered to the same customer again, unless no other is left.

mod concessions;
mod refusals;
mod resolve;
mod trail;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use iploop_platform::exits::{
    Asked, Avoid, CustomerTerms, Exit, ExitError, ExitFailure, ExitRequest, Exits, OpenedExit, Preference,
};
use iploop_platform::ids::{AccountId, ApiKeyId, NodeId};
use iploop_protocol::destination::Destination;
use iploop_protocol::policy::Transport;
use iploop_protocol::targeting::{Rotation, Targeting};
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, timeout_at};

use self::concessions::{Concessions, Rotating};
pub(crate) use self::refusals::{Refusals, Through};
pub(crate) use self::resolve::Resolver;
pub(crate) use self::trail::{Failed, Trail};
use crate::answer::{AnotherExit, Fault, ProxyError};
use crate::sessions::{Sessions, Turn, Visit};
use crate::telemetry;

/// Beyond the deadline of an attempt, so that the hub itself says which exit did not answer.
const ANSWER_GRACE: Duration = Duration::from_millis(500);

/// Exits asked beside the first one at most: where a fifth is dead, of four one lives.
const MOST_HEDGES: u32 = 3;

/// What bounds the search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// From the request's admission to an open stream.
    pub(crate) connect_timeout: Duration,
    /// For one exit.
    pub(crate) attempt_timeout: Duration,
    /// Exits asked for one request.
    pub(crate) max_attempts: u32,
    /// Whether further exits are asked beside slow ones.
    pub(crate) hedge: bool,
}

/// One exit that was asked, for whoever wants to know.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    /// Where it is; none if that is not known, or if nobody knows which it was.
    pub(crate) country: Option<String>,
    /// `opened`, `outrun`, or the code of its failure.
    pub(crate) outcome: &'static str,
    /// How long it was waited for.
    pub(crate) took: Duration,
    /// It was asked beside another that took long.
    pub(crate) hedged: bool,
}

/// The search for a way out, for one request.
pub(crate) struct Search {
    account: AccountId,
    terms: CustomerTerms,
    key: ApiKeyId,
    targeting: Arc<Targeting>,
    destination: Destination,
    transport: Transport,
    visit: Option<Arc<Visit>>,
    deadline: Instant,
    bounds: Bounds,
    refusals: Refusals,
    /// Exits that failed.
    failed: Avoid,
    tried: Vec<Tried>,
    attempts: u32,
    /// An exit was asked again because the destination seemed to be the cause.
    asked_again: bool,
    error: Option<ProxyError>,
    select: Duration,
}

/// Whom a search asks, as long as nothing else is known.
struct Choice<'v> {
    /// The exit of the session, and who may stand in for it; none: any.
    prefer: Option<Preference>,
    concessions: Concessions,
    /// Keeps the session's other requests waiting for what this one finds.
    permit: Option<SemaphorePermit<'v>>,
}

/// A way out that was found.
pub(crate) struct Found {
    /// The exit and its stream to the destination.
    pub(crate) opened: OpenedExit,
    /// What the answer says about the session.
    pub(crate) session: Option<String>,
    /// To be told what comes through it.
    pub(crate) through: Through,
}

impl Search {
    /// Begins the search; the deadline counts from here.
    pub(crate) fn new(
        account: AccountId,
        key: ApiKeyId,
        targeting: Arc<Targeting>,
        destination: Destination,
        visit: Option<Arc<Visit>>,
        bounds: Bounds,
        refusals: Refusals,
    ) -> Self {
        Self {
            account,
            terms: CustomerTerms::default(),
            key,
            targeting,
            destination,
            transport: Transport::Tcp,
            visit,
            deadline: Instant::now() + bounds.connect_timeout,
            bounds,
            refusals,
            failed: Avoid::default(),
            tried: Vec::new(),
            attempts: 0,
            asked_again: false,
            error: None,
            select: Duration::ZERO,
        }
    }

    /// The same for a customer of whom more is known than of a new one.
    #[must_use]
    pub(crate) fn on_terms(self, terms: CustomerTerms) -> Self {
        Self { terms, ..self }
    }

    /// The same search for a way of datagrams.
    pub(crate) fn for_datagrams(self) -> Self {
        Self {
            transport: Transport::Udp,
            ..self
        }
    }

    /// For a connection, or for datagrams.
    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    /// Exits asked so far.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Each of them, in the order of their answers.
    pub(crate) fn tried(&self) -> &[Tried] {
        &self.tried
    }

    /// How long the choices took, all together.
    pub(crate) fn select_time(&self) -> Duration {
        self.select
    }

    /// Rules out an exit that was found and then failed before the destination answered; the error stands if no other is
    /// found.
    pub(crate) fn lost(&mut self, node: NodeId, error: ProxyError) {
        self.failed.nodes.push(node);
        self.note_end(&error);
        self.error = Some(error);
    }

    /// An exit that was found failed after all.
    pub(crate) fn note_end(&mut self, error: &ProxyError) {
        if let Some(tried) = self.tried.last_mut() {
            tried.outcome = error.row().code;
        }
    }

    /// The next exit that reaches the destination. `early` goes along with the dial: bytes that may arrive twice.
    ///
    /// # Errors
    /// What the customer shall hear: the most telling failure of all attempts.
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream at the device.
    pub(crate) async fn next(
        &mut self,
        exits: &dyn Exits,
        sessions: &Sessions,
        early: &Bytes,
    ) -> Result<Found, ProxyError> {
        let visit = self.visit.clone();
        let mut choice = match &visit {
            Some(visit) => self.in_turn(visit.turn(exits, self.deadline).await)?,
            None => self.choice(None, self.rotating(sessions), None),
        };
        loop {
            if self.attempts >= self.bounds.max_attempts || Instant::now() >= self.deadline {
                return Err(self.last_word(ProxyError::NodeTimeout));
            }
            let failure = match self.ask(exits, early, &choice).await {
                Ok(opened) => return Ok(self.found(opened, sessions, choice).await),
                Err(failure) => failure,
            };
            self.note_beside(&failure.beside);
            match failure.error {
                ExitError::NoExit | ExitError::NoOtherExit if choice.concessions.concede() => {}
                ExitError::NoOtherExit if choice.concessions.is_distinct() => {
                    return Err(self.last_word(ProxyError::NoDistinctExit));
                }
                ExitError::NoExit | ExitError::NoOtherExit => {
                    return Err(self.last_word(ProxyError::NoExit));
                }
                // No exit said so, the choice did: asking again would not change it.
                ExitError::TooMany if failure.exit.is_none() => {
                    return Err(self.last_word(ProxyError::ExitBusy));
                }
                ExitError::SessionExitGone => match (&visit, choice.prefer) {
                    // One request of the session looks for the next exit; the others wait for what it finds.
                    (Some(visit), Some(gone)) if choice.permit.is_none() => {
                        choice = self.in_turn(visit.replace(gone.ip, self.deadline).await)?;
                    }
                    // An exit that did not answer tells more; one that vanished is what was said here.
                    _ => {
                        let told = self.error.take();
                        let told = told.filter(|error| !matches!(error, ProxyError::ExitUnavailable));
                        return Err(told.unwrap_or(ProxyError::SessionExitGone));
                    }
                },
                _ => self.note_failure(failure, choice.prefer.is_some())?,
            }
        }
    }

    /// What the session's turn means for this search.
    fn in_turn<'v>(&self, turn: Turn<'v>) -> Result<Choice<'v>, ProxyError> {
        match turn {
            Turn::Held(held) => Ok(self.choice(Some(held), Rotating::Free, None)),
            Turn::Choose {
                prefer,
                avoid,
                permit,
            } => Ok(self.choice(prefer, Rotating::left(avoid), Some(permit))),
            Turn::TimedOut => Err(ProxyError::NodeTimeout),
            // Another exit would be a silent change of the session at the process that has this one.
            Turn::Elsewhere => Err(ProxyError::SessionExitGone),
        }
    }

    /// What is ruled out for a request without a session.
    fn rotating(&self, sessions: &Sessions) -> Rotating {
        match (
            self.targeting.rotation(),
            sessions.last_exit(self.key, Instant::now()),
        ) {
            (_, None) | (Rotation::Sticky(_), _) => Rotating::Free,
            (Rotation::EachTunnel, Some(last)) => Rotating::Rather(last),
            (Rotation::EachRequestDistinct, Some(last)) => Rotating::Never(last),
        }
    }

    fn choice<'v>(
        &self,
        prefer: Option<Preference>,
        rotating: Rotating,
        permit: Option<SemaphorePermit<'v>>,
    ) -> Choice<'v> {
        let refused = match prefer {
            // A session's exit is the customer's choice.
            Some(_) => Vec::new(),
            None => self
                .refusals
                .of(self.account, &self.destination.host, Instant::now()),
        };
        Choice {
            prefer,
            concessions: Concessions::new(rotating, refused),
            permit,
        }
    }

    /// Asks one exit, for the time of one attempt.
    async fn ask(
        &self,
        exits: &dyn Exits,
        early: &Bytes,
        choice: &Choice<'_>,
    ) -> Result<OpenedExit, ExitFailure> {
        let began = Instant::now();
        let deadline = self.deadline.min(began + self.bounds.attempt_timeout);
        let mut avoid = self.failed.clone();
        avoid.ips.extend(choice.concessions.avoided());
        let request = ExitRequest {
            account: self.account,
            terms: self.terms.clone(),
            targeting: Arc::clone(&self.targeting),
            prefer: choice.prefer,
            avoid,
            destination: self.destination.clone(),
            transport: self.transport,
            early: early.clone(),
            deadline,
            hedges: self.hedges(),
        };
        let answer = timeout_at(deadline + ANSWER_GRACE, exits.open(request)).await;
        answer.unwrap_or_else(|_| {
            Err(ExitFailure {
                error: ExitError::NodeTimeout,
                exit: None,
                took: deadline - began,
                beside: Vec::new(),
            })
        })
    }

    /// Notes the exit that reached the destination; then the session's other requests go on.
    async fn found(&mut self, opened: OpenedExit, sessions: &Sessions, choice: Choice<'_>) -> Found {
        self.note_beside(&opened.beside);
        let hedged = is_hedged(&opened.beside);
        self.note_tried(Some(&opened.exit), "opened", opened.dial, hedged);
        self.select += opened.select;
        sessions.note_exit(self.key, opened.exit.ip, Instant::now());
        let session = self.visit.as_ref().map(|visit| visit.opened(&opened.exit));
        if let Some(visit) = &self.visit {
            visit.share().await;
        }
        drop(choice);
        let host = &self.destination.host;
        let gauge = Arc::clone(&opened.gauge);
        let through = self.refusals.through(self.account, host, opened.exit.ip, gauge);
        Found {
            opened,
            session,
            through,
        }
    }

    /// Notes an attempt that failed, and rules its exit out. `of_session`: its exit is the session's.
    ///
    /// # Errors
    /// The failure itself, where asking another exit would not help or is not wanted.
    fn note_failure(&mut self, failure: ExitFailure, of_session: bool) -> Result<(), ProxyError> {
        let ExitFailure {
            error,
            exit,
            took,
            beside,
        } = failure;
        let error = as_told(error);
        let row = error.row();
        self.note_tried(exit.as_ref(), row.code, took, is_hedged(&beside));
        if let (ProxyError::ConnectionRefused, Some(exit)) = (&error, &exit) {
            self.note_refusal(exit.ip);
        }
        match row.another_exit {
            AnotherExit::No => return Err(error),
            // A session's exit is the customer's choice, and so is what it can't reach and may not do.
            _ if of_session && row.fault != Fault::Ours => return Err(error),
            AnotherExit::Once if self.asked_again => return Err(error),
            AnotherExit::Once => self.asked_again = true,
            AnotherExit::Yes => {}
        }
        if let Some(exit) = &exit {
            self.failed.nodes.push(exit.node);
            if row.fault == Fault::Destination {
                self.failed.ips.push(exit.ip);
            }
        }
        // What the destination said tells more than what became of the attempts after it.
        let has_told = self
            .error
            .as_ref()
            .is_some_and(|error| error.row().fault == Fault::Destination);
        if !has_told {
            self.error = Some(error);
        }
        Ok(())
    }

    /// What the attempts so far have told; `otherwise` where there were none.
    fn last_word(&mut self, otherwise: ProxyError) -> ProxyError {
        self.error.take().unwrap_or(otherwise)
    }

    /// An exit was asked, and this is what came of it.
    fn note_tried(&mut self, exit: Option<&Arc<Exit>>, outcome: &'static str, took: Duration, hedged: bool) {
        telemetry::tried(outcome, hedged);
        self.attempts += 1;
        self.tried.push(Tried {
            country: exit.and_then(|exit| exit.place.country.clone()),
            outcome,
            took,
            hedged,
        });
    }

    /// Exits that may be asked beside the next one.
    fn hedges(&self) -> u32 {
        let left = self.bounds.max_attempts.saturating_sub(self.attempts + 1);
        if self.bounds.hedge {
            left.min(MOST_HEDGES)
        } else {
            0
        }
    }

    /// Other exits were asked at the same time: where one failed, it is not asked again.
    fn note_beside(&mut self, beside: &[Asked]) {
        for Asked {
            exit,
            error,
            took,
            hedged,
        } in beside
        {
            let outcome = error.as_ref().map_or("outrun", outcome_of);
            self.note_tried(Some(exit), outcome, *took, *hedged);
            if let Some(error) = error {
                self.failed.nodes.push(exit.node);
                if *error == ExitError::ConnectionRefused {
                    self.note_refusal(exit.ip);
                }
            }
        }
    }

    fn note_refusal(&self, ip: IpAddr) {
        self.refusals
            .note(self.account, &self.destination.host, ip, Instant::now());
    }
}

/// Whether the exit that answered was asked beside these, and not before them.
fn is_hedged(beside: &[Asked]) -> bool {
    !beside.is_empty() && beside.iter().all(|asked| asked.hedged)
}

/// What an exit's failure is to the customer.
fn as_told(error: ExitError) -> ProxyError {
    match error {
        ExitError::NoExit | ExitError::NoOtherExit => ProxyError::NoExit,
        ExitError::SessionExitGone => ProxyError::SessionExitGone,
        ExitError::NodeTimeout => ProxyError::NodeTimeout,
        ExitError::NodeUnavailable => ProxyError::ExitUnavailable,
        ExitError::DnsFailed => ProxyError::DnsFailed,
        ExitError::ConnectionRefused => ProxyError::ConnectionRefused,
        ExitError::Unreachable => ProxyError::Unreachable,
        ExitError::ConnectTimeout => ProxyError::ConnectTimeout,
        ExitError::Forbidden(class) => ProxyError::ForbiddenByExit(class),
        ExitError::TooMany => ProxyError::ExitBusy,
        ExitError::Limited(limited) => ProxyError::Limited(limited),
        ExitError::Draining => ProxyError::Draining,
        other => {
            tracing::warn!(error = %other, "the hub gave an error that the gateway does not know");
            ProxyError::Internal
        }
    }
}

fn outcome_of(error: &ExitError) -> &'static str {
    as_told(error.clone()).row().code
}
