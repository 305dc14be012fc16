//! Passwords: argon2id, off the async threads, a bounded number at a time.

use std::num::NonZero;
use std::ops::RangeInclusive;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::common::is_common;
use crate::field::FieldProblem;
use crate::secret::Secret;

/// Shortest password, in characters.
pub const MIN_PASSWORD: usize = 8;
/// Longest password, in bytes: bounds what a request can make us hash.
pub const MAX_PASSWORD_BYTES: usize = 512;

/// Memory that one hash may be told to take, in KiB: from what argon2 needs with one lane (RFC 9106, section 3.1) to 1 GiB.
const MEMORY_KIB: RangeInclusive<u32> = 8..=1024 * 1024;
/// Passes that one hash may be told to make.
const PASSES: RangeInclusive<u32> = 1..=64;

/// What one hash costs, and how many may be in work.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PasswordConfig {
    /// Memory of one hash, in KiB. 19456 with two passes is the least that OWASP's password storage sheet asks for.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub passes: u32,
    /// Hashes computed at the same time; default: half of the processors, at least one.
    #[schemars(example = 2)]
    pub at_once: Option<NonZero<usize>>,
    /// Requests that may wait for their turn; more are refused as overloaded.
    pub waiting: usize,
}

impl Default for PasswordConfig {
    fn default() -> Self {
        Self {
            memory_kib: 19_456,
            passes: 2,
            at_once: None,
            waiting: 64,
        }
    }
}

impl PasswordConfig {
    /// What is wrong with the values, each with its key below `accounts.password`; empty if nothing is.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if !MEMORY_KIB.contains(&self.memory_kib) {
            mistakes.push(format!(
                "accounts.password.memory_kib: must be from {} to {}",
                MEMORY_KIB.start(),
                MEMORY_KIB.end()
            ));
        }
        if !PASSES.contains(&self.passes) {
            mistakes.push(format!(
                "accounts.password.passes: must be from {} to {}",
                PASSES.start(),
                PASSES.end()
            ));
        }
        mistakes
    }
}

/// A password that may be set: long enough, bounded, and none that everybody tries first.
#[derive(Clone, Debug)]
pub struct NewPassword(Secret);

impl NewPassword {
    /// Accepts `password`, or says why not; the problem names `field`.
    pub fn parse(field: &'static str, password: Secret) -> Result<Self, FieldProblem> {
        if password.expose().chars().count() < MIN_PASSWORD {
            return Err(FieldProblem::new(
                field,
                format!("Password must be at least {MIN_PASSWORD} characters"),
            ));
        }
        if password.expose().len() > MAX_PASSWORD_BYTES {
            return Err(FieldProblem::new(
                field,
                format!("Password must be at most {MAX_PASSWORD_BYTES} bytes"),
            ));
        }
        if is_common(password.expose()) {
            return Err(FieldProblem::new(
                field,
                "Password is one of the most common ones, which are guessed first; choose another",
            ));
        }
        Ok(Self(password))
    }
}

/// Hashes and checks passwords. Clones share the limits.
#[derive(Clone)]
pub struct Passwords {
    argon2: Argon2<'static>,
    /// Hash of a password that nobody has: checked where there is no account, so that both take as long.
    decoy: Arc<str>,
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

/// Why a password could not be hashed or checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// Too many are waiting: try again.
    #[error("too many password checks are waiting")]
    Overloaded,
    /// For the log.
    #[error("password hashing failed: {0}")]
    Failed(String),
}

impl Passwords {
    /// Takes the time of one hash.
    ///
    /// # Errors
    /// [`PasswordError::Failed`] if the configured cost is outside of what argon2 allows.
    pub fn new(config: &PasswordConfig) -> Result<Self, PasswordError> {
        let params = Params::new(config.memory_kib, config.passes, 1, None).map_err(failed)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let decoy = hash(&argon2, &Secret::random::<32>(""))?;
        let at_once = config.at_once.map_or_else(half_of_the_processors, NonZero::get);
        Ok(Self {
            argon2,
            decoy: decoy.into(),
            turns: Arc::new(Semaphore::new(at_once)),
            places: Arc::new(Semaphore::new(
                at_once.saturating_add(config.waiting).min(Semaphore::MAX_PERMITS),
            )),
        })
    }

