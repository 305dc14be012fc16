//! A customer's end of a webhook on loopback: notes what comes, answers as it is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How one request is answered; without any left it is 204.
pub(crate) enum Reply {
    /// These bytes, then the end.
    Raw(String),
    /// Nothing, and no end.
    Hang,
    /// A body without end.
    Endless,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self::Raw(format!("HTTP/1.1 {status} x\r\ncontent-length: 2\r\n\r\nno"))
    }
}

/// A request as it came.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) replies: Arc<Mutex<VecDeque<Reply>>>,
    requests: mpsc::Receiver<Received>,
    _serving: JoinSet<()>,
}

impl Receiver {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let replies: Arc<Mutex<VecDeque<Reply>>> = Arc::default();
        let (sender, requests) = mpsc::channel(1024);
        let mut serving = JoinSet::new();
        serving.spawn({
            let replies = Arc::clone(&replies);
            async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(serve(stream, Arc::clone(&replies), sender.clone()));
                }
            }
        });
        Self {
            address,
            replies,
            requests,
            _serving: serving,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) async fn next(&mut self) -> Received {
        self.requests.recv().await.unwrap()
    }

    pub(crate) fn is_quiet(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }
}

async fn serve(mut stream: TcpStream, replies: Arc<Mutex<VecDeque<Reply>>>, sender: mpsc::Sender<Received>) {
    let mut bytes = Vec::new();
    let request = loop {
        let mut part = [0; 4096];
        let Ok(read @ 1..) = stream.read(&mut part).await else {
            return;
        };
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let received = Received {
            head: head.to_owned(),
            body: body.to_owned(),
        };
        let length = received
            .header("content-length")
            .map_or(0, |text| text.parse().unwrap());
        if body.len() == length {
            break received;
        }
    };
    let reply = replies.lock().pop_front();
    sender.send(request).await.unwrap();
    match reply {
        None => {
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
        Some(Reply::Raw(text)) => {
            let _ = stream.write_all(text.as_bytes()).await;
        }
        Some(Reply::Hang) => {
            // Until the other side leaves.
            let _ = stream.read(&mut [0]).await;
        }
        Some(Reply::Endless) => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        }
    }
}
