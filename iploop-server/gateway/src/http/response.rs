//! A response head, read strictly and written anew for the customer.
//!
//! A response with two readings would let an origin answer the customer's next request as well (response splitting), so
//! it is not passed on. Everything that ends at this hop, and every field in our own name, is taken out.

use bytes::{BufMut, BytesMut};

use super::fields::{self, ConnectionOptions, Field, put_field};
use super::head::MAX_RESPONSE_FIELDS;
use super::request::{Framing, Version};

/// The facts of the request that its response is read by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// `HEAD`: no content whatever the head says.
    pub(super) is_head: bool,
    /// The customer asked to go on as a WebSocket.
    pub(super) upgrade: bool,
    /// The customer's version.
    pub(super) version: Version,
    /// The customer wants to send another request.
    pub(super) persistent: bool,
}

/// One response head, understood and ready for the customer.
#[derive(Debug)]
pub(super) struct ResponseHead {
    /// Its status.
    pub(super) status: u16,
    /// Interim: the real one is still to come.
    pub(super) interim: bool,
    /// How the origin delimits the content.
    pub(super) from: Framing,
    /// How we do towards the customer.
    pub(super) to: Framing,
    /// The connection to the customer serves another request.
    pub(super) persistent: bool,
    /// The head, without the empty line: our own fields follow.
    pub(super) head: BytesMut,
}

/// Why a response isn't passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ResponseFault {
    /// The status line.
    #[error("the status line is not valid")]
    StatusLine,
    /// A header field.
    #[error("a header field is malformed")]
    Field,
    /// More than [`MAX_RESPONSE_FIELDS`].
    #[error("more than {MAX_RESPONSE_FIELDS} header fields")]
    TooManyFields,
    /// Lengths or codings that leave more than one reading.
    #[error("the framing is ambiguous")]
    Framing,
    /// `Connection` names an essential field.
    #[error("the Connection field is not valid")]
    Connection,
    /// `101` that nobody asked for.
    #[error("the protocol was switched although nobody asked for it")]
    Upgrade,
}

/// Reads a whole head, with its empty line.
///
/// # Errors
/// The response is malformed or has more than one reading.
pub(super) fn parse(head: &[u8], asked: Asked) -> Result<ResponseHead, ResponseFault> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_RESPONSE_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(ResponseFault::Field),
        Err(httparse::Error::TooManyHeaders) => return Err(ResponseFault::TooManyFields),
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => return Err(ResponseFault::Field),
        Err(_) => return Err(ResponseFault::StatusLine),
    }
    let (Some(minor), Some(status @ 100..)) = (response.version, response.code) else {
        return Err(ResponseFault::StatusLine);
    };
    let (framing, options) = framing(response.headers, minor)?;
    let interim = status < 200 && status != 101;
    if status == 101 && !asked.upgrade {
        return Err(ResponseFault::Upgrade);
    }
    let bodiless = asked.is_head || status < 200 || status == 204 || status == 304;
    let from = match framing {
        _ if bodiless => Framing::None,
        None => Framing::UntilClose,
        Some(Framing::Length(0)) => Framing::None,
        Some(framing) => framing,
    };
    let to = match (from, asked.version) {
        (Framing::Chunked | Framing::UntilClose, Version::Http11) => Framing::Chunked,
        (Framing::Chunked | Framing::UntilClose, Version::Http10) => Framing::UntilClose,
        (from @ (Framing::None | Framing::Length(_)), _) => from,
    };
    let persistent = asked.persistent && to != Framing::UntilClose && status != 101;

    // Room for our own fields as well.
    let mut out = BytesMut::with_capacity(head.len() + 320);
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.to_string().as_bytes());
    out.put_u8(b' ');
    // The status line as it came: httparse shows a reason of other than ASCII as empty.
    out.put_slice(reason(head));
    out.put_slice(b"\r\n");
    for field in response.headers.iter() {
        match Field::of(field.name) {
            _ if options.names(field.name) => {}
            // No content by its status: a length beside it would only mislead.
            Field::ContentLength if status < 200 || status == 204 => {}
            // Announces what comes behind chunks (RFC 9112 section 7.1.3), of which there will be none.
            Field::EndToEnd if to == Framing::UntilClose && field.name.eq_ignore_ascii_case("trailer") => {}
            Field::Connection
            | Field::ProxyConnection
            | Field::ProxyAuthorization
            | Field::TransferEncoding
            | Field::Lookalike
            | Field::Rotate
            | Field::HopByHop => {}
            Field::Upgrade if status != 101 => {}
            Field::Host
            | Field::ContentLength
            | Field::Upgrade
            | Field::Expect
            | Field::MaxForwards
            | Field::UserAgent
            | Field::EndToEnd => put_field(&mut out, field.name, field.value),
        }
    }
    if to == Framing::Chunked {
        put_field(&mut out, "Transfer-Encoding", b"chunked");
    }
    if status == 101 {
        put_field(&mut out, "Connection", b"Upgrade");
    } else if !persistent && !interim {
        put_field(&mut out, "Connection", b"close");
    }
    Ok(ResponseHead {
        status,
        interim,
        from,
        to,
        persistent,
        head: out,
    })
}

