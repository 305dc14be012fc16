//! The rules around webhooks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::delivery::attempt;
use super::seal::{Sealer, Unsealable};
use super::signature::WebhookSecret;
use super::store::{DeliveryQuery, Finish, StoredChange};
use super::task::WebhookTask;
use super::{
    Attempt, Claim, Delivery, Effort, MAX_REPLAYED, MAX_RETRIES, MAX_TIMEOUT, MAX_WEBHOOKS, NewWebhook,
    Webhook, WebhooksConfig,
};
use crate::clock::{Clock, DAY, Timestamp};
use crate::events::{Event, EventKind};
use crate::field::{self, FieldProblem, keep, line};
use crate::ids::{AccountId, EventId, HoldId, WebhookId};
use crate::login::SigningSecret;
use crate::login::throttle::{Allowance, Throttle};
use crate::outbound::{OutboundClient, Target, TargetError};
use crate::store::{Store, StoreError};

/// How long a delivery is held beyond its try, which takes [`HOLD_AT_LEAST`] and this together at most: enough to note what
/// became of it.
const HOLD_SLACK: Duration = Duration::from_secs(30);
const HOLD_AT_LEAST: Duration = Duration::from_secs(10);
/// How long the secret before still counts.
const OLD_SECRET_FOR: Duration = DAY;
/// Tests an hour, a third of them at once: each sends a request from here.
const TESTS: Allowance = Allowance {
    burst: 20,
    refill: Duration::from_secs(60),
};
/// Replays of one event, a hundred at once: each sends requests from here, to wherever its owner says.
const REPLAYS: Allowance = Allowance {
    burst: 100,
    refill: Duration::from_secs(10),
};
/// Replays of up to [`MAX_REPLAYED`] events, five at once.
const WIDE_REPLAYS: Allowance = Allowance {
    burst: 5,
    refill: Duration::from_secs(600),
};
/// Addresses that are set: each asks a resolver for a name that its owner chose.
const ADDRESSES: Allowance = Allowance {
    burst: 60,
    refill: Duration::from_secs(20),
};
/// Entries of a throttle's table.
const THROTTLE_CAPACITY: usize = 65_536;

/// What the service is made of.
pub struct WebhookParts {
    /// The data.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Makes the requests.
    pub client: OutboundClient,
    /// Where the key comes from that secrets are encrypted with.
    pub secret: SigningSecret,
}

/// The rules around webhooks. Clones share one state.
#[derive(Clone)]
pub struct WebhookService(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    client: OutboundClient,
    sealer: Sealer,
    config: WebhooksConfig,
    tests: Throttle<AccountId>,
    replays: Throttle<AccountId>,
    wide_replays: Throttle<AccountId>,
    addresses: Throttle<AccountId>,
}

/// A webhook that a customer wants.
#[derive(Clone, Debug)]
pub struct WantedWebhook {
    /// The address.
    pub url: String,
    /// What it is to be told of.
    pub events: Vec<String>,
    /// The customer's words about it.
    pub description: Option<String>,
    /// How hard it is to be tried to reach it.
    pub effort: Effort,
}

/// A change that a customer wants: what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct WebhookChange {
    /// Another address.
    pub url: Option<String>,
    /// Other events, in place of all that were.
    pub events: Option<Vec<String>>,
    /// Other words about it, or none.
    pub description: Option<Option<String>>,
    /// Another time for one try, in seconds, or the server's.
    pub timeout_seconds: Option<Option<u32>>,
    /// Another number of tries after the first one, or the server's.
    pub max_retries: Option<Option<u32>>,
    /// Switched on or off.
    pub is_active: Option<bool>,
}

/// A new webhook with its secret.
#[derive(Clone, Debug)]
pub struct CreatedWebhook {
    /// As its owner sees it from now on.
    pub webhook: Webhook,
    /// What deliveries are signed with.
    pub secret: WebhookSecret,
}

/// A webhook's secrets.
#[derive(Clone, Debug)]
pub struct Revealed {
    /// What deliveries are signed with.
    pub secret: WebhookSecret,
    /// What they are signed with besides, while it still counts.
    pub old: Option<WebhookSecret>,
}

/// A new secret.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// What deliveries are signed with from now on.
    pub secret: WebhookSecret,
    /// Until when they are also signed with the one before.
    pub old_until: Timestamp,
}

