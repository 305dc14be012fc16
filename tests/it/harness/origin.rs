//! The destination: answers by HTTP and HTTPS in many ways, and remembers who came, with what bytes.

use std::collections::HashSet;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use ring::digest::{SHA256, digest};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use super::http::{read_chunks, read_head};
use super::{Authority, PATIENCE, websocket};

/// Bytes of each connection that are remembered as they came.
const REMEMBERED: usize = 256 * 1024;
/// Size of one write of generated content.
const PIECE: usize = 16 * 1024;

/// The running origin; dropping it ends its listeners.
///
/// | path | answer |
/// |---|---|
/// | `/echo` | what was asked, as JSON: `ip`, `request`, `fields`, `length` and `sha256` of the content |
/// | `/bytes/N` | N bytes of the [`pattern`], with their length |
/// | `/chunked/N` | the same in chunks |
/// | `/hints` | early hints, then five bytes in chunks with a trailer |
/// | `/close/N` | the same, ended by closing |
/// | `/gate/NAME/N` | the same as `/bytes`, but the second half waits for [`Origin::open_gate`] |
/// | `/hold/NAME` | as `/echo`, but not before the gate is open |
/// | `/drip/RATE` | without end, RATE bytes a second |
/// | `/sink` | none: everything that follows is read and thrown away |
/// | `/ws` | a WebSocket that answers each text with who came and what was said |
/// | `/reset/NAME` | a part of an answer, then a reset once the gate is open |
pub(crate) struct Origin {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    shared: Arc<Shared>,
}

/// One connection, as the origin saw it.
pub(crate) struct Visit {
    /// Who came: the exit's address.
    pub(crate) from: SocketAddr,
    raw: Mutex<Vec<u8>>,
    received: AtomicU64,
    sent: AtomicU64,
    is_over: AtomicBool,
}

#[derive(Default)]
struct Shared {
    visits: Mutex<Vec<Arc<Visit>>>,
    gates: Mutex<HashSet<String>>,
    gate_opened: Condvar,
    stop: AtomicBool,
}

impl Origin {
    pub(crate) fn start(authority: &Authority) -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap(), authority)
    }

    /// On an address of the caller's network namespace.
    pub(crate) fn start_on(address: SocketAddr, authority: &Authority) -> Self {
        let shared = Arc::new(Shared::default());
        let http = listen(address, &shared, None);
        let https = listen(
            SocketAddr::new(address.ip(), 0),
            &shared,
            Some(authority.server_config()),
        );
        Self { http, https, shared }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    pub(crate) fn https_url(&self, path: &str) -> String {
        format!("https://{}{path}", self.https)
    }

    /// Every connection so far.
    pub(crate) fn visits(&self) -> Vec<Arc<Visit>> {
        self.shared.visits.lock().unwrap().clone()
    }

    /// Lets every `/gate/NAME` go on.
    pub(crate) fn open_gate(&self, name: &str) {
        self.shared.gates.lock().unwrap().insert(name.to_owned());
        self.shared.gate_opened.notify_all();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        self.shared.gate_opened.notify_all();
        for address in [self.http, self.https] {
            // Wakes the listener, which then ends.
            let _ = TcpStream::connect(address);
        }
    }
}

impl Visit {
    /// What was received, in clear, as far as it is remembered.
    pub(crate) fn raw(&self) -> Vec<u8> {
        self.raw.lock().unwrap().clone()
    }

    /// Bytes received on the wire.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Bytes sent on the wire.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Whether the connection has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }
}

/// The first `length` bytes of the content that the origin makes: no two places look alike, so that nothing can be lost,
/// doubled or swapped unseen.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut counter = 0_u64;
    while bytes.len() < length {
        // SplitMix64: a counter, well stirred.
        counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (counter ^ (counter >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((word ^ (word >> 31)).to_be_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// In hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let hash = digest(&SHA256, bytes);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn listen(address: SocketAddr, shared: &Arc<Shared>, tls: Option<Arc<ServerConfig>>) -> SocketAddr {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if shared.stop.load(Relaxed) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let Ok(from) = stream.peer_addr() else { continue };
            let visit = Arc::new(Visit {
                from,
                raw: Mutex::default(),
                received: AtomicU64::new(0),
                sent: AtomicU64::new(0),
                is_over: AtomicBool::new(false),
            });
            shared.visits.lock().unwrap().push(Arc::clone(&visit));
            let (shared, tls) = (Arc::clone(&shared), tls.clone());
            std::thread::spawn(move || {
                // However it ends, it is over.
                let _ = serve(stream, &shared, &visit, tls);
                visit.is_over.store(true, Relaxed);
            });
        }
    });
    address
}

fn serve(
    stream: TcpStream,
    shared: &Shared,
    visit: &Arc<Visit>,
    tls: Option<Arc<ServerConfig>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let reset = stream.try_clone()?;
    let wire = Wire {
        stream,
        visit: Arc::clone(visit),
    };
    match tls {
        None => converse(wire, shared, visit, &reset),
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            converse(StreamOwned::new(connection, wire), shared, visit, &reset)
        }
    }
}

