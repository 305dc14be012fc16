//! A server with its devices, an origin and an account, all on loopback.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Api, Authority, Customer, Database, Origin, PATIENCE, Program, agent, run, server};

/// The consent text that the tests' devices accept: they are ours, and dial nothing but the test's own origin.
pub(crate) const TERMS: &str = "2026-11";

/// Where a device is, as the server is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: &'static str,
    pub(crate) country: &'static str,
    pub(crate) city: &'static str,
    pub(crate) asn: u32,
}

impl Place {
    pub(crate) const NEW_YORK: Self = Self::new("127.0.1.7", "US", "New York", 64501);
    pub(crate) const MIAMI: Self = Self::new("127.0.1.10", "US", "Miami", 64504);
    pub(crate) const BERLIN: Self = Self::new("127.0.1.8", "DE", "Berlin", 64502);
    pub(crate) const TEL_AVIV: Self = Self::new("127.0.1.9", "IL", "Tel Aviv", 64503);

    /// Of clients that can't choose a source address.
    pub(crate) const PARIS: Self = Self::new("127.0.0.1", "FR", "Paris", 64505);

    const fn new(address: &'static str, country: &'static str, city: &'static str, asn: u32) -> Self {
        Self {
            address,
            country,
            city,
            asn,
        }
    }
}

/// What differs between worlds.
pub(crate) struct Settings {
    pub(crate) places: Vec<Place>,
    /// Keys of the server's configuration, by their twins in the environment.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Where the data is, if not in SQLite. Then the account stays in the plan that everyone begins with.
    pub(crate) database: Option<String>,
    /// The hub speaks TLS.
    pub(crate) secure_hub: bool,
    /// Addresses besides the origin that devices may dial; the server has to be told by the environment.
    pub(crate) test_allow: Vec<SocketAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            places: vec![Place::NEW_YORK, Place::BERLIN, Place::TEL_AVIV],
            environment: Vec::new(),
            database: None,
            secure_hub: false,
            test_allow: Vec::new(),
        }
    }
}

impl Settings {
    pub(crate) fn with_places(places: &[Place]) -> Self {
        Self {
            places: places.to_vec(),
            ..Self::default()
        }
    }

    /// Sets a key of the server's configuration.
    #[must_use]
    pub(crate) fn set(mut self, twin: &'static str, value: &str) -> Self {
        self.environment.push((twin, value.to_owned()));
        self
    }

    /// Devices may dial this address too.
    #[must_use]
    pub(crate) fn test_allow(mut self, address: SocketAddr) -> Self {
        self.test_allow.push(address);
        self
    }
}

/// An account with a key.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) key_id: String,
    pub(crate) email: String,
    pub(crate) password: String,
}

/// A running device.
pub(crate) struct Device {
    pub(crate) place: Place,
    pub(crate) program: Program,
    pub(crate) state: PathBuf,
}

/// Everything together. Fields end in this order: devices first, files last.
pub(crate) struct World {
    pub(crate) devices: Vec<Device>,
    pub(crate) server: Program,
    pub(crate) ready: Ready,
    pub(crate) origin: Origin,
    pub(crate) account: Account,
    pub(crate) authority: Authority,
    pub(crate) partner_key: String,
    settings: Settings,
    folder: TempDir,
}

/// The server's listeners.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) proxy: SocketAddr,
    pub(crate) socks: SocketAddr,
    pub(crate) hub: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) metrics: SocketAddr,
}

impl World {
    /// Three devices in three countries.
    pub(crate) fn start() -> Self {
        Self::start_with(Settings::default())
    }

    /// As set.
    pub(crate) fn start_with(settings: Settings) -> Self {
        let folder = tempfile::Builder::new().prefix("iploop-test-").tempdir().unwrap();
        let here = folder.path();
        let authority = Authority::create(here);
        let origin = Origin::start(&authority);
        std::fs::write(here.join("policy.json"), policy()).unwrap();
        std::fs::write(
            here.join("iploop.toml"),
            configuration(&settings, &origin, &authority, here),
        )
        .unwrap();

        let account = create_account(here, "customer@example.com", true);
        if settings.database.is_none() {
            database(here).give_business_plan(&account.id);
        }
        let partner = manage(here, &["partner", "create", "--name", "Tests"]);
        let partner_key = text(&partner, "key");
        let (server, ready) = serve(here, &settings, None);
        let mut world = Self {
            devices: Vec::new(),
            server,
            ready,
            origin,
            account,
            authority,
            partner_key,
            settings,
            folder,
        };
        // All start at once, then each is waited for.
        let places = world.settings.places.clone();
        world.devices = places.iter().map(|place| world.begin_device(*place)).collect();
        for device in &world.devices {
            device.program.event("sharing");
        }
        world
    }

    /// The customer of the world's account.
    pub(crate) fn customer(&self) -> Customer {
        self.customer_of(&self.account)
    }

