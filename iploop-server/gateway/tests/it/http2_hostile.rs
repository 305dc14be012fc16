//! Hostile HTTP/2, frame by frame: what has no one reading reaches no exit, and floods end their own connection (RFC 9113
//! sections 8.1.1 and 10.5).

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::http2::Secure;
use crate::store::KEY;
use crate::world::{Customer, Origin, Setup, base64, echo_origin};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const PROTOCOL_ERROR: u32 = 1;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Of one frame, as long as nothing else was agreed.
const MAX_PAYLOAD: usize = 16 * 1024;

/// `:status: 200` in HPACK's static table.
const SERVED: u8 = 0x88;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field as HPACK writes it without a table: RFC 7541 section 6.2.2.
fn field(name: &str, value: &[u8]) -> Vec<u8> {
    [&[0][..], &text(name.as_bytes()), &text(value)].concat()
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match bytes.len() {
        length @ ..127 => out.push(u8::try_from(length).unwrap()),
        mut length => {
            length -= 127;
            out.push(127);
            while length >= 128 {
                out.push(u8::try_from(length % 128).unwrap() | 128);
                length /= 128;
            }
            out.push(u8::try_from(length).unwrap());
        }
    }
    out.extend(bytes);
    out
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|(name, value)| field(name, value.as_bytes()))
        .collect()
}

fn login() -> String {
    format!("Basic {}", base64(&format!("iploop:{KEY}")))
}

/// One connection, past its preface.
struct Speaker(Customer<TlsStream<TcpStream>>);

struct Heard {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
}

impl Heard {
    /// The code of RST_STREAM or GOAWAY.
    fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

impl Speaker {
    async fn connect(secure: &Secure) -> Self {
        let mut customer = Customer::new(secure.dial_from(1).await);
        customer
            .send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())
            .await;
        Self(customer)
    }

    /// The next frame that is one of these.
    async fn hear(&mut self, kinds: &[u8]) -> Heard {
        loop {
            let head = self.0.read(9).await;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let payload = self.0.read(usize::try_from(length).unwrap()).await;
            if kinds.contains(&head[3]) {
                return Heard {
                    kind: head[3],
                    flags: head[4],
                    payload,
                };
            }
        }
    }
}

/// A request on stream 1.
struct Request {
    block: Vec<u8>,
    content: &'static [u8],
}

impl Request {
    fn of(fields: &[(&str, &str)], content: &'static [u8]) -> Self {
        Self {
            block: block(fields),
            content,
        }
    }

    fn frames(&self) -> Vec<u8> {
        let end = if self.content.is_empty() { END_STREAM } else { 0 };
        let mut pieces = self.block.chunks(MAX_PAYLOAD).peekable();
        let (mut kind, mut flags, mut frames) = (HEADERS, end, Vec::new());
        while let Some(piece) = pieces.next() {
            flags |= if pieces.peek().is_none() { END_HEADERS } else { 0 };
            frames.extend(frame(kind, flags, 1, piece));
            (kind, flags) = (CONTINUATION, 0);
        }
        if !self.content.is_empty() {
            frames.extend(frame(DATA, END_STREAM, 1, self.content));
        }
        frames
    }
}

