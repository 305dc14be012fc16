// Generated from docs/openapi.json by `cargo xtask api`: not to be edited.

//! The API's operations and what they send and answer, a module for each part of it.

pub mod auth;
pub mod billing;
#[cfg(test)]
mod by_name;
pub mod keys;
pub mod live;
pub mod nodes;
pub mod platform;
pub mod proxy;
pub mod sessions;
pub mod shared;
pub mod support;
pub mod usage;
pub mod webhooks;

#[cfg(test)]
pub(crate) use by_name::again_by_name;

use crate::management::Api;

impl Api {
    /// Operations of [`auth`].
    pub fn auth(&self) -> auth::Auth<'_> {
        auth::Auth(self)
    }

    /// Operations of [`billing`].
    pub fn billing(&self) -> billing::Billing<'_> {
        billing::Billing(self)
    }

    /// Operations of [`keys`].
    pub fn keys(&self) -> keys::Keys<'_> {
        keys::Keys(self)
    }

    /// Operations of [`live`].
    pub fn live(&self) -> live::Live<'_> {
        live::Live(self)
    }

    /// Operations of [`nodes`].
    pub fn nodes(&self) -> nodes::Nodes<'_> {
        nodes::Nodes(self)
    }

    /// Operations of [`platform`].
    pub fn platform(&self) -> platform::Platform<'_> {
        platform::Platform(self)
    }

    /// Operations of [`proxy`].
    pub fn proxy(&self) -> proxy::Proxy<'_> {
        proxy::Proxy(self)
    }

    /// Operations of [`sessions`].
    pub fn sessions(&self) -> sessions::Sessions<'_> {
        sessions::Sessions(self)
    }

    /// Operations of [`support`].
    pub fn support(&self) -> support::Support<'_> {
        support::Support(self)
    }

    /// Operations of [`usage`].
    pub fn usage(&self) -> usage::Usage<'_> {
        usage::Usage(self)
    }

    /// Operations of [`webhooks`].
    pub fn webhooks(&self) -> webhooks::Webhooks<'_> {
        webhooks::Webhooks(self)
    }
}