    pub(crate) fn customer_of(&self, account: &Account) -> Customer {
        Customer {
            proxy: self.ready.proxy,
            user: "iploop".to_owned(),
            password: account.key.clone(),
        }
    }

    pub(crate) fn api(&self) -> Api {
        Api::at(self.ready.api)
    }

    pub(crate) fn metrics(&self) -> Api {
        Api::at(self.ready.metrics)
    }

    pub(crate) fn database(&self) -> Database {
        database(self.folder.path())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What `ledger check` says, which finds the books in order.
    pub(crate) fn checked_ledger(&self) -> String {
        let output = run(
            server_command(self.folder.path()).args(["ledger", "check"]),
            PATIENCE,
        );
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}");
        said
    }

    /// The server's data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Another account, made by the server's command line beside the running server.
    pub(crate) fn create_account(&self, email: &str, verified: bool) -> Account {
        create_account(self.folder.path(), email, verified)
    }

    /// Another device, on its way to the hub.
    pub(crate) fn begin_device(&self, place: Place) -> Device {
        let state = self.folder.path().join(format!("device-{}", place.address));
        self.begin_device_in(place, state)
    }

    /// The API, signed in as the world's account.
    pub(crate) fn signed_in(&self) -> Api {
        let (email, password) = (&self.account.email, &self.account.password);
        let login = json!({ "email": email, "password": password });
        let answer = self.api().post("/api/auth/login", &login);
        self.api().with_token(&text(&answer.json(), "token"))
    }

    /// A device whose state is there already.
    pub(crate) fn begin_device_in(&self, place: Place, state: PathBuf) -> Device {
        let command = self.device_command(place, &state);
        self.start_device(place, state, command)
    }

    /// Another device, on its way to the hub by another address than the hub's own.
    pub(crate) fn begin_device_by(&self, place: Place, hub: SocketAddr) -> Device {
        let state = self.folder.path().join(format!("device-{}", place.address));
        let command = self.device_command_by(place, &state, hub);
        self.start_device(place, state, command)
    }

    fn start_device(&self, place: Place, state: PathBuf, mut command: Command) -> Device {
        let log = self.folder.path().join(format!("{}.log", place.address));
        let name = format!("device {}", place.address);
        let program = Program::start(&name, &mut command, &log);
        Device {
            place,
            program,
            state,
        }
    }

    /// What a device is started by.
    pub(crate) fn device_command(&self, place: Place, state: &Path) -> Command {
        self.device_command_by(place, state, self.ready.hub)
    }

    fn device_command_by(&self, place: Place, state: &Path, hub: SocketAddr) -> Command {
        let mut command = Command::new(agent());
        command
            .args(["run", "--json", "--accept-terms", TERMS])
            .args(["--hub", &self.hub_url_at(hub)])
            .args(["--partner-key", &self.partner_key, "--bind", place.address])
            .args([
                "--daily-limit",
                "100TB",
                "--monthly-limit",
                "100TB",
                "--even-if",
                "vpn",
            ])
            .args(["--test-allow", &self.origin.http.to_string()])
            .args(["--test-allow", &self.origin.https.to_string()])
            .arg("--state")
            .arg(state);
        for address in &self.settings.test_allow {
            command.args(["--test-allow", &address.to_string()]);
        }
        if self.settings.secure_hub {
            command.arg("--ca").arg(&self.authority.ca);
        }
        command
    }

    pub(crate) fn hub_url(&self) -> String {
        self.hub_url_at(self.ready.hub)
    }

    fn hub_url_at(&self, hub: SocketAddr) -> String {
        let scheme = if self.settings.secure_hub { "wss" } else { "ws" };
        format!("{scheme}://{hub}/ws")
    }

    /// Starts the server anew after it has ended, where devices look for it.
    pub(crate) fn start_server(&mut self) {
        let (server, ready) = serve(self.folder.path(), &self.settings, Some(self.ready.hub));
        self.server = server;
        self.ready = ready;
    }

    /// Another server on the same database and with the same secret for logins; devices do not know it.
    pub(crate) fn second_server(&self) -> (Program, Ready) {
        let mut command = server_command(self.folder.path());
        command
            .args(["serve", "--data"])
            .arg(self.folder.path().join("second"))
            .envs(self.settings.environment.clone())
            .env("IPLOOP_LOGIN__SECRET_FILE", self.data().join("login-secret"));
        serve_by(command, &self.folder.path().join("second.log"))
    }

    /// As [`World::start_server`]; the devices are back when this returns.
    pub(crate) fn restart_server(&mut self) {
        self.start_server();
        for device in &self.devices {
            device.program.event("sharing");
        }
    }
}

