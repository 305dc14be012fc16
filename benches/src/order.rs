//! What `run` asks of a load process, and what that answers: JSON lines on its standard input and output.
//!
//! The load reads one order. At each mark it prints a line and waits for an empty one, so that `run` can read the tunnel's
//! processes at exactly that moment. Last it prints the outcome.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::route::Route;
use crate::statistics::Latency;

/// One test through one route.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) route: Route,
    pub(crate) destination: SocketAddr,
    pub(crate) scenario: Scenario,
    /// Where devices register, at peers that have a hub of ours.
    pub(crate) hub: Option<HubAccess>,
}

/// What a simulated device needs to register.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HubAccess {
    pub(crate) address: SocketAddr,
    /// The certificate to trust, in PEM; without one the device speaks in clear.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) partner_key: String,
    /// The consent text that the device's owner saw.
    pub(crate) terms_version: String,
    pub(crate) terms_hash: String,
}

/// What the load does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Scenario {
    /// 64 bytes each way on one open stream, again and again.
    Small { seconds: f64 },
    /// New connection, handshake, 1 KiB back, close; `at_once` of them at a time until `seconds` or `at_most` are over.
    Connect {
        at_once: usize,
        seconds: f64,
        at_most: usize,
    },
    /// New connection with one plain HTTP request, one at a time.
    Http { count: usize },
    /// Endless streams for some seconds after `ramp_seconds`.
    Bulk {
        streams: usize,
        way: Way,
        ramp_seconds: f64,
        seconds: f64,
    },
    /// Downloads of equal size that start together.
    Equal { streams: usize, bytes: u64 },
    /// Endless downloads beside small requests with a pause between, and for half as long alone before and after.
    Beside {
        streams: usize,
        ramp_seconds: f64,
        seconds: f64,
        pause_ms: u64,
    },
    /// Small requests before and beside streams that one end leaves unread.
    Stalled {
        streams: usize,
        way: Way,
        settle_seconds: f64,
        seconds: f64,
    },
    /// Streams that stay open without use.
    Idle { streams: usize, settle_seconds: f64 },
    /// Devices that are registered at the hub without use.
    Devices { count: usize, settle_seconds: f64 },
    /// New connections through so many serving devices for some seconds, and again with others of which some are dead and slow.
    Fleet {
        devices: usize,
        dead: usize,
        slow: usize,
        at_once: usize,
        seconds: f64,
    },
}

/// Which way the bytes go, seen from the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Way {
    Up,
    Down,
}

/// A line that the load prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    Mark(Mark),
    Done(Outcome),
}

/// A moment at which `run` reads the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Mark {
    /// Everything is open and warm; the measured part starts.
    Begin,
    /// The streams that cost memory are open.
    Held,
    /// The measured part is over.
    End,
}

/// What one test gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// What went wrong, counted: failed connections and requests, wrong bytes, limits exceeded.
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) figures: Figures,
}

/// The figures of each [`Scenario`]; what could not be measured is missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Of small requests or new connections.
    pub(crate) latency: Option<Latency>,
    /// The same before streams were stalled, or devices died.
    pub(crate) latency_before: Option<Latency>,
    /// New connections done.
    pub(crate) connections: u64,
    /// Payload of bulk streams in the measured part, checked at its receiver.
    pub(crate) bytes: u64,
    /// How long the measured part took.
    pub(crate) seconds: f64,
    /// Payload per second while nothing else ran.
    pub(crate) alone_bytes_per_second: Option<f64>,
    /// The share of new connections that were made.
    pub(crate) served: Option<f64>,
    /// The first finisher's time divided by the last one's.
    pub(crate) first_to_last: Option<f64>,
}
