//! A request that was admitted: what its way through the gateway needs to know, and how it ends.

use std::sync::Arc;

use iploop_protocol::destination::Destination;
use iploop_protocol::targeting::Targeting;
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::account_use::Connection;
use super::checks::requests_per_day;
use super::error::AdmissionError;
use super::key_cache::KnownKey;
use super::key_use::KeyConnection;
use super::limit_state::{LimitState, Unit, period_name, rate_window};
use crate::clock::{DAY, Timestamp};
use crate::exits::CustomerTerms;
use crate::ids::{AccountId, ApiKeyId};
use crate::keys::{KeyLimits, NotAllowed};
use crate::metering::{Outcome, Period, StreamMeter};
use crate::plan::Plan;

/// A request that passed every check. Holds one of the plan's connections and the meter of its bytes.
///
/// Dropping it releases the connection and books what was counted; [`finish`](Self::finish) says besides how it ended.
pub struct Admitted {
    pub(super) key: Arc<KnownKey>,
    pub(super) targeting: Arc<Targeting>,
    pub(super) meter: StreamMeter,
    pub(super) key_connection: KeyConnection,
    pub(super) connection: Connection,
    pub(super) at: Timestamp,
    pub(super) admission: Arc<Inner>,
}

impl Admitted {
    /// Who pays.
    pub fn account(&self) -> AccountId {
        self.key.grant.key.account
    }

    /// With which key.
    pub fn api_key(&self) -> ApiKeyId {
        self.key.grant.key.id
    }

    /// The account's plan.
    pub fn plan(&self) -> &Plan {
        &self.key.grant.plan
    }

    /// What the customer wishes of the exit, within what the key is for.
    pub fn targeting(&self) -> &Arc<Targeting> {
        &self.targeting
    }

    /// Whether the key may go there.
    ///
    /// # Errors
    /// [`AdmissionError::KeyDestination`], [`AdmissionError::KeyPort`].
    pub fn check_destination(&self, destination: &Destination) -> Result<(), AdmissionError> {
        self.limits_of_key()
            .check(destination)
            .map_err(|not_allowed| match not_allowed {
                NotAllowed::Host => AdmissionError::KeyDestination,
                NotAllowed::Port => AdmissionError::KeyPort {
                    port: destination.port,
                },
            })
    }

    /// Whether this is on the list of destinations that the key must not reach: for the address behind a name.
    pub fn is_denied(&self, destination: &Destination) -> bool {
        self.limits_of_key().deny.contains(&destination.host)
    }

    /// The limits that hold for the request, with what is left of each after it: the key's, then the plan's.
    pub fn limits(&self) -> Vec<LimitState> {
        let now = self.admission.clock.now();
        let (key, account) = (self.key_connection.key(), self.connection.account());
        let limits = self.limits_of_key();
        let mut states = Vec::with_capacity(7);
        if let Some(rate) = limits.rate {
            let (remaining, reset) = key.requests_left(rate);
            states.push(LimitState {
                name: "key-rate",
                unit: Unit::Requests,
                quota: rate.burst.into(),
                window: Some(rate_window(rate)),
                remaining,
                reset: Some(reset),
            });
        }
        let connections = |name, limit: u32, open: u32| LimitState {
            name,
            unit: Unit::ConcurrentRequests,
            quota: limit.into(),
            window: None,
            remaining: limit.saturating_sub(open).into(),
            reset: None,
        };
        if let Some(limit) = limits.max_connections {
            states.push(connections("key-connections", limit, key.connections()));
        }
        let bytes = key.quota().remaining(now);
        states.extend(
            bytes
                .into_iter()
                .map(|(period, quota, remaining, reset)| LimitState {
                    name: period_name(period),
                    unit: Unit::ContentBytes,
                    quota,
                    window: (period == Period::Day).then_some(DAY),
                    remaining,
                    reset,
                }),
        );
        let (requests, open) = account.counts(now);
        let plan = self.plan();
        let daily = requests_per_day(plan);
        states.push(LimitState {
            name: "plan-day",
            unit: Unit::Requests,
            quota: daily,
            window: Some(DAY),
            remaining: daily.saturating_sub(requests),
            reset: Some(now.next_day().since(now)),
        });
        states.push(connections(
            "plan-connections",
            plan.max_concurrent_connections,
            open,
        ));
        states
    }

    /// How far the customer is trusted, and what is open for it.
    pub fn terms(&self) -> &CustomerTerms {
        &self.key.grant.terms
    }

    /// When.
    pub fn admitted_at(&self) -> Timestamp {
        self.at
    }

    /// Cancelled when the account is suspended: what runs shall end.
    pub fn cut(&self) -> &CancellationToken {
        self.connection.cut()
    }

    /// Counts the request's bytes; clones count into the same request.
    pub fn meter(&self) -> &StreamMeter {
        &self.meter
    }

    /// Ends the request: its bytes are paid or not by its outcome, and the connection is released.
    ///
    /// A failure of ours costs nothing, up to [`forgiven_bytes_per_day`](super::AdmissionConfig::forgiven_bytes_per_day) of what was
    /// delivered (docs/decisions/0004-forgiven-bytes.md).
    pub fn finish(self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::OurFailure(code) if !self.is_forgiven() => Outcome::Failed(code),
            other => other,
        };
        self.meter.finish(outcome);
    }

    fn is_forgiven(&self) -> bool {
        let delivered = self.meter.bytes_up().saturating_add(self.meter.bytes_down());
        let most = self.admission.config.forgiven_bytes_per_day;
        let now = self.admission.clock.now();
        self.connection.account().forgive(delivered, most, now)
    }

    fn limits_of_key(&self) -> &KeyLimits {
        &self.key.grant.key.limits
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.meter.finish(Outcome::Served);
    }
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admitted")
            .field("meter", &self.meter)
            .finish_non_exhaustive()
    }
}