/// Each with a good login, so that only its form is to blame.
fn hostile(to: SocketAddr) -> Vec<Request> {
    let (to, login) = (to.to_string(), login());
    let mut all = Vec::new();
    let mut add = |head: &[(&str, &str)], more: &[(&str, &str)], content| {
        let fields = [head, more, &[("proxy-authorization", login.as_str())]].concat();
        all.push(Request::of(&fields, content));
    };
    let connect = [(":method", "CONNECT"), (":authority", to.as_str())];
    let of = |method, path| {
        [
            (":method", method),
            (":scheme", "http"),
            (":authority", to.as_str()),
            (":path", path),
        ]
    };
    let (get, post) = (of("GET", "/"), of("POST", "/"));

    // CONNECT has method and authority and nothing else (section 8.5), and was not extended by us (RFC 8441).
    add(&connect, &[(":path", "/")], b"");
    add(&connect, &[(":scheme", "http"), (":path", "/")], b"");
    add(
        &connect,
        &[(":protocol", "websocket"), (":scheme", "http"), (":path", "/")],
        b"",
    );
    add(&[(":method", "CONNECT")], &[], b"");
    add(&connect, &[("content-length", "5")], b"hello");
    // Pseudo-fields that are missing, repeated, unknown or too late.
    add(&get[..3], &[], b"");
    add(&get[1..], &[], b"");
    add(&[get[0], get[1], get[3]], &[], b"");
    add(&[get[0], get[2], get[3]], &[], b"");
    add(&get, &[(":path", "/other")], b"");
    add(&get, &[(":method", "POST")], b"");
    add(&get, &[(":unknown", "x")], b"");
    add(&get[..3], &[("x", "y"), (":path", "/")], b"");
    // Authorities and hosts that lead elsewhere.
    add(&[get[0], get[1], (":authority", "u@a.example"), get[3]], &[], b"");
    add(
        &[get[0], get[1], (":authority", "a.example\r\nX: y"), get[3]],
        &[],
        b"",
    );
    add(&[get[0], get[1], (":authority", "a.example/b"), get[3]], &[], b"");
    add(&get, &[("host", "b.example")], b"");
    add(&get, &[("host", to.as_str()), ("host", to.as_str())], b"");
    add(&[get[0], get[1], get[3]], &[("host", to.as_str())], b"");
    add(&[get[0], (":scheme", "https"), get[2], get[3]], &[], b"");
    // Paths.
    for path in ["", "*", "a", "http://b.example/", "/a b", "/a\r\nX: y", "/\0"] {
        add(&of("GET", path), &[], b"");
    }
    // Methods.
    for method in ["", "GE T", "GET\r\n", "TRACE", "G\0T"] {
        add(&of(method, "/"), &[], b"");
    }
    // Fields of HTTP/1.1's connections (section 8.2.2), and such that hold what ends a line there.
    for (name, value) in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("proxy-connection", "keep-alive"),
        ("keep-alive", "5"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("X-Upper", "y"),
        ("a b", "y"),
        ("a:b", "y"),
        ("a\r\nb", "y"),
        ("", "y"),
        ("x", "a\r\nInjected: y"),
        ("x", "a\nInjected: y"),
        ("x", "a\0b"),
        ("proxy-authorization", "Basic AAAA"),
        ("content_length", "5"),
        ("transfer_encoding", "chunked"),
    ] {
        add(&post, &[(name, value)], b"hello");
    }
    // Lengths that are not so.
    for length in ["+5", "5, 5", "-5", "five", "", "99999999999999999999"] {
        add(&post, &[("content-length", length)], b"hello");
    }
    add(
        &post,
        &[("content-length", "5"), ("content-length", "5")],
        b"hello",
    );
    add(&post, &[("content-length", "5")], b"");
    // Too much for one head.
    add(&get, &vec![("x", "y"); 101], b"");
    let long = "y".repeat(16_000);
    add(&get, &[("x", long.as_str()); 4], b"");
    all
}

#[tokio::test]
async fn requests_of_http2_without_one_reading_reach_no_exit() {
    let (to, _origin) = echo_origin().await;
    let secure = Secure::start(Setup::default(), &[to]).await;
    let good = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", &to.to_string()),
        (":path", "/"),
        ("proxy-authorization", &login()),
    ];
    let mut speaker = Speaker::connect(&secure).await;
    speaker.0.send(&Request::of(&good, b"").frames()).await;
    assert_eq!(speaker.hear(&[HEADERS]).await.payload[0], SERVED);
    let served = secure.world.exits.asked().len();
    assert_eq!(served, 1);
    let hostile = hostile(to);
    assert!(hostile.len() >= 50, "{}", hostile.len());
    for request in &hostile {
        let shown = String::from_utf8_lossy(&request.block);
        let mut speaker = Speaker::connect(&secure).await;
        speaker.0.send(&request.frames()).await;
        let heard = speaker.hear(&[HEADERS, RST_STREAM, GOAWAY]).await;
        match heard.kind {
            HEADERS => assert_ne!(heard.payload[0], SERVED, "{shown:?}"),
            _ => assert_eq!(heard.code(), PROTOCOL_ERROR, "{shown:?}"),
        }
        assert_eq!(secure.world.exits.asked().len(), served, "{shown:?}");
    }
}

#[tokio::test]
async fn content_of_another_length_than_announced_ends_its_stream() {
    // It says nothing, so that nothing but the customer's own fault can end these streams.
    let origin = Origin::start().await;
    let to = origin.address.to_string();
    let secure = Secure::start(Setup::default(), &[origin.address]).await;
    for length in ["4", "6"] {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", to.as_str()),
            (":path", "/"),
            ("content-length", length),
            ("proxy-authorization", &login()),
        ];
        let mut speaker = Speaker::connect(&secure).await;
        speaker.0.send(&Request::of(&fields, b"hello").frames()).await;
        let heard = speaker.hear(&[HEADERS, RST_STREAM, GOAWAY]).await;
        assert_eq!(
            (heard.kind, heard.code()),
            (RST_STREAM, PROTOCOL_ERROR),
            "{length}"
        );
    }
    let records = secure.world.books().await;
    assert!(records.iter().all(|record| record.bytes_down == 0), "{records:?}");
}

