//! The state that this process shares with others, and what it tells them.

use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use iploop_api::ReadyCheck;
use iploop_platform::admission::Admission;
use iploop_platform::ids::GatewayId;
use iploop_platform::keys::KeyChanges;
use iploop_platform::shared::{SharedChanges, SharedState};
use iploop_store::{MemoryState, RedisState};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::RedisConfig;

/// Redis where one is configured, else this process alone.
pub(crate) struct Shared {
    pub(crate) state: Arc<dyn SharedState>,
    is_redis: bool,
}

impl Shared {
    /// Does not wait for Redis, and does not need it to be there.
    pub(crate) fn open(config: &RedisConfig) -> Result<Self> {
        Ok(match &config.url {
            Some(url) => Self {
                state: Arc::new(RedisState::open(url).context("redis.url")?),
                is_redis: true,
            },
            None => Self {
                state: Arc::new(MemoryState::default()),
                is_redis: false,
            },
        })
    }

    /// Counts the gateway's use together with other gateways, and joins what changes here and there.
    pub(crate) fn join(
        &self,
        admission: &Arc<Admission>,
        gateway: GatewayId,
        stop: &CancellationToken,
        tasks: &mut JoinSet<()>,
    ) -> Arc<dyn KeyChanges> {
        let local = Arc::clone(admission) as Arc<dyn KeyChanges>;
        if !self.is_redis {
            return local;
        }
        let (changes, task) = SharedChanges::new(local, Arc::clone(&self.state));
        tasks.spawn(task.run(stop.clone()));
        let (admission, state, stop) = (Arc::clone(admission), Arc::clone(&self.state), stop.clone());
        tasks.spawn(async move { admission.count_together(state, gateway, stop).await });
        Arc::new(changes)
    }

    /// The state that other processes have too; none: this one is alone.
    pub(crate) fn with_others(&self) -> Option<Arc<dyn SharedState>> {
        self.is_redis.then(|| Arc::clone(&self.state))
    }

    /// What `/readyz` asks.
    pub(crate) fn ready_checks(&self) -> Vec<Arc<dyn ReadyCheck>> {
        match self.is_redis {
            true => vec![Arc::new(Redis(Arc::clone(&self.state)))],
            false => Vec::new(),
        }
    }
}

struct Redis(Arc<dyn SharedState>);

#[async_trait]
impl ReadyCheck for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn is_needed(&self) -> bool {
        false
    }

    async fn check(&self) -> Result<(), String> {
        self.0.ping().await.map_err(|error| error.to_string())
    }
}
