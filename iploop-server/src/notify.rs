//! What tells customers of things, put together: mail, notices, webhooks, and the look for events.

use std::sync::Arc;

use anyhow::{Context, Result};
use iploop_platform::accounts::PublicUrl;
use iploop_platform::clock::Clock;
use iploop_platform::events::EventTask;
use iploop_platform::login::SigningSecret;
use iploop_platform::mail;
use iploop_platform::network::Network;
use iploop_platform::notices::{NoticeParts, NoticeService};
use iploop_platform::outbound::OutboundClient;
use iploop_platform::store::Store;
use iploop_platform::webhooks::{WebhookParts, WebhookService};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// What it is made from.
pub(crate) struct Notifying<'a> {
    pub(crate) config: &'a Config,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) public_url: PublicUrl,
    pub(crate) secret: SigningSecret,
}

impl Notifying<'_> {
    /// Starts its tasks.
    pub(crate) fn start(
        self,
        stop: &CancellationToken,
        tasks: &mut JoinSet<()>,
    ) -> Result<(WebhookService, NoticeService)> {
        let Self {
            config,
            store,
            clock,
            network,
            public_url,
            secret,
        } = self;
        let test_allow = config
            .webhooks
            .parse_test_allow()
            .context("webhooks.test_allow")?;
        if !test_allow.is_empty() {
            tracing::warn!(addresses = ?config.webhooks.test_allow, "webhooks.test_allow opens these addresses; never do this in production");
        }
        let client = OutboundClient::new(&config.outbound, test_allow).map_err(anyhow::Error::msg)?;
        let mailer = mail::mailer(&config.mail, &config.data, Arc::clone(&clock), client.clone())?;
        let (notices, notice_task) = NoticeService::new(NoticeParts {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            mailer,
            public_url,
            secret: secret.clone(),
        });
        tasks.spawn(notice_task.run(stop.clone()));
        let parts = WebhookParts {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            client,
            secret,
        };
        let (webhooks, webhook_task) = WebhookService::new(parts, &config.webhooks)?;
        tasks.spawn(webhook_task.run(stop.clone()));
        let events = EventTask::new(store, clock, network, config.events.clone());
        tasks.spawn(events.run(stop.clone()));
        Ok((webhooks, notices))
    }
}
