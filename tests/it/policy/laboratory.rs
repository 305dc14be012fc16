//! A household, an internet, and the platform in it, in three network namespaces that nothing leaves.
//!
//! ```text
//! home                 lan: router, printer, name server      inet: sites, platform, customers
//! 192.168.77.2  ─────  192.168.77.1, .9   45.60.0.2  ───────  45.60.0.1   45.60.1.1   93.184.216.0/24
//! 2606:2800:77::2      …:77::1, ::9       …:1::2              …:1::1                  2606:2800:220::/48
//! ```
//!
//! The router takes every private, local and reserved address for its own and answers there, so that a packet which should
//! not have left the device is seen. The addresses of sites look public and belong to nobody here but the namespaces.

use std::collections::HashMap;
use std::io::copy;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::names::{Answers, Names};
use super::namespace::Namespace;
use super::recorder::Recorder;
use crate::harness::{Api, Customer, Database, PATIENCE, Program, TERMS, agent, policy, run, server};

/// The platform's address.
pub(super) const PLATFORM: &str = "45.60.1.1";
/// The household's address, as the internet sees it.
pub(super) const PUBLIC: &str = "45.60.0.2";
/// Where the household's devices reach the hub: the router translates, so that the hub sees [`PUBLIC`].
const HUB_AT_HOME: &str = "192.168.77.1:8001";

/// Ranges that no customer may reach, all answered by the router.
const FORBIDDEN_RANGES: [&str; 18] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "192.0.2.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "198.18.0.0/15",
    "192.0.0.0/24",
    "168.63.129.16/32",
    "fc00::/7",
    "2001:db8::/32",
    "2002::/16",
    "2001::/32",
    "64:ff9b::c0a8:0/112",
    "64:ff9b::a00:0/104",
    "64:ff9b:1::/48",
];

/// Everything in the laboratory. Fields end in this order: programs before what they stand on.
pub(super) struct Laboratory {
    device: Option<Program>,
    server: Program,
    pub(super) at_home: Recorder,
    pub(super) at_lan: Recorder,
    pub(super) at_inet: Recorder,
    pub(super) names: Names,
    customer: Customer,
    account: String,
    admin: Api,
    partner_key: String,
    folder: TempDir,
    pub(super) home: Namespace,
    pub(super) lan: Namespace,
    pub(super) inet: Namespace,
}

impl Laboratory {
    /// Builds it; no device runs yet.
    pub(super) fn build() -> Self {
        let (home, lan, inet) = (
            Namespace::create("home"),
            Namespace::create("lan"),
            Namespace::create("inet"),
        );
        wire(&home, &lan, &inet);
        for (namespace, dns) in [(&home, "192.168.77.1"), (&inet, "192.168.77.1")] {
            namespace.set_dns(dns);
        }
        let names = Names::start(&lan, "192.168.77.1", zone());
        let (at_home, at_lan, at_inet) = (
            Recorder::start(&home, "home"),
            Recorder::start(&lan, "lan"),
            Recorder::start(&inet, "inet"),
        );
        let folder = tempfile::Builder::new().prefix("iploop-lab-").tempdir().unwrap();
        let here = folder.path();
        std::fs::write(here.join("policy.json"), policy()).unwrap();
        let configuration = format!(
            "[gateway]\nlisten = [\"{PLATFORM}:0\"]\n[hub]\nlisten = \"{PLATFORM}:0\"\n[api]\nlisten = \"{PLATFORM}:0\"\n\
             [metrics]\nlisten = \"{PLATFORM}:0\"\n[abuse]\nsuspend_after = 0\n[exit]\npolicy = \"{}\"\n",
            here.join("policy.json").display()
        );
        std::fs::write(here.join("iploop.toml"), configuration).unwrap();
        let manage = |arguments: &[&str]| -> Value {
            let output = run(serve(&inet, here).args(arguments), PATIENCE);
            assert!(output.status.success(), "{output:?}");
            serde_json::from_slice(&output.stdout).unwrap()
        };
        let account = manage(&[
            "account",
            "create",
            "--email",
            "lab@example.com",
            "--verified",
            "--key",
            "lab",
        ]);
        let root = manage(&[
            "account",
            "create",
            "--email",
            "root@example.com",
            "--admin",
            "--verified",
        ]);
        let partner = manage(&["partner", "create", "--name", "Laboratory"]);
        Database::at(here.join("data/iploop.db")).give_business_plan(account["accountId"].as_str().unwrap());
        let log = here.join("server.log");
        let server = Program::start("the server", serve(&inet, here).arg("serve"), &log);
        let ready = server.event("ready");
        let address = |name: &str| ready[name].as_str().unwrap().parse::<SocketAddr>().unwrap();
        translate(&lan, address("hub"));
        let api = Api::at(address("api"));
        let login = serde_json::json!({ "email": "root@example.com", "password": root["password"] });
        let token = inet.run(|| api.post("/api/auth/login", &login)).json();
        let admin = api.with_token(token["token"].as_str().unwrap());
        Self {
            device: None,
            server,
            at_home,
            at_lan,
            at_inet,
            names,
            customer: Customer {
                proxy: address("proxy"),
                user: "iploop".to_owned(),
                password: account["key"].as_str().unwrap().to_owned(),
            },
            account: account["accountId"].as_str().unwrap().to_owned(),
            admin,
            partner_key: partner["key"].as_str().unwrap().to_owned(),
            folder,
            home,
            lan,
            inet,
        }
    }

