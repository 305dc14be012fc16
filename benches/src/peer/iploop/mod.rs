//! IPLoop itself, from its finished binaries: one server with every role, one device, one account.

mod allowance;
mod program;

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;
use tokio::process::Command;

pub(crate) use allowance::{OWNER, grant_plenty, policy as generous_policy};
pub(crate) use program::Program;

use super::{Env, Running};
use crate::child::Process;
use crate::order::HubAccess;
use crate::route::{Credentials, Route};

/// The consent text that the device accepts (`docs/contracts.md`).
pub(crate) const TERMS_VERSION: &str = "2026-11";
/// Nothing was shown to the owners of simulated devices.
pub(crate) const TERMS_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const ACCOUNT: &str = "bench@example.com";

/// What customers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    HttpConnect,
    Socks5,
}

/// What the device speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leg {
    Clear,
    Tls,
}

/// The server's ready line (`docs/contracts.md`).
#[derive(Debug, Deserialize)]
struct Ready {
    proxy: SocketAddr,
    hub: SocketAddr,
}

pub(super) fn missing(env: &Env) -> Option<String> {
    let absent: Vec<&str> = ["iploop-server", "iploop-node"]
        .into_iter()
        .filter(|name| !env.binaries.join(name).is_file())
        .collect();
    (!absent.is_empty()).then(|| format!("not built in {}: {}", env.binaries.display(), absent.join(", ")))
}

pub(super) async fn start(env: &Env, front: Front, leg: Leg) -> anyhow::Result<Running> {
    let folder = tempfile::tempdir()?;
    let here = folder.path();
    if leg == Leg::Tls {
        write_certificate(here)?;
    }
    fs::write(here.join("server.toml"), configuration(env.origin, leg, here)?)?;

    fs::write(here.join("policy.json"), allowance::policy())?;
    let server = Program {
        binary: env.binaries.join("iploop-server"),
        folder: here,
    };
    let key = server.secret(
        &[
            "account",
            "create",
            "--email",
            ACCOUNT,
            "--verified",
            "--key",
            "bench",
        ],
        "iploop_",
    );
    let key = key.await?;
    let partner = server
        .secret(&["partner", "create", "--name", "bench"], "iplp_")
        .await?;
    grant_plenty(&here.join("data")).await?;
    let mut gateway = Process::spawn("iploop-server", server.command(&["serve"]), here)?;
    let Ready { proxy, hub } = gateway.ready().await?;

    let (reached_at, link) = env.through_link(hub, here).await?;
    let scheme = if leg == Leg::Tls { "wss" } else { "ws" };
    let mut command = Command::new(env.binaries.join("iploop-node"));
    command
        .args([
            "run",
            "--hub",
            &format!("{scheme}://{reached_at}/ws"),
            "--partner-key",
            &partner,
        ])
        .args([
            "--accept-terms",
            TERMS_VERSION,
            "--test-allow",
            &env.origin.to_string(),
        ])
        .args(allowance::OWNER)
        .arg("--state")
        .arg(here.join("node"));
    if leg == Leg::Tls {
        command.arg("--ca").arg(here.join("cert.pem"));
    }
    let device = Process::spawn("iploop-node", command, here)?;

    let access = HubAccess {
        address: hub,
        ca: (leg == Leg::Tls).then(|| here.join("cert.pem")),
        partner_key: partner,
        terms_version: TERMS_VERSION.to_owned(),
        terms_hash: TERMS_HASH.to_owned(),
    };
    let credentials = Some(Credentials {
        user: "iploop".to_owned(),
        password: key,
    });
    let route = match front {
        Front::HttpConnect => Route::HttpConnect { proxy, credentials },
        Front::Socks5 => Route::Socks5 { proxy, credentials },
    };
    Ok(Running {
        route,
        hub: Some(access),
        device: Some(device),
        gateway: Some(gateway),
        _link: link,
        _folder: folder,
        _ports: Vec::new(),
    })
}

fn configuration(origin: SocketAddr, leg: Leg, folder: &Path) -> anyhow::Result<String> {
    let folder = folder.display();
    let mut text = format!(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\n\n[api]\nlisten = \"127.0.0.1:0\"\n\n[metrics]\nlisten = \"127.0.0.1:0\"\n\n\
         [exit]\ntest_allow = [\"{origin}\"]\npolicy = \"{folder}/policy.json\"\n\n\
         [hub]\nlisten = \"127.0.0.1:0\"\nterms = [\"{TERMS_VERSION}\"]\nmax_streams_per_node = 10000\n"
    );
    if leg == Leg::Tls {
        write!(
            text,
            "tls_cert = \"{folder}/cert.pem\"\ntls_key = \"{folder}/key.pem\"\n"
        )?;
    }
    Ok(text)
}

/// A self-signed ECDSA P-256 certificate for loopback.
pub(crate) fn write_certificate(folder: &Path) -> anyhow::Result<()> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names)?;
    fs::write(folder.join("cert.pem"), cert.pem())?;
    Ok(fs::write(folder.join("key.pem"), signing_key.serialize_pem())?)
}
