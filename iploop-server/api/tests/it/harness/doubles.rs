//! What stands where the server has its clock, its mail server, its gateway and its live network.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use iploop_platform::abuse::{Force, ReadPolicy};
use iploop_platform::clock::{Clock, Timestamp};
use iploop_platform::ids::{AccountId, ApiKeyId};
use iploop_platform::keys::KeyChanges;
use iploop_platform::mail::{Mail, MailError, Mailer};
use iploop_platform::network::{
    CityPresence, CountryPresence, Network, NetworkStats, NodePage, NodeRow, NodeWish, Pool,
};
use iploop_protocol::policy::PlatformPolicy;
use iploop_protocol::targeting::{CountryCode, Targeting};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

/// A clock that stands until a test moves it.
pub(crate) struct ManualClock(AtomicI64);

impl Default for ManualClock {
    fn default() -> Self {
        Self(AtomicI64::new(1_764_000_000_000))
    }
}

impl ManualClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0
            .fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Notes who was told of which change.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) keys: Mutex<Vec<ApiKeyId>>,
    pub(crate) accounts: Mutex<Vec<AccountId>>,
    pub(crate) suspended: Mutex<Vec<AccountId>>,
}

impl KeyChanges for Changes {
    fn key_changed(&self, key: ApiKeyId) {
        self.keys.lock().push(key);
    }

    fn account_changed(&self, account: AccountId) {
        self.accounts.lock().push(account);
    }

    fn account_suspended(&self, account: AccountId) {
        self.suspended.lock().push(account);
    }
}

/// Notes what was put in force where; holds the policy's file.
pub(crate) struct Forced {
    pub(crate) gateway: Mutex<Vec<PlatformPolicy>>,
    pub(crate) devices: watch::Sender<Option<PlatformPolicy>>,
    pub(crate) file: Mutex<String>,
}

impl Default for Forced {
    fn default() -> Self {
        Self {
            gateway: Mutex::default(),
            devices: watch::Sender::new(None),
            file: Mutex::new(r#"{"format":1,"version":1}"#.to_owned()),
        }
    }
}

#[async_trait]
impl Force for Forced {
    fn at_gateway(&self, policy: &PlatformPolicy) {
        self.gateway.lock().push(policy.clone());
    }

    async fn on_devices(&self, policy: &PlatformPolicy) {
        self.devices.send_replace(Some(policy.clone()));
    }
}

impl ReadPolicy for Forced {
    fn read(&self) -> Result<PlatformPolicy, String> {
        PlatformPolicy::parse(&self.file.lock()).map_err(|error| error.to_string())
    }

    fn stamp(&self) -> Option<String> {
        Some(self.file.lock().clone())
    }
}

/// Hands mails to the test.
pub(super) struct Mailbox(pub(super) mpsc::Sender<Mail>);

#[async_trait]
impl Mailer for Mailbox {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        self.0
            .send(mail.clone())
            .await
            .map_err(|error| MailError::Permanent(error.to_string()))
    }
}

pub(super) struct FixedNetwork(pub(super) Vec<CountryPresence>);

impl Network for FixedNetwork {
    fn stats(&self) -> NetworkStats {
        NetworkStats {
            connected_nodes: self.0.iter().map(|place| place.nodes).sum(),
            available_nodes: 2,
            busy_nodes: 1,
            country_breakdown: self
                .0
                .iter()
                .map(|place| (place.country.clone(), place.nodes))
                .collect(),
            device_type_breakdown: [("linux".to_owned(), 3)].into(),
            connection_type_breakdown: [("wifi".to_owned(), 3)].into(),
            average_quality: Some(87.5),
            bandwidth_bytes: 12_500_000,
        }
    }

    fn locations(&self) -> Vec<CountryPresence> {
        self.0.clone()
    }

    fn pool(&self, targeting: &Targeting) -> Pool {
        let fits = |place: &&CountryPresence| targeting.allows_country(CountryCode::parse(&place.country));
        let nodes = self.0.iter().filter(fits).map(|place| place.nodes).sum();
        Pool {
            nodes,
            exact: true,
            dial_success: (nodes > 0).then_some(0.75),
        }
    }

    /// A row for each device, those in Berlin busy.
    fn nodes(&self, wish: &NodeWish, from: u32, limit: usize) -> NodePage {
        let rows = self.0.iter().flat_map(|place| {
            (0..place.nodes).map(|_| NodeRow {
                country: Some(place.country.clone()),
                region: None,
                city: place.cities.first().map(|city| city.city.clone()),
                connection_type: Some("wifi".to_owned()),
                device_type: Some("linux".to_owned()),
                is_available: place.cities.is_empty(),
                quality_score: 90,
            })
        });
        let from = usize::try_from(from).unwrap();
        let mut rows: Vec<_> = rows.filter(|row| wish.takes(row)).skip(from).collect();
        let next = (rows.len() > limit).then(|| u32::try_from(from + limit).unwrap());
        rows.truncate(limit);
        NodePage { rows, next }
    }
}

pub(super) fn locations() -> Vec<CountryPresence> {
    let berlin = CityPresence {
        city: "Berlin".to_owned(),
        nodes: 1,
    };
    vec![
        CountryPresence {
            country: "DE".to_owned(),
            nodes: 1,
            cities: vec![berlin],
        },
        CountryPresence {
            country: "US".to_owned(),
            nodes: 2,
            cities: Vec::new(),
        },
    ]
}
