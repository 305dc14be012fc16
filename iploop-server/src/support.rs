//! Help for customers, composed.

use std::sync::Arc;

use anyhow::{Context, Result};
use iploop_platform::clock::Clock;
use iploop_platform::notices::NoticeService;
use iploop_platform::outbound::OutboundClient;
use iploop_platform::shared::SharedState;
use iploop_platform::store::Store;
use iploop_platform::support::{Assistant, AssistantParts, TicketDesk, TicketParts};
use iploop_protocol::policy::TestAllow;

use crate::config::Config;

/// The assistant and the tickets.
pub(crate) fn open(
    config: &Config,
    store: &Arc<dyn Store>,
    shared: &Arc<dyn SharedState>,
    clock: &Arc<dyn Clock>,
    notices: &NoticeService,
) -> Result<(Assistant, TicketDesk)> {
    let parts = AssistantParts {
        store: Arc::clone(store),
        shared: Arc::clone(shared),
        client: OutboundClient::new(&config.outbound, TestAllow::default()).map_err(anyhow::Error::msg)?,
        clock: Arc::clone(clock),
        codes: iploop_gateway::code_help,
    };
    let assistant = Assistant::new(parts, &config.assistant).context("assistant.api_key")?;
    let parts = TicketParts {
        store: Arc::clone(store),
        shared: Arc::clone(shared),
        clock: Arc::clone(clock),
        notices: notices.clone(),
    };
    Ok((assistant, TicketDesk::new(parts, &config.assistant)))
}
