//! Webhooks: a customer's addresses for events.
//!
//! ```text
//! event ─▶ delivery (pending) ─claim─▶ try ─▶ 2xx: delivered
//!             ▲                         ├───▶ else: pending again, later ─▶ after the last try: failed
//!             └──── hold ran out ◀──────┘ crash
//! ```
//!
//! A delivery is claimed by a hold that ends by itself, so it is made at least once, with the same id, and by one process
//! at a time. Ten failed deliveries in a row, or an answer 410, switch a webhook off.

mod config;
mod delivery;
mod seal;
mod service;
mod signature;
mod store;
mod task;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::events::{Event, EventKind};
use crate::ids::{AccountId, EventId, HoldId, WebhookId};

pub use config::WebhooksConfig;
pub use service::{
    CreatedWebhook, Revealed, Rotated, SentTest, WantedWebhook, WebhookChange, WebhookError, WebhookParts,
    WebhookService,
};
pub use signature::{WebhookSecret, signature, standard_signature};
pub use store::{DeliveryQuery, Finish, StoredChange, Webhooks};
pub use task::WebhookTask;

/// Most webhooks of an account.
pub const MAX_WEBHOOKS: u32 = 20;
/// Deliveries in a row that may fail before a webhook is switched off.
pub const MAX_FAILURES: u32 = 10;
/// Deliveries of one webhook that may wait; events beyond that are not delivered, a replay brings them.
pub const MAX_PENDING: u32 = 1_000;
/// Events that one replay brings at most.
pub const MAX_REPLAYED: u32 = 1_000;
/// Tries after the first one.
pub const MAX_RETRIES: u32 = 7;
/// Longest time that one try may be given.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(30);
/// Tries of one delivery that are kept, the latest ones: replays make more.
pub const MAX_ATTEMPTS: u32 = 50;
/// Longest part of an answer that is kept, in bytes.
pub const MAX_ANSWER: usize = 4 * 1024;
/// Most of an answer's header fields that are kept, their names and values together, in bytes.
pub const MAX_FIELDS: usize = 4 * 1024;

/// A customer's address for events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Whose.
    pub account: AccountId,
    /// The address.
    pub url: String,
    /// The customer's words about it.
    pub description: Option<String>,
    /// What it is told of.
    pub events: BTreeSet<EventKind>,
    /// The secret's beginning and end.
    pub secret_preview: String,
    /// Until when what is sent is also signed with the secret before.
    pub old_secret_until: Option<Timestamp>,
    /// How hard it is tried to reach it.
    pub effort: Effort,
    /// Whether it is told anything.
    pub is_active: bool,
    /// Who switched it off.
    pub disabled_by: Option<DisabledBy>,
    /// Deliveries that failed since the last one that did not.
    pub failure_count: u32,
    /// Deliveries that arrived.
    pub delivered: u64,
    /// Deliveries that failed for good.
    pub failed: u64,
    /// The last try.
    pub last_triggered_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its owner last changed it.
    pub updated_at: Timestamp,
}

/// What a delivery is worth to its webhook's owner; none: as much as the server does by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// How long one try may take, answer included, in seconds: 1 to 30. By default `webhooks.timeout`.
    pub timeout_seconds: Option<u32>,
    /// Tries after the first one: 0 to [`MAX_RETRIES`], which is the default.
    pub max_retries: Option<u32>,
}

/// Who switched a webhook off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisabledBy {
    /// Its owner.
    Owner,
    /// [`MAX_FAILURES`] failed deliveries in a row.
    Failures,
    /// An answer 410.
    Gone,
}

impl DisabledBy {
    /// Its name in the database and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Failures => "failures",
            Self::Gone => "gone",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Owner, Self::Failures, Self::Gone]
            .into_iter()
            .find(|who| who.as_str() == name)
    }
}

/// A webhook to be stored.
#[derive(Clone)]
pub struct NewWebhook {
    /// Its id.
    pub id: WebhookId,
    /// Whose.
    pub account: AccountId,
    /// The address.
    pub url: String,
    /// The customer's words about it.
    pub description: Option<String>,
    /// What it is told of.
    pub events: BTreeSet<EventKind>,
    /// How hard it is tried to reach it.
    pub effort: Effort,
    /// The secret.
    pub secret: SealedSecret,
    /// When.
    pub now: Timestamp,
}

/// A secret as the database holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// Encrypted.
    pub sealed: Vec<u8>,
    /// Its beginning and end, to tell it from others.
    pub preview: String,
}

/// How far a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It waits for its next try.
    Pending,
    /// It arrived.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryState {
    /// Its name in the database and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Pending, Self::Delivered, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// One event on its way to one webhook.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// What is delivered.
    pub event: Event,
    /// How far it is.
    pub state: DeliveryState,
    /// Tries so far.
    pub tries: u32,
    /// When the next try is due, while it waits.
    pub due_at: Timestamp,
    /// Since when.
    pub created_at: Timestamp,
    /// The last try, or all of them, the latest first.
    pub attempts: Vec<Attempt>,
}

/// A header field as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderField {
    /// Its name, in lower case.
    pub name: String,
    /// Its value, without what is no text.
    pub value: String,
}

/// One try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    /// Status of the answer.
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// The header fields that were made for it; none where no request could be made, or where they were not kept.
    pub sent: Vec<HeaderField>,
    /// The header fields of the answer, [`MAX_FIELDS`] bytes at most.
    pub answer_fields: Vec<HeaderField>,
    /// The answer's beginning, at most [`MAX_ANSWER`] bytes.
    pub answer: String,
    /// Why it did not arrive.
    pub error: Option<String>,
}

/// A delivery that somebody holds.
#[derive(Clone)]
pub struct Claim {
    /// The hold.
    pub hold: HoldId,
    /// Which webhook.
    pub webhook: WebhookId,
    /// Where to.
    pub url: String,
    /// The secret, encrypted.
    pub secret: Vec<u8>,
    /// The secret before, encrypted, while it still counts.
    pub old_secret: Option<Vec<u8>>,
    /// What is delivered.
    pub event: Event,
    /// How hard it is tried.
    pub effort: Effort,
    /// Tries before this one.
    pub tries: u32,
}

impl Claim {
    /// What names the delivery.
    pub fn ids(&self) -> (WebhookId, EventId) {
        (self.webhook, self.event.id)
    }
}

/// What a try means for its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It arrived.
    Delivered,
    /// It is tried again at this time.
    Again(Timestamp),
    /// It is given up.
    Failed,
    /// It is given up and the webhook with it: its owner answered 410.
    Gone,
}
