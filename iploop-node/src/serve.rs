//! One stream from a customer's wish to its end.
//!
//! ```text
//! Incoming ──admit──▶ ──check_destination──▶ ──resolve──▶ ──check_addresses──▶ ──dial──▶ accept ──relay──▶
//!          limits      name, literal, port    once        every answer          only those, peer compared
//! ```

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use iploop_protocol::codes::ResetCode;
use iploop_protocol::destination::{Destination, Host, HostName};
use iploop_protocol::frame::{Open, StreamKind};
use iploop_protocol::io::{Incoming, RelayError, Stream, relay};
use iploop_protocol::policy::{CheckedAddresses, Limit, Refusal, RuleClass};
use parking_lot::RwLock;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::datagrams::{Association, End};
use crate::dial::{DialError, dial};
use crate::grants::{CustomerGrants, Opened};
use crate::rules::Rules;
use crate::shared::Shared;
use crate::sharing::NotSharing;
use crate::status::Event;

/// Time to dial where OPEN names none.
const DEFAULT_DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Most time to dial, whatever OPEN says.
const MAX_DIAL_TIMEOUT: Duration = Duration::from_secs(60);

/// What the streams of one connection share.
pub(crate) struct Stage {
    pub(crate) shared: Arc<Shared>,
    pub(crate) rules: RwLock<Arc<Rules>>,
    pub(crate) grants: CustomerGrants,
}

/// Why a stream is not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    NotSharing(NotSharing),
    Kind,
    Limit(Limit),
    Policy(Refusal),
    Dns,
    Dial(DialError),
}

impl Refused {
    /// What the opener is told: it names classes, never the device's addresses or the resolver's answers.
    fn answer(self) -> (ResetCode, &'static str) {
        match self {
            Self::NotSharing(reason) => (code_of(reason), reason.as_str()),
            Self::Kind => (ResetCode::Unsupported, "no datagrams"),
            Self::Limit(Limit::Customers) => (ResetCode::Busy, Limit::Customers.as_str()),
            Self::Limit(limit) => (ResetCode::Limited, limit.as_str()),
            Self::Policy(refusal) => (ResetCode::Forbidden, refusal.rule().as_str()),
            Self::Dns => (ResetCode::DnsFailed, ""),
            Self::Dial(DialError::Refused) => (ResetCode::Refused, ""),
            Self::Dial(DialError::Unreachable) => (ResetCode::Unreachable, ""),
            Self::Dial(DialError::Timeout) => (ResetCode::DialTimeout, ""),
        }
    }

    /// Whether it counts as a failed dial of the customer's.
    fn is_failed_dial(self) -> bool {
        matches!(self, Self::Dns | Self::Dial(_))
    }
}

/// The code for a stream that ends, or does not begin, because the device does not share.
fn code_of(reason: NotSharing) -> ResetCode {
    match reason {
        NotSharing::DailyCap
        | NotSharing::MonthlyCap
        | NotSharing::CellularDailyCap
        | NotSharing::CellularMonthlyCap => ResetCode::Limited,
        NotSharing::Stopping => ResetCode::Draining,
        _ => ResetCode::Paused,
    }
}

/// Serves a stream to its end. `cut` ends it early, because the device does not share any longer.
pub(crate) async fn serve(mut incoming: Incoming, stage: Arc<Stage>, cut: CancellationToken) {
    let started = Instant::now();
    let shared = &*stage.shared;
    let _open = shared.traffic.open();
    let _admission = match stage.admit(&incoming) {
        Ok(admission) => admission,
        Err(refused) => return stage.refuse(incoming, refused),
    };
    let open = incoming.open().clone();
    if open.kind == StreamKind::Udp {
        if let Some(stream) = incoming.accept(started.elapsed()) {
            shared.traffic.count_served();
            stage.relay_datagrams(stream, open.customer, &cut).await;
        }
        return;
    }
    let customer = open.customer;
    let connected = tokio::select! {
        biased;
        // The opener gave up: there is nobody to answer.
        () = poll_fn(|cx| incoming.poll_cancelled(cx)) => None,
        () = cut.cancelled() => Some(Err(stage.cut_short())),
        connected = stage.connect(&open, started) => Some(connected),
    };
    match connected {
        None => stage.dialled(customer, false),
        Some(Err(refused)) => {
            stage.dialled(customer, refused.is_failed_dial());
            stage.refuse(incoming, refused);
        }
        Some(Ok(mut socket)) => {
            stage.dialled(customer, false);
            if let Some(mut stream) = incoming.accept(started.elapsed()) {
                shared.traffic.count_served();
                socket.is_finished = stage.relay(&mut stream, &mut socket.inner, &cut).await;
            }
        }
    }
}

