//! What a search went through, for customers who ask for it by `debug-1`.

use std::time::Duration;

use iploop_protocol::targeting::Targeting;

use super::{Search, Tried};
use crate::answer::ProxyError;

/// A search that is over.
#[derive(Debug)]
pub(crate) struct Trail {
    /// How long the choices took, all together.
    pub(crate) select: Duration,
    /// Exits asked.
    pub(crate) attempts: u32,
    /// Each of them.
    pub(crate) tried: Vec<Tried>,
    /// The targeting as it was understood, in canonical form.
    pub(crate) parameters: String,
}

impl Trail {
    /// None for customers who did not ask.
    pub(crate) fn of(search: &Search, targeting: &Targeting) -> Option<Box<Self>> {
        targeting.debug().then(|| {
            Box::new(Self {
                select: search.select_time(),
                attempts: search.attempts(),
                tried: search.tried().to_vec(),
                parameters: targeting.to_string(),
            })
        })
    }
}

/// An error for the customer, with what was tried before it.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: ProxyError,
    pub(crate) trail: Option<Box<Trail>>,
}

impl From<ProxyError> for Failed {
    fn from(error: ProxyError) -> Self {
        Self { error, trail: None }
    }
}
