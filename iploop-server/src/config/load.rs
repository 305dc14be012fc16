//! From a TOML file and the environment to types, with every mistake at once, each with its key and the way out.

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use iploop_store::{check_redis_url, check_url};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::describe::{section_names, twin_meant_by};
use super::{Config, DEFAULT_DATA, files};

/// Every key of the file has a twin `IPLOOP_SECTION__KEY` in the environment, or `IPLOOP_SECTION__TABLE__KEY`.
const PREFIX: &str = "IPLOOP_";

/// What is wrong with a configuration: one line each, with the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.0 {
            writeln!(f, "error: {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

impl Mistakes {
    fn none(mistakes: Vec<String>) -> Result<(), Self> {
        if mistakes.is_empty() {
            Ok(())
        } else {
            Err(Self(mistakes))
        }
    }
}

impl Config {
    /// Reads a file, if one is given, and what the environment says; the environment wins.
    ///
    /// `data` is the folder given on the command line, which wins over both.
    ///
    /// # Errors
    /// Everything that is wrong with the values, key by key. The files that they name were not looked at.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        data: Option<PathBuf>,
    ) -> Result<Self, Mistakes> {
        let (config, mistakes) = Self::read(file, environment, data);
        Mistakes::none(mistakes).map(|()| config)
    }

    /// As [`Config::load`], and looks at the files and folders that the values name.
    ///
    /// # Errors
    /// Everything that is wrong with the values and the files, key by key. Nothing was made or changed.
    pub fn load_with_files(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        data: Option<PathBuf>,
    ) -> Result<Self, Mistakes> {
        let (config, mut mistakes) = Self::read(file, environment, data);
        mistakes.extend(files::mistakes(&config));
        Mistakes::none(mistakes).map(|()| config)
    }

    /// The sound part, and what is wrong with the rest.
    fn read(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        data: Option<PathBuf>,
    ) -> (Self, Vec<String>) {
        let mut loader = Loader::default();
        if let Some(file) = file {
            loader.read(file);
        }
        loader.overlay(environment);
        let data = data
            .or_else(|| loader.data())
            .unwrap_or_else(|| DEFAULT_DATA.into());
        let config = Self {
            data,
            database: loader.section("database"),
            redis: loader.section("redis"),
            hub: loader.section("hub"),
            gateway: loader.section("gateway"),
            api: loader.section("api"),
            metrics: loader.section("metrics"),
            geo: loader.section("geo"),
            exit: loader.section("exit"),
            mail: loader.section("mail"),
            login: loader.section("login"),
            accounts: loader.section("accounts"),
            admission: loader.section("admission"),
            metering: loader.section("metering"),
            usage: loader.section("usage"),
            abuse: loader.section("abuse"),
            events: loader.section("events"),
            webhooks: loader.section("webhooks"),
            outbound: loader.section("outbound"),
            assistant: loader.section("assistant"),
            billing: loader.section("billing"),
            partners: loader.section("partners"),
            owners: loader.section("owners"),
            devices: loader.section("devices"),
        };
        let mistakes = loader.finish(&config);
        (config, mistakes)
    }
}

#[derive(Default)]
struct Loader {
    table: Table,
    mistakes: Vec<String>,
}

impl Loader {
    fn read(&mut self, file: &Path) {
        match std::fs::read_to_string(file) {
            Ok(text) => match text.parse::<Table>() {
                Ok(table) => self.table = table,
                Err(error) => self.mistakes.push(format!("{}: {error}", file.display())),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => self.mistakes.push(format!(
                "{}: {error}; `iploop-server config sample` prints a file to begin with",
                file.display()
            )),
            Err(error) => self.mistakes.push(format!("{}: {error}", file.display())),
        }
    }

    fn overlay(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        for (name, text) in environment {
            let Some(path) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let Some((section, key)) = path.split_once("__") else {
                // Other names are others' (`IPLOOP_HUB` is the device's), but what is a key's but for the underscore is a slip.
                if let Some(twin) = twin_meant_by(&name) {
                    self.mistakes
                        .push(format!("{name}: write {twin}, with two underscores"));
                }
                continue;
            };
            let path = format!("{section}__{key}").to_lowercase();
            let mut names: Vec<&str> = path.split("__").collect();
            let key = names.pop().unwrap_or_default();
            if let Err(place) = set(&mut self.table, &names, key, value_of(&text)) {
                self.mistakes.push(format!("{name}: {place} is not a section"));
            }
        }
    }

    fn data(&mut self) -> Option<PathBuf> {
        match self.table.remove("data")? {
            Value::String(path) => Some(path.into()),
            _ => {
                self.mistakes
                    .push("data: write the folder's path as a text".to_owned());
                None
            }
        }
    }

    /// Reads a section key by key, so that each mistake in it is found.
    fn section<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        let table = match self.table.remove(name) {
            None => return T::default(),
            Some(Value::Table(table)) => table,
            Some(_) => {
                self.mistakes.push(format!("{name}: must be a section, [{name}]"));
                return T::default();
            }
        };
        let mut sound = Table::new();
        for (key, value) in table {
            let alone = Table::from_iter([(key.clone(), value.clone())]);
            match Value::Table(alone).try_into::<T>() {
                Ok(_) => {
                    sound.insert(key, value);
                }
                Err(error) => self
                    .mistakes
                    .push(format!("{name}.{key}: {}", explain(&error.to_string()))),
            }
        }
        match Value::Table(sound).try_into() {
            Ok(section) => section,
            Err(error) => {
                self.mistakes
                    .push(format!("{name}: {}", explain(&error.to_string())));
                T::default()
            }
        }
    }

