//! Ids, each its own type, so that one never lands where another belongs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id: UUID v7, so that ids sort by the time they were made.
            #[expect(clippy::new_without_default, reason = "a fresh id is an act, not a default")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// A known id, such as that of a seeded row.
            pub const fn of(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The id as it lies in the database.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id! {
    /// A question to support: a row of `support_tickets`.
    TicketId
}
id! {
    /// A customer's account: a row of `users`.
    AccountId
}
id! {
    /// A customer's key: a row of `api_keys`.
    ApiKeyId
}
id! {
    /// A registered device: a row of `nodes`.
    NodeId
}
id! {
    /// An SDK partner: a row of `partners`.
    PartnerId
}
id! {
    /// A plan: a row of `plans`.
    PlanId
}
id! {
    /// One request of a customer, in logs, answers and `usage_records`.
    RequestId
}
id! {
    /// One gateway process's share of an account's balance: a row of `leases`.
    LeaseId
}
id! {
    /// One gateway, the same over its restarts: it names its leases and its journal.
    GatewayId
}
id! {
    /// One consent record of a device: a row of `consents`.
    ConsentId
}
id! {
    /// A payment: a row of `billing_payments`.
    PaymentId
}
id! {
    /// A disputed payment: a row of `billing_disputes`.
    DisputeId
}
id! {
    /// An entry of the ledger: a row of `ledger_entries`, or the usage of one customer and day.
    EntryId
}
id! {
    /// An audit record: a row of `audit_records`.
    AuditId
}
id! {
    /// Something an admin opened for one customer: a row of `account_grants`.
    GrantId
}
id! {
    /// An entry of the platform's list: a row of `policy_entries`.
    PolicyEntryId
}
id! {
    /// One login: the id in its token, and its row of `login_sessions`.
    LoginId
}
id! {
    /// Something that happened and that a customer may be told of: a row of `events`.
    EventId
}
id! {
    /// A customer's address for events: a row of `webhooks`.
    WebhookId
}
id! {
    /// One hold on a delivery or a mail, by whoever carries it out.
    HoldId
}
id! {
    /// A mail that must not get lost: a row of `mail_outbox`.
    MailId
}
id! {
    /// Planned work that was announced: a row of `announcements`.
    AnnouncementId
}
id! {
    /// A partner's app: a row of `partner_apps`.
    AppId
}
