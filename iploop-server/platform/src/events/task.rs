//! Looks for what no act of ours writes an event for: marks that balances pass, failed requests, exits that come and go.
//!
//! Several processes may run it on the same data: each step is taken by one of them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::network::{Census, changes};
use super::store::{Feed, FeedStep};
use super::{Event, EventKind, EventsConfig};
use crate::clock::{Clock, Timestamp};
use crate::ids::AccountId;
use crate::network::Network;
use crate::store::{Store, StoreError};

/// Purses looked at in one go.
const PURSES: u32 = 500;
/// Failed requests told one by one, for an account and [`FAILURES_EVERY`]; the last one says how many there were.
const FAILURES_EACH: u32 = 5;
const FAILURES_EVERY: Duration = Duration::from_secs(15);
/// Requests are booked within 10 seconds of their end (`docs/contracts.md`, The request log).
const BOOKED_WITHIN: Duration = Duration::from_secs(10);
/// After a pause only so much of it is told.
const FAILURES_BACK: Duration = Duration::from_secs(3600);
/// Exits are counted this often.
const NETWORK_EVERY: Duration = Duration::from_secs(60);
/// Accounts read at once, and told of exits in all.
const SUBSCRIBERS: u32 = 500;
const MAX_TOLD: usize = 10_000;
/// Old rows are looked for this often, and so many go at once.
const FORGET_EVERY: Duration = Duration::from_secs(3600);
const FORGOTTEN_AT_ONCE: u32 = 5_000;
/// Longest time for one look.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs beside the store.
pub struct EventTask {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    network: Arc<dyn Network>,
    config: EventsConfig,
}

