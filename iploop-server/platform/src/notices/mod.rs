//! Mails that follow from what happens, and reports: kept in an outbox until they are sent, as far as their readers want
//! them.
//!
//! The mails of `mail::templates` carry tokens and leave from memory; those here carry none and survive a crash.

mod reports;
mod service;
mod store;
mod task;
mod templates;
mod unsubscribe;

use crate::clock::Timestamp;
use crate::events::EventKind;
use crate::ids::{AccountId, HoldId, MailId};

pub use service::{NoticeError, NoticeParts, NoticeService};
pub use store::{MailEnd, NewReport, Notices};
pub use task::NoticeTask;
pub use templates::previews;
pub use unsubscribe::Report;

/// What a customer wants to be told, and when (PRD 5.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preferences {
    /// Mails about usage at all.
    pub email_alerts: bool,
    /// Of these, the ones about the balance.
    pub usage_alerts: bool,
    /// Receipts. A failed payment is mailed in any case.
    pub billing_alerts: bool,
    /// Sign-ins from new places. Changes of password or second factor are mailed in any case.
    pub security_alerts: bool,
    /// Planned work on the platform.
    pub maintenance_alerts: bool,
    /// A report each Monday.
    pub weekly_reports: bool,
    /// A report on the first of each month.
    pub monthly_reports: bool,
    /// Mark for `usage.threshold`, in per cent of the last top-up: 1 to 100.
    pub usage_threshold_percent: u8,
    /// Limit for `balance.low`, in bytes.
    pub balance_low_bytes: i64,
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            email_alerts: true,
            usage_alerts: true,
            billing_alerts: true,
            security_alerts: true,
            maintenance_alerts: false,
            weekly_reports: true,
            monthly_reports: true,
            usage_threshold_percent: 50,
            balance_low_bytes: 500_000_000,
        }
    }
}

macro_rules! notices {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        /// A kind of mail.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Notice {
            $($(#[$doc])* $name,)*
        }

        impl Notice {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name in the database.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

notices! {
    /// 80 % of the last top-up are used.
    QuotaWarning "quota_warning",
    /// The balance is used up.
    QuotaExceeded "quota_exceeded",
    /// A payment went through.
    PaymentSuccess "payment_success",
    /// A payment did not go through.
    PaymentFailed "payment_failed",
    /// A payment was paid back.
    PaymentRefunded "payment_refunded",
    /// A bank disputes a payment, or decided.
    PaymentDisputed "payment_disputed",
    /// A webhook was switched off.
    WebhookDisabled "webhook_disabled",
    /// The last week in figures.
    WeeklyReport "weekly_report",
    /// The last month in figures.
    MonthlyReport "monthly_report",
}

impl Notice {
    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|notice| notice.as_str() == name)
    }

    /// The mail that follows from an event, if one does.
    pub fn of_event(kind: EventKind) -> Option<Self> {
        match kind {
            EventKind::QuotaWarning => Some(Self::QuotaWarning),
            EventKind::QuotaExceeded => Some(Self::QuotaExceeded),
            EventKind::PaymentSuccess => Some(Self::PaymentSuccess),
            EventKind::PaymentFailed => Some(Self::PaymentFailed),
            EventKind::PaymentRefunded => Some(Self::PaymentRefunded),
            EventKind::PaymentDisputed => Some(Self::PaymentDisputed),
            _ => None,
        }
    }

    /// Whether its reader wants it.
    pub fn is_wanted(self, preferences: &Preferences) -> bool {
        match self {
            Self::QuotaWarning | Self::QuotaExceeded => preferences.email_alerts && preferences.usage_alerts,
            Self::PaymentSuccess | Self::PaymentRefunded => preferences.billing_alerts,
            Self::WeeklyReport => preferences.weekly_reports,
            Self::MonthlyReport => preferences.monthly_reports,
            // Something of the customer's does not work until the customer acts.
            Self::PaymentFailed | Self::PaymentDisputed | Self::WebhookDisabled => true,
        }
    }
}

/// A mail of the outbox that somebody holds.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxMail {
    /// Its id.
    pub id: MailId,
    /// The hold.
    pub hold: HoldId,
    /// To whom.
    pub account: AccountId,
    /// What it is.
    pub notice: Notice,
    /// The particulars: those of the event, or a report's period.
    pub data: serde_json::Value,
    /// Tries before this one.
    pub tries: u32,
    /// Since when it waits.
    pub created_at: Timestamp,
}
