//! An answer in HTTP/1.1, as our own code writes it, read back into the parts that HTTP/2 sends.

use ::http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use ::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use bytes::Bytes;

use crate::http::head::{HeadScanner, MAX_RESPONSE_HEAD_BYTES};

/// Fields that an origin may send and we may add.
const MAX_FIELDS: usize = 256;

/// Our own answer could not be read back: a fault of ours, or of an origin's that was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// How the bytes behind an answer's head are delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delimited {
    /// None follow.
    Empty,
    /// So many.
    Length(u64),
    /// In chunks.
    Chunks,
    /// Until we finish: a tunnel.
    End,
}

/// One head.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<()>,
    pub(super) delimited: Delimited,
}

/// Where the first head in `bytes` ends, if it is whole.
pub(super) fn find_end(bytes: &[u8]) -> Result<Option<usize>, Unreadable> {
    // Our own fields come on top of what an origin may send.
    HeadScanner::default()
        .find_end(bytes, 2 * MAX_RESPONSE_HEAD_BYTES)
        .map_err(|_| Unreadable)
}

/// Reads a whole head. `is_tunnel`: it answers a CONNECT; `is_head`: it answers a HEAD.
pub(super) fn read(head: &[u8], is_tunnel: bool, is_head: bool) -> Result<Answer, Unreadable> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(_)) = parsed.parse(head) else {
        return Err(Unreadable);
    };
    let status = parsed
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(Unreadable)?;
    let mut response = Response::new(());
    *response.status_mut() = status;
    let mut fields = to_map(parsed.headers)?;
    let is_chunked = fields.remove(TRANSFER_ENCODING).is_some();
    // What HTTP/2 has no use for, and forbids (RFC 9113 section 8.2.2).
    fields.remove(CONNECTION);
    fields.remove("upgrade");
    let length = fields
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let delimited = match length {
        _ if is_tunnel && status.is_success() => Delimited::End,
        _ if is_head || status.is_informational() => Delimited::Empty,
        _ if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED => Delimited::Empty,
        _ if is_chunked => Delimited::Chunks,
        Some(0) => Delimited::Empty,
        Some(length) => Delimited::Length(length),
        None => return Err(Unreadable),
    };
    *response.headers_mut() = fields;
    Ok(Answer { response, delimited })
}

/// Reads a trailer section with its empty line.
pub(super) fn read_trailers(section: &Bytes) -> Result<HeaderMap, Unreadable> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    match httparse::parse_headers(section, &mut fields) {
        Ok(httparse::Status::Complete((_, fields))) => to_map(fields),
        _ => Err(Unreadable),
    }
}

fn to_map(fields: &[httparse::Header<'_>]) -> Result<HeaderMap, Unreadable> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Unreadable)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| Unreadable)?;
        map.append(name, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_delimited_as_http1_says() {
        for (fields, is_tunnel, is_head, delimited) in [
            ("Content-Length: 5\r\n", false, false, Delimited::Length(5)),
            ("Content-Length: 0\r\n", false, false, Delimited::Empty),
            ("Content-Length: 5\r\n", false, true, Delimited::Empty),
            ("Transfer-Encoding: chunked\r\n", false, false, Delimited::Chunks),
            ("X-IPLoop-Exit-Ip: 1.1.1.1\r\n", true, false, Delimited::End),
        ] {
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{fields}\r\n");
            let answer = read(head.as_bytes(), is_tunnel, is_head).unwrap();
            assert_eq!(answer.delimited, delimited, "{fields}");
            let sent = answer.response.headers();
            assert!(!sent.contains_key(CONNECTION) && !sent.contains_key(TRANSFER_ENCODING));
        }
        let refused = b"HTTP/1.1 503 no_exit\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(
            read(refused, true, false).unwrap().delimited,
            Delimited::Length(2)
        );
        assert!(read(b"HTTP/1.1 200 OK\r\n\r\n", false, false).is_err());
    }
}
