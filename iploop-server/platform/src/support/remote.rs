//! An OpenAI-compatible endpoint that words answers: asked with a stream, bounded in time, bytes and number.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, InvalidHeaderValue};
use http::{HeaderMap, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use super::assistant::Piece;
use crate::outbound::{Outbound, OutboundClient, OutboundError, OutboundStream, Reach, Target};
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
/// Most that is read for one answer: each of its words comes with a few hundred bytes around it.
const MAX_READ_BYTES: usize = 4 * 1024 * 1024;

/// Where an endpoint with this base is asked; none if it is not the address of one.
pub(super) fn completions(base_url: &str) -> Option<Target> {
    let base = base_url.trim().trim_end_matches('/');
    if base.contains(['?', '#']) {
        return None;
    }
    Target::parse(&format!("{base}/chat/completions")).ok()
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
    Status(u16),
    #[error("the answer can't be read: {0}")]
    Malformed(&'static str),
    #[error(transparent)]
    Outbound(#[from] OutboundError),
}

/// The endpoint.
pub(super) struct Endpoint {
    client: OutboundClient,
    target: Target,
    model: String,
    headers: HeaderMap,
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
    /// # Errors
    /// The key can't stand in a header field.
    pub(super) fn new(
        client: OutboundClient,
        target: Target,
        model: String,
        api_key: Option<&Secret>,
        patience: Duration,
    ) -> Result<Self, InvalidHeaderValue> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("text/event-stream, application/json"),
        );
        if let Some(key) = api_key {
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", key.expose()))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        Ok(Self {
            client,
            target,
            model,
            headers,
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
        let mut answer = timeout_at(began + self.patience, self.send(messages))
            .await
            .map_err(|_| RemoteError::Timeout)??;
        let is_stream = answer
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let (mut waiting, mut bytes) = (BytesMut::new(), 0);
        loop {
            let until = if *is_begun {
                WHOLE
            } else {
                self.patience.min(WHOLE)
            };
            let data = timeout_at(began + until, answer.next())
                .await
                .map_err(|_| RemoteError::Timeout)??;
            let is_over = data.is_none();
            waiting.extend_from_slice(&data.unwrap_or_default());
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

    /// The answer's head, if it is a good one.
    async fn send(&self, messages: &[Message]) -> Result<OutboundStream, RemoteError> {
        let question = Question {
            model: &self.model,
            messages,
            stream: true,
            max_tokens: MAX_TOKENS,
            temperature: 0.2,
        };
        let body = serde_json::to_vec(&question).map_err(|_| RemoteError::Malformed("the question"))?;
        let request = Outbound {
            target: self.target.clone(),
            reach: Reach::Operator,
            method: Method::POST,
            headers: self.headers.clone(),
            body: Bytes::from(body),
            timeout: WHOLE,
            answer_limit: MAX_READ_BYTES,
        };
        let answer = self.client.stream(request).await?;
        match answer.status {
            200 => Ok(answer),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_without_a_login() {
        for (base, asked) in [
            (
                "https://llm.example.com/v1/",
                "https://llm.example.com/v1/chat/completions",
            ),
            ("http://[::1]:8080", "http://[::1]:8080/chat/completions"),
        ] {
            assert_eq!(completions(base).unwrap().as_str(), asked);
        }
        for wrong in [
            "",
            "llm",
            "ftp://h/",
            "https://",
            "https://user:key@h/v1",
            "https://h/v1?key=1",
            "/v1",
        ] {
            assert!(completions(wrong).is_none(), "{wrong}");
        }
    }
}
