//! Accounts: registering, proving the address, passwords, and what an account has.

mod common;
pub(crate) mod email;
mod erasure;
mod export;
mod operator;
pub mod password;
mod profile;
mod public_url;
mod security;
mod sign_in;
mod store;
mod two_factor;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::account::{Account, MailTokenPurpose, NewAccount, Role, Standing};
use crate::clock::{Clock, Timestamp};
use crate::field::{self, FieldProblem, keep, line};
use crate::ids::AccountId;
use crate::keys::KeyChanges;
use crate::login::throttle::{Allowance, client_network};
use crate::login::{LoginError, Logins};
use crate::notices::{Notice, NoticeService};
use crate::plan::Plan;
use crate::secret::{Secret, token_hash};
use crate::shared::SharedThrottle;
use crate::store::{Store, StoreError};
use crate::usage::Balance;
pub use email::EmailAddress;
pub use erasure::Farewell;
pub use export::{Export, Page, PersonalData};
pub use operator::{AccountOverview, Unlock, Unlocked, overview, unlock_from_command_line};
use password::{NewPassword, PasswordError, Passwords};
pub use profile::WantedProfile;
pub use public_url::{PublicUrl, PublicUrlError};
pub use security::{MAX_ALLOWED_FROM, Security, WantedSecurity};
pub use store::{Erased, Identity, ProfileChange, Profiles};
pub use two_factor::{NewTwoFactor, PasswordAndCode};

/// The `[accounts]` section: registration and mails to customers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccountsConfig {
    /// Where customers reach the API, for the links in mails and the cookie's `Secure`; default: `http://` and the API's
    /// listener, which suits one machine only.
    #[schemars(with = "Option<String>", example = &"https://iploop.example.com")]
    pub public_url: Option<PublicUrl>,
    /// New accounts an hour from one client network (an IPv4 address, an IPv6 /64).
    pub registrations_per_hour: u32,
    /// Mails an hour that one address may be sent on somebody's request.
    pub mails_per_hour: u32,
    /// What hashing a password costs.
    pub password: password::PasswordConfig,
}

impl Default for AccountsConfig {
    fn default() -> Self {
        Self {
            public_url: None,
            registrations_per_hour: 60,
            mails_per_hour: 6,
            password: password::PasswordConfig::default(),
        }
    }
}

impl AccountsConfig {
    /// What is wrong with the section, each with its key; empty if nothing is.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = self.password.mistakes();
        for (key, number) in [
            ("registrations_per_hour", self.registrations_per_hour),
            ("mails_per_hour", self.mails_per_hour),
        ] {
            if number == 0 {
                mistakes.push(format!("accounts.{key}: must be at least 1"));
            }
        }
        mistakes
    }
}

/// What the account service is made of.
pub struct AccountParts {
    /// The data.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The password hasher, shared with the logins.
    pub passwords: Passwords,
    /// Shares its limits on password tries.
    pub logins: Logins,
    /// Where mails go.
    pub notices: NoticeService,
    /// Hears when an account may use the proxy.
    pub changes: Arc<dyn KeyChanges>,
    /// Base of the links in mails.
    pub public_url: PublicUrl,
    /// What other areas hold of a person, for the export.
    pub personal_data: Vec<Arc<dyn PersonalData>>,
}

/// The rules around accounts. Clones share one state.
#[derive(Clone)]
pub struct AccountService(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    passwords: Passwords,
    logins: Logins,
    notices: NoticeService,
    changes: Arc<dyn KeyChanges>,
    public_url: PublicUrl,
    personal_data: Vec<Arc<dyn PersonalData>>,
    registrations: SharedThrottle,
    mails_by_client: SharedThrottle,
    mails_by_address: SharedThrottle,
}

/// The registration form, as it came.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Login address.
    pub email: String,
    /// At least eight characters.
    pub password: Secret,
    /// Given name, at least two characters.
    pub first_name: String,
    /// Family name, at least two characters.
    pub last_name: String,
    /// Company, optional.
    pub company: Option<String>,
    /// It shares devices: its role is `owner`, else `customer`.
    pub is_owner: bool,
}

/// An account with what it has.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The account.
    pub account: Account,
    /// Its plan.
    pub plan: Option<Plan>,
    /// What it has left, as far as usage is booked: about a second behind.
    pub balance: Balance,
}

