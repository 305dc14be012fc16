// Generated from docs/openapi.json by `cargo xtask api`: not to be edited.

//! `auth`: operations of the API, with what they send and answer.

use std::collections::BTreeMap;

use http::Method;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;
use crate::management::Api;
use crate::values::{Change, Secret, Timestamp};

/// Operations of this part of the API: [`Api::auth`].
#[derive(Clone, Copy, Debug)]
pub struct Auth<'a>(pub(super) &'a Api);

impl Auth<'_> {
    /// Deletes the account, for good and at once. Its keys, connections and logins end, what is personal in it is erased, and what it
    /// had left is lost. Transactions and usage stay under an id that says nothing.
    ///
    /// `DELETE /api/auth/account`.
    pub async fn delete_account(&self, body: &FarewellBody) -> Result<(), Error> {
        self.0
            .call(Method::DELETE, "/api/auth/account")
            .json(body)
            .answer()
            .await?;
        Ok(())
    }

    /// Everything that we hold of the account's owner, in one stream. Secrets are not in it. An answer that breaks off is not whole.
    /// The single requests are in `/api/usage/requests/export`.
    ///
    /// `GET /api/auth/export`.
    pub async fn export(&self) -> Result<PersonalDataAnswer, Error> {
        self.0
            .call(Method::GET, "/api/auth/export")
            .answer()
            .await?
            .json()
    }

    /// Mails a link to set a new password, if the address has an account. The answer does not say whether it has.
    ///
    /// `POST /api/auth/forgot-password`.
    pub async fn forgot_password(&self, body: &ForgotBody) -> Result<Message, Error> {
        self.0
            .call(Method::POST, "/api/auth/forgot-password")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// Signs in: the token for programs, the cookie for browsers. Where two-factor authentication is on, the answer is 202 with a
    /// challenge for the second step.
    ///
    /// `POST /api/auth/login`.
    pub async fn login(&self, body: &LoginBody) -> Result<LoginOutcome, Error> {
        let answer = self
            .0
            .call(Method::POST, "/api/auth/login")
            .json(body)
            .answer()
            .await?;
        match answer.status() {
            202 => Ok(LoginOutcome::Challenge(answer.json()?)),
            _ => Ok(LoginOutcome::Login(answer.json()?)),
        }
    }

    /// Completes a sign-in with a code, which is used up. A recovery code counts once, and its use is told by mail.
    ///
    /// `POST /api/auth/login/two-factor`.
    pub async fn login_with_code(&self, body: &SecondFactorBody) -> Result<LoginAnswer, Error> {
        self.0
            .call(Method::POST, "/api/auth/login/two-factor")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// Ends this login at once, before its time.
    ///
    /// `POST /api/auth/logout`.
    pub async fn logout(&self) -> Result<(), Error> {
        self.0.call(Method::POST, "/api/auth/logout").answer().await?;
        Ok(())
    }

    /// What the account wants to be told.
    ///
    /// `GET /api/auth/notifications`.
    pub async fn get_notifications(&self) -> Result<NotificationsAnswer, Error> {
        self.0
            .call(Method::GET, "/api/auth/notifications")
            .answer()
            .await?
            .json()
    }

    /// Changes what the account wants to be told.
    ///
    /// `PUT /api/auth/notifications`.
    pub async fn set_notifications(&self, body: &NotificationsBody) -> Result<NotificationsAnswer, Error> {
        self.0
            .call(Method::PUT, "/api/auth/notifications")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// Sets a new password. Ends every login of the account, this one included, and answers with a fresh one.
    ///
    /// `PUT /api/auth/password`.
    pub async fn change_password(&self, body: &PasswordBody) -> Result<LoginAnswer, Error> {
        self.0
            .call(Method::PUT, "/api/auth/password")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// The account that asks, with its plan and balance.
    ///
    /// `GET /api/auth/profile`.
    pub async fn profile(&self) -> Result<ProfileAnswer, Error> {
        self.0
            .call(Method::GET, "/api/auth/profile")
            .answer()
            .await?
            .json()
    }

    /// Changes names, company, phone and time zone.
    ///
    /// `PATCH /api/auth/profile`.
    pub async fn change_profile(&self, body: &ProfileBody) -> Result<UserAnswer, Error> {
        self.0
            .call(Method::PATCH, "/api/auth/profile")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// Makes an account on the Starter plan with 5 GB free, mails the link that verifies its address, and signs it in.
    ///
    /// The proxy opens once the address is verified.
    ///
    /// `POST /api/auth/register`.
    pub async fn register(&self, body: &RegisterBody) -> Result<LoginAnswer, Error> {
        self.0
            .call(Method::POST, "/api/auth/register")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// Mails the link that verifies the address once more. Earlier links stop working when the mail leaves.
    ///
    /// `POST /api/auth/resend-verification`.
    pub async fn resend_verification(&self) -> Result<Message, Error> {
        self.0
            .call(Method::POST, "/api/auth/resend-verification")
            .answer()
            .await?
            .json()
    }

    /// Sets a new password with the token of a reset mail, which is used up. Ends every login of the account.
    ///
    /// As JSON for programs; as a form, from the page above, the answer is a page as well.
    ///
    /// `POST /api/auth/reset-password`.
    pub async fn reset_password(&self, body: &ResetBody) -> Result<Message, Error> {
        self.0
            .call(Method::POST, "/api/auth/reset-password")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// How the account is kept safe.
    ///
    /// `GET /api/auth/security`.
    pub async fn security(&self) -> Result<SecurityAnswer, Error> {
        self.0
            .call(Method::GET, "/api/auth/security")
            .answer()
            .await?
            .json()
    }

    /// Sets the session timeout and the networks to sign in from; in force with the next request.
    ///
    /// `PATCH /api/auth/security`.
    pub async fn change_security(&self, body: &SecurityBody) -> Result<SecurityAnswer, Error> {
        self.0
            .call(Method::PATCH, "/api/auth/security")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// Ends every login of the account but this one.
    ///
    /// `DELETE /api/auth/sessions`.
    pub async fn end_other_logins(&self) -> Result<EndedAnswer, Error> {
        self.0
            .call(Method::DELETE, "/api/auth/sessions")
            .answer()
            .await?
            .json()
    }

    /// Where the account is signed in.
    ///
    /// `GET /api/auth/sessions`.
    pub async fn list_logins(&self) -> Result<LoginList, Error> {
        self.0
            .call(Method::GET, "/api/auth/sessions")
            .answer()
            .await?
            .json()
    }

    /// Ends one login; its token is refused from now on.
    ///
    /// `DELETE /api/auth/sessions/{sessionId}`.
    pub async fn end_login(&self, session_id: Uuid) -> Result<(), Error> {
        self.0
            .call(Method::DELETE, &format!("/api/auth/sessions/{session_id}"))
            .answer()
            .await?;
        Ok(())
    }

    /// Turns two-factor authentication on by the first code. The account's other logins end.
    ///
    /// `POST /api/auth/two-factor/confirm`.
    pub async fn confirm(&self, body: &ConfirmBody) -> Result<RecoveryCodesAnswer, Error> {
        self.0
            .call(Method::POST, "/api/auth/two-factor/confirm")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// Turns two-factor authentication off and forgets its secret and codes.
    ///
    /// `POST /api/auth/two-factor/disable`.
    pub async fn disable(&self, body: &ProofBody) -> Result<(), Error> {
        self.0
            .call(Method::POST, "/api/auth/two-factor/disable")
            .json(body)
            .answer()
            .await?;
        Ok(())
    }

    /// Makes new recovery codes; all earlier ones stop working.
    ///
    /// `POST /api/auth/two-factor/recovery-codes`.
    pub async fn recovery_codes(&self, body: &ProofBody) -> Result<RecoveryCodesAnswer, Error> {
        self.0
            .call(Method::POST, "/api/auth/two-factor/recovery-codes")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// Makes a secret for an authenticator (TOTP: SHA-1, 6 digits, 30 seconds). Nothing changes until it is confirmed.
    ///
    /// `POST /api/auth/two-factor/setup`.
    pub async fn set_up(&self, body: &SetUpBody) -> Result<SetUpAnswer, Error> {
        self.0
            .call(Method::POST, "/api/auth/two-factor/setup")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// Verifies the address with the token of the mail, which is used up. The proxy opens.
    ///
    /// As JSON for programs; as a form, from the page above, the answer is a page as well.
    ///
    /// `POST /api/auth/verify-email`.
    pub async fn verify_email(&self, body: &VerifyBody) -> Result<VerifyAnswer, Error> {
        self.0
            .call(Method::POST, "/api/auth/verify-email")
            .json(body)
            .answer()
            .await?
            .json()
    }

    /// Whether the token of a reset mail is still good. Does not use it up.
    ///
    /// `GET /api/auth/verify-reset-token`.
    pub async fn verify_reset_token(&self, query: &VerifyResetTokenQuery) -> Result<TokenAnswer, Error> {
        self.0
            .call(Method::GET, "/api/auth/verify-reset-token")
            .query(query)
            .answer()
            .await?
            .json()
    }
}

/// What `login` answers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum LoginOutcome {
    /// Status 200.
    Login(Box<LoginAnswer>),
    /// Status 202.
    Challenge(Box<ChallengeAnswer>),
}

/// The query of `verify_reset_token`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyResetTokenQuery {
    /// As in the link of the mail.
    pub token: Secret,
}

/// What an account has left, about a second behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BalanceInfo {
    /// Bytes left, exactly.
    pub balance_bytes: i64,
    /// 10^9 bytes left.
    pub gb_balance: f64,
    /// 10^9 bytes used in all.
    pub gb_used: f64,
    /// Bytes used in all, exactly.
    pub used_bytes: i64,
}

/// The password was right; a code is awaited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ChallengeAnswer {
    /// To be sent to `/api/auth/login/two-factor` with a code.
    pub challenge: Secret,
    /// The challenge is not good from then on.
    pub expires_at: Timestamp,
    /// Always true.
    pub two_factor_required: bool,
}

/// The first code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfirmBody {
    /// What the authenticator shows.
    pub code: Secret,
}

/// How many logins ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EndedAnswer {
    /// `ended`.
    pub ended: u64,
}

/// What leaving takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FarewellBody {
    /// A code of the authenticator, or a recovery code, where two-factor authentication is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Secret>,
    /// The account's mail address, typed once more.
    pub confirm_email: String,
    /// The account's password.
    pub password: Secret,
}

/// Who forgot a password.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ForgotBody {
    /// Login address.
    pub email: String,
}

/// What an account is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// `customer`.
    #[serde(rename = "customer")]
    Customer,
    /// `owner`.
    #[serde(rename = "owner")]
    Owner,
    /// A word that this version of the library does not know.
    #[serde(untagged)]
    Other(String),
}

/// A fresh login. Browsers get it as a cookie as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LoginAnswer {
    /// For the header `X-CSRF-Token` of requests by cookie that change something.
    pub csrf_token: Secret,
    /// When the login ends by itself.
    pub expires_at: Timestamp,
    /// For `Authorization: Bearer`. Shown this once.
    pub token: Secret,
    /// Who signed in.
    pub user: User,
}