    /// A device at home that shares through the platform's own hub.
    pub(super) fn start_device(&mut self) {
        let device = self.begin_device(HUB_AT_HOME, "device");
        let connected = device.event("connected");
        assert_eq!(connected["publicIp"], PUBLIC);
        device.event("sharing");
        self.device = Some(device);
    }

    /// A device at home, on its way to a hub.
    pub(super) fn begin_device(&self, hub: &str, name: &str) -> Program {
        let mut command = self.home.command(&agent());
        command
            .args([
                "run",
                "--json",
                "--accept-terms",
                TERMS,
                "--hub",
                &format!("ws://{hub}/ws"),
            ])
            .args(["--partner-key", &self.partner_key, "--state"])
            .arg(self.folder.path().join(name));
        Program::start(
            name,
            &mut command,
            &self.folder.path().join(name).with_extension("log"),
        )
    }

    /// Another policy of the operator's, which the server reads by itself.
    pub(super) fn set_policy(&self, policy: &Value) {
        let file = self.folder.path().join("policy.json");
        std::fs::write(file.with_extension("new"), policy.to_string()).unwrap();
        std::fs::rename(file.with_extension("new"), &file).unwrap();
    }

    /// Does something as a customer on the internet.
    pub(super) fn as_customer<T: Send>(&self, act: impl FnOnce(&Customer) -> T + Send) -> T {
        self.inet.run(|| act(&self.customer))
    }

    /// Asks the API as an admin.
    pub(super) fn as_admin<T: Send>(&self, act: impl FnOnce(&Api) -> T + Send) -> T {
        self.inet.run(|| act(&self.admin))
    }

    /// The customer's account.
    pub(super) fn account(&self) -> &str {
        &self.account
    }

    /// Everything that was reached at home, and in its network.
    pub(super) fn reached_at_home(&self) -> Vec<SocketAddr> {
        [self.at_home.seen(), self.at_lan.seen()].concat()
    }

    /// What server and device said.
    pub(super) fn logs(&self) -> String {
        let device = self.device.as_ref().map(Program::log).unwrap_or_default();
        self.server.log() + &device
    }
}

