//! A certificate from a real ACME directory on loopback: `pebble` (a Go module of Let's Encrypt's), which proves each name by
//! TLS on the gateway's own port.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use iploop_gateway::AcmeConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::world::{Customer, Setup, World, echo_origin, get, status};

const NAME: &str = "proxy.iploop.test";

/// Answers every question for an IPv4 address with this machine's, and every other with nothing; by TCP, as pebble asks.
async fn answer_names(listener: TcpListener) {
    loop {
        let (mut socket, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            while let Ok(length) = socket.read_u16().await {
                let mut question = vec![0; length.into()];
                socket.read_exact(&mut question).await.unwrap();
                // The name ends with an empty label; its type and class follow.
                let labels = question[12..].iter().position(|&byte| byte == 0).unwrap();
                let end = 12 + labels + 5;
                let is_ipv4 = question[end - 4..end - 2] == [0, 1];
                let mut answer = question[..end].to_vec();
                answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
                if is_ipv4 {
                    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
                }
                let length = u16::try_from(answer.len()).unwrap();
                socket
                    .write_all(&[&length.to_be_bytes()[..], &answer].concat())
                    .await
                    .unwrap();
            }
        });
    }
}

/// A port to be named in advance. While the socket lives nobody is given it by chance; who reuses addresses, as servers do, may
/// listen there.
fn held_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

struct Directory {
    url: String,
    ca: std::path::PathBuf,
    management: SocketAddr,
    _held: TcpSocket,
    _pebble: Child,
}

impl Directory {
    /// Proves names at this port.
    async fn start(folder: &Path, listen: SocketAddr, names: SocketAddr, tls_port: u16) -> Self {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (ca, key) = (folder.join("pebble.pem"), folder.join("pebble.key"));
        std::fs::write(&ca, certified.cert.pem()).unwrap();
        std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
        let (held, management) = held_port();
        let config = serde_json::json!({"pebble": {
            "listenAddress": listen.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": ca, "privateKey": key, "httpPort": 1, "tlsPort": tls_port,
            "profiles": {"default": {"description": "for this test", "validityPeriod": 86_400}},
        }});
        let file = folder.join("pebble.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut pebble = Command::new(std::env::var_os("PEBBLE").unwrap_or("pebble".into()))
            .args(["-strict", "-dnsserver", &names.to_string(), "-config"])
            .arg(&file)
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "0")
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("pebble on PATH or named by PEBBLE");
        // It says so when it listens.
        let mut said = Vec::new();
        let stdout = pebble.stdout.as_mut().unwrap();
        while !String::from_utf8_lossy(&said).contains("Listening on: ") {
            assert_ne!(stdout.read_buf(&mut said).await.unwrap(), 0);
        }
        Self {
            url: format!("https://localhost:{}/dir", listen.port()),
            ca,
            management,
            _held: held,
            _pebble: pebble,
        }
    }

    /// What its certificates are trusted by.
    async fn root(&self) -> CertificateDer<'static> {
        let mut socket = connect(trusting(&self.ca), "localhost", self.management).await;
        let request = b"GET /roots/0 HTTP/1.0\r\nHost: localhost\r\n\r\n";
        socket.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // It hangs up without a goodbye.
        let _ = socket.read_to_end(&mut answer).await;
        CertificateDer::from_pem_slice(&answer).unwrap()
    }
}

fn trusting(pem: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(pem).unwrap()
}

async fn connect(
    root: CertificateDer<'static>,
    name: &'static str,
    to: SocketAddr,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let plain = TcpStream::connect(to).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name.try_into().unwrap(), plain)
        .await
        .unwrap()
}

/// A directory that refuses would be asked again and again.
async fn certified(world: &World) {
    let patience = std::time::Duration::from_secs(30);
    tokio::time::timeout(patience, world.gateway.certified())
        .await
        .expect("the directory gives a certificate");
}

#[tokio::test]
#[ignore = "needs pebble: go install github.com/letsencrypt/pebble/v2/cmd/pebble@latest"]
async fn a_certificate_is_asked_for_proven_on_the_proxy_port_used_and_kept() {
    let (to, _origin) = echo_origin().await;
    let folder = tempfile::tempdir().unwrap();
    let names = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let names_at = names.local_addr().unwrap();
    let answering = tokio::spawn(answer_names(names));
    let (_held, listen) = held_port();
    let acme = AcmeConfig {
        domains: vec![NAME.to_owned()],
        contact: vec!["mailto:ops@iploop.test".to_owned()],
        directory: format!("https://localhost:{}/dir", listen.port()),
        directory_ca: Some(folder.path().join("pebble.pem")),
        cache: Some(folder.path().join("acme")),
    };
    let (_held_too, port) = held_port();
    let mut setup = Setup::default();
    setup.config.listen = vec![port];
    let directory = Directory::start(folder.path(), listen, names_at, port.port()).await;
    assert_eq!(directory.url, acme.directory);
    setup.config.acme = acme;
    let config = setup.config.clone();
    let world = World::start_with(setup, &[to]).await;
    certified(&world).await;
    let root = directory.root().await;
    let mut customer = Customer::new(connect(root.clone(), NAME, world.address).await);
    customer.send(&get(to, "")).await;
    let answer = customer.rest().await;
    assert_eq!(status(&answer), 200, "{answer}");
    // Without its directory the next gateway goes on with what was kept.
    drop(directory);
    let kept = folder.path().join("acme");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(kept).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    let world = world.restart(config, &[to]).await;
    certified(&world).await;
    connect(root, NAME, world.address).await;
    answering.abort();
}
