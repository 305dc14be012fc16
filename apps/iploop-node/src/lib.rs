//! The parts of the desktop agent: a command line, a consent text and a socket over [`iploop_node`].

mod args;
mod commands;
mod control;
pub mod exit;
mod memory;
mod offline;
mod power;
mod report;
mod run;
mod terms;

pub use args::Args;
pub use commands::execute;
pub use terms::{TERMS_TEXT, TERMS_VERSION};
