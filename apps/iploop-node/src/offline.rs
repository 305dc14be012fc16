//! Commands while no agent runs: they act on the state folder alone.

use std::path::Path;

use anyhow::{Context, Result, bail};
use iploop_node::{Clock, NotSharing, OwnersWord, StateDir, StateError, SystemClock, deliver_withdrawal};
use serde_json::{Value, json};

use crate::args::Withdraw;
use crate::control::{Answer, Ask};

/// Does what a running agent would be asked, as far as there is something to do.
pub(crate) async fn act(path: &Path, ask: &Ask, hub: Option<&Withdraw>) -> Result<Answer> {
    if matches!(ask, Ask::Pair) {
        bail!("No agent runs here. Start it with `iploop-node run`, then ask for a code.");
    }
    if !path.exists() {
        return Ok(answer(
            "Nothing was ever shared from here.",
            None,
            NotSharing::ConsentNeeded,
        ));
    }
    let state = StateDir::open(path).map_err(|error| match error {
        StateError::InUse(_) => anyhow::Error::from(error).context("an agent runs here, but can't be asked"),
        error => error.into(),
    })?;
    match ask {
        Ask::Status | Ask::Pair => {}
        Ask::Pause => state.set_paused(true)?,
        Ask::Resume => state.set_paused(false)?,
        Ask::Withdraw { reason } => return withdraw(state, reason, hub).await,
    }
    let (text, reason) = match state.consent()? {
        OwnersWord::None => ("You have not consented.", NotSharing::ConsentNeeded),
        OwnersWord::Withdrawn(_) => ("You withdrew your consent.", NotSharing::Withdrawn),
        OwnersWord::Given(_) if state.is_paused()? => ("You paused it; no agent runs.", NotSharing::Paused),
        OwnersWord::Given(_) => ("No agent runs.", NotSharing::Stopping),
    };
    Ok(answer(&format!("Not sharing. {text}"), None, reason))
}

async fn withdraw(state: StateDir, reason: &str, hub: Option<&Withdraw>) -> Result<Answer> {
    let OwnersWord::Withdrawn(withdrawn) = state.withdraw(SystemClock.now(), reason)? else {
        return Ok(answer(
            "There is no consent to withdraw.",
            None,
            NotSharing::ConsentNeeded,
        ));
    };
    let mut knows = withdrawn.is_delivered();
    if let Some(config) = hub.and_then(Withdraw::config)
        && !knows
    {
        knows = deliver_withdrawal(config, state)
            .await
            .context("Your consent is withdrawn on this device; the hub could not be told")?;
    }
    let text = if knows {
        "Your consent is withdrawn, and the hub knows."
    } else {
        "Your consent is withdrawn. The hub is told by the next `run`, or now by `withdraw --hub … --partner-key …`."
    };
    Ok(answer(text, Some(knows), NotSharing::Withdrawn))
}

fn answer(text: &str, delivered: Option<bool>, reason: NotSharing) -> Answer {
    let status: Value = json!({ "running": false, "sharing": false, "reason": reason, "reasonText": text });
    Answer {
        error: None,
        delivered,
        pairing: None,
        text: text.to_owned(),
        status,
    }
}
