//! Simulated devices: registered at the hub, sharing, and idle.
//!
//! Each is a real tunnel of the protocol crate on a connection of its own, from an address of its own in 127.0.0.0/8.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use iploop_protocol::control::{self, ConsentStatement, DeviceFacts, Hello, SharingStatus, ToHub, ToNode};
use iploop_protocol::io::{self, Closed, Event, Events, Role, SUBPROTOCOL, Tunnel, WebSocket};
use iploop_protocol::tunnel::{Config, Side};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet, spawn_local};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use uuid::Uuid;

use super::{Console, Faults};
use crate::order::{Figures, HubAccess, Mark};

/// Devices that connect at the same time.
const AT_ONCE: usize = 16;
/// From connect to welcome.
const WELCOME_LIMIT: Duration = Duration::from_secs(15);
/// Device addresses are 127.1.0.1 and up: any that are not the server's own.
const FIRST_ADDRESS: u32 = 0x7F01_0001;

pub(super) async fn idle(
    hub: &HubAccess,
    count: usize,
    settle_seconds: f64,
    console: &mut Console,
    faults: &mut Faults,
) -> anyhow::Result<Figures> {
    let network = Network::of(hub)?;
    // What the first devices make the hub allocate once is no device's share.
    let first = network.connect_all(0, AT_ONCE, faults).await?;
    console.mark(Mark::Begin).await?;
    let devices = network.connect_all(AT_ONCE, count, faults).await?;
    sleep(Duration::from_secs_f64(settle_seconds)).await;
    console.mark(Mark::Held).await?;
    drop(first);
    Ok(Figures {
        connections: devices.len() as u64,
        ..Figures::default()
    })
}

/// A connection to the hub, by TLS or in clear.
type Wire = Box<dyn Both>;

trait Both: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Both for S {}

/// A connected device; dropping it ends its connection.
pub(super) struct Device {
    _tunnel: Tunnel,
    pub(super) events: Events,
    halted: Rc<Notify>,
    driver: AbortHandle,
}

