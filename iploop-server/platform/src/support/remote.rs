//! An OpenAI-compatible endpoint that words answers: asked with a stream, bounded in time, bytes and number.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::assistant::Piece;
use crate::secret::Secret;

/// Questions there at the same time; further ones are answered without it.
const AT_ONCE: usize = 8;
/// Longest that one answer may take in all.
const WHOLE: Duration = Duration::from_secs(60);
/// Longest answer, in bytes and in the endpoint's own units.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
const MAX_TOKENS: u32 = 800;
/// Longest piece of the endpoint's stream.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Where the endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EndpointUrl {
    is_https: bool,
    host: String,
    port: u16,
    /// With `/chat/completions`.
    path: String,
}

/// The address is not one of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the address of an endpoint")]
pub(super) struct NotAnEndpoint;

impl std::str::FromStr for EndpointUrl {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let uri: Uri = text.parse().map_err(|_| NotAnEndpoint)?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(NotAnEndpoint),
        };
        let authority = uri.authority().ok_or(NotAnEndpoint)?;
        if authority.as_str().contains('@') || uri.query().is_some() || authority.host().is_empty() {
            return Err(NotAnEndpoint);
        }
        Ok(Self {
            is_https,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            path: format!("{}/chat/completions", uri.path().trim_end_matches('/')),
        })
    }
}

/// One message of the talk.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Message {
    /// `system`, `user` or `assistant`.
    pub(super) role: &'static str,
    pub(super) content: String,
}

/// Why the endpoint gave no answer, for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    #[error("too many questions at once")]
    Busy,
    #[error("no answer in time")]
    Timeout,
    #[error("status {0}")]
    Status(StatusCode),
    #[error("the answer can't be read: {0}")]
    Malformed(&'static str),
    #[error("{0}")]
    Connection(String),
}

/// The endpoint.
pub(super) struct Endpoint {
    url: EndpointUrl,
    model: String,
    api_key: Option<Secret>,
    tls: TlsConnector,
    /// Longest wait for the first word.
    patience: Duration,
    turns: Semaphore,
}

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    messages: &'a [Message],
    stream: bool,
    max_tokens: u32,
    temperature: f32,
}

/// A whole answer, or a piece of a streamed one.
#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default, alias = "delta")]
    message: Option<Content>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    content: Option<String>,
}

impl Completion {
    fn text(self) -> String {
        let first = self.choices.into_iter().next();
        first
            .and_then(|choice| choice.message)
            .and_then(|message| message.content)
            .unwrap_or_default()
    }
}

