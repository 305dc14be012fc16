//! Memory of the hub for each idle device, registered and listed, in clear and with TLS.
//!
//! `cargo bench -p iploop-hub --bench idle [-- DEVICES]`: the devices live in a process of their own, which this one starts, so
//! that only the hub's side is measured.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use iploop_hub::geo::{GeoConfig, Override};
use iploop_hub::{Hub, HubConfig, HubDeps};
use iploop_platform::api_key::ApiKeyHash;
use iploop_platform::clock::{Clock, SystemClock, Timestamp};
use iploop_platform::ids::{ConsentId, NodeId, PartnerId};
use iploop_platform::node::{NodeActivity, NodeRegistration, Registered};
use iploop_platform::owners::PairingCodes;
use iploop_platform::partner::{NewPartner, Partner};
use iploop_platform::store::{Nodes, Partners, StoreError};
use iploop_protocol::control::{ConsentStatement, DeviceFacts, Hello, ToHub, VERSION};
use iploop_protocol::io::{self, Role, SUBPROTOCOL, WebSocket};
use iploop_protocol::tunnel::{Config, Side};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

const DEVICES: usize = 5_000;

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["devices", hub, count, cert @ ..] => {
            runtime.block_on(devices(hub.parse()?, count.parse()?, cert.first().copied()))
        }
        ["hub", kind, count] => runtime.block_on(measure(count.parse()?, *kind == "tls")),
        words => {
            let count = words.first().map_or(Ok(DEVICES), |count| count.parse())?;
            // Each in a fresh process: what one leaves behind would be the other's for free.
            for kind in ["clear", "tls"] {
                let own = std::env::current_exe()?;
                let status = Command::new(own)
                    .args(["hub", kind, &count.to_string()])
                    .status()?;
                anyhow::ensure!(status.success(), "measuring failed: {status}");
            }
            Ok(())
        }
    }
}

/// Starts a hub, has `count` devices connect, and prints what each costs.
async fn measure(count: usize, tls: bool) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["hub.test".to_owned()])?;
    std::fs::write(&cert, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let config = HubConfig {
        listen: "127.0.0.1:0".parse()?,
        tls_cert: tls.then(|| cert.clone()),
        tls_key: tls.then_some(key),
        ..HubConfig::default()
    };
    let place = Override {
        cidr: "127.0.0.0/8".parse()?,
        country: Some("US".into()),
        region: Some("New York".into()),
        city: Some("New York".into()),
        zip: Some("10001".into()),
        asn: Some(64500),
        isp: Some("Test Net".into()),
    };
    let geo = GeoConfig {
        overrides: vec![place],
        ..GeoConfig::default()
    };
    let store = Arc::new(Everyone);
    let deps = HubDeps {
        nodes: store.clone(),
        partners: store.clone(),
        pairing: store,
        clock: Arc::new(SystemClock),
        policy: None,
        platform_addresses: vec![],
        test_allow: false,
        review_apps: false,
        watch: iploop_platform::abuse::AbuseWatch::unattended(Arc::new(SystemClock)),
        new_customer_percent: 50,
    };
    let hub = Hub::bind(config, &geo, deps).await?;
    let runner = hub.clone();
    tokio::spawn(async move { runner.run().await });

    // A first, smaller crowd, so that what is allocated once is not put on the devices' account.
    let cert = tls.then_some(cert);
    let mut warm = start_devices(hub.local_addr(), count / 10, cert.as_deref())?;
    let before = settled_bytes().await;
    let mut crowd = start_devices(hub.local_addr(), count, cert.as_deref())?;
    let after = settled_bytes().await;
    let connected = hub.node_count();
    anyhow::ensure!(connected == count + count / 10, "{connected} devices are there");
    let name = if tls { "with TLS" } else { "in clear" };
    let each = (after.saturating_sub(before)) / count;
    eprintln!(
        "idle device {name}: {:.1} KiB at the hub ({count} devices)",
        f64::from(u32::try_from(each)?) / 1024.0
    );
    for child in [&mut warm, &mut crowd] {
        child.kill()?;
        child.wait()?;
    }
    hub.drain(Duration::ZERO).await;
    Ok(())
}

fn start_devices(hub: SocketAddr, count: usize, cert: Option<&std::path::Path>) -> anyhow::Result<Child> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["devices", &hub.to_string(), &count.to_string()])
        .args(cert)
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    anyhow::ensure!(line.trim() == "connected", "the devices said {line:?}");
    Ok(child)
}