/// What became of a test.
#[derive(Clone, Debug)]
pub struct SentTest {
    /// What was sent.
    pub event: Event,
    /// The try.
    pub attempt: Attempt,
    /// Whether it arrived.
    pub is_delivered: bool,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// Fields that can't be accepted.
    #[error("{}", field::listed(.0))]
    Invalid(Vec<FieldProblem>),
    /// The account has as many as it may.
    #[error("at most {MAX_WEBHOOKS} webhooks")]
    LimitReached,
    /// The account has no such webhook.
    #[error("no such webhook")]
    NotFound,
    /// The webhook has no such delivery.
    #[error("no such delivery")]
    DeliveryNotFound,
    /// Too many addresses, tests or replays.
    #[error("too many addresses, tests or replays")]
    Throttled {
        /// When the next one may be sent.
        retry_after: Duration,
    },
    /// The secret can't be read any more.
    #[error(transparent)]
    Unsealable(#[from] Unsealable),
    /// The data can't be read or written.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for WebhookError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::LimitReached { .. } => Self::LimitReached,
            other => Self::Store(other),
        }
    }
}

impl WebhookService {
    /// The task delivers and must run.
    ///
    /// # Errors
    /// If no key can be made from the server's secret.
    pub fn new(parts: WebhookParts, config: &WebhooksConfig) -> Result<(Self, WebhookTask), WebhookError> {
        let service = Self(Arc::new(Inner {
            sealer: Sealer::new(&parts.secret)?,
            store: parts.store,
            clock: parts.clock,
            client: parts.client,
            config: config.clone(),
            tests: Throttle::new(TESTS, THROTTLE_CAPACITY),
            replays: Throttle::new(REPLAYS, THROTTLE_CAPACITY),
            wide_replays: Throttle::new(WIDE_REPLAYS, THROTTLE_CAPACITY),
            addresses: Throttle::new(ADDRESSES, THROTTLE_CAPACITY),
        }));
        let task = WebhookTask::new(service.clone());
        Ok((service, task))
    }

    /// Makes a webhook: at most 20 an account, also under parallel tries.
    pub async fn create(
        &self,
        account: AccountId,
        wanted: WantedWebhook,
    ) -> Result<CreatedWebhook, WebhookError> {
        let mut problems = Vec::new();
        let url = keep(self.url(account, &wanted.url).await?, &mut problems);
        let events = keep(events(&wanted.events), &mut problems);
        let description = keep(description(wanted.description.as_deref()), &mut problems);
        let timeout_seconds = keep(timeout_seconds(wanted.effort.timeout_seconds), &mut problems);
        let max_retries = keep(max_retries(wanted.effort.max_retries), &mut problems);
        let (Some(url), Some(events), Some(description), Some(timeout_seconds), Some(max_retries)) =
            (url, events, description, timeout_seconds, max_retries)
        else {
            return Err(WebhookError::Invalid(problems));
        };
        let (id, secret) = (WebhookId::new(), WebhookSecret::random());
        let new = NewWebhook {
            id,
            account,
            url,
            description,
            events,
            effort: Effort {
                timeout_seconds,
                max_retries,
            },
            secret: self.0.sealer.seal(id, &secret)?,
            now: self.0.clock.now(),
        };
        let webhook = self.0.store.create_webhook(new).await?;
        Ok(CreatedWebhook { webhook, secret })
    }

    /// The account's webhooks, oldest first.
    pub async fn list(&self, account: AccountId) -> Result<Vec<Webhook>, WebhookError> {
        Ok(self.0.store.webhooks(account).await?)
    }

    /// One webhook of the account.
    pub async fn get(&self, account: AccountId, id: WebhookId) -> Result<Webhook, WebhookError> {
        self.0
            .store
            .webhook(account, id)
            .await?
            .ok_or(WebhookError::NotFound)
    }

    /// Changes a webhook. Switching it on forgets its failures.
    pub async fn change(
        &self,
        account: AccountId,
        id: WebhookId,
        wanted: WebhookChange,
    ) -> Result<Webhook, WebhookError> {
        let mut problems = Vec::new();
        let mut change = StoredChange {
            is_active: wanted.is_active,
            ..StoredChange::default()
        };
        if let Some(url) = &wanted.url {
            change.url = keep(self.url(account, url).await?, &mut problems);
        }
        if let Some(names) = &wanted.events {
            change.events = keep(events(names), &mut problems);
        }
        if let Some(text) = &wanted.description {
            change.description = keep(description(text.as_deref()), &mut problems);
        }
        if let Some(seconds) = wanted.timeout_seconds {
            change.timeout_seconds = keep(timeout_seconds(seconds), &mut problems);
        }
        if let Some(retries) = wanted.max_retries {
            change.max_retries = keep(max_retries(retries), &mut problems);
        }
        if !problems.is_empty() {
            return Err(WebhookError::Invalid(problems));
        }
        let now = self.0.clock.now();
        let changed = self.0.store.change_webhook(account, id, change, now).await?;
        changed.ok_or(WebhookError::NotFound)
    }