/// The framing that the fields declare, none if they are silent, and the `Connection` options.
fn framing<'a>(
    fields: &[httparse::Header<'a>],
    minor: u8,
) -> Result<(Option<Framing>, ConnectionOptions<'a>), ResponseFault> {
    let mut options = ConnectionOptions::default();
    let (mut length, mut chunked) = (None, false);
    for field in fields {
        match Field::of(field.name) {
            Field::ContentLength => {
                let parsed = fields::parse_length(field.value).map_err(|_| ResponseFault::Framing)?;
                if length.replace(parsed).is_some() {
                    return Err(ResponseFault::Framing);
                }
            }
            Field::TransferEncoding => {
                if chunked || minor == 0 || !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(ResponseFault::Framing);
                }
                chunked = true;
            }
            Field::Connection => options
                .add_of_response(field.value)
                .map_err(|_| ResponseFault::Connection)?,
            _ => {}
        }
    }
    match (length, chunked) {
        (Some(_), true) => Err(ResponseFault::Framing),
        (None, true) => Ok((Some(Framing::Chunked), options)),
        (length, false) => Ok((length.map(Framing::Length), options)),
    }
}

fn reason(head: &[u8]) -> &[u8] {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    line.splitn(3, |&byte| byte == b' ').nth(2).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GET: Asked = Asked {
        is_head: false,
        upgrade: false,
        version: Version::Http11,
        persistent: true,
    };

    fn read(text: &str, asked: Asked) -> Result<(ResponseHead, String), ResponseFault> {
        let head = parse(text.as_bytes(), asked)?;
        let text = String::from_utf8_lossy(&head.head).into_owned();
        Ok((head, text))
    }

    #[test]
    fn what_the_origin_says_goes_on_and_what_ends_here_does_not() {
        let (head, text) = read(
            "HTTP/1.0 404 Not Quite  There\r\nContent-Type: text/plain\r\nset-cookie: a\r\nset-cookie: b\r\nContent-Length: 5\r\n\
             Connection: close, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nProxy-Authenticate: Basic\r\nX-IPLoop-Error: fake\r\n\
             Upgrade: h2c\r\nServer:x\r\n\r\n",
            GET,
        )
        .unwrap();
        assert_eq!(
            text,
            "HTTP/1.1 404 Not Quite  There\r\nContent-Type: text/plain\r\nset-cookie: a\r\nset-cookie: b\r\nContent-Length: 5\r\nServer: x\r\n"
        );
        assert_eq!(
            (head.from, head.to, head.persistent),
            (Framing::Length(5), Framing::Length(5), true)
        );
    }

    #[test]
    fn content_is_delimited_for_the_customers_version() {
        let old = Asked {
            version: Version::Http10,
            persistent: false,
            ..GET
        };
        let until_close = "HTTP/1.1 200 OK\r\n\r\n";
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (text, asked, from, to, persistent) in [
            (until_close, GET, Framing::UntilClose, Framing::Chunked, true),
            (until_close, old, Framing::UntilClose, Framing::UntilClose, false),
            (chunked, GET, Framing::Chunked, Framing::Chunked, true),
            (chunked, old, Framing::Chunked, Framing::UntilClose, false),
            (
                "HTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\n",
                GET,
                Framing::None,
                Framing::None,
                true,
            ),
            (
                "HTTP/1.1 304 No\r\nContent-Length: 9\r\n\r\n",
                GET,
                Framing::None,
                Framing::None,
                true,
            ),
            (
                chunked,
                Asked { is_head: true, ..GET },
                Framing::None,
                Framing::None,
                true,
            ),
        ] {
            let (head, _) = read(text, asked).unwrap();
            assert_eq!(
                (head.from, head.to, head.persistent),
                (from, to, persistent),
                "{text}"
            );
        }
        assert!(
            !read("HTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\n", GET)
                .unwrap()
                .1
                .contains("Length")
        );
        assert!(
            read("HTTP/1.1 304 No\r\nContent-Length: 9\r\n\r\n", GET)
                .unwrap()
                .1
                .contains("Length: 9")
        );
    }

    #[test]
    fn ambiguous_responses_do_not_go_on() {
        for (fields, fault) in [
            ("Content-Length: 5\r\nContent-Length: 5", ResponseFault::Framing),
            (
                "Content-Length: 5\r\nTransfer-Encoding: chunked",
                ResponseFault::Framing,
            ),
            ("Content-Length: 5, 5", ResponseFault::Framing),
            ("Content-Length: -1", ResponseFault::Framing),
            ("Transfer-Encoding: gzip, chunked", ResponseFault::Framing),
            ("Transfer-Encoding: identity", ResponseFault::Framing),
            (
                "Connection: Content-Length\r\nContent-Length: 5",
                ResponseFault::Connection,
            ),
            ("Content-Length : 5", ResponseFault::Field),
            ("No colon", ResponseFault::Field),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
            assert_eq!(read(&text, GET).unwrap_err(), fault, "{fields}");
        }
        for line in [
            "HTTP/2.0 200 OK",
            "HTTP/1.1 099 No",
            "HTTP/1.1 20 No",
            "HTTP/1.1 2000 No",
            "ICY 200 OK",
            "HTTP/1.1  200 OK",
        ] {
            assert_eq!(
                read(&format!("{line}\r\n\r\n"), GET).unwrap_err(),
                ResponseFault::StatusLine,
                "{line}"
            );
        }
        let coded = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(read(coded, GET).unwrap_err(), ResponseFault::Framing);
    }

    #[test]
    fn origins_may_name_what_ends_at_each_hop_by_itself() {
        let (head, text) = read(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\nConnection: Transfer-Encoding, Trailer\r\nA: b\r\n\r\n",
            GET,
        )
        .unwrap();
        assert_eq!((head.from, head.to), (Framing::Chunked, Framing::Chunked));
        assert_eq!(text, "HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n");
    }

    #[test]
    fn the_protocol_switches_only_where_it_was_asked_for() {
        let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        assert_eq!(read(switch, GET).unwrap_err(), ResponseFault::Upgrade);
        let (head, text) = read(switch, Asked { upgrade: true, ..GET }).unwrap();
        assert!(!head.interim && !head.persistent);
        assert!(
            text.ends_with("Upgrade: websocket\r\nConnection: Upgrade\r\n"),
            "{text}"
        );
    }

    #[test]
    fn unusual_status_lines_keep_their_meaning() {
        for (line, expected) in [
            ("HTTP/1.1 999 Request denied", "HTTP/1.1 999 Request denied\r\n"),
            ("HTTP/1.1 200 ", "HTTP/1.1 200 \r\n"),
            ("HTTP/1.1 200", "HTTP/1.1 200 \r\n"),
        ] {
            let (_, text) = read(&format!("{line}\r\nContent-Length: 0\r\n\r\n"), GET).unwrap();
            assert!(text.starts_with(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, GET);
        }
    }
}
