//! From a hello to a row in the store: rules, partner, place, then the store's own verdict.

mod checks;
mod gate;
mod partners;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use iploop_platform::clock::Timestamp;
use iploop_platform::exits::Exit;
use iploop_platform::ids::{ConsentId, NodeId, PartnerId};
use iploop_platform::node::{GeoFacts, NodeRegistration, Registered};
use iploop_platform::store::{Nodes, Partners, StoreError};
use iploop_protocol::codes::CloseCode;
use iploop_protocol::control::{Hello, SharingStatus};
use sha2::{Digest, Sha256};

use crate::config::HubConfig;
use crate::geo::Geo;
pub(crate) use checks::{Refusal, Rules, Version};
use gate::Gate;
use partners::PartnerCache;

/// A device that may be served.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) exit: Exit,
    pub(crate) region_code: Option<String>,
    pub(crate) device: Device,
    pub(crate) max_streams: u32,
    /// What it says of itself.
    pub(crate) status: SharingStatus,
    pub(crate) has_test_allow: bool,
    /// Its owner wishes that it pauses.
    pub(crate) is_paused: bool,
}

/// What a connected device may have to leave for.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    /// Its own lasting id.
    pub(crate) id: Box<str>,
    pub(crate) consent: ConsentId,
    pub(crate) partner: PartnerId,
    /// What its consent names as `appId`.
    pub(crate) app: Box<str>,
    /// It hears what its owner wishes from afar.
    pub(crate) hears_wishes: bool,
}

/// Registers devices, a bounded number at a time.
pub(crate) struct Registrar {
    rules: Rules,
    geo: Geo,
    nodes: Arc<dyn Nodes>,
    partners: Arc<dyn Partners>,
    cache: PartnerCache,
    gate: Gate,
    within: Duration,
    review_apps: bool,
}

impl Registrar {
    pub(crate) fn new(
        config: &HubConfig,
        test_allow: bool,
        review_apps: bool,
        geo: Geo,
        nodes: Arc<dyn Nodes>,
        partners: Arc<dyn Partners>,
    ) -> Self {
        Self {
            rules: Rules {
                terms: config.terms.clone(),
                consent_max_age: config.consent_max_age,
                min_sdk_version: config.min_sdk_version.as_deref().and_then(Version::parse),
                test_allow,
                max_streams: config.max_streams_per_node,
            },
            geo,
            nodes,
            partners,
            cache: PartnerCache::default(),
            gate: Gate::new(config.registrations, config.registration_queue),
            within: config.registration_timeout,
            review_apps,
        }
    }

    /// Devices that wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.gate.waiting()
    }

    /// Whether only apps that an admin approved may bring devices.
    pub(crate) fn reviews_apps(&self) -> bool {
        self.review_apps
    }

    /// Forgets what is believed of partners: one was switched off.
    pub(crate) fn forget_partners(&self) {
        self.cache.forget();
    }

    /// Registers a device that said hello from `ip`, or says why not.
    ///
    /// Waits in line at most for the registration timeout. When the line is full, or the store is not available, the refusal
    /// is [`CloseCode::Overloaded`]: the device is fine and should come back later.
    pub(crate) async fn register(
        &self,
        hello: Hello,
        ip: IpAddr,
        now: Timestamp,
    ) -> Result<Registration, Refusal> {
        let checked = checks::check(hello, &self.rules, now)?;
        let busy = || Refusal::new(CloseCode::Overloaded, "too many devices are registering");
        let work = async {
            let _turn = self.gate.enter().await.ok_or_else(busy)?;
            let partner = self
                .cache
                .find(&*self.partners, &checked.partner_key, now)
                .await
                .map_err(unavailable)?;
            let Some(partner) = partner else {
                let reason = "the partner key is unknown or inactive";
                return Err(Refusal::new(CloseCode::PartnerRejected, reason));
            };
            let located = self.geo.locate(ip);
            let on_cellular = checked.net.is_some_and(|net| net.to_string() == "cellular");
            let geo = GeoFacts {
                carrier: located.place.isp.clone().filter(|_| on_cellular),
                ..located.facts.clone()
            };
            let registered = self.nodes.register_node(NodeRegistration {
                id: NodeId::new(),
                device_id: checked.device_id.clone(),
                device_secret_hash: secret_hash(&checked.device_secret),
                partner,
                ip,
                place: located.place.clone(),
                geo,
                connection_type: checked.net.map(|net| net.to_string()),
                device_type: checked.os.map(|os| os.to_string()),
                sdk_version: checked.sdk_version.clone(),
                consent: checked.consent.clone(),
                review_apps: self.review_apps,
                now,
            });
            Ok((located, partner, registered.await.map_err(unavailable)?))
        };
        let (located, partner, registered) = tokio::time::timeout(self.within, work)
            .await
            .unwrap_or_else(|_| Err(busy()))?;
        let (node, is_paused) = accepted(registered)?;
        Ok(Registration {
            exit: Exit {
                node,
                ip,
                place: located.place,
                net: checked.net.map(|net| net.to_string()),
                os: checked.os.map(|os| os.to_string()),
            },
            region_code: located.region_code,
            device: Device {
                id: checked.device_id.into(),
                consent: checked.consent.id,
                partner,
                app: checked.consent.app_id.into(),
                hears_wishes: checked.hears_wishes,
            },
            max_streams: checked.max_streams,
            status: checked.status,
            has_test_allow: checked.has_test_allow,
            is_paused,
        })
    }
}

/// The device, and whether its owner wishes that it pauses.
fn accepted(registered: Registered) -> Result<(NodeId, bool), Refusal> {
    match registered {
        Registered::Accepted(node) => Ok((node, false)),
        Registered::Paused(node) => Ok((node, true)),
        Registered::Banned { reason, until } => {
            Err(Refusal::new(CloseCode::Banned, banned_text(&reason, until)))
        }
        Registered::SecretMismatch => Err(Refusal::new(
            CloseCode::InvalidHello,
            "the secret is not this device's",
        )),
        Registered::ConsentWithdrawn => Err(Refusal::new(
            CloseCode::ConsentRequired,
            "the owner withdrew this consent",
        )),
        Registered::AppNotAdmitted => Err(Refusal::new(
            CloseCode::PartnerRejected,
            "the app is not approved to bring devices",
        )),
    }
}

/// What a banned device is told.
pub(crate) fn banned_text(reason: &str, until: Option<Timestamp>) -> String {
    let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
    format!("this device is banned{until}: {reason}")
}

/// The store failed: the device is told to come back, the log what happened.
fn unavailable(error: StoreError) -> Refusal {
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        "a device could not be registered"
    );
    Refusal::new(
        CloseCode::Overloaded,
        "registration is not available at the moment",
    )
}

/// SHA-256 in hex: what the store keeps of a device's secret.
fn secret_hash(secret: &str) -> String {
    Sha256::digest(secret.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