impl Device {
    /// Runs a command of the agent on this device's state; what it says.
    pub(crate) fn command(&self, name: &str) -> Value {
        let mut command = Command::new(agent());
        command.args([name, "--json", "--state"]).arg(&self.state);
        let output = run(&mut command, PATIENCE);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {complaint}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// What the server says of this configuration without starting anything.
pub(crate) fn check(folder: &Path, configuration: &str) -> Output {
    std::fs::write(folder.join("iploop.toml"), configuration).unwrap();
    run(server_command(folder).arg("check"), PATIENCE)
}

/// Runs the server with this configuration until it ends by itself.
pub(crate) fn refuse_to_serve(folder: &Path, configuration: &str, environment: &[(&str, &str)]) -> Output {
    std::fs::write(folder.join("iploop.toml"), configuration).unwrap();
    let mut command = server_command(folder);
    run(command.arg("serve").envs(environment.iter().copied()), PATIENCE)
}

/// Runs a command of the server's on the data in `folder`, and reads what it made.
pub(crate) fn manage(folder: &Path, arguments: &[&str]) -> Value {
    let output = run(server_command(folder).args(arguments), PATIENCE);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn create_account(folder: &Path, email: &str, verified: bool) -> Account {
    let mut arguments = vec!["account", "create", "--email", email, "--key", "tests"];
    if verified {
        arguments.push("--verified");
    }
    let made = manage(folder, &arguments);
    Account {
        id: text(&made, "accountId"),
        key: text(&made, "key"),
        key_id: text(&made, "keyId"),
        email: email.to_owned(),
        password: text(&made, "password"),
    }
}

fn database(folder: &Path) -> Database {
    Database::at(folder.join("data/iploop.db"))
}

fn server_command(folder: &Path) -> Command {
    let mut command = Command::new(server());
    command
        .arg("--config")
        .arg(folder.join("iploop.toml"))
        .arg("--data")
        .arg(folder.join("data"))
        .env("RUST_LOG", "debug,sqlx=info");
    command
}

fn serve(folder: &Path, settings: &Settings, hub: Option<SocketAddr>) -> (Program, Ready) {
    let mut command = server_command(folder);
    command.arg("serve").envs(settings.environment.clone());
    if let Some(hub) = hub {
        command.env("IPLOOP_HUB__LISTEN", hub.to_string());
    }
    serve_by(command, &folder.join("server.log"))
}

fn serve_by(mut command: Command, log: &Path) -> (Program, Ready) {
    let program = Program::start("the server", &mut command, log);
    let said = program.event("ready");
    let address = |name: &str| text(&said, name).parse::<SocketAddr>().unwrap();
    let ready = Ready {
        proxy: address("proxy"),
        socks: address("socks"),
        hub: address("hub"),
        api: address("api"),
        metrics: address("metrics"),
    };
    (program, ready)
}

/// Dials are not hedged, unless a test says so: on a busy machine they take long by themselves, and an origin whose visits are
/// counted shall have one for each request.
fn configuration(settings: &Settings, origin: &Origin, authority: &Authority, folder: &Path) -> String {
    let (cert, key) = (authority.cert.display(), authority.key.display());
    let tls = format!("tls_cert = \"{cert}\"\ntls_key = \"{key}\"\n");
    let mut text = format!(
        "[gateway]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\nsoft_drain = \"1s\"\nhedge_dials = false\n{tls}\
         [hub]\nlisten = \"127.0.0.1:0\"\n{}\
         [api]\nlisten = \"127.0.0.1:0\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n\
         [abuse]\nsuspend_after = 0\n[exit]\npolicy = \"{}\"\ntest_allow = [\"{}\", \"{}\"]\n",
        if settings.secure_hub { tls.as_str() } else { "" },
        folder.join("policy.json").display(),
        origin.http,
        origin.https,
    );
    if let Some(url) = &settings.database {
        write!(text, "[database]\nurl = \"{url}\"\n").unwrap();
    }
    let mut places = settings.places.clone();
    for place in [
        Place::NEW_YORK,
        Place::MIAMI,
        Place::BERLIN,
        Place::TEL_AVIV,
        Place::PARIS,
    ] {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    for place in places {
        write!(
            text,
            "[[geo.overrides]]\ncidr = \"{}/32\"\ncountry = \"{}\"\ncity = \"{}\"\nasn = {}\nisp = \"Test network\"\n",
            place.address, place.country, place.city, place.asn
        )
        .unwrap();
    }
    text
}

/// A platform policy (`docs/protocol.md`, Policy) whose limits against abuse no test runs into by its number of requests.
pub(crate) fn policy() -> String {
    let plenty = 1_000_000;
    json!({
        "format": 1,
        "version": 1,
        "limits": {
            "openStreams": plenty,
            "dialsPerSecond": plenty,
            "portsPerHostPerMinute": plenty,
            "hostsPerMinute": plenty,
            "failureMinDials": plenty,
            "dialsPerHostPerSecond": plenty,
        },
    })
    .to_string()
}

fn text(value: &Value, key: &str) -> String {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} is missing in {value}"))
        .to_owned()
}
