//! The clients that customers use, by every protocol, with targeting wherever it may stand.

mod curl;
mod document;
mod libraries;
