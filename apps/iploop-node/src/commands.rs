//! What each command does.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use iploop_node::StateDir;
use serde_json::Value;

use crate::args::{Accept, Args, Command, Withdraw};
use crate::control::{Answer, Ask, ask};
use crate::report::Report;
use crate::terms;
use crate::{offline, run};

/// Does what the command line asks for.
///
/// # Errors
/// What went wrong, for people; [`crate::exit::code`] knows the status.
pub async fn execute(args: Args) -> Result<()> {
    let report = Report { json: args.json };
    let state = match args.state {
        Some(path) => path,
        None => default_state().context("name a folder with --state")?,
    };
    match args.command {
        Command::Run(run) => run::run(&run, state, report).await,
        Command::Status => tell(&state, &Ask::Status, None, report).await,
        Command::Pause => tell(&state, &Ask::Pause, None, report).await,
        Command::Resume => tell(&state, &Ask::Resume, None, report).await,
        Command::Pair => tell(&state, &Ask::Pair, None, report).await,
        Command::Withdraw(withdraw) => {
            let reason = withdraw.reason.clone();
            tell(&state, &Ask::Withdraw { reason }, Some(&withdraw), report).await
        }
        Command::Consent(accept) => consent(state, &accept, report),
    }
}

/// Tells a running agent, or does it without one.
async fn tell(state: &Path, what: &Ask, withdraw: Option<&Withdraw>, report: Report) -> Result<()> {
    let answer = match ask(state, what).await? {
        Some(mut answer) => {
            if let Value::Object(status) = &mut answer.status {
                status.insert("running".to_owned(), true.into());
            }
            answer
        }
        None => offline::act(state, what, withdraw).await?,
    };
    let Answer {
        error,
        delivered,
        pairing,
        text,
        mut status,
    } = answer;
    if let (Value::Object(status), Some(pairing)) = (&mut status, pairing) {
        status.insert("pairing".to_owned(), pairing);
    }
    if let (Value::Object(status), Some(delivered)) = (&mut status, delivered) {
        status.insert("delivered".to_owned(), delivered.into());
    }
    if report.json {
        report.program(&status);
    } else {
        report.answer(&text);
    }
    match error {
        None => Ok(()),
        Some(error) => bail!(error),
    }
}

fn consent(state: PathBuf, accept: &Accept, report: Report) -> Result<()> {
    let state = StateDir::open(state)?;
    let answer = terms::Answer {
        accepts: accept.accept_terms.as_deref(),
        mobile_data: accept.mobile_data,
    };
    let consent = terms::consent_anew(&answer)?;
    state.record(&consent)?;
    report.answer("Your consent is on record; `iploop-node run` shares.");
    Ok(())
}

/// The system's place for a program's state.
fn default_state() -> Result<PathBuf> {
    let from = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let place = if cfg!(windows) {
        from("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        from("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        from("XDG_STATE_HOME").or_else(|| from("HOME").map(|home| home.join(".local/state")))
    };
    place
        .map(|place| place.join("iploop-node"))
        .ok_or_else(|| anyhow!("the system names no place for state"))
}
