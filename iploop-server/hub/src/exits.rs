//! The hub as the gateway sees it: choose a node, have it dial, say honestly what came of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use iploop_platform::exits::{ExitError, ExitFailure, ExitRequest, Exits, OpenedExit};
use iploop_protocol::codes::ResetCode;
use iploop_protocol::frame::{MAX_DATA_BYTES, StreamKind};
use iploop_protocol::io::{OpenError, OpenRequest, Stream};
use iploop_protocol::tunnel;
use tokio::time::{Instant, timeout_at};

use crate::directory::{NoChoice, NodeKey, Wish};
use crate::hub::Hub;
use crate::node::Node;
use crate::quality::Outcome;
use crate::shared::Shared;

/// Beyond the time that the device has for its dial: for the way there and back.
const ANSWER_GRACE: Duration = Duration::from_secs(2);

/// Time in which any device answers that is there at all.
const FAIR_TIME: Duration = Duration::from_secs(2);

/// Longest text of a refusal that is passed on, in bytes.
const MAX_CLASS_BYTES: usize = 64;

impl Exits for Hub {
    fn open(&self, request: ExitRequest) -> BoxFuture<'_, Result<OpenedExit, ExitFailure>> {
        attempt(Arc::clone(&self.shared), request).boxed()
    }
}

/// A stream counted on a node, until it is dropped.
struct Claim {
    shared: Arc<Shared>,
    key: NodeKey,
    customer: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.live.lock().close_stream(self.key, self.customer);
        self.shared.stream_closed();
    }
}

async fn attempt(shared: Arc<Shared>, request: ExitRequest) -> Result<OpenedExit, ExitFailure> {
    let started = Instant::now();
    let chosen = choose(&shared, &request);
    let select = started.elapsed();
    let (claim, node) = chosen.map_err(|error| {
        metrics::counter!("iploop_hub_opens_total", "result" => result_name(&error)).increment(1);
        ExitFailure {
            error,
            exit: None,
            took: select,
        }
    })?;
    let exit = Arc::clone(&node.exit);
    let asked = Instant::now();
    let opened = dial(&node, &request, claim.customer, shared.config.dial_timeout).await;
    let now = Instant::now();
    let (outcome, result) = match opened {
        Ok((stream, took)) => (Outcome::Dialed(took), Ok(stream)),
        Err(failure) => (failure.outcome, Err(failure.error)),
    };
    node.note(outcome, now.into_std());
    let (score, rtt) = node.score(now.into_std());
    shared.live.lock().set_quality(claim.key, score, rtt);
    match result {
        Ok(mut stream) => {
            stream.hold(claim);
            metrics::counter!("iploop_hub_opens_total", "result" => "opened").increment(1);
            metrics::histogram!("iploop_hub_open_seconds").record((now - asked).as_secs_f64());
            Ok(OpenedExit {
                exit,
                stream,
                select,
                dial: now - asked,
            })
        }
        Err(error) => {
            metrics::counter!("iploop_hub_opens_total", "result" => result_name(&error)).increment(1);
            Err(ExitFailure {
                error,
                exit: Some(exit),
                took: started.elapsed(),
            })
        }
    }
}

/// Chooses a node and counts the stream on it, in one step: no other request takes the place meanwhile.
fn choose(shared: &Arc<Shared>, request: &ExitRequest) -> Result<(Claim, Arc<Node>), ExitError> {
    if shared.is_draining() {
        return Err(ExitError::Draining);
    }
    let customer = shared.customer(request.account);
    let ExitRequest {
        targeting,
        prefer,
        avoid,
        ..
    } = request;
    let wish = Wish {
        targeting,
        prefer: *prefer,
        avoid,
        customer,
    };
    let mut live = shared.live.lock();
    let key = live
        .choose(&wish, &mut rand::rng())
        .map_err(|nobody| match nobody {
            NoChoice::NoExit => ExitError::NoExit,
            NoChoice::NoOtherExit => ExitError::NoOtherExit,
            NoChoice::SessionExitGone => ExitError::SessionExitGone,
            NoChoice::CustomerFull => ExitError::TooMany,
        })?;
    let node = live.get(key).map(Arc::clone);
    let (Some(node), true) = (node, live.open_stream(key, customer)) else {
        return Err(ExitError::NodeUnavailable);
    };
    drop(live);
    shared.stream_opened();
    Ok((
        Claim {
            shared: Arc::clone(shared),
            key,
            customer,
        },
        node,
    ))
}

/// An attempt that failed, by what the customer is told and by whose fault it was.
struct Failure {
    error: ExitError,
    outcome: Outcome,
}

impl Failure {
    fn new(error: ExitError, outcome: Outcome) -> Self {
        Self { error, outcome }
    }
}

