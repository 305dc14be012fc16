//! One live node: its tunnel, and what is counted of it between two visits of the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use iploop_platform::clock::Timestamp;
use iploop_platform::device_news::Said;
use iploop_platform::exits::{Exit, Measured};
use iploop_platform::node::NodeActivity;
use iploop_protocol::codes::CloseCode;
use iploop_protocol::control::{GrantsUpdate, OwnersWish, SharingStatus, ToNode};
use iploop_protocol::io::Tunnel;
use iploop_protocol::policy::Grants;
use parking_lot::Mutex;

use crate::directory::Figures;
use crate::quality::{Breaker, Outcome, Quality, Verdict};
use crate::registration::Device;

/// A sign of life is stored this often, even if nothing else happened.
const STORE_LIFE_EVERY: Duration = Duration::from_secs(300);

/// One connection of one device.
pub(crate) struct Node {
    pub(crate) exit: Arc<Exit>,
    pub(crate) tunnel: Tunnel,
    pub(crate) device: Device,
    /// When this connection began.
    pub(crate) since: Timestamp,
    /// What it says itself.
    shares: AtomicBool,
    /// Its owner wishes that it pauses.
    paused: AtomicBool,
    /// It takes no streams any more, whatever it says.
    leaving: AtomicBool,
    /// Asked to leave; until when its streams may go on stands in the record.
    draining: AtomicBool,
    record: Mutex<Record>,
    told: Mutex<Told>,
}

/// Most customers of whose grants a device is told: what it remembers at least (`docs/protocol.md`, grants).
const MAX_TOLD: usize = 1024;
/// Control messages about grants and wishes at once, and the time until there may be another one: far from what a device takes for a
/// flood, policies beside them.
const GRANTS_BURST: u32 = 40;
const GRANTS_EVERY: Duration = Duration::from_secs(1);

/// What a device was told of customers' grants.
#[derive(Default)]
struct Told {
    grants: BTreeMap<u64, Arc<Grants>>,
    /// That its owner wishes that it pauses.
    paused: bool,
    /// Messages sent of those that may be sent at once.
    used: u32,
    counted_at: Option<Instant>,
}

impl Told {
    /// Takes one message of those that may be sent.
    fn take(&mut self, now: Instant) -> bool {
        let at = *self.counted_at.get_or_insert(now);
        let since = now.saturating_duration_since(at).as_secs() / GRANTS_EVERY.as_secs();
        if let Ok(since) = u32::try_from(since)
            && since > 0
        {
            self.used = self.used.saturating_sub(since);
            self.counted_at = Some(now);
        }
        let may = self.used < GRANTS_BURST;
        self.used += u32::from(may);
        may
    }
}

struct Record {
    quality: Quality,
    breaker: Breaker,
    requests: u64,
    successful: u64,
    /// Of the bytes that the tunnel relayed, those that the network's sum has …
    summed_bytes: u64,
    /// … and those that the store has.
    stored_bytes: u64,
    stored_at: Timestamp,
    drained_at: Option<Instant>,
    /// Why it does not share, as it says.
    why_not: Option<Box<str>>,
}

impl Node {
    pub(crate) fn new(
        exit: Arc<Exit>,
        tunnel: Tunnel,
        device: Device,
        (status, is_paused): (SharingStatus, bool),
        quality: Quality,
        now: Timestamp,
    ) -> Self {
        let record = Record {
            quality,
            breaker: Breaker::default(),
            requests: 0,
            successful: 0,
            summed_bytes: 0,
            stored_bytes: 0,
            stored_at: now,
            drained_at: None,
            why_not: status.reason.map(String::into_boxed_str),
        };
        // The welcome told it.
        let told = Told {
            paused: is_paused,
            ..Told::default()
        };
        Self {
            exit,
            tunnel,
            device,
            since: now,
            shares: AtomicBool::new(status.sharing),
            paused: AtomicBool::new(is_paused),
            leaving: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            record: Mutex::new(record),
            told: Mutex::new(told),
        }
    }

    /// Whether it is to get streams. Ask it under the directory's lock, so that whoever noted something last decides.
    pub(crate) fn takes_streams(&self) -> bool {
        self.shares.load(Ordering::Relaxed)
            && !self.paused.load(Ordering::Relaxed)
            && !self.leaving.load(Ordering::Relaxed)
            && !self.is_draining()
    }

    /// Notes what the device says itself.
    pub(crate) fn note_status(&self, status: SharingStatus) {
        self.shares.store(status.sharing, Ordering::Relaxed);
        self.record.lock().why_not = status.reason.map(String::into_boxed_str);
    }

    /// What it said last.
    pub(crate) fn said(&self) -> Said {
        Said {
            is_sharing: self.shares.load(Ordering::Relaxed),
            reason: self.record.lock().why_not.as_deref().map(str::to_owned),
        }
    }

