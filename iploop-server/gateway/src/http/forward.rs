//! A plain HTTP request through an exit, and its answer back.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use iploop_platform::exits::{Exit, OpenedExit};
use iploop_platform::ids::RequestId;
use iploop_platform::metering::ProxyType;
use iploop_protocol::io::Stream;
use iploop_protocol::targeting::Targeting;
use tokio::time::Instant;

use super::exchange::{Exchange, Exchanged, Failure, Patience, Sending, check_begin};
use super::request::{Act, Forward, Framing, RequestHead};
use super::response::Asked;
use super::{After, answer_error, authorize, echo, profile};
use crate::answer::{AnotherExit, Debug, Manner, ProxyError, Success, put_success};
use crate::connection::Connection;
use crate::exit::Failed;
use crate::relay::RelayMeter;
use crate::service::{Account, AdmittedRequest, Authorized, NoExit, Service};

/// Longest head that goes along with the dial: one DATA payload of the tunnel.
const MAX_EARLY_BYTES: usize = iploop_protocol::frame::MAX_DATA_BYTES;

/// Our name where the operator wants it said.
const VIA: &[u8] = b"Via: 1.1 iploop\r\n";

/// What became of a request.
pub(super) enum Forwarded {
    /// It got an answer, or nobody was there to hear it.
    Answered(After),
    /// It goes on as a WebSocket.
    Upgraded {
        /// To the destination.
        stream: Stream,
        /// Still open.
        account: Account,
    },
}

/// Serves a plain request. `last`: the connection ends after it.
pub(super) async fn forward(
    service: &Service,
    customer: &mut Connection,
    head: RequestHead,
    overloaded: bool,
    last: bool,
) -> Forwarded {
    let RequestHead {
        act,
        destination,
        authorization,
        version,
        persistent,
        rotate,
    } = head;
    let Act::Forward(forward) = act else {
        // The caller looked already.
        return Forwarded::Answered(After::Gone);
    };
    let id = RequestId::new();
    let asked = Asked {
        is_head: forward.is_head,
        upgrade: forward.upgrade,
        version,
        persistent: persistent && !last,
    };
    // Content that nobody read would pass for the next request.
    let manner = Manner {
        is_head: forward.is_head,
        close: !asked.persistent || forward.body != Framing::None,
    };
    let authorization = authorization.map(|value| value.0);
    let authorized = authorize(service, customer, id, ProxyType::Http, authorization, overloaded).await;
    let request = match authorized {
        Ok(authorized) if echo::is_meant(&destination) => {
            let after = answer_echo(service, customer, authorized, &forward, manner).await;
            return Forwarded::Answered(after);
        }
        Ok(authorized) => match check_begin(customer, forward.body) {
            Ok(()) => service.route(authorized, destination, rotate).await,
            Err(error) => Err(authorized.account.failed(error)),
        },
        Err(error) => Err(error),
    };
    let request = match request {
        Ok(request) => request,
        Err(error) => {
            let failed = error.into();
            return Forwarded::Answered(answer_error(service, customer, &failed, id, manner).await);
        }
    };
    match run(service, customer, request, forward, asked).await {
        Run::Done(after) => Forwarded::Answered(after),
        Run::Upgraded { stream, account } => Forwarded::Upgraded { stream, account },
        Run::Failed(failed) => {
            Forwarded::Answered(answer_error(service, customer, &failed, id, manner).await)
        }
    }
}

/// Answers from here what is asked of the echo. No byte of it is counted.
async fn answer_echo(
    service: &Service,
    customer: &mut Connection,
    authorized: Authorized,
    forward: &Forward,
    manner: Manner,
) -> After {
    let head = match authorized.targeting().profile() {
        Some(preset) => profile::apply(preset, forward),
        None => forward.head.clone(),
    };
    let account = authorized.account;
    let (status, answer) = echo::answer(&head, customer.peer().ip(), account.id(), manner);
    account.meter().set_status(status);
    account.served();
    let deadline = Instant::now() + service.config.handshake_timeout;
    match customer.write(&answer, deadline).await {
        Err(_) => After::Gone,
        Ok(()) if manner.close => After::Close,
        Ok(()) => After::KeepAlive,
    }
}

/// The head with our name behind those of the proxies before us.
fn with_via(head: &Bytes) -> Bytes {
    let mut out = BytesMut::with_capacity(head.len() + VIA.len());
    // Before the empty line.
    out.put_slice(&head[..head.len().saturating_sub(2)]);
    out.put_slice(VIA);
    out.put_slice(b"\r\n");
    out.freeze()
}

enum Run {
    Done(After),
    Upgraded { stream: Stream, account: Account },
    Failed(Failed),
}

