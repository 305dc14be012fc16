//! Stripe, behind [`iploop_platform::billing::PaymentProvider`].
//!
//! ```text
//! provider.rs  the calls that we make, each a form and the few fields of its answer that we need
//! http.rs      one request, by the platform's client for what the server itself asks
//! webhook.rs   the signature of an event
//! event.rs     an event as the platform's words
//! ```
//!
//! Calls name one API version, so that their answers keep their form. Events come in the version of the webhook endpoint:
//! they are read by the fields that we need, wherever versions have put them.

mod event;
mod http;
mod provider;
mod webhook;

pub use provider::{Stripe, StripeError};
pub use webhook::{TOLERANCE, sign};

/// The version of Stripe's API that our calls are written for.
pub const API_VERSION: &str = "2024-06-20";
