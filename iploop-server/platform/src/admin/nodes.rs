//! Devices as admins see them, and what they do with single ones.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{AdminError, AdminService};
use crate::abuse::{Actor, AuditAction, RefusalCount, RefusalQuery};
use crate::clock::{DAY, Timestamp};
use crate::exits::Place;
use crate::field;
use crate::ids::{ConsentId, NodeId, PartnerId};
use crate::node::{ConsentRecord, GeoFacts};
use crate::store::StoreError;

/// A device not heard of for longer is inactive, whatever was noted of it: two heartbeats and some time.
pub const SILENT_AFTER: Duration = Duration::from_secs(11 * 60);
/// Most devices that are taken for busy in one list.
const MAX_BUSY: usize = 10_000;
/// Consent records and withdrawals shown with a device.
const MAX_CONSENTS: u32 = 50;
/// Refusals shown with a device, and the days that they are of.
const MAX_REFUSALS: u32 = 50;
const REFUSALS_DAYS: u32 = 7;
/// Time for open streams when a device is drained.
const DRAIN_GRACE: Duration = Duration::from_secs(30);
/// Bans and drains of other processes are looked for this often …
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// … and so far back: clocks differ, and a device may be on its way in.
const OVERLAP: Duration = Duration::from_secs(60);
/// Bans, and drains, looked at together.
const BANS_AT_ONCE: u32 = 1_000;

/// What a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeStatus {
    /// Connected, and takes streams.
    Available,
    /// Connected, but paused, full, resting or leaving.
    Busy,
    /// Not connected.
    Inactive,
    /// Kept out by an admin.
    Banned,
    /// Erased by its owner, or silent for `devices.retention`: its row is kept for the books and says nothing of it.
    Removed,
}

/// Which devices, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeQuery {
    /// In this country, in capitals.
    pub country: Option<String>,
    /// With this status; none: with any but [`NodeStatus::Removed`].
    pub status: Option<NodeStatus>,
    /// Of this type.
    pub device_type: Option<String>,
    /// By this connection.
    pub connection_type: Option<String>,
    /// Of this partner.
    pub partner: Option<PartnerId>,
    /// With this text in address or device id.
    pub search: Option<String>,
    /// Older than this one: the last of the page before.
    pub before: Option<NodeId>,
    /// So many of them are passed over.
    pub offset: u32,
    /// At most so many.
    pub limit: u32,
    /// Those that are connected and take no streams: filled in by the service.
    pub busy: Vec<NodeId>,
}

/// A device as the database knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownNode {
    /// Its id.
    pub id: NodeId,
    /// Its own lasting id.
    pub device_id: String,
    /// Its public address.
    pub ip: IpAddr,
    /// Where that is.
    pub place: Place,
    /// What else is known of that.
    pub geo: GeoFacts,
    /// `wifi`, `cellular` or `ethernet`.
    pub connection_type: Option<String>,
    /// `android`, `ios`, `windows`, `mac`, `linux` or `browser`.
    pub device_type: Option<String>,
    /// The library's version.
    pub sdk_version: String,
    /// As of now; [`NodeStatus::Busy`] only where that is known of the device.
    pub status: NodeStatus,
    /// Why it is banned.
    pub ban_reason: Option<String>,
    /// Until when; none: for good.
    pub banned_until: Option<Timestamp>,
    /// 0 to 100.
    pub quality_score: Option<u8>,
    /// Bytes both ways.
    pub bandwidth_used_bytes: u64,
    /// Streams it was asked to open.
    pub total_requests: u64,
    /// Of these, the ones that succeeded.
    pub successful_requests: u64,
    /// Last sign of life.
    pub last_heartbeat: Timestamp,
    /// Since when it is connected.
    pub connected_since: Option<Timestamp>,
    /// When it first registered.
    pub created_at: Timestamp,
    /// Whose app it came with.
    pub partner: PartnerId,
    /// That partner's name.
    pub partner_name: String,
    /// The process that holds its connection, where processes share state: filled in by the service.
    pub process: Option<Uuid>,
}

/// A page of devices.
#[derive(Clone, Debug, PartialEq)]
pub struct NodePage {
    /// The devices.
    pub rows: Vec<KnownNode>,
    /// How many fit in all, whatever the page.
    pub total: u64,
}

/// What an owner agreed to, as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenConsent {
    /// The record.
    pub record: ConsentRecord,
    /// The partner whose key the device came with.
    pub partner: PartnerId,
    /// When we got it.
    pub recorded_at: Timestamp,
    /// When the owner withdrew it.
    pub withdrawn_at: Option<Timestamp>,
}

/// An owner's no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// Which record was withdrawn.
    pub consent: ConsentId,
    /// When.
    pub at: Timestamp,
}