    /// The argon2id hash of a password, in PHC string form.
    ///
    /// # Cancel safety
    /// Dropping the future gives the place up; a hash that is being computed keeps its turn until it is done.
    pub async fn hash(&self, password: NewPassword) -> Result<String, PasswordError> {
        let argon2 = self.argon2.clone();
        self.work(move || hash(&argon2, &password.0)).await
    }

    /// Whether `password` belongs to `stored`. Without a stored hash the answer is no and takes as long.
    ///
    /// # Cancel safety
    /// As [`Passwords::hash`].
    pub async fn matches(&self, password: Secret, stored: Option<String>) -> Result<bool, PasswordError> {
        let argon2 = self.argon2.clone();
        let decoy = Arc::clone(&self.decoy);
        self.work(move || {
            let is_real = stored.is_some() && password.expose().len() <= MAX_PASSWORD_BYTES;
            let against = if is_real {
                stored.as_deref().unwrap_or(&decoy)
            } else {
                &decoy
            };
            let against = PasswordHash::new(against).map_err(failed)?;
            let password = password.expose().as_bytes();
            match argon2.verify_password(&password[..password.len().min(MAX_PASSWORD_BYTES)], &against) {
                Ok(()) => Ok(is_real),
                Err(password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(failed(error)),
            }
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        metrics::counter!("iploop_password_hashes_total").increment(1);
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| PasswordError::Overloaded)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(failed)?;
        let permits: (OwnedSemaphorePermit, OwnedSemaphorePermit) = (place, turn);
        tokio::task::spawn_blocking(move || {
            let result = job();
            drop(permits);
            result
        })
        .await
        .map_err(failed)?
    }
}

fn hash(argon2: &Argon2<'_>, password: &Secret) -> Result<String, PasswordError> {
    Ok(argon2
        .hash_password(password.expose().as_bytes())
        .map_err(failed)?
        .to_string())
}

fn half_of_the_processors() -> usize {
    std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).max(1))
}

fn failed(error: impl std::fmt::Display) -> PasswordError {
    PasswordError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap(waiting: usize) -> Passwords {
        let config = PasswordConfig {
            memory_kib: 8,
            passes: 1,
            at_once: NonZero::new(1),
            waiting,
        };
        Passwords::new(&config).unwrap()
    }

    fn new_password(text: &str) -> NewPassword {
        NewPassword::parse("password", Secret::new(text)).unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_matches_and_the_hash_is_argon2id() {
        let passwords = cheap(4);
        let stored = passwords.hash(new_password("correct horse")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{stored}");
        assert!(
            passwords
                .matches(Secret::new("correct horse"), Some(stored.clone()))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .matches(Secret::new("Correct horse"), Some(stored.clone()))
                .await
                .unwrap()
        );
        assert!(!passwords.matches(Secret::new(""), Some(stored)).await.unwrap());
    }

    #[tokio::test]
    async fn without_an_account_no_password_matches() {
        assert!(
            !cheap(4)
                .matches(Secret::new("correct horse"), None)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn more_than_the_bound_are_refused_at_once() {
        let passwords = cheap(1);
        let turn = Arc::clone(&passwords.turns).acquire_owned().await.unwrap();
        let in_turn = tokio::spawn({
            let passwords = passwords.clone();
            async move { passwords.hash(new_password("first in line")).await }
        });
        let waiting = tokio::spawn({
            let passwords = passwords.clone();
            async move { passwords.hash(new_password("second in line")).await }
        });
        while passwords.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = passwords.hash(new_password("one too many")).await;
        assert!(matches!(refused, Err(PasswordError::Overloaded)));
        drop(turn);
        assert!(in_turn.await.unwrap().is_ok());
        assert!(waiting.await.unwrap().is_ok());
    }

    #[test]
    fn too_short_and_too_long_passwords_are_refused() {
        let parse = |text: &str| NewPassword::parse("password", Secret::new(text)).map(|_| ());
        assert_eq!(
            parse("seven77").unwrap_err().message,
            "Password must be at least 8 characters"
        );
        assert!(parse("Password123").unwrap_err().message.contains("most common"));
        assert!(parse("éééééééé").is_ok());
        assert!(parse(&"x".repeat(MAX_PASSWORD_BYTES)).is_ok());
        assert!(parse(&"x".repeat(MAX_PASSWORD_BYTES + 1)).is_err());
    }
}
