//! How the load reaches the origin: straight, or as a peer's customer.

use std::net::SocketAddr;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::exchange::ANSWER_LIMIT;
use crate::origin::HTTP_BODY_BYTES;
use crate::pattern;

/// Connections that may wait to be accepted: more than any test opens at once.
const BACKLOG: i32 = 4_096;
/// A proxy's answer to CONNECT may be this long.
const HEAD_BYTES: usize = 8 * 1024;

/// What a customer does to get a stream to the origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Route {
    /// Connects to the origin itself.
    Direct,
    /// Connects to an address that always leads to the origin: a forwarded port, or a link in front of the origin.
    Forwarded { listener: SocketAddr },
    /// HTTP CONNECT (RFC 9110, section 9.3.6).
    HttpConnect {
        proxy: SocketAddr,
        credentials: Option<Credentials>,
    },
    /// SOCKS5 (RFC 1928), with user name and password (RFC 1929) where given.
    Socks5 {
        proxy: SocketAddr,
        credentials: Option<Credentials>,
    },
}

/// User name and password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl Route {
    /// A stream to `destination`, after the whole handshake. Bounded in time.
    pub(crate) async fn open(&self, destination: SocketAddr) -> anyhow::Result<TcpStream> {
        timeout(ANSWER_LIMIT, self.handshake(destination))
            .await
            .map_err(|_| anyhow::anyhow!("no stream in {ANSWER_LIMIT:?}"))?
    }

    /// One plain HTTP request in absolute form on a new connection, its answer checked; only by an HTTP proxy.
    pub(crate) async fn get(&self, destination: SocketAddr) -> anyhow::Result<()> {
        let (address, authorization) = match self {
            Route::HttpConnect { proxy, credentials } => (*proxy, basic(credentials.as_ref())),
            Route::Direct => (destination, String::new()),
            Route::Forwarded { listener } => (*listener, String::new()),
            Route::Socks5 { .. } => anyhow::bail!("SOCKS5 forwards no HTTP"),
        };
        let request = format!(
            "GET http://{destination}/ HTTP/1.1\r\nHost: {destination}\r\nConnection: close\r\n{authorization}\r\n"
        );
        let answered = async {
            let mut stream = connect(address).await?;
            stream.write_all(request.as_bytes()).await?;
            let head = read_head(&mut stream).await?;
            expect_status(&head)?;
            let mut body = [0; HTTP_BODY_BYTES];
            stream.read_exact(&mut body).await?;
            pattern::check(0, 0, &body)?;
            anyhow::Ok(())
        };
        timeout(ANSWER_LIMIT, answered)
            .await
            .map_err(|_| anyhow::anyhow!("no answer in {ANSWER_LIMIT:?}"))?
    }

    async fn handshake(&self, destination: SocketAddr) -> anyhow::Result<TcpStream> {
        match self {
            Route::Direct => connect(destination).await,
            Route::Forwarded { listener } => connect(*listener).await,
            Route::HttpConnect { proxy, credentials } => {
                let mut stream = connect(*proxy).await?;
                let authorization = basic(credentials.as_ref());
                let request =
                    format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n{authorization}\r\n");
                stream.write_all(request.as_bytes()).await?;
                expect_status(&read_head(&mut stream).await?)?;
                Ok(stream)
            }
            Route::Socks5 { proxy, credentials } => {
                let mut stream = connect(*proxy).await?;
                socks5(&mut stream, destination, credentials.as_ref()).await?;
                Ok(stream)
            }
        }
    }
}

/// Listens with a deep backlog; `prepare` may set options that accepted sockets inherit.
pub(crate) fn listen(
    address: SocketAddr,
    prepare: Option<fn(&Socket) -> std::io::Result<()>>,
) -> anyhow::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if let Some(prepare) = prepare {
        prepare(&socket)?;
    }
    socket
        .bind(&address.into())
        .with_context(|| format!("binding {address}"))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into())?)
}

pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads up to and with the empty line, and not a byte more: what follows belongs to the stream.
pub(crate) async fn read_head(stream: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES];
    let mut filled = 0;
    loop {
        // Peeking finds the end in one system call more; reading byte by byte would take a hundred.
        let seen = stream.peek(&mut head[filled..]).await?;
        anyhow::ensure!(seen > 0, "ended inside the answer's head");
        let from = filled.saturating_sub(3);
        let end = head[from..filled + seen]
            .windows(4)
            .position(|window| window == b"\r\n\r\n");
        let take = end.map_or(seen, |at| from + at + 4 - filled);
        stream.read_exact(&mut head[filled..filled + take]).await?;
        filled += take;
        if end.is_some() {
            head.truncate(filled);
            return Ok(head);
        }
        anyhow::ensure!(filled < HEAD_BYTES, "endless head");
    }
}

