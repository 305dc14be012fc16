//! The command line.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use iploop_node::{DeviceType, HubUrl, NodeConfig, OwnerLimits, PartnerKey, Waiver};
use iploop_protocol::policy::TestAllow;

/// Shares this computer's idle bandwidth through IPLoop, if its owner agrees.
#[derive(Debug, Parser)]
#[command(name = "iploop-node", version, after_help = crate::exit::HELP)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Folder for this device's id, your decisions and the byte counters [default: the system's place for state].
    #[arg(long, global = true, env = "IPLOOP_NODE_STATE", value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Machine-readable lines on stdout.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Share, until it is stopped.
    Run(Box<Run>),
    /// Say what it does, and why it does not share if it does not.
    Status,
    /// Stop sharing until `resume`, also after a restart.
    Pause,
    /// End a pause.
    Resume,
    /// Show a code by which your account claims this device. The agent must run.
    Pair,
    /// Take your consent back, at once and for good.
    Withdraw(Withdraw),
    /// Consent anew, after `withdraw`. `run` alone never undoes a withdrawal.
    Consent(Accept),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) hub: Hub,
    /// You agree to the text of this version. Needed once; without it the text is shown.
    #[arg(long, value_name = "VERSION")]
    pub(crate) accept_terms: Option<String>,
    /// You also agree to sharing on mobile data.
    #[arg(long)]
    pub(crate) mobile_data: bool,
    /// Most bytes a day (UTC), both ways: 500MB, 2GB, …
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    daily_limit: Option<u64>,
    /// Most bytes a month (UTC), both ways.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    monthly_limit: Option<u64>,
    /// Most bytes a second that customers may send by your uplink: 500KB, 2MB, …
    #[arg(long, value_name = "BYTES", value_parser = parse_rate)]
    uplink_limit: Option<u64>,
    /// Most customers' connections at the same time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16_384))]
    max_streams: Option<u32>,
    /// Share even if this holds.
    #[arg(long, value_name = "CONDITION")]
    even_if: Vec<Condition>,
    /// Device type to register as [default: this system's].
    #[arg(long, value_name = "TYPE")]
    device_type: Option<DeviceType>,
    /// FOR TESTS: let customers reach this address of yours. Only hubs for tests accept such a device.
    #[arg(long, value_name = "ADDRESS:PORT")]
    test_allow: Vec<String>,
}

