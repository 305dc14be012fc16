//! The built-in echo: `http://echo.iploop/ip` and `/headers`, answered by the gateway itself, so that login, parameters and client can be
//! tried without an exit and without cost.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use iploop_platform::ids::RequestId;
use iploop_protocol::destination::{Destination, Host};
use serde::Serialize;
use tokio::time::Instant;

use super::fields::{ConnectionOptions, Field};
use super::head::{HeadScanner, MAX_REQUEST_FIELDS, MAX_REQUEST_HEAD_BYTES};
use crate::answer::Manner;
use crate::connection::Connection;
use crate::service::{Authorized, Service};

/// A name that can't be anybody's: there is no such top-level domain.
const NAME: &str = "echo.iploop";

/// Requests that are answered in one tunnel: it is there to be tried, and costs nothing.
const MAX_TUNNEL_REQUESTS: usize = 16;

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Ip { ip: IpAddr },
    Headers { headers: BTreeMap<String, String> },
    Unknown { error: &'a str, hint: &'a str },
}

/// Whether a request or a tunnel is for the echo.
pub(crate) fn is_meant(destination: &Destination) -> bool {
    destination.port == 80 && is_named(destination)
}

/// Whether it names the echo, at whatever port: no device could reach it.
pub(crate) fn is_named(destination: &Destination) -> bool {
    matches!(&destination.host, Host::Name(name) if name.as_str() == NAME)
}

/// The status and the whole answer to a request whose head would go on like this.
pub(super) fn answer(head: &[u8], client: IpAddr, request: RequestId, manner: Manner) -> (u16, Bytes) {
    let mut fields = [httparse::EMPTY_HEADER; MAX_REQUEST_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    // Our own writing: it reads back.
    let _ = parsed.parse(head);
    let path = parsed.path.unwrap_or_default();
    let (status, content) = match path.split('?').next().unwrap_or_default() {
        "/ip" => ("200 OK", Content::Ip { ip: client }),
        "/headers" => (
            "200 OK",
            Content::Headers {
                headers: headers(parsed.headers),
            },
        ),
        _ => (
            "404 not_found",
            Content::Unknown {
                error: "not_found",
                hint: "ask for http://echo.iploop/ip or http://echo.iploop/headers",
            },
        ),
    };
    // Serialising strings into memory can't fail.
    let mut body = serde_json::to_string(&content).unwrap_or_default();
    body.push('\n');
    let mut out = BytesMut::with_capacity(256 + body.len());
    let _ = write!(
        out,
        "HTTP/1.1 {status}\r\nX-IPLoop-Request-Id: {request}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{}\r\n",
        body.len(),
        if manner.close { "Connection: close\r\n" } else { "" }
    );
    if !manner.is_head {
        out.extend_from_slice(body.as_bytes());
    }
    let status = if status.starts_with("200") { 200 } else { 404 };
    (status, out.freeze())
}

/// Sends `established` and answers the requests in a tunnel to the echo, until the customer or one of them ends it. No byte is
/// counted.
pub(crate) async fn serve_tunnel(
    service: &Service,
    customer: &mut Connection,
    authorized: Authorized,
    established: &[u8],
) {
    let account = authorized.account;
    account.meter().set_status(200);
    let patience = service.config.handshake_timeout;
    let mut said = Bytes::copy_from_slice(established);
    for _ in 0..=MAX_TUNNEL_REQUESTS {
        if customer.write(&said, Instant::now() + patience).await.is_err() {
            break;
        }
        let Some(head) = read_head(customer, Instant::now() + patience).await else {
            break;
        };
        let Some(manner) = manner_of(&head) else { break };
        said = answer(&head, customer.peer().ip(), account.id(), manner).1;
        if manner.close {
            // The last word; whether it was heard is nobody's concern.
            let _ = customer.write(&said, Instant::now() + patience).await;
            break;
        }
    }
    account.served();
}

/// The next whole head; none if there is none in time, or what comes is none.
async fn read_head(customer: &mut Connection, deadline: Instant) -> Option<Bytes> {
    let mut scanner = HeadScanner::default();
    loop {
        let found = scanner.find_end(customer.ahead(), MAX_REQUEST_HEAD_BYTES).ok()?;
        if let Some(length) = found {
            return Some(customer.take(length));
        }
        if !customer.read_more(deadline).await.ok()? {
            return None;
        }
    }
}

/// How a request in a tunnel is answered; none if it is none.
fn manner_of(head: &[u8]) -> Option<Manner> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_REQUEST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(head).ok().filter(httparse::Status::is_complete)?;
    let mut options = ConnectionOptions::default();
    // Content is not read, and would pass for the next request.
    let mut close = request.version != Some(1);
    for field in request.headers.iter() {
        match Field::of(field.name) {
            Field::Connection => options.add(field.value).ok()?,
            Field::ContentLength | Field::TransferEncoding => close = true,
            _ => {}
        }
    }
    Some(Manner {
        is_head: request.method == Some("HEAD"),
        close: close || options.close,
    })
}

/// By their names; what comes twice is joined as RFC 9110 section 5.3 has it.
fn headers(fields: &[httparse::Header<'_>]) -> BTreeMap<String, String> {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for field in fields {
        let value = String::from_utf8_lossy(field.value);
        headers
            .entry(field.name.to_owned())
            .and_modify(|joined| {
                joined.push_str(", ");
                joined.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    headers
}
