//! The hub as the gateway sees it: choose a node, have it dial, say honestly what came of it.

mod dial;
mod hedge;
#[cfg(test)]
mod simulation;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use iploop_platform::abuse::Cause;
use iploop_platform::exits::{
    Asked, Avoid, Exit, ExitError, ExitFailure, ExitRequest, Exits, Measured, OpenedExit, Presence,
    StreamGauge,
};
use iploop_platform::ids::AccountId;
use iploop_platform::ids::NodeId;
use iploop_protocol::io::Stream;
use iploop_protocol::policy::{Limit, Transport};
use tokio::time::Instant;

use self::dial::{dial, result_name};
use self::hedge::{ask_hedged, usual_time};
use crate::directory::{NoChoice, NodeKey, Wish};
use crate::guard::Ticket;
use crate::hub::Hub;
use crate::node::Node;
use crate::quality::{Outcome, Verdict};
use crate::shared::Shared;

impl Exits for Hub {
    fn open(&self, request: ExitRequest) -> BoxFuture<'_, Result<OpenedExit, ExitFailure>> {
        attempt(Arc::clone(&self.shared), request).boxed()
    }

    fn presence(&self, node: NodeId, ip: IpAddr) -> Presence {
        self.shared.live.lock().presence(node, ip)
    }
}

/// A stream counted on a node, until it is dropped.
struct Claim {
    shared: Arc<Shared>,
    key: NodeKey,
    node: Arc<Node>,
    customer: u64,
    /// The device rested, and this is the stream by which it is tried.
    is_trial: bool,
    /// What passes through the stream, once it is open.
    gauge: Option<Arc<StreamGauge>>,
    /// Its place in the customer's limits; none where it was not counted.
    ticket: Option<Ticket>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let measured = self.gauge.as_ref().map(|gauge| gauge.measured());
        if let Some(measured) = measured.filter(|measured| *measured != Measured::default()) {
            let now = Instant::now().into_std();
            self.node.note_stream(measured, now);
            let figures = self.node.figures(now);
            self.shared.live.lock().set_figures(self.key, figures);
        }
        let left = {
            let mut live = self.shared.live.lock();
            live.close_stream(self.key, self.customer);
            self.node.is_draining().then(|| live.streams(self.key)).flatten()
        };
        self.shared.stream_closed();
        if left == Some(0) {
            self.node.end_drained(self.shared.spread_retry());
        }
    }
}

/// A dial that takes longer than usual, until it has ended.
struct Doubt {
    shared: Arc<Shared>,
    key: NodeKey,
}

impl Doubt {
    fn new(shared: &Arc<Shared>, key: NodeKey) -> Self {
        shared.live.lock().doubt(key);
        Self {
            shared: Arc::clone(shared),
            key,
        }
    }
}

impl Drop for Doubt {
    fn drop(&mut self) {
        self.shared.live.lock().trust(self.key);
    }
}

/// What came of asking one device.
struct Answer {
    exit: Arc<Exit>,
    took: Duration,
    result: Result<(Stream, Arc<StreamGauge>), ExitError>,
    /// What counts against the customer, if this is the answer that it gets: a request counts once, however many were asked.
    cause: Option<Cause>,
}

impl Answer {
    /// What is told of it beside another answer.
    fn beside(&self, hedged: bool) -> Asked {
        Asked {
            exit: Arc::clone(&self.exit),
            error: self.result.as_ref().err().cloned(),
            took: self.took,
            hedged,
        }
    }
}

async fn attempt(shared: Arc<Shared>, request: ExitRequest) -> Result<OpenedExit, ExitFailure> {
    let started = Instant::now();
    let chosen = choose(&shared, &request, &request.avoid);
    let select = started.elapsed();
    let claim = chosen.map_err(|error| {
        count_open(result_name(&error));
        ExitFailure {
            error,
            exit: None,
            took: select,
            beside: Vec::new(),
        }
    })?;
    let (answer, beside) = if request.hedges > 0 && request.prefer.is_none() {
        ask_hedged(claim, &request).await
    } else {
        (ask(claim, &request).await, Vec::new())
    };
    let Answer {
        exit,
        took,
        result,
        cause,
    } = answer;
    if let Some(cause) = cause {
        let watch = &shared.guard.watch;
        watch.refused(request.account, Some(exit.node), cause);
    }
    match result {
        Ok((stream, gauge)) => Ok(OpenedExit {
            exit,
            stream,
            select,
            dial: took,
            beside,
            gauge,
        }),
        Err(error) => Err(ExitFailure {
            error,
            exit: Some(exit),
            took: started.elapsed(),
            beside,
        }),
    }
}

/// Chooses a node and counts the stream on it, in one step: no other request takes the place meanwhile.
fn choose(shared: &Arc<Shared>, request: &ExitRequest, avoid: &Avoid) -> Result<Claim, ExitError> {
    if shared.is_draining() {
        return Err(ExitError::Draining);
    }
    let customer = shared.customer(request.account);
    let wish = Wish {
        targeting: &request.targeting,
        prefer: request.prefer,
        avoid,
        customer,
    };
    let mut random = shared.random();
    let mut live = shared.live.lock();
    live.wake(Instant::now().into_std());
    if let Some(prefer) = request.prefer {
        live.rouse_node(prefer.node);
    }
    let mut chosen = live.choose(&wish, &mut random);
    // Not where somebody works who is only to be avoided: that one serves sooner.
    if chosen == Err(NoChoice::NoExit) && live.rouse(&wish) {
        chosen = live.choose(&wish, &mut random);
    }
    let key = chosen.map_err(|nobody| match nobody {
        NoChoice::NoExit => ExitError::NoExit,
        NoChoice::NoOtherExit => ExitError::NoOtherExit,
        NoChoice::SessionExitGone => ExitError::SessionExitGone,
        NoChoice::CustomerFull => ExitError::TooMany,
    })?;
    let node = live.get(key).map(Arc::clone);
    let (Some(node), true) = (node, live.open_stream(key, customer)) else {
        return Err(ExitError::NodeUnavailable);
    };
    let is_trial = live.is_on_trial(key);
    drop(live);
    shared.stream_opened();
    Ok(Claim {
        shared: Arc::clone(shared),
        key,
        node,
        customer,
        is_trial,
        gauge: None,
        ticket: None,
    })
}