/// Asks the device to dial; the stream and the time that the device took.
async fn dial(
    node: &Node,
    request: &ExitRequest,
    customer: u64,
    dial_timeout: Duration,
) -> Result<(Stream, Duration), Failure> {
    let now = Instant::now();
    let left = request.deadline.saturating_duration_since(now);
    // The device gives up before we do, so that its answer tells a slow destination from a dead device.
    let grace = ANSWER_GRACE.min(left / 4);
    let timeout = dial_timeout.min(left - grace);
    let mut early = request.early.clone();
    let more = early.split_off(early.len().min(MAX_DATA_BYTES));
    let open = OpenRequest {
        kind: StreamKind::Tcp,
        destination: request.destination.clone(),
        customer,
        early,
        timeout,
    };
    match timeout_at(now + timeout + grace, node.tunnel.open(open)).await {
        Ok(Ok((mut stream, took))) => {
            // What is left of the first bytes waits for room. Whatever goes wrong here is the stream's to tell: the dial went well.
            let rest = stream.write_chunk(more);
            if timeout_at(request.deadline, rest).await.is_err() {
                stream.reset(ResetCode::Cancelled);
            }
            Ok((stream, took))
        }
        Ok(Err(error)) => Err(failure(error)),
        Err(_) => {
            // Who had next to no time is not to blame.
            let outcome = if timeout >= FAIR_TIME {
                Outcome::Node
            } else {
                Outcome::Elsewhere
            };
            Err(Failure::new(ExitError::NodeTimeout, outcome))
        }
    }
}

fn failure(error: OpenError) -> Failure {
    use Outcome::{Doubtful, Elsewhere, Node};
    let (error, outcome) = match error {
        OpenError::Refused { code, detail } => return refused(code, &detail),
        OpenError::NotAsked(tunnel::OpenError::Busy | tunnel::OpenError::Draining) => {
            (ExitError::NodeUnavailable, Elsewhere)
        }
        OpenError::TunnelClosed => (ExitError::NodeUnavailable, Node),
        _ => (ExitError::NodeUnavailable, Doubtful),
    };
    Failure::new(error, outcome)
}

/// What a device's answer means. One table; `docs/protocol.md` says when a device gives which code.
fn refused(code: ResetCode, detail: &str) -> Failure {
    use Outcome::{Doubtful, Elsewhere, Node};
    let (error, outcome) = match code {
        ResetCode::Forbidden => (ExitError::Forbidden(class(detail)), Elsewhere),
        ResetCode::DnsFailed => (ExitError::DnsFailed, Doubtful),
        ResetCode::Refused | ResetCode::ConnectionReset => (ExitError::ConnectionRefused, Elsewhere),
        ResetCode::Unreachable => (ExitError::Unreachable, Doubtful),
        ResetCode::DialTimeout => (ExitError::ConnectTimeout, Doubtful),
        ResetCode::Limited => (ExitError::TooMany, Elsewhere),
        ResetCode::Busy
        | ResetCode::Draining
        | ResetCode::Paused
        | ResetCode::Unsupported
        | ResetCode::Depleted
        | ResetCode::Expired => (ExitError::NodeUnavailable, Elsewhere),
        ResetCode::Cancelled | ResetCode::Internal | ResetCode::Other(_) => {
            (ExitError::NodeUnavailable, Node)
        }
    };
    Failure::new(error, outcome)
}

/// The class of a rule as the device named it: words only, since a customer will read it in a header.
fn class(detail: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b" _-.".contains(&byte);
    if !detail.is_empty() && detail.len() <= MAX_CLASS_BYTES && detail.bytes().all(is_plain) {
        detail.to_owned()
    } else {
        "policy".to_owned()
    }
}

fn result_name(error: &ExitError) -> &'static str {
    match error {
        ExitError::NoExit => "no_exit",
        ExitError::NoOtherExit => "no_other_exit",
        ExitError::SessionExitGone => "session_exit_gone",
        ExitError::NodeTimeout => "node_timeout",
        ExitError::NodeUnavailable => "node_unavailable",
        ExitError::DnsFailed => "dns_failed",
        ExitError::ConnectionRefused => "connection_refused",
        ExitError::Unreachable => "unreachable",
        ExitError::ConnectTimeout => "connect_timeout",
        ExitError::Forbidden(_) => "forbidden",
        ExitError::TooMany => "too_many",
        ExitError::Draining => "draining",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_a_device_has_a_meaning() {
        let table: Vec<String> = ResetCode::ALL
            .iter()
            .map(|code| {
                let Failure { error, outcome } = refused(*code, "private");
                format!("{code}: {} {outcome:?}", result_name(&error))
            })
            .collect();
        let expected = [
            "cancelled: node_unavailable Node",
            "busy: node_unavailable Elsewhere",
            "draining: node_unavailable Elsewhere",
            "paused: node_unavailable Elsewhere",
            "forbidden: forbidden Elsewhere",
            "dns_failed: dns_failed Doubtful",
            "refused: connection_refused Elsewhere",
            "unreachable: unreachable Doubtful",
            "dial_timeout: connect_timeout Doubtful",
            "connection_reset: connection_refused Elsewhere",
            "unsupported: node_unavailable Elsewhere",
            "limited: too_many Elsewhere",
            "internal: node_unavailable Node",
            "depleted: node_unavailable Elsewhere",
            "expired: node_unavailable Elsewhere",
        ];
        assert_eq!(table, expected);
    }

    #[test]
    fn a_device_s_words_reach_no_header() {
        for (detail, expected) in [
            ("private address", "private address"),
            ("", "policy"),
            ("a\r\nSet-Cookie: b", "policy"),
            ("10.0.0.1 <script>", "policy"),
            (&"x".repeat(65), "policy"),
        ] {
            assert_eq!(class(detail), expected);
        }
    }
}
