//! HTTP/1.x towards customers: one request after the other on a connection, until a tunnel takes it over (RFC 9110, RFC 9112).
//!
//! The reading is our own and strict, on top of `httparse` for the lines: what a lenient parser hides is what lets one
//! request pass for two.

pub(crate) mod chunked;
pub(crate) mod echo;
mod exchange;
mod fields;
mod forward;
pub(crate) mod head;
mod profile;
pub(crate) mod request;
mod response;
mod target;

use bytes::Bytes;
use iploop_platform::ids::RequestId;
use iploop_platform::metering::ProxyType;
use tokio::time::Instant;

use self::head::{HeadScanner, LineFault, MAX_REQUEST_HEAD_BYTES};
use self::request::{Act, RequestHead};
use crate::answer::{Manner, ProxyError, connect_echo_response, connect_response, error_response};
use crate::connection::Connection;
use crate::drain::Phase;
use crate::exit::Failed;
use crate::request::from_basic;
use crate::service::{Authorized, Service, refused};
use crate::tunnel::{self, NotEstablished, Tunnel};

/// The status of a successful CONNECT.
const STATUS_OK: u16 = 200;

/// What becomes of the connection after a request.
enum After {
    /// It serves another request.
    KeepAlive,
    /// It ends, once the customer has read the answer.
    Close,
    /// It is broken: there is nothing to be said.
    Gone,
    /// It breaks in the middle of an answer, behind what was written of it.
    Broken,
}

/// Where a tunnel leads.
enum Way {
    /// Out.
    Exit(tunnel::Established),
    /// To the built-in echo.
    Echo(Authorized),
}

/// Why there is no request.
enum NoRequest {
    /// The customer is gone, or sent nothing.
    Gone,
    /// What came is no request.
    Error(ProxyError),
}

/// Serves one connection's requests; a tunnel, if one of them asked for one. The first head is due at `deadline`.
pub(crate) async fn serve(
    service: &Service,
    mut customer: Connection,
    mut deadline: Instant,
    overloaded: bool,
) -> Option<Tunnel> {
    loop {
        let head = match read_head(&mut customer, deadline).await {
            Ok(head) => head,
            Err(NoRequest::Gone) => return None,
            Err(NoRequest::Error(error)) => {
                refuse(service, customer, error).await;
                return None;
            }
        };
        let last = overloaded || service.drain.phase() != Phase::Serving;
        let after = match head.act {
            Act::Connect => match connect(service, &mut customer, head, overloaded, last).await {
                Ok(established) => {
                    let answer = connect_response(&established.success());
                    return established.announce(service, customer, &answer, STATUS_OK).await;
                }
                Err(after) => after,
            },
            Act::Forward(_) => {
                match Box::pin(forward::forward(service, &mut customer, head, overloaded, last)).await {
                    forward::Forwarded::Answered(after) => after,
                    forward::Forwarded::Upgraded { stream, account } => {
                        return Some(Tunnel {
                            customer,
                            stream,
                            account,
                        });
                    }
                }
            }
        };
        match after {
            After::Gone => return None,
            After::Broken => {
                customer.break_off().await;
                return None;
            }
            After::Close => {
                customer.linger(service.linger()).await;
                return None;
            }
            After::KeepAlive => {}
        }
        customer.release();
        if customer.ahead().is_empty() && !wait_for_next(service, &mut customer).await {
            return None;
        }
        deadline = Instant::now() + service.config.handshake_timeout;
    }
}

/// Answers what is no request, and ends the connection.
pub(crate) async fn refuse(service: &Service, mut customer: Connection, error: ProxyError) {
    let error = refused(ProxyType::Http, error);
    let manner = Manner {
        is_head: false,
        close: true,
    };
    if say(service, &mut customer, &error.into(), RequestId::new(), manner).await {
        customer.linger(service.linger()).await;
    }
}

