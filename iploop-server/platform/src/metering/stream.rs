use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use super::pool::{Pool, signed};
use super::quota::KeyQuota;
use crate::clock::Timestamp;
use crate::exits::Exit;
use crate::ids::{AccountId, GatewayId, NodeId, RequestId};
use crate::usage::{Timings, UsageRecord};

/// Longest text kept of a destination or a place: what a host name and a port can need, and some.
const MAX_TEXT: usize = 300;

/// Counts one request's bytes against its account's lease, and gathers what its usage record says.
///
/// Clones count into the same request, so both halves of a relay hold one. [`finish`](Self::finish) ends the request; if
/// every clone is dropped without it, the request is booked with what was counted. Bytes counted after the end are booked
/// too: totals only grow.
#[derive(Clone)]
pub struct StreamMeter {
    pub(super) state: Arc<StreamState>,
}

/// Whether a chunk may go on its way.
#[must_use = "a chunk that was not counted must not be written"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// It is counted: write it.
    Go,
    /// The lease is used up and nothing was counted: hold the chunk, wait for [`StreamMeter::refilled`], count it again.
    Hold,
}

/// Why a stream can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCredit {
    /// The account has nothing left.
    #[error("the balance is used up")]
    BalanceDepleted,
    /// The key has used what it may.
    #[error("the API key has used the bytes that it may")]
    KeyQuotaExceeded,
    /// The database did not answer for too long, and what may be used without it is used up; or the gateway is closing.
    #[error("no lease can be taken now")]
    Unavailable,
}

impl NoCredit {
    /// The code in answers and request logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::BalanceDepleted => "balance_depleted",
            Self::KeyQuotaExceeded => "key_quota_exceeded",
            Self::Unavailable => "unavailable",
        }
    }
}

/// How a request came to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyType {
    /// A plain HTTP request.
    Http,
    /// A tunnel by CONNECT.
    Connect,
    /// A tunnel by SOCKS5.
    Socks5,
}

impl ProxyType {
    /// As it stands in usage records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Connect => "connect",
            Self::Socks5 => "socks5",
        }
    }
}

