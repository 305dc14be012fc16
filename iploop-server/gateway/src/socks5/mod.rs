//! SOCKS5: greeting, login by password or address, CONNECT, and UDP ASSOCIATE where it is open (RFC 1928, RFC 1929). Everything else gets its
//! reply code.

mod udp;
mod wire;

use std::net::IpAddr;

use iploop_platform::ids::RequestId;
use iploop_platform::metering::ProxyType;
use tokio::time::Instant;

use self::wire::Asked;
pub(crate) use self::wire::{SocksFault, put_address};
use crate::answer::{ProxyError, Reply, socks_reply};
use crate::connection::Connection;
use crate::http::echo;
use crate::request::{self, Login};
use crate::service::{Authorized, Service, refused};
use crate::tunnel::{self, Established, NotEstablished, Tunnel};

/// The first byte of a SOCKS5 connection.
pub(crate) const FIRST_BYTE: u8 = wire::VERSION;

/// The first byte of a SOCKS4 connection.
pub(crate) const SOCKS4_FIRST_BYTE: u8 = 0x04;

/// SOCKS4's "request rejected or failed", in its own form.
const SOCKS4_REJECTED: [u8; 8] = [0x00, 0x5b, 0, 0, 0, 0, 0, 0];

/// The answers to a login (RFC 1929 section 2).
const LOGIN_ACCEPTED: [u8; 2] = [0x01, 0x00];
const LOGIN_REFUSED: [u8; 2] = [0x01, 0x01];

/// The status that usage records carry for a reply of success.
const STATUS_OK: u16 = 200;

/// Why the conversation ended before there was a tunnel.
enum Ended {
    /// The socket failed, the customer left, or nothing came in time.
    Gone,
    /// This is the last thing the customer hears.
    Said(Vec<u8>),
}

/// What a conversation came to.
enum Understood {
    Tunnel(Established),
    /// Datagrams, from this port of the customer's if it is known.
    Datagrams(Established, Option<u16>),
    /// The built-in echo.
    Echo(Authorized),
}

/// Serves one SOCKS5 connection up to its tunnel.
pub(crate) async fn serve(
    service: &Service,
    mut customer: Connection,
    deadline: Instant,
    overloaded: bool,
) -> Option<Tunnel> {
    let ended = match Box::pin(converse(service, &mut customer, deadline, overloaded)).await {
        Ok(Understood::Datagrams(established, port)) => {
            Box::pin(udp::serve(service, customer, established, port)).await;
            return None;
        }
        Ok(Understood::Tunnel(established)) => {
            let reply = socks_reply(Reply::Succeeded, Some(established.opened.exit.ip));
            return established.announce(service, customer, &reply, STATUS_OK).await;
        }
        Ok(Understood::Echo(authorized)) => {
            let reply = socks_reply(Reply::Succeeded, None);
            Box::pin(echo::serve_tunnel(service, &mut customer, authorized, &reply)).await;
            customer.linger(service.linger()).await;
            return None;
        }
        Err(ended) => ended,
    };
    if let Ended::Said(last) = ended
        && customer
            .write(&last, Instant::now() + service.config.handshake_timeout)
            .await
            .is_ok()
    {
        customer.linger(service.linger()).await;
    }
    None
}

/// Tells a SOCKS4 client that it is in the wrong place.
pub(crate) async fn refuse_version_4(service: &Service, mut customer: Connection) {
    let deadline = Instant::now() + service.config.handshake_timeout;
    if customer.write(&SOCKS4_REJECTED, deadline).await.is_ok() {
        customer.linger(service.linger()).await;
    }
}

