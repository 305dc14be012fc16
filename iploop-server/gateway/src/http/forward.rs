//! A plain HTTP request through an exit, and its answer back.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use iploop_platform::exits::OpenedExit;
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
use crate::exit::{Failed, Found, Search, Trail};
use crate::relay::RelayMeter;
use crate::service::{Account, AdmittedRequest, Authorized, Service};
use crate::telemetry;

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

impl Run {
    fn failed(account: Account, error: ProxyError, search: &Search, targeting: &Targeting) -> Self {
        Self::Failed(Failed {
            error: account.failed(error),
            trail: Trail::of(search, targeting),
        })
    }
}

async fn run(
    service: &Service,
    customer: &mut Connection,
    request: AdmittedRequest,
    forward: Forward,
    asked: Asked,
) -> Run {
    let AdmittedRequest {
        mut search,
        targeting,
        mut account,
    } = request;
    let mut head = match targeting.profile() {
        Some(preset) => profile::apply(preset, &forward),
        None => forward.head.clone(),
    };
    if service.config.via {
        head = with_via(&head);
    }
    // Bytes that go along with the dial may arrive although the attempt fails, and then arrive again through another exit.
    let may_repeat = forward.is_idempotent && forward.body == Framing::None;
    let early = if may_repeat && head.len() <= MAX_EARLY_BYTES {
        head.clone()
    } else {
        Bytes::new()
    };
    let patience = Patience {
        response: service.config.response_timeout,
        idle: service.config.idle_timeout,
    };
    loop {
        let found = tokio::select! {
            biased;
            found = search.next(&*service.exits, &service.sessions, &early) => Some(found),
            _ = customer.broken() => None,
        };
        account.meter().set_attempts(search.attempts().max(1));
        let Found {
            opened,
            session,
            through,
        } = match found {
            None => {
                account.served();
                return Run::Done(After::Gone);
            }
            Some(Err(error)) => return Run::failed(account, error, &search, &targeting),
            Some(Ok(found)) => found,
        };
        let OpenedExit {
            exit,
            mut stream,
            dial,
            ..
        } = opened;
        let gauge = Arc::clone(through.gauge());
        account.goes_through(&exit, through);
        account.meter().set_connect_times(search.select_time(), dial);
        telemetry::connected(search.attempts(), account.began().elapsed());
        // More of it may have come meanwhile.
        if let Err(error) = check_begin(customer, forward.body) {
            return Run::failed(account, error, &search, &targeting);
        }
        let meter = RelayMeter::new(account.meter().clone(), Some(gauge));
        let unsent = if early.is_empty() {
            head.clone()
        } else {
            if let Err(reason) = account.meter().charge_up(early.len()).await {
                return Run::failed(account, reason.into(), &search, &targeting);
            }
            Bytes::new()
        };
        let parameters = if targeting.debug() {
            targeting.to_string()
        } else {
            String::new()
        };
        let announce = |status, first_byte, out: &mut BytesMut| {
            account.meter().set_status(status);
            if let Some(through) = account.through() {
                through.answered(status);
            }
            account.told(exit.ip);
            let debug = targeting.debug().then(|| Debug {
                select: search.select_time(),
                dial,
                first_byte: Some(first_byte),
                attempts: search.attempts(),
                tried: search.tried(),
                parameters: &parameters,
            });
            if service.config.via {
                out.put_slice(VIA);
            }
            let session = session.as_deref();
            put_success(
                out,
                &Success {
                    request: account.id(),
                    exit: &exit,
                    session,
                    limits: &[],
                    debug,
                },
            );
        };
        let sending = Sending {
            head: unsent,
            body: forward.body,
            asked,
        };
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
                return Run::Upgraded { stream, account };
            }
            Ok(Exchanged {
                persistent, is_sent, ..
            }) => {
                if is_sent {
                    // The origin sees its connection end, where it would see it break.
                    stream.finish();
                }
                account.served();
                return Run::Done(if persistent {
                    After::KeepAlive
                } else {
                    After::Close
                });
            }
            Err(Failure::Unanswered { error, untouched }) => {
                let another = untouched && may_repeat && error.row().another_exit == AnotherExit::Yes;
                if let (ProxyError::ConnectionReset, Some(through)) = (&error, account.through()) {
                    through.refused();
                }
                if !another {
                    search.note_end(&error);
                    return Run::failed(account, error, &search, &targeting);
                }
                search.lost(exit.node, error);
            }
            Err(Failure::Broken(end)) => {
                account.ended(&end);
                return Run::Done(After::Broken);
            }
        }
    }
}
