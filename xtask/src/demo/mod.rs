//! `cargo xtask demo`: the whole platform on this machine, and requests through its devices.

mod client;
mod site;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Running, Signals, cargo, output, run, target};
use crate::web;
use client::{Proxy, Visit};
use site::Site;

/// The consent text that the demo's devices accept: they are ours, and dial nothing but the demo's own site.
const TERMS: &str = "2026-11";
/// Who signs in to the demo's dashboard.
const EMAIL: &str = "demo@example.com";
/// Starting a program, on a machine that is busy building.
const PATIENCE: Duration = Duration::from_secs(60);

/// Start a server and three devices on this machine, and send requests through them.
#[derive(clap::Args)]
pub(crate) struct Demo {
    /// End after the requests, with their result as exit status.
    #[arg(long)]
    once: bool,
}

/// A device of the demo: its own loopback address, and where the server is told that this is.
struct Device {
    address: &'static str,
    country: &'static str,
    city: &'static str,
    asn: u32,
}

const DEVICES: [Device; 3] = [
    Device {
        address: "127.0.1.7",
        country: "US",
        city: "New York",
        asn: 64501,
    },
    Device {
        address: "127.0.1.8",
        country: "DE",
        city: "Berlin",
        asn: 64502,
    },
    Device {
        address: "127.0.1.9",
        country: "IL",
        city: "Tel Aviv",
        asn: 64503,
    },
];

impl Demo {
    pub(crate) fn run(self) -> Result<()> {
        println!("Building the server and the device agent; the first time this takes some minutes …");
        run(&mut cargo([
            "build",
            "--package",
            "iploop-server",
            "--package",
            "iploop-node-agent",
        ]))?;

        // Without npm or the internet there is no dashboard, and the demo shows all the same what it is for.
        let dashboard = match web::build() {
            Ok(folder) => Some(folder),
            Err(error) => {
                println!("Without the dashboard: {error:#}.");
                None
            }
        };

        let mut signals = Signals::new()?;
        let mut platform = Platform::start(dashboard.as_deref())?;
        platform.visit()?;
        if self.once {
            println!(
                "\nAll three came back. Without --once everything stays up, with lines to copy and a status page."
            );
            return Ok(());
        }
        platform.invite(dashboard.is_some())?;
        while !signals.came_within(Duration::from_secs(1)) {
            platform.check()?;
        }
        println!("\nEnding the devices and the server …");
        Ok(())
    }
}

/// Everything that runs. Dropping it ends it in order: the devices, the server, then their folder goes.
struct Platform {
    devices: Vec<Running>,
    server: Running,
    log: PathBuf,
    api: String,
    proxy: Proxy,
    account: Value,
    site: Site,
    _folder: TempDir,
}

impl Platform {
    /// The echo site, the server with an account and a partner, the devices.
    fn start(dashboard: Option<&Path>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("iploop-demo-").tempdir()?;
        let site = Site::start()?;
        println!("\nAn echo site    http://{}   https://{}", site.http, site.https);

        let config = folder.path().join("iploop.toml");
        std::fs::write(&config, server_config(&site, dashboard))?;
        let server_with = |arguments: &[&str]| {
            let mut command = Command::new(target("debug").join("iploop-server"));
            command.args(arguments).arg("--config").arg(&config);
            command.arg("--data").arg(folder.path().join("server"));
            command
        };
        let made = |arguments: &[&str]| -> Result<Value> {
            Ok(serde_json::from_str(&output(&mut server_with(arguments))?)?)
        };
        let account = made(&[
            "account",
            "create",
            "--email",
            EMAIL,
            "--verified",
            "--key",
            "demo",
        ])?;
        let partner = made(&["partner", "create", "--name", "Demo"])?;

        let log = folder.path().join("server.log");
        let mut server = Running::start("the server", &mut server_with(&["serve"]), &log)?;
        let ready = server
            .wait_for("\"ready\"", PATIENCE)
            .with_context(|| read(&log))?;
        let ready: Value = serde_json::from_str(&ready)?;
        let (proxy, hub, api) = (text(&ready, "proxy")?, text(&ready, "hub")?, text(&ready, "api")?);
        println!("The server      proxy {proxy}   hub {hub}   API {api}");

        let partner_key = text(&partner, "key")?;
        let mut devices = Vec::new();
        for device in &DEVICES {
            devices.push(device.start(&hub, &partner_key, &site, folder.path())?);
        }
        for (device, running) in DEVICES.iter().zip(&mut devices) {
            let log = folder.path().join(device.address).with_extension("log");
            running
                .wait_for("\"sharing\"", PATIENCE)
                .with_context(|| read(&log))?;
            println!(
                "A device        {}   {}, {}   AS{}",
                device.address, device.city, device.country, device.asn
            );
        }
        let proxy = Proxy {
            address: proxy.parse()?,
            user: "iploop".to_owned(),
            key: text(&account, "key")?,
        };
        Ok(Self {
            devices,
            server,
            log,
            api,
            proxy,
            account,
            site,
            _folder: folder,
        })
    }

