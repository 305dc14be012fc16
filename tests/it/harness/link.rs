//! The path between a device and the hub, which can die without a word.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Bytes that are under way on the path in each direction.
const UNDER_WAY: usize = 16 * 1024;

/// A path that carries TCP connections to one address; it ends with this value.
///
/// While it is cut nothing passes in either direction, and nobody is told: no end, no reset, no refusal. What is under way
/// then arrives once the path is mended, as TCP's repetitions would have it.
pub(crate) struct Link {
    pub(crate) address: SocketAddr,
    is_up: watch::Sender<bool>,
    _runtime: Runtime,
}

impl Link {
    /// A path to `to`, where its connections come from `source`.
    pub(crate) fn start(source: &str, to: SocketAddr) -> Self {
        let source = SocketAddr::new(source.parse().unwrap(), 0);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (is_up, state) = watch::channel(true);
        let listener = runtime.block_on(TcpListener::bind((source.ip(), 0))).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, source, to, state.clone()));
            }
        });
        Self {
            address,
            is_up,
            _runtime: runtime,
        }
    }

    /// From now on the path swallows everything.
    pub(crate) fn cut(&self) {
        self.is_up.send_replace(false);
    }

    /// The path is there again.
    pub(crate) fn mend(&self) {
        self.is_up.send_replace(true);
    }
}

/// One connection. It ends where either side fails: what it does not know of, it can't pass on.
async fn carry(
    near: TcpStream,
    source: SocketAddr,
    to: SocketAddr,
    mut state: watch::Receiver<bool>,
) -> std::io::Result<()> {
    near.set_nodelay(true)?;
    passable(&mut state).await;
    let socket = TcpSocket::new_v4()?;
    socket.bind(source)?;
    let far = socket.connect(to).await?;
    far.set_nodelay(true)?;
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let there = tokio::spawn(pass(near_in, far_out, state.clone()));
    let back = tokio::spawn(pass(far_in, near_out, state));
    let _ended = tokio::join!(there, back);
    Ok(())
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut bytes = vec![0; UNDER_WAY];
    loop {
        let read = from.read(&mut bytes).await;
        passable(&mut state).await;
        match read? {
            0 => return to.shutdown().await,
            read => to.write_all(&bytes[..read]).await?,
        }
    }
}

/// Ready when the path is there, which may be never again.
async fn passable(state: &mut watch::Receiver<bool>) {
    if state.wait_for(|is_up| *is_up).await.is_err() {
        std::future::pending().await
    }
}