async fn converse(
    service: &Service,
    customer: &mut Connection,
    deadline: Instant,
    overloaded: bool,
) -> Result<Understood, Ended> {
    let client = customer.peer().ip();
    let offered = match message(customer, deadline, wire::greeting).await? {
        Ok(offered) => offered,
        Err(_) => return Err(Ended::Said(vec![wire::VERSION, wire::METHOD_NONE])),
    };
    // Who offers a password has one, and it says more than an address.
    let authorized = if offered.password {
        say(customer, deadline, &[wire::VERSION, wire::METHOD_PASSWORD]).await?;
        let authorized = by_password(service, customer, deadline, overloaded).await?;
        // A bad login is refused here; whatever else stands against the request is the reply to it.
        if authorized.as_ref().is_err_and(|error| error.row().status == 407) {
            return Err(Ended::Said(LOGIN_REFUSED.to_vec()));
        }
        say(customer, deadline, &LOGIN_ACCEPTED).await?;
        authorized
    } else if offered.free && service.admission.knows_address(client) {
        say(customer, deadline, &[wire::VERSION, wire::METHOD_FREE]).await?;
        authorize(service, Login::none(), client, overloaded).await
    } else {
        return Err(Ended::Said(vec![wire::VERSION, wire::METHOD_NONE]));
    };

    let asked = message(customer, deadline, wire::request).await?;
    let (authorized, asked) = match (authorized, asked) {
        (Ok(authorized), Ok(asked)) => (authorized, asked),
        (Ok(authorized), Err(fault)) => {
            return Err(Ended::Said(reply_to(&authorized.account.failed(fault.into()))));
        }
        (Err(error), _) => return Err(Ended::Said(reply_to(&error))),
    };
    let request = match &asked {
        Asked::Connect(destination) if echo::is_meant(destination) => {
            return Ok(Understood::Echo(authorized));
        }
        Asked::Connect(destination) => service.route(authorized, destination.clone(), false).await,
        Asked::Associate(_) => service.route_datagrams(authorized),
    };
    let request = request.map_err(|error| Ended::Said(reply_to(&error)))?;
    match tunnel::establish(service, customer, request).await {
        Ok(established) => Ok(match asked {
            Asked::Connect(_) => Understood::Tunnel(established),
            Asked::Associate(from) => {
                // Behind a translator the customer knows neither its address nor its port as we see them.
                let seen = from.filter(|from| from.ip().to_canonical() == customer.peer().ip());
                let port = seen.map(|from| from.port()).filter(|port| *port != 0);
                Understood::Datagrams(established, port)
            }
        }),
        Err(NotEstablished::Error(failed)) => Err(Ended::Said(reply_to(&failed.error))),
        Err(NotEstablished::CustomerLeft) => Err(Ended::Gone),
    }
}

/// Reads user name and password, and asks whether they will do.
async fn by_password(
    service: &Service,
    customer: &mut Connection,
    deadline: Instant,
    overloaded: bool,
) -> Result<Result<Authorized, ProxyError>, Ended> {
    let read_login = |input: &[u8]| {
        let parsed = wire::login(input)?;
        Ok(parsed.map(|((user, password), end)| (request::from_password(user, password), end)))
    };
    match message(customer, deadline, read_login).await? {
        Ok(Ok(login)) => Ok(authorize(service, login, customer.peer().ip(), overloaded).await),
        Ok(Err(error)) => Ok(Err(refused(ProxyType::Socks5, error))),
        Err(fault) => {
            refused(ProxyType::Socks5, fault.into());
            Err(Ended::Said(LOGIN_REFUSED.to_vec()))
        }
    }
}

async fn authorize(
    service: &Service,
    login: Login,
    client: IpAddr,
    overloaded: bool,
) -> Result<Authorized, ProxyError> {
    if overloaded {
        return Err(refused(ProxyType::Socks5, ProxyError::Overloaded));
    }
    Box::pin(service.authorize(RequestId::new(), ProxyType::Socks5, login, client)).await
}

/// Reads one message, however it arrives; an error is what is wrong with it.
async fn message<T>(
    customer: &mut Connection,
    deadline: Instant,
    read: impl Fn(&[u8]) -> wire::Parsed<T>,
) -> Result<Result<T, SocksFault>, Ended> {
    loop {
        match read(customer.ahead()) {
            Ok(Some((message, length))) => {
                customer.take(length);
                return Ok(Ok(message));
            }
            Ok(None) => match customer.read_more(deadline).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return Err(Ended::Gone),
            },
            Err(error) => return Ok(Err(error)),
        }
    }
}

async fn say(customer: &mut Connection, deadline: Instant, bytes: &[u8]) -> Result<(), Ended> {
    customer.write(bytes, deadline).await.map_err(|_| Ended::Gone)
}

fn reply_to(error: &ProxyError) -> Vec<u8> {
    socks_reply(error.row().reply, None).to_vec()
}
