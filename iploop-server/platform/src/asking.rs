//! How often an account may ask for what costs us more than it costs the account.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::ids::AccountId;
use crate::login::throttle::{Allowance, Throttle};

/// Accounts whose questions are remembered.
const MAX_ACCOUNTS: usize = 10_000;

/// An allowance for each account.
pub struct AskLimit {
    throttle: Throttle<AccountId>,
}

impl AskLimit {
    /// `burst` questions at once and one more each `refill`; at least one.
    pub fn new(burst: u32, refill: Duration) -> Self {
        let allowance = Allowance {
            burst: burst.max(1),
            refill,
        };
        Self {
            throttle: Throttle::new(allowance, MAX_ACCOUNTS),
        }
    }

    /// Takes one question of the account's allowance.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&self, account: AccountId, now: Timestamp) -> Result<(), Duration> {
        self.throttle.take(&account, now)
    }
}

impl std::fmt::Debug for AskLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AskLimit").finish_non_exhaustive()
    }
}
