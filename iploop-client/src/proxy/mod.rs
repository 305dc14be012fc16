//! Requests through the proxy: the login, the tunnel, the answer and what the gateway says of it.

mod answer;
mod customer;
mod exchange;
mod login;
mod told;
mod tunnel;

pub use self::answer::Answer;
pub use self::customer::{Customer, ProxyAddress};
pub use self::login::{ProxyLogin, Scheme};
pub use self::told::{Exit, Told};
