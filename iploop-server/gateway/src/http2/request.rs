//! A request of HTTP/2 written as one of HTTP/1.1 (RFC 9113 section 8.3.1), for the one strict reading of requests.

use ::http::{HeaderMap, Method, Request, header};
use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;

/// How the content after a head is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// There is none.
    None,
    /// As it comes, its length was announced.
    Plain,
    /// In chunks.
    Chunked,
    /// As it comes until the customer has finished: a tunnel.
    Tunnel,
}

/// A head in HTTP/1.1, and what the answer to it has to be known by.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) bytes: Bytes,
    pub(super) body: Body,
    pub(super) is_head: bool,
}

/// The request as HTTP/1.1 writes it; none where there is no such writing. Values can't hold what ends a line: the `http` crate's
/// types see to that, and everything else is checked as if it had come so.
pub(super) fn as_http1(request: &Request<RecvStream>) -> Option<Head> {
    write(
        request,
        request.extensions().get::<h2::ext::Protocol>().is_some(),
        request.body().is_end_stream(),
    )
}

fn write<B>(request: &Request<B>, is_extended: bool, is_whole: bool) -> Option<Head> {
    let (method, uri, fields) = (request.method(), request.uri(), request.headers());
    // Extended CONNECT (RFC 8441) was not offered.
    if is_extended {
        return None;
    }
    let authority = uri.authority()?.as_str();
    let is_tunnel = *method == Method::CONNECT;
    let mut out = BytesMut::with_capacity(512);
    out.put_slice(method.as_str().as_bytes());
    out.put_u8(b' ');
    if !is_tunnel {
        out.put_slice(uri.scheme_str()?.as_bytes());
        out.put_slice(b"://");
    }
    out.put_slice(authority.as_bytes());
    if !is_tunnel {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        // OPTIONS for the server as a whole has no path in an absolute target (RFC 9112 section 3.2.4). No other method asks so.
        let is_whole_server = path == "*" && *method == Method::OPTIONS;
        out.put_slice(if is_whole_server { "" } else { path }.as_bytes());
    }
    // One request to a stream.
    out.put_slice(b" HTTP/1.1\r\nConnection: close\r\n");
    if !fields.contains_key(header::HOST) {
        put(&mut out, "Host", authority.as_bytes());
    }
    put_fields(&mut out, fields);
    let body = if is_tunnel {
        Body::Tunnel
    } else if is_whole {
        Body::None
    } else if fields.contains_key(header::CONTENT_LENGTH) {
        Body::Plain
    } else {
        put(&mut out, "Transfer-Encoding", b"chunked");
        Body::Chunked
    };
    out.put_slice(b"\r\n");
    Some(Head {
        bytes: out.freeze(),
        body,
        is_head: *method == Method::HEAD,
    })
}

fn put_fields(out: &mut BytesMut, fields: &HeaderMap) {
    for (name, value) in fields {
        if name != header::COOKIE {
            put(out, name.as_str(), value.as_bytes());
        }
    }
    // Cookies may come in pieces, one to a field (RFC 9113 section 8.2.3).
    let mut cookies = fields.get_all(header::COOKIE).iter();
    if let Some(first) = cookies.next() {
        out.put_slice(b"cookie: ");
        out.put_slice(first.as_bytes());
        for more in cookies {
            out.put_slice(b"; ");
            out.put_slice(more.as_bytes());
        }
        out.put_slice(b"\r\n");
    }
}

/// Writes a trailer section behind the last chunk.
pub(super) fn put_trailers(out: &mut BytesMut, trailers: Option<&HeaderMap>) {
    out.put_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        put(out, name.as_str(), value.as_bytes());
    }
    out.put_slice(b"\r\n");
}

fn put(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(request: http::request::Builder, is_whole: bool) -> (String, Body) {
        let head = write(&request.body(()).unwrap(), false, is_whole).unwrap();
        (String::from_utf8(head.bytes.to_vec()).unwrap(), head.body)
    }

    #[test]
    fn requests_are_written_as_http1_says_them() {
        let (head, body) = written(
            Request::connect("a.example:443").header("proxy-authorization", "Basic eA=="),
            false,
        );
        assert_eq!(
            head,
            "CONNECT a.example:443 HTTP/1.1\r\nConnection: close\r\nHost: a.example:443\r\nproxy-authorization: Basic eA==\r\n\r\n"
        );
        assert_eq!(body, Body::Tunnel);
        let (head, body) = written(
            Request::get("http://a.example/x?y")
                .header("cookie", "a=1")
                .header("x", "z")
                .header("cookie", "b=2"),
            true,
        );
        assert_eq!(
            head,
            "GET http://a.example/x?y HTTP/1.1\r\nConnection: close\r\nHost: a.example\r\nx: z\r\ncookie: a=1; b=2\r\n\r\n"
        );
        assert_eq!(body, Body::None);
        let (head, body) = written(Request::post("http://a.example/"), false);
        assert!(head.ends_with("Transfer-Encoding: chunked\r\n\r\n"), "{head}");
        assert_eq!(body, Body::Chunked);
        let (_, body) = written(
            Request::post("http://a.example/").header("content-length", "5"),
            false,
        );
        assert_eq!(body, Body::Plain);
    }

    #[test]
    fn what_has_no_writing_in_http1_is_none() {
        assert!(write(&Request::get("/path").body(()).unwrap(), false, true).is_none());
        assert!(write(&Request::connect("a.example:443").body(()).unwrap(), true, false).is_none());
    }
}