/// All that admins see of a device.
#[derive(Clone, Debug)]
pub struct NodeDetail {
    /// As the database knows it.
    pub node: KnownNode,
    /// As it is connected; none: it is not, as far as this process can tell.
    pub live: Option<LiveNode>,
    /// What its owners agreed to, newest first.
    pub consents: Vec<GivenConsent>,
    /// What they withdrew, also what we have no record of.
    pub withdrawals: Vec<Withdrawal>,
    /// What the device refused in the last week, the latest first.
    pub refusals: Vec<RefusalCount>,
}

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Whom.
    pub node: NodeId,
    /// Why, as the device is told.
    pub reason: String,
    /// Until when; none: for good.
    pub until: Option<Timestamp>,
}

/// A connected device now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveNode {
    /// The address it is connected from.
    pub ip: IpAddr,
    /// Whether it takes streams now.
    pub is_available: bool,
    /// Whether it was asked to leave.
    pub is_draining: bool,
    /// Streams that run through it.
    pub streams: u32,
    /// 0 to 100.
    pub quality: u8,
    /// The share of dials that work, as far as it is the device's doing: 0 to 1.
    pub reliability: f32,
    /// The way to it, its dial and back, once measured.
    pub latency_ms: Option<u64>,
    /// Mbit/s towards customers, once measured.
    pub speed_mbps: Option<u16>,
    /// Round trip to it without a dial, once measured.
    pub rtt_ms: Option<u64>,
    /// Bytes relayed since it connected.
    pub relayed_bytes: u64,
}

/// Reads and acts on single connected devices. Implemented by the hub.
#[async_trait]
pub trait LiveNodes: Send + Sync + 'static {
    /// A device's connection; none: it is not connected here.
    fn live(&self, node: NodeId) -> Option<LiveNode>;
    /// Devices that are connected and take no streams, at most `limit`.
    fn busy(&self, limit: usize) -> Vec<NodeId>;
    /// Closes a banned device's connection and its streams now; false: it is not connected here.
    fn ban(&self, ban: &Ban) -> bool;
    /// Gives a device no more streams; those open may finish within `grace`, then it is asked to come back later. False: it
    /// is not connected here, or has come only after `asked_at`. Hearing the same again changes nothing.
    fn drain_node(&self, node: NodeId, asked_at: Timestamp, grace: Duration) -> bool;
    /// A device's connection, whichever process holds it; none also where that process does not answer.
    async fn live_anywhere(&self, node: NodeId) -> Option<LiveNode> {
        self.live(node)
    }
    /// Whether a device is connected to any process; none: only the database can tell.
    async fn is_connected(&self, node: NodeId) -> Option<bool> {
        // Where processes share no state another one may have it.
        self.live(node).map(|_| true)
    }
    /// The processes that hold these devices, in their order; none where that is not known, as it is where processes share no
    /// state.
    async fn holders(&self, nodes: &[NodeId]) -> Vec<Option<Uuid>> {
        vec![None; nodes.len()]
    }
}

impl AdminService {
    /// A page of devices.
    ///
    /// # Errors
    /// If the data can't be read.
    pub async fn nodes(&self, mut query: NodeQuery) -> Result<NodePage, AdminError> {
        let parts = self.parts();
        query.busy = parts.nodes.busy(MAX_BUSY);
        let mut page = parts.store.node_page(&query, parts.clock.now()).await?;
        let ids: Vec<NodeId> = page.rows.iter().map(|node| node.id).collect();
        let holders = parts.nodes.holders(&ids).await;
        for (node, holder) in page.rows.iter_mut().zip(holders) {
            node.process = holder;
        }
        Ok(page)
    }

    /// All about one device.
    ///
    /// # Errors
    /// If there is no such device.
    pub async fn node(&self, id: NodeId) -> Result<NodeDetail, AdminError> {
        let mut node = self.known_node(id).await?;
        let parts = self.parts();
        let store = &*parts.store;
        let from = parts.clock.now().minus(DAY * (REFUSALS_DAYS - 1));
        let refusals = RefusalQuery {
            from_day: i64::from(from.utc_day()),
            node: Some(id),
            limit: MAX_REFUSALS,
            ..RefusalQuery::default()
        };
        let ((consents, withdrawals), refusals) = tokio::try_join!(
            store.consents_of(&node.device_id, MAX_CONSENTS),
            store.refusals(&refusals)
        )?;
        node.process = parts.nodes.holders(&[id]).await.pop().flatten();
        let live = parts.nodes.live_anywhere(id).await;
        if let Some(live) = &live
            && node.status != NodeStatus::Banned
        {
            node.status = match live.is_available {
                true => NodeStatus::Available,
                false => NodeStatus::Busy,
            };
        }
        Ok(NodeDetail {
            node,
            live,
            consents,
            withdrawals,
            refusals,
        })
    }

