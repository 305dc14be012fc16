//! A server that answers each request with the next of its answers, and remembers what was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Ends with its test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Server {
    /// One connection for each answer; an empty one is silence.
    pub(crate) async fn start(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (noted, answers) = (
            Arc::clone(&heads),
            answers.iter().map(|text| (*text).to_owned()).collect(),
        );
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, answers, noted));
        Self {
            address,
            heads,
            _serving: serving,
        }
    }

    /// The heads of all requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(listener: TcpListener, answers: Vec<String>, noted: Arc<Mutex<Vec<String>>>) {
    let mut silent = Vec::new();
    for answer in answers {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        noted.lock().unwrap().push(head);
        if answer.is_empty() {
            silent.push(stream);
            continue;
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        let _ = stream.shutdown().await;
    }
    std::future::pending::<()>().await;
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// An answer with this content.
pub(crate) fn answer(status: &str, fields: &str, content: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n{content}",
        content.len()
    )
}

/// A problem document that asks to come again at once.
pub(crate) fn busy(code: &str) -> String {
    let problem = format!(
        r#"{{"type":"urn:iploop:error:{code}","title":"Busy","status":503,"code":"{code}","detail":"busy",
            "request_id":"0193a1b2-0000-7000-8000-000000000001"}}"#
    );
    answer(
        &format!("503 {code}"),
        &format!("X-IPLoop-Error: {code}\r\nRetry-After: 0\r\n"),
        &problem,
    )
}
