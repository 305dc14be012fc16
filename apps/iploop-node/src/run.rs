//! `iploop-node run`: a node from start to signal.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use iploop_node::{Node, OwnersWord, StateDir, deliver_withdrawal};
use tokio_util::task::AbortOnDropHandle;

use crate::args::Run;
#[cfg(unix)]
use crate::control::Server;
use crate::exit::End;
use crate::memory;
use crate::power::{self, POWER_SUPPLIES};
use crate::report::Report;
use crate::terms;

/// Open streams get this long after a signal.
const GRACE: Duration = Duration::from_secs(10);
/// Between two looks at the power supply, and two times that memory is given back.
const LOOK_AFTER_EVERY: Duration = Duration::from_secs(60);

/// Shares until a signal, the owner or the hub ends it.
pub(crate) async fn run(run: &Run, path: PathBuf, report: Report) -> Result<()> {
    let config = run.config()?;
    let state = StateDir::open(&path)?;
    let answer = terms::Answer {
        accepts: run.accept_terms.as_deref(),
        mobile_data: run.mobile_data,
    };
    let consent = match terms::consent_to_run(&state, &answer) {
        Ok(consent) => consent,
        Err(refused) => {
            if let OwnersWord::Withdrawn(withdrawn) = state.consent()?
                && !withdrawn.is_delivered()
            {
                match deliver_withdrawal(config, state).await {
                    Ok(true) => report.line("The hub now knows that you withdrew."),
                    Ok(false) => report.line("The hub could not be told that you withdrew."),
                    Err(error) => {
                        report.line(&format!("The hub could not be told that you withdrew: {error}"))
                    }
                }
            }
            return Err(refused);
        }
    };
    let mut signal = Signal::new()?;
    let node = Arc::new(Node::start(config, state, consent).await?);
    let reporter = AbortOnDropHandle::new(tokio::spawn(report.follow(node.events())));
    report.begin(&node);
    node.set_conditions(power::look(Path::new(POWER_SUPPLIES)));
    let caretaker = AbortOnDropHandle::new(tokio::spawn(look_after(Arc::clone(&node))));
    #[cfg(unix)]
    let control = match Server::open(&path, Arc::clone(&node)) {
        Ok(control) => Some(control),
        Err(error) => {
            tracing::warn!(%error, "commands can't reach this agent: status, pause and the like won't work");
            None
        }
    };
    let end = tokio::select! {
        () = signal.received() => None,
        link = node.ended() => End::of(&link),
    };
    #[cfg(unix)]
    if let Some(control) = control {
        control.finish().await;
    }
    node.shutdown(GRACE).await;
    drop((caretaker, node));
    // With the node the events end, and so does the one who tells them.
    let _ = tokio::time::timeout(Duration::from_secs(1), reporter).await;
    match end {
        None => Ok(()),
        Some(end) => Err(end.into()),
    }
}

async fn look_after(node: Arc<Node>) {
    loop {
        tokio::time::sleep(LOOK_AFTER_EVERY).await;
        node.set_conditions(power::look(Path::new(POWER_SUPPLIES)));
        memory::give_back();
    }
}

/// SIGINT or SIGTERM; Ctrl-C elsewhere.
struct Signal {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signal {
    #[cfg(unix)]
    fn new() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    #[cfg(not(unix))]
    fn new() -> Result<Self> {
        Ok(Self {})
    }

    #[cfg(unix)]
    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    async fn received(&mut self) {
        // Without a way to be told, only the system ends it.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