impl EventTask {
    /// `network` is asked once a minute how many exits there are.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        network: Arc<dyn Network>,
        config: EventsConfig,
    ) -> Self {
        Self {
            store,
            clock,
            network,
            config,
        }
    }

    /// Runs until `stop`. What is under way is a transaction: whole or not at all.
    pub async fn run(self, stop: CancellationToken) {
        let _: Option<()> = stop.run_until_cancelled(self.look_for_ever()).await;
    }

    async fn look_for_ever(&self) {
        let mut every = interval(self.config.look_every);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Devices need a while to come back after a start.
        let mut network_at = Instant::now() + NETWORK_EVERY;
        let mut forget_at = Instant::now();
        loop {
            every.tick().await;
            let look = async {
                warn("balances", self.look_at_purses().await);
                warn("failed requests", self.look_at_failures().await);
                if Instant::now() >= network_at {
                    network_at = Instant::now() + NETWORK_EVERY;
                    warn("exits", self.look_at_network().await);
                }
                if Instant::now() >= forget_at {
                    let before = self.clock.now().minus(self.config.retention);
                    let gone = self.store.forget_events(before, FORGOTTEN_AT_ONCE).await;
                    if !gone
                        .as_ref()
                        .is_ok_and(|gone| *gone >= u64::from(FORGOTTEN_AT_ONCE))
                    {
                        forget_at = Instant::now() + FORGET_EVERY;
                    }
                    warn("old events", gone.map(drop));
                }
            };
            if timeout(LOOK_TIMEOUT, look).await.is_err() {
                tracing::warn!("the database is too slow to look for events");
            }
        }
    }

    /// Tells of the marks that balances passed since the last look.
    pub async fn look_at_purses(&self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let moved = self.store.moved_purses(after, PURSES).await?;
            for purse in &moved {
                let (watch, kinds) = purse.look();
                let now = self.clock.now();
                let event = |kind| Event::new(purse.account, kind, now, purse.data(&watch, kind));
                let events: Vec<Event> = kinds.into_iter().map(event).collect();
                // Where another process was quicker it told of the same.
                self.store.note_purse(purse.account, &watch, &events).await?;
            }
            after = moved.last().map(|purse| purse.account);
            if moved.len() < usize::try_from(PURSES).unwrap_or(usize::MAX) {
                return Ok(());
            }
        }
    }

    /// Tells of a sample of the requests that failed since the last look.
    pub async fn look_at_failures(&self) -> Result<(), StoreError> {
        const FEED: &str = "request.failed";
        let to = self.clock.now().minus(BOOKED_WITHIN);
        let feed = self.store.feed(FEED).await?;
        let from = match &feed {
            Some(feed) if to.since(feed.at) < FAILURES_EVERY => return Ok(()),
            Some(feed) => feed.at.max(to.minus(FAILURES_BACK)),
            None => to,
        };
        let failed = self.store.failed_requests(from, to, FAILURES_EACH).await?;
        let mut events: Vec<Event> = Vec::with_capacity(failed.len());
        let mut counted: Option<(AccountId, u64)> = None;
        for request in &failed {
            let nth = match counted {
                Some((account, nth)) if account == request.account => nth + 1,
                _ => 1,
            };
            counted = Some((request.account, nth));
            let suppressed = match nth == u64::from(FAILURES_EACH) {
                true => request.of.saturating_sub(nth),
                false => 0,
            };
            let data = json!({
                "requestId": request.request,
                "keyId": request.api_key,
                "code": request.code,
                "status": request.status,
                "destination": request.destination,
                "country": request.country,
                "endedAt": request.ended_at,
                "suppressed": suppressed,
            });
            let (account, at) = (request.account, request.ended_at);
            events.push(Event::new(account, EventKind::RequestFailed, at, data));
        }
        self.advance(FEED, feed, to, Value::Null, events).await
    }

    /// Tells of exits that came and went since the last look.
    pub async fn look_at_network(&self) -> Result<(), StoreError> {
        const FEED: &str = "network";
        let now = self.clock.now();
        let feed = self.store.feed(FEED).await?;
        let is_early = |feed: &Feed| now.since(feed.at) < NETWORK_EVERY / 2;
        if feed.as_ref().is_some_and(is_early) {
            return Ok(());
        }
        // What only this process does not hear of has not gone.
        if !self.network.is_whole() {
            return Ok(());
        }
        let census: Census = self.network.stats().country_breakdown.into_iter().collect();
        let before = feed
            .as_ref()
            .map(|feed| serde_json::from_value::<Census>(feed.state.clone()));
        // The first look has nothing to compare with.
        let found = match before {
            Some(Ok(before)) => changes(&before, &census),
            Some(Err(_)) | None => Vec::new(),
        };
        let mut events = Vec::new();
        for (kind, data) in found {
            let event = |account| Event::new(account, kind, now, data.clone());
            events.extend(self.subscribers(kind).await?.into_iter().map(event));
        }
        let state = json!(census);
        self.advance(FEED, feed, now, state, events).await
    }

    async fn subscribers(&self, kind: EventKind) -> Result<Vec<AccountId>, StoreError> {
        let mut all: Vec<AccountId> = Vec::new();
        loop {
            let page = self
                .store
                .subscribers(kind, all.last().copied(), SUBSCRIBERS)
                .await?;
            let is_last = page.len() < usize::try_from(SUBSCRIBERS).unwrap_or(usize::MAX);
            all.extend(page);
            if is_last || all.len() >= MAX_TOLD {
                all.truncate(MAX_TOLD);
                return Ok(all);
            }
        }
    }

    async fn advance(
        &self,
        name: &'static str,
        from: Option<Feed>,
        at: Timestamp,
        state: Value,
        events: Vec<Event>,
    ) -> Result<(), StoreError> {
        let step = FeedStep {
            name,
            from: from.map(|feed| feed.at),
            to: Feed { at, state },
            events,
        };
        self.store.advance_feed(&step).await.map(drop)
    }
}

fn warn(what: &'static str, looked: Result<(), StoreError>) {
    if let Err(error) = looked {
        tracing::warn!(%error, what, "could not be looked at, trying later");
    }
}
