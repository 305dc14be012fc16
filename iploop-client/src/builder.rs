//! The settings that a customer and an API have in common.

use std::time::Duration;

use crate::retries::Retries;
use crate::wire::{PATIENCE, Trust};

/// What a [`Customer`](crate::Customer) or an [`Api`](crate::Api) is made of; `T` is what only one of them has.
#[must_use]
pub struct Builder<T> {
    pub(crate) own: T,
    pub(crate) trust: Trust,
    pub(crate) patience: Duration,
    pub(crate) retries: Retries,
}

impl<T> Builder<T> {
    pub(crate) fn new(own: T) -> Self {
        Self {
            own,
            trust: Trust::default(),
            patience: PATIENCE,
            retries: Retries::default(),
        }
    }

    /// Trusts these authorities too, a customer also for destinations: certificates in PEM.
    pub fn trust_pem(mut self, pem: &[u8]) -> Self {
        self.trust.add(pem);
        self
    }

    /// Longest wait for an answer's head, a tunnel's included, and for each further piece of its content; 60 seconds unless set.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How often what may be repeated without harm is repeated, when it was refused for now.
    pub fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }
}