async fn run(
    service: &Service,
    customer: &mut Connection,
    mut request: AdmittedRequest,
    forward: Forward,
    asked: Asked,
) -> Run {
    let head = head_for_destination(service, &request.targeting, &forward);
    let head_bytes = head.len();
    // Bytes that go along with the dial may arrive although the attempt fails, and then arrive again through another exit.
    let may_repeat = forward.is_idempotent && forward.body == Framing::None;
    let (early, unsent) = match may_repeat && head.len() <= MAX_EARLY_BYTES {
        true => (head, Bytes::new()),
        false => (Bytes::new(), head),
    };
    let patience = Patience {
        response: service.config.response_timeout,
        idle: service.config.idle_timeout,
    };
    let mut is_charged = false;
    loop {
        let (opened, session) = match request.find_exit(service, customer, &early).await {
            Ok(found) => found,
            Err(NoExit::Error(error)) => return Run::Failed(request.failed(error)),
            Err(NoExit::CustomerLeft) => {
                request.account.served();
                return Run::Done(After::Gone);
            }
        };
        // More of it may have come meanwhile.
        if let Err(error) = check_begin(customer, forward.body) {
            return Run::Failed(request.failed(error));
        }
        let OpenedExit {
            exit,
            mut stream,
            dial,
            ..
        } = opened;
        // However many exits are asked with it, the customer sends its head once.
        if !is_charged {
            if let Err(reason) = request.account.meter().charge_up(head_bytes).await {
                return Run::Failed(request.failed(reason.into()));
            }
            is_charged = true;
        }
        let announcement = Announcement {
            request: &request,
            exit: &exit,
            session: session.as_deref(),
            dial,
            via: service.config.via,
        };
        let account = &request.account;
        let meter = RelayMeter::new(account.meter().clone(), account.gauge().map(Arc::clone));
        let sending = Sending {
            head: unsent.clone(),
            body: forward.body,
            expects_continue: forward.expects_continue,
            asked,
        };
        let announce = |status, first_byte, out: &mut BytesMut| announcement.write(status, first_byte, out);
        let exchange = Exchange::new(
            customer,
            &mut stream,
            meter,
            sending,
            patience,
            &announce,
            account.cut(),
        );
        match exchange.run().await {
            Ok(Exchanged { upgraded: true, .. }) => {
                let account = request.account;
                return Run::Upgraded { stream, account };
            }
            Ok(Exchanged {
                persistent, is_sent, ..
            }) => {
                if is_sent {
                    // The origin sees its connection end, where it would see it break.
                    stream.finish();
                }
                request.account.served();
                return Run::Done(if persistent {
                    After::KeepAlive
                } else {
                    After::Close
                });
            }
            Err(Failure::Unanswered { error, untouched }) => {
                if let (ProxyError::ConnectionReset, Some(through)) = (&error, account.through()) {
                    through.refused();
                }
                let another = untouched && may_repeat && error.row().another_exit == AnotherExit::Yes;
                if !another {
                    request.search.note_end(&error);
                    return Run::Failed(request.failed(error));
                }
                request.search.lost(exit.node, error);
            }
            Err(Failure::Broken(end)) => {
                request.account.ended(&end);
                return Run::Done(After::Broken);
            }
        }
    }
}

/// The head as it goes on: with the browser's fields that the customer asked for, and our name where the operator wants it said.
fn head_for_destination(service: &Service, targeting: &Targeting, forward: &Forward) -> Bytes {
    let head = match targeting.profile() {
        Some(preset) => profile::apply(preset, forward),
        None => forward.head.clone(),
    };
    match service.config.via {
        true => with_via(&head),
        false => head,
    }
}

/// What the customer is told beside the destination's answer.
struct Announcement<'a> {
    request: &'a AdmittedRequest,
    exit: &'a Exit,
    session: Option<&'a str>,
    dial: Duration,
    /// Our name, too.
    via: bool,
}

impl Announcement<'_> {
    /// Writes our fields into the head of an answer, and notes its status and that the customer hears of this exit.
    fn write(&self, status: u16, first_byte: Duration, out: &mut BytesMut) {
        let account = &self.request.account;
        account.meter().set_status(status);
        if let Some(through) = account.through() {
            through.answered(status);
        }
        account.told(self.exit.ip);
        if self.via {
            out.put_slice(VIA);
        }
        let trail = self.request.trail();
        let success = Success {
            request: account.id(),
            exit: self.exit,
            session: self.session,
            limits: &[],
            debug: trail.as_deref().map(|trail| Debug {
                trail,
                dial: self.dial,
                first_byte: Some(first_byte),
            }),
        };
        put_success(out, &success);
    }
}
