//! A limit as an answer shows it: the fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10).

use std::fmt;
use std::time::Duration;

use crate::keys::Rate;
use crate::metering::Period;

/// One limit, and where its customer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitState {
    /// Its name in the fields.
    pub name: &'static str,
    /// What is counted.
    pub unit: Unit,
    /// How much of it.
    pub quota: u64,
    /// In which time; none where no fixed time is.
    pub window: Option<Duration>,
    /// What is left.
    pub remaining: u64,
    /// Until there is more; none where waiting does not help.
    pub reset: Option<Duration>,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Requests: the fields' default.
    Requests,
    /// Requests that run at the same time.
    ConcurrentRequests,
    /// Bytes both ways.
    ContentBytes,
}

/// The value of `RateLimit-Policy`.
pub struct PolicyField<'a>(pub &'a [LimitState]);

/// The value of `RateLimit`.
pub struct LimitField<'a>(pub &'a [LimitState]);

impl fmt::Display for PolicyField<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listed(f, self.0, |f, limit| {
            write!(f, "\"{}\";q={}", limit.name, number(limit.quota))?;
            if let Some(window) = limit.window {
                write!(f, ";w={}", window.as_secs())?;
            }
            match limit.unit {
                Unit::Requests => Ok(()),
                Unit::ConcurrentRequests => f.write_str(";qu=\"concurrent-requests\""),
                Unit::ContentBytes => f.write_str(";qu=\"content-bytes\""),
            }
        })
    }
}

impl fmt::Display for LimitField<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listed(f, self.0, |f, limit| {
            write!(f, "\"{}\";r={}", limit.name, number(limit.remaining))?;
            match limit.reset {
                Some(reset) => write!(f, ";t={}", whole_seconds(reset)),
                None => Ok(()),
            }
        })
    }
}

fn listed(
    f: &mut fmt::Formatter<'_>,
    limits: &[LimitState],
    one: impl Fn(&mut fmt::Formatter<'_>, &LimitState) -> fmt::Result,
) -> fmt::Result {
    for (at, limit) in limits.iter().enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        one(f, limit)?;
    }
    Ok(())
}

/// The largest integer of a structured field (RFC 9651 section 3.3.1).
fn number(value: u64) -> u64 {
    value.min(999_999_999_999_999)
}

/// Up, so that nobody comes too early.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// The time in which a whole burst comes back.
pub(super) fn rate_window(rate: Rate) -> Duration {
    Duration::from_secs(u64::from(rate.burst.div_ceil(rate.per_second.max(1))))
}

pub(super) fn period_name(period: Period) -> &'static str {
    match period {
        Period::Day => "key-bytes-day",
        Period::Month => "key-bytes-month",
        Period::Total => "key-bytes-total",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_structured_lists() {
        let limits = [
            LimitState {
                name: "key-rate",
                unit: Unit::Requests,
                quota: 20,
                window: Some(Duration::from_secs(4)),
                remaining: 0,
                reset: Some(Duration::from_millis(200)),
            },
            LimitState {
                name: "plan-connections",
                unit: Unit::ConcurrentRequests,
                quota: 10,
                window: None,
                remaining: 9,
                reset: None,
            },
            LimitState {
                name: "key-bytes-total",
                unit: Unit::ContentBytes,
                quota: u64::MAX,
                window: None,
                remaining: 5,
                reset: None,
            },
        ];
        assert_eq!(
            PolicyField(&limits).to_string(),
            "\"key-rate\";q=20;w=4, \"plan-connections\";q=10;qu=\"concurrent-requests\", \
             \"key-bytes-total\";q=999999999999999;qu=\"content-bytes\""
        );
        assert_eq!(
            LimitField(&limits).to_string(),
            "\"key-rate\";r=0;t=1, \"plan-connections\";r=9, \"key-bytes-total\";r=5"
        );
    }
}