    /// Sends one request by each protocol, each through another device.
    fn visit(&self) -> Result<()> {
        println!("\nThree requests, each asking for a device of another country:\n");
        let Self { proxy, site, .. } = self;
        let targeting = |device: &Device| format!("-country-{}", device.country);
        let [first, second, third] = &DEVICES;
        let visits = [
            (first, proxy.http(&targeting(first), site.http)),
            (
                second,
                proxy.https(&targeting(second), site.https, &site.certificate),
            ),
            (third, proxy.socks5(&targeting(third), site.http)),
        ];
        let mut failed = 0;
        for (device, visit) in visits {
            match visit.and_then(|visit| device.expect(visit)) {
                Ok(visit) => println!("  {visit}   {}, {}", device.city, device.country),
                Err(error) => {
                    failed += 1;
                    println!("  failed: {error:#}");
                }
            }
        }
        anyhow::ensure!(
            failed == 0,
            "{failed} of three requests failed; the server says:\n{}",
            read(&self.log)
        );
        Ok(())
    }

    /// Says what can be done with it.
    fn invite(&self, has_dashboard: bool) -> Result<()> {
        let Self { api, proxy, site, .. } = self;
        let Proxy { address, key, .. } = proxy;
        println!("\nTry it yourself, in another terminal:\n");
        println!(
            "  curl -x http://iploop:{key}-country-DE@{address} http://{}/",
            site.http
        );
        println!(
            "  curl -x socks5h://iploop:{key}-country-IL@{address} http://{}/",
            site.http
        );
        println!("  curl -x http://iploop:{key}@{address} https://example.com/     (with internet access)");
        if has_dashboard {
            let password = text(&self.account, "password")?;
            println!("\nDashboard       http://{api}/    {EMAIL}    {password}");
        }
        println!("\nStatus page     http://{api}/status");
        println!("\nEverything stays up until you press Ctrl-C.");
        Ok(())
    }

    /// The error if a part of it has ended by itself.
    fn check(&mut self) -> Result<()> {
        self.server.check()?;
        self.devices.iter_mut().try_for_each(Running::check)
    }
}

impl Device {
    fn start(&self, hub: &str, partner_key: &str, site: &Site, folder: &Path) -> Result<Running> {
        let mut agent = Command::new(target("debug").join("iploop-node"));
        agent
            .args([
                "run",
                "--json",
                "--accept-terms",
                TERMS,
                "--partner-key",
                partner_key,
                "--bind",
                self.address,
            ])
            // The demo moves a few kilobytes over loopback: a laptop on battery may do that.
            .args(["--even-if", "battery", "--even-if", "power-saver"])
            .args(["--hub", &format!("ws://{hub}/ws")])
            .args([
                "--test-allow",
                &site.http.to_string(),
                "--test-allow",
                &site.https.to_string(),
            ])
            .arg("--state")
            .arg(folder.join(self.address));
        let log = folder.join(self.address).with_extension("log");
        Running::start(&format!("device {}", self.address), &mut agent, &log)
    }

    /// The visit, if it came from this device: a request that leaves elsewhere has failed.
    fn expect(&self, visit: Visit) -> Result<Visit> {
        anyhow::ensure!(
            visit.seen_ip == self.address,
            "the request for {} left through {}",
            self.country,
            visit.seen_ip
        );
        Ok(visit)
    }
}

impl std::fmt::Display for Visit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:<7} {}   {:>4} ms   {} bytes   exit {}",
            self.protocol,
            self.status,
            self.took.as_millis(),
            self.bytes,
            self.seen_ip
        )
    }
}

fn server_config(site: &Site, dashboard: Option<&Path>) -> String {
    let dashboard = dashboard.map_or(String::new(), |folder| format!("dashboard = {folder:?}\n"));
    let mut text = format!(
        "[gateway]\nlisten = [\"{}\", \"{}\"]\nsoft_drain = \"0s\"\n[hub]\nlisten = \"{}\"\n[api]\nlisten = \"{}\"\n{dashboard}[metrics]\nlisten = \"{}\"\n\
         [exit]\ntest_allow = [\"{}\", \"{}\"]\n",
        free(7777),
        free(1080),
        free(8001),
        free(3000),
        free(9100),
        site.http,
        site.https,
    );
    for device in &DEVICES {
        text += &format!(
            "[[geo.overrides]]\ncidr = \"{}/32\"\ncountry = \"{}\"\ncity = \"{}\"\nasn = {}\nisp = \"Demo network\"\n",
            device.address, device.country, device.city, device.asn
        );
    }
    text
}

/// The customary port where it is free, any other where it is not.
fn free(port: u16) -> SocketAddr {
    let wanted = SocketAddr::from(([127, 0, 0, 1], port));
    if TcpListener::bind(wanted).is_ok() {
        wanted
    } else {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }
}

fn text(value: &Value, key: &str) -> Result<String> {
    Ok(value[key]
        .as_str()
        .with_context(|| format!("{key} is missing in {value}"))?
        .to_owned())
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}