    /// Deletes a webhook with its deliveries.
    pub async fn delete(&self, account: AccountId, id: WebhookId) -> Result<(), WebhookError> {
        found(self.0.store.delete_webhook(account, id).await?)
    }

    /// Makes a new secret. For a day deliveries are signed with the one before as well.
    pub async fn rotate(&self, account: AccountId, id: WebhookId) -> Result<Rotated, WebhookError> {
        let secret = WebhookSecret::random();
        let sealed = self.0.sealer.seal(id, &secret)?;
        let now = self.0.clock.now();
        let old_until = now.plus(OLD_SECRET_FOR);
        let store = &self.0.store;
        found(
            store
                .rotate_webhook_secret(account, id, sealed, old_until, now)
                .await?,
        )?;
        Ok(Rotated { secret, old_until })
    }

    /// The secrets in the clear, for their owner.
    pub async fn reveal(&self, account: AccountId, id: WebhookId) -> Result<Revealed, WebhookError> {
        let secrets = self
            .0
            .store
            .webhook_secrets(account, id, self.0.clock.now())
            .await?;
        let (secret, old) = secrets.ok_or(WebhookError::NotFound)?;
        Ok(Revealed {
            secret: self.0.sealer.open(id, &secret)?,
            old: old.and_then(|old| self.0.sealer.open(id, &old).ok()),
        })
    }

    /// Sends a test event and waits for the answer. It counts neither as success nor as failure.
    ///
    /// Dropping it leaves the delivery waiting.
    pub async fn test(&self, account: AccountId, id: WebhookId) -> Result<SentTest, WebhookError> {
        let now = self.0.clock.now();
        take(&self.0.tests, account, now)?;
        let data = json!({ "message": "This is a test webhook from IPLoop" });
        let event = Event::new(account, EventKind::Test, now, data);
        let claim = self
            .0
            .store
            .begin_test(id, event.clone(), HoldId::new(), self.hold_until(now))
            .await?
            .ok_or(WebhookError::NotFound)?;
        let attempt = self.deliver(&claim).await;
        Ok(SentTest {
            event,
            is_delivered: attempt.error.is_none(),
            attempt,
        })
    }

    /// A page of deliveries, newest first, each with its last try.
    pub async fn deliveries(
        &self,
        account: AccountId,
        id: WebhookId,
        query: DeliveryQuery,
    ) -> Result<Vec<Delivery>, WebhookError> {
        let page = self.0.store.deliveries(account, id, query).await?;
        page.ok_or(WebhookError::NotFound)
    }

    /// One delivery with all its tries.
    pub async fn delivery(
        &self,
        account: AccountId,
        id: WebhookId,
        event: EventId,
    ) -> Result<Delivery, WebhookError> {
        let found = self.0.store.delivery(account, id, event).await?;
        found.ok_or(WebhookError::DeliveryNotFound)
    }

    /// Delivers an event once more, with the same id: a hundred times at once, then one each 10 seconds.
    pub async fn replay(
        &self,
        account: AccountId,
        id: WebhookId,
        event: EventId,
    ) -> Result<(), WebhookError> {
        let now = self.0.clock.now();
        take(&self.0.replays, account, now)?;
        match self.0.store.replay_delivery(account, id, event, now).await? {
            true => Ok(()),
            false => Err(WebhookError::DeliveryNotFound),
        }
    }

    /// Delivers what happened since then once more, and what was never delivered; how many. At most 1,000 events, the oldest
    /// first; five times at once, then once each 10 minutes.
    pub async fn replay_since(
        &self,
        account: AccountId,
        id: WebhookId,
        since: Timestamp,
    ) -> Result<u64, WebhookError> {
        let now = self.0.clock.now();
        take(&self.0.wide_replays, account, now)?;
        let queued = self
            .0
            .store
            .replay_since(account, id, since, MAX_REPLAYED, now)
            .await?;
        queued.ok_or(WebhookError::NotFound)
    }