/// How a request ended, which decides who pays for its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was served, or its customer left: its bytes are paid.
    Served,
    /// It failed by the customer's or the destination's doing, with this code: its bytes are paid.
    Failed(&'static str),
    /// It failed by our doing, with this code: it costs nothing.
    OurFailure(&'static str),
}

impl StreamMeter {
    /// The request's id, as in its usage record.
    pub fn request(&self) -> RequestId {
        self.state.id
    }

    /// Who pays.
    pub fn account(&self) -> AccountId {
        self.state.pool.account()
    }

    /// Counts a chunk from the customer, after it was read and before it is written to the destination.
    ///
    /// A few atomic operations. One chunk of an account may reach past the end of its lease: so chunks are at most 64 KiB.
    pub fn count_up(&self, bytes: usize) -> Counted {
        self.state.count(&self.state.up, bytes)
    }

    /// Counts a chunk from the destination, after it was read and before it is written to the customer.
    ///
    /// As [`count_up`](Self::count_up).
    pub fn count_down(&self, bytes: usize) -> Counted {
        let counted = self.state.count(&self.state.down, bytes);
        if counted == Counted::Go {
            self.state.note_first_byte();
        }
        counted
    }

    /// Waits until the account's pool has credit again, after [`Counted::Hold`].
    ///
    /// # Errors
    /// The balance or the key's limit is used up, or no lease could be had within [`refill_wait`](super::MeteringConfig::refill_wait): end
    /// the stream without writing the chunk.
    ///
    /// # Cancel safety
    /// Safe: dropping the future forgets the wait and nothing else.
    pub async fn refilled(&self) -> Result<(), NoCredit> {
        if self.state.quota.exhausted(self.state.pool.now()).is_some() {
            return Err(NoCredit::KeyQuotaExceeded);
        }
        self.state.pool.refilled().await
    }

    /// [`count_up`](Self::count_up), waiting for credit as needed.
    ///
    /// # Errors
    /// As [`refilled`](Self::refilled); nothing is counted then.
    pub async fn charge_up(&self, bytes: usize) -> Result<(), NoCredit> {
        while self.count_up(bytes) == Counted::Hold {
            self.refilled().await?;
        }
        Ok(())
    }

    /// [`count_down`](Self::count_down), waiting for credit as needed.
    ///
    /// # Errors
    /// As [`refilled`](Self::refilled); nothing is counted then.
    pub async fn charge_down(&self, bytes: usize) -> Result<(), NoCredit> {
        while self.count_down(bytes) == Counted::Hold {
            self.refilled().await?;
        }
        Ok(())
    }

    /// Customer to destination, so far.
    pub fn bytes_up(&self) -> u64 {
        self.state.up.load(Relaxed)
    }

    /// Destination to customer, so far.
    pub fn bytes_down(&self) -> u64 {
        self.state.down.load(Relaxed)
    }

    /// Notes how the request came and where it goes: host and port, never more of a URL.
    pub fn set_destination(&self, proxy_type: ProxyType, destination: &impl std::fmt::Display) {
        let destination = bounded(destination.to_string());
        self.state.note(|facts| {
            facts.proxy_type = proxy_type.as_str();
            facts.destination = destination;
        });
    }

    /// Notes the device that serves the request.
    pub fn set_exit(&self, exit: &Exit) {
        self.state.note(|facts| {
            facts.node = Some(exit.node);
            facts.exit_country = exit.place.country.clone().map(bounded);
            facts.exit_city = exit.place.city.clone().map(bounded);
            facts.exit_asn = exit.place.asn;
            facts.exit_ip = Some(exit.ip);
        });
    }

    /// Notes how long the choices of an exit took, all attempts together, and the dial of the last one.
    pub fn set_connect_times(&self, select: Duration, dial: Duration) {
        self.state.note(|facts| {
            facts.timings.select_ms = Some(millis(select));
            facts.timings.dial_ms = Some(millis(dial));
        });
    }

    /// Notes the sticky session's name.
    pub fn set_session(&self, name: &str) {
        self.state
            .note(|facts| facts.session = Some(bounded(name.to_owned())));
    }

    /// Notes how many exits were tried.
    pub fn set_attempts(&self, attempts: u32) {
        self.state.note(|facts| facts.attempts = attempts);
    }

    /// Notes the answer's status.
    pub fn set_status(&self, status: u16) {
        self.state.note(|facts| facts.status = Some(status));
    }

    /// Ends the request. The first call decides; later ones change nothing.
    pub fn finish(&self, outcome: Outcome) {
        self.state.finish(outcome);
    }
}

impl std::fmt::Debug for StreamMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamMeter")
            .field("request", &self.request())
            .field("bytes_up", &self.bytes_up())
            .field("bytes_down", &self.bytes_down())
            .finish_non_exhaustive()
    }
}

/// One request, from its admission until its last totals are booked.
pub(super) struct StreamState {
    pub(super) id: RequestId,
    gateway: GatewayId,
    started_at: Timestamp,
    pub(super) pool: Arc<Pool>,
    /// Of the key.
    quota: Arc<KeyQuota>,
    up: AtomicU64,
    down: AtomicU64,
    /// Locked after `marks` where both are.
    facts: Mutex<Facts>,
    marks: Mutex<Marks>,
    /// When the answer's first byte was counted, in milliseconds after the request began; 0: none was.
    first_byte: AtomicU32,
}

/// What is learnt on the way.
struct Facts {
    revision: u32,
    node: Option<NodeId>,
    session: Option<String>,
    billable: bool,
    proxy_type: &'static str,
    destination: String,
    exit_country: Option<String>,
    exit_city: Option<String>,
    exit_asn: Option<u32>,
    exit_ip: Option<IpAddr>,
    timings: Timings,
    status: Option<u16>,
    error: Option<&'static str>,
    attempts: u32,
    ended_at: Option<Timestamp>,
}