fn wire(home: &Namespace, lan: &Namespace, inet: &Namespace) {
    home.join("eth0", lan, "lan0");
    lan.join("wan0", inet, "wan0");
    for (namespace, interface, addresses) in [
        (home, "eth0", &["192.168.77.2/24", "2606:2800:77::2/64"][..]),
        (
            lan,
            "lan0",
            &[
                "192.168.77.1/24",
                "192.168.77.9/24",
                "2606:2800:77::1/64",
                "2606:2800:77::9/64",
            ],
        ),
        (lan, "wan0", &["45.60.0.2/24", "2606:2800:1::2/64"]),
        (inet, "wan0", &["45.60.0.1/24", "2606:2800:1::1/64"]),
    ] {
        for address in addresses {
            namespace.ip(&format!("addr add {address} dev {interface}"));
        }
    }
    for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        lan.sysctl(key, "1");
    }
    home.ip("route add default via 192.168.77.1");
    home.ip("route add default via 2606:2800:77::1");
    lan.ip("route add default via 45.60.0.1");
    lan.ip("route add default via 2606:2800:1::1");
    inet.ip("route add 192.168.77.0/24 via 45.60.0.2");
    inet.ip("route add 2606:2800:77::/64 via 2606:2800:1::2");
    for range in FORBIDDEN_RANGES {
        lan.ip(&format!("route add local {range} dev lo"));
    }
    // Sites, the platform, and sites as NAT64 shows them.
    for range in [
        "93.184.216.0/24",
        "45.60.1.0/24",
        "2606:2800:220::/48",
        "64:ff9b::5db8:d800/120",
    ] {
        inet.ip(&format!("route add local {range} dev lo"));
    }
}

/// The names of the laboratory.
fn zone() -> HashMap<&'static str, Answers> {
    let ips = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| text.parse::<IpAddr>().unwrap())
            .collect::<Vec<_>>()
    };
    let all = |texts: &[&str]| Answers::All(ips(texts));
    HashMap::from([
        ("public.example", all(&["93.184.216.10", "2606:2800:220::10"])),
        ("six.example", all(&["2606:2800:220::10"])),
        ("nat64.example", all(&["64:ff9b::5db8:d80a"])),
        (
            "alias.example",
            Answers::Alias("public.example", "93.184.216.10".parse().unwrap()),
        ),
        ("private.example", all(&["192.168.77.9"])),
        ("router.example", all(&["192.168.77.1"])),
        ("itself.example", all(&["192.168.77.2"])),
        ("loopback.example", all(&["127.0.0.1"])),
        ("loopback6.example", all(&["::1"])),
        ("metadata.example", all(&["169.254.169.254"])),
        ("zero.example", all(&["0.0.0.0"])),
        ("hairpin.example", all(&[PUBLIC])),
        ("onlink.example", all(&["2606:2800:77::9"])),
        ("mapped.example", all(&["::ffff:192.168.77.9"])),
        ("nat64-private.example", all(&["64:ff9b::c0a8:4d09"])),
        ("unique-local.example", all(&["fd00::9"])),
        ("mixed.example", all(&["93.184.216.10", "192.168.77.9"])),
        ("mixed6.example", all(&["93.184.216.10", "fd00::9"])),
        (
            "alias-private.example",
            Answers::Alias("private.example", "192.168.77.9".parse().unwrap()),
        ),
        (
            "rebind.example",
            Answers::Turns(ips(&["93.184.216.10", "192.168.77.9"])),
        ),
        (
            "rebind6.example",
            Answers::Turns(ips(&["2606:2800:220::10", "2606:2800:77::9"])),
        ),
    ])
}

fn serve(inet: &Namespace, folder: &Path) -> std::process::Command {
    let mut command = inet.command(&server());
    command
        .arg("--config")
        .arg(folder.join("iploop.toml"))
        .arg("--data")
        .arg(folder.join("data"))
        .env("RUST_LOG", "debug,sqlx=info");
    command
}

/// The router's part of reaching the hub: from the household's public address.
fn translate(lan: &Namespace, hub: SocketAddr) {
    lan.run(|| {
        let listener = TcpListener::bind(HUB_AT_HOME).unwrap();
        std::thread::spawn(move || {
            // Ends with the process, as the namespace does: one thread that waits for devices that do not come.
            while let Ok((inside, _)) = listener.accept() {
                let Ok(outside) = TcpStream::connect(hub) else {
                    continue;
                };
                for (mut from, mut to) in [
                    (inside.try_clone().unwrap(), outside.try_clone().unwrap()),
                    (outside, inside),
                ] {
                    std::thread::spawn(move || {
                        let _ = copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
    });
}