/// Why an account could not be made or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// Fields can't be accepted.
    #[error("{}", field::listed(.0))]
    Invalid(Vec<FieldProblem>),
    /// Strangers may not register at the moment.
    #[error("registrations are closed")]
    RegistrationsClosed,
    /// The address has an account.
    #[error("the address has an account already")]
    EmailTaken,
    /// The token from a mail is unknown, used or expired.
    #[error("the token is not good")]
    TokenInvalid,
    /// The address is verified already.
    #[error("the address is verified already")]
    AlreadyVerified,
    /// A second factor is on already.
    #[error("two-factor authentication is on already")]
    TwoFactorOn,
    /// No second factor is on, or none was set up.
    #[error("two-factor authentication is off")]
    TwoFactorOff,
    /// Nobody else could administer the platform.
    #[error("the last admin can't go")]
    LastAdmin,
    /// Too many tries.
    #[error("too many tries")]
    Throttled {
        /// When the next one is heard.
        retry_after: Duration,
    },
    /// Too much to do: try again.
    #[error("overloaded")]
    Overloaded,
    /// The data can't be read or written.
    #[error(transparent)]
    Store(StoreError),
    /// For the log.
    #[error("{0}")]
    Internal(String),
}

impl AccountService {
    /// With limits on what strangers can set off.
    pub fn new(parts: AccountParts, config: &AccountsConfig) -> Self {
        let mails = Allowance::per_hour(config.mails_per_hour);
        let ten_times = Allowance {
            burst: mails.burst * 10,
            refill: mails.refill / 10,
        };
        let throttle = |space, allowance| SharedThrottle::new(space, allowance, parts.logins.shared());
        Self(Arc::new(Inner {
            registrations: throttle(
                "registration-client",
                Allowance::per_hour(config.registrations_per_hour),
            ),
            mails_by_client: throttle("mail-client", ten_times),
            mails_by_address: throttle("mail-address", mails),
            store: parts.store,
            clock: parts.clock,
            passwords: parts.passwords,
            logins: parts.logins,
            notices: parts.notices,
            changes: parts.changes,
            public_url: parts.public_url,
            personal_data: parts.personal_data,
        }))
    }

    /// Where customers reach us.
    pub fn public_url(&self) -> &PublicUrl {
        &self.0.public_url
    }

    /// Makes an account on the first plan with its free bytes, and mails the link that verifies its address.
    pub async fn register(&self, form: Registration, client: IpAddr) -> Result<Account, AccountError> {
        let inner = &*self.0;
        let settings = inner.store.settings().await?.settings;
        if !settings.registrations_open {
            return Err(AccountError::RegistrationsClosed);
        }
        let mut problems = Vec::new();
        let email = keep(form.email.parse::<EmailAddress>(), &mut problems);
        let password = keep(NewPassword::parse("password", form.password), &mut problems);
        let first_name = keep(
            line("firstName", "First name", &form.first_name, 2, 100),
            &mut problems,
        );
        let last_name = keep(
            line("lastName", "Last name", &form.last_name, 2, 100),
            &mut problems,
        );
        let company = keep(
            line(
                "company",
                "Company",
                form.company.as_deref().unwrap_or_default(),
                0,
                255,
            ),
            &mut problems,
        );
        let (Some(email), Some(password), Some(first_name), Some(last_name), Some(company)) =
            (email, password, first_name, last_name, company)
        else {
            return Err(AccountError::Invalid(problems));
        };
        let now = inner.clock.now();
        inner
            .registrations
            .take(&client_network(client).to_string(), now)
            .await
            .map_err(throttled)?;
        // Before the hash, which is what costs.
        if inner.store.account_by_email(email.as_str()).await?.is_some() {
            return Err(AccountError::EmailTaken);
        }
        let account = inner
            .store
            .register_account(NewAccount {
                id: AccountId::new(),
                email: email.to_string(),
                password_hash: inner.passwords.hash(password).await?,
                first_name,
                last_name,
                company: Some(company).filter(|company| !company.is_empty()),
                role: if form.is_owner {
                    Role::Owner
                } else {
                    Role::Customer
                },
                email_verified: false,
                standing: settings.new_standing,
                plan: settings.first_plan,
                bonus_bytes: settings.bonus_bytes,
                now,
            })
            .await?;
        inner.notices.wake();
        Ok(account)
    }

