//! The audit record: who changed what, when, from what to what, and why. Append-only.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::ids::{AccountId, AuditId};

/// One change. There is no way to alter or remove it.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// Its id, by the time it was made.
    pub id: AuditId,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What was done.
    pub action: AuditAction,
    /// The customer it is about, if it is about one.
    pub account: Option<AccountId>,
    /// What it is about: an entry's or grant's id, a category, an address.
    pub subject: String,
    /// As it was; null where there was nothing.
    pub before: Value,
    /// As it is now; null where nothing is left.
    pub after: Value,
    /// Why, in the words of who did it.
    pub reason: String,
}

impl AuditEntry {
    /// A record without values, about no customer.
    pub fn new(actor: Actor, action: AuditAction, subject: String, reason: &str, at: Timestamp) -> Self {
        Self {
            id: AuditId::new(),
            at,
            actor,
            action,
            account: None,
            subject,
            before: Value::Null,
            after: Value::Null,
            reason: reason.to_owned(),
        }
    }
}

/// Who changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A signed-in admin.
    Admin(AccountId),
    /// Another signed-in user, about what is the user's own.
    User(AccountId),
    /// The server itself, by its rules.
    System,
    /// Somebody at the server's own command line.
    CommandLine,
}

impl Actor {
    /// The account of whoever was signed in.
    pub const fn account(self) -> Option<AccountId> {
        match self {
            Self::Admin(account) | Self::User(account) => Some(account),
            Self::System | Self::CommandLine => None,
        }
    }

    /// `admin`, `user`, `system` or `command_line`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin(_) => "admin",
            Self::User(_) => "user",
            Self::System => "system",
            Self::CommandLine => "command_line",
        }
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        /// What was done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum AuditAction {
            $($(#[$doc])* $name,)*
        }

        impl AuditAction {
            /// Every action.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name in the database and the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

actions! {
    /// A host suffix, an address or a port was put on the platform's list.
    EntryAdded "policy_entry_added",
    /// It was taken off.
    EntryRemoved "policy_entry_removed",
    /// A category of the list was switched on or off.
    CategorySwitched "policy_category_switched",
    /// The limits per customer and device were set, or left to the file again.
    LimitsSet "policy_limits_set",
    /// The policy's file changed and was read anew.
    FileReloaded "policy_file_reloaded",
    /// Something was opened for a customer.
    GrantGiven "grant_given",
    /// It was closed again before its date.
    GrantRevoked "grant_revoked",
    /// An account was suspended.
    AccountSuspended "account_suspended",
    /// An account may go on.
    AccountReinstated "account_reinstated",
    /// An account was deleted by its owner.
    AccountDeleted "account_deleted",
    /// A customer got full limits, or those of new ones again.
    StandingSet "standing_set",
    /// A customer's bytes or their value were corrected by hand.
    BalanceAdjusted "balance_adjusted",
    /// A customer got money back.
    Refunded "refunded",
    /// A customer's bank took a payment back, asked about it, or gave it back.
    PaymentDisputed "payment_disputed",
    /// A customer was let off what it owes for a disputed payment.
    DebtForgiven "debt_forgiven",
    /// Something that was given up is tried again at the payment provider.
    ErrandRetried "errand_retried",
    /// A subscription that an account does not get is ended and paid back.
    SubscriptionRefused "subscription_refused",
    /// A partner was paid.
    PartnerPaid "partner_paid",
    /// A partner was made.
    PartnerCreated "partner_created",
    /// A partner's name, address, share or standing changed.
    PartnerChanged "partner_changed",
    /// A partner got another key.
    PartnerKeyReplaced "partner_key_replaced",
    /// A partner was deleted.
    PartnerDeleted "partner_deleted",
    /// A partner's app was handed in.
    AppHandedIn "app_handed_in",
    /// Something else was said of it.
    AppChanged "app_changed",
    /// It was removed.
    AppRemoved "app_removed",
    /// An admin decided about a partner's app.
    AppReviewed "app_reviewed",
    /// An account may act for a partner.
    PartnerUserLinked "partner_user_linked",
    /// It no longer may.
    PartnerUserUnlinked "partner_user_unlinked",
    /// A device's owner withdrew its consent from afar.
    DeviceWithdrawn "device_withdrawn",
    /// A device's owner had it erased.
    DeviceErased "device_erased",
    /// An owner's credits wait for a review.
    CreditsHeld "credits_held",
    /// They were let go.
    CreditsReleased "credits_released",
    /// Somebody looked up who used an exit's address.
    ExitLookedUp "exit_looked_up",
    /// A customer's ticket was answered.
    TicketAnswered "ticket_answered",
    /// A customer's ticket was closed.
    TicketClosed "ticket_closed",
    /// An admin made an account.
    UserCreated "user_created",
    /// An account was deleted by an admin.
    UserDeleted "user_deleted",
    /// An account got another role.
    UserRoleChanged "user_role_changed",
    /// An account was moved to another plan.
    UserPlanChanged "user_plan_changed",
    /// A plan was made.
    PlanCreated "plan_created",
    /// A plan was changed.
    PlanChanged "plan_changed",
    /// A device is kept out.
    NodeBanned "node_banned",
    /// It may come back.
    NodeUnbanned "node_unbanned",
    /// A device was taken out of service for a moment.
    NodeDrained "node_drained",
    /// The platform's settings were changed.
    SettingsChanged "settings_changed",
    /// An operator let in somebody who was locked out.
    AccountUnlocked "account_unlocked",
    /// Planned work was announced.
    MaintenanceAnnounced "maintenance_announced",
    /// An admin looked on as a customer.
    ImpersonationStarted "impersonation_started",
}

impl fmt::Display for AuditAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No action has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no action has this name")]
pub struct UnknownAction;

impl FromStr for AuditAction {
    type Err = UnknownAction;

    fn from_str(name: &str) -> Result<Self, UnknownAction> {
        let named = Self::ALL.iter().copied().find(|action| action.as_str() == name);
        named.ok_or(UnknownAction)
    }
}

/// Which audit records, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Older than this one: the last of the page before.
    pub before: Option<AuditId>,
    /// About this customer.
    pub account: Option<AccountId>,
    /// Of this kind.
    pub action: Option<AuditAction>,
    /// By this admin.
    pub actor: Option<AccountId>,
    /// About exactly this.
    pub subject: Option<String>,
    /// Made at or after this.
    pub from: Option<Timestamp>,
    /// Made before this.
    pub to: Option<Timestamp>,
    /// At most so many.
    pub limit: u32,
}
