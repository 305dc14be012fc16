//! A hub that breaks the protocol, for devices of the agent: how each connection ends, and what stays in the device.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use iploop_protocol::codes::CloseCode;
use iploop_protocol::destination::Destination;
use iploop_protocol::frame::{Frame, Open, StreamId, StreamKind};
use iploop_protocol::io::{Transport as _, WebSocket};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::site::agent_command;
use super::{Bench, Bound, Figure};
use crate::child::Process;
use crate::hub;
use crate::process::cost_of;

/// How often each device is attacked; it waits longer each time before it comes back.
const TIMES: usize = 4;
const FLOOD: u32 = 20_000;
/// An honest connection, at the end of which memory is read: longer than the agent waits before it gives back what it does not use.
const HONEST: Duration = Duration::from_secs(65);
/// From a connection's end to the next one, the wait included.
const CONNECT_LIMIT: Duration = Duration::from_secs(90);
/// A device ends a hostile connection within this time.
const END_LIMIT: Duration = Duration::from_secs(60);
/// Of no partner.
const PARTNER: &str = "iplp_000000000000000000000000000000000000000000000000";

/// What the hub does, to a device of its own each.
#[derive(Clone, Copy, Debug)]
enum Attack {
    Garbage,
    NoBytes,
    LongMessage,
    ShortFrame,
    DataFirst,
    BadWelcome,
    Pings,
    EndlessControl,
    Opens,
    NodesId,
    UnknownStream,
    TooMuchCredit,
}

impl Attack {
    const ALL: [Self; 12] = [
        Self::Garbage,
        Self::NoBytes,
        Self::LongMessage,
        Self::ShortFrame,
        Self::DataFirst,
        Self::BadWelcome,
        Self::Pings,
        Self::EndlessControl,
        Self::Opens,
        Self::NodesId,
        Self::UnknownStream,
        Self::TooMuchCredit,
    ];

    /// Does it begin with a proper welcome?
    fn welcomes(self) -> bool {
        !matches!(
            self,
            Self::Garbage | Self::NoBytes | Self::DataFirst | Self::BadWelcome
        )
    }

    /// What is sent, message by message.
    fn messages(self) -> Vec<Bytes> {
        match self {
            Self::Garbage => vec![Bytes::from(vec![0xA5; 3_000])],
            Self::NoBytes => vec![Bytes::new()],
            Self::LongMessage => vec![packed(16_385, |value| Frame::Ping(value.into()))],
            // A ping that ends before its value does.
            Self::ShortFrame => vec![Bytes::from_static(&[0x06, 0, 0, 8, 0, 0, 0, 0, 1, 2, 3])],
            Self::DataFirst | Self::UnknownStream => vec![message(&Frame::Data {
                stream: StreamId(9),
                data: Bytes::from_static(b"x"),
                fin: false,
            })],
            Self::BadWelcome => vec![message(&Frame::Control {
                part: Bytes::from_static(b"{\"type\":\"welcome\",\"version\":\"two\"}"),
                more: false,
            })],
            Self::Pings => vec![packed(5_000, |value| Frame::Ping(value.into())); 20],
            Self::EndlessControl => vec![
                message(&Frame::Control {
                    part: Bytes::from(vec![b'x'; 60_000]),
                    more: true
                });
                200
            ],
            Self::Opens => (0..FLOOD / 500)
                .map(|part| packed(500, |number| open(2 * (500 * part + number) + 1)))
                .collect(),
            Self::NodesId => vec![message(&open(8))],
            Self::TooMuchCredit => vec![message(&Frame::Window {
                stream: StreamId::TUNNEL,
                credit_bytes: 1 << 31,
            })],
        }
    }
}

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let mut devices = JoinSet::new();
    for (number, attack) in Attack::ALL.into_iter().enumerate() {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("ws://{}/ws", listener.local_addr()?);
        let mut command = agent_command(&bench.binaries.join("iploop-node"), number, &url, PARTNER)?;
        command.arg("--state").arg(folder.path().join(number.to_string()));
        let device = Process::spawn(&format!("device-{number}"), command, folder.path())?;
        devices.spawn(async move {
            let seen = attack_device(attack, &listener, &device).await;
            seen.with_context(|| format!("{attack:?}"))
        });
    }
    let (mut undefined, mut panics, mut worst) = (0, 0, (f64::NAN, String::new()));
    while let Some(seen) = devices.join_next().await {
        let Seen {
            attack,
            memory: [before, after],
            undefined: without,
            panics: broken,
        } = seen??;
        undefined += without;
        panics += broken;
        let growth = after / before;
        if worst.0.is_nan() || growth > worst.0 {
            worst = (growth, format!("{before:.0} KiB became {after:.0} by {attack:?}"));
        }
    }
    let attacks = Attack::ALL.len() * TIMES;
    Ok(vec![
        Figure::none_of("ended without a code", undefined, attacks, "attacks"),
        Figure::none_of("panics", panics, attacks, "attacks"),
        Figure::new(
            "device's memory afterwards, of that before",
            worst.0,
            "×",
            Bound::AtMost(1.1),
        )
        .of(worst.1),
    ])
}

