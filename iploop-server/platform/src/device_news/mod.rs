//! What devices that are connected have to be told, or must leave for: in this process at once, at hubs of others within seconds.
//!
//! ```text
//! a wish, a withdrawal, an app that changed, a partner that is stopped ─▶ store: the change, and a note of what it is about
//!        └─▶ NewsBell ─▶ NewsTask ◀─ every 2 s: what the notes are about, as it is now
//!                            └─▶ Connected: the hub of this process tells devices, or closes their connections
//! ```
//!
//! Notes say what to look at and not what happened, so that hearing of them again, or late, does no harm. Bans have their own
//! way ([`crate::admin::BanTask`]).

mod task;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{ConsentId, NodeId, PartnerId};
use crate::partners::AppStanding;
use crate::store::StoreError;

pub use self::task::{NewsBell, NewsTask};

/// How something is now that concerns devices which may be connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Whether the account that claimed the device wishes that it pauses.
    Wish {
        /// The device.
        node: NodeId,
        /// It shall.
        is_paused: bool,
    },
    /// The owner withdrew this consent, maybe not by the connection that is open.
    Withdrawn {
        /// The device.
        node: NodeId,
        /// The consent that no longer holds.
        consent: ConsentId,
    },
    /// What we knew of the device is erased, and its consents are withdrawn.
    Erased(NodeId),
    /// How a partner's apps stand, after one changed: devices that none of them admits have to leave.
    Apps {
        /// Whose they are.
        partner: PartnerId,
        /// All of them.
        apps: Vec<AppStanding>,
    },
    /// The partner's devices are not accepted.
    Partner(PartnerId),
}

/// Whether a connected device shares, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// It does.
    pub is_sharing: bool,
    /// Why not: a word of the protocol.
    pub reason: Option<String>,
}

/// The devices that are connected to this process. Implemented by the hub.
#[async_trait]
pub trait Connected: Send + Sync + 'static {
    /// Tells devices, or closes their connections and the streams in them. Hearing the same again changes nothing.
    async fn hear(&self, news: &News);
    /// What a device said last; none: it is not connected here.
    fn said(&self, node: NodeId) -> Option<Said>;
    /// The same of many, in their order, whichever process holds them; none also where that process does not answer.
    async fn said_anywhere(&self, nodes: &[NodeId]) -> Vec<Option<Said>> {
        nodes.iter().map(|node| self.said(*node)).collect()
    }
}

/// The seam to the notes.
#[async_trait]
pub trait DeviceNews: Send + Sync + 'static {
    /// What was noted at `from` or later, as it is now, of each kind the newest `limit`. A partner that is in order by
    /// now is left out.
    async fn device_news(&self, from: Timestamp, limit: u32) -> Result<Vec<News>, StoreError>;
    /// Forgets notes from before.
    async fn forget_device_news(&self, before: Timestamp) -> Result<(), StoreError>;
}