/// How to reach the hub.
#[derive(Debug, clap::Args)]
pub(crate) struct Hub {
    /// The hub, such as wss://hub.example/ws.
    #[arg(long, env = "IPLOOP_HUB", value_name = "URL")]
    hub: HubUrl,
    /// The partner's key, iplp_…
    #[arg(long, env = "IPLOOP_PARTNER_KEY", hide_env_values = true, value_name = "KEY")]
    partner_key: PartnerKey,
    /// Certificates (PEM) to check the hub's by, instead of the public authorities.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Source address of all connections, for computers with several.
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<IpAddr>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Withdraw {
    /// Why, if you like to say; kept on this device.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// Tell this hub at once, when no agent runs that would.
    #[arg(long, env = "IPLOOP_HUB", value_name = "URL")]
    hub: Option<HubUrl>,
    /// The partner's key, iplp_…, to tell it with.
    #[arg(long, env = "IPLOOP_PARTNER_KEY", hide_env_values = true, value_name = "KEY")]
    partner_key: Option<PartnerKey>,
    /// Certificates (PEM) to check the hub's by, instead of the public authorities.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Accept {
    /// You agree to the text of this version.
    #[arg(long, value_name = "VERSION")]
    pub(crate) accept_terms: Option<String>,
    /// You also agree to sharing on mobile data.
    #[arg(long)]
    pub(crate) mobile_data: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Condition {
    Battery,
    PowerSaver,
    Metered,
    Vpn,
}

impl Hub {
    pub(crate) fn config(&self) -> NodeConfig {
        NodeConfig {
            ca: self.ca.clone(),
            bind: self.bind,
            ..NodeConfig::new(self.hub.clone(), self.partner_key.clone())
        }
    }
}

impl Withdraw {
    /// The hub to tell, if one is named.
    pub(crate) fn config(&self) -> Option<NodeConfig> {
        let (hub, key) = self.hub.clone().zip(self.partner_key.clone())?;
        Some(NodeConfig {
            ca: self.ca.clone(),
            ..NodeConfig::new(hub, key)
        })
    }
}

impl Run {
    pub(crate) fn config(&self) -> Result<NodeConfig> {
        let defaults = OwnerLimits::default();
        let even_if: BTreeSet<Waiver> = self.even_if.iter().map(|condition| condition.waiver()).collect();
        let mut config = self.hub.config();
        config.limits = OwnerLimits {
            daily_bytes: self.daily_limit.unwrap_or(defaults.daily_bytes),
            monthly_bytes: self.monthly_limit.unwrap_or(defaults.monthly_bytes),
            uplink_bytes_per_second: self.uplink_limit,
            max_streams: self.max_streams.unwrap_or(defaults.max_streams),
            even_if,
            ..defaults
        };
        if let Some(device_type) = self.device_type {
            config.device_type = device_type;
        }
        config.test_allow = TestAllow::parse(&self.test_allow).context("--test-allow")?;
        Ok(config)
    }
}

impl Condition {
    fn waiver(self) -> Waiver {
        match self {
            Self::Battery => Waiver::Battery,
            Self::PowerSaver => Waiver::PowerSaver,
            Self::Metered => Waiver::Metered,
            Self::Vpn => Waiver::Vpn,
        }
    }
}

/// Bytes with an optional decimal unit, as data plans are written: 1 GB is 10^9 bytes.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = text[digits.len()..].trim();
    let factor: u64 = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err("write bytes, or a number with KB, MB, GB or TB".to_owned()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| "write a whole number such as 500MB".to_owned())
}

fn parse_rate(text: &str) -> Result<u64, String> {
    match parse_bytes(text)? {
        0 => Err("0 would hold connections for ever; to share nothing, use `pause`".to_owned()),
        rate => Ok(rate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "iplp_000102030405060708090a0b0c0d0e0f1011121314151617";

    fn parse(more: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(["iploop-node"].iter().chain(more))
    }

    #[test]
    fn the_documented_command_line_parses() {
        let args = parse(&[
            "run",
            "--hub",
            "wss://hub.example/ws",
            "--partner-key",
            KEY,
            "--accept-terms",
            "2026-11",
            "--ca",
            "/etc/ca.pem",
            "--bind",
            "127.0.1.7",
            "--state",
            "/tmp/x",
            "--test-allow",
            "127.0.0.1:8080",
            "--test-allow",
            "[::1]:8080",
            "--daily-limit",
            "1TB",
            "--uplink-limit",
            "500KB",
            "--even-if",
            "vpn",
            "--json",
        ]);
        let args = args.unwrap();
        assert!(args.json);
        let Command::Run(run) = args.command else {
            panic!("not run");
        };
        let config = run.config().unwrap();
        assert_eq!(config.test_allow.iter().count(), 2);
        assert_eq!(config.limits.daily_bytes, 1_000_000_000_000);
        assert_eq!(config.limits.uplink_bytes_per_second, Some(500_000));
        assert_eq!(config.limits.even_if, BTreeSet::from([Waiver::Vpn]));
        for command in ["status", "pause", "resume", "pair", "withdraw"] {
            assert!(parse(&[command, "--state", "/tmp/x"]).is_ok(), "{command}");
        }
        let told = parse(&["withdraw", "--hub", "ws://[::1]/ws", "--partner-key", KEY]).unwrap();
        assert!(matches!(told.command, Command::Withdraw(withdraw) if withdraw.config().is_some()));
        let untold = parse(&["withdraw", "--hub", "ws://[::1]/ws"]).unwrap();
        assert!(
            matches!(untold.command, Command::Withdraw(withdraw) if withdraw.config().is_none()),
            "nothing may stand in the way of a withdrawal"
        );
    }

    #[test]
    fn what_is_wrong_is_refused_before_anything_starts() {
        for wrong in [
            &["run"][..],
            &["run", "--hub", "http://hub.example", "--partner-key", KEY],
            &["run", "--hub", "ws://hub.example/ws", "--partner-key", "iplp_1"],
            &[
                "run",
                "--hub",
                "ws://h/ws",
                "--partner-key",
                KEY,
                "--daily-limit",
                "2 bananas",
            ],
            &[
                "run",
                "--hub",
                "ws://h/ws",
                "--partner-key",
                KEY,
                "--max-streams",
                "0",
            ],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        let run = parse(&[
            "run",
            "--hub",
            "ws://h/ws",
            "--partner-key",
            KEY,
            "--test-allow",
            "x",
        ])
        .unwrap();
        let Command::Run(run) = run.command else {
            panic!("not run");
        };
        assert!(run.config().unwrap_err().to_string().contains("--test-allow"));
    }

    #[test]
    fn bytes_are_decimal() {
        assert_eq!(parse_bytes("500MB"), Ok(500_000_000));
        assert_eq!(parse_bytes("2 gb"), Ok(2_000_000_000));
        assert_eq!(parse_bytes("0"), Ok(0));
        assert!(parse_rate("0KB").is_err());
        for text in ["", "GB", "-1", "1.5GB", "99999999999TB", "1GiB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