/// Resident memory once it no longer changes.
async fn settled_bytes() -> usize {
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: usize = pages
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse().ok())
            .unwrap_or(0);
        if pages == last {
            return pages * 4096;
        }
        last = pages;
    }
}

/// The other process: connects devices and keeps them until it is killed.
async fn devices(hub: SocketAddr, count: usize, cert: Option<&str>) -> anyhow::Result<()> {
    let connector = cert.map(trusting).transpose()?;
    let mut tunnels = Vec::with_capacity(count);
    for n in 0..count {
        let socket = TcpSocket::new_v4()?;
        // A process has some 28,000 ports to an address of its own.
        let own = [127, 0, 1 + u8::try_from(n % 200)?, u8::from(cert.is_some())];
        socket.bind(SocketAddr::from((own, 0)))?;
        let tcp = socket.connect(hub).await?;
        tunnels.push(match &connector {
            None => device(tcp, n).await?,
            Some(connector) => {
                let name = ServerName::try_from("hub.test")?;
                device(connector.connect(name, tcp).await?, n).await?
            }
        });
    }
    writeln!(std::io::stdout(), "connected")?;
    std::future::pending::<()>().await;
    drop(tunnels);
    Ok(())
}

fn trusting(cert: &str) -> anyhow::Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(client)))
}

async fn device<S>(stream: S, n: usize) -> anyhow::Result<(io::Tunnel, io::Events)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut request = "ws://hub.test/ws".into_client_request()?;
    request
        .headers_mut()
        .insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
    let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
    let socket = WebSocket::new(socket.into_inner(), Role::Client, &[]);
    let (tunnel, mut events, driver) = io::connect(socket, Config::new(Side::Node));
    tokio::spawn(driver);
    tunnel.send_control(ToHub::Hello(Box::new(hello(n))).encode())?;
    events.next().await.context("no welcome")?;
    Ok((tunnel, events))
}

fn hello(n: usize) -> Hello {
    let unique = u64::from(std::process::id()) << 32 | u64::try_from(n).unwrap_or_default();
    Hello {
        versions: vec![VERSION],
        agent: "bench/1".into(),
        partner_key: format!("iplp_{}", "0a".repeat(24)),
        device: DeviceFacts {
            id: format!("device-{unique:020}"),
            secret: format!("{unique:040}"),
            os: "android".into(),
            net: Some("wifi".into()),
            sdk_version: "1.0.0".into(),
            app_id: "com.example.bench".into(),
            app_version: "1".into(),
        },
        consent: ConsentStatement {
            id: uuid::Uuid::now_v7().to_string(),
            text_version: iploop_hub::DEFAULT_TERMS.into(),
            text_hash: "ab".repeat(32),
            language: "en".into(),
            given_at: SystemClock.now().to_string(),
            act: "button".into(),
            networks: vec!["wifi".into()],
            minimum_age: true,
        },
        capabilities: vec![],
        max_streams: 256,
        test_allow: vec![],
        status: Default::default(),
    }
}

/// A store that takes everyone and keeps nothing.
struct Everyone;

#[async_trait]
impl Nodes for Everyone {
    async fn register_node(&self, registration: NodeRegistration) -> Result<Registered, StoreError> {
        Ok(Registered::Accepted(registration.id))
    }

    async fn withdraw_consent(&self, _: &str, _: ConsentId, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn note_activity(&self, _: &[NodeActivity]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn node_count(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
}

#[async_trait]
impl Partners for Everyone {
    async fn create_partner(&self, _: NewPartner) -> Result<Partner, StoreError> {
        Err(StoreError::Conflict { what: "partner" })
    }

    async fn partner_by_key(&self, _: ApiKeyHash, _: Timestamp) -> Result<Option<Partner>, StoreError> {
        Ok(Some(Partner {
            id: PartnerId::new(),
            name: "bench".into(),
            email: None,
            api_key_prefix: "iplp_0a0a0a0a0".into(),
            is_active: true,
            revenue_share_bp: 7000,
            created_at: SystemClock.now(),
        }))
    }
}

#[async_trait]
impl PairingCodes for Everyone {
    async fn set_pairing_code(&self, _: &str, _: &str, _: &str, _: Timestamp) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn set_code_of(&self, _: NodeId, _: &str, _: Timestamp) -> Result<bool, StoreError> {
        Ok(false)
    }
}
