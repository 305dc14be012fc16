//! How the process ends.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Error, Result};
use iploop_node::{ConsentError, Link, NodeError, StateError};

/// Shown below `--help`.
pub(crate) const HELP: &str = "Exit status:
  0  done, or ended by a signal
  1  something else went wrong, such as no network for a command that needs it
  2  the command line is wrong
  3  your consent is needed, or was withdrawn
  4  the hub refuses this device, key or version
  5  the state folder can't be used";

const OTHER: u8 = 1;
const CONSENT: u8 = 3;
const REJECTED: u8 = 4;
const STATE: u8 = 5;

/// An end with a status of its own.
#[derive(Debug)]
pub(crate) struct End {
    status: u8,
    message: String,
}

impl End {
    pub(crate) fn consent(message: impl Into<String>) -> Self {
        Self {
            status: CONSENT,
            message: message.into(),
        }
    }

    /// What the end of a node's link means for the process; none: it was asked to.
    pub(crate) fn of(link: &Link) -> Option<Self> {
        match link {
            Link::ConsentNeeded { problem } => Some(Self::consent(format!(
                "Not sharing: it needs your consent anew ({problem})."
            ))),
            Link::Withdrawn { delivered } => Some(Self::consent(if *delivered {
                "Not sharing: you withdrew your consent, and the hub knows."
            } else {
                "Not sharing: you withdrew your consent. The hub could not be told yet; `iploop-node withdraw --hub …` or `run` tells it when \
                 there is a network."
            })),
            Link::Rejected { code, problem } => Some(Self {
                status: REJECTED,
                message: format!("Not sharing: the hub refuses this device ({code}: {problem})."),
            }),
            _ => None,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for End {}

/// Says what went wrong, and the status that says it to programs.
pub fn code(outcome: Result<()>) -> ExitCode {
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    // Nobody may be listening any longer.
    let _ = writeln!(std::io::stderr(), "{}", explained(&error));
    ExitCode::from(status_of(&error))
}

/// An error with its causes, each said once: some of them have their cause in their own words already.
fn explained(error: &Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn status_of(error: &Error) -> u8 {
    if let Some(end) = error.downcast_ref::<End>() {
        return end.status;
    }
    if error.is::<StateError>() {
        return STATE;
    }
    if error.is::<ConsentError>() {
        return CONSENT;
    }
    match error.downcast_ref::<NodeError>() {
        Some(NodeError::Consent(_)) => CONSENT,
        Some(NodeError::Rejected { .. }) => REJECTED,
        Some(NodeError::State(_)) => STATE,
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_is_said_once() {
        let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let state = StateError::Io {
            path: "/x".into(),
            source,
        };
        let said = explained(&Error::from(state).context("run"));
        assert_eq!(said, "run: /x: permission denied");
    }

    #[test]
    fn every_end_has_its_status() {
        let rejected = Link::Rejected {
            code: "banned",
            problem: "abuse".into(),
        };
        assert_eq!(status_of(&End::of(&rejected).unwrap().into()), REJECTED);
        let withdrawn = Link::Withdrawn { delivered: true };
        assert_eq!(status_of(&End::of(&withdrawn).unwrap().into()), CONSENT);
        assert!(End::of(&Link::Stopped).is_none());
        let in_use = StateError::InUse("/x".into());
        assert_eq!(status_of(&Error::from(in_use).context("run")), STATE);
        let network = Err::<(), _>(NodeError::Network("x".into())).context("run");
        assert_eq!(status_of(&network.unwrap_err()), OTHER);
    }
}
