//! Dials that take longer than usual: another exit is asked beside them, and the first stream that opens is used.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use iploop_platform::exits::{Asked, Avoid, ExitError, ExitRequest};
use tokio::time::{Instant, sleep_until};

use super::{Answer, Claim, ask, choose, count_open, judge};
use crate::directory::NodeKey;
use crate::node::Node;
use crate::quality::Outcome;
use crate::shared::Shared;

/// How long a dial usually takes at most, while too few were made to know.
const ASSUMED_USUAL: Duration = Duration::from_secs(1);

/// Meanwhile it is looked again this often whether enough were made.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Below this a dial is never slow, and above that always.
const LEAST_USUAL: Duration = Duration::from_millis(50);
const MOST_USUAL: Duration = Duration::from_secs(5);

/// The way to a device and back, while it is not measured; also the least time in which it is expected to answer a ping.
const ASSUMED_RTT: Duration = Duration::from_millis(250);

/// One exit that is being asked.
struct Dial<'a> {
    answer: BoxFuture<'a, Answer>,
    key: NodeKey,
    node: Arc<Node>,
    asked: Instant,
    is_trial: bool,
    /// It was asked beside another.
    hedged: bool,
}

impl<'a> Dial<'a> {
    fn begin(claim: Claim, request: &'a ExitRequest, hedged: bool) -> Self {
        let (key, node) = (claim.key, Arc::clone(&claim.node));
        let is_trial = claim.is_trial;
        Self {
            answer: Box::pin(ask(claim, request)),
            key,
            node,
            asked: Instant::now(),
            is_trial,
            hedged,
        }
    }

    /// Until when it is waited for alone, as far as that is known now. A trial is likely to fail, and its customer shall not
    /// pay for it with time.
    fn patience(&self, shared: &Shared) -> Instant {
        let usual = usual_time(shared, &self.node) / if self.is_trial { 2 } else { 1 };
        // Sooner than half of the fleet's dials take, another one would hardly be faster.
        let median = shared.fleet.lock().median_time();
        self.asked + usual.max(median.unwrap_or_default().min(MOST_USUAL))
    }

    /// When it is time to ask another or to look again.
    fn next(&self, shared: &Shared) -> Instant {
        let patience = self.patience(shared);
        match shared.fleet.lock().usual_time() {
            Some(_) => patience,
            None => patience.min(Instant::now() + LOOK_AGAIN),
        }
    }

    /// It was outrun: what that says of the device, and what is told of it. Its stream is reset by being dropped.
    fn outrun(self, shared: &Shared) -> Asked {
        count_open("outrun");
        let took = self.asked.elapsed();
        // A live device has answered the ping by now, however slow its destination is.
        let enough = usual_time(shared, &self.node)
            + (2 * self.node.tunnel.rtt().unwrap_or(ASSUMED_RTT)).max(ASSUMED_RTT);
        let is_silent = took >= enough && self.node.tunnel.heard_at() <= self.asked;
        // One that had not yet its usual time when another answered has done nothing wrong.
        let outcome = match Instant::now() {
            _ if is_silent => Outcome::Node,
            now if now >= self.patience(shared) => Outcome::Outrun,
            _ => Outcome::Elsewhere,
        };
        judge(shared, self.key, &self.node, outcome, took);
        Asked {
            exit: Arc::clone(&self.node.exit),
            error: None,
            took,
            hedged: self.hedged,
        }
    }
}