    /// What the sections say of themselves, and what is left over.
    fn finish(mut self, config: &Config) -> Vec<String> {
        for unknown in self.table.keys() {
            self.mistakes.push(format!(
                "{unknown}: no such section; there are data, {}",
                section_names().join(", ")
            ));
        }
        self.mistakes.extend(config.gateway.mistakes());
        self.mistakes
            .extend(config.hub.mistakes().iter().map(ToString::to_string));
        self.mistakes.extend(config.admission.mistakes());
        self.mistakes.extend(config.metering.mistakes());
        self.mistakes.extend(config.usage.mistakes());
        self.mistakes.extend(config.abuse.mistakes());
        self.mistakes.extend(config.events.mistakes());
        self.mistakes.extend(config.webhooks.mistakes());
        self.mistakes.extend(config.assistant.mistakes());
        self.mistakes.extend(config.billing.mistakes());
        self.mistakes.extend(config.owners.mistakes());
        self.mistakes.extend(config.devices.mistakes());
        self.mistakes.extend(config.api.mistakes());
        self.mistakes.extend(config.login.mistakes());
        self.mistakes.extend(config.accounts.mistakes());
        self.mistakes
            .extend(config.mail.mistakes().iter().map(ToString::to_string));
        self.mistakes.extend(shared_addresses(config));
        if let Err(error) = config.exit.parse_test_allow() {
            self.mistakes.push(format!("exit.test_allow: {error}"));
        }
        if let Some(Err(error)) = config.database.url.as_ref().map(|url| check_url(url.expose())) {
            self.mistakes.push(format!("database.url: {error}"));
        }
        if let Some(Err(error)) = config.redis.url.as_ref().map(|url| check_redis_url(url.expose())) {
            self.mistakes.push(format!("redis.url: {error}"));
        }
        self.mistakes
    }
}

/// Listeners that ask for an address that another one has.
fn shared_addresses(config: &Config) -> Vec<String> {
    let mut listeners: Vec<(&str, SocketAddr)> = config
        .gateway
        .listen
        .iter()
        .map(|address| ("gateway.listen", *address))
        .collect();
    listeners.extend([
        ("hub.listen", config.hub.listen),
        ("api.listen", config.api.listen),
        ("metrics.listen", config.metrics.listen),
    ]);
    let mut mistakes = Vec::new();
    for (at, (key, address)) in listeners.iter().enumerate() {
        // Port 0 takes a free one each time; an unspecified address takes the port on all of them.
        let taken = listeners[..at].iter().find(|(_, other)| {
            let meets =
                address.ip() == other.ip() || address.ip().is_unspecified() || other.ip().is_unspecified();
            address.port() != 0 && address.port() == other.port() && meets
        });
        if let Some((other, _)) = taken {
            mistakes.push(format!(
                "{key}: {other} listens on {address} already; take another port"
            ));
        }
    }
    mistakes
}

/// Sets a key of a section, or of a table in one; the name of what is in the way if that is something else.
fn set<'p>(table: &mut Table, path: &[&'p str], key: &str, value: Value) -> Result<(), &'p str> {
    let Some((first, rest)) = path.split_first() else {
        table.insert(key.to_owned(), value);
        return Ok(());
    };
    let place = table
        .entry((*first).to_owned())
        .or_insert_with(|| Value::Table(Table::new()));
    match place {
        Value::Table(inner) => set(inner, rest, key, value),
        _ => Err(first),
    }
}

/// A value as it would stand in the file; a text without quotes is a text.
fn value_of(text: &str) -> Value {
    let line = format!("value = {text}");
    match line.parse::<Table>() {
        Ok(mut table) if table.len() == 1 => table
            .remove("value")
            .unwrap_or_else(|| Value::String(text.to_owned())),
        _ => Value::String(text.to_owned()),
    }
}

