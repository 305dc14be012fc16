//! Names into addresses, by the system's resolver, once per stream.

use std::future::Future;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;

use iploop_protocol::destination::HostName;
use tokio::sync::Semaphore;

/// Look-ups at the same time. Each occupies a thread while it waits; further ones wait their turn.
const MAX_LOOKUPS: usize = 32;

/// The answers to a question.
pub type Answers<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Resolves names. An answer is used for one stream and checked by the exit policy before anything is dialled.
pub trait Resolver: Send + Sync + 'static {
    /// Every address of a name, in the order to try them. The caller bounds the time.
    fn resolve<'a>(&'a self, name: &'a HostName) -> Answers<'a>;
}

/// The resolver of the operating system, without its search list and, where the system allows, its hosts file.
#[derive(Debug)]
pub struct SystemResolver {
    turns: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(MAX_LOOKUPS)),
        }
    }
}

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a HostName) -> Answers<'a> {
        // The dot makes it absolute: the owner's search domains are none of the customer's business.
        let absolute = format!("{}.", name.as_str());
        Box::pin(async move {
            let turn = Arc::clone(&self.turns)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            let lookup = tokio::task::spawn_blocking(move || {
                // Held by the thread, not by the caller: who gives up waiting does not free the thread.
                let _turn = turn;
                Ok((absolute.as_str(), 0)
                    .to_socket_addrs()?
                    .map(|address| address.ip())
                    .collect())
            });
            lookup.await.map_err(io::Error::other)?
        })
    }
}