/// Which state of a stream a record shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) up: u64,
    pub(super) down: u64,
    pub(super) revision: u32,
}

impl Version {
    fn total(self) -> u64 {
        self.up.saturating_add(self.down)
    }
}

/// How far journal and ledger have followed a stream. Kept by the meter's task alone, except for `given_back`.
#[derive(Default)]
pub(super) struct Marks {
    /// What the journal has.
    pub(super) journaled: Option<Version>,
    /// The journal segment that describes the stream in full; totals alone are enough there.
    pub(super) described_in: Option<u64>,
    /// What the ledger has confirmed.
    booked: Option<Version>,
    /// Bytes that were sent to the ledger as billable, confirmed or not.
    sent: u64,
    /// Bytes that the pool was told are settled.
    accounted: u64,
    /// Bytes that went back to the pool, because the request failed by our doing before they were sent.
    given_back: u64,
    /// Bytes that the key's quota was told are not paid.
    unpaid: u64,
    /// Bytes that the key's quota was told are booked.
    key_booked: u64,
    /// Rounds in which the ledger refused this record while it took others.
    pub(super) strikes: u8,
}

impl StreamState {
    pub(super) fn new(
        id: RequestId,
        gateway: GatewayId,
        pool: Arc<Pool>,
        quota: Arc<KeyQuota>,
        now: Timestamp,
    ) -> Self {
        pool.stream_began();
        Self {
            id,
            gateway,
            started_at: now,
            pool,
            quota,
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            facts: Mutex::new(Facts {
                revision: 1,
                node: None,
                session: None,
                billable: true,
                proxy_type: "",
                destination: String::new(),
                exit_country: None,
                exit_city: None,
                exit_asn: None,
                exit_ip: None,
                timings: Timings::default(),
                status: None,
                error: None,
                attempts: 0,
                ended_at: None,
            }),
            marks: Mutex::default(),
            first_byte: AtomicU32::new(0),
        }
    }

