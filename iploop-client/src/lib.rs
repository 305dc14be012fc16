//! What customers of IPLoop need in a program: requests through the proxy, and the management API.
//!
//! # Requests through the proxy
//!
//! A [`Customer`] knows the proxy and a key; [`targeting::Targeting`] says which exit is wanted.
//!
//! ```no_run
//! use iploop_client::Customer;
//! use iploop_client::targeting::Targeting;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let customer = Customer::at("http://proxy.example.com:7777", "iploop_…")?;
//! let wishes = Targeting::builder().country("US").session("cart-17").build()?;
//! let answer = customer.with(wishes).get("https://example.com/").await?;
//! println!("{} by an exit in {:?}", answer.status, answer.told.exit.country);
//! let page = answer.bytes(1024 * 1024).await?;
//! # Ok(())
//! # }
//! ```
//!
//! What the gateway refuses is a [`Refusal`] with its code, inside a tunnel for HTTPS too: [`Error::code`]. Other programs
//! get their login from [`ProxyLogin`].
//!
//! # The management API
//!
//! [`Api`] has a method for each operation, in groups: [`Api::keys`], [`Api::usage`], [`Api::sessions`] and others. Their code is
//! made from the API's own document, so that names and fields are those of `docs/openapi.json`.
//!
//! ```no_run
//! use iploop_client::Api;
//! use iploop_client::api::auth::{LoginBody, LoginOutcome};
//! use iploop_client::api::keys::CreateKeyBody;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let api = Api::at("https://iploop.example.com")?;
//! let form = LoginBody {
//!     email: "ada@example.com".to_owned(),
//!     password: "correct horse battery".into(),
//! };
//! let LoginOutcome::Login(login) = api.auth().login(&form).await? else {
//!     return Err("a second factor is needed: login_with_code".into());
//! };
//! let api = api.with_token(login.token);
//! let new = CreateKeyBody {
//!     name: "crawler".to_owned(),
//!     ..CreateKeyBody::default()
//! };
//! let key = api.keys().create_key(&new).await?;
//! println!("{}", key.key.expose());
//! # Ok(())
//! # }
//! ```
//!
//! A newer server may send fields and words that this version does not know: fields are passed over, words are kept
//! (`Other`).
//!
//! # What holds everywhere
//!
//! Every wait ends, every answer that is kept in memory has a bound, and what may be repeated without harm is repeated a few
//! times when the server asks for patience ([`Retries`]). Futures may be dropped at any time, which ends their connection. Keys,
//! tokens and passwords are [`values::Secret`]s: `Debug` does not show them.

pub mod api;
mod builder;
mod error;
pub mod management;
pub mod proxy;
mod refusal;
mod retries;
pub mod values;
mod wire;

/// The wishes about an exit, and the errors about them: the grammar that the proxy itself reads.
pub mod targeting {
    pub use iploop_protocol::targeting::*;
}

pub use http;

pub use self::builder::Builder;
pub use self::error::Error;
pub use self::management::Api;
pub use self::proxy::{Customer, ProxyLogin};
pub use self::refusal::Refusal;
pub use self::retries::Retries;
pub use self::wire::{ConnectError, SetupError};

#[cfg(test)]
mod samples;