/// Asks the chosen device, and others beside it, one after the other, while each takes longer than usual: at most
/// [`ExitRequest::hedges`], and only while the fleet has hedges left. The first stream that opens wins and the others are reset. A
/// failure waits for the others' answers, unless it would be the customer's answer anyhow; one that is the device's own has
/// the next asked at once.
///
/// # Cancel safety
/// Dropping the future resets all streams, and says nothing of the devices.
pub(super) async fn ask_hedged(claim: Claim, request: &ExitRequest) -> (Answer, Vec<Asked>) {
    let shared = Arc::clone(&claim.shared);
    let first = Dial::begin(claim, request, false);
    let mut next = Some(first.next(&shared));
    let mut at_once = false;
    let mut left = request.hedges;
    let mut avoid = request.avoid.clone();
    avoid.nodes.push(first.node.exit.node);
    avoid.ips.push(first.node.exit.ip);
    let mut dials = vec![first];
    let mut beside = Vec::new();
    loop {
        let answered = match next {
            None => poll_fn(|cx| poll_first(&mut dials, cx)).await,
            Some(at) => tokio::select! {
                biased;
                answered = poll_fn(|cx| poll_first(&mut dials, cx)) => answered,
                () = sleep_until(at) => {
                    let last = dials.last().filter(|_| !at_once);
                    let is_soon = last.filter(|last| last.patience(&shared) > Instant::now());
                    next = match is_soon {
                        Some(last) => Some(last.next(&shared)),
                        None => {
                            at_once = false;
                            left -= 1;
                            let another = another(&shared, request, &avoid);
                            let dial = another.map(|claim| Dial::begin(claim, request, true));
                            avoid.nodes.extend(dial.iter().map(|dial| dial.node.exit.node));
                            avoid.ips.extend(dial.iter().map(|dial| dial.node.exit.ip));
                            let next = dial.as_ref().map(|dial| dial.next(&shared));
                            dials.extend(dial);
                            next.filter(|_| left > 0)
                        }
                    };
                    continue;
                }
            },
        };
        let (index, answer) = answered;
        let was_last = index + 1 == dials.len();
        let hedged = dials.remove(index).hedged;
        match &answer.result {
            Err(error) if !dials.is_empty() && !is_final(error) => {
                if was_last && left > 0 && is_devices_own(error) {
                    (next, at_once) = (Some(Instant::now()), true);
                }
                beside.push(answer.beside(hedged));
            }
            _ => {
                if hedged || !beside.is_empty() || !dials.is_empty() {
                    count_hedge(if hedged { "second" } else { "first" });
                }
                beside.extend(dials.into_iter().map(|dial| dial.outrun(&shared)));
                return (answer, beside);
            }
        }
    }
}

/// The first of the dials that has its answer, by its place.
fn poll_first(dials: &mut [Dial<'_>], cx: &mut Context<'_>) -> Poll<(usize, Answer)> {
    for (index, dial) in dials.iter_mut().enumerate() {
        if let Poll::Ready(answer) = dial.answer.as_mut().poll(cx) {
            return Poll::Ready((index, answer));
        }
    }
    Poll::Pending
}

/// What no other exit would change.
fn is_final(error: &ExitError) -> bool {
    matches!(error, ExitError::Forbidden(_))
}

/// What the device is to blame for, and not the destination or the customer.
fn is_devices_own(error: &ExitError) -> bool {
    matches!(error, ExitError::NodeTimeout | ExitError::NodeUnavailable)
}

/// Another device for a dial that takes long, if there is one and hedges are left.
fn another(shared: &Arc<Shared>, request: &ExitRequest, avoid: &Avoid) -> Option<Claim> {
    if !shared.fleet.lock().may_hedge() {
        count_hedge("none_left");
        return None;
    }
    let another = choose(shared, request, avoid);
    if another.is_err() {
        count_hedge("no_exit");
    }
    another.ok()
}

/// How long a dial through this device usually takes at most: its own p95, the fleet's where too little is known of it. One that
/// is always slow is waited for half as long again as the fleet.
pub(super) fn usual_time(shared: &Shared, node: &Node) -> Duration {
    let own = node.usual_time();
    let fleet = shared.fleet.lock().usual_time();
    let usual = match (own, fleet) {
        (Some(own), Some(fleet)) => own.min(fleet.mul_f32(1.5)),
        (own, fleet) => own.or(fleet).unwrap_or(ASSUMED_USUAL),
    };
    usual.clamp(LEAST_USUAL, MOST_USUAL)
}

fn count_hedge(result: &'static str) {
    metrics::counter!("iploop_hub_hedges_total", "result" => result).increment(1);
}
