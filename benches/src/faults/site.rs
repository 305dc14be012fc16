//! A running system: servers, devices of their own processes, a destination and an account, all on loopback.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Row as _};
use tempfile::TempDir;
use tokio::process::Command;

use super::customers::Customer;
use super::destination::Destination;
use crate::child::Process;
use crate::cores;
use crate::http::Connection;
use crate::order::HubAccess;
use crate::peer::{
    OWNER, Program, TERMS_HASH, TERMS_VERSION, generous_policy, grant_plenty, write_certificate,
};

pub(super) const PASSWORD: &str = "correct horse battery staple 27";
/// Devices of this site are at 127.0.2.1 and up.
const FIRST_ADDRESS: u32 = 0x7F00_0201;
const END_LIMIT: Duration = Duration::from_secs(60);

/// What differs between sites.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// Keys of the server's configuration, by their twins in the environment.
    pub(super) environment: Vec<(&'static str, String)>,
    /// The database, if it is not SQLite. Then accounts have the plan and the balance that everyone begins with.
    pub(super) database: Option<String>,
    /// The server's own core.
    pub(super) core: Option<usize>,
    /// The hub speaks TLS.
    pub(super) tls: bool,
}

/// An account with a key.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) id: String,
    pub(super) email: String,
    pub(super) key: String,
}

/// The server's ready line (`docs/contracts.md`).
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Ready {
    pub(super) proxy: SocketAddr,
    pub(super) hub: SocketAddr,
    pub(super) api: SocketAddr,
    pub(super) metrics: SocketAddr,
}

/// Everything together; what it started ends with it.
pub(super) struct Site {
    devices: Vec<Process>,
    server: Process,
    starts: usize,
    pub(super) ready: Ready,
    pub(super) account: Account,
    /// An account that nobody has asked with.
    pub(super) other: Account,
    pub(super) destination: Destination,
    partner: String,
    settings: Settings,
    binaries: PathBuf,
    folder: TempDir,
}