/// The reader's own words, with the way out where they lack it.
fn explain(text: &str) -> String {
    let line = text.lines().next().unwrap_or(text).trim();
    let way_out = match line.rsplit_once("expected ") {
        _ if line == "invalid socket address syntax" => "write it as \"127.0.0.1:3000\"",
        Some((_, "socket address")) => "write it as \"127.0.0.1:3000\"",
        Some((_, "a sequence")) => "write a list: [\"…\", \"…\"]",
        Some((_, "a boolean")) => "write true or false, without quotes",
        Some((_, "a string")) => "write it in quotes",
        Some((_, "u8" | "u16" | "u32" | "u64" | "usize" | "i64")) => "write a whole number, without quotes",
        _ => return line.to_owned(),
    };
    format!("{line}; {way_out}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, Mistakes> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("iploop.toml");
        std::fs::write(&file, text).unwrap();
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(Some(&file), environment, None)
    }

    #[test]
    fn every_mistake_is_named_by_its_key_at_once() {
        let text = r#"
            [gateway]
            lisen = ["127.0.0.1:1"]
            idle_timeout = "15"
            max_attempts = "many"
            [metering]
            max_accounts = 0
            [hubb]
            listen = "x"
            [exit]
            test_allow = ["example"]
        "#;
        let mistakes = load(text, &[("IPLOOP_API__LISTEN", "nowhere")])
            .unwrap_err()
            .to_string();
        for key in [
            "gateway.lisen",
            "gateway.idle_timeout",
            "gateway.max_attempts",
            "metering.max_",
            "hubb",
            "exit.test_allow",
            "api.listen",
        ] {
            assert!(mistakes.contains(key), "{key} is missing in:\n{mistakes}");
        }
        assert!(mistakes.contains("15s"), "{mistakes}");
    }

    #[test]
    fn two_listeners_on_one_address_are_a_mistake() {
        let text = r#"
            gateway = { listen = ["0.0.0.0:7777", "0.0.0.0:0", "0.0.0.0:0"] }
            hub = { listen = "127.0.0.1:7777" }
            api = { listen = "127.0.0.2:8001" }
            metrics = { listen = "127.0.0.1:8001" }
        "#;
        let mistakes = load(text, &[]).unwrap_err().to_string();
        assert!(
            mistakes.contains("hub.listen: gateway.listen listens"),
            "{mistakes}"
        );
        assert!(!mistakes.contains("8001"), "{mistakes}");
    }

    #[test]
    fn environment_wins_over_the_file_and_takes_every_kind_of_value() {
        let environment = [
            ("IPLOOP_API__LISTEN", "127.0.0.1:0"),
            ("IPLOOP_GATEWAY__LISTEN", "[\"127.0.0.1:0\"]"),
            ("IPLOOP_GATEWAY__MAX_ATTEMPTS", "3"),
            ("IPLOOP_GATEWAY__IDLE_TIMEOUT", "90s"),
            ("IPLOOP_LOGIN__TRIES_PER_HOUR__ACCOUNT", "90"),
            (
                "IPLOOP_GEO__OVERRIDES",
                "[{ cidr = \"127.0.1.0/24\", country = \"DE\" }]",
            ),
            ("IPLOOP_UNRELATED", "x"),
            ("PATH", "/bin"),
        ];
        let config = load(
            "data = \"/srv/iploop\"\n[api]\nlisten = \"127.0.0.1:3000\"",
            &environment,
        )
        .unwrap();
        assert_eq!(config.api.listen.port(), 0);
        assert_eq!(config.gateway.max_attempts, 3);
        assert_eq!(config.gateway.idle_timeout.as_secs(), 90);
        assert_eq!(config.login.tries_per_hour.account, 90);
        assert_eq!(
            config.login.tries_per_hour.client, 120,
            "the rest of the table stays"
        );
        assert_eq!(config.geo.overrides[0].country.as_deref(), Some("DE"));
        assert_eq!(config.data, PathBuf::from("/srv/iploop"));
    }

    #[test]
    fn a_value_of_another_kind_is_said_how_to_write() {
        for (text, way_out) in [
            ("[gateway]\nlisten = \"0.0.0.0:7777\"", "write a list"),
            ("[gateway]\nmax_attempts = \"5\"", "without quotes"),
            ("[gateway]\nvia = \"yes\"", "write true or false"),
            ("[api]\nproxy_host = 5", "in quotes"),
            ("[api]\nlisten = \"3000\"", "write it as \"127.0.0.1:3000\""),
            ("[api]\nlisten = 3000", "write it as \"127.0.0.1:3000\""),
        ] {
            let mistakes = load(text, &[]).unwrap_err().to_string();
            assert!(mistakes.contains(way_out), "{mistakes}");
        }
    }

    #[test]
    fn one_underscore_where_two_belong_is_a_mistake_and_names_of_others_are_not() {
        let mistakes = load("", &[("IPLOOP_GATEWAY_MAX_ATTEMPTS", "3")])
            .unwrap_err()
            .to_string();
        assert!(
            mistakes.contains("write IPLOOP_GATEWAY__MAX_ATTEMPTS"),
            "{mistakes}"
        );
        // The device's, and what a cluster tells of a service that is named iploop-api.
        let others = [
            ("IPLOOP_HUB", "ws://localhost:8001/ws"),
            ("IPLOOP_API_SERVICE_HOST", "10.0.0.1"),
            ("IPLOOP_API_PORT", "tcp://10.0.0.1:3000"),
        ];
        load("", &others).unwrap();
    }

    #[test]
    fn a_missing_file_is_a_mistake_and_no_file_is_not() {
        let missing = Config::load(Some(Path::new("/nonexistent/iploop.toml")), [], None).unwrap_err();
        assert!(missing.to_string().contains("config sample"), "{missing}");
        assert_eq!(
            Config::load(None, [], None).unwrap().data,
            PathBuf::from(DEFAULT_DATA)
        );
    }
}