    fn count(&self, total: &AtomicU64, bytes: usize) -> Counted {
        if !self.quota.take(bytes, || self.pool.now()) {
            return Counted::Hold;
        }
        if !self.pool.take(bytes) {
            self.quota.give_back(bytes as u64);
            return Counted::Hold;
        }
        // After the pool's count, so that what is settled never exceeds what the pool has counted.
        total.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Relaxed);
        Counted::Go
    }

    /// Once: one read of the clock for each request.
    fn note_first_byte(&self) {
        if self.first_byte.load(Relaxed) == 0 {
            let took = millis(self.pool.now().since(self.started_at)).max(1);
            // Whoever comes second finds it set.
            let _ = self.first_byte.compare_exchange(0, took, Relaxed, Relaxed);
        }
    }

    fn note(&self, change: impl FnOnce(&mut Facts)) {
        let mut facts = self.facts.lock();
        change(&mut facts);
        facts.revision = facts.revision.wrapping_add(1);
    }

    pub(super) fn finish(&self, outcome: Outcome) {
        let mut marks = self.marks.lock();
        let mut facts = self.facts.lock();
        if facts.ended_at.is_some() {
            return;
        }
        facts.ended_at = Some(self.pool.now());
        facts.revision = facts.revision.wrapping_add(1);
        match outcome {
            Outcome::Served => {}
            Outcome::Failed(code) => facts.error = Some(code),
            Outcome::OurFailure(code) => {
                facts.error = Some(code);
                facts.billable = false;
                // Bytes already sent to the ledger come back through it, as a refund.
                let bytes = self.bytes();
                marks.given_back = bytes.saturating_sub(marks.sent);
                self.pool.give_back(marks.given_back);
                marks.unpaid = bytes;
                self.quota.give_back(bytes);
            }
        }
        drop((facts, marks));
        self.pool.stream_ended();
        self.pool.tell_end(|| self.record().0);
    }

    pub(super) fn is_ended(&self) -> bool {
        self.facts.lock().ended_at.is_some()
    }

    /// The journal lacks something of it.
    pub(super) fn needs_journaling(&self) -> bool {
        let marks = self.marks.lock();
        marks.journaled != Some(self.version())
    }

    /// The ledger lacks something of it.
    pub(super) fn needs_booking(&self) -> bool {
        let marks = self.marks.lock();
        marks.booked != Some(self.version())
    }

    pub(super) fn marks(&self) -> parking_lot::MutexGuard<'_, Marks> {
        self.marks.lock()
    }

    pub(super) fn version(&self) -> Version {
        let revision = self.facts.lock().revision;
        Version {
            up: self.up.load(Relaxed),
            down: self.down.load(Relaxed),
            revision,
        }
    }

    /// The record as it stands, and which state that is.
    pub(super) fn record(&self) -> (UsageRecord, Version) {
        let facts = self.facts.lock();
        let version = Version {
            up: self.up.load(Relaxed),
            down: self.down.load(Relaxed),
            revision: facts.revision,
        };
        let record = UsageRecord {
            id: self.id,
            account: self.pool.account(),
            api_key: self.quota.key(),
            gateway: self.gateway,
            node: facts.node,
            session: facts.session.clone(),
            bytes_up: version.up,
            bytes_down: version.down,
            billable: facts.billable,
            proxy_type: facts.proxy_type.to_owned(),
            destination: facts.destination.clone(),
            exit_country: facts.exit_country.clone(),
            exit_city: facts.exit_city.clone(),
            exit_asn: facts.exit_asn,
            exit_ip: facts.exit_ip,
            timings: Timings {
                first_byte_ms: Some(self.first_byte.load(Relaxed)).filter(|&millis| millis > 0),
                ..facts.timings
            },
            status: facts.status,
            error: facts.error.map(str::to_owned),
            attempts: facts.attempts,
            started_at: self.started_at,
            ended_at: facts.ended_at,
        };
        (record, version)
    }

    /// The record for the ledger: from here on its bytes may be booked, whether we hear of it or not.
    ///
    /// None while the journal lacks the request, or its end: after a crash nobody would end what was booked, or an older state would be
    /// replayed after the final one. `journal_fails` lifts that, as usage would pile up forever.
    pub(super) fn record_to_book(&self, journal_fails: bool) -> Option<(UsageRecord, Version)> {
        let mut marks = self.marks.lock();
        let (record, version) = self.record();
        let is_journaled = match record.ended_at {
            Some(_) => marks.journaled == Some(version),
            None => marks.journaled.is_some(),
        };
        if !is_journaled && !journal_fails {
            return None;
        }
        if record.billable {
            marks.sent = marks.sent.max(version.total());
        }
        Some((record, version))
    }

    /// The ledger confirmed the record of this state.
    pub(super) fn booked(&self, record: &UsageRecord, version: Version) {
        let mut marks = self.marks.lock();
        marks.booked = Some(version);
        marks.strikes = 0;
        // What was sent as billable counts as settled even after the request turned out to cost nothing: the refund goes
        // to the balance, not to the lease.
        let settled = match record.billable {
            true => version.total(),
            false => version.total().saturating_sub(marks.given_back),
        };
        self.pool.settle(settled.saturating_sub(marks.accounted));
        marks.accounted = marks.accounted.max(settled);
        let paid = if record.billable { version.total() } else { 0 };
        self.quota
            .settle(signed(paid).saturating_sub(signed(marks.key_booked)));
        marks.key_booked = paid;
        if !record.billable {
            // What was counted after the end.
            self.quota.give_back(version.total().saturating_sub(marks.unpaid));
            marks.unpaid = marks.unpaid.max(version.total());
        }
    }

    fn bytes(&self) -> u64 {
        self.up.load(Relaxed).saturating_add(self.down.load(Relaxed))
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// At most [`MAX_TEXT`] bytes of it, cut between characters.
fn bounded(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT)
            .rev()
            .find(|&at| text.is_char_boundary(at))
            .unwrap_or(0);
        text.truncate(end);
    }
    text
}