/// Reads up to the end of the next head.
async fn read_head(customer: &mut Connection, deadline: Instant) -> Result<RequestHead, NoRequest> {
    let mut scanner = HeadScanner::default();
    let mut may_skip = true;
    loop {
        // One empty line before a request is tolerated (RFC 9112 section 2.2).
        if may_skip && customer.ahead().starts_with(b"\r\n") {
            customer.take(2);
            may_skip = false;
        }
        let waits_for_first = customer.ahead().is_empty() || (may_skip && customer.ahead() == b"\r");
        if !waits_for_first {
            may_skip = false;
            let end = scanner.find_end(customer.ahead(), MAX_REQUEST_HEAD_BYTES);
            if let Some(length) = end.map_err(|fault| NoRequest::Error(fault.into()))? {
                let head = customer.take(length);
                return request::parse(&head).map_err(|fault| NoRequest::Error(fault.into()));
            }
        }
        match customer.read_more(deadline).await {
            Ok(true) => {}
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut && !waits_for_first => {
                return Err(NoRequest::Error(ProxyError::RequestTimeout));
            }
            // Who has only finished writing still reads.
            Ok(false) if !waits_for_first => return Err(NoRequest::Error(LineFault::Cut.into())),
            Ok(false) | Err(_) => return Err(NoRequest::Gone),
        }
    }
}

/// Waits for the first byte of another request; false if there will be none.
async fn wait_for_next(service: &Service, customer: &mut Connection) -> bool {
    let deadline = Instant::now() + service.config.keep_alive_timeout;
    tokio::select! {
        more = customer.read_more(deadline) => matches!(more, Ok(true)),
        () = service.drain.refusing() => false,
    }
}

/// Serves a CONNECT up to the answer of its exit.
async fn connect(
    service: &Service,
    customer: &mut Connection,
    head: RequestHead,
    overloaded: bool,
    last: bool,
) -> Result<tunnel::Established, After> {
    let id = RequestId::new();
    let manner = Manner {
        is_head: false,
        // What was sent behind a CONNECT was meant for the tunnel, and is no request.
        close: last || !head.persistent || !customer.ahead().is_empty(),
    };
    let found = Box::pin(async {
        let authorized = authorize(
            service,
            customer,
            id,
            ProxyType::Connect,
            head.authorization.map(|value| value.0),
            overloaded,
        )
        .await
        .map_err(|error| NotEstablished::Error(error.into()))?;
        if echo::is_meant(&head.destination) {
            return Ok(Way::Echo(authorized));
        }
        let request = service.route(authorized, head.destination, head.rotate).await;
        let request = request.map_err(|error| NotEstablished::Error(error.into()))?;
        tunnel::establish(service, customer, request).await.map(Way::Exit)
    });
    match found.await {
        Ok(Way::Exit(established)) => Ok(established),
        Ok(Way::Echo(authorized)) => {
            let answer = connect_echo_response(id);
            Box::pin(echo::serve_tunnel(service, customer, authorized, &answer)).await;
            Err(After::Close)
        }
        Err(NotEstablished::CustomerLeft) => Err(After::Gone),
        Err(NotEstablished::Error(failed)) => Err(answer_error(service, customer, &failed, id, manner).await),
    }
}

/// Who asks, by `Proxy-Authorization`.
async fn authorize(
    service: &Service,
    customer: &Connection,
    id: RequestId,
    proxy_type: ProxyType,
    authorization: Option<Bytes>,
    overloaded: bool,
) -> Result<Authorized, ProxyError> {
    if overloaded {
        return Err(refused(proxy_type, ProxyError::Overloaded));
    }
    let login = from_basic(authorization.as_deref()).map_err(|error| refused(proxy_type, error))?;
    service
        .authorize(id, proxy_type, login, customer.peer().ip())
        .await
}

/// Answers with an error, and says what becomes of the connection.
async fn answer_error(
    service: &Service,
    customer: &mut Connection,
    failed: &Failed,
    id: RequestId,
    manner: Manner,
) -> After {
    match say(service, customer, failed, id, manner).await {
        false => After::Gone,
        true if manner.close => After::Close,
        true => After::KeepAlive,
    }
}

/// Writes an error answer; false if the customer is gone.
async fn say(
    service: &Service,
    customer: &mut Connection,
    failed: &Failed,
    id: RequestId,
    manner: Manner,
) -> bool {
    let answer = error_response(failed, id, manner);
    customer
        .write(&answer, Instant::now() + service.config.handshake_timeout)
        .await
        .is_ok()
}
