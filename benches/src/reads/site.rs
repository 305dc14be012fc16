//! The server that is read from: one core, SQLite, accounts with keys, webhooks and a history, devices in some countries.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::hashing::{self, Job, Rate};
use super::history::{self, Owner};
use crate::child::Process;
use crate::cores;
use crate::http::{self, Connection};
use crate::order::{Event, HubAccess, Mark, Order, Scenario};
use crate::peer::{Program, TERMS_HASH, TERMS_VERSION, grant_plenty};
use crate::route::Route;

const PASSWORD: &str = "correct horse battery staple 27";
/// Signs in again and again: of an account's logins the oldest ends when they are many.
const SIGNING_IN: &str = "signing-in@example.com";
const KEYS: usize = 5;
const WEBHOOKS: usize = 3;
/// Nobody listens there, and nothing that happens is told there.
const WEBHOOK_ADDRESS: &str = "127.0.0.1:9";
/// Places of simulated devices, which are at 127.1.0.1 and up, 16 in each.
const PLACES: [(&str, &str, &str); 12] = [
    ("US", "California", "Los Angeles"),
    ("US", "Florida", "Miami"),
    ("US", "New York", "New York"),
    ("DE", "Berlin", "Berlin"),
    ("DE", "Bavaria", "Munich"),
    ("GB", "England", "London"),
    ("FR", "Ile-de-France", "Paris"),
    ("BR", "Sao Paulo", "Sao Paulo"),
    ("IN", "Karnataka", "Bengaluru"),
    ("JP", "Tokyo", "Tokyo"),
    ("PL", "Mazovia", "Warsaw"),
    ("NL", "North Holland", "Amsterdam"),
];

/// How much there is to read.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) accounts: usize,
    pub(super) requests: usize,
    pub(super) devices: usize,
}

/// A started server. Dropping it ends its processes.
pub(super) struct Site {
    api: SocketAddr,
    cookies: Vec<String>,
    server: Process,
    _devices: Option<Process>,
    gateway: JoinHandle<anyhow::Result<()>>,
    folder: TempDir,
}

/// The server's ready line (`docs/contracts.md`).
#[derive(Deserialize)]
struct Ready {
    api: SocketAddr,
    hub: SocketAddr,
}

impl Site {
    /// Starts it and fills it.
    pub(super) async fn start(binaries: &Path, core: usize, size: Size) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let here = folder.path();
        fs::write(here.join("server.toml"), configuration()?)?;
        let program = Program {
            binary: binaries.join("iploop-server"),
            folder: here,
        };
        let data = here.join("data");
        let readers: Vec<String> = (0..size.accounts)
            .map(|number| format!("reader-{number}@example.com"))
            .collect();
        for email in readers.iter().map(String::as_str).chain([SIGNING_IN]) {
            let arguments = ["account", "create", "--email", email, "--verified"];
            program.output(&arguments, Some(PASSWORD)).await?;
        }
        let partner = program
            .secret(&["partner", "create", "--name", "bench"], "iplp_")
            .await?;
        grant_plenty(&data).await?;
        let mut server = cores::start_on(core, || {
            Process::spawn("iploop-server", program.command(&["serve"]), here)
        })?;
        let Ready { api, hub } = server.ready().await?;

        let mut cookies = Vec::with_capacity(readers.len());
        let mut owners = Vec::with_capacity(readers.len());
        for email in &readers {
            let (token, owner) = furnish(api, email)
                .await
                .context("an account's keys and webhooks")?;
            cookies.push(format!("iploop_session={token}"));
            owners.push(owner);
        }
        let store = iploop_store::open(data.to_str().context("the data folder's name")?).await?;
        history::book(&*store, &owners, size.requests)
            .await
            .context("the history")?;
        let hub = HubAccess {
            address: hub,
            ca: None,
            partner_key: partner,
            terms_version: TERMS_VERSION.to_owned(),
            terms_hash: TERMS_HASH.to_owned(),
        };
        let devices = match size.devices {
            0 => None,
            count => Some(connect(hub, count, here).await.context("devices")?),
        };
        Ok(Self {
            api,
            cookies,
            server,
            _devices: devices,
            gateway: tokio::spawn(history::go_on(store, owners)),
            folder,
        })
    }

    /// An error if no booking succeeds any more.
    pub(super) async fn finish(self) -> anyhow::Result<()> {
        if self.gateway.is_finished() {
            self.gateway.await??;
        }
        Ok(())
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn api(&self) -> SocketAddr {
        self.api
    }

    pub(super) fn server_pid(&self) -> anyhow::Result<u32> {
        self.server.pid()
    }

    /// The cookie of each account.
    pub(super) fn readers(&self) -> impl Iterator<Item = &str> {
        self.cookies.iter().map(String::as_str)
    }

    /// A request that signs in.
    pub(super) fn sign_in(&self) -> String {
        sign_in(self.api, SIGNING_IN)
    }

    /// How often argon2id alone checks that account's password on `core`, while the server has its bookings and devices and nobody
    /// asks it for anything.
    pub(super) async fn hashes_per_second(&self, core: usize, seconds: f64) -> anyhow::Result<f64> {
        let file = SqliteConnectOptions::new()
            .filename(self.database())
            .read_only(true);
        let mut database = SqliteConnection::connect_with(&file).await?;
        let (stored,): (String,) = sqlx::query_as("SELECT password_hash FROM users WHERE LOWER(email) = $1")
            .bind(SIGNING_IN)
            .fetch_one(&mut database)
            .await?;
        database.close().await?;
        let job = Job {
            password: PASSWORD.to_owned(),
            stored,
            seconds,
        };
        let mut hashing = cores::start_on(core, || {
            Process::spawn_own("reads-hashing", &["reads-hashing".to_owned()], self.folder())
        })?;
        hashing.tell(&serde_json::to_string(&job)?).await?;
        let hashing::Rate { per_second }: Rate = hashing.next_json().await?;
        Ok(per_second)
    }

    fn database(&self) -> PathBuf {
        self.folder().join("data").join(iploop_store::DATABASE_FILE)
    }
}

