//! The hub as the gateway sees it: choose a node, have it dial, say honestly what came of it.

mod dial;
#[cfg(test)]
mod simulation;

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use iploop_platform::abuse::Cause;
use iploop_platform::exits::{
    Asked, Avoid, Exit, ExitError, ExitFailure, ExitRequest, Exits, Measured, OpenedExit, Presence,
    StreamGauge,
};
use iploop_platform::ids::AccountId;
use iploop_platform::ids::NodeId;
use iploop_protocol::io::Stream;
use iploop_protocol::policy::{Limit, Transport};
use tokio::time::{Instant, sleep_until};

use self::dial::{dial, result_name};
use crate::directory::{NoChoice, NodeKey, Wish};
use crate::guard::Ticket;
use crate::hub::Hub;
use crate::node::Node;
use crate::quality::{Outcome, Verdict};
use crate::shared::Shared;

/// How long a dial usually takes at most, while too few were made to know.
const ASSUMED_USUAL: Duration = Duration::from_secs(1);

/// Below this a dial is never slow, and above that always.
const LEAST_USUAL: Duration = Duration::from_millis(50);
const MOST_USUAL: Duration = Duration::from_secs(5);

/// The way to a device and back, while it is not measured; also the least time in which it is expected to answer a ping.
const ASSUMED_RTT: Duration = Duration::from_millis(250);

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
        self.shared.live.lock().close_stream(self.key, self.customer);
        self.shared.stream_closed();
    }
}

/// What came of asking one device.
struct Answer {
    exit: Arc<Exit>,
    took: Duration,
    result: Result<(Stream, Arc<StreamGauge>), ExitError>,
}

impl Answer {
    /// What is told of it beside another answer.
    fn beside(&self, second: bool) -> Asked {
        Asked {
            exit: Arc::clone(&self.exit),
            error: self.result.as_ref().err().cloned(),
            took: self.took,
            second,
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
            beside: None,
        }
    })?;
    let (answer, beside) = if request.hedge && request.prefer.is_none() {
        Box::pin(ask_hedged(claim, &request)).await
    } else {
        (ask(claim, &request).await, None)
    };
    let Answer { exit, took, result } = answer;
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

/// Asks the chosen device, and a second one beside it when the first takes longer than usual. The first stream that opens
/// wins and the other is reset; a failure waits for the other's answer.
async fn ask_hedged(claim: Claim, request: &ExitRequest) -> (Answer, Option<Asked>) {
    let shared = Arc::clone(&claim.shared);
    let (key, node) = (claim.key, Arc::clone(&claim.node));
    let asked = Instant::now();
    // A trial is likely to fail, and its customer shall not pay for it with time.
    let usual = usual_time(&shared, &node) / if claim.is_trial { 2 } else { 1 };
    let mut first = pin!(ask(claim, request));
    tokio::select! {
        biased;
        answer = &mut first => return (answer, None),
        () = sleep_until(asked + usual) => {}
    }
    let Some(second) = second_choice(&shared, request, &node.exit) else {
        return (first.await, None);
    };
    let (second_key, second_node) = (second.key, Arc::clone(&second.node));
    let second_asked = Instant::now();
    let second = pin!(ask(second, request));
    let (answer, beside, loser) = match select(first, second).await {
        Either::Left((answer, other)) if answer.result.is_err() => {
            (other.await, Some(answer.beside(false)), None)
        }
        Either::Right((answer, other)) if answer.result.is_err() => {
            (other.await, Some(answer.beside(true)), None)
        }
        Either::Left((answer, _)) => (answer, None, Some((second_key, second_node, second_asked, true))),
        Either::Right((answer, _)) => (answer, None, Some((key, node, asked, false))),
    };
    let won_by_second = beside.as_ref().map_or_else(
        || loser.as_ref().is_some_and(|(.., is_second)| !is_second),
        |beside| !beside.second,
    );
    count_hedge(if won_by_second { "second" } else { "first" });
    let outrun = loser.map(|(key, node, asked, is_second)| {
        count_open("outrun");
        let took = asked.elapsed();
        // A live device has answered the ping by now, however slow its destination is.
        let enough =
            usual_time(&shared, &node) + (2 * node.tunnel.rtt().unwrap_or(ASSUMED_RTT)).max(ASSUMED_RTT);
        let is_silent = took >= enough && node.tunnel.heard_at() <= asked;
        let outcome = if is_silent { Outcome::Node } else { Outcome::Outrun };
        judge(&shared, key, &node, outcome, took);
        Asked {
            exit: Arc::clone(&node.exit),
            error: None,
            took,
            second: is_second,
        }
    });
    (answer, beside.or(outrun))
}

/// Another device for a dial that takes long, if there is one and hedges are left.
fn second_choice(shared: &Arc<Shared>, request: &ExitRequest, first: &Exit) -> Option<Claim> {
    if !shared.fleet.lock().may_hedge() {
        count_hedge("none_left");
        return None;
    }
    let mut avoid = request.avoid.clone();
    avoid.nodes.push(first.node);
    avoid.ips.push(first.ip);
    let second = choose(shared, request, &avoid);
    if second.is_err() {
        count_hedge("no_exit");
    }
    second.ok()
}

/// How long a dial through this device usually takes at most: its own p95, the fleet's where too little is known of it. One that
/// is always slow is waited for half as long again as the fleet.
fn usual_time(shared: &Shared, node: &Node) -> Duration {
    let own = node.usual_time();
    let fleet = shared.fleet.lock().usual_time();
    let usual = match (own, fleet) {
        (Some(own), Some(fleet)) => own.min(fleet.mul_f32(1.5)),
        (own, fleet) => own.or(fleet).unwrap_or(ASSUMED_USUAL),
    };
    usual.clamp(LEAST_USUAL, MOST_USUAL)
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
                result: Err(error),
            };
        }
    }
    shared.fleet.lock().asked();
    let asked = Instant::now();
    let usual = usual_time(&shared, &node);
    let opened = dial(&node, request, claim.customer, shared.config.dial_timeout, usual).await;
    let (took, outcome, result) = match opened {
        Ok((stream, took)) => {
            shared.fleet.lock().dialed(took);
            let way = node.tunnel.rtt().unwrap_or_default();
            (took, Outcome::Dialed(took.saturating_sub(way)), Ok((stream, way)))
        }
        Err(failure) => (asked.elapsed(), failure.outcome, Err(failure.error)),
    };
    note_refusal(&claim, request.account, result.as_ref().err());
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
    Answer { exit, took, result }
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
    admitted.map_err(|limited| {
        let cause = Cause::Limit(limited.limit);
        shared.guard.watch.refused(request.account, Some(node), cause);
        ExitError::Limited(limited)
    })
}

/// Counts what a dial came to for and against its customer.
fn note_refusal(claim: &Claim, account: AccountId, error: Option<&ExitError>) {
    let watch = &claim.shared.guard.watch;
    let node = claim.node.exit.node;
    let cause = match error {
        Some(ExitError::Forbidden(class)) => Some(Cause::told_by_device(class)),
        Some(ExitError::Limited(limited)) => Some(Cause::Limit(limited.limit)),
        _ => None,
    };
    if let Some(cause) = cause {
        watch.refused(account, Some(node), cause);
    }
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
        watch.refused(account, Some(node), Cause::Limit(Limit::FailedDials));
    }
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

fn count_hedge(result: &'static str) {
    metrics::counter!("iploop_hub_hedges_total", "result" => result).increment(1);
}
