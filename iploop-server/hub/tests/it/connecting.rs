//! The door: HTTP, TLS, time limits and addresses.

use std::sync::Arc;
use std::time::Duration;

use iploop_hub::HubConfig;
use iploop_protocol::codes::CloseCode;
use iploop_protocol::control::ToHub;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{PATIENCE, TestHub, TestNode, hello};

/// Everything that the hub answers until it closes.
async fn exchange(hub: &TestHub, request: &str) -> String {
    let mut stream = TcpStream::connect(hub.addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    // A reset after the answer is an end as well.
    let _ = tokio::time::timeout(PATIENCE, read)
        .await
        .expect("the hub closes");
    answer
}

fn opening(change: impl FnOnce(&mut Vec<&'static str>)) -> String {
    let mut lines = vec![
        "GET /ws HTTP/1.1",
        "Host: hub.test",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: iploop.v2",
    ];
    change(&mut lines);
    lines.join("\r\n") + "\r\n\r\n"
}

#[tokio::test]
async fn whoever_is_no_device_gets_a_proper_answer() {
    let hub = TestHub::start().await;
    for (request, status) in [
        (opening(|lines| lines[0] = "GET / HTTP/1.1"), "404"),
        (opening(|lines| lines[0] = "POST /ws HTTP/1.1"), "405"),
        (opening(|lines| lines[2] = "X-Upgrade: websocket"), "426"),
        (opening(|lines| lines[4] = "Sec-WebSocket-Version: 7"), "400"),
        (opening(|lines| lines[6] = "Sec-WebSocket-Protocol: other"), "400"),
        ("\u{16}\u{3}\u{1} nonsense\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = exchange(&hub, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{status} expected: {answer}"
        );
    }
}

#[tokio::test]
async fn the_opening_is_answered_as_in_rfc_6455() {
    let hub = TestHub::start().await;
    let mut stream = TcpStream::connect(hub.addr()).await.unwrap();
    stream.write_all(opening(|_| {}).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    assert!(
        answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{answer}"
    );
    assert!(answer.contains("sec-websocket-protocol: iploop.v2"), "{answer}");
}

#[tokio::test]
async fn an_endless_head_is_cut_off() {
    let hub = TestHub::start().await;
    let mut stream = TcpStream::connect(hub.addr()).await.unwrap();
    let flood = async {
        stream.write_all(b"GET /ws HTTP/1.1\r\n").await?;
        loop {
            stream
                .write_all(
                    b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
                )
                .await?;
        }
    };
    let ended: std::io::Result<()> = tokio::time::timeout(PATIENCE, flood)
        .await
        .expect("the hub hangs up");
    assert!(ended.is_err());
}

#[tokio::test]
async fn slow_and_silent_connections_are_closed() {
    let config = HubConfig {
        handshake_timeout: Duration::from_secs(1),
        ..HubConfig::default()
    };
    let hub = TestHub::with(config, |_| {}).await;
    // Silent, a head that never ends, and a WebSocket without a hello.
    exchange(&hub, "").await;
    exchange(&hub, "GET /ws HTTP/1.1\r\nHost:").await;
    let node = TestNode::connect(hub.addr(), "127.0.0.1").await;
    assert_eq!(node.closed().await.code, CloseCode::HandshakeTimeout);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let hub = TestHub::with(
        HubConfig {
            max_connections: 1,
            ..HubConfig::default()
        },
        |_| {},
    )
    .await;
    let node = hub.node(1).await;
    assert_eq!(exchange(&hub, "").await, "");
    drop(node);
}

#[tokio::test]
async fn a_trusted_proxy_tells_the_device_s_address() {
    let config = HubConfig {
        trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
        ..HubConfig::default()
    };
    let hub = TestHub::with(config, |_| {}).await;
    for (peer, expected) in [("127.0.0.1", "127.0.2.9"), ("127.0.0.5", "127.0.0.5")] {
        let stream = TestNode::socket(hub.addr(), peer).await;
        let mut node = TestNode::over(stream, &[("x-forwarded-for", "203.0.113.1, 127.0.2.9")]).await;
        node.say(ToHub::Hello(Box::new(hello(1))));
        assert_eq!(node.welcomed().await.public_ip.unwrap().to_string(), expected);
    }
}

#[tokio::test]
async fn tls_by_itself_serves_devices_and_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["hub.test".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let config = HubConfig {
        tls_cert: Some(cert),
        tls_key: Some(key),
        ..HubConfig::default()
    };
    let hub = TestHub::with(config, |_| {}).await;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(client));
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let tcp = TestNode::socket(hub.addr(), "127.0.0.1").await;
        let name = ServerName::try_from("hub.test").unwrap();
        let tls = connector.connect(name, tcp).await.unwrap();
        kinds.push(tls.get_ref().1.handshake_kind().unwrap());
        let mut node = TestNode::over(tls, &[]).await;
        node.say(ToHub::Hello(Box::new(hello(1))));
        node.welcomed().await;
    }
    assert_eq!(
        kinds,
        [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]
    );
    // Whoever speaks no TLS is not kept.
    assert!(
        !exchange(&hub, "GET /ws HTTP/1.1\r\n\r\n")
            .await
            .contains("HTTP/1.1")
    );
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_with_its_key() {
    for (config, key) in [
        (
            HubConfig {
                tls_cert: Some("a".into()),
                ..HubConfig::default()
            },
            "hub.tls_key",
        ),
        (
            HubConfig {
                tls_cert: Some("/nowhere/cert.pem".into()),
                tls_key: Some("/nowhere/key.pem".into()),
                ..HubConfig::default()
            },
            "hub.tls_cert: /nowhere/cert.pem",
        ),
        (
            HubConfig {
                listen: "192.0.2.1:1".parse().unwrap(),
                ..HubConfig::default()
            },
            "hub.listen",
        ),
    ] {
        let store = Arc::new(crate::support::TestStore::default());
        let deps = iploop_hub::HubDeps {
            nodes: store.clone(),
            partners: store.clone(),
            pairing: store,
            clock: Arc::new(crate::support::FixedClock),
            policy: None,
            platform_addresses: vec![],
            test_allow: false,
            review_apps: false,
            watch: iploop_platform::abuse::AbuseWatch::unattended(Arc::new(crate::support::FixedClock)),
            new_customer_percent: 50,
        };
        let error = iploop_hub::Hub::bind(config, &Default::default(), deps)
            .await
            .err()
            .unwrap();
        assert!(error.to_string().starts_with(key), "{error}");
    }
}
