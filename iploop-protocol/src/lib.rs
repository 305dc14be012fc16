//! The IPLoop tunnel as pure state: frames, multiplexer, control messages, targeting grammar and exit policy.
//!
//! Both ends of a tunnel, device and hub, are built on this crate, and so is every client that names an exit. It opens no
//! socket, spawns no task and never asks for the time: bytes and a clock go in; bytes, events and deadlines come out.
//! [`io`] (feature `tokio`) drives a [`tunnel::Tunnel`] over a real transport.

pub mod codes;
pub mod control;
pub mod destination;
pub mod frame;
#[cfg(feature = "tokio")]
pub mod io;
pub mod policy;
pub mod targeting;
pub mod tunnel;
