//! The seam between the gateway, which wants a way out, and the hub, which has the devices.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use iploop_protocol::destination::Destination;
use iploop_protocol::io::Stream;
use iploop_protocol::policy::{Grants, Limited, Transport};
use iploop_protocol::targeting::Targeting;
use serde::Serialize;
use tokio::time::Instant;

use crate::account::Standing;
use crate::ids::{AccountId, NodeId};

pub use self::gauge::{Measured, Places, StreamGauge};

mod gauge;

/// Opens streams through devices: the hub of this process, or the link to a hub elsewhere.
pub trait Exits: Send + Sync + 'static {
    /// Chooses one fitting device and asks it to dial; one attempt a call.
    ///
    /// The caller repeats with the failed exit in [`ExitRequest::avoid`] while its deadline lasts. Dropping the future
    /// resets the stream at the device.
    fn open(&self, request: ExitRequest) -> BoxFuture<'_, Result<OpenedExit, ExitFailure>>;

    /// Whether the exit of a sticky session is there. Cheap: no device is asked.
    fn presence(&self, node: NodeId, ip: IpAddr) -> Presence;
}

/// Where the exit of a sticky session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A device with this public address is connected: this one, or another.
    Here,
    /// Nobody has the address any more; the device is connected with this one.
    Moved(IpAddr),
    /// Neither the device nor another one with its address is connected.
    Gone,
}

/// What holds for one customer on every device, besides the policy.
#[derive(Clone, Debug, Default)]
pub struct CustomerTerms {
    /// How far it is trusted: new ones have lower limits.
    pub standing: Standing,
    /// What an admin opened for it.
    pub grants: Arc<Grants>,
}

/// What the gateway asks of the hub: where to, through whom, and until when.
#[derive(Clone, Debug)]
pub struct ExitRequest {
    /// Who pays: limits per customer and device are counted by it.
    pub account: AccountId,
    /// What holds for that customer.
    pub terms: CustomerTerms,
    /// The customer's wishes about the exit.
    pub targeting: Arc<Targeting>,
    /// The exit to use if it still fits, for sticky sessions.
    pub prefer: Option<Preference>,
    /// Exits that must not be chosen: those that failed for this request, or the last one of a rotating key.
    pub avoid: Avoid,
    /// Where the device shall dial. Means nothing for datagrams, each of which has its own.
    pub destination: Destination,
    /// A connection, or datagrams.
    pub transport: Transport,
    /// First bytes for the destination, sent with OPEN so that they cost no round trip.
    pub early: Bytes,
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// Further exits that may be asked beside slow ones, for an exit that is not preferred. `early` may arrive at the destination
    /// through all of them.
    pub hedges: u32,
}

/// The exit that a sticky session holds on to: first the address, then the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preference {
    /// The device.
    pub node: NodeId,
    /// Its public address: another device behind the same address serves as well.
    pub ip: IpAddr,
    /// What may take its place when it is gone.
    pub or_else: OrElse,
}

/// What may take the place of a sticky session's exit that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrElse {
    /// Only a device with the same public address.
    SameIp,
    /// Also a device in the same autonomous system, given here.
    SameAsn(u32),
    /// Any device that fits the targeting.
    Any,
}

/// Exits that must not be chosen. Bounded by the number of attempts of one request.
#[derive(Clone, Debug, Default)]
pub struct Avoid {
    /// By device.
    pub nodes: Vec<NodeId>,
    /// By public address.
    pub ips: Vec<IpAddr>,
}

/// A device that dialled: its facts, and the stream to the destination.
#[derive(Debug)]
pub struct OpenedExit {
    /// Who serves the request.
    pub exit: Arc<Exit>,
    /// The bytes to and from the destination. Dropping it resets the stream.
    pub stream: Stream,
    /// How long the choice took.
    pub select: Duration,
    /// How long the device took to dial, with the way there and back.
    pub dial: Duration,
    /// The other exits that were asked, where the dial was hedged.
    pub beside: Vec<Asked>,
    /// To be told of the stream's bytes: what speed and latency are measured by.
    pub gauge: Arc<StreamGauge>,
}

/// An exit that was asked beside the one that the answer is about.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which one.
    pub exit: Arc<Exit>,
    /// How it failed; none: it was slower, and its stream was reset.
    pub error: Option<ExitError>,
    /// How long it was waited for.
    pub took: Duration,
    /// Whether it was asked beside one that took long.
    pub hedged: bool,
}

/// One live device as the outside may see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// The device.
    pub node: NodeId,
    /// Its public address.
    pub ip: IpAddr,
    /// Where it is, as far as that is known.
    pub place: Place,
    /// `wifi`, `cellular` or `ethernet`, as the device says.
    pub net: Option<String>,
    /// `android`, `ios`, `windows`, `mac`, `linux` or `browser`, as the device says.
    pub os: Option<String>,
}

/// A place and network, from GeoIP or the operator's overrides. Every part may be unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// ISO 3166-1 alpha-2, upper case.
    pub country: Option<String>,
    /// Region or state, as the database names it.
    pub region: Option<String>,
    /// City, as the database names it.
    pub city: Option<String>,
    /// Postal code.
    pub zip: Option<String>,
    /// Autonomous system number.
    pub asn: Option<u32>,
    /// The network's name.
    pub isp: Option<String>,
}

/// An attempt that did not open a stream.
#[derive(Debug)]
pub struct ExitFailure {
    /// Why.
    pub error: ExitError,
    /// The device that was asked, if one was: to avoid it in the next attempt.
    pub exit: Option<Arc<Exit>>,
    /// How long the attempt took.
    pub took: Duration,
    /// The other exits that were asked, where the dial was hedged: they failed as well, or were too slow to tell.
    pub beside: Vec<Asked>,
}

/// Why an attempt did not open a stream. Each variant is a different answer to the customer or another attempt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExitError {
    /// No live device fits.
    #[error("no live device fits the request")]
    NoExit,
    /// Fitting devices exist, but each is among those to avoid.
    #[error("no other device fits the request")]
    NoOtherExit,
    /// The sticky session's exit is gone and nothing may take its place.
    #[error("the exit of this session is gone")]
    SessionExitGone,
    /// The device did not answer in time.
    #[error("the device did not answer in time")]
    NodeTimeout,
    /// The device vanished, is draining or has no room: another one may serve.
    #[error("the device is gone or has no room")]
    NodeUnavailable,
    /// The device could not resolve the name.
    #[error("the name could not be resolved")]
    DnsFailed,
    /// The destination refused the connection.
    #[error("the destination refused the connection")]
    ConnectionRefused,
    /// The destination could not be reached from there.
    #[error("the destination is unreachable")]
    Unreachable,
    /// The destination did not answer in time.
    #[error("the destination did not answer in time")]
    ConnectTimeout,
    /// The exit policy forbids the destination. The text names the class of the rule, nothing of the device's network.
    #[error("the destination is not allowed: {0}")]
    Forbidden(String),
    /// Too many streams or dials of this customer on this device, or to this destination.
    #[error("too many connections")]
    TooMany,
    /// The customer has reached a limit on this device, or the destination one of all customers together.
    #[error("a limit is reached: {}", .0.limit.as_str())]
    Limited(Limited),
    /// The hub is shutting down.
    #[error("the hub is draining")]
    Draining,
}
