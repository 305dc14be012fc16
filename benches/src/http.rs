//! One HTTP/1.1 connection that stays open: a request, its whole answer, the next request.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer takes this long at most.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_BODY_BYTES: usize = 8 << 20;
const MAX_FIELDS: usize = 64;
const NO_CONTENT: u16 = 204;

/// An open connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer with its body.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(MAX_HEAD_BYTES),
        })
    }

    /// Sends a whole request and reads its whole answer.
    pub(crate) async fn exchange(&mut self, request: &str) -> anyhow::Result<Answer<'_>> {
        let (status, body_at) = timeout(ANSWER_LIMIT, self.ask(request))
            .await
            .with_context(|| format!("no answer in {ANSWER_LIMIT:?}"))??;
        Ok(Answer {
            status,
            body: self.buffer.get(body_at..).unwrap_or_default(),
        })
    }

    async fn ask(&mut self, request: &str) -> anyhow::Result<(u16, usize)> {
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        loop {
            if let Some(head) = Head::parse(&self.buffer)? {
                let whole = head.bytes + head.body_bytes;
                while self.buffer.len() < whole {
                    self.read_more().await?;
                }
                anyhow::ensure!(self.buffer.len() == whole, "more came than an answer");
                return Ok((head.status, head.bytes));
            }
            anyhow::ensure!(self.buffer.len() < MAX_HEAD_BYTES, "the head is too long");
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        anyhow::ensure!(read > 0, "the connection was closed");
        Ok(())
    }
}

/// A whole request, with a token and a JSON body where there are some.
pub(crate) fn request(
    (method, host, path): (&str, SocketAddr, &str),
    token: Option<&str>,
    body: Option<&Value>,
) -> String {
    let authorization = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let body = body.map_or_else(String::new, Value::to_string);
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

struct Head {
    status: u16,
    bytes: usize,
    body_bytes: usize,
}

impl Head {
    /// None while it is not all there.
    fn parse(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(bytes) = response.parse(bytes)? else {
            return Ok(None);
        };
        let status = response.code.context("no status")?;
        let length = response
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case("content-length"));
        let body_bytes = match length {
            None if status == NO_CONTENT => 0,
            length => std::str::from_utf8(length.context("no Content-Length")?.value)?.parse()?,
        };
        anyhow::ensure!(body_bytes <= MAX_BODY_BYTES, "the body is too long");
        Ok(Some(Self {
            status,
            bytes,
            body_bytes,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 2\r\n\r\n{}";
        for end in 0..text.len() - 2 {
            assert!(Head::parse(&text[..end]).unwrap().is_none(), "{end}");
        }
        let head = Head::parse(text).unwrap().unwrap();
        assert_eq!(
            (head.status, head.bytes, head.body_bytes),
            (200, text.len() - 2, 2)
        );
        assert!(
            Head::parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err(),
            "a body without an end"
        );
    }
}