fn configuration() -> anyhow::Result<String> {
    let mut text = format!(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\n\n[api]\nlisten = \"127.0.0.1:0\"\n\n[metrics]\nlisten = \"127.0.0.1:0\"\n\n\
         [hub]\nlisten = \"127.0.0.1:0\"\nterms = [\"{TERMS_VERSION}\"]\n\n\
         [webhooks]\ntest_allow = [\"{WEBHOOK_ADDRESS}\"]\n"
    );
    for (number, (country, region, city)) in PLACES.iter().enumerate() {
        write!(
            text,
            "\n[[geo.overrides]]\ncidr = \"127.1.0.{}/28\"\ncountry = \"{country}\"\nregion = \"{region}\"\n\
             city = \"{city}\"\nasn = {}\nisp = \"Example {number}\"\n",
            number * 16,
            64_500 + number,
        )?;
    }
    Ok(text)
}

fn post(api: SocketAddr, path: &str, token: Option<&str>, body: &Value) -> String {
    http::request(("POST", api, path), token, Some(body))
}

fn sign_in(api: SocketAddr, email: &str) -> String {
    post(
        api,
        "/api/auth/login",
        None,
        &json!({ "email": email, "password": PASSWORD }),
    )
}

/// Signs an account in and gives it keys and webhooks; its token.
async fn furnish(api: SocketAddr, email: &str) -> anyhow::Result<(String, Owner)> {
    let mut connection = Connection::open(api).await?;
    let login = ask(&mut connection, &sign_in(api, email)).await?;
    let token = login["token"].as_str().context("no token")?.to_owned();
    let account = login["user"]["id"].as_str().context("no id")?.parse()?;
    let mut keys = Vec::with_capacity(KEYS);
    for number in 0..KEYS {
        let body = json!({
            "name": format!("shop {number}"),
            "limits": { "requestsPerSecond": 50, "bytesPerDay": 1_000_000_000, "countries": ["DE", "US"] },
        });
        let made = ask(
            &mut connection,
            &post(api, "/api/proxy/keys", Some(&token), &body),
        )
        .await?;
        keys.push(made["id"].as_str().context("no key")?.parse()?);
    }
    for number in 0..WEBHOOKS {
        let body =
            json!({ "url": format!("http://{WEBHOOK_ADDRESS}/{number}"), "events": ["payment.failed"] });
        ask(&mut connection, &post(api, "/api/webhooks", Some(&token), &body)).await?;
    }
    Ok((token, Owner { account, keys }))
}

async fn ask(connection: &mut Connection, request: &str) -> anyhow::Result<Value> {
    let answer = connection.exchange(request).await?;
    let body = String::from_utf8_lossy(answer.body);
    anyhow::ensure!((200..300).contains(&answer.status), "{}: {body}", answer.status);
    Ok(serde_json::from_str(&body)?)
}

/// A load process that holds so many devices, or nearly: it connects some first by itself.
async fn connect(hub: HubAccess, count: usize, folder: &Path) -> anyhow::Result<Process> {
    let mut devices = Process::spawn_own("devices", &["load".to_owned()], folder)?;
    let order = Order {
        route: Route::Direct,
        destination: hub.address,
        scenario: Scenario::Devices {
            count,
            settle_seconds: 0.0,
        },
        hub: Some(hub),
    };
    devices.tell(&serde_json::to_string(&order)?).await?;
    loop {
        match devices.next_json::<Event>().await? {
            Event::Mark(Mark::Held) => return Ok(devices),
            Event::Mark(_) => devices.tell("").await?,
            Event::Done(outcome) => anyhow::bail!("{}", outcome.first_error.unwrap_or_default()),
        }
    }
}