#[tokio::test]
async fn floods_of_http2_end_their_own_connection_and_no_other() {
    let mut origin = Origin::start().await;
    let to = origin.address.to_string();
    let secure = Secure::start(Setup::default(), &[origin.address]).await;
    let login = login();
    let connect = block(&[
        (":method", "CONNECT"),
        (":authority", &to),
        ("proxy-authorization", &login),
    ]);
    let mut neighbour = Speaker::connect(&secure).await;
    neighbour.0.send(&frame(HEADERS, END_HEADERS, 1, &connect)).await;
    assert_eq!(neighbour.hear(&[HEADERS]).await.payload[0], SERVED);
    let mut at_origin = origin.accept().await;

    let begun = frame(HEADERS, 0, 1, &connect);
    let continued = |piece: &[u8], count: usize| {
        let more = frame(CONTINUATION, 0, 1, piece).repeat(count);
        [&begun[..], &more].concat()
    };
    let resets: Vec<u8> = (0..2_000)
        .flat_map(|number| {
            let stream = 2 * number + 1;
            let open = frame(HEADERS, END_HEADERS, stream, &connect);
            [open, frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())].concat()
        })
        .collect();
    // One long field in the table, and then it alone, as one byte, again and again.
    let stored = [&[0x40][..], &text(b"x"), &text(&[b'y'; 3900])].concat();
    let bomb = [
        frame(HEADERS, 0, 1, &stored),
        frame(CONTINUATION, END_HEADERS, 1, &[0xbe; 16_000]),
    ]
    .concat();
    for (name, flood, codes) in [
        (
            "continuations",
            continued(&field("x", b"y"), 20_000),
            &[ENHANCE_YOUR_CALM][..],
        ),
        (
            "empty continuations",
            continued(&[], 20_000),
            &[ENHANCE_YOUR_CALM],
        ),
        ("rapid resets", resets, &[ENHANCE_YOUR_CALM]),
        ("a head that grows in the table", bomb, &[ENHANCE_YOUR_CALM]),
        (
            "a frame that was not agreed",
            frame(DATA, 0, 1, &vec![0; 1 << 20]),
            &[FRAME_SIZE_ERROR],
        ),
        (
            "a table index that is none",
            frame(HEADERS, END_HEADERS, 1, &[0xff; 8]),
            &[COMPRESSION_ERROR, PROTOCOL_ERROR],
        ),
        (
            "a window beyond its bound",
            frame(8, 0, 0, &0x7fff_ffffu32.to_be_bytes()),
            &[3],
        ),
    ] {
        let asked = secure.world.exits.asked().len();
        let mut speaker = Speaker::connect(&secure).await;
        speaker.0.send(&flood).await;
        let ended = speaker.hear(&[GOAWAY]).await;
        assert!(codes.contains(&ended.code()), "{name}: {}", ended.code());
        // Streams at the same time, of those that it was let open before it was noticed.
        assert!(secure.world.exits.asked().len() - asked <= 100, "{name}");
    }
    neighbour.0.send(&frame(DATA, 0, 1, b"still here")).await;
    assert_eq!(at_origin.read(10).await, b"still here");
    at_origin.send(b"so are we").await;
    assert_eq!(neighbour.hear(&[DATA]).await.payload, b"so are we");
}

#[tokio::test]
async fn control_frames_do_not_keep_a_connection_without_streams() {
    let mut setup = Setup::default();
    setup.config.keep_alive_timeout = Duration::from_millis(200);
    let secure = Secure::start(setup, &[]).await;
    let mut speaker = Speaker::connect(&secure).await;
    let more = [
        frame(PING, 0, 0, b"12345678"),
        frame(SETTINGS, 0, 0, &[]),
        // PRIORITY of an idle stream, and a type that nobody knows.
        frame(2, 0, 3, &[0, 0, 0, 0, 16]),
        frame(0x77, 0, 0, b"x"),
    ]
    .concat();
    let ended = loop {
        speaker.0.send(&more).await;
        let heard = speaker.hear(&[PING, GOAWAY]).await;
        match heard.kind {
            GOAWAY => break heard,
            _ => assert_eq!(heard.flags, ACK),
        }
    };
    assert_eq!(ended.code(), 0);
}
