//! Mails to accounts: kept in an outbox until they are sent, as far as their readers want them.
//!
//! ```text
//! act ──(before its answer)──▶ mail_outbox ─claim─▶ written, with a fresh token where it has a link ─▶ sent
//!                                   ▲                                                          └────▶ tried again later
//! NoticeTask: requests for new passwords, reports, announcements
//! ```
//!
//! **No token waits anywhere.** The outbox says what a mail is about; the token of its link is made when the mail is
//! written, and the database gets its hash then. So mails survive a crash, and a copy of the database opens nothing. A try
//! that is repeated makes another token, which ends the one before: only the newest mail's link works. A mail whose link
//! would have run out by now is not sent any more; whoever waited for it asks again.

mod announcements;
mod links;
mod rate_alerts;
mod reports;
mod service;
mod store;
mod task;
mod templates;
mod unsubscribe;

use crate::accounts::EmailAddress;
use crate::clock::Timestamp;
use crate::events::{Event, EventKind};
use crate::ids::{AccountId, HoldId, MailId};

pub use announcements::{Announcement, MAX_ANNOUNCEMENTS_A_DAY, WantedAnnouncement};
pub use rate_alerts::{RateAlert, RateAlerts};
pub use service::{NoticeError, NoticeParts, NoticeService};
pub use store::{MailEnd, NewMail, NewReport, Notices};
pub use task::NoticeTask;
pub use templates::previews;
pub use unsubscribe::Report;

/// Mails that follow from what an account does, in 24 hours: nobody fills a mailbox from here. Those that somebody waits for have
/// limits of their own and go in any case.
pub const MAX_MAILS_A_DAY: u32 = 100;

/// What a customer wants to be told, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preferences {
    /// Mails about usage at all.
    pub email_alerts: bool,
    /// Of these, the ones about the balance.
    pub usage_alerts: bool,
    /// Receipts. A failed payment is mailed in any case.
    pub billing_alerts: bool,
    /// Mails about the account's safety: sign-ins from new networks, and what was changed. That they are switched off is mailed
    /// in any case.
    pub security_alerts: bool,
    /// Planned work on the platform.
    pub maintenance_alerts: bool,
    /// Keys that reach their rate.
    pub rate_limit_alerts: bool,
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
            rate_limit_alerts: true,
            weekly_reports: true,
            monthly_reports: true,
            usage_threshold_percent: 50,
            balance_low_bytes: 500_000_000,
        }
    }
}

/// Changes of preferences: what is absent stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PreferencesChange {
    /// As in [`Preferences`].
    pub email_alerts: Option<bool>,
    /// As in [`Preferences`].
    pub usage_alerts: Option<bool>,
    /// As in [`Preferences`].
    pub billing_alerts: Option<bool>,
    /// As in [`Preferences`].
    pub security_alerts: Option<bool>,
    /// As in [`Preferences`].
    pub maintenance_alerts: Option<bool>,
    /// As in [`Preferences`].
    pub rate_limit_alerts: Option<bool>,
    /// As in [`Preferences`].
    pub weekly_reports: Option<bool>,
    /// As in [`Preferences`].
    pub monthly_reports: Option<bool>,
    /// As in [`Preferences`].
    pub usage_threshold_percent: Option<u8>,
    /// As in [`Preferences`].
    pub balance_low_bytes: Option<i64>,
}

impl PreferencesChange {
    /// What comes of it where these preferences stood.
    pub fn over(self, now: Preferences) -> Preferences {
        Preferences {
            email_alerts: self.email_alerts.unwrap_or(now.email_alerts),
            usage_alerts: self.usage_alerts.unwrap_or(now.usage_alerts),
            billing_alerts: self.billing_alerts.unwrap_or(now.billing_alerts),
            security_alerts: self.security_alerts.unwrap_or(now.security_alerts),
            maintenance_alerts: self.maintenance_alerts.unwrap_or(now.maintenance_alerts),
            rate_limit_alerts: self.rate_limit_alerts.unwrap_or(now.rate_limit_alerts),
            weekly_reports: self.weekly_reports.unwrap_or(now.weekly_reports),
            monthly_reports: self.monthly_reports.unwrap_or(now.monthly_reports),
            usage_threshold_percent: self
                .usage_threshold_percent
                .unwrap_or(now.usage_threshold_percent),
            balance_low_bytes: self.balance_low_bytes.unwrap_or(now.balance_low_bytes),
        }
    }
}

