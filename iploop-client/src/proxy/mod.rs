//! Requests through the proxy: the login, the tunnel, the answer and what the gateway says of it.

mod answer;
mod customer;
mod error;
mod exchange;
mod login;
mod told;
mod tunnel;

pub use self::answer::Answer;
pub use self::customer::{Customer, CustomerBuilder};
pub use self::error::ProxyError;
pub use self::login::{ProxyLogin, Scheme};
pub use self::told::{Exit, Told};
