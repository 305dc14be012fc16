//! The IPLoop tunnel as pure state: frames, multiplexer, control messages, targeting grammar and exit policy.

pub mod destination;
pub mod policy;
pub mod targeting;
