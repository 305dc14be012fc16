//! The IPLoop server: gateway, hub and API in one process.
//!
//! This crate only composes. What each part does stands in its own crate; [`server`] opens them, joins them and takes them
//! down in order.

mod admin;
mod api;
mod billing;
pub mod command;
pub mod config;
pub mod ledger;
mod live;
pub mod manage;
pub mod memory;
mod metering;
mod notify;
pub mod open_files;
mod owners;
mod policy;
pub mod server;
mod shared;
mod support;
mod together;