/// Who signs in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoginBody {
    /// Login address.
    pub email: String,
    /// The password.
    pub password: Secret,
}

/// A login that lives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LoginInfo {
    /// `createdAt`.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// `id`.
    pub id: Uuid,
    /// The client's address when it signed in.
    pub ip_address: String,
    /// The one of this request.
    pub is_current: bool,
    /// When it last asked for something, to the minute.
    pub last_seen_at: Timestamp,
    /// What its program calls itself, shortened; empty if it does not.
    pub user_agent: String,
}

/// The account's logins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LoginList {
    /// The one seen last first; at most 100.
    pub sessions: Vec<LoginInfo>,
}

/// A sentence for the customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// `message`.
    pub message: String,
}

/// What a customer wants to be told. Mails that were asked for, or that a payment or a broken webhook depends on, are sent in
/// any case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct NotificationsAnswer {
    /// Below which balance the event `balance.low` happens, in bytes.
    pub balance_low_bytes: i64,
    /// Receipts. A failed payment is mailed in any case.
    pub billing_alerts: bool,
    /// Mails about usage at all.
    pub email_alerts: bool,
    /// Planned work on the platform.
    pub maintenance_alerts: bool,
    /// The last month in figures, on the first.
    pub monthly_reports: bool,
    /// Keys that reach their rate, once an hour.
    pub rate_limit_alerts: bool,
    /// Sign-ins from new networks; changes of the password, the second factor and the networks that may sign in; new keys. That
    /// they are switched off is itself mailed.
    pub security_alerts: bool,
    /// Mails when 80 % of the last top-up are used, and when all is.
    pub usage_alerts: bool,
    /// When the event `usage.threshold` happens, in per cent of the last top-up.
    pub usage_threshold_percent: u32,
    /// The last week in figures, each Monday.
    pub weekly_reports: bool,
}

