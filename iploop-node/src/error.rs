//! What goes wrong, by what the caller can do about it.

use iploop_protocol::codes::CloseCode;

use crate::consent::ConsentError;
use crate::state::StateError;

/// Why a node can't do what it was asked. Each variant is an action of the app.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Try again later: the hub can't be reached at the moment.
    #[error("the hub can't be reached: {0}")]
    Network(String),
    /// Ask the owner.
    #[error(transparent)]
    Consent(#[from] ConsentError),
    /// Stop: the hub refuses this device, key or version, and will again.
    #[error("the hub refuses this device ({code}): {reason}")]
    Rejected {
        /// Why, as the hub closed.
        code: CloseCode,
        /// The hub's words.
        reason: String,
    },
    /// Look at the file that is named.
    #[error(transparent)]
    State(#[from] StateError),
    /// Correct the setting that is named.
    #[error("{setting}: {problem}")]
    Config {
        /// Its name in [`crate::NodeConfig`].
        setting: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl NodeError {
    pub(crate) fn config(setting: &'static str, problem: impl ToString) -> Self {
        Self::Config {
            setting,
            problem: problem.to_string(),
        }
    }
}
