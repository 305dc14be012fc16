//! The state that processes share, in Redis or in this process alone; `contract.rs` proves the same promises of both.

#[cfg(test)]
mod contract;
mod memory;
#[cfg(test)]
mod processes;
mod redis;
#[cfg(test)]
pub(crate) mod redis_server;

pub use self::memory::MemoryState;
pub use self::redis::{RedisState, RedisUrlError, check_redis_url};

/// News that a subscriber may be behind (`SharedState::changes`).
const CHANGES_BEHIND: usize = 1024;
