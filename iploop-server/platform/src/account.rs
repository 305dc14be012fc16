//! Accounts: who may sign in, and who pays.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{AccountId, PlanId};

/// A customer's or admin's account: a row of `users` without its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Login address, unique without regard to case.
    pub email: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Company, if the customer named one.
    pub company: Option<String>,
    /// Phone number, if given.
    pub phone: Option<String>,
    /// Where its days and months begin: a name of the IANA time zone database.
    pub time_zone: String,
    /// Whether it may sign in and use the proxy.
    pub status: AccountStatus,
    /// Why it has this status, where an admin or the server said so.
    pub status_reason: Option<String>,
    /// How much it may do on one device.
    pub standing: Standing,
    /// What it may see.
    pub role: Role,
    /// The proxy opens once this is true.
    pub email_verified: bool,
    /// When it registered.
    pub created_at: Timestamp,
    /// When something of it last changed: profile, sign-in settings, status, rights, password. Signing in does not count.
    pub updated_at: Timestamp,
    /// When it last signed in.
    pub last_login_at: Option<Timestamp>,
}

impl Account {
    /// Its owner or an admin deleted it: it stays as it is.
    pub fn is_deleted(&self) -> bool {
        self.status == AccountStatus::Deleted
    }
}

/// Whether an account may sign in and use the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatus {
    /// It may.
    Active,
    /// An admin stopped it.
    Suspended,
    /// Its owner or an admin deleted it.
    Deleted,
}

/// How far a customer is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Lower limits, until an admin raises them.
    #[default]
    New,
    /// Full limits.
    Established,
}

/// What an account may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Its own data.
    Customer,
    /// The whole platform.
    Admin,
    /// Its own data, and that of the partner it belongs to.
    Partner,
    /// Its own data, and that of the devices it owns.
    Owner,
}

/// A new account as one act: the user, its plan and the one-time bonus.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Its id.
    pub id: AccountId,
    /// Login address as the customer wrote it, trimmed.
    pub email: String,
    /// argon2id in PHC string form.
    pub password_hash: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Company.
    pub company: Option<String>,
    /// What it may see.
    pub role: Role,
    /// True only for accounts made on the server's own command line.
    pub email_verified: bool,
    /// How far it is trusted from the start.
    pub standing: Standing,
    /// The plan it starts on.
    pub plan: PlanId,
    /// Free bytes, booked as a `bonus` transaction.
    pub bonus_bytes: i64,
    /// When.
    pub now: Timestamp,
}

/// What a token sent by mail is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailTokenPurpose {
    /// Proves that the address is the account's.
    VerifyEmail,
    /// Allows a new password.
    ResetPassword,
}
