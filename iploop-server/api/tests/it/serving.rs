//! Connections on a real loopback socket: bounded in time, ended gently.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use iploop_api::{ServeLimits, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::harness::Api;

/// The longest that a silent or slow connection may live (the promise on every port).
const BOUND: Duration = Duration::from_secs(15);

async fn start(router: Router, limits: ServeLimits) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, router, limits, shutdown.clone()));
    (address, shutdown, serving)
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_request_is_answered_and_the_connection_kept() {
    let router = Router::new().route(
        "/",
        get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string()),
    );
    let (address, shutdown, serving) = start(router, ServeLimits::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        while !answer.ends_with("127.0.0.1") {
            answer.push(char::from(stream.read_u8().await.unwrap()));
        }
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    shutdown.cancel();
    assert_eq!(
        read_to_end(&mut stream).await,
        "",
        "an idle connection is closed at the end"
    );
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn silent_and_half_sent_heads_are_closed_in_time() {
    let (address, _shutdown, _serving) = start(Router::new(), ServeLimits::default()).await;
    for head in ["", "GET", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let begin = Instant::now();
        read_to_end(&mut stream).await;
        assert!(begin.elapsed() <= BOUND, "{head:?}: {:?}", begin.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_kept_connection_is_closed_in_time() {
    let (address, _shutdown, _serving) = start(Router::new(), ServeLimits::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let begin = Instant::now();
    assert!(read_to_end(&mut stream).await.starts_with("HTTP/1.1 404"));
    assert!(begin.elapsed() <= BOUND, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_half_sent_body_is_answered_and_closed_in_time() {
    let api = Api::in_memory().await;
    // Not before the database is open: its own waits would run out in paused time.
    tokio::time::pause();
    let (address, _shutdown, _serving) = start(api.router.clone(), ServeLimits::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let begin = Instant::now();
    let head = "POST /api/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("body_timeout"),
        "{answer}"
    );
    assert!(begin.elapsed() <= BOUND, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn what_is_no_http_gets_400_and_the_end() {
    let (address, _shutdown, _serving) = start(Router::new(), ServeLimits::default()).await;
    for bytes in [
        "\x16\x03\x01\0\0\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\0 HTTP/1.1\r\n\r\n",
        "G T / HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{bytes:?}: {answer:?}");
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(64 * 1024));
    let _ = stream.write_all(long.as_bytes()).await;
    let answer = read_to_end(&mut stream).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_request_that_does_not_name_its_host_once_and_well_gets_400() {
    let api = Api::new().await;
    let (address, _shutdown, _serving) = start(api.router.clone(), ServeLimits::default()).await;
    let ask = async |head: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /healthz {head}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    };
    for head in [
        "HTTP/1.1\r\n",
        "HTTP/1.1\r\nhost:\r\n",
        "HTTP/1.1\r\nhost: a b\r\n",
        "HTTP/1.1\r\nhost: a\r\nHost: a\r\n",
        "HTTP/1.0\r\nhost: a\r\nhost: b\r\n",
    ] {
        let answer = ask(head).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.0 400"),
            "{head:?}: {answer}"
        );
        assert!(answer.contains("invalid_host"), "{head:?}: {answer}");
    }
    for head in ["HTTP/1.1\r\nhost: [::1]:3000\r\n", "HTTP/1.0\r\n"] {
        let answer = ask(head).await;
        assert!(answer.contains(" 200 OK\r\n"), "{head:?}: {answer}");
    }
}

#[tokio::test]
async fn at_the_end_requests_under_way_finish_and_new_ones_are_refused() {
    let (began, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (began, go_on) = (began.clone(), go_on.clone());
        async move || {
            began.notify_one();
            go_on.notified().await;
            "done"
        }
    };
    let (address, shutdown, serving) =
        start(Router::new().route("/", post(handler)), ServeLimits::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    began.notified().await;
    shutdown.cancel();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    go_on.notify_one();
    let answer = read_to_end(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"),
        "{answer}"
    );
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_ends_is_cut_at_the_drain_limit() {
    let began = Arc::new(Notify::new());
    let handler = {
        let began = began.clone();
        async move || {
            began.notify_one();
            std::future::pending::<()>().await;
        }
    };
    let limits = ServeLimits {
        drain: Duration::from_secs(5),
        ..ServeLimits::default()
    };
    let (address, shutdown, serving) = start(Router::new().route("/", get(handler)), limits).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    began.notified().await;
    let begin = Instant::now();
    shutdown.cancel();
    serving.await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 5);
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_for_a_place() {
    let router = Router::new().route("/", get(async || "here"));
    let limits = ServeLimits {
        max_connections: 1,
        ..ServeLimits::default()
    };
    let (address, _shutdown, _serving) = start(router, limits).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    first
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(first.read_u8().await.unwrap(), b'H');
    let mut second = TcpStream::connect(address).await.unwrap();
    second
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    drop(first);
    assert!(read_to_end(&mut second).await.ends_with("here"));
}