impl Stage {
    /// Everything that is asked before the exit policy.
    fn admit(&self, incoming: &Incoming) -> Result<Admission<'_>, Refused> {
        let open = incoming.open();
        if let Some(reason) = self.shared.unwilling() {
            return Err(Refused::NotSharing(reason));
        }
        let rules = self.rules();
        if open.kind == StreamKind::Udp && !rules.opens_udp(&self.opened_for_datagrams(open.customer)) {
            return Err(Refused::Kind);
        }
        let mut customers = self.shared.customers.lock();
        let (now, limits) = (Instant::now().into_std(), &rules.limits);
        match open.kind {
            StreamKind::Tcp => customers.admit(now, limits, open.customer, &open.destination),
            StreamKind::Udp => customers.admit_datagrams(now, limits, open.customer),
        }
        .map_err(|limited| Refused::Limit(limited.limit))?;
        drop(customers);
        Ok(Admission {
            shared: &self.shared,
            customer: open.customer,
        })
    }

    /// Resolves once, checks every answer, dials only what was checked, and compares what was reached with it.
    async fn connect(&self, open: &Open, started: Instant) -> Result<Socket, Refused> {
        let to = &open.destination;
        let timeout = match open.timeout_ms {
            0 => DEFAULT_DIAL_TIMEOUT,
            ms => Duration::from_millis(ms.into()).min(MAX_DIAL_TIMEOUT),
        };
        let until = started + timeout;
        let rules = self.rules();
        let opened = self.grants.of(open.customer, self.shared.now());
        rules.check_destination(to, &opened).map_err(Refused::Policy)?;
        let answers = self.resolve(to, until).await?;
        // The network may have changed meanwhile: the rules of now decide.
        let rules = self.rules();
        let checked = rules
            .check_addresses(to, &answers, &opened)
            .map_err(Refused::Policy)?;
        if checked.is_empty() {
            return Err(Refused::Dns);
        }
        let socket = dial(checked.iter(), self.shared.config.bind, until)
            .await
            .map_err(Refused::Dial)?;
        compare_peer(&socket, &checked)?;
        Ok(Socket {
            inner: socket,
            is_finished: false,
        })
    }

    async fn resolve(&self, to: &Destination, until: Instant) -> Result<Vec<IpAddr>, Refused> {
        match &to.host {
            Host::Ip(ip) => Ok(vec![*ip]),
            Host::Name(name) => match timeout_at(until, self.shared.parts.resolver.resolve(name)).await {
                Ok(Ok(answers)) => Ok(answers),
                Ok(Err(_)) | Err(_) => Err(Refused::Dns),
            },
        }
    }

    /// The addresses of a name; none where it has none or nobody knows.
    pub(crate) async fn lookup(&self, name: &HostName) -> Vec<IpAddr> {
        self.shared.parts.resolver.resolve(name).await.unwrap_or_default()
    }

    /// The rules of now.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read())
    }

    /// Whether the customer may send datagrams to another place.
    pub(crate) fn may_dial(&self, customer: u64, to: &Destination) -> bool {
        let limits = self.rules.read().limits;
        let mut customers = self.shared.customers.lock();
        let now = Instant::now().into_std();
        customers.dial(now, &limits, customer, to).is_ok()
    }

    /// What is open for a customer's datagrams now.
    pub(crate) fn opened_for_datagrams(&self, customer: u64) -> Opened {
        self.grants.of(customer, self.shared.now()).for_datagrams()
    }

    async fn relay_datagrams(&self, mut stream: Stream, customer: u64, cut: &CancellationToken) {
        let mut association = Association::new(self, customer);
        let end = tokio::select! {
            end = association.run(&mut stream) => Some(end),
            () = cut.cancelled() => None,
        };
        match end {
            // The peer knows.
            Some(End::Stream) => {}
            Some(End::Socket) => stream.reset(ResetCode::Internal),
            Some(End::Depleted) => stream.reset_with(ResetCode::Limited, NotSharing::DailyCap.as_str()),
            None => self.reset_cut_short(&mut stream),
        }
    }

    fn dialled(&self, customer: u64, is_failure: bool) {
        let limits = self.rules.read().limits;
        let is_stopped =
            self.shared
                .customers
                .lock()
                .dialled(Instant::now().into_std(), &limits, customer, is_failure);
        if is_stopped {
            self.shared.tell(Event::CustomerStopped);
        }
    }

    fn refuse(&self, incoming: Incoming, refused: Refused) {
        let (code, detail) = refused.answer();
        tracing::debug!(code = code.name(), detail, "refused a stream");
        self.shared.traffic.count_refused(code);
        incoming.reject(code, detail);
    }

    /// True: the customer had said all that it wanted to say, and either both directions were finished in order or it wants to
    /// hear no more.
    async fn relay(&self, stream: &mut Stream, socket: &mut TcpStream, cut: &CancellationToken) -> bool {
        let meter = &self.shared.traffic;
        let end = tokio::select! {
            end = relay(stream, socket, &meter) => end,
            () = cut.cancelled() => {
                self.reset_cut_short(stream);
                return false;
            }
        };
        match end.result {
            Ok(()) => return true,
            // The peer knows.
            Err(RelayError::Stream(_)) => return end.said_all,
            Err(RelayError::Socket(error)) => stream.break_off(code_of_socket(&error)),
            Err(RelayError::Depleted(_)) => {
                stream.reset_with(ResetCode::Limited, NotSharing::DailyCap.as_str());
            }
        }
        false
    }

    fn reset_cut_short(&self, stream: &mut Stream) {
        let (code, detail) = self.cut_short().answer();
        stream.reset_with(code, detail);
    }

    fn cut_short(&self) -> Refused {
        Refused::NotSharing(self.shared.unwilling().unwrap_or(NotSharing::Stopping))
    }
}

