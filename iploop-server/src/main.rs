//! `iploop-server`: see `--help`.
#![expect(
    clippy::print_stdout,
    reason = "the ready line and what was made are for whoever started us"
)]

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use iploop_server::command::{Act, Command, ConfigAct, LedgerAct};
use iploop_server::config::{self, Config};
use iploop_server::server::{DRAIN_GRACE, Server};
use iploop_server::{ledger, manage, memory, open_files};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    memory::share_arenas();
    let command = Command::parse();
    if let Act::Config(act) = command.act {
        return exit(describe(act));
    }
    if let Act::Openapi = command.act {
        return exit(openapi());
    }
    // Only a server needs the files that the configuration names: an account can be made without its certificate.
    let load = match command.act {
        Act::Serve | Act::Check => Config::load_with_files,
        Act::Account(_) | Act::Mail(_) | Act::Partner(_) | Act::Ledger(_) | Act::Config(_) | Act::Openapi => {
            Config::load
        }
    };
    let config = match load(command.place.config.as_deref(), environment(), command.place.data) {
        Ok(config) => config,
        Err(mistakes) => {
            eprint!("{mistakes}");
            return ExitCode::from(2);
        }
    };
    let level = if matches!(command.act, Act::Serve) {
        "info"
    } else {
        "warn"
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    exit(run(command.act, config))
}

fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", explained(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, each said once: some of ours have their cause in their own words already. Then the way out, where the
/// system's words say none.
fn explained(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    match way_out(error, &text) {
        Some(way_out) => format!("{text}; {way_out}"),
        None => text,
    }
}

fn way_out(error: &anyhow::Error, text: &str) -> Option<&'static str> {
    let causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.map(io::Error::kind).find_map(|kind| match kind {
        ErrorKind::AddrInUse => {
            Some("another program, perhaps another server, listens there: end it, or take another port")
        }
        ErrorKind::AddrNotAvailable => {
            Some("this machine has no such address; 0.0.0.0 stands for all that it has")
        }
        ErrorKind::PermissionDenied if text.contains(".listen: ") => {
            Some("the system gives ports below 1024 to its administrator alone: take another one, or allow this program to (CAP_NET_BIND_SERVICE)")
        }
        _ => None,
    })
}

fn describe(act: ConfigAct) -> Result<()> {
    let text = match act {
        ConfigAct::Sample => config::sample(),
        ConfigAct::Schema => format!("{:#}\n", config::schema()),
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn openapi() -> Result<()> {
    let text = iploop_api::openapi().to_pretty_json()?;
    Ok(io::stdout().write_all(format!("{text}\n").as_bytes())?)
}

/// The environment as text. What is none can't be a key or a value of ours, and stays visible as what it is.
fn environment() -> impl Iterator<Item = (String, String)> {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (text(name), text(value)))
}

#[tokio::main]
async fn run(act: Act, config: Config) -> Result<()> {
    match act {
        Act::Config(act) => describe(act)?,
        Act::Openapi => openapi()?,
        Act::Check => println!("the configuration is sound"),
        Act::Account(act) => println!("{}", manage::account(&config, act).await?),
        Act::Mail(act) => println!("{}", manage::mail(&config, act)?),
        Act::Partner(act) => println!("{}", manage::partner(&config, act).await?),
        Act::Ledger(LedgerAct::Check) => {
            let checked = ledger::check(&config).await?;
            println!("{checked}");
            anyhow::ensure!(checked.differences.is_empty(), "the books are not in order");
        }
        Act::Serve => {
            open_files::raise_limit(&config);
            let server = Server::bind(config).await?;
            println!("{}", server.ready_line());
            io::stdout().flush()?;
            let (mut terminate, mut interrupt) =
                (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            let mut asked_to_end = async || {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            let mut hangup = signal(SignalKind::hangup())?;
            let reloads = async {
                while hangup.recv().await.is_some() {
                    server.reload().await;
                }
                std::future::pending::<()>().await;
            };
            // The start needs some 10 MiB more than what follows.
            let lean = tokio::spawn(memory::give_back_always());
            tokio::select! {
                () = asked_to_end() => {}
                () = reloads => {}
            }
            lean.abort();
            // Whoever asks twice does not want to wait.
            server.drain(DRAIN_GRACE, asked_to_end()).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let taken = || anyhow!("address in use");
        assert_eq!(
            explained(&taken().context("hub.listen")),
            "hub.listen: address in use"
        );
        let said = taken().context("hub.listen: address in use").context("the hub");
        assert_eq!(explained(&said), "the hub: hub.listen: address in use");
    }

    #[test]
    fn a_port_that_can_not_be_had_is_said_with_the_way_out() {
        let said =
            |kind: ErrorKind, what| explained(&anyhow::Error::from(io::Error::from(kind)).context(what));
        let taken = said(ErrorKind::AddrInUse, "api.listen: 0.0.0.0:3000");
        assert!(
            taken.starts_with("api.listen: 0.0.0.0:3000: ") && taken.ends_with("take another port"),
            "{taken}"
        );
        let low = said(ErrorKind::PermissionDenied, "api.listen: 0.0.0.0:80");
        assert!(low.contains("below 1024"), "{low}");
        let folder = said(ErrorKind::PermissionDenied, "data: /root");
        assert_eq!(folder, "data: /root: permission denied");
    }
}