impl Endpoint {
    pub(super) fn new(
        url: EndpointUrl,
        model: String,
        api_key: Option<Secret>,
        patience: Duration,
    ) -> Result<Self, rustls::Error> {
        let mut roots = rustls::RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            url,
            model,
            api_key,
            tls: TlsConnector::from(Arc::new(config)),
            patience,
            turns: Semaphore::new(AT_ONCE),
        })
    }

    /// Asks, and hands over each text of the answer as it comes; nobody to take it ends it. `is_begun` says from then on that
    /// something came.
    ///
    /// # Errors
    /// Also after texts were handed over: what came stands.
    pub(super) async fn ask(
        &self,
        messages: &[Message],
        pieces: &mpsc::Sender<Piece>,
        is_begun: &mut bool,
    ) -> Result<(), RemoteError> {
        let _turn = self.turns.try_acquire().map_err(|_| RemoteError::Busy)?;
        let began = Instant::now();
        // The connection's own work; it ends with the answer.
        let mut work = JoinSet::new();
        let answer = timeout_at(began + self.patience, self.send(messages, &mut work))
            .await
            .map_err(|_| RemoteError::Timeout)??;
        let is_stream = answer
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let mut body = answer.into_body();
        let (mut waiting, mut bytes) = (BytesMut::new(), 0);
        loop {
            let until = if *is_begun {
                WHOLE
            } else {
                self.patience.min(WHOLE)
            };
            let frame = timeout_at(began + until, body.frame())
                .await
                .map_err(|_| RemoteError::Timeout)?;
            let is_over = match frame {
                Some(frame) => {
                    let frame = frame.map_err(|error| RemoteError::Connection(error.to_string()))?;
                    waiting.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
                    false
                }
                None => true,
            };
            if !is_stream && is_over {
                let whole: Completion =
                    serde_json::from_slice(&waiting).map_err(|_| RemoteError::Malformed("no completion"))?;
                let text = whole.text();
                return match text.is_empty() {
                    true => Err(RemoteError::Malformed("it is empty")),
                    false => {
                        *is_begun = true;
                        let _ = pieces.send(Piece::Text(shortened(text, MAX_ANSWER_BYTES))).await;
                        Ok(())
                    }
                };
            }
            while let Some(end) = waiting
                .iter()
                .position(|byte| *byte == b'\n')
                .filter(|_| is_stream)
            {
                let line = waiting.split_to(end + 1);
                let Some(data) = line.trim_ascii().strip_prefix(b"data:") else {
                    continue;
                };
                let data = data.trim_ascii();
                if data == b"[DONE]" {
                    return finished(*is_begun);
                }
                let part: Completion = serde_json::from_slice(data)
                    .map_err(|_| RemoteError::Malformed("a piece of the stream"))?;
                let text = part.text();
                bytes += text.len();
                if text.is_empty() {
                    continue;
                }
                *is_begun = true;
                if pieces.send(Piece::Text(text)).await.is_err() || bytes >= MAX_ANSWER_BYTES {
                    return Ok(());
                }
            }
            if waiting.len() > MAX_LINE_BYTES {
                return Err(RemoteError::Malformed("a piece is too long"));
            }
            if is_over {
                return finished(*is_begun);
            }
        }
    }

    /// The head of the answer, if it is a good one.
    async fn send(
        &self,
        messages: &[Message],
        work: &mut JoinSet<()>,
    ) -> Result<http::Response<Incoming>, RemoteError> {
        let connection = |error: &dyn std::fmt::Display| RemoteError::Connection(error.to_string());
        let url = &self.url;
        let tcp = TcpStream::connect((url.host.as_str(), url.port))
            .await
            .map_err(|error| connection(&error))?;
        let socket: Box<dyn Socket> = match url.is_https {
            false => Box::new(tcp),
            true => {
                let name = ServerName::try_from(url.host.clone()).map_err(|error| connection(&error))?;
                let tls = self.tls.connect(name, tcp).await;
                Box::new(tls.map_err(|error| connection(&error))?)
            }
        };
        let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|error| connection(&error))?;
        work.spawn(async move {
            // What breaks it breaks the body, where it is seen.
            let _ = driver.await;
        });
        let question = Question {
            model: &self.model,
            messages,
            stream: true,
            max_tokens: MAX_TOKENS,
            temperature: 0.2,
        };
        let body = serde_json::to_vec(&question).map_err(|error| connection(&error))?;
        let host = match url.host.contains(':') {
            true => format!("[{}]:{}", url.host, url.port),
            false => format!("{}:{}", url.host, url.port),
        };
        let mut request = Request::post(url.path.as_str())
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "text/event-stream, application/json");
        if let Some(key) = &self.api_key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.expose()));
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| connection(&error))?;
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| connection(&error))?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status => Err(RemoteError::Status(status)),
        }
    }
}

/// A stream without a word is no answer.
fn finished(is_begun: bool) -> Result<(), RemoteError> {
    match is_begun {
        true => Ok(()),
        false => Err(RemoteError::Malformed("it is empty")),
    }
}

fn shortened(mut text: String, most: usize) -> String {
    let end = super::search::shortened(&text, most).len();
    text.truncate(end);
    text
}

/// What a connection runs over.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_without_a_login() {
        let url: EndpointUrl = "https://llm.example.com/v1/".parse().unwrap();
        assert_eq!(
            url,
            EndpointUrl {
                is_https: true,
                host: "llm.example.com".to_owned(),
                port: 443,
                path: "/v1/chat/completions".to_owned(),
            }
        );
        let local: EndpointUrl = "http://[::1]:8080".parse().unwrap();
        assert_eq!(
            (local.host.as_str(), local.port, local.path.as_str()),
            ("::1", 8080, "/chat/completions")
        );
        for wrong in [
            "",
            "llm",
            "ftp://h/",
            "https://user:key@h/v1",
            "https://h/v1?key=1",
            "/v1",
        ] {
            assert!(wrong.parse::<EndpointUrl>().is_err(), "{wrong}");
        }
    }
}