/// Asks one device to dial, and judges it by what comes of that.
///
/// # Cancel safety
/// Dropping the future resets the stream, and says nothing of the device.
async fn ask(mut claim: Claim, request: &ExitRequest) -> Answer {
    let (shared, node) = (Arc::clone(&claim.shared), Arc::clone(&claim.node));
    match count(&claim, request) {
        Ok(ticket) => claim.ticket = ticket,
        Err(error) => {
            count_open(result_name(&error));
            return Answer {
                exit: Arc::clone(&node.exit),
                took: Duration::ZERO,
                cause: cause_of(&error),
                result: Err(error),
            };
        }
    }
    shared.fleet.lock().asked();
    let asked = Instant::now();
    let usual = usual_time(&shared, &node);
    let late = || Doubt::new(&shared, claim.key);
    let opened = dial(
        &node,
        request,
        claim.customer,
        shared.config.dial_timeout,
        usual,
        late,
    )
    .await;
    let (took, outcome, result) = match opened {
        Ok((stream, took)) => {
            shared.fleet.lock().dialed(took);
            let way = node.tunnel.rtt().unwrap_or_default();
            (took, Outcome::Dialed(took.saturating_sub(way)), Ok((stream, way)))
        }
        Err(failure) => (asked.elapsed(), failure.outcome, Err(failure.error)),
    };
    let cause = note_dial(&claim, request.account, result.as_ref().err());
    judge(&shared, claim.key, &node, outcome, took);
    let exit = Arc::clone(&node.exit);
    let result = result.map(|(mut stream, way)| {
        let early = !request.early.is_empty();
        let mut gauge = StreamGauge::new(early, way, asked + took);
        if let Some(ticket) = claim
            .ticket
            .as_ref()
            .filter(|_| request.transport == Transport::Udp)
        {
            gauge = gauge.with_places(Box::new(ticket.places(request.account)));
        }
        let gauge = Arc::new(gauge);
        claim.gauge = Some(Arc::clone(&gauge));
        stream.hold(claim);
        count_open("opened");
        metrics::histogram!("iploop_hub_open_seconds").record(took.as_secs_f64());
        (stream, gauge)
    });
    if let Err(error) = &result {
        count_open(result_name(error));
    }
    Answer {
        exit,
        took,
        result,
        cause,
    }
}

/// Counts a stream against its customer's limits on the device, before the device is bothered.
fn count(claim: &Claim, request: &ExitRequest) -> Result<Option<Ticket>, ExitError> {
    let Claim {
        shared,
        node,
        customer,
        ..
    } = claim;
    let node = node.exit.node;
    // The places of datagrams are counted when they are known.
    let to = Some(&request.destination).filter(|_| request.transport == Transport::Tcp);
    let admitted = shared.guard.admit(node, *customer, request.terms.standing, to);
    admitted.map_err(ExitError::Limited)
}

/// What a refusal counts as against the customer.
fn cause_of(error: &ExitError) -> Option<Cause> {
    match error {
        ExitError::Forbidden(class) => Some(Cause::told_by_device(class)),
        ExitError::Limited(limited) => Some(Cause::Limit(limited.limit)),
        _ => None,
    }
}

/// Counts a dial for or against its customer on this device; what counts against the customer everywhere.
fn note_dial(claim: &Claim, account: AccountId, error: Option<&ExitError>) -> Option<Cause> {
    let node = claim.node.exit.node;
    let is_failure = matches!(
        error,
        Some(
            ExitError::DnsFailed
                | ExitError::ConnectionRefused
                | ExitError::Unreachable
                | ExitError::ConnectTimeout
        )
    );
    let is_stopped = claim
        .ticket
        .as_ref()
        .is_some_and(|ticket| ticket.dialled(is_failure));
    if is_stopped {
        metrics::counter!("iploop_customers_stopped_total").increment(1);
        tracing::warn!(account.id = %account, node.id = %node, "a customer is stopped on a device: too many dials failed");
        return Some(Cause::Limit(Limit::FailedDials));
    }
    error.and_then(cause_of)
}

/// Notes an outcome: the node's figures change, and it may rest.
fn judge(shared: &Shared, key: NodeKey, node: &Node, outcome: Outcome, took: Duration) {
    let now = Instant::now().into_std();
    let verdict = node.note(outcome, took, now);
    let figures = node.figures(now);
    let mut live = shared.live.lock();
    live.set_figures(key, figures);
    match verdict {
        Verdict::Well => live.works(key),
        Verdict::Unchanged => {}
        Verdict::Rest(time) => {
            live.rest(key, now + time);
            drop(live);
            metrics::counter!("iploop_hub_rests_total").increment(1);
        }
    }
}

fn count_open(result: &'static str) {
    metrics::counter!("iploop_hub_opens_total", "result" => result).increment(1);
}
