//! rathole: a forwarded port, one TCP connection of its own per stream, in clear or each under TLS of its own.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::Context;
use tokio::process::Command;

use super::iploop::write_certificate;
use super::{Env, HeldPort, Running, find_program, wait_for_listener};
use crate::child::Process;
use crate::route::Route;

/// What the connections between its two sides are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leg {
    Clear,
    Tls,
}

pub(super) fn missing(leg: Leg) -> Option<String> {
    let needed: &[&str] = match leg {
        Leg::Clear => &["rathole"],
        Leg::Tls => &["rathole", "openssl"],
    };
    let program = needed.iter().find(|program| find_program(program).is_none())?;
    Some(format!("not installed: {program}"))
}

pub(super) async fn start(env: &Env, leg: Leg) -> anyhow::Result<Running> {
    let folder = tempfile::tempdir()?;
    let here = folder.path();
    let (server_port, listener_port) = (HeldPort::take()?, HeldPort::take()?);
    let (server_address, listener) = (server_port.address, listener_port.address);
    let (server_leg, client_leg) = match leg {
        Leg::Clear => (String::new(), String::new()),
        Leg::Tls => tls(here).await?,
    };
    fs::write(
        here.join("server.toml"),
        format!(
            "[server]\nbind_addr = \"{server_address}\"\ndefault_token = \"bench\"\n\
             [server.services.origin]\nbind_addr = \"{listener}\"\nnodelay = true\n{server_leg}"
        ),
    )?;
    let mut command = Command::new("rathole");
    command.arg("--server").arg(here.join("server.toml"));
    let gateway = Process::spawn("rathole-server", command, here)?;
    wait_for_listener(server_address, &gateway).await?;

    let (reached_at, link) = env.through_link(server_address, here).await?;
    fs::write(
        here.join("client.toml"),
        format!(
            "[client]\nremote_addr = \"{reached_at}\"\ndefault_token = \"bench\"\n\
             [client.services.origin]\nlocal_addr = \"{}\"\nnodelay = true\n{client_leg}",
            env.origin
        ),
    )?;
    let mut command = Command::new("rathole");
    command.arg("--client").arg(here.join("client.toml"));
    let device = Process::spawn("rathole-client", command, here)?;
    Ok(Running {
        route: Route::Forwarded { listener },
        hub: None,
        device: Some(device),
        gateway: Some(gateway),
        _link: link,
        _folder: folder,
        _ports: vec![server_port, listener_port],
    })
}

/// A throw-away certificate, and what server and client are told of it.
async fn tls(folder: &Path) -> anyhow::Result<(String, String)> {
    write_certificate(folder)?;
    // rathole reads nothing but PKCS #12.
    let made = Command::new("openssl")
        .args(["pkcs12", "-export", "-inkey", "key.pem", "-in", "cert.pem"])
        .args(["-out", "identity.pfx", "-passout", "pass:bench"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .await
        .context("openssl")?;
    anyhow::ensure!(
        made.status.success(),
        "openssl: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    let folder = folder.display();
    let server = format!(
        "[server.transport]\ntype = \"tls\"\n\
         [server.transport.tls]\npkcs12 = \"{folder}/identity.pfx\"\npkcs12_password = \"bench\"\n"
    );
    let client = format!(
        "[client.transport]\ntype = \"tls\"\n\
         [client.transport.tls]\ntrusted_root = \"{folder}/cert.pem\"\nhostname = \"localhost\"\n"
    );
    Ok((server, client))
}
