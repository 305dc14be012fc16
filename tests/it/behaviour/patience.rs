//! Slow and silent connections: closed within 15 seconds, on every port.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::harness::{Place, Settings, World};

/// The promise, and what a busy machine adds.
const LONGEST: Duration = Duration::from_secs(15);
const TOLERANCE: Duration = Duration::from_millis(1500);

/// What a connection does after it was opened.
struct Case {
    name: &'static str,
    port: SocketAddr,
    /// Said at once.
    first: Vec<u8>,
    /// Said again every half second.
    then: &'static [u8],
}

/// Says what the case says and reads until the other side ends the connection: how long that took.
fn endure(case: &Case) -> Result<Duration, String> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(case.port).map_err(|error| error.to_string())?;
    let tick = Some(Duration::from_millis(500));
    stream.set_read_timeout(tick).map_err(|error| error.to_string())?;
    let mut gone = stream.write_all(&case.first).is_err();
    let mut read = [0; 4096];
    while !gone {
        if began.elapsed() > LONGEST + TOLERANCE {
            return Err(format!("{}: still open after {:?}", case.name, began.elapsed()));
        }
        match stream.read(&mut read) {
            Ok(0) => gone = true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                gone = stream.write_all(case.then).is_err();
            }
            Err(_) => gone = true,
        }
    }
    Ok(began.elapsed())
}

#[test]
fn slow_and_silent_connections_end_within_15_seconds_on_every_port() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let ready = world.ready;
    let upgrade = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: iploop.v2\r\n\r\n",
        ready.hub
    );
    let post = "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    let case = |name, port, first: &[u8], then: &'static [u8]| Case {
        name,
        port,
        first: first.to_vec(),
        then,
    };
    let mut cases = vec![
        case("SOCKS5: a method, then silence", ready.socks, &[5, 1, 2], b""),
        case("SOCKS5: methods byte by byte", ready.socks, &[5, 255], &[0]),
        case(
            "SOCKS5: login byte by byte",
            ready.socks,
            &[5, 1, 2, 1, 255],
            b"x",
        ),
        case(
            "proxy: half a ClientHello",
            ready.proxy,
            &[0x16, 3, 1, 2, 0, 1],
            b"",
        ),
        case(
            "proxy: a head byte by byte",
            ready.proxy,
            b"GET http://a.example/ HTTP/1.1\r\nX: ",
            b"y",
        ),
        case("proxy: empty lines", ready.proxy, b"\r\n", b"\r\n"),
        case("hub: upgraded, then silence", ready.hub, upgrade.as_bytes(), b""),
        // A ws message of one frame that is announced and never ends.
        case(
            "hub: a hello byte by byte",
            ready.hub,
            &[upgrade.as_bytes(), &[0x82, 0xfe, 0x10, 0, 0, 0, 0, 0]].concat(),
            b"x",
        ),
        case("API: content that never comes", ready.api, post.as_bytes(), b""),
        case("API: content byte by byte", ready.api, post.as_bytes(), b" "),
    ];
    for port in [ready.proxy, ready.socks, ready.hub, ready.api, ready.metrics] {
        cases.push(case("silence", port, b"", b""));
        cases.push(case("half a request line", port, b"GET / HT", b""));
        cases.push(case(
            "fields without end",
            port,
            b"GET / HTTP/1.1\r\nHost: x\r\n",
            b"X: y\r\n",
        ));
    }
    let secure: Vec<_> = [&b""[..], b"GET http://a.example/ HTTP/1.1\r\n", &[5, 1, 2]]
        .into_iter()
        .map(|said| {
            let (port, config) = (ready.proxy, world.authority.client_config());
            std::thread::spawn(move || endure_by_tls(port, &config, said))
        })
        .collect();
    let plain: Vec<_> = cases
        .into_iter()
        .map(|case| std::thread::spawn(move || endure(&case)))
        .collect();
    let mut failures = Vec::new();
    for ended in plain.into_iter().chain(secure) {
        failures.extend(ended.join().unwrap().err());
    }
    assert!(failures.is_empty(), "{failures:#?}");
    // Whoever behaves was served all the while.
    assert_eq!(world.customer().get(&world.origin.url("/echo")).status, 200);
}

/// After a TLS handshake that was quick, something is said, and then nothing.
fn endure_by_tls(
    port: SocketAddr,
    config: &Arc<rustls::ClientConfig>,
    said: &[u8],
) -> Result<Duration, String> {
    let began = Instant::now();
    let tcp = TcpStream::connect(port).map_err(|error| error.to_string())?;
    tcp.set_read_timeout(Some(LONGEST + TOLERANCE))
        .map_err(|error| error.to_string())?;
    let name = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
    let tls = ClientConnection::new(Arc::clone(config), name).map_err(|error| error.to_string())?;
    let mut stream = StreamOwned::new(tls, tcp);
    stream.write_all(said).map_err(|error| error.to_string())?;
    stream.flush().map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(format!(
            "TLS, then {said:?}: still open after {:?}",
            began.elapsed()
        )),
        _ => Ok(began.elapsed()),
    }
}