impl Device {
    /// Lets nothing come or go from now on, as a device that has lost its network.
    pub(super) fn halt(&self) {
        self.halted.notify_one();
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What all devices have in common.
#[derive(Clone)]
pub(super) struct Network {
    hub: HubAccess,
    tls: Option<TlsConnector>,
    given_at: String,
}

impl Network {
    pub(super) fn of(hub: &HubAccess) -> anyhow::Result<Self> {
        let tls = hub
            .ca
            .as_ref()
            .map(|file| trust(CertificateDer::from_pem_file(file)?))
            .transpose()?;
        Ok(Self {
            hub: hub.clone(),
            tls,
            given_at: now()?,
        })
    }

    /// Devices number `from` up to `from + count`; those that fail are faults.
    pub(super) async fn connect_all(
        &self,
        from: usize,
        count: usize,
        faults: &mut Faults,
    ) -> anyhow::Result<Vec<Device>> {
        let mut devices = Vec::with_capacity(count);
        let mut connecting = JoinSet::new();
        let mut numbers = from..from + count;
        loop {
            while connecting.len() < AT_ONCE
                && let Some(number) = numbers.next()
            {
                let network = self.clone();
                connecting.spawn_local(async move {
                    timeout(WELCOME_LIMIT, network.connect(number))
                        .await
                        .context("no welcome in time")?
                });
            }
            let Some(connected) = connecting.join_next().await else {
                break;
            };
            match connected? {
                Ok(device) => devices.push(device),
                Err(error) => faults.add(&error),
            }
        }
        anyhow::ensure!(!devices.is_empty(), "no device was welcomed");
        Ok(devices)
    }

    async fn connect(&self, number: usize) -> anyhow::Result<Device> {
        let (tunnel, mut events, driver) = self.tunnel(number).await?;
        let halted = Rc::new(Notify::new());
        let driver = spawn_local(until_halted(driver, Rc::clone(&halted))).abort_handle();
        tunnel.send_control(ToHub::Hello(Box::new(self.hello(number))).encode())?;
        while let Some(event) = events.next().await {
            if let Event::Control(message) = event
                && let Some(ToNode::Welcome(_)) = ToNode::decode(&message)?
            {
                return Ok(Device {
                    _tunnel: tunnel,
                    events,
                    halted,
                    driver,
                });
            }
        }
        anyhow::bail!("the hub closed the tunnel instead of a welcome")
    }

    /// One connection of the device that says this hello, from its first packet to the end of its tunnel, without use.
    pub(super) async fn live(&self, number: usize, hello: &Hello) -> anyhow::Result<Closed> {
        let (tunnel, mut events, driver) = timeout(WELCOME_LIMIT, self.tunnel(number))
            .await
            .context("no tunnel in time")??;
        tunnel.send_control(ToHub::Hello(Box::new(hello.clone())).encode())?;
        let heard = async { while events.next().await.is_some() {} };
        Ok(tokio::join!(driver, heard).0)
    }

    /// A tunnel of device number `number`, in which nothing was said.
    async fn tunnel(&self, number: usize) -> anyhow::Result<(Tunnel, Events, io::Driver<WebSocket<Wire>>)> {
        let socket = TcpSocket::new_v4()?;
        let address = Ipv4Addr::from_bits(FIRST_ADDRESS + u32::try_from(number)?);
        socket.bind(SocketAddr::from((address, 0)))?;
        let stream = socket.connect(self.hub.address).await?;
        stream.set_nodelay(true)?;
        let wire: Wire = match &self.tls {
            Some(tls) => {
                let name = ServerName::from(self.hub.address.ip());
                Box::new(tls.connect(name, stream).await?)
            }
            None => Box::new(stream),
        };
        let mut request = format!("ws://{}/ws", self.hub.address).into_client_request()?;
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", HeaderValue::from_static(SUBPROTOCOL));
        let (socket, _) = tokio_tungstenite::client_async(request, wire).await?;
        let socket = WebSocket::new(socket.into_inner(), Role::Client, &[]);
        Ok(io::connect(socket, Config::new(Side::Node)))
    }

    pub(super) fn hello(&self, number: usize) -> Hello {
        let id = Uuid::now_v7().simple().to_string();
        Hello {
            versions: vec![control::VERSION],
            agent: format!("iploop-bench/{}", env!("CARGO_PKG_VERSION")),
            partner_key: self.hub.partner_key.clone(),
            device: DeviceFacts {
                secret: format!("{id}{number:032}"),
                id,
                os: "linux".to_owned(),
                net: Some("ethernet".to_owned()),
                sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
                app_id: "com.iploop.bench".to_owned(),
                app_version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            consent: ConsentStatement {
                id: Uuid::now_v7().to_string(),
                text_version: self.hub.terms_version.clone(),
                text_hash: self.hub.terms_hash.clone(),
                language: "en".to_owned(),
                given_at: self.given_at.clone(),
                act: "command-line".to_owned(),
                networks: vec!["ethernet".to_owned()],
                minimum_age: true,
            },
            capabilities: Vec::new(),
            max_streams: 64,
            test_allow: Vec::new(),
            status: SharingStatus::default(),
        }
    }
}

/// Drives a tunnel; once it is halted, its connection stands and is neither read nor written.
async fn until_halted(driver: impl Future, halted: Rc<Notify>) {
    let mut driver = pin!(driver);
    tokio::select! {
        _ = &mut driver => {}
        () = halted.notified() => std::future::pending().await,
    }
}

fn trust(certificate: CertificateDer<'static>) -> anyhow::Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the simulated owners act now, in the world's time"
)]
fn now() -> anyhow::Result<String> {
    Ok(OffsetDateTime::from(SystemTime::now()).format(&Rfc3339)?)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use rustls::pki_types::PrivateKeyDer;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::LocalSet;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::hub;

    /// Addresses and ids of the devices that said hello.
    type Seen = Rc<RefCell<BTreeSet<(std::net::IpAddr, String)>>>;

    /// A hub that welcomes everyone.
    async fn welcome<S>(stream: S, address: std::net::IpAddr, seen: Seen)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let socket = hub::accept(stream).await.unwrap();
        let (tunnel, mut events, driver) = io::connect(socket, Config::new(Side::Hub));
        spawn_local(driver);
        while let Some(event) = events.next().await {
            let Event::Control(message) = event else { continue };
            let Some(ToHub::Hello(hello)) = ToHub::decode(&message).unwrap() else {
                continue;
            };
            seen.borrow_mut().insert((address, hello.device.id.clone()));
            tunnel
                .send_control(hub::welcome(hello.device.id).encode())
                .unwrap();
            tunnel.establish(hello.max_streams);
        }
    }

    async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, seen: Seen) {
        loop {
            let (stream, address): (TcpStream, SocketAddr) = listener.accept().await.unwrap();
            let (tls, seen) = (tls.clone(), Rc::clone(&seen));
            spawn_local(async move {
                match tls {
                    Some(tls) => welcome(tls.accept(stream).await.unwrap(), address.ip(), seen).await,
                    None => welcome(stream, address.ip(), seen).await,
                }
            });
        }
    }

    async fn register_twenty(ca: Option<std::path::PathBuf>, tls: Option<TlsAcceptor>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let access = HubAccess {
            address: listener.local_addr().unwrap(),
            ca: ca.clone(),
            partner_key: "iplp_test".to_owned(),
            terms_version: "1".to_owned(),
            terms_hash: String::new(),
        };
        let seen = Seen::default();
        let tasks = LocalSet::new();
        tasks.spawn_local(serve(listener, tls, Rc::clone(&seen)));
        let tls = ca.map(|file| trust(CertificateDer::from_pem_file(file).unwrap()).unwrap());
        let network = Network {
            hub: access,
            tls,
            given_at: now().unwrap(),
        };
        let mut faults = Faults::default();
        let devices = tasks
            .run_until(network.connect_all(0, 20, &mut faults))
            .await
            .unwrap();
        assert_eq!((devices.len(), faults.first), (20, None));
        let seen = seen.borrow();
        assert_eq!(
            seen.iter()
                .map(|(address, _)| address)
                .collect::<BTreeSet<_>>()
                .len(),
            20
        );
        assert_eq!(seen.iter().map(|(_, id)| id).collect::<BTreeSet<_>>().len(), 20);
    }

    #[tokio::test]
    async fn devices_register_in_clear_each_from_its_own_address() {
        register_twenty(None, None).await;
    }

    #[tokio::test]
    async fn devices_register_over_tls_with_a_certificate_of_our_own() {
        let folder = tempfile::tempdir().unwrap();
        crate::peer::write_certificate(folder.path()).unwrap();
        let file = folder.path().join("cert.pem");
        let key = PrivateKeyDer::from_pem_file(folder.path().join("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from_pem_file(&file).unwrap()], key)
            .unwrap();
        register_twenty(Some(file), Some(TlsAcceptor::from(Arc::new(config)))).await;
    }
}