fn expect_status(head: &[u8]) -> anyhow::Result<()> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let status = line.split(' ').nth(1).unwrap_or_default();
    anyhow::ensure!(status.len() == 3 && status.starts_with('2'), "answered {line}");
    Ok(())
}

async fn socks5(
    stream: &mut TcpStream,
    destination: SocketAddr,
    credentials: Option<&Credentials>,
) -> anyhow::Result<()> {
    let method = if credentials.is_some() { 0x02 } else { 0x00 };
    stream.write_all(&[0x05, 1, method]).await?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await?;
    anyhow::ensure!(chosen == [0x05, method], "method answer {chosen:?}");
    if let Some(Credentials { user, password }) = credentials {
        let mut message = vec![0x01];
        for field in [user, password] {
            message.push(u8::try_from(field.len()).context("credentials are at most 255 bytes")?);
            message.extend_from_slice(field.as_bytes());
        }
        stream.write_all(&message).await?;
        let mut verdict = [0; 2];
        stream.read_exact(&mut verdict).await?;
        anyhow::ensure!(verdict[1] == 0, "credentials refused");
    }
    let mut request = vec![0x05, 0x01, 0x00];
    match destination {
        SocketAddr::V4(address) => {
            request.push(0x01);
            request.extend_from_slice(&address.ip().octets());
        }
        SocketAddr::V6(address) => {
            request.push(0x04);
            request.extend_from_slice(&address.ip().octets());
        }
    }
    request.extend_from_slice(&destination.port().to_be_bytes());
    stream.write_all(&request).await?;
    let mut reply = [0; 5];
    stream.read_exact(&mut reply).await?;
    anyhow::ensure!(reply[1] == 0x00, "reply {:#04x}", reply[1]);
    let left = match reply[3] {
        0x01 => 3 + 2,
        0x04 => 15 + 2,
        0x03 => usize::from(reply[4]) + 2,
        other => anyhow::bail!("address type {other:#04x}"),
    };
    let mut bound = [0; 257];
    stream.read_exact(&mut bound[..left]).await?;
    Ok(())
}

/// The field that carries the login, with its line end; nothing without one.
pub(crate) fn basic(credentials: Option<&Credentials>) -> String {
    credentials.map_or_else(String::new, |Credentials { user, password }| {
        format!(
            "Proxy-Authorization: Basic {}\r\n",
            base64(format!("{user}:{password}").as_bytes())
        )
    })
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            if place > chunk.len() {
                text.push('=');
            } else {
                let index = usize::from(u8::try_from(group >> (18 - 6 * place) & 63).expect("six bits"));
                text.push(char::from(ALPHABET[index]));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_follows_the_test_vectors_of_rfc_4648() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn only_a_2xx_answer_opens_a_tunnel() {
        assert!(expect_status(b"HTTP/1.1 200 Connection established\r\n\r\n").is_ok());
        let refused = expect_status(b"HTTP/1.1 503 no_exit\r\nX: 200\r\n\r\n").unwrap_err();
        assert_eq!(refused.to_string(), "answered HTTP/1.1 503 no_exit");
        assert!(expect_status(b"").is_err());
    }

    async fn answering(script: Vec<(usize, &'static [u8])>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for (asked, answer) in script {
                let mut request = vec![0; asked];
                stream.read_exact(&mut request).await.unwrap();
                stream.write_all(answer).await.unwrap();
            }
            stream
        });
        address
    }

    #[tokio::test]
    async fn bytes_right_behind_the_connect_answer_stay_in_the_stream() {
        let proxy = answering(vec![(57, b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nfirst bytes")]).await;
        let route = Route::HttpConnect {
            proxy,
            credentials: None,
        };
        let mut stream = route.open("127.0.0.1:9000".parse().unwrap()).await.unwrap();
        let mut first = [0; 11];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"first bytes");
    }

    #[tokio::test]
    async fn socks5_says_user_password_and_destination() {
        let proxy = answering(vec![
            (3, &[5, 2]),
            (1 + 2 + 3, &[1, 0]),
            (10, &[5, 0, 0, 3, 1, b'h', 0, 80, b'!']),
        ])
        .await;
        let credentials = Some(Credentials {
            user: "u".into(),
            password: "pw".into(),
        });
        let route = Route::Socks5 { proxy, credentials };
        let mut stream = route.open("127.0.0.1:9000".parse().unwrap()).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'!');
    }

    #[tokio::test]
    async fn socks5_refusal_names_the_reply() {
        let proxy = answering(vec![(3, &[5, 0]), (10, &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0])]).await;
        let route = Route::Socks5 {
            proxy,
            credentials: None,
        };
        let refused = route.open("127.0.0.1:9000".parse().unwrap()).await.unwrap_err();
        assert_eq!(refused.to_string(), "reply 0x02");
    }
}