    pub(super) fn config(&self) -> &WebhooksConfig {
        &self.0.config
    }

    /// Deliveries to be made now; none where the database is away.
    pub(super) async fn claim(&self, each: u32, limit: usize) -> Vec<Claim> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        if limit == 0 {
            return Vec::new();
        }
        let now = self.0.clock.now();
        let claimed = self
            .0
            .store
            .claim_deliveries(now, self.hold_until(now), each, limit)
            .await;
        claimed.unwrap_or_else(|error| {
            tracing::warn!(%error, "due webhooks can't be read, trying later");
            Vec::new()
        })
    }

    /// Makes one try and notes what became of it.
    pub(super) async fn deliver(&self, claim: &Claim) -> Attempt {
        let inner = &*self.0;
        let (attempt, verdict) = attempt(
            &inner.client,
            &inner.sealer,
            &*inner.clock,
            inner.config.timeout,
            claim,
        )
        .await;
        let result = if attempt.error.is_none() {
            "delivered"
        } else {
            "failed"
        };
        let finish = Finish {
            claim,
            attempt: &attempt,
            verdict,
            now: inner.clock.now(),
        };
        if let Err(error) = inner.store.finish_delivery(finish).await {
            // The hold ends by itself and the delivery is tried again.
            tracing::warn!(webhook.id = %claim.webhook, event.id = %claim.event.id, %error, "a try could not be noted");
        }
        metrics::counter!("iploop_webhook_tries_total", "result" => result).increment(1);
        attempt
    }

    fn hold_until(&self, now: Timestamp) -> Timestamp {
        // A webhook may be given more time than the others: up to [`MAX_TIMEOUT`].
        now.plus(self.0.config.timeout.max(HOLD_AT_LEAST) + HOLD_SLACK)
    }

    /// An address that may be called, as far as one can know now: sixty at once for an account, then one each 20 seconds.
    async fn url(
        &self,
        account: AccountId,
        text: &str,
    ) -> Result<Result<String, FieldProblem>, WebhookError> {
        let problem = |error: TargetError| FieldProblem::new("url", format!("URL {error}"));
        let target = match Target::parse(text) {
            Ok(target) => target,
            Err(error) => return Ok(Err(problem(error))),
        };
        take(&self.0.addresses, account, self.0.clock.now())?;
        let checked = self.0.client.check_resolved(&target).await;
        Ok(checked.map(|()| target.as_str().to_owned()).map_err(problem))
    }
}

fn take(throttle: &Throttle<AccountId>, account: AccountId, now: Timestamp) -> Result<(), WebhookError> {
    throttle
        .take(&account, now)
        .map_err(|retry_after| WebhookError::Throttled { retry_after })
}

fn found(is_found: bool) -> Result<(), WebhookError> {
    if is_found {
        Ok(())
    } else {
        Err(WebhookError::NotFound)
    }
}

fn events(names: &[String]) -> Result<BTreeSet<EventKind>, FieldProblem> {
    let problem = |message: String| FieldProblem::new("events", message);
    if names.is_empty() {
        return Err(problem("Choose at least one event".to_owned()));
    }
    let kinds = names.iter().enumerate().map(|(at, name)| {
        EventKind::subscribable()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| problem(format!("Entry {} is no event", at + 1)))
    });
    kinds.collect()
}

fn timeout_seconds(seconds: Option<u32>) -> Result<Option<u32>, FieldProblem> {
    let most = u32::try_from(MAX_TIMEOUT.as_secs()).unwrap_or(u32::MAX);
    match seconds {
        Some(seconds) if !(1..=most).contains(&seconds) => Err(FieldProblem::new(
            "timeoutSeconds",
            format!("Timeout must be 1 to {most} seconds"),
        )),
        seconds => Ok(seconds),
    }
}

fn max_retries(retries: Option<u32>) -> Result<Option<u32>, FieldProblem> {
    match retries {
        Some(retries) if retries > MAX_RETRIES => Err(FieldProblem::new(
            "maxRetries",
            format!("Retries must be 0 to {MAX_RETRIES}"),
        )),
        retries => Ok(retries),
    }
}

fn description(text: Option<&str>) -> Result<Option<String>, FieldProblem> {
    let text = line("description", "Description", text.unwrap_or_default(), 0, 200)?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}
