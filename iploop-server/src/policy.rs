//! The exit policy where its parts meet: the operator's file, gateway and hub.

use std::sync::Arc;

use async_trait::async_trait;
use iploop_gateway::Gateway;
use iploop_hub::Hub;
use iploop_platform::abuse::{Force, ReadPolicy};
use iploop_protocol::policy::{PlatformPolicy, Policy, TestAllow};

use crate::config::ExitConfig;

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
