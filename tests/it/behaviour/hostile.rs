//! Hostile HTTP at the proxy port: nothing with two readings reaches the origin, and what does reads one way.

use std::collections::BTreeMap;

use crate::harness::{Customer, Place, Response, Settings, World};

/// Requests that a strict reader refuses. `HOST` is the origin, `LOGIN` a good login: only the form is to blame.
fn refused() -> Vec<String> {
    let mut all = Vec::new();
    // Framing that contradicts another framing, or itself.
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\ncontent-length: 0",
        "Content-Length: 5, 5",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: 5a",
        "Content-Length:",
        "Content-Length: 18446744073709551621",
        "Content_Length: 5",
        "Transfer_Encoding: chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\r\n\tContent-Length: 5",
        "Content-Length : 5",
        "Content-Length\0: 5",
        "Transfer-Encoding: chunked\0",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\r\nTransfer-Encoding: chunked",
        "Expect: 200-ok",
        "Connection: Content-Length\r\nContent-Length: 5",
        "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
        "Connection: close, Host",
    ] {
        all.push(format!(
            "POST http://HOST/echo HTTP/1.1\r\nHost: HOST\r\nLOGIN{fields}\r\n\r\n0\r\n\r\nGET http://HOST/smuggled HTTP/1.1\r\n\r\n"
        ));
    }
    // Fields that no field is like.
    for fields in [
        "No colon",
        ": no name",
        "Bad name: x",
        "Bad(name): x",
        "X: a\0b",
        "X: a\u{1}b",
        "X: a\u{7f}b",
        "X: a\r\n folded",
        "X: a\nInjected: b",
        "X: a\rInjected: b",
    ] {
        all.push(format!(
            "GET http://HOST/echo HTTP/1.1\r\nHost: HOST\r\nLOGIN{fields}\r\n\r\n"
        ));
    }
    // Hosts that are missing, doubled, or lead elsewhere.
    for host in [
        "",
        "Host: HOST\r\nHost: HOST\r\n",
        "Host: HOST\r\nHost: other.example\r\n",
        "Host: other.example\r\n",
        "Host: HOST@other.example\r\n",
        "Host: HOST, other.example\r\n",
        "Host: http://HOST\r\n",
        "Host : HOST\r\n",
    ] {
        all.push(format!("GET http://HOST/echo HTTP/1.1\r\n{host}LOGIN\r\n"));
    }
    // Request lines.
    for line in [
        "GET /echo HTTP/1.1",
        "GET * HTTP/1.1",
        "GET //HOST/echo HTTP/1.1",
        "GET ftp://HOST/echo HTTP/1.1",
        "GET http://user@HOST/echo HTTP/1.1",
        "GET http://HOST\\@other.example/ HTTP/1.1",
        "GET http://HOST/#@other.example HTTP/1.1",
        "GET http://HOST/a b HTTP/1.1",
        "GET http://HOST/\u{1} HTTP/1.1",
        "GET  http://HOST/echo HTTP/1.1",
        "GET\thttp://HOST/echo HTTP/1.1",
        " GET http://HOST/echo HTTP/1.1",
        "GET http://HOST/echo",
        "GET http://HOST/echo HTTP/1.1 x",
        "GET http://HOST/echo http/1.1",
        "GET http://HOST/echo HTTP/11",
        "GET http://HOST/echo HTTP/2.0",
        "G\u{e9}T http://HOST/echo HTTP/1.1",
        "TRACE http://HOST/echo HTTP/1.1",
        "CONNECT http://HOST HTTP/1.1",
        "CONNECT user@HOST HTTP/1.1",
        "CONNECT HOST/ HTTP/1.1",
        "GET http://2130706433/ HTTP/1.1",
        "GET http://0x7f.1/ HTTP/1.1",
        "GET http://127.1/ HTTP/1.1",
        "GET http://[fe80::1%25eth0]/ HTTP/1.1",
    ] {
        all.push(format!("{line}\r\nHost: HOST\r\nLOGIN\r\n"));
    }
    all.push("GET http://HOST/echo HTTP/1.0\r\nLOGINTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned());
    all.push("CONNECT HOST HTTP/1.1\r\nHost: HOST\r\nLOGINContent-Length: 5\r\n\r\nhello".to_owned());
    all.push(format!(
        "GET http://HOST/echo HTTP/1.1\r\nHost: HOST\r\nLOGIN{}\r\n",
        "X: y\r\n".repeat(200)
    ));
    all.push(format!(
        "GET http://HOST/{} HTTP/1.1\r\nHost: HOST\r\nLOGIN\r\n",
        "y".repeat(70_000)
    ));
    for nonsense in [
        "\0\0\0\0\r\n\r\n",
        "EHLO mail.example\r\n\r\n",
        "\u{1}\u{2}\u{3}\r\n\r\n",
        "\r\n\r\n\r\n\r\n",
    ] {
        all.push(nonsense.to_owned());
    }
    all
}

/// Framing of chunks that breaks in the middle, after a head that was good.
const BROKEN_CHUNKS: [&str; 8] = [
    "x\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhelloo\r\n0\r\n\r\n",
    "-1\r\n",
    "0\r\nX: y\n\r\n",
    "0\r\n x\r\n\r\n",
    "fffffffffffffffff\r\n",
    "5;\0\r\nhello\r\n0\r\n\r\n",
];

