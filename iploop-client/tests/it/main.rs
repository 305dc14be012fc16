//! The library against servers that say what a test wants.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod management;
mod proxy;
mod server;
