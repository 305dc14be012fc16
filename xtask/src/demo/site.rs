//! The demo's destination: says who came and what for, by HTTP and HTTPS.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Longest request line or header line, in bytes.
const MAX_LINE: u64 = 16 * 1024;
/// Most header lines.
const MAX_LINES: usize = 100;

/// The running site. Its threads end with the process.
pub(super) struct Site {
    pub(super) http: SocketAddr,
    pub(super) https: SocketAddr,
    /// What a client has to trust.
    pub(super) certificate: CertificateDer<'static>,
}

impl Site {
    pub(super) fn start() -> Result<Self> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()])?;
        let certificate = cert.der().clone();
        let private_key = PrivateKeyDer::try_from(signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], private_key)?;
        let config = Arc::new(config);
        let http = listen(|mut stream, peer| answer(&mut stream, peer.ip()))?;
        let https = listen(move |stream, peer| {
            let Ok(tls) = ServerConnection::new(Arc::clone(&config)) else {
                return;
            };
            let mut stream = StreamOwned::new(tls, stream);
            answer(&mut stream, peer.ip());
            // Without it the client can't tell the end from a cut (RFC 8446 section 6.1).
            stream.conn.send_close_notify();
            let _ = stream.flush();
        })?;
        Ok(Self {
            http,
            https,
            certificate,
        })
    }
}

fn listen(serve: impl Fn(TcpStream, SocketAddr) + Clone + Send + 'static) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(peer) = stream.peer_addr() else { continue };
            let _ = stream.set_read_timeout(Some(Duration::from_secs(15)));
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream, peer));
        }
    });
    Ok(address)
}

/// Answers one request with what was seen of it.
fn answer(stream: &mut (impl Read + Write), peer: IpAddr) {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        let read = reader.by_ref().take(MAX_LINE).read_line(&mut line);
        if !read.is_ok_and(|length| length > 0) || lines.len() > MAX_LINES {
            return;
        }
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let seen = serde_json::json!({ "ip": peer, "request": lines.first(), "headers": lines.get(1..) });
    let body = format!("{seen:#}\n");
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let stream = reader.get_mut();
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()))
        .and_then(|()| stream.flush());
}
