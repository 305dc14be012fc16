//! Signing in and out, and what a signed-in request may claim.
//!
//! A login is a signed token of 24 hours and a row that lives as long. It ends earlier by sign-out, by its owner from
//! elsewhere, when nothing was asked for long, by a new password, and with the account. The browser carries it in a cookie
//! and proves by a second token (against cross-site requests) that its own page asks.

mod impersonation;
mod jwt;
mod origin;
mod revoked;
mod sealed;
mod second_factor;
mod sessions;
mod signing;
mod store;
pub(crate) mod throttle;
mod tries;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::account::{Account, AccountStatus};
use crate::accounts::email::EmailAddress;
use crate::accounts::password::{PasswordError, Passwords};
use crate::clock::{Clock, Timestamp};
use crate::ids::{AccountId, LoginId};
use crate::secret::Secret;
use crate::shared::{SharedState, SharedThrottle};
use crate::store::{Store, StoreError};
pub use impersonation::{IMPERSONATION_LIFETIME, ImpersonationError};
use jwt::{Claims, JwtError};
pub use origin::Origin;
use revoked::Revoked;
pub use second_factor::{Challenge, Proof, RECOVERY_CODES};
use sessions::Seen;
pub use signing::{SigningSecret, SigningSecretError};
pub use store::{
    KnownLogin, LoginNetwork, LoginRecord, LoginSessions, MAX_LOGINS, MAX_NETWORKS, NewLogin, OpenedLogin,
    SecondFactor, SecondFactors, SignInSettings,
};
use throttle::Allowance;
use tries::UnderWay;

/// How long a login lasts.
pub const LOGIN_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How long after a sign-out at another API process this one still accepts the token, at most.
const REFRESH: Duration = Duration::from_secs(15);
/// Expired logins that one refresh forgets.
const FORGOTTEN_AT_ONCE: u32 = 5_000;

/// The `[login]` section: signing in to the API and the pages.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoginConfig {
    /// File of the secret that signs login tokens; default: `login-secret` in the data folder. API processes that serve the
    /// same customers share it.
    #[schemars(example = &"/etc/iploop/login-secret")]
    pub secret_file: Option<PathBuf>,
    /// Tries an hour and client network (an IPv4 address, an IPv6 /64) before it has to wait; right ones do not count.
    pub tries_per_hour: TriesPerHour,
}

/// How many wrong passwords an hour are heard.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TriesPerHour {
    /// From one client network, for all accounts.
    pub client: u32,
    /// For one account, from all networks. More than `account_and_client`, so that one stranger can't lock an owner out.
    pub account: u32,
    /// For one account from one client network.
    pub account_and_client: u32,
}

impl Default for TriesPerHour {
    fn default() -> Self {
        Self {
            client: 120,
            account: 60,
            account_and_client: 15,
        }
    }
}

impl LoginConfig {
    /// What is wrong with the values, each with its key; empty if nothing is. The file is not looked at.
    pub fn mistakes(&self) -> Vec<String> {
        let TriesPerHour {
            client,
            account,
            account_and_client,
        } = self.tries_per_hour;
        let mut mistakes = Vec::new();
        for (key, tries) in [
            ("client", client),
            ("account", account),
            ("account_and_client", account_and_client),
        ] {
            if tries == 0 {
                mistakes.push(format!("login.tries_per_hour.{key}: must be at least 1"));
            }
        }
        if account <= account_and_client {
            mistakes.push(
                "login.tries_per_hour.account: must be more than account_and_client, or one stranger can lock an owner out"
                    .to_owned(),
            );
        }
        mistakes
    }
}

/// Issues and checks logins. Clones share one state.
#[derive(Clone)]
pub struct Logins(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    passwords: Passwords,
    secret: SigningSecret,
    revoked: Revoked,
    seen: Seen,
    codes: second_factor::Throttles,
    shared: Arc<dyn SharedState>,
    by_client: SharedThrottle,
    by_account: SharedThrottle,
    by_both: SharedThrottle,
    under_way: Arc<UnderWay>,
}

/// A fresh login: for the answer to the one who signed in, nothing else.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// Who.
    pub account: Account,
    /// The signed token.
    pub token: Secret,
    /// What a page sends along with the cookie on requests that change something.
    pub csrf_token: String,
    /// When the token stops working by itself.
    pub expires_at: Timestamp,
    /// The account signed in before, and not from this network.
    pub is_new_network: bool,
}

/// What the right password leads to.
#[derive(Clone, Debug)]
pub enum SignIn {
    /// The account is signed in.
    Done(Box<SignedIn>),
    /// A code is asked for besides.
    SecondFactor(Challenge),
}

