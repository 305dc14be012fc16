//! Bytes both ways between a customer and an exit, each counted before it is passed on.

mod meter;

use std::sync::Arc;
use std::time::Duration;

use iploop_platform::exits::StreamGauge;
use iploop_platform::metering::{NoCredit, StreamMeter};
use iploop_protocol::codes::ResetCode;
use iploop_protocol::io::{RelayError, Stream};
use iploop_protocol::tunnel::StreamError;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub(crate) use self::meter::RelayMeter;
use crate::connection::Connection;

/// How long a tunnel may live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    /// Without a byte in either direction.
    pub(crate) idle: Duration,
    /// In all.
    pub(crate) max: Duration,
}

/// How a relay ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Both sides finished.
    Finished,
    /// The customer's connection broke.
    CustomerLeft,
    /// The exit's side broke.
    ExitFailed(StreamError),
    /// The destination hung up in the middle of its answer.
    Incomplete,
    /// There was nothing left to pay with.
    NoCredit(NoCredit),
    /// Nothing moved for too long.
    Idle,
    /// It lasted too long.
    TooOld,
    /// The account was suspended meanwhile.
    Suspended,
}

impl End {
    /// The code in usage records and logs; none where all went well.
    pub(crate) fn code(&self) -> Option<&'static str> {
        match self {
            // A customer that hangs up is served: browsers do it all the time.
            Self::Finished | Self::CustomerLeft => None,
            Self::ExitFailed(error) => Some(destinations_doing(error).unwrap_or("exit_lost")),
            Self::Incomplete => Some("incomplete_answer"),
            Self::NoCredit(reason) => Some(reason.code()),
            Self::Idle => Some("idle_timeout"),
            Self::TooOld => Some("max_duration"),
            Self::Suspended => Some("account_suspended"),
        }
    }

    /// Whether the customer's connection is to break, too: nobody shall take a break for an end.
    pub(crate) fn is_break(&self) -> bool {
        match self {
            Self::ExitFailed(_) | Self::Incomplete | Self::Idle | Self::TooOld | Self::Suspended => true,
            Self::Finished | Self::CustomerLeft | Self::NoCredit(_) => false,
        }
    }

    /// What the device is told of it.
    pub(crate) fn reset_code(&self) -> ResetCode {
        match self {
            Self::NoCredit(_) => ResetCode::Depleted,
            Self::Idle | Self::TooOld => ResetCode::Expired,
            Self::Finished
            | Self::CustomerLeft
            | Self::ExitFailed(_)
            | Self::Incomplete
            | Self::Suspended => ResetCode::Cancelled,
        }
    }

    /// Whether our side broke it: the device, the tunnel to it, or the books.
    pub(crate) fn is_ours(&self) -> bool {
        match self {
            Self::ExitFailed(error) => destinations_doing(error).is_none(),
            Self::NoCredit(NoCredit::Unavailable) => true,
            Self::Finished
            | Self::CustomerLeft
            | Self::Incomplete
            | Self::NoCredit(NoCredit::BalanceDepleted | NoCredit::KeyQuotaExceeded)
            | Self::Idle
            | Self::TooOld
            | Self::Suspended => false,
        }
    }
}

/// The code, where the device says that the destination or the way to it broke the stream. A customer can have its own
/// destination do so: such a break is not ours to pay.
fn destinations_doing(error: &StreamError) -> Option<&'static str> {
    match error {
        StreamError::Closed => None,
        StreamError::Reset { code, .. } => match code {
            ResetCode::ConnectionReset | ResetCode::Refused => Some("connection_reset"),
            ResetCode::Unreachable | ResetCode::DnsFailed => Some("destination_unreachable"),
            ResetCode::Expired | ResetCode::DialTimeout => Some("response_timeout"),
            ResetCode::Forbidden => Some("destination_forbidden"),
            ResetCode::Cancelled
            | ResetCode::Busy
            | ResetCode::Draining
            | ResetCode::Paused
            | ResetCode::Unsupported
            | ResetCode::Limited
            | ResetCode::Internal
            | ResetCode::Depleted
            | ResetCode::Other(_) => None,
        },
    }
}

/// Relays until both directions are finished or something breaks. What is left of the stream is reset; the customer's connection is
/// left as it is.
pub(crate) async fn relay(
    customer: &mut Connection,
    mut stream: Stream,
    meter: &StreamMeter,
    gauge: Option<Arc<StreamGauge>>,
    lifetimes: Lifetimes,
    cut: &CancellationToken,
) -> End {
    let relay_meter = RelayMeter::new(meter.clone(), gauge);
    let end = tokio::select! {
        biased;
        end = iploop_protocol::io::relay(&mut stream, customer, &relay_meter) => match end.result {
            Ok(()) => End::Finished,
            Err(RelayError::Socket(_)) => End::CustomerLeft,
            Err(RelayError::Stream(error)) => End::ExitFailed(error),
            Err(RelayError::Depleted(_)) => End::NoCredit(relay_meter.reason()),
        },
        end = watch(meter, lifetimes) => end,
        () = cut.cancelled() => End::Suspended,
    };
    if !matches!(end, End::Finished) {
        stream.reset(end.reset_code());
    }
    end
}

/// Ends when nothing was counted between two looks, or at the end of the longest life.
pub(crate) async fn watch(meter: &StreamMeter, lifetimes: Lifetimes) -> End {
    let end = Instant::now() + lifetimes.max;
    let mut before = None;
    loop {
        let counted = (meter.bytes_up(), meter.bytes_down());
        if before == Some(counted) {
            return End::Idle;
        }
        before = Some(counted);
        let look = Instant::now() + lifetimes.idle;
        sleep_until(look.min(end)).await;
        if Instant::now() >= end {
            return End::TooOld;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_destination_can_not_bring_about_is_ours() {
        let end = |code: ResetCode| {
            End::ExitFailed(StreamError::Reset {
                code,
                detail: String::new(),
            })
        };
        for code in ResetCode::ALL.iter().copied() {
            let end = end(code);
            assert_eq!(end.is_ours(), end.code() == Some("exit_lost"), "{code}");
        }
        assert!(end(ResetCode::Paused).is_ours() && End::ExitFailed(StreamError::Closed).is_ours());
        for code in [
            ResetCode::ConnectionReset,
            ResetCode::Expired,
            ResetCode::Unreachable,
        ] {
            assert!(!end(code).is_ours(), "{code}");
        }
        assert!(End::NoCredit(NoCredit::Unavailable).is_ours());
        for end in [
            End::Finished,
            End::CustomerLeft,
            End::Incomplete,
            End::NoCredit(NoCredit::BalanceDepleted),
            End::NoCredit(NoCredit::KeyQuotaExceeded),
            End::Idle,
            End::TooOld,
        ] {
            assert!(!end.is_ours(), "{end:?}");
        }
    }
}