/// Request after request, until either side has enough.
fn converse(stream: impl Read + Write, shared: &Shared, visit: &Visit, reset: &TcpStream) -> io::Result<()> {
    let mut stream = BufReader::new(Remembering { stream, visit });
    loop {
        let head = read_head(&mut stream)?;
        if !head.ends_with("\r\n\r\n") {
            return Ok(());
        }
        let request = head.lines().next().unwrap_or_default().to_owned();
        let mut words = request.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let field = |name: &str| {
            head.lines().skip(1).find_map(|line| {
                let (there, value) = line.split_once(':')?;
                there.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        if target == "/sink" {
            let mut piece = vec![0; PIECE];
            while stream.read(&mut piece)? > 0 {}
            return Ok(());
        }
        if let (Some(key), "/ws") = (field("sec-websocket-key"), target) {
            return websocket::serve(&mut stream, &key, visit.from.ip());
        }
        if field("expect").is_some() {
            stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            stream.get_mut().flush()?;
        }
        let content = if field("transfer-encoding").is_some() {
            read_chunks(&mut stream)?
        } else {
            let length = field("content-length").and_then(|text| text.parse().ok());
            let mut content = vec![0; length.unwrap_or(0)];
            stream.read_exact(&mut content)?;
            content
        };
        let close = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if let Some(name) = target.strip_prefix("/hold/") {
            shared.wait_for_gate(name)?;
        }
        let out = stream.get_mut();
        let mut parts = target.trim_start_matches('/').split('/');
        let (kind, argument) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let length: usize = argument.parse().unwrap_or(0);
        match kind {
            "bytes" => {
                write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
                out.write_all(&pattern(length))?;
            }
            "chunked" => {
                write!(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                for piece in pattern(length).chunks(PIECE) {
                    write!(out, "{:x}\r\n", piece.len())?;
                    out.write_all(piece)?;
                    out.write_all(b"\r\n")?;
                }
                out.write_all(b"0\r\n\r\n")?;
            }
            "hints" => {
                out.write_all(
                    b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n\
                      HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n",
                )?;
            }
            "close" => {
                write!(out, "HTTP/1.1 200 OK\r\n\r\n")?;
                out.write_all(&pattern(length))?;
                return out.flush();
            }
            "gate" => {
                let length: usize = parts.next().and_then(|text| text.parse().ok()).unwrap_or(0);
                let content = pattern(length);
                let (now, later) = content.split_at(length / 2);
                write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
                out.write_all(now)?;
                out.flush()?;
                shared.wait_for_gate(argument)?;
                out.write_all(later)?;
            }
            "drip" => drip(out, shared, length)?,
            "reset" => {
                write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
                out.write_all(&pattern(1000))?;
                out.flush()?;
                shared.wait_for_gate(argument)?;
                // Closing with nothing to linger for sends a reset.
                let ours = rustix::net::sockopt::set_socket_linger(reset, Some(Duration::ZERO));
                return ours.map_err(io::Error::from);
            }
            _ => {
                let seen = json!({
                    "ip": visit.from.ip(),
                    "request": request,
                    "fields": head.lines().skip(1).filter(|line| !line.is_empty()).collect::<Vec<_>>(),
                    "length": content.len(),
                    "sha256": sha256(&content),
                });
                let body = format!("{seen}\n");
                let length = body.len();
                let kind = "Content-Type: application/json";
                write!(
                    out,
                    "HTTP/1.1 200 OK\r\n{kind}\r\nContent-Length: {length}\r\n\r\n"
                )?;
                if method != "HEAD" {
                    out.write_all(body.as_bytes())?;
                }
            }
        }
        out.flush()?;
        if close {
            return Ok(());
        }
    }
}

/// So many bytes a second, until the other side has gone.
fn drip(out: &mut impl Write, shared: &Shared, rate: usize) -> io::Result<()> {
    const TICK: Duration = Duration::from_millis(10);
    write!(out, "HTTP/1.1 200 OK\r\n\r\n")?;
    let piece = pattern(rate / 100);
    let mut next = Instant::now();
    while !shared.stop.load(Relaxed) {
        out.write_all(&piece)?;
        out.flush()?;
        next += TICK;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

impl Shared {
    fn wait_for_gate(&self, name: &str) -> io::Result<()> {
        let gates = self.gates.lock().unwrap();
        let is_shut = |gates: &mut HashSet<String>| !gates.contains(name) && !self.stop.load(Relaxed);
        let (_gates, waited) = self
            .gate_opened
            .wait_timeout_while(gates, PATIENCE, is_shut)
            .unwrap();
        if waited.timed_out() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

/// Counts what goes over the wire, below TLS.
struct Wire {
    stream: TcpStream,
    visit: Arc<Visit>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.visit.received.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes)?;
        self.visit.sent.fetch_add(written as u64, Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Remembers what is said, above TLS.
struct Remembering<'a, S> {
    stream: S,
    visit: &'a Visit,
}

impl<S: Read> Read for Remembering<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        let mut raw = self.visit.raw.lock().unwrap();
        let room = REMEMBERED.saturating_sub(raw.len()).min(read);
        raw.extend(&buffer[..room]);
        Ok(read)
    }
}

impl<S: Write> Write for Remembering<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