    /// Uses up the token of a verification mail: the address is its account's, and the proxy opens.
    pub async fn verify_email(&self, token: &str) -> Result<AccountId, AccountError> {
        let inner = &*self.0;
        let account = inner
            .store
            .verify_email(&token_hash(token), inner.clock.now())
            .await?
            .ok_or(AccountError::TokenInvalid)?;
        inner.changes.account_changed(account);
        Ok(account)
    }

    /// Whether the token of a mail is good, without using it up.
    pub async fn check_mail_token(&self, purpose: MailTokenPurpose, token: &str) -> Result<(), AccountError> {
        let inner = &*self.0;
        let account = inner
            .store
            .mail_token(purpose, &token_hash(token), inner.clock.now())
            .await?;
        account.map(|_| ()).ok_or(AccountError::TokenInvalid)
    }

    /// Mails the link that verifies the address once more; earlier links stop working.
    pub async fn resend_verification(&self, account: &Account) -> Result<(), AccountError> {
        if account.email_verified {
            return Err(AccountError::AlreadyVerified);
        }
        self.0
            .mails_by_address
            .take(&account.email.to_ascii_lowercase(), self.0.clock.now())
            .await
            .map_err(throttled)?;
        self.0
            .notices
            .queue(account.id, Notice::Verification, Value::Null)
            .await?;
        Ok(())
    }

    /// The account with its plan and balance.
    pub async fn profile(&self, account: Account) -> Result<Profile, AccountError> {
        let store = &*self.0.store;
        let (plan, balance) = tokio::try_join!(store.plan_of(account.id), store.balance(account.id))?;
        Ok(Profile {
            account,
            plan,
            balance,
        })
    }

    /// Sets a new password for whoever knows the current one. Ends the account's logins everywhere.
    pub async fn change_password(
        &self,
        account: &Account,
        current: Secret,
        new: Secret,
        client: IpAddr,
    ) -> Result<(), AccountError> {
        let inner = &*self.0;
        let new =
            NewPassword::parse("newPassword", new).map_err(|problem| AccountError::Invalid(vec![problem]))?;
        let known = self
            .check_password("currentPassword", account, current, client)
            .await?;
        let hash = inner.passwords.hash(new).await?;
        let now = inner.clock.now();
        // Somebody else may have changed it meanwhile: then the current one is wrong.
        if !inner.store.set_password(account.id, &known, &hash, now).await? {
            return Err(wrong_password("currentPassword"));
        }
        inner.notices.wake();
        Ok(())
    }

    /// Whether it is the account's own password, counted as tries of signing in are; its hash. The problem names `field`.
    async fn check_password(
        &self,
        field: &'static str,
        account: &Account,
        password: Secret,
        client: IpAddr,
    ) -> Result<String, AccountError> {
        let inner = &*self.0;
        let name = account.email.to_ascii_lowercase();
        let tried = inner.logins.take_tries(&name, client).await?;
        let stored = inner.store.password_hash(account.id).await?;
        if !inner.passwords.matches(password, stored.clone()).await? {
            return Err(wrong_password(field));
        }
        inner.logins.give_tries_back(tried).await;
        stored.ok_or_else(|| wrong_password(field))
    }

    /// Asks for a mail with a link to set a new password.
    ///
    /// The answer is the same, after the same work, whether the address has an account or not: what differs happens later,
    /// in [`NoticeTask`](crate::notices::NoticeTask).
    pub async fn forgot_password(&self, email: &str, client: IpAddr) -> Result<(), AccountError> {
        let inner = &*self.0;
        let email = email
            .parse::<EmailAddress>()
            .map_err(|problem| AccountError::Invalid(vec![problem]))?;
        let now = inner.clock.now();
        inner
            .mails_by_client
            .take(&client_network(client).to_string(), now)
            .await
            .map_err(throttled)?;
        inner
            .mails_by_address
            .take(&email.folded(), now)
            .await
            .map_err(throttled)?;
        match inner.notices.ask_for_password(&email).await? {
            true => Ok(()),
            false => Err(AccountError::Overloaded),
        }
    }

