//! The exit policy where its parts meet: the operator's file, gateway and hub.

use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use iploop_gateway::Gateway;
use iploop_hub::Hub;
use iploop_platform::abuse::{Force, ReadPolicy, StoredPolicy, compose};
use iploop_platform::store::Store;
use iploop_protocol::policy::{PlatformPolicy, Policy, TestAllow};

use crate::config::ExitConfig;

/// The exit policy at the start.
pub(crate) struct ExitPolicy {
    /// The operator's file.
    pub(crate) file: PlatformPolicy,
    /// What admins stored.
    pub(crate) stored: StoredPolicy,
    /// Both together.
    pub(crate) in_force: PlatformPolicy,
    pub(crate) test_allow: TestAllow,
}

impl ExitPolicy {
    /// As file and store have it.
    ///
    /// # Errors
    /// One of them can't be read, or the two can't be in force together.
    pub(crate) async fn read(config: &ExitConfig, store: &dyn Store) -> Result<Self> {
        let file = config.read_policy().map_err(anyhow::Error::msg)?;
        let test_allow = config.parse_test_allow().map_err(anyhow::Error::msg)?;
        if !config.test_allow.is_empty() {
            tracing::warn!(addresses = ?config.test_allow, "exit.test_allow opens these addresses; never do this in production");
        }
        let stored = store.stored_policy().await.context("the stored exit policy")?;
        let in_force = compose(&file, &stored).context("exit.policy: with the stored lists")?;
        Ok(Self {
            file,
            stored,
            in_force,
            test_allow,
        })
    }
}

/// The operator's file.
pub(crate) struct PolicyFile(pub(crate) ExitConfig);

impl ReadPolicy for PolicyFile {
    fn read(&self) -> Result<PlatformPolicy, String> {
        self.0.read_policy()
    }

    fn stamp(&self) -> Option<String> {
        let path = self.0.policy.as_ref()?;
        // A file that is away for a moment, while another takes its place, is another value too.
        let found = std::fs::metadata(path);
        Some(found.map_or_else(
            |error| error.kind().to_string(),
            |found| format!("{:?} {}", found.modified().ok(), found.len()),
        ))
    }
}

/// Gateway and hub of this process.
pub(crate) struct Enforcers {
    pub(crate) gateway: Gateway,
    pub(crate) hub: Hub,
    pub(crate) test_allow: TestAllow,
}

#[async_trait]
impl Force for Enforcers {
    fn at_gateway(&self, policy: &PlatformPolicy) {
        self.gateway.set_policy(at_gateway(policy, &self.test_allow));
    }

    async fn on_devices(&self, policy: &PlatformPolicy) {
        self.hub.set_policy(Some(policy)).await;
    }
}

/// The policy as the gateway asks it.
pub(crate) fn at_gateway(policy: &PlatformPolicy, test_allow: &TestAllow) -> Policy {
    Policy::new(Some(Arc::new(policy.clone()))).with_test_allow(test_allow.clone())
}