struct Port {
    world: World,
    customer: Customer,
}

impl Port {
    fn open() -> Self {
        let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
        let customer = world.customer();
        Self { world, customer }
    }

    fn fill(&self, request: &str) -> String {
        let login = self.customer.login();
        request
            .replace("HOST", &self.world.origin.http.to_string())
            .replace("LOGIN", &login)
    }

    /// Sends a request, ends our half, and reads everything that comes back.
    fn say(&self, request: &str) -> String {
        let text = self.fill(request);
        // Every character of these requests up to U+00FF stands for a byte.
        let bytes: Vec<u8> = text
            .chars()
            .map(|letter| u8::try_from(u32::from(letter)).unwrap())
            .collect();
        String::from_utf8_lossy(&self.customer.say(&bytes)).into_owned()
    }
}

#[test]
fn nothing_ambiguous_reaches_the_origin_and_each_refusal_says_why() {
    let port = Port::open();
    let mut codes = BTreeMap::new();
    for request in refused() {
        let answer = port.say(&request);
        let shown: String = request.chars().take(200).collect();
        let response = Response::of_head(answer.clone());
        assert!(
            (400..500).contains(&response.status) || response.status == 505,
            "{shown:?} got {answer:?}"
        );
        assert_ne!(response.code(), "", "{shown:?} got {answer:?}");
        assert_eq!(
            answer.matches("X-IPLoop-Request-Id:").count(),
            1,
            "one answer to {shown:?}: {answer}"
        );
        assert!(!answer.contains(&port.customer.password), "{answer}");
        *codes.entry(response.code().to_owned()).or_insert(0) += 1;
    }
    assert!(!codes.contains_key("internal"), "{codes:?}");
    let visits = port.world.origin.visits();
    let reached: Vec<_> = visits
        .iter()
        .map(|visit| String::from_utf8_lossy(&visit.raw()).into_owned())
        .collect();
    assert!(reached.is_empty(), "{reached:#?}");
}

#[test]
fn broken_chunks_never_make_a_whole_request() {
    let port = Port::open();
    for chunks in BROKEN_CHUNKS {
        let head = "POST http://HOST/echo HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nLOGIN\r\n3\r\nabc\r\n";
        let answer = port.say(&format!(
            "{head}{chunks}GET http://HOST/smuggled HTTP/1.1\r\n\r\n"
        ));
        let response = Response::of_head(answer.clone());
        assert_eq!(
            (response.status, response.code()),
            (400, "malformed_content"),
            "{chunks:?}: {answer}"
        );
    }
    for visit in port.world.origin.visits() {
        let raw = String::from_utf8_lossy(&visit.raw()).into_owned();
        assert!(!raw.contains("smuggled") && !raw.contains("0\r\n\r\n"), "{raw}");
    }
}

#[test]
fn what_is_forwarded_reads_one_way_and_carries_nothing_of_ours() {
    let port = Port::open();
    let wordy = "Connection: X-Hop, keep-alive\r\nX-Hop: secret\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n\
                 X-IPLoop-Rotate: 1\r\nX-Kept: a \u{e9}\r\nAccept: */*\r\n";
    for (request, content) in [
        (format!("GET http://HOST/echo?a=b HTTP/1.1\r\nHost: HOST\r\nLOGIN{wordy}Connection: close\r\n\r\n"), 0),
        ("GET http://HOST/echo HTTP/1.0\r\nLOGIN\r\n".to_owned(), 0),
        ("POST http://HOST/echo HTTP/1.1\r\nHost: HOST\r\nLOGINContent-Length: 5\r\nConnection: close\r\n\r\nhello".to_owned(), 5),
        (
            "POST http://HOST/echo HTTP/1.1\r\nHost: HOST\r\nLOGINTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n\
             005;ext=\"a;b\"\r\nhello\r\n0\r\nX-Trailer: y\r\n\r\n"
                .to_owned(),
            5,
        ),
    ] {
        let seen = port.world.origin.visits().len();
        let answer = port.say(&request);
        let response = Response::of_head(answer.split_inclusive("\r\n\r\n").next().unwrap().to_owned());
        assert_eq!(response.status, 200, "{request:?}: {answer}");
        let visits = port.world.origin.visits();
        assert_eq!(visits.len(), seen + 1);
        let raw = visits[seen].raw();
        let text: String = raw.iter().copied().map(char::from).collect();
        assert_eq!(text.matches("HTTP/1.1\r\n").count(), 1, "{text}");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let lower = head.to_ascii_lowercase();
        for never in ["proxy-", "x-iploop", "x-hop", "keep-alive", "iploop_", "\nte:"] {
            assert!(!lower.contains(never), "{never} in {head}");
        }
        assert!(!head.replace("\r\n", "").contains(['\r', '\n', '\0']), "{head:?}");
        let framings = lower.matches("content-length:").count() + lower.matches("transfer-encoding:").count();
        assert_eq!(framings, usize::from(content > 0), "{head}");
        assert_eq!(body.contains("hello"), content > 0, "{body}");
        if request.contains("X-Kept") {
            assert!(head.contains("X-Kept: a \u{e9}") && head.starts_with("GET /echo?a=b HTTP/1.1\r\n"), "{head}");
        }
    }
}
