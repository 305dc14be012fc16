//! One live node: its tunnel, and what is counted of it between two visits of the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use iploop_platform::clock::Timestamp;
use iploop_platform::exits::Exit;
use iploop_platform::ids::ConsentId;
use iploop_platform::node::NodeActivity;
use iploop_protocol::control::Heartbeat;
use iploop_protocol::io::Tunnel;
use parking_lot::Mutex;

use crate::quality::{Outcome, Quality};

/// A sign of life is stored this often, even if nothing else happened.
const STORE_LIFE_EVERY: Duration = Duration::from_secs(300);

/// Most bytes believed of one heartbeat: the figure is the device's own, and sums must stay sums.
const MAX_REPORTED_BYTES: u64 = 1 << 40;

/// One connection of one device.
pub(crate) struct Node {
    pub(crate) exit: Arc<Exit>,
    pub(crate) tunnel: Tunnel,
    pub(crate) device_id: Box<str>,
    pub(crate) consent: ConsentId,
    record: Mutex<Record>,
}

struct Record {
    quality: Quality,
    requests: u64,
    successful: u64,
    /// Of these bytes, the device's own total since it connected, not all may be stored yet.
    bytes: u64,
    stored_bytes: u64,
    stored_at: Timestamp,
}

impl Node {
    pub(crate) fn new(
        exit: Arc<Exit>,
        tunnel: Tunnel,
        device_id: String,
        consent: ConsentId,
        quality: Quality,
        now: Timestamp,
    ) -> Self {
        let record = Record {
            quality,
            requests: 0,
            successful: 0,
            bytes: 0,
            stored_bytes: 0,
            stored_at: now,
        };
        Self {
            exit,
            tunnel,
            device_id: device_id.into(),
            consent,
            record: Mutex::new(record),
        }
    }

    /// Notes how an attempt ended.
    pub(crate) fn note(&self, outcome: Outcome, now: Instant) {
        let mut record = self.record.lock();
        record.quality.note(outcome, now);
        record.requests += 1;
        record.successful += u64::from(matches!(outcome, Outcome::Dialed(_)));
    }

    /// Goes on with the history of an earlier connection.
    pub(crate) fn inherit(&self, quality: Quality) {
        self.record.lock().quality = quality;
    }

    /// Notes that the connection was lost; the quality that the node leaves with.
    pub(crate) fn leave(&self, lost: bool, now: Instant) -> Quality {
        let mut record = self.record.lock();
        if lost {
            record.quality.note_break(now);
        }
        record.quality
    }

    /// Notes a heartbeat; bytes that are new by it.
    pub(crate) fn heard(&self, heartbeat: &Heartbeat) -> u64 {
        let mut record = self.record.lock();
        let bytes = heartbeat.bytes_up.saturating_add(heartbeat.bytes_down);
        let new = bytes.saturating_sub(record.bytes).min(MAX_REPORTED_BYTES);
        record.bytes += new;
        new
    }

    /// Bytes that the device says it relayed since it connected.
    pub(crate) fn bytes(&self) -> u64 {
        self.record.lock().bytes
    }

    /// The score now, with the round trip as the tunnel measured it.
    pub(crate) fn score(&self, now: Instant) -> (u8, Option<Duration>) {
        let rtt = self.tunnel.rtt();
        let mut record = self.record.lock();
        if let Some(rtt) = rtt {
            record.quality.note_rtt(rtt);
        }
        (record.quality.score(now), rtt)
    }

    /// What the store doesn't know yet; none if it is not worth a visit. What is taken counts as stored.
    pub(crate) fn take_activity(
        &self,
        connected: bool,
        now: Timestamp,
        instant: Instant,
    ) -> Option<NodeActivity> {
        let mut record = self.record.lock();
        let bytes = record.bytes - record.stored_bytes;
        let is_news = record.requests > 0 || bytes > 0 || !connected;
        if !is_news && now.since(record.stored_at) < STORE_LIFE_EVERY {
            return None;
        }
        let requests = std::mem::take(&mut record.requests);
        let successful_requests = std::mem::take(&mut record.successful);
        record.stored_bytes = record.bytes;
        record.stored_at = now;
        Some(NodeActivity {
            node: self.exit.node,
            requests,
            successful_requests,
            bytes,
            quality: record.quality.score(instant),
            last_heartbeat: now,
            connected,
        })
    }
}
