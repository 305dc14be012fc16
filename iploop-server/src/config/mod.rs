//! The configuration: one section for each part, next to the code that it configures.

mod describe;
mod files;
mod load;

use std::path::PathBuf;

use iploop_api::{ApiConfig, MetricsConfig};
use iploop_gateway::GatewayConfig;
use iploop_hub::HubConfig;
use iploop_hub::geo::GeoConfig;
use iploop_platform::abuse::AbuseConfig;
use iploop_platform::accounts::AccountsConfig;
use iploop_platform::admission::AdmissionConfig;
use iploop_platform::archive::UsageConfig;
use iploop_platform::billing::BillingConfig;
use iploop_platform::device_retention::DevicesConfig;
use iploop_platform::events::EventsConfig;
use iploop_platform::login::LoginConfig;
use iploop_platform::mail::MailConfig;
use iploop_platform::metering::MeteringConfig;
use iploop_platform::outbound::OutboundConfig;
use iploop_platform::owners::OwnersConfig;
use iploop_platform::partners::PartnersConfig;
use iploop_platform::secret::Secret;
use iploop_platform::support::AssistantConfig;
use iploop_platform::webhooks::WebhooksConfig;
use iploop_protocol::policy::{NarrowPolicy, PlatformPolicy, TestAllow};
use schemars::JsonSchema;
use serde::Deserialize;

pub use describe::{sample, schema};
pub(crate) use files::{gateway_id, keep_gateway_id};
pub use load::Mistakes;

/// The data folder, where none is given.
pub const DEFAULT_DATA: &str = "data";

/// Folder of the usage journal, in the data folder.
pub(crate) const JOURNAL: &str = "journal";

/// Everything that can be configured. Made by [`Config::load`] and [`Config::load_with_files`] only, so its values are
/// known to be sound.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the embedded database, the journal, secrets and the mail outbox lie.
    pub data: PathBuf,
    /// `[database]`
    pub database: DatabaseConfig,
    /// `[redis]`
    pub redis: RedisConfig,
    /// `[hub]`
    pub hub: HubConfig,
    /// `[gateway]`
    pub gateway: GatewayConfig,
    /// `[api]`
    pub api: ApiConfig,
    /// `[metrics]`
    pub metrics: MetricsConfig,
    /// `[geo]`
    pub geo: GeoConfig,
    /// `[exit]`
    pub exit: ExitConfig,
    /// `[mail]`
    pub mail: MailConfig,
    /// `[login]`
    pub login: LoginConfig,
    /// `[accounts]`
    pub accounts: AccountsConfig,
    /// `[admission]`
    pub admission: AdmissionConfig,
    /// `[metering]`
    pub metering: MeteringConfig,
    /// `[usage]`
    pub usage: UsageConfig,
    /// `[abuse]`
    pub abuse: AbuseConfig,
    /// `[events]`
    pub events: EventsConfig,
    /// `[webhooks]`
    pub webhooks: WebhooksConfig,
    /// `[outbound]`
    pub outbound: OutboundConfig,
    /// `[assistant]`
    pub assistant: AssistantConfig,
    /// `[billing]`
    pub billing: BillingConfig,
    /// `[partners]`
    pub partners: PartnersConfig,
    /// `[owners]`
    pub owners: OwnersConfig,
    /// `[devices]`
    pub devices: DevicesConfig,
}

impl Config {
    /// Where the secret that signs login tokens lies.
    pub(crate) fn login_secret_file(&self) -> PathBuf {
        let named = self.login.secret_file.clone();
        named.unwrap_or_else(|| self.data.join("login-secret"))
    }

    /// `[gateway]`, with the folder for its certificate.
    pub(crate) fn gateway_section(&self) -> GatewayConfig {
        let mut gateway = self.gateway.clone();
        gateway.acme.cache.get_or_insert_with(|| self.data.join("acme"));
        gateway
    }
}

/// The `[database]` section: where accounts, keys, balances and usage are.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host/name`; default: SQLite in the data folder.
    #[schemars(
        with = "Option<String>",
        example = "postgres://iploop:password@db.example.com/iploop"
    )]
    pub url: Option<Secret>,
}

/// The `[redis]` section: where processes on one database share what is not worth a row of it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://user:password@host:6379/0`, `rediss://…` for TLS, `redis+unix:///path`; default: this process shares with nobody.
    #[schemars(
        with = "Option<String>",
        example = "redis://iploop:password@redis.example.com:6379/0"
    )]
    pub url: Option<Secret>,
}

/// The `[exit]` section: the operator's part of the exit policy.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExitConfig {
    /// A platform policy document (JSON, `docs/protocol.md`, Policy); default: the web ports and nothing denied beyond the
    /// rules that nobody can lift. Read again when it changes, and at SIGHUP.
    #[schemars(example = &"/etc/iploop/policy.json")]
    pub policy: Option<PathBuf>,
    /// Single addresses (`127.0.0.1:8080`) that are open in spite of the policy, for tests and the demo. Never in production.
    pub test_allow: Vec<String>,
}

impl ExitConfig {
    /// The test allow-list as a type.
    ///
    /// # Errors
    /// Names the entry that is no `host:port` pair.
    pub fn parse_test_allow(&self) -> Result<TestAllow, String> {
        TestAllow::parse(&self.test_allow).map_err(|error| error.to_string())
    }

    /// The platform's policy from its file, or the one that stands without a file.
    ///
    /// # Errors
    /// Names the key, the file and what is wrong with it.
    pub fn read_policy(&self) -> Result<PlatformPolicy, String> {
        let Some(path) = &self.policy else {
            // The web ports, and nothing denied beyond the rules that nobody can lift.
            return PlatformPolicy::new(1, NarrowPolicy::default(), Vec::new())
                .map_err(|error| error.to_string());
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("exit.policy: {} can't be read: {error}", path.display()))?;
        PlatformPolicy::parse(&text).map_err(|error| format!("exit.policy: {}: {error}", path.display()))
    }
}
