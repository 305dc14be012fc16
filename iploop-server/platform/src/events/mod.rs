//! What happens that a customer may be told of: events, written in the transaction of what they are about.
//!
//! ```text
//! act of the store ──(same transaction)──▶ events ─┬▶ webhook_deliveries ─▶ webhooks::WebhookTask
//! EventTask: purses, failed requests, devices ─────┘└▶ mail_outbox ───────▶ notices::NoticeTask
//! ```
//!
//! Whoever adds an event: inside a transaction of the store by `sql::events::insert`, elsewhere by [`Events::publish`].

mod config;
mod network;
mod purse;
mod store;
mod task;

use serde::Serialize;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::ids::{AccountId, EventId};

pub use config::EventsConfig;
pub use purse::{MovedPurse, PurseWatch};
pub use store::{Events, FailedRequest, Feed, FeedStep};
pub use task::EventTask;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $id:literal $title:literal $text:literal,)*) => {
        /// What can happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventKind {
            $($(#[$doc])* $name,)*
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name in the database, the API and the header `X-IPLoop-Event`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// Its name for people.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What it says.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

kinds! {
    /// A part of what was bought is used.
    UsageThreshold "usage.threshold" "Usage Threshold" "Usage reached the configured share of the last top-up",
    /// The balance is below a limit.
    BalanceLow "balance.low" "Balance Low" "The balance dropped below the configured limit",
    /// More devices are there.
    NodeConnected "node.connected" "Node Online" "More exits are online in some countries than a minute before",
    /// Fewer devices are there.
    NodeDisconnected "node.disconnected" "Node Offline" "Fewer exits are online in some countries than a minute before",
    /// A request through the proxy failed.
    RequestFailed "request.failed" "Request Failed" "A proxy request failed; a bounded sample with the number of all",
    /// 80 % are used.
    QuotaWarning "quota.warning" "Quota Warning" "Usage reached 80% of the last top-up",
    /// All is used.
    QuotaExceeded "quota.exceeded" "Quota Exceeded" "The balance is used up",
    /// A key was made.
    ApiKeyCreated "api_key.created" "API Key Created" "A new API key was made",
    /// A key was deleted.
    ApiKeyDeleted "api_key.deleted" "API Key Deleted" "An API key was deleted",
    /// A payment went through.
    PaymentSuccess "payment.success" "Payment Success" "A payment was processed",
    /// A payment did not go through.
    PaymentFailed "payment.failed" "Payment Failed" "A payment failed",
    /// A payment was paid back.
    PaymentRefunded "payment.refunded" "Payment Refunded" "A payment, or a part of it, was paid back",
    /// A customer's bank disputes a payment, or decided.
    PaymentDisputed "payment.disputed" "Payment Disputed" "The bank took a payment back, or decided about it",
    /// A key was refused for its rate.
    RateLimitReached "rate_limit.reached" "Rate Limit Reached" "A key reached its rate; told once an hour for each key",
    /// Planned work was announced.
    MaintenanceAnnounced "platform.maintenance" "Planned Maintenance" "Planned work on the platform was announced",
    /// Sent by the test button, to one webhook only.
    Test "test" "Test" "Sent by the test button",
}

impl EventKind {
    /// Those that a webhook can ask for: all but the test.
    pub fn subscribable() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|kind| *kind != Self::Test)
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }
}

/// Something that happened to a customer.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its id, the same in every delivery.
    pub id: EventId,
    /// Whom it is about.
    pub account: AccountId,
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// The particulars: a JSON object of a few hundred bytes without secrets.
    pub data: Value,
}

/// An event as webhooks get it.
#[derive(Serialize)]
struct Body<'a> {
    id: EventId,
    event: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: Timestamp,
    data: &'a Value,
}

impl Event {
    /// Something that happened `at` this time.
    pub fn new(account: AccountId, kind: EventKind, at: Timestamp, data: Value) -> Self {
        Self {
            id: EventId::new(),
            account,
            kind,
            at,
            data,
        }
    }

    /// The JSON that webhooks get: the same bytes at every try. `event` and `type` say the same, the first for the form of
    /// our own signature, the second as Standard Webhooks has it.
    pub fn body(&self) -> String {
        let body = Body {
            id: self.id,
            event: self.kind.as_str(),
            kind: self.kind.as_str(),
            timestamp: self.at,
            data: &self.data,
        };
        // Never fails: plain data with text as keys.
        serde_json::to_string(&body).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name_and_the_test_can_not_be_asked_for() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::named(kind.as_str()), Some(*kind));
        }
        assert_eq!(EventKind::subscribable().count(), 15);
        assert_eq!(EventKind::named("payment"), None);
    }

    #[test]
    fn a_body_is_the_same_whenever_it_is_written() {
        let event = Event {
            id: uuid::Uuid::from_u128(7).into(),
            account: AccountId::new(),
            kind: EventKind::Test,
            at: Timestamp::from_millis(1_764_000_000_000),
            data: json!({"message": "x"}),
        };
        let body = r#"{"id":"00000000-0000-0000-0000-000000000007","event":"test","type":"test","timestamp":"2025-11-24T16:00:00Z","data":{"message":"x"}}"#;
        assert_eq!(event.body(), body);
    }
}
