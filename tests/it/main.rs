//! The whole system: real binaries on loopback and in network namespaces, and the clients that customers use.
//!
//! Nothing is built here; `cargo xtask test` builds the binaries and installs the clients first. Each test starts what it
//! needs in a [`harness::World`] of its own, with ports that the system chooses, and everything ends with it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod accounts;
mod api;
mod behaviour;
mod clients;
mod configuration;
mod consent;
mod customer_pages;
mod dashboard;
mod faults;
mod harness;
mod hostile;
mod library;
mod money;
mod owners;
mod policy;
mod postgres;
mod python_node;
mod sessions;
mod suspension;
mod two_processes;
mod webhooks;
