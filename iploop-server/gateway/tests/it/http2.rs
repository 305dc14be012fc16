//! HTTP/2 on the TLS port: tunnels and plain requests, many at a time on one connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls;

use crate::store::KEY;
use crate::world::{Customer, Origin, Setup, World, base64, echo_origin};

/// A gateway with a certificate, and one who trusts it.
pub(crate) struct Secure {
    pub(crate) world: World,
    connector: tokio_rustls::TlsConnector,
    tasks: JoinSet<()>,
    folder: tempfile::TempDir,
}

impl Secure {
    pub(crate) async fn start(mut setup: Setup, origins: &[SocketAddr]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certified = rcgen::generate_simple_self_signed(["proxy.test".to_owned()]).unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&cert, certified.cert.pem()).unwrap();
        std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
        (setup.config.tls_cert, setup.config.tls_key) = (Some(cert), Some(key));
        let world = World::start_with(setup, origins).await;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certified.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            world,
            connector: tokio_rustls::TlsConnector::from(Arc::new(config)),
            tasks: JoinSet::new(),
            folder,
        }
    }

    async fn connect(&mut self) -> SendRequest<Bytes> {
        self.connect_from(1).await
    }

    /// From 127.0.0.`last`.
    pub(crate) async fn connect_from(&mut self, last: u8) -> SendRequest<Bytes> {
        let socket = self.dial_from(last).await;
        // The library's own window for the connection is that of one stream: who does not read one would read none.
        let handshake = h2::client::Builder::new()
            .initial_connection_window_size(16 * 1024 * 1024)
            .handshake(socket);
        let (client, connection) = handshake.await.unwrap();
        self.tasks.spawn(async move {
            let _ = connection.await;
        });
        client.ready().await.unwrap()
    }

    /// A connection on which HTTP/2 was agreed and nothing said.
    pub(crate) async fn dial_from(&self, last: u8) -> TlsStream<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).unwrap();
        let plain = socket.connect(self.world.address).await.unwrap();
        let name = "proxy.test".try_into().unwrap();
        let socket = self.connector.connect(name, plain).await.unwrap();
        assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        socket
    }
}

fn basic(parameters: &str) -> String {
    format!("Basic {}", base64(&format!("iploop:{KEY}{parameters}")))
}

/// A tunnel's answer with both of its directions.
async fn tunnel(
    client: &mut SendRequest<Bytes>,
    to: SocketAddr,
    parameters: &str,
) -> (Response<RecvStream>, SendStream<Bytes>) {
    let request = Request::connect(to.to_string())
        .header("proxy-authorization", basic(parameters))
        .body(())
        .unwrap();
    let (answer, send) = client.send_request(request, false).unwrap();
    (answer.await.unwrap(), send)
}

async fn read(body: &mut RecvStream, length: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < length {
        let data = body.data().await.expect("more").unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        read.extend_from_slice(&data);
    }
    read
}

async fn rest(body: &mut RecvStream) -> Vec<u8> {
    let mut read = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        read.extend_from_slice(&data);
    }
    read
}

#[tokio::test]
async fn a_renewed_certificate_serves_new_connections_and_a_broken_one_does_not() {
    let mut origin = Origin::start().await;
    let mut secure = Secure::start(Setup::default(), &[origin.address]).await;
    let mut old = secure.connect().await;
    let gateway = secure.world.gateway.clone();
    assert_eq!(gateway.reload_certificate(), Ok(false));
    let (cert, key) = (
        secure.folder.path().join("cert.pem"),
        secure.folder.path().join("key.pem"),
    );
    std::fs::write(&cert, "broken, and of another length").unwrap();
    assert!(gateway.reload_certificate().unwrap_err()[0].starts_with("gateway.tls_cert"));
    assert_eq!(gateway.reload_certificate(), Ok(false), "it was told once");
    drop(secure.connect().await);

    let renewed = rcgen::generate_simple_self_signed(["renewed.proxy.test".to_owned()]).unwrap();
    std::fs::write(&cert, renewed.cert.pem()).unwrap();
    std::fs::write(&key, renewed.signing_key.serialize_pem()).unwrap();
    assert_eq!(gateway.reload_certificate(), Ok(true));
    let plain = TcpStream::connect(secure.world.address).await.unwrap();
    let refused = secure
        .connector
        .connect("proxy.test".try_into().unwrap(), plain)
        .await;
    assert!(
        refused.is_err(),
        "who trusts the old one alone does not trust the new one"
    );
    let (answer, _send) = tunnel(&mut old, origin.address, "").await;
    assert_eq!(answer.status(), 200, "what was open stays open");
    origin.accept().await;
}

