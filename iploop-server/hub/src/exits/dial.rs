//! One device asked to dial: its answer, and what that means for the customer and for the device.

use std::time::Duration;

use bytes::Bytes;
use iploop_platform::exits::{ExitError, ExitRequest};
use iploop_protocol::codes::ResetCode;
use iploop_protocol::frame::{MAX_DATA_BYTES, StreamKind};
use iploop_protocol::io::{OpenError, OpenRequest, Stream};
use iploop_protocol::policy::{Limit, Limited, Transport};
use iploop_protocol::tunnel;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::node::Node;
use crate::quality::Outcome;

/// Beyond the time that the device has for its dial: for the way there and back.
const ANSWER_GRACE: Duration = Duration::from_secs(2);

/// Time in which any device answers that is there at all.
const FAIR_TIME: Duration = Duration::from_secs(2);

/// A dial that takes longer than usual is answered by a live device's pong within this time: radios wake up in less.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// Longest text of a refusal that is passed on, in bytes.
const MAX_CLASS_BYTES: usize = 64;

/// An attempt that failed, by what the customer is told and by whose fault it was.
pub(super) struct Failure {
    pub(super) error: ExitError,
    pub(super) outcome: Outcome,
}

impl Failure {
    fn new(error: ExitError, outcome: Outcome) -> Self {
        Self { error, outcome }
    }
}

/// Asks the device to dial; the stream and the time that this took. `late` is called once that takes longer than usual, and
/// what it gives is kept until the end.
pub(super) async fn dial<L>(
    node: &Node,
    request: &ExitRequest,
    customer: u64,
    dial_timeout: Duration,
    usual: Duration,
    late: impl FnOnce() -> L,
) -> Result<(Stream, Duration), Failure> {
    let now = Instant::now();
    if !node.tell_grants(customer, &request.terms.grants, now.into_std()) {
        return Err(Failure::new(ExitError::NodeUnavailable, Outcome::Elsewhere));
    }
    let left = request.deadline.saturating_duration_since(now);
    // The device gives up before we do, so that its answer tells a slow destination from a dead device.
    let grace = ANSWER_GRACE.min(left / 4);
    let timeout = dial_timeout.min(left - grace);
    let mut early = match request.transport {
        Transport::Tcp => request.early.clone(),
        Transport::Udp => Bytes::new(),
    };
    let more = early.split_off(early.len().min(MAX_DATA_BYTES));
    let open = OpenRequest {
        kind: match request.transport {
            Transport::Tcp => StreamKind::Tcp,
            Transport::Udp => StreamKind::Udp,
        },
        destination: request.destination.clone(),
        customer,
        early,
        timeout,
    };
    let answer = tokio::select! {
        biased;
        answer = node.tunnel.open(open) => Some(answer),
        () = silence(node, now, usual, late) => {
            return Err(Failure::new(ExitError::NodeTimeout, Outcome::Silent));
        }
        () = sleep_until(now + timeout + grace) => None,
    };
    match answer {
        Some(Ok((mut stream, _))) => {
            let took = now.elapsed();
            // What is left of the first bytes waits for room. Whatever goes wrong here is the stream's to tell: the dial went well.
            let rest = stream.write_chunk(more);
            if timeout_at(request.deadline, rest).await.is_err() {
                stream.reset(ResetCode::Cancelled);
            }
            Ok((stream, took))
        }
        Some(Err(error)) => Err(failure(error)),
        None => {
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

/// Ready when a device that takes longer than usual shows no sign of life when asked for one; never for one that does, for its
/// destination may be slow.
async fn silence<L>(node: &Node, asked: Instant, usual: Duration, late: impl FnOnce() -> L) {
    sleep_until(asked + usual).await;
    let _kept = late();
    if node.tunnel.heard_at() <= asked {
        node.tunnel.ping();
        sleep_until(asked + usual + SIGN_OF_LIFE).await;
        if node.tunnel.heard_at() <= asked {
            return;
        }
    }
    std::future::pending().await
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
        ResetCode::Limited => (limited(detail), Elsewhere),
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

/// The limit that a device names: the customer's on it; any other is its owner's.
fn limited(detail: &str) -> ExitError {
    match detail.parse::<Limit>() {
        Ok(limit) => ExitError::Limited(Limited {
            limit,
            retry_after: limit.usual_wait(),
        }),
        Err(_) => ExitError::TooMany,
    }
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

pub(super) fn result_name(error: &ExitError) -> &'static str {
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
        ExitError::Limited(_) => "limited",
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
    fn a_limit_that_a_device_names_is_told_apart_from_its_owners() {
        for limit in Limit::ALL {
            let Failure { error, .. } = refused(ResetCode::Limited, limit.as_str());
            assert!(
                matches!(error, ExitError::Limited(limited) if limited.limit == limit),
                "{error:?}"
            );
        }
        for detail in ["daily_cap", "", "dials"] {
            assert_eq!(refused(ResetCode::Limited, detail).error, ExitError::TooMany);
        }
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
