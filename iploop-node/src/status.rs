//! What a node tells its app: a snapshot at any time, and events as they happen.

use std::collections::BTreeMap;
use std::net::IpAddr;

use iploop_protocol::codes::CloseCode;
use serde::Serialize;

use crate::sharing::NotSharing;

/// A node at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Whether customers' streams are served now.
    pub sharing: bool,
    /// Why not.
    pub reason: Option<NotSharing>,
    /// [`Status::reason`] in one line for the owner.
    pub reason_text: Option<String>,
    /// Whether the account that claimed the device wishes, as of the present connection, that it pauses.
    pub paused_from_afar: bool,
    /// The link to the hub.
    pub link: Link,
    /// The hub's address.
    pub hub: String,
    /// The device's own id.
    pub device_id: String,
    /// The device's id at the platform, once it was connected.
    pub node_id: Option<String>,
    /// The public address as the hub saw it last.
    pub public_ip: Option<IpAddr>,
    /// Streams that are open now.
    pub open_streams: u32,
    /// Streams that were connected since start.
    pub streams_served: u64,
    /// Streams that were refused since start, by code.
    pub streams_refused: BTreeMap<String, u64>,
    /// Bytes relayed today (UTC), both ways.
    pub bytes_today: u64,
    /// Bytes relayed this month (UTC), both ways.
    pub bytes_this_month: u64,
    /// The owner's limit for a day.
    pub daily_limit: u64,
    /// The owner's limit for a month.
    pub monthly_limit: u64,
    /// Version of the text that the owner agreed to.
    pub consent_version: String,
    /// When the owner agreed, RFC 3339.
    pub consent_given_at: String,
    /// Addresses that are open against the exit policy, for tests.
    pub test_allow: Vec<String>,
}

/// The link to the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Link {
    /// On the way.
    Connecting,
    /// Registered.
    Connected,
    /// Waiting to try again.
    Waiting {
        /// Why the last attempt or connection ended.
        problem: String,
        /// From the end of that attempt to the next.
        retry_in_ms: u64,
    },
    /// Ended until the owner consents anew.
    ConsentNeeded {
        /// The hub's words, or ours.
        problem: String,
    },
    /// Ended until key, app or device change: the hub refuses it.
    Rejected {
        /// The hub's code.
        code: &'static str,
        /// The hub's words.
        problem: String,
    },
    /// Ended by the owner.
    Withdrawn {
        /// Whether the hub knows.
        delivered: bool,
    },
    /// Ended by the app.
    Stopped,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Event {
    /// On the way to the hub.
    Connecting {
        /// Its address.
        hub: String,
    },
    /// Registered at the hub.
    Connected {
        /// The device's id at the platform.
        node_id: String,
        /// The public address as the hub sees it.
        public_ip: Option<IpAddr>,
    },
    /// The connection, or the attempt at one, ended; another follows.
    Disconnected {
        /// Why.
        problem: String,
        /// Until the next attempt.
        retry_in_ms: u64,
    },
    /// Customers' streams are served from now on.
    Sharing,
    /// Customers' streams are not served from now on.
    NotSharing {
        /// Why.
        reason: NotSharing,
        /// In one line for the owner.
        text: String,
    },
    /// The platform's exit policy is in force; without a version there is none that can be read, and only TCP ports 80 and 443
    /// are open.
    Policy {
        /// The platform's count.
        version: Option<u64>,
    },
    /// The hub has something to say.
    Notice {
        /// What about.
        code: String,
        /// For people.
        message: String,
    },
    /// Too many of a customer's dials failed: it is refused for a while.
    CustomerStopped,
    /// The link ended for good: see [`Link`].
    Ended {
        /// How.
        link: Link,
    },
}

impl Link {
    /// Whether it is over until the app does something.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Connecting | Self::Connected | Self::Waiting { .. } => false,
            Self::ConsentNeeded { .. } | Self::Rejected { .. } | Self::Withdrawn { .. } | Self::Stopped => {
                true
            }
        }
    }

    pub(crate) fn refused(code: CloseCode, problem: String) -> Self {
        match code {
            CloseCode::ConsentRequired => Self::ConsentNeeded { problem },
            code => Self::Rejected {
                code: code.name(),
                problem,
            },
        }
    }

    /// Why nothing is shared over such a link; none: it could be.
    pub(crate) fn why_not(&self) -> Option<NotSharing> {
        match self {
            Self::Connected => None,
            Self::Connecting | Self::Waiting { .. } => Some(NotSharing::NotConnected),
            Self::ConsentNeeded { .. } => Some(NotSharing::ConsentNeeded),
            Self::Rejected { .. } => Some(NotSharing::Rejected),
            Self::Withdrawn { .. } => Some(NotSharing::Withdrawn),
            Self::Stopped => Some(NotSharing::Stopping),
        }
    }
}