#[tokio::test]
async fn tunnels_share_a_connection_and_end_by_halves() {
    let mut origin = Origin::start().await;
    let mut secure = Secure::start(Setup::default(), &[origin.address]).await;
    let mut client = secure.connect().await;
    let mut tunnels = Vec::new();
    for number in 0..5u8 {
        let (answer, mut send) = tunnel(&mut client, origin.address, "-debug-1").await;
        assert_eq!(answer.status(), 200);
        assert!(answer.headers().contains_key("x-iploop-exit-ip"));
        assert!(answer.headers().contains_key("x-iploop-debug"));
        send.send_data(Bytes::from(vec![number; 4]), false).unwrap();
        let mut at_origin = origin.accept().await;
        assert_eq!(at_origin.read(4).await, [number; 4]);
        tunnels.push((answer.into_body(), send, at_origin));
    }
    for (mut body, mut send, mut at_origin) in tunnels {
        send.send_data(Bytes::from_static(b"the end"), true).unwrap();
        assert_eq!(at_origin.rest().await, "the end");
        at_origin.send(b"and yours").await;
        drop(at_origin);
        assert_eq!(rest(&mut body).await, b"and yours");
    }
    let records = secure.world.books().await;
    assert_eq!(records.len(), 5);
    for record in records {
        assert_eq!((record.bytes_up, record.bytes_down), (11, 9));
        assert_eq!((&*record.proxy_type, record.status), ("connect", Some(200)));
    }
}

#[tokio::test]
async fn errors_are_the_same_as_in_http1() {
    let (to, _origin) = echo_origin().await;
    let mut secure = Secure::start(Setup::default(), &[to]).await;
    let mut client = secure.connect().await;
    for (target, login, status, code) in [
        (to.to_string(), None, 407, "credentials_missing"),
        (
            to.to_string(),
            Some(basic("-contry-US")),
            400,
            "unknown_parameter",
        ),
        (
            "192.168.1.1:443".to_owned(),
            Some(basic("")),
            403,
            "destination_forbidden",
        ),
        ("1.1.1.1:25".to_owned(), Some(basic("")), 403, "port_forbidden"),
        (
            "127.0.0.1:1".to_owned(),
            Some(basic("")),
            403,
            "destination_forbidden",
        ),
    ] {
        let mut request = Request::connect(&target);
        if let Some(login) = login {
            request = request.header("proxy-authorization", login);
        }
        let (answer, _send) = client.send_request(request.body(()).unwrap(), false).unwrap();
        let mut answer = answer.await.unwrap();
        assert_eq!(answer.status(), status, "{target}");
        assert_eq!(answer.headers()["x-iploop-error"], code);
        assert_eq!(answer.headers().contains_key("proxy-authenticate"), status == 407);
        let problem: serde_json::Value = serde_json::from_slice(&rest(answer.body_mut()).await).unwrap();
        assert_eq!(problem["code"], code);
    }
}

#[tokio::test]
async fn plain_requests_are_forwarded_with_content_and_trailers() {
    let mut origin = Origin::start().await;
    let to = origin.address;
    let mut secure = Secure::start(Setup::default(), &[to]).await;
    let mut client = secure.connect().await;

    let request = Request::post(format!("http://{to}/path?query"))
        .header("proxy-authorization", basic(""))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(())
        .unwrap();
    let (answer, mut send) = client.send_request(request, false).unwrap();
    send.send_data(Bytes::from_static(b"content"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    send.send_trailers(trailers).unwrap();
    let mut at_origin = origin.accept().await;
    let head = at_origin.head().await;
    assert!(head.starts_with("POST /path?query HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains("cookie: a=1; b=2\r\n") && !head.to_lowercase().contains("proxy-"),
        "{head}"
    );
    let content = b"7\r\ncontent\r\n0\r\nx-sum: 7\r\n\r\n";
    assert_eq!(at_origin.read(content.len()).await, content);
    at_origin
        .send(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\nX-Origin: yes\r\n\r\n\
              3\r\none\r\n3\r\ntwo\r\n0\r\nx-end: yes\r\n\r\n",
        )
        .await;
    let mut answer = answer.await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["x-origin"], "yes");
    assert!(answer.headers().contains_key("x-iploop-exit-ip"));
    assert_eq!(rest(answer.body_mut()).await, b"onetwo");
    let trailers = answer.body_mut().trailers().await.unwrap().unwrap();
    assert_eq!(trailers["x-end"], "yes");

    for (method, content) in [("GET", "hello"), ("HEAD", "")] {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{to}/"))
            .header("proxy-authorization", basic(""))
            .body(())
            .unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        let mut at_origin = origin.accept().await;
        at_origin.head().await;
        let said = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{content}");
        at_origin.send(said.as_bytes()).await;
        let mut answer = answer.await.unwrap();
        assert_eq!(answer.headers()["content-length"], "5");
        assert_eq!(rest(answer.body_mut()).await, content.as_bytes());
    }
}

#[tokio::test]
async fn a_slow_reader_stalls_only_its_own_stream() {
    let mut origin = Origin::start().await;
    let mut secure = Secure::start(Setup::default(), &[origin.address]).await;
    let mut client = secure.connect().await;
    let (slow, _slow_send) = tunnel(&mut client, origin.address, "").await;
    let mut slow_origin = origin.accept().await;
    let flood = tokio::spawn(async move {
        slow_origin.send(&vec![1; 4_000_000]).await;
        slow_origin
    });
    // The other direction: what an origin does not read fills its own stream's window, and none beside it.
    let (_stuck, mut stuck_send) = tunnel(&mut client, origin.address, "").await;
    let _stuck_origin = origin.accept().await;
    stuck_send
        .send_data(Bytes::from(vec![2; 4_000_000]), false)
        .unwrap();

    let (fast, mut fast_send) = tunnel(&mut client, origin.address, "").await;
    let mut fast = fast.into_body();
    let mut fast_origin = origin.accept().await;
    for _ in 0..10 {
        fast_send.send_data(Bytes::from(vec![3; 10_000]), false).unwrap();
        assert_eq!(fast_origin.read(10_000).await, [3; 10_000]);
        fast_origin.send(&[4; 10_000]).await;
        assert_eq!(read(&mut fast, 10_000).await, [4; 10_000]);
    }
    assert_eq!(read(&mut slow.into_body(), 4_000_000).await.len(), 4_000_000);
    drop(flood.await.unwrap());
}

#[tokio::test]
async fn breaks_pass_through_in_both_directions() {
    let mut origin = Origin::start().await;
    let mut secure = Secure::start(Setup::default(), &[origin.address]).await;
    let mut client = secure.connect().await;
    let (_answer, mut send) = tunnel(&mut client, origin.address, "").await;
    let mut at_origin = origin.accept().await;
    send.send_reset(Reason::CANCEL);
    assert_eq!(at_origin.rest().await, "");

    let (answer, _send) = tunnel(&mut client, origin.address, "").await;
    let mut body = answer.into_body();
    let mut at_origin = origin.accept().await;
    at_origin.send(b"half").await;
    assert_eq!(read(&mut body, 4).await, b"half");
    let exit = secure.world.exits.asked().last().unwrap().exit.unwrap();
    secure.world.exits.cut(exit);
    let error = body.data().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CONNECT_ERROR));
}

