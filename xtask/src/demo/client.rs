//! The demo's customer: one request by each protocol, as any client would send it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

/// A proxy and the login of a customer.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    pub(super) user: String,
    pub(super) key: String,
}

/// What one request showed.
pub(super) struct Visit {
    pub(super) protocol: &'static str,
    pub(super) status: u16,
    /// The address from which the site was visited.
    pub(super) seen_ip: String,
    pub(super) took: Duration,
    /// Of the whole answer.
    pub(super) bytes: usize,
}

impl Proxy {
    /// A plain HTTP request (RFC 9112 section 3.2.2, absolute-form).
    pub(super) fn http(&self, targeting: &str, site: SocketAddr) -> Result<Visit> {
        let started = Instant::now();
        let mut stream = self.connect()?;
        let login = self.login(targeting);
        write!(
            stream,
            "GET http://{site}/demo HTTP/1.1\r\nHost: {site}\r\nProxy-Authorization: Basic {login}\r\nConnection: close\r\n\r\n"
        )?;
        visit("HTTP", &mut stream, started)
    }

    /// A request by TLS through CONNECT (RFC 9110 section 9.3.6).
    pub(super) fn https(
        &self,
        targeting: &str,
        site: SocketAddr,
        trusted: &CertificateDer<'static>,
    ) -> Result<Visit> {
        let started = Instant::now();
        let mut stream = self.connect()?;
        let login = self.login(targeting);
        write!(
            stream,
            "CONNECT {site} HTTP/1.1\r\nHost: {site}\r\nProxy-Authorization: Basic {login}\r\n\r\n"
        )?;
        let head = read_head(&mut stream)?;
        ensure!(
            head.starts_with("HTTP/1.1 200"),
            "CONNECT was refused: {}",
            head.lines().next().unwrap_or_default()
        );
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = ClientConnection::new(Arc::new(config), ServerName::from(site.ip()))?;
        let mut stream = StreamOwned::new(tls, stream);
        write!(
            stream,
            "GET /demo HTTP/1.1\r\nHost: {site}\r\nConnection: close\r\n\r\n"
        )?;
        visit("HTTPS", &mut stream, started)
    }

    /// A request through SOCKS5 with a login (RFC 1928, RFC 1929).
    pub(super) fn socks5(&self, targeting: &str, site: SocketAddr) -> Result<Visit> {
        let started = Instant::now();
        let mut stream = self.connect()?;
        stream.write_all(&[5, 1, 2])?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer)?;
        ensure!(answer == [5, 2], "the proxy wants no login: {answer:?}");
        let password = format!("{}{targeting}", self.key);
        let mut login = vec![1, u8::try_from(self.user.len())?];
        login.extend(self.user.as_bytes());
        login.push(u8::try_from(password.len())?);
        login.extend(password.as_bytes());
        stream.write_all(&login)?;
        stream.read_exact(&mut answer)?;
        ensure!(answer[1] == 0, "the login was refused");
        let SocketAddr::V4(to) = site else {
            anyhow::bail!("the site has an IPv6 address")
        };
        let mut request = vec![5, 1, 0, 1];
        request.extend(to.ip().octets());
        request.extend(to.port().to_be_bytes());
        stream.write_all(&request)?;
        let mut reply = [0; 10];
        stream.read_exact(&mut reply)?;
        ensure!(reply[1] == 0, "the proxy replied {:#04x}", reply[1]);
        write!(
            stream,
            "GET /demo HTTP/1.1\r\nHost: {site}\r\nConnection: close\r\n\r\n"
        )?;
        visit("SOCKS5", &mut stream, started)
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address).context("the proxy can't be reached")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(stream)
    }

    fn login(&self, targeting: &str) -> String {
        BASE64.encode(format!("{}:{}{targeting}", self.user, self.key))
    }
}

/// Reads the answer to its end.
fn visit(protocol: &'static str, stream: &mut impl Read, started: Instant) -> Result<Visit> {
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .context("the answer can't be read")?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .with_context(|| format!("no HTTP answer: {text}"))?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    ensure!(status == 200, "{head}\n{body}");
    let seen: Value = serde_json::from_str(body).context("the site's answer is not its own")?;
    let seen_ip = seen["ip"].as_str().unwrap_or_default().to_owned();
    Ok(Visit {
        protocol,
        status,
        seen_ip,
        took: started.elapsed(),
        bytes: answer.len(),
    })
}

/// Reads up to the empty line, and not a byte more.
fn read_head(stream: &mut impl Read) -> Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < 16 * 1024, "the head is too long");
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
