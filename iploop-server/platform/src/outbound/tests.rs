use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method};
use iploop_protocol::policy::TestAllow;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::{Outbound, OutboundClient, OutboundConfig, OutboundError, Reach, Resolve, Target, TargetError};

/// Answers each question with the next of these, the last one for ever.
struct Scripted(Mutex<Vec<Vec<&'static str>>>);

#[async_trait]
impl Resolve for Scripted {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock();
        let answer = if answers.len() > 1 {
            answers.remove(0)
        } else {
            answers[0].clone()
        };
        Ok(answer.iter().map(|text| text.parse().unwrap()).collect())
    }
}

fn client(answers: &[&[&'static str]], allow: &[SocketAddr], config: &OutboundConfig) -> OutboundClient {
    let answers = answers.iter().map(|answer| answer.to_vec()).collect();
    let allow = TestAllow::parse(allow.iter().map(ToString::to_string)).unwrap();
    OutboundClient::with_resolver(config, allow, Box::new(Scripted(Mutex::new(answers)))).unwrap()
}

fn request(url: &str, reach: Reach) -> Outbound {
    Outbound {
        target: Target::parse(url).unwrap(),
        reach,
        method: Method::POST,
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"hello"),
        timeout: Duration::from_secs(5),
        answer_limit: 16,
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = String::new();
    while !text.ends_with("hello") {
        let mut part = [0; 1024];
        let read = stream.read(&mut part).await.unwrap();
        assert!(read > 0, "{text}");
        text.push_str(std::str::from_utf8(&part[..read]).unwrap());
    }
    text
}

/// Reads a request and answers with these bytes; what was read.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> String {
    let text = read_request(&mut stream).await;
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    text
}

async fn plain_server(answer: &'static str) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { serve(listener.accept().await.unwrap().0, answer).await });
    (address, serving)
}

#[tokio::test]
async fn a_name_with_one_private_address_is_not_called_at_all() {
    for private in [
        "10.0.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "::1",
        "fd00::1",
        "::ffff:192.168.1.1",
        "64:ff9b::a00:1",
    ] {
        let client = client(&[&["198.41.0.4", private]], &[], &OutboundConfig::default());
        let sent = client
            .send(request("https://hook.example.com/", Reach::Public))
            .await;
        assert_eq!(sent.unwrap_err(), OutboundError::NotPublic, "{private}");
        let target = Target::parse("https://hook.example.com/").unwrap();
        assert_eq!(
            client.check_resolved(&target).await,
            Err(TargetError::NotPublic),
            "{private}"
        );
    }
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_checked_at_each_call_and_resolved_once_for_it() {
    // Public when it is registered, this machine when it is called.
    let client = client(
        &[&["198.41.0.4"], &["127.0.0.1"]],
        &[],
        &OutboundConfig::default(),
    );
    let target = Target::parse("https://hook.example.com/").unwrap();
    assert_eq!(client.check_resolved(&target).await, Ok(()));
    let sent = client
        .send(request("https://hook.example.com/", Reach::Public))
        .await;
    assert_eq!(sent.unwrap_err(), OutboundError::NotPublic);
}

#[tokio::test]
async fn the_checked_address_is_the_one_that_is_called() {
    let (address, serving) = plain_server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    // A second question would lead to an address that nobody may call.
    let client = client(&[&["127.0.0.1"], &["10.0.0.1"]], &[], &OutboundConfig::default());
    let url = format!("http://hook.example.com:{}/a?b", address.port());
    let answer = client.send(request(&url, Reach::Operator)).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"ok".as_slice()));
    let got = serving.await.unwrap();
    assert!(got.starts_with("POST /a?b HTTP/1.1\r\n"), "{got}");
    assert!(
        got.contains(&format!("host: hook.example.com:{}\r\n", address.port())),
        "{got}"
    );
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_a_long_body_is_cut() {
    for (answer, status, body) in [
        (
            "HTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/\r\ncontent-length: 0\r\n\r\n",
            302,
            "",
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\n0123456789abcdef-and-more",
            200,
            "0123456789abcdef",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab\ncd\r\n0\r\n\r\n",
            200,
            "ab\ncd",
        ),
    ] {
        let (address, serving) = plain_server(answer).await;
        let client = client(&[&[]], &[address], &OutboundConfig::default());
        let got = client
            .send(request(&format!("http://{address}/"), Reach::Public))
            .await
            .unwrap();
        assert_eq!(
            (got.status, String::from_utf8(got.body).unwrap().as_str()),
            (status, body)
        );
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_http_or_has_an_endless_head_is_an_error() {
    let endless = Box::leak(format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(20_000)).into_boxed_str());
    for answer in ["SSH-2.0-x\r\n\r\n", "", endless] {
        let (address, serving) = plain_server(answer).await;
        let client = client(&[&[]], &[address], &OutboundConfig::default());
        let error = client
            .send(request(&format!("http://{address}/"), Reach::Public))
            .await
            .unwrap_err();
        assert!(matches!(error, OutboundError::Http(_)), "{error}");
        serving.abort();
    }
}

#[tokio::test]
async fn tls_is_checked_against_the_usual_roots_and_the_operators_own() {
    let made = rcgen::generate_simple_self_signed(["hook.example.com".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                return serve(stream, "HTTP/1.1 204 No Content\r\n\r\n").await;
            }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, made.cert.pem()).unwrap();
    let ours = OutboundConfig { ca: Some(ca) };
    let url = |host: &str| format!("https://{host}:{}/", address.port());
    let send = async |config: &OutboundConfig, host: &str| {
        let client = client(&[&["127.0.0.1"]], &[address], config);
        client.send(request(&url(host), Reach::Public)).await
    };
    let unknown = send(&OutboundConfig::default(), "hook.example.com")
        .await
        .unwrap_err();
    assert!(matches!(unknown, OutboundError::Tls(_)), "{unknown}");
    let other = send(&ours, "other.example.com").await.unwrap_err();
    assert!(matches!(other, OutboundError::Tls(_)), "{other}");
    assert_eq!(send(&ours, "hook.example.com").await.unwrap().status, 204);
    serving.await.unwrap();
}

#[test]
fn a_file_of_certificates_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "no PEM").unwrap();
    for path in [text, folder.path().join("nowhere")] {
        let mistakes = OutboundConfig { ca: Some(path) }.file_mistakes();
        assert!(
            mistakes.len() == 1 && mistakes[0].starts_with("outbound.ca: "),
            "{mistakes:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_costs_no_more_than_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = client(&[&[]], &[address], &OutboundConfig::default());
    let error = client
        .send(request(&format!("http://{address}/"), Reach::Public))
        .await
        .unwrap_err();
    assert_eq!(error, OutboundError::Timeout(Duration::from_secs(5)));
}

#[tokio::test]
async fn content_is_handed_over_as_it_comes_up_to_its_limit_and_within_the_requests_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = client(&[&[]], &[address], &OutboundConfig::default());
    let begin = async || {
        let request = request(&format!("http://{address}/"), Reach::Public);
        let (answer, server) = tokio::join!(client.stream(request), async {
            let mut server = listener.accept().await.unwrap().0;
            read_request(&mut server).await;
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n01234567";
            server.write_all(head).await.unwrap();
            server
        });
        let mut answer = answer.unwrap();
        assert_eq!(answer.next().await.unwrap().unwrap(), "01234567");
        (answer, server)
    };
    let (mut answer, mut server) = begin().await;
    server.write_all(b"89abcdef-and-more").await.unwrap();
    assert_eq!(answer.next().await.unwrap().unwrap(), "89abcdef");
    assert_eq!(answer.next().await, Ok(None));

    let (mut answer, _server) = begin().await;
    tokio::time::pause();
    let late = answer.next().await.unwrap_err();
    assert_eq!(late, OutboundError::Timeout(Duration::from_secs(5)));
}
