//! Delivers what is due: many webhooks at a time, few deliveries of one.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Claim;
use super::service::WebhookService;

/// Deliveries of one webhook at the same time, in all processes together.
const EACH: u32 = 2;
/// How long what is under way may go on after the end was asked for. What is cut is tried again when its hold ends.
const LAST: Duration = Duration::from_secs(5);

/// Runs beside the [`WebhookService`]. Several processes may run it on the same data.
pub struct WebhookTask(WebhookService);

impl WebhookTask {
    pub(super) fn new(service: WebhookService) -> Self {
        Self(service)
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let config = self.0.config();
        let (at_once, look_every) = (usize::from(config.max_at_once.get()), config.look_every);
        let mut running = JoinSet::new();
        while !stop.is_cancelled() {
            while running.try_join_next().is_some() {}
            let claims = self.0.claim(EACH, at_once - running.len()).await;
            let found = !claims.is_empty();
            for claim in claims {
                running.spawn(deliver(self.0.clone(), claim));
            }
            if found && running.len() < at_once {
                continue;
            }
            // A finished delivery makes room for the next of its webhook at once.
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(look_every) => {}
                Some(_) = running.join_next() => {}
            }
        }
        let last = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST, last).await.is_err() {
            tracing::info!(
                deliveries = running.len(),
                "webhooks under way are tried again later"
            );
        }
    }
}

async fn deliver(service: WebhookService, claim: Claim) {
    service.deliver(&claim).await;
}