    /// Uses up the token of a reset mail and sets the password. Ends the account's logins everywhere.
    pub async fn reset_password(&self, token: &str, new: Secret) -> Result<(), AccountError> {
        let inner = &*self.0;
        let new =
            NewPassword::parse("password", new).map_err(|problem| AccountError::Invalid(vec![problem]))?;
        // Before the hash, which is what costs; the store decides again, and once only.
        self.check_mail_token(MailTokenPurpose::ResetPassword, token)
            .await?;
        let hash = inner.passwords.hash(new).await?;
        let account = inner
            .store
            .reset_password(&token_hash(token), &hash, inner.clock.now())
            .await?;
        inner.notices.wake();
        account.map(drop).ok_or(AccountError::TokenInvalid)
    }
}

/// An account made on the server's own command line.
#[derive(Clone, Debug)]
pub struct CommandLineAccount {
    /// Login address.
    pub email: String,
    /// None: one is made up and shown.
    pub password: Option<Secret>,
    /// Whether it sees the whole platform.
    pub is_admin: bool,
    /// Whether its address counts as verified.
    pub is_verified: bool,
}

/// An account from the command line, with its password if that was made up: shown this once.
#[derive(Clone, Debug)]
pub struct CreatedAccount {
    /// The account.
    pub account: Account,
    /// 128 random bits in hex.
    pub generated_password: Option<Secret>,
}

/// Makes an account for the operator, with the same plan and free bytes as any other. Sends no mail.
pub async fn create_from_command_line(
    store: &dyn Store,
    clock: &dyn Clock,
    passwords: &Passwords,
    wanted: CommandLineAccount,
) -> Result<CreatedAccount, AccountError> {
    let invalid = |problem| AccountError::Invalid(vec![problem]);
    let email: EmailAddress = wanted.email.parse().map_err(invalid)?;
    let generated_password = wanted.password.is_none().then(|| Secret::random::<16>(""));
    let password = wanted.password.or_else(|| generated_password.clone());
    let password = password.ok_or_else(|| AccountError::Internal("no password".to_owned()))?;
    let password = NewPassword::parse("password", password).map_err(invalid)?;
    let now: Timestamp = clock.now();
    let settings = store.settings().await?.settings;
    let account = store
        .create_account(NewAccount {
            id: AccountId::new(),
            password_hash: passwords.hash(password).await?,
            first_name: email.local().to_owned(),
            last_name: String::new(),
            email: email.to_string(),
            company: None,
            role: if wanted.is_admin {
                Role::Admin
            } else {
                Role::Customer
            },
            email_verified: wanted.is_verified,
            // Whoever verifies an account by hand knows whose it is.
            standing: if wanted.is_verified {
                Standing::Established
            } else {
                Standing::New
            },
            plan: settings.first_plan,
            bonus_bytes: settings.bonus_bytes,
            now,
        })
        .await?;
    Ok(CreatedAccount {
        account,
        generated_password,
    })
}

fn wrong_password(field: &'static str) -> AccountError {
    AccountError::Invalid(vec![FieldProblem::new(field, "Current password is wrong")])
}

fn throttled(retry_after: Duration) -> AccountError {
    AccountError::Throttled { retry_after }
}

impl From<StoreError> for AccountError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { what: "email" } => Self::EmailTaken,
            other => Self::Store(other),
        }
    }
}

impl From<PasswordError> for AccountError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Overloaded => Self::Overloaded,
            PasswordError::Failed(reason) => Self::Internal(reason),
        }
    }
}

impl From<LoginError> for AccountError {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Throttled { retry_after } => Self::Throttled { retry_after },
            LoginError::Overloaded => Self::Overloaded,
            LoginError::Store(error) => Self::from(error),
            LoginError::CodeInvalid => Self::Invalid(vec![FieldProblem::new(
                "code",
                "The code is wrong, or was used already",
            )]),
            LoginError::InvalidCredentials
            | LoginError::NotActive
            | LoginError::AddressNotAllowed
            | LoginError::ChallengeInvalid => Self::TokenInvalid,
            LoginError::Internal(reason) => Self::Internal(reason),
        }
    }
}
