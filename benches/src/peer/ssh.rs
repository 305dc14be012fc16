//! `ssh -R` as a reverse proxy: an sshd of our own on loopback, with keys made for the occasion.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use tokio::process::Command;

use super::{Env, HeldPort, Running, find_program, wait_for_listener};
use crate::child::Process;
use crate::route::Route;

/// OpenSSH's server wants this folder when root starts it.
const PRIVILEGE_SEPARATION_FOLDER: &str = "/run/sshd";

pub(super) fn missing() -> Option<String> {
    let absent: Vec<&str> = ["ssh", "sshd", "ssh-keygen"]
        .into_iter()
        .filter(|name| find_program(name).is_none())
        .collect();
    (!absent.is_empty()).then(|| format!("not installed: {}", absent.join(", ")))
}

pub(super) async fn start(env: &Env) -> anyhow::Result<Running> {
    let folder = tempfile::tempdir()?;
    let here = folder.path();
    for name in ["host_key", "user_key"] {
        make_key(&here.join(name)).await?;
    }
    fs::copy(here.join("user_key.pub"), here.join("authorized_keys"))?;
    fs::set_permissions(here.join("authorized_keys"), fs::Permissions::from_mode(0o600))?;

    let (server_port, proxy_port) = (HeldPort::take()?, HeldPort::take()?);
    let (server_address, proxy) = (server_port.address, proxy_port.address);
    fs::write(
        here.join("sshd_config"),
        server_configuration(server_address.port(), here),
    )?;
    // Only root can make it, and only root's sshd asks for it.
    let _ = fs::create_dir_all(PRIVILEGE_SEPARATION_FOLDER);
    // sshd starts itself anew for each connection and so wants its whole path.
    let mut command = Command::new(find_program("sshd").context("sshd")?);
    command
        .arg("-D")
        .arg("-e")
        .arg("-f")
        .arg(here.join("sshd_config"));
    let gateway = Process::spawn("sshd", command, here)?;
    wait_for_listener(server_address, &gateway).await?;

    let (reached_at, link) = env.through_link(server_address, here).await?;
    let mut command = Command::new("ssh");
    command
        .args([
            "-F",
            "/dev/null",
            "-N",
            "-T",
            "-p",
            &reached_at.port().to_string(),
        ])
        .arg("-i")
        .arg(here.join("user_key"))
        .args(["-R", &proxy.to_string()])
        .args([
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "ExitOnForwardFailure=yes",
        ])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        ])
        .arg("127.0.0.1");
    let device = Process::spawn("ssh", command, here)?;
    Ok(Running {
        route: Route::Socks5 {
            proxy,
            credentials: None,
        },
        hub: None,
        device: Some(device),
        gateway: Some(gateway),
        _link: link,
        _folder: folder,
        _ports: vec![server_port, proxy_port],
    })
}

async fn make_key(at: &Path) -> anyhow::Result<()> {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(at)
        .output()
        .await?;
    anyhow::ensure!(
        made.status.success(),
        "ssh-keygen: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok(())
}

fn server_configuration(port: u16, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\n\
         PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\nAllowTcpForwarding yes\nUseDNS no\nLogLevel ERROR\n"
    )
}