/// What one device showed.
struct Seen {
    attack: Attack,
    /// Before and after, in KiB.
    memory: [f64; 2],
    undefined: usize,
    panics: usize,
}

async fn attack_device(attack: Attack, listener: &TcpListener, device: &Process) -> anyhow::Result<Seen> {
    let pid = device.pid()?;
    let before = {
        let mut tunnel = Tunnel::accept(listener).await?;
        tunnel.be_honest(pid).await?
    };
    let mut undefined = 0;
    for _ in 0..TIMES {
        let mut tunnel = Tunnel::accept(listener).await?;
        let code = tunnel.attack(attack).await?;
        undefined += usize::from(code.is_none());
    }
    let mut tunnel = Tunnel::accept(listener).await?;
    let after = tunnel.be_honest(pid).await?;
    Ok(Seen {
        attack,
        memory: [before, after],
        undefined,
        panics: device.log().matches("panicked").count(),
    })
}

/// The hub's end of a connection.
struct Tunnel {
    socket: WebSocket<TcpStream>,
}

impl Tunnel {
    /// The device's next connection, its hello heard.
    async fn accept(listener: &TcpListener) -> anyhow::Result<Self> {
        let accepted = async {
            let (stream, _): (TcpStream, SocketAddr) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let mut tunnel = Self {
                socket: hub::accept(stream).await?,
            };
            tunnel.receive().await?.context("the device said nothing")?;
            anyhow::Ok(tunnel)
        };
        timeout(CONNECT_LIMIT, accepted)
            .await
            .context("the device stays away")?
    }

    /// Welcomes the device and leaves it alone; its memory then, in KiB.
    async fn be_honest(&mut self, pid: u32) -> anyhow::Result<f64> {
        self.send(&welcome()).await?;
        let until_gone = async {
            while let Ok(Some(mut message)) = self.receive().await {
                while let Ok(frame) = Frame::decode(&mut message) {
                    if let Frame::Ping(value) = frame {
                        self.send(&packed(1, |_| Frame::Pong(value))).await?;
                    }
                    if message.is_empty() {
                        break;
                    }
                }
            }
            anyhow::Ok(())
        };
        anyhow::ensure!(
            timeout(HONEST, until_gone).await.is_err(),
            "the device left an honest hub"
        );
        let memory = cost_of(pid)?.anonymous_kib;
        self.send(&message(&Frame::Close {
            code: CloseCode::Done,
            retry_after_s: 1,
            reason: Bytes::new(),
        }))
        .await?;
        Ok(memory)
    }

    /// Attacks, and hears the connection's end; the code that the device gave for it.
    async fn attack(&mut self, attack: Attack) -> anyhow::Result<Option<u16>> {
        if attack.welcomes() {
            self.send(&welcome()).await?;
        }
        let ended = async {
            for message in attack.messages() {
                // Whoever was closed may learn of it while it is still talking.
                if self.send(&message).await.is_err() {
                    break;
                }
            }
            let mut code = None;
            let mut refused = 0;
            while let Ok(Some(mut message)) = self.receive().await {
                while !message.is_empty() {
                    match Frame::decode(&mut message) {
                        Ok(Frame::Close { code: said, .. }) => code = Some(said.to_wire()),
                        Ok(Frame::Reset { .. }) => refused += 1,
                        Ok(_) => {}
                        Err(_) => break,
                    }
                }
                // A device may refuse every stream and go on: then this end closes.
                if refused == FLOOD {
                    return Some(CloseCode::Done.to_wire());
                }
            }
            code.or_else(|| self.socket.close_code())
        };
        timeout(END_LIMIT, ended).await.context("the device goes on")
    }

    async fn send(&mut self, message: &Bytes) -> anyhow::Result<()> {
        self.socket.send(|out| {
            out.extend_from_slice(message);
            true
        })?;
        Ok(poll_fn(|cx| self.socket.poll_flush(cx)).await?)
    }

    async fn receive(&mut self) -> anyhow::Result<Option<Bytes>> {
        Ok(poll_fn(|cx| self.socket.poll_receive(cx)).await.transpose()?)
    }
}

fn welcome() -> Bytes {
    message(&Frame::Control {
        part: hub::welcome("01900000-0000-7000-8000-000000000bad".to_owned()).encode(),
        more: false,
    })
}

/// To a port of the household: refused by the device.
fn open(stream: u32) -> Frame {
    Frame::Open {
        stream: StreamId(stream),
        open: Open {
            kind: StreamKind::Tcp,
            window_bytes: 65_536,
            timeout_ms: 1_000,
            customer: 1,
            destination: Destination::from(SocketAddr::from(([192, 168, 0, 1], 80))),
        },
        early: Bytes::new(),
        fin: false,
    }
}

fn message(frame: &Frame) -> Bytes {
    packed(1, |_| frame.clone())
}

/// Many frames in one message.
fn packed(count: u32, frame: impl Fn(u32) -> Frame) -> Bytes {
    let mut out = BytesMut::new();
    for number in 0..count {
        frame(number).encode(&mut out);
    }
    out.freeze()
}