impl Site {
    /// A server without devices.
    pub(super) async fn start(binaries: &Path, settings: Settings) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let here = folder.path();
        let destination = Destination::start()?;
        if settings.tls {
            write_certificate(here)?;
        }
        fs::write(here.join("policy.json"), generous_policy())?;
        fs::write(
            here.join("server.toml"),
            configuration(&settings, destination.address, here),
        )?;
        let program = Program {
            binary: binaries.join("iploop-server"),
            folder: here,
        };
        let account = create_account(&program, "customer@example.com").await?;
        let other = create_account(&program, "other@example.com").await?;
        let partner = program
            .secret(&["partner", "create", "--name", "bench"], "iplp_")
            .await?;
        if settings.database.is_none() {
            grant_plenty(&here.join("data")).await?;
        }
        let (server, ready) = serve(&program, &settings, None, "server-0").await?;
        Ok(Self {
            devices: Vec::new(),
            server,
            starts: 1,
            ready,
            account,
            other,
            destination,
            partner,
            settings,
            binaries: binaries.to_owned(),
            folder,
        })
    }

    /// A server with so many devices.
    pub(super) async fn with_devices(
        binaries: &Path,
        settings: Settings,
        count: usize,
    ) -> anyhow::Result<Self> {
        let mut site = Self::start(binaries, settings).await?;
        for _ in 0..count {
            let hub = site.ready.hub;
            site.add_device(hub).await?;
        }
        Ok(site)
    }

    /// Starts one more device, which reaches the hub at `hub`; it shares when this returns.
    pub(super) async fn add_device(&mut self, hub: SocketAddr) -> anyhow::Result<()> {
        let number = self.devices.len();
        let mut device = Process::spawn(
            &format!("device-{number}"),
            self.device_command(number, hub)?,
            self.folder.path(),
        )?;
        said(&mut device, "sharing").await?;
        self.devices.push(device);
        Ok(())
    }

    /// What device number `number` is started by.
    pub(super) fn device_command(&self, number: usize, hub: SocketAddr) -> anyhow::Result<Command> {
        let scheme = if self.settings.tls { "wss" } else { "ws" };
        let mut command = agent_command(
            &self.agent(),
            number,
            &format!("{scheme}://{hub}/ws"),
            &self.partner,
        )?;
        command
            .args(["--test-allow", &self.destination.address.to_string()])
            .arg("--state")
            .arg(self.device_state(number));
        if self.settings.tls {
            command.arg("--ca").arg(self.folder.path().join("cert.pem"));
        }
        Ok(command)
    }

    /// The folder with the state of a device.
    pub(super) fn device_state(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("device-{number}"))
    }

    pub(super) fn device(&mut self, number: usize) -> anyhow::Result<&mut Process> {
        self.devices.get_mut(number).context("no such device")
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The agent's binary.
    pub(super) fn agent(&self) -> PathBuf {
        self.binaries.join("iploop-node")
    }

    pub(super) fn partner(&self) -> &str {
        &self.partner
    }

    pub(super) fn customer(&self) -> Customer {
        self.customer_of(&self.account)
    }

    pub(super) fn customer_of(&self, account: &Account) -> Customer {
        Customer {
            proxy: self.ready.proxy,
            key: account.key.clone(),
            destination: self.destination.address,
            stays: Duration::ZERO,
        }
    }

    /// What a simulated device needs to register.
    pub(super) fn hub_access(&self) -> HubAccess {
        HubAccess {
            address: self.ready.hub,
            ca: self.settings.tls.then(|| self.folder.path().join("cert.pem")),
            partner_key: self.partner.clone(),
            terms_version: TERMS_VERSION.to_owned(),
            terms_hash: TERMS_HASH.to_owned(),
        }
    }

    pub(super) fn server(&self) -> &Process {
        &self.server
    }

    /// Kills the server as a crash would.
    pub(super) async fn kill_server(&mut self) -> anyhow::Result<()> {
        self.server.signal(Signal::KILL)?;
        self.server.ended().await?;
        Ok(())
    }

    /// Asks the server to leave.
    pub(super) fn ask_to_leave(&self) -> anyhow::Result<()> {
        self.server.signal(Signal::TERM)
    }

    /// Waits until the server has ended by itself.
    pub(super) async fn left(&mut self) -> anyhow::Result<()> {
        let status = tokio::time::timeout(END_LIMIT, self.server.ended()).await??;
        anyhow::ensure!(
            status == Some(0),
            "the server ended with {status:?}: {}",
            self.server.log_tail()
        );
        Ok(())
    }

    /// Starts the server anew where it was; it listens when this returns.
    pub(super) async fn start_server(&mut self) -> anyhow::Result<()> {
        let program = self.program();
        let name = format!("server-{}", self.starts);
        let (server, ready) = serve(&program, &self.settings, Some(self.ready), &name).await?;
        self.server = server;
        self.ready = ready;
        self.starts += 1;
        Ok(())
    }

    /// Another server on the same database, and one device of its own.
    pub(super) async fn second_server(&mut self) -> anyhow::Result<(Process, Ready)> {
        let mut command = Command::new(self.binaries.join("iploop-server"));
        let data = self.folder.path().join("data");
        command
            .arg("serve")
            .arg("--config")
            .arg(self.folder.path().join("server.toml"))
            .arg("--data")
            .arg(self.folder.path().join("second"))
            .envs(self.settings.environment.clone())
            .env("IPLOOP_LOGIN__SECRET_FILE", data.join("login-secret"));
        let mut server = Process::spawn("second", command, self.folder.path())?;
        let ready: Ready = server.ready().await?;
        self.add_device(ready.hub).await?;
        Ok((server, ready))
    }

    /// Devices that the server says it has.
    pub(super) async fn connected_devices(&self) -> Option<u64> {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", self.ready.metrics);
        let mut connection = Connection::open(self.ready.metrics).await.ok()?;
        let answer = connection.exchange(&request).await.ok()?;
        let text = String::from_utf8_lossy(answer.body);
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix("iploop_hub_nodes "));
        Some(value.map_or(0, |value| value.trim().parse().unwrap_or(0)))
    }

    /// What `ledger check` finds out of order; an error if it finds anything.
    pub(super) async fn check_ledger(&self) -> anyhow::Result<()> {
        self.program().output(&["ledger", "check"], None).await.map(drop)
    }

    /// Bytes down that were booked of a request which has ended, by its id.
    pub(super) async fn booked(&self, id: &str) -> anyhow::Result<Option<u64>> {
        let mut database = self.database().await?;
        let query =
            "SELECT bytes_downloaded FROM usage_records WHERE lower(hex(id)) = $1 AND ended_at IS NOT NULL";
        let row = sqlx::query(query).bind(id).fetch_optional(&mut database).await?;
        database.close().await?;
        Ok(row.map(|row| row.get::<i64, _>(0).try_into()).transpose()?)
    }

    /// What an account has used, and what its billable requests come to.
    pub(super) async fn used(&self, account: &Account) -> anyhow::Result<[i64; 2]> {
        let mut database = self.database().await?;
        let query =
            "SELECT used_bytes, (SELECT CAST(COALESCE(SUM(bytes_uploaded + bytes_downloaded), 0) AS BIGINT)
             FROM usage_records r WHERE r.user_id = p.user_id AND billable)
             FROM user_plans p WHERE lower(hex(user_id)) = $1";
        let row = sqlx::query(query).bind(account.id.replace('-', ""));
        let row = row.fetch_one(&mut database).await?;
        database.close().await?;
        Ok([row.get(0), row.get(1)])
    }

    /// Leaves an account just so many bytes. Its one entry is the bonus, and what [`grant_plenty`] gave is taken away.
    pub(super) async fn set_balance(&self, account: &Account, bytes: i64) -> anyhow::Result<()> {
        let id = format!("x'{}'", account.id.replace('-', ""));
        let mut database = self.database().await?;
        for statement in [
            format!(
                "DELETE FROM ledger_postings WHERE entry_id IN (SELECT id FROM ledger_entries WHERE owner_id = {id} AND \
                 description = 'benchmark')"
            ),
            format!("DELETE FROM ledger_entries WHERE owner_id = {id} AND description = 'benchmark'"),
        ]
        .into_iter()
        .chain(balance_statements(&id, bytes))
        {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut database).await?;
        }
        Ok(database.close().await?)
    }

    async fn database(&self) -> anyhow::Result<SqliteConnection> {
        let file = self.folder.path().join("data").join(iploop_store::DATABASE_FILE);
        let options = SqliteConnectOptions::new()
            .filename(file)
            .busy_timeout(Duration::from_secs(30));
        Ok(SqliteConnection::connect_with(&options).await?)
    }

    fn program(&self) -> Program<'_> {
        Program {
            binary: self.binaries.join("iploop-server"),
            folder: self.folder.path(),
        }
    }
}

