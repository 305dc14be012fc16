//! How often somebody may try, counted over all processes; by this one alone while the shared state is away.

use std::sync::Arc;
use std::time::Duration;

use super::{Allowance, Name, SharedState, Take};
use crate::clock::Timestamp;
use crate::login::throttle::Throttle;

/// Entries of the table that stands in while the shared state is away.
const CAPACITY: usize = 65_536;

/// An allowance for each subject.
pub struct SharedThrottle {
    space: &'static str,
    allowance: Allowance,
    shared: Arc<dyn SharedState>,
    /// Used only while the shared state is away: each process then has an allowance of its own.
    alone: Throttle<Name>,
}

impl SharedThrottle {
    /// `space` tells this throttle from all others: lower case and dashes.
    pub fn new(space: &'static str, allowance: Allowance, shared: Arc<dyn SharedState>) -> Self {
        Self {
            space,
            allowance,
            shared,
            alone: Throttle::new(allowance, CAPACITY),
        }
    }

    /// Takes one try, or says how long until there is one.
    ///
    /// # Errors
    /// The wait.
    ///
    /// # Cancel safety
    /// The try may be counted all the same.
    pub async fn take(&self, subject: &str, now: Timestamp) -> Result<(), Duration> {
        let name = Name::new(self.space, subject);
        match self.shared.take(name, self.allowance, now).await {
            Ok(Take::Taken) => Ok(()),
            Ok(Take::Wait(wait)) => Err(wait),
            Err(_) => self.alone.take(&name, now),
        }
    }

    /// Gives one try back: it turned out to be a good one.
    pub async fn give_back(&self, subject: &str) {
        let name = Name::new(self.space, subject);
        if self.shared.give_back(name, self.allowance).await.is_err() {
            self.alone.give_back(&name);
        }
    }
}

impl std::fmt::Debug for SharedThrottle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedThrottle")
            .field("space", &self.space)
            .field("allowance", &self.allowance)
            .finish_non_exhaustive()
    }
}