/// Changes: what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationsBody {
    /// `balanceLowBytes`.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub balance_low_bytes: Change<u64>,
    /// `billingAlerts`.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub billing_alerts: Change<bool>,
    /// `emailAlerts`.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub email_alerts: Change<bool>,
    /// `maintenanceAlerts`.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub maintenance_alerts: Change<bool>,
    /// `monthlyReports`.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub monthly_reports: Change<bool>,
    /// `rateLimitAlerts`.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub rate_limit_alerts: Change<bool>,
    /// `securityAlerts`.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub security_alerts: Change<bool>,
    /// `usageAlerts`.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub usage_alerts: Change<bool>,
    /// `usageThresholdPercent`.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub usage_threshold_percent: Change<u32>,
    /// `weeklyReports`.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub weekly_reports: Change<bool>,
}

/// The old and the new password.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PasswordBody {
    /// The password so far.
    pub current_password: Secret,
    /// At least 8 characters, at most 512 bytes, and none of the most common ones.
    pub new_password: Secret,
}

/// Everything that we hold of the account's owner. Each further field is a list of one kind: `apiKeys`, `logins`,
/// `loginNetworks`, `security`, `transactions`, `usage`, and what other parts of the server keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PersonalDataAnswer {
    /// `exportedAt`.
    pub exported_at: Timestamp,
    /// `profile`.
    pub profile: serde_json::Value,
    /// Every further field.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Vec<serde_json::Value>>,
}

