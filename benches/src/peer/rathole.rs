//! rathole: a forwarded port, one TCP connection of its own per stream, in clear.

use std::fs;

use tokio::process::Command;

use super::{Env, Running, find_program, free_address, wait_for_listener};
use crate::child::Process;
use crate::route::Route;

pub(super) fn missing() -> Option<String> {
    find_program("rathole")
        .is_none()
        .then(|| "not installed: rathole".to_owned())
}

pub(super) async fn start(env: &Env) -> anyhow::Result<Running> {
    let folder = tempfile::tempdir()?;
    let here = folder.path();
    let (server_address, listener) = (free_address()?, free_address()?);
    fs::write(
        here.join("server.toml"),
        format!(
            "[server]\nbind_addr = \"{server_address}\"\ndefault_token = \"bench\"\n\
             [server.services.origin]\nbind_addr = \"{listener}\"\nnodelay = true\n"
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
             [client.services.origin]\nlocal_addr = \"{}\"\nnodelay = true\n",
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
    })
}