/// A request's proof of who sent it, checked.
#[derive(Clone, Debug)]
pub struct LoginSession {
    /// Who, as the database knows the account now.
    pub account: Account,
    /// What the account's owner decided about signing in.
    pub settings: SignInSettings,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// The admin who looks on by it: it reads only.
    pub impersonated_by: Option<AccountId>,
    token_id: Uuid,
}

/// Why somebody could not sign in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// Address or password is wrong; which one is not said.
    #[error("invalid email or password")]
    InvalidCredentials,
    /// Right password, but the account is suspended.
    #[error("the account is not active")]
    NotActive,
    /// Right password, but the account's owner allows other networks only.
    #[error("the address is not on the account's list")]
    AddressNotAllowed,
    /// The challenge is not ours, too old, or of another password.
    #[error("the challenge is not good")]
    ChallengeInvalid,
    /// The second factor's code is wrong, or was used.
    #[error("the code is not good")]
    CodeInvalid,
    /// Too many wrong ones.
    #[error("too many tries")]
    Throttled {
        /// When the next one is heard.
        retry_after: Duration,
    },
    /// Too many password checks at the same time.
    #[error("overloaded")]
    Overloaded,
    /// The data can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// For the log.
    #[error("{0}")]
    Internal(String),
}

/// Why a token does not prove anything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Not one of ours, or of an account that is gone.
    #[error("the token is not valid")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Signed out, or the password was changed since.
    #[error("the token was revoked")]
    Revoked,
    /// Nothing was asked for longer than the account's owner allows.
    #[error("the login was idle for too long")]
    Idle,
    /// The account's owner allows other networks only.
    #[error("the address is not on the account's list")]
    AddressNotAllowed,
    /// The account is suspended.
    #[error("the account is not active")]
    NotActive,
    /// The data can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Logins {
    /// Reads what was revoked before the start. Tries are counted together with who shares `shared`.
    pub async fn start(
        store: Arc<dyn Store>,
        shared: Arc<dyn SharedState>,
        clock: Arc<dyn Clock>,
        passwords: Passwords,
        secret: SigningSecret,
        config: &LoginConfig,
    ) -> Result<(Self, LoginTask), StoreError> {
        let tries = config.tries_per_hour;
        let throttle =
            |space, tries| SharedThrottle::new(space, Allowance::per_hour(tries), Arc::clone(&shared));
        let logins = Self(Arc::new(Inner {
            store,
            clock,
            passwords,
            secret,
            revoked: Revoked::default(),
            seen: Seen::default(),
            codes: second_factor::Throttles::new(&shared),
            by_client: throttle("login-client", tries.client),
            by_account: throttle("login-account", tries.account),
            by_both: throttle("login-account-client", tries.account_and_client),
            under_way: Arc::default(),
            shared,
        }));
        logins.refresh().await?;
        let task = LoginTask(logins.clone());
        Ok((logins, task))
    }

    /// Checks address and password. Takes as long for an unknown address as for a wrong password.
    pub async fn sign_in(&self, email: &str, password: Secret, origin: Origin) -> Result<SignIn, LoginError> {
        let inner = &*self.0;
        let now = inner.clock.now();
        let address = email.parse::<EmailAddress>().ok();
        let name = address.as_ref().map_or_else(String::new, EmailAddress::folded);
        let tried = self.take_tries(&name, origin.address).await?;

        let found = match &address {
            Some(address) => inner.store.account_by_email(address.as_str()).await?,
            None => None,
        };
        let found = found.filter(|(account, _)| account.status != AccountStatus::Deleted);
        let (account, stored) = found.unzip();
        if !inner.passwords.matches(password, stored.clone()).await? {
            return Err(LoginError::InvalidCredentials);
        }
        let (Some(account), Some(stored)) = (account, stored) else {
            return Err(LoginError::InvalidCredentials);
        };
        if account.status != AccountStatus::Active {
            return Err(LoginError::NotActive);
        }
        self.give_tries_back(tried).await;
        let settings = inner.store.sign_in_settings(account.id).await?;
        let settings = settings.ok_or(LoginError::InvalidCredentials)?;
        if !settings.allows(origin.address) {
            return Err(LoginError::AddressNotAllowed);
        }
        if settings.has_second_factor {
            return Ok(SignIn::SecondFactor(self.challenge(account.id, &stored, now)));
        }
        let login = self.signed_in(account, &stored, origin).await?;
        Ok(SignIn::Done(Box::new(login)))
    }

    /// A login for an account that just proved itself otherwise: by registering, or by changing its password.
    pub async fn issue(&self, account: Account, origin: Origin) -> Result<SignedIn, LoginError> {
        let stored = self.0.store.password_hash(account.id).await?;
        let stored = stored.ok_or(LoginError::InvalidCredentials)?;
        self.open(account, &stored, origin).await
    }

    /// Whose request it is. Reads one row, and writes nothing: what it notes is written later, once a minute at most.
    pub async fn authenticate(&self, token: &str, client: IpAddr) -> Result<LoginSession, SessionError> {
        let inner = &*self.0;
        let now = inner.clock.now();
        let claims = jwt::verify(token, &inner.secret, now).map_err(|error| match error {
            JwtError::Invalid => SessionError::Invalid,
            JwtError::Expired => SessionError::Expired,
        })?;
        if inner.revoked.contains(claims.jti) {
            return Err(SessionError::Revoked);
        }
        if let Some(imp) = &claims.imp {
            return self.authenticate_impersonator(&claims, imp, client).await;
        }
        let known = inner.store.known_login(claims.sub, claims.jti.into()).await?;
        let KnownLogin {
            account,
            password_hash,
            settings,
            last_seen_at,
        } = known.ok_or(SessionError::Invalid)?;
        match account.status {
            AccountStatus::Active => {}
            AccountStatus::Suspended => return Err(SessionError::NotActive),
            AccountStatus::Deleted => return Err(SessionError::Invalid),
        }
        if claims.pwd != inner.fingerprint(&password_hash) {
            return Err(SessionError::Revoked);
        }
        let session = LoginSession {
            account,
            settings,
            expires_at: claims.expires_at(),
            impersonated_by: None,
            token_id: claims.jti,
        };
        self.note_request(&session, last_seen_at, client, now).await?;
        Ok(session)
    }

    /// The token that a page of this session sends along on requests that change something.
    pub fn csrf_token(&self, session: &LoginSession) -> String {
        self.0.csrf_token(session.token_id)
    }

    /// Whether `token` is the session's, in constant time.
    pub fn is_csrf_token(&self, session: &LoginSession, token: &str) -> bool {
        self.0.secret.is_tag("csrf", &session.token_id.to_string(), token)
    }

    /// Reads what other API processes revoked since, writes down which logins were seen, and forgets those that expired.
    /// [`LoginTask`] does it every 15 seconds.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        let rows = self.0.store.revoked_logins(now).await?;
        self.0.revoked.merge(rows, now);
        self.write_seen().await?;
        self.0.store.forget_logins(now, FORGOTTEN_AT_ONCE).await?;
        Ok(())
    }

    /// What counts over all processes: for other throttles.
    pub(crate) fn shared(&self) -> Arc<dyn SharedState> {
        Arc::clone(&self.0.shared)
    }

    /// Opens a login and notes when the account last signed in.
    async fn signed_in(
        &self,
        mut account: Account,
        stored: &str,
        origin: Origin,
    ) -> Result<SignedIn, LoginError> {
        let now = self.0.clock.now();
        self.0.store.touch_login(account.id, now).await?;
        account.last_login_at = Some(now);
        self.open(account, stored, origin).await
    }

    async fn open(&self, account: Account, stored: &str, origin: Origin) -> Result<SignedIn, LoginError> {
        let inner = &*self.0;
        let now = inner.clock.now();
        let claims = Claims::new(account.id, inner.fingerprint(stored), now, LOGIN_LIFETIME);
        let token =
            jwt::sign(&claims, &inner.secret).map_err(|error| LoginError::Internal(error.to_string()))?;
        let opened = inner
            .store
            .open_login(&NewLogin {
                id: claims.jti.into(),
                account: account.id,
                origin,
                now,
                expires_at: claims.expires_at(),
            })
            .await?
            .ok_or(LoginError::NotActive)?;
        Ok(SignedIn {
            account,
            token,
            csrf_token: inner.csrf_token(claims.jti),
            expires_at: claims.expires_at(),
            is_new_network: opened.is_new_network,
        })
    }
}

impl Inner {
    fn csrf_token(&self, token_id: Uuid) -> String {
        self.secret.tag("csrf", &token_id.to_string())
    }

    /// Changes with the password; says nothing about it, nor about its hash.
    fn fingerprint(&self, password_hash: &str) -> String {
        let mut tag = self.secret.tag("password", password_hash);
        tag.truncate(16);
        tag
    }
}

/// Reads every 15 seconds what other API processes revoked.
pub struct LoginTask(Logins);

impl LoginTask {
    /// Runs until `shutdown`.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn run(self, shutdown: CancellationToken) {
        while shutdown
            .run_until_cancelled(tokio::time::sleep(REFRESH))
            .await
            .is_some()
        {
            if let Err(error) = self.0.refresh().await {
                tracing::warn!(%error, "revoked logins could not be read; those known stay refused");
            }
        }
    }
}

impl From<PasswordError> for LoginError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Overloaded => Self::Overloaded,
            PasswordError::Failed(reason) => Self::Internal(reason),
        }
    }
}

impl LoginSession {
    /// Whose it is.
    pub fn account_id(&self) -> AccountId {
        self.account.id
    }

    /// Which login it is.
    pub fn id(&self) -> LoginId {
        self.token_id.into()
    }
}