    /// Keeps a device out: its connection here ends now, at hubs of other processes within seconds, and registration is
    /// refused with the reason until the ban ends. Banning again changes reason and end.
    ///
    /// # Errors
    /// If there is no such device, no reason, or the end is past.
    pub async fn ban_node(
        &self,
        actor: Actor,
        node: NodeId,
        until: Option<Timestamp>,
        reason: &str,
    ) -> Result<(), AdminError> {
        let reason = field::reason(reason)?;
        let parts = self.parts();
        if until.is_some_and(|until| until <= parts.clock.now()) {
            return Err(AdminError::field("until", "Write a time in the future"));
        }
        let mut entry = self.entry(actor, AuditAction::NodeBanned, None, node.to_string(), &reason);
        entry.after = json!({ "banned": true, "until": until });
        let ban = Ban { node, reason, until };
        let banned = parts.store.ban_node(&ban, entry).await?;
        if !banned {
            return Err(AdminError::NodeNotFound);
        }
        parts.nodes.ban(&ban);
        Ok(())
    }

    /// Ends a ban.
    ///
    /// # Errors
    /// If there is no such device, or it is not banned.
    pub async fn unban_node(&self, actor: Actor, node: NodeId, reason: &str) -> Result<(), AdminError> {
        let reason = field::reason(reason)?;
        let mut entry = self.entry(actor, AuditAction::NodeUnbanned, None, node.to_string(), &reason);
        entry.after = json!({ "banned": false });
        match self.parts().store.unban_node(node, entry).await? {
            None => Err(AdminError::NodeNotFound),
            Some(false) => Err(AdminError::AlreadySo),
            Some(true) => Ok(()),
        }
    }

    /// Takes a connected device out of service: no new streams, half a minute for those that run, then it is asked to come
    /// back later. At once where it is connected here, within 5 seconds where another process holds it.
    ///
    /// # Errors
    /// If there is no such device, or it is not connected: as the processes say that share state, else as the database has it.
    pub async fn drain_node(&self, actor: Actor, node: NodeId, reason: &str) -> Result<(), AdminError> {
        let reason = field::reason(reason)?;
        let known = self.known_node(node).await?;
        let parts = self.parts();
        let is_connected = parts.nodes.is_connected(node).await;
        if !is_connected.unwrap_or(known.status == NodeStatus::Available) {
            return Err(AdminError::NodeNotConnected);
        }
        let mut entry = self.entry(actor, AuditAction::NodeDrained, None, node.to_string(), &reason);
        entry.after = json!({ "graceSeconds": DRAIN_GRACE.as_secs() });
        let asked_at = entry.at;
        // The record is what the process that holds the device acts on, where that is another.
        parts.store.append_audit(entry).await?;
        parts.nodes.drain_node(node, asked_at, DRAIN_GRACE);
        Ok(())
    }

    async fn known_node(&self, id: NodeId) -> Result<KnownNode, AdminError> {
        let parts = self.parts();
        let node = parts.store.known_node(id, parts.clock.now()).await?;
        node.ok_or(AdminError::NodeNotFound)
    }

    /// Closes what is connected here of the devices that were banned since `from`, by whomever.
    async fn enforce_bans(&self, from: Timestamp) -> Result<(), StoreError> {
        let parts = self.parts();
        let bans = parts
            .store
            .bans_since(from, parts.clock.now(), BANS_AT_ONCE)
            .await?;
        for ban in &bans {
            parts.nodes.ban(ban);
        }
        Ok(())
    }

    /// Drains what is connected here of the devices that admins drained since `from`, at whatever process.
    async fn enforce_drains(&self, from: Timestamp) -> Result<(), StoreError> {
        let parts = self.parts();
        for (node, asked_at) in parts.store.drains_since(from, BANS_AT_ONCE).await? {
            parts.nodes.drain_node(node, asked_at, DRAIN_GRACE);
        }
        Ok(())
    }
}

/// Acts on bans and drains that other processes made, and on devices that were on their way in when they were banned.
pub struct BanTask(AdminService);

impl BanTask {
    pub(super) fn new(service: AdminService) -> Self {
        Self(service)
    }

    /// Runs until `stop`.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn run(self, stop: CancellationToken) {
        let Self(service) = self;
        let mut every = interval(LOOK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut from = service.parts().clock.now();
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            let now = service.parts().clock.now();
            let since = from.minus(OVERLAP);
            let enforced = tokio::try_join!(service.enforce_bans(since), service.enforce_drains(since));
            match enforced {
                Ok(((), ())) => from = now,
                Err(error) => {
                    tracing::warn!(%error, "bans and drains of other processes could not be looked for")
                }
            }
        }
    }
}