#[tokio::test]
async fn a_slow_reader_gets_what_was_booked_before_its_exit_broke() {
    let mut origin = Origin::start().await;
    let secure = Secure::start(Setup::default(), &[origin.address]).await;
    // Little window: most of what the origin sends waits in the gateway.
    let handshake = h2::client::Builder::new()
        .initial_window_size(1_000)
        .handshake(secure.dial_from(1).await);
    let (client, connection) = handshake.await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ = connection.await;
    });
    let mut client = client.ready().await.unwrap();
    let (answer, _send) = tunnel(&mut client, origin.address, "").await;
    let mut body = answer.into_body();
    let mut at_origin = origin.accept().await;
    at_origin.send(&[7; 50_000]).await;
    let mut received = read(&mut body, 1_000).await.len() as u64;
    secure.world.exits.cut(1);
    let error = loop {
        match body.data().await.unwrap() {
            Ok(data) => {
                body.flow_control().release_capacity(data.len()).unwrap();
                received += data.len() as u64;
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(Reason::CONNECT_ERROR));
    assert_eq!(secure.world.books().await[0].bytes_down, received);
}

#[tokio::test]
async fn a_leaving_gateway_lets_streams_finish_and_takes_no_more() {
    let mut origin = Origin::start().await;
    let mut secure = Secure::start(Setup::default(), &[origin.address]).await;
    let mut client = secure.connect().await;
    let (answer, mut send) = tunnel(&mut client, origin.address, "").await;
    let mut at_origin = origin.accept().await;
    let gateway = secure.world.gateway.clone();
    let draining = tokio::spawn(async move { gateway.drain(std::time::Duration::from_secs(30)).await });
    // Until the goodbye has come.
    while client.clone().ready().await.is_ok() {
        tokio::task::yield_now().await;
    }
    send.send_data(Bytes::from_static(b"still here"), true).unwrap();
    assert_eq!(at_origin.rest().await, "still here");
    at_origin.send(b"so are we").await;
    drop(at_origin);
    assert_eq!(rest(&mut answer.into_body()).await, b"so are we");
    draining.await.unwrap();
}

#[tokio::test]
async fn streams_count_against_the_plan_and_the_gateway() {
    let mut origin = Origin::start().await;
    let setup = Setup {
        max_concurrent: 2,
        ..Setup::default()
    };
    let mut secure = Secure::start(setup, &[origin.address]).await;
    let mut client = secure.connect().await;
    let one = tunnel(&mut client, origin.address, "").await;
    let two = tunnel(&mut client, origin.address, "").await;
    let three = tunnel(&mut client, origin.address, "").await;
    assert_eq!(
        (one.0.status(), two.0.status()),
        (200.try_into().unwrap(), 200.try_into().unwrap())
    );
    assert_eq!(three.0.headers()["x-iploop-error"], "too_many_connections");
    let _held: (Customer<_>, Customer<_>) = (origin.accept().await, origin.accept().await);

    let mut setup = Setup::default();
    setup.config.max_connections = 2;
    let mut secure = Secure::start(setup, &[origin.address]).await;
    let mut client = secure.connect().await;
    let one = tunnel(&mut client, origin.address, "").await;
    let two = tunnel(&mut client, origin.address, "").await;
    assert_eq!(one.0.status(), 200);
    assert_eq!(two.0.headers()["x-iploop-error"], "overloaded");
}