    /// Notes that it takes no streams any more, whatever it says.
    pub(crate) fn leave_service(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Notes what its owner wishes, and tells it if it does not know and can be told now; else it is told when this is heard again.
    pub(crate) fn wish(&self, is_paused: bool, now: Instant) {
        self.paused.store(is_paused, Ordering::Relaxed);
        let mut told = self.told.lock();
        if !self.device.hears_wishes || told.paused == is_paused || !told.take(now) {
            return;
        }
        let message = ToNode::Wish(OwnersWish { paused: is_paused });
        if self.tunnel.send_control(message.encode()).is_ok() {
            told.paused = is_paused;
        }
    }

    /// Notes that the device was asked to leave, and how long its streams may go on.
    pub(crate) fn start_draining(&self, until: tokio::time::Instant) {
        self.record.lock().drained_at = Some(until.into_std());
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to leave.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether the time of the streams of a device that was asked to leave is over.
    pub(crate) fn is_drained(&self, now: Instant) -> bool {
        self.is_draining() && self.record.lock().drained_at.is_some_and(|at| at <= now)
    }

    /// Sends a device away that was asked to leave.
    pub(crate) fn end_drained(&self, retry_after: Duration) {
        let reason = "this device was taken out of service for a moment";
        self.tunnel
            .close(CloseCode::ShuttingDown, Some(retry_after), reason);
    }

    /// Tells the device what is open for a customer, if it does not know. False: it can't be told now.
    pub(crate) fn tell_grants(&self, customer: u64, grants: &Arc<Grants>, now: Instant) -> bool {
        let mut told = self.told.lock();
        let is_empty = grants.iter().next().is_none();
        match told.grants.get(&customer) {
            None if is_empty => return true,
            Some(known) if *known == *grants => return true,
            None if told.grants.len() >= MAX_TOLD => return true,
            _ => {}
        }
        if !told.take(now) {
            return false;
        }
        let message = ToNode::Grants(GrantsUpdate::new(customer, grants));
        if self.tunnel.send_control(message.encode()).is_err() {
            return false;
        }
        if is_empty {
            told.grants.remove(&customer);
        } else {
            told.grants.insert(customer, Arc::clone(grants));
        }
        true
    }

    /// Notes how an attempt ended after so long; what follows from it.
    pub(crate) fn note(&self, outcome: Outcome, took: Duration, now: Instant) -> Verdict {
        let mut record = self.record.lock();
        record.quality.note(outcome, now);
        record.requests += 1;
        if matches!(outcome, Outcome::Dialed(_)) {
            record.quality.note_open(took);
            record.successful += 1;
        }
        record.breaker.note(outcome)
    }

    /// Notes what a stream showed.
    pub(crate) fn note_stream(&self, measured: Measured, now: Instant) {
        if measured != Measured::default() {
            let mut record = self.record.lock();
            let Measured {
                first_byte,
                best_rate,
            } = measured;
            record.quality.note_stream(first_byte, best_rate, now);
        }
    }

    /// The time that 95 of 100 of its dials did not exceed, the way to it and back included.
    pub(crate) fn usual_time(&self) -> Option<Duration> {
        self.record.lock().quality.times().quantile(95)
    }

    /// The share of dials that work, as far as it is the node's doing.
    pub(crate) fn reliability(&self, now: Instant) -> f32 {
        self.record.lock().quality.reliability(now)
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

    /// Bytes relayed since this was asked last, as we counted them: what a device says of itself is no figure of ours.
    pub(crate) fn take_new_bytes(&self) -> u64 {
        let bytes = self.tunnel.relayed_bytes();
        let mut record = self.record.lock();
        bytes - std::mem::replace(&mut record.summed_bytes, bytes)
    }

    /// The sum of all that [`Node::take_new_bytes`] gave.
    pub(crate) fn summed_bytes(&self) -> u64 {
        self.record.lock().summed_bytes
    }

    /// What is measured of it now, with the round trip as the tunnel measured it.
    pub(crate) fn figures(&self, now: Instant) -> Figures {
        let rtt = self.tunnel.rtt();
        let mut record = self.record.lock();
        if let Some(rtt) = rtt {
            record.quality.note_rtt(rtt);
        }
        Figures {
            quality: record.quality.score(now),
            latency: record.quality.latency(now),
            speed_mbps: record.quality.rate(now).map(mbps),
        }
    }

    /// What the store doesn't know yet; none if it is not worth a visit. What is taken counts as stored.
    pub(crate) fn take_activity(
        &self,
        connected: bool,
        now: Timestamp,
        instant: Instant,
    ) -> Option<NodeActivity> {
        let relayed = self.tunnel.relayed_bytes();
        let mut record = self.record.lock();
        let bytes = relayed - record.stored_bytes;
        let is_news = record.requests > 0 || bytes > 0 || !connected;
        if !is_news && now.since(record.stored_at) < STORE_LIFE_EVERY {
            return None;
        }
        let requests = std::mem::take(&mut record.requests);
        let successful_requests = std::mem::take(&mut record.successful);
        record.stored_bytes = relayed;
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

/// Whole Mbit/s of a rate in bytes a second.
fn mbps(rate: f32) -> u16 {
    let mbps = rate.min(1e9) * 8.0 / 1e6;
    // By way of a time, since a float becomes a whole number safely there only.
    u16::try_from(Duration::from_secs_f32(mbps).as_secs()).unwrap_or(u16::MAX)
}
