//! The built-in echo: `http://echo.iploop/ip` and `/headers`, answered by the gateway itself, so that login, parameters and client can be
//! tried without an exit and without cost.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use iploop_platform::ids::RequestId;
use iploop_protocol::destination::{Destination, Host};
use serde::Serialize;

use super::head::MAX_REQUEST_FIELDS;
use crate::answer::Manner;

/// A name that can't be anybody's: there is no such top-level domain.
const NAME: &str = "echo.iploop";

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Ip { ip: IpAddr },
    Headers { headers: BTreeMap<String, String> },
    Unknown { error: &'a str, hint: &'a str },
}

/// Whether a plain request is for the echo.
pub(super) fn is_meant(destination: &Destination) -> bool {
    destination.port == 80 && matches!(&destination.host, Host::Name(name) if name.as_str() == NAME)
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
