//! Codes by which an account claims the device: asked for by the app, given by the hub.

use std::time::Duration;

use iploop_protocol::control::Pairing;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::error::NodeError;
use crate::shared::Shared;
use crate::status::Link;

/// The hub gets this long to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Most who wait for a code at the same time.
const MAX_WAITING: usize = 8;

/// A code by which an account claims the device, to be shown to its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PairingCode {
    /// To be shown as it is; case, spaces and dashes do not matter where it is typed.
    pub code: String,
    /// Good once, and for so many seconds from now; a newer one ends it.
    pub good_for_s: u32,
}

/// Those who wait for a code.
#[derive(Default)]
pub(crate) struct Desk {
    waiting: Mutex<Vec<oneshot::Sender<Result<PairingCode, NodeError>>>>,
}

impl Desk {
    /// Tells all who wait.
    pub(crate) fn answer(&self, pairing: &Pairing) {
        for waiting in self.waiting.lock().drain(..) {
            let answer = match &pairing.code {
                Some(code) => Ok(PairingCode {
                    code: code.clone(),
                    good_for_s: pairing.seconds,
                }),
                None => Err(NodeError::Network(format!(
                    "the hub gives no code now; ask again in {} s",
                    pairing.seconds
                ))),
            };
            // Who went away needs none.
            let _ = waiting.send(answer);
        }
    }

    /// Tells all who wait that nobody answers.
    pub(crate) fn refuse(&self, problem: &str) {
        for waiting in self.waiting.lock().drain(..) {
            let _ = waiting.send(Err(NodeError::Network(problem.to_owned())));
        }
    }

    fn wait(&self) -> Result<oneshot::Receiver<Result<PairingCode, NodeError>>, NodeError> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        waiting.retain(|waiting| !waiting.is_closed());
        if waiting.len() >= MAX_WAITING {
            return Err(NodeError::Network("too many wait for a code".to_owned()));
        }
        waiting.push(sender);
        Ok(receiver)
    }
}

/// Asks the hub of the present connection.
pub(crate) async fn ask(shared: &Shared) -> Result<PairingCode, NodeError> {
    let away = || NodeError::Network("the hub is not connected".to_owned());
    if *shared.link.borrow() != Link::Connected {
        return Err(away());
    }
    let answer = shared.pairing.wait()?;
    shared.wishes.send_modify(|wishes| wishes.pairings += 1);
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(away()),
        Err(_) => Err(NodeError::Network("the hub does not answer".to_owned())),
    }
}