/// A plan's limits and prices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PlanInfo {
    /// Network targeting.
    pub asn_targeting: bool,
    /// Region, city and postal code targeting.
    pub city_targeting: bool,
    /// `description`.
    pub description: String,
    /// `features`.
    pub features: Vec<String>,
    /// `id`.
    pub id: Uuid,
    /// 10^9 bytes a month in the price; none: pay as you go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub included_gb: Option<f64>,
    /// `maxConcurrentConnections`.
    pub max_concurrent_connections: u32,
    /// `name`.
    pub name: String,
    /// Cents a year.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_annual: Option<i64>,
    /// Cents a month.
    pub price_monthly: i64,
    /// Dollars for 10^9 bytes, as a decimal.
    pub price_per_gb: String,
    /// `requestsPerDay`.
    pub requests_per_day: i64,
    /// Sticky sessions.
    pub sticky_sessions: bool,
}

/// An account with its plan and what it has left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ProfileAnswer {
    /// What an account has left, about a second behind.
    pub balance: BalanceInfo,
    /// For the header `X-CSRF-Token` of this login's requests by cookie.
    pub csrf_token: Secret,
    /// The admin who looks on by this login; it reads only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impersonated_by: Option<Uuid>,
    /// A plan's limits and prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanInfo>,
    /// An account.
    pub user: User,
}

/// Changes of a profile: what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileBody {
    /// Company; null or empty: none.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub company: Change<String>,
    /// Given name.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub first_name: Change<String>,
    /// Family name.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub last_name: Change<String>,
    /// An international phone number; null or empty: none.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub phone: Change<String>,
    /// A name of the IANA time zone database.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub time_zone: Change<String>,
}

/// Password and code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProofBody {
    /// A code of the authenticator, or a recovery code.
    pub code: Secret,
    /// The account's password.
    pub password: Secret,
}

