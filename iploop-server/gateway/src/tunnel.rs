//! A tunnel for CONNECT and SOCKS5: found, announced, relayed, settled.

use std::sync::Arc;

use bytes::Bytes;
use iploop_platform::admission::LimitState;
use iploop_platform::exits::OpenedExit;
use iploop_protocol::codes::ResetCode;
use iploop_protocol::io::Stream;
use iploop_protocol::policy::Transport;
use iploop_protocol::tunnel::StreamError;
use tokio::time::Instant;

use crate::answer::{Debug, Success};
use crate::connection::Connection;
use crate::exit::{Failed, Trail};
use crate::relay::{self, End};
use crate::service::{Account, AdmittedRequest, NoExit, Service};

/// Most bytes that go along with the dial: one DATA payload of the tunnel.
const MAX_EARLY_BYTES: usize = iploop_protocol::frame::MAX_DATA_BYTES;

/// The first byte of a TLS record that carries a handshake (RFC 8446 section 5.1).
pub(crate) const TLS_HANDSHAKE: u8 = 0x16;

/// A tunnel whose answer was sent, ready to relay.
pub(crate) struct Tunnel {
    pub(crate) customer: Connection,
    pub(crate) stream: Stream,
    pub(crate) account: Account,
}

/// A way out that the customer has not heard of yet.
pub(crate) struct Established {
    pub(crate) opened: OpenedExit,
    pub(crate) account: Account,
    session: Option<String>,
    limits: Vec<LimitState>,
    debug: Option<Box<Trail>>,
}

/// Why there is no tunnel.
pub(crate) enum NotEstablished {
    /// The customer shall hear this.
    Error(Failed),
    /// There is nobody to hear it.
    CustomerLeft,
}

/// Finds a way out for a tunnel, while the customer waits. The request is settled where there is none.
pub(crate) async fn establish(
    service: &Service,
    customer: &mut Connection,
    mut request: AdmittedRequest,
) -> Result<Established, NotEstablished> {
    // What a customer sends before the answer goes along with the dial where it may arrive twice: a ClientHello may. The
    // rest waits for the answer of the exit.
    let early = match customer.ahead().first() {
        Some(&TLS_HANDSHAKE) if request.search.transport() == Transport::Tcp => {
            customer.take(MAX_EARLY_BYTES)
        }
        _ => Bytes::new(),
    };
    customer.release();
    let (opened, session) = match request.find_exit(service, customer, &early).await {
        Ok(found) => found,
        Err(NoExit::Error(error)) => return Err(NotEstablished::Error(request.failed(error))),
        Err(NoExit::CustomerLeft) => {
            request.account.served();
            return Err(NotEstablished::CustomerLeft);
        }
    };
    if !early.is_empty()
        && let Err(reason) = request.account.meter().charge_up(early.len()).await
    {
        return Err(NotEstablished::Error(request.failed(reason.into())));
    }
    Ok(Established {
        opened,
        session,
        limits: request.account.limits(),
        debug: request.trail(),
        account: request.account,
    })
}

impl Established {
    /// What the answer says beside its status.
    pub(crate) fn success(&self) -> Success<'_> {
        Success {
            request: self.account.id(),
            exit: &self.opened.exit,
            session: self.session.as_deref(),
            limits: &self.limits,
            debug: self.debug.as_deref().map(|trail| Debug {
                trail,
                dial: self.opened.dial,
                first_byte: None,
            }),
        }
    }

    /// Sends the answer; a tunnel if the customer is still there.
    pub(crate) async fn announce(
        self,
        service: &Service,
        mut customer: Connection,
        answer: &[u8],
        status: u16,
    ) -> Option<Tunnel> {
        self.account.meter().set_status(status);
        let deadline = Instant::now() + service.config.handshake_timeout;
        if customer.write(answer, deadline).await.is_err() {
            self.account.served();
            return None;
        }
        self.account.told(self.opened.exit.ip);
        Some(Tunnel {
            customer,
            stream: self.opened.stream,
            account: self.account,
        })
    }
}

impl Tunnel {
    /// Relays until the end, and settles.
    pub(crate) async fn run(self, service: &Service) {
        let Self {
            mut customer,
            stream,
            account,
        } = self;
        let meter = account.meter();
        let gauge = account.gauge().map(Arc::clone);
        let lifetimes = service.lifetimes();
        let end = relay::relay(&mut customer, stream, meter, gauge, lifetimes, account.cut()).await;
        if let Some(through) = account.through() {
            match &end {
                _ if meter.bytes_down() > 0 => through.took(),
                // Broken off before it said a word, though it was spoken to: a host that does not want this exit.
                End::ExitFailed(StreamError::Reset {
                    code: ResetCode::ConnectionReset,
                    ..
                }) if meter.bytes_up() > 0 => through.refused(),
                _ => {}
            }
        }
        if let End::ExitFailed(error) = &end {
            tracing::debug!(request.id = %account.id(), %error, "the exit's side of a tunnel failed");
        }
        account.ended(&end);
        match &end {
            End::Finished | End::CustomerLeft => {}
            // What the customer has paid for shall arrive, one way or the other.
            end if end.is_break() => Box::pin(customer.break_off()).await,
            _ => Box::pin(customer.end()).await,
        }
    }
}