/// All of them.
impl From<Preferences> for PreferencesChange {
    fn from(all: Preferences) -> Self {
        Self {
            email_alerts: Some(all.email_alerts),
            usage_alerts: Some(all.usage_alerts),
            billing_alerts: Some(all.billing_alerts),
            security_alerts: Some(all.security_alerts),
            maintenance_alerts: Some(all.maintenance_alerts),
            rate_limit_alerts: Some(all.rate_limit_alerts),
            weekly_reports: Some(all.weekly_reports),
            monthly_reports: Some(all.monthly_reports),
            usage_threshold_percent: Some(all.usage_threshold_percent),
            balance_low_bytes: Some(all.balance_low_bytes),
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
    /// After registering, with the link that verifies the address.
    Welcome "welcome",
    /// That link, asked for again.
    Verification "verification",
    /// The link that allows a new password.
    PasswordReset "password_reset",
    /// A sign-in from a network that the account was not used from before.
    NewNetwork "new_network",
    /// A new password stands.
    PasswordChanged "password_changed",
    /// A second factor is on.
    TwoFactorOn "two_factor_on",
    /// It is off.
    TwoFactorOff "two_factor_off",
    /// A recovery code was used.
    RecoveryCodeUsed "recovery_code_used",
    /// The networks from which to sign in are others.
    AllowListChanged "allow_list_changed",
    /// A key was made.
    ApiKeyCreated "api_key_created",
    /// Mails about the account's safety were switched off.
    SecurityAlertsOff "security_alerts_off",
    /// An operator let in the owner, who was locked out.
    AccountUnlocked "account_unlocked",
    /// To operators: a customer was suspended by the server's own rule.
    AccountSuspended "account_suspended",
    /// The account is gone, by its owner's wish.
    AccountDeleted "account_deleted",
    /// To support: a customer's ticket.
    TicketOpened "ticket_opened",
    /// A ticket was answered.
    TicketAnswered "ticket_answered",
    /// Planned work on the platform.
    Maintenance "maintenance",
    /// A key reached its rate.
    RateLimitReached "rate_limit_reached",
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
            EventKind::ApiKeyCreated => Some(Self::ApiKeyCreated),
            EventKind::RateLimitReached => Some(Self::RateLimitReached),
            _ => None,
        }
    }

    /// What an account gets the mail about an event once for: the event, or the hour where a program could cause many.
    pub fn occasion(self, event: &Event) -> String {
        match self {
            Self::ApiKeyCreated | Self::RateLimitReached => format!("{self}:{}", event.at.hour_start()),
            _ => event.id.to_string(),
        }
    }

    /// Many get it at the same time: it waits behind what one person waits for.
    pub const fn is_bulk(self) -> bool {
        matches!(self, Self::WeeklyReport | Self::MonthlyReport | Self::Maintenance)
    }

    /// Whether [`MAX_MAILS_A_DAY`] stops it.
    pub const fn is_bounded(self) -> bool {
        !matches!(
            self,
            Self::Welcome | Self::Verification | Self::PasswordReset | Self::AccountUnlocked
        )
    }

    /// Whether its reader wants it.
    pub fn is_wanted(self, preferences: &Preferences) -> bool {
        match self {
            Self::QuotaWarning | Self::QuotaExceeded => preferences.email_alerts && preferences.usage_alerts,
            Self::PaymentSuccess | Self::PaymentRefunded => preferences.billing_alerts,
            Self::WeeklyReport => preferences.weekly_reports,
            Self::MonthlyReport => preferences.monthly_reports,
            Self::Maintenance => preferences.maintenance_alerts,
            Self::RateLimitReached => preferences.email_alerts && preferences.rate_limit_alerts,
            Self::NewNetwork
            | Self::PasswordChanged
            | Self::TwoFactorOn
            | Self::TwoFactorOff
            | Self::RecoveryCodeUsed
            | Self::AllowListChanged
            | Self::ApiKeyCreated => preferences.security_alerts,
            // They were asked for, or are work; whoever took the account over must not be able to keep it quiet; something of the customer's
            // does not work until the customer acts.
            Self::Welcome
            | Self::Verification
            | Self::PasswordReset
            | Self::SecurityAlertsOff
            | Self::AccountUnlocked
            | Self::AccountSuspended
            | Self::AccountDeleted
            | Self::TicketOpened
            | Self::TicketAnswered
            | Self::PaymentFailed
            | Self::PaymentDisputed
            | Self::WebhookDisabled => true,
        }
    }
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a mail goes that is not for the account which it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// The address.
    pub address: EmailAddress,
    /// Who is greeted; may be empty.
    pub name: String,
}

/// A mail of the outbox that somebody holds.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxMail {
    /// Its id.
    pub id: MailId,
    /// The hold.
    pub hold: HoldId,
    /// To whom, or about whom where `to` names somebody.
    pub account: AccountId,
    /// To somebody else than the account.
    pub to: Option<Addressee>,
    /// What it is.
    pub notice: Notice,
    /// The particulars: those of the event, or a report's period.
    pub data: serde_json::Value,
    /// Tries before this one.
    pub tries: u32,
    /// Since when it waits.
    pub created_at: Timestamp,
}