/// Leaves an account, whose id is written so, a balance of so many bytes. Its one entry in the ledger is the bonus.
pub(super) fn balance_statements(id: &str, bytes: i64) -> [String; 3] {
    [
        format!("UPDATE ledger_entries SET bytes = {bytes} WHERE owner_id = {id}"),
        format!(
            "UPDATE ledger_postings SET amount = CASE account WHEN 'purse' THEN {bytes} ELSE -{bytes} END \
             WHERE entry_id IN (SELECT id FROM ledger_entries WHERE owner_id = {id})"
        ),
        format!("UPDATE user_plans SET balance_bytes = {bytes} - used_bytes WHERE user_id = {id}"),
    ]
}

/// What runs an agent, but for its state; by its number it has an address of its own.
pub(super) fn agent_command(
    binary: &Path,
    number: usize,
    hub: &str,
    partner: &str,
) -> anyhow::Result<Command> {
    let address = Ipv4Addr::from_bits(FIRST_ADDRESS + u32::try_from(number)?);
    let mut command = Command::new(binary);
    command
        .args(["run", "--json", "--accept-terms", TERMS_VERSION, "--hub", hub])
        .args(["--partner-key", partner, "--bind", &address.to_string()])
        .args(OWNER);
    Ok(command)
}

/// Reads a device's lines until this event.
pub(super) async fn said(device: &mut Process, event: &str) -> anyhow::Result<Value> {
    let heard = async {
        loop {
            let line: Value = device.next_json().await?;
            if line["event"] == event {
                return anyhow::Ok(line);
            }
        }
    };
    tokio::time::timeout(END_LIMIT, heard)
        .await
        .with_context(|| format!("the device never said {event}"))?
}

async fn create_account(program: &Program<'_>, email: &str) -> anyhow::Result<Account> {
    let arguments = [
        "account",
        "create",
        "--email",
        email,
        "--verified",
        "--key",
        "bench",
    ];
    let made: Value = serde_json::from_str(&program.output(&arguments, Some(PASSWORD)).await?)?;
    let text = |name: &str| Some(made[name].as_str()?.to_owned());
    Ok(Account {
        id: text("accountId").context("no account")?,
        email: email.to_owned(),
        key: text("key").context("no key")?,
    })
}

async fn serve(
    program: &Program<'_>,
    settings: &Settings,
    at: Option<Ready>,
    name: &str,
) -> anyhow::Result<(Process, Ready)> {
    let mut command = program.command(&["serve"]);
    command.envs(settings.environment.clone());
    if let Some(Ready {
        proxy,
        hub,
        api,
        metrics,
    }) = at
    {
        command
            .env("IPLOOP_GATEWAY__LISTEN", format!("[\"{proxy}\"]"))
            .env("IPLOOP_HUB__LISTEN", hub.to_string())
            .env("IPLOOP_API__LISTEN", api.to_string())
            .env("IPLOOP_METRICS__LISTEN", metrics.to_string());
    }
    let start = || Process::spawn(name, command, program.folder);
    let mut server = match settings.core {
        Some(core) => cores::start_on(core, start)?,
        None => start()?,
    };
    let ready = server.ready().await?;
    Ok((server, ready))
}

fn configuration(settings: &Settings, destination: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    let mut text = format!(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\n\n[api]\nlisten = \"127.0.0.1:0\"\n\n[metrics]\nlisten = \"127.0.0.1:0\"\n\n\
         [exit]\ntest_allow = [\"{destination}\"]\npolicy = \"{folder}/policy.json\"\n\n\
         [hub]\nlisten = \"127.0.0.1:0\"\nterms = [\"{TERMS_VERSION}\"]\nmax_streams_per_node = 10000\n"
    );
    if settings.tls {
        text.push_str(&format!(
            "tls_cert = \"{folder}/cert.pem\"\ntls_key = \"{folder}/key.pem\"\n"
        ));
    }
    if let Some(url) = &settings.database {
        text.push_str(&format!("\n[database]\nurl = \"{url}\"\n"));
    }
    text
}