/// Codes for the day when the authenticator is lost. Each counts once. Shown this once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RecoveryCodesAnswer {
    /// Ten of them.
    pub recovery_codes: Vec<Secret>,
}

/// A new account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterBody {
    /// Company.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company: Option<String>,
    /// Login address.
    pub email: String,
    /// Given name.
    pub first_name: String,
    /// `customer`, or `owner`: shares devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Family name.
    pub last_name: String,
    /// At least 8 characters, at most 512 bytes, and none of the most common ones.
    pub password: Secret,
}

/// A new password for whoever got the mail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResetBody {
    /// At least 8 characters, at most 512 bytes, and none of the most common ones.
    pub password: Secret,
    /// As in the link of the mail.
    pub token: Secret,
}

/// What an account may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoleName {
    /// `customer`.
    #[serde(rename = "customer")]
    Customer,
    /// `admin`.
    #[serde(rename = "admin")]
    Admin,
    /// `partner`.
    #[serde(rename = "partner")]
    Partner,
    /// `owner`.
    #[serde(rename = "owner")]
    Owner,
    /// A word that this version of the library does not know.
    #[serde(untagged)]
    Other(String),
}

/// The second step of signing in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SecondFactorBody {
    /// As the first step answered it.
    pub challenge: Secret,
    /// A code of the authenticator, or a recovery code.
    pub code: Secret,
}

/// How the account is kept safe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SecurityAnswer {
    /// Addresses and CIDRs from which alone to sign in and use the API; empty: any.
    pub ip_allow_list: Vec<String>,
    /// Recovery codes that were not used; null without a second factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_codes_left: Option<u32>,
    /// A login without a request for so many minutes ends, up to 75 seconds later; null: it lasts its day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_timeout_minutes: Option<u32>,
    /// A code is asked for besides the password.
    pub two_factor_enabled: bool,
}

/// Changes of the settings: what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityBody {
    /// Addresses and CIDRs, the caller's own among them; empty: any.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub ip_allow_list: Change<Vec<String>>,
    /// 15, 30 or 60; null: no limit but the day.
    #[serde(default, skip_serializing_if = "Change::is_kept")]
    pub session_timeout_minutes: Change<i64>,
}

/// A second factor that waits for its first code. Shown this once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SetUpAnswer {
    /// The same for authenticators.
    pub otpauth_url: Secret,
    /// That as a QR code: an SVG document.
    pub qr_svg: Secret,
    /// In base32, for typing.
    pub secret: Secret,
}

/// The account's password.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SetUpBody {
    /// `password`.
    pub password: Secret,
}

/// Whether an account may sign in and use the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatusName {
    /// `active`.
    #[serde(rename = "active")]
    Active,
    /// `suspended`.
    #[serde(rename = "suspended")]
    Suspended,
    /// `deleted`.
    #[serde(rename = "deleted")]
    Deleted,
    /// A word that this version of the library does not know.
    #[serde(untagged)]
    Other(String),
}

/// Whether a token is good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TokenAnswer {
    /// Always true: a token that is not good is a 400.
    pub valid: bool,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct User {
    /// Company.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company: Option<String>,
    /// When it registered.
    pub created_at: Timestamp,
    /// Login address.
    pub email: String,
    /// The proxy opens once this is true.
    pub email_verified: bool,
    /// Given name.
    pub first_name: String,
    /// Its id, also the `USER` of a proxy login.
    pub id: Uuid,
    /// When it last signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_login_at: Option<Timestamp>,
    /// Family name.
    pub last_name: String,
    /// Phone number: `+` and its digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// What it may see.
    pub role: RoleName,
    /// Whether it may use the proxy.
    pub status: StatusName,
    /// Where its days and months begin: a name of the IANA time zone database.
    pub time_zone: String,
    /// When something of it last changed; signing in does not count.
    pub updated_at: Timestamp,
}

/// The account as it is after a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UserAnswer {
    /// An account.
    pub user: User,
}

/// The address is verified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct VerifyAnswer {
    /// Always true.
    pub email_verified: bool,
    /// `message`.
    pub message: String,
}

/// The token of a verification mail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VerifyBody {
    /// As in the link of the mail.
    pub token: Secret,
}