/// A transparent proxy or a changed route may have connected us elsewhere.
fn compare_peer(socket: &TcpStream, checked: &CheckedAddresses) -> Result<(), Refused> {
    match socket.peer_addr() {
        Ok(peer) if checked.matches_peer(peer) => Ok(()),
        Ok(_) => Err(Refused::Policy(RuleClass::DeviceNetwork.into())),
        Err(_) => Err(Refused::Dial(DialError::Refused)),
    }
}

fn code_of_socket(error: &io::Error) -> ResetCode {
    match error.kind() {
        io::ErrorKind::TimedOut => ResetCode::Expired,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ResetCode::Unreachable,
        _ => ResetCode::ConnectionReset,
    }
}

/// A connection to a destination. Unless the request was whole, its drop aborts it: half a request must not look like one.
struct Socket {
    inner: TcpStream,
    is_finished: bool,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.is_finished {
            // Fails only on a socket that is gone already.
            let _ = self.inner.set_zero_linger();
        }
    }
}

/// Room that a customer took; given back on drop.
struct Admission<'a> {
    shared: &'a Shared,
    customer: u64,
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.shared.customers.lock().finished(self.customer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iploop_protocol::policy::{Context, Policy, TestAllow};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_connection_that_led_elsewhere_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let there = std::net::SocketAddr::new([127, 0, 0, 2].into(), here.port());
        let allow = TestAllow::parse([here.to_string(), there.to_string()]).unwrap();
        let policy = Policy::new(None).with_test_allow(allow);
        let check = |to: std::net::SocketAddr| {
            policy
                .check_addresses(&to.into(), &[to.ip()], &Context::at_gateway())
                .unwrap()
        };
        let socket = TcpStream::connect(here).await.unwrap();
        assert_eq!(compare_peer(&socket, &check(here)), Ok(()));
        let refused = compare_peer(&socket, &check(there)).unwrap_err();
        assert_eq!(refused.answer(), (ResetCode::Forbidden, "device_network"));
    }
}
