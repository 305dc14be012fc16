//! The assistant with an OpenAI-compatible endpoint that words its answers, and with one that does not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use iploop_platform::secret::Secret;
use iploop_platform::support::AssistantConfig;
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::{Api, Settings};
use crate::support::{ask, ask_streamed};

/// What the fake endpoint does with a question.
#[derive(Clone, Copy)]
enum Manner {
    /// Three pieces, with markup in one.
    Streams,
    /// The whole answer at once.
    Answers,
    /// One piece, then it hangs up.
    BreaksOff,
    /// 500.
    Fails,
    /// Not a completion.
    Babbles,
    /// Accepts and says nothing.
    Sleeps,
}

/// An OpenAI-compatible endpoint on loopback, and what it was asked.
struct Endpoint {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _work: JoinSet<()>,
}

impl Endpoint {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut work = JoinSet::new();
        let heard = Arc::clone(&asked);
        work.spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let request = read_request(&mut socket).await;
                heard.lock().push(request);
                respond(&mut socket, manner).await;
            }
        });
        Self {
            address,
            asked,
            _work: work,
        }
    }

    async fn api(&self) -> Api {
        self.api_waiting(AssistantConfig::default().timeout).await
    }

    /// One that waits so long for this endpoint.
    async fn api_waiting(&self, timeout: Duration) -> Api {
        Api::with(Settings {
            assistant: AssistantConfig {
                base_url: Some(format!("http://{}/v1", self.address)),
                model: Some("small".to_owned()),
                api_key: Some(Secret::new("endpoint-key")),
                timeout,
                ..AssistantConfig::default()
            },
            ..Settings::default()
        })
        .await
    }
}

async fn read_request(socket: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            if body.len() >= length {
                return text;
            }
        }
        assert!(socket.read_buf(&mut request).await.unwrap() > 0);
    }
}

async fn respond(socket: &mut TcpStream, manner: Manner) {
    let whole = |kind: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let piece = |text: &str| {
        format!(
            "data: {}\n\n",
            json!({ "choices": [{ "delta": { "content": text } }] })
        )
    };
    let answer = match manner {
        Manner::Streams => {
            let first = json!({ "choices": [{ "delta": { "role": "assistant" } }] });
            let body = format!(
                "data: {first}\n\n: comment\n\n{}{}{}data: [DONE]\n\n",
                piece("Add "),
                piece("<script>alert(1)</script>"),
                piece(" session-x.")
            );
            whole("text/event-stream; charset=utf-8", &body)
        }
        Manner::Answers => {
            let body = json!({ "choices": [{ "message": { "content": "Add session-x." } }] });
            whole("application/json", &body.to_string())
        }
        Manner::BreaksOff => format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n{}",
            piece("Add ")
        ),
        Manner::Fails => "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_owned(),
        Manner::Babbles => whole("application/json", "[1, 2"),
        Manner::Sleeps => {
            // Until the other side has had enough.
            let _ = socket.read_u8().await;
            return;
        }
    };
    socket.write_all(answer.as_bytes()).await.unwrap();
}

const QUESTION: &str = "How do I keep the same IP address?";

#[tokio::test]
async fn an_endpoint_words_the_answer_and_its_markup_stays_text() {
    let endpoint = Endpoint::start(Manner::Streams).await;
    let api = endpoint.api().await;
    let token = api.token("ada@example.com").await;
    let answer = ask(&api, &token, QUESTION).await;
    assert!(!answer.text.contains('<'), "{}", answer.text);
    let answer = answer.json();
    assert_eq!(
        (&answer["engine"], &answer["message"]),
        (
            &json!("model"),
            &json!("Add <script>alert(1)</script> session-x.")
        )
    );
    assert!(
        answer["sources"][0]["url"]
            .as_str()
            .unwrap()
            .starts_with("/docs/help.md#")
    );
    let events = ask_streamed(&api, &token, QUESTION).await;
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sources", "text", "text", "text", "end"]);
}

#[tokio::test]
async fn an_endpoint_that_does_not_stream_is_understood() {
    let endpoint = Endpoint::start(Manner::Answers).await;
    let api = endpoint.api().await;
    let token = api.token("ada@example.com").await;
    assert_eq!(
        ask(&api, &token, QUESTION).await.json()["message"],
        "Add session-x."
    );
}

#[tokio::test]
async fn the_endpoint_is_told_passages_and_state_and_no_secret() {
    let endpoint = Endpoint::start(Manner::Answers).await;
    let api = endpoint.api().await;
    let token = api.token("ada@example.com").await;
    let secret = format!("iploop_{}", "0123456789abcdef".repeat(3));
    let body = json!({
        "message": format!("Why does {secret}-session-a not keep the same IP address? My password is Hunter2!x"),
        "history": [{ "role": "user", "content": format!("Bearer {token} ada@example.com") }],
    });
    api.post("/api/support/chat")
        .bearer(&token)
        .json(&body)
        .send()
        .await;
    let asked = endpoint.asked.lock().join("\n");
    assert!(
        asked.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(asked.contains("Bearer endpoint-key") || asked.contains("bearer endpoint-key"));
    for told in [
        "\"model\":\"small\"",
        "Your plan is Starter",
        "You have 5.00 GB left",
        "Keeping the same IP address (sticky sessions)",
        "\"max_tokens\":800",
    ] {
        assert!(asked.contains(told), "{told}: {asked}");
    }
    for untold in [secret.as_str(), token.as_str(), "Hunter2", "ada@example.com"] {
        assert!(!asked.contains(untold), "{untold}: {asked}");
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_or_sleeps_is_done_without() {
    for manner in [Manner::Fails, Manner::Babbles, Manner::Sleeps] {
        let endpoint = Endpoint::start(manner).await;
        let api = endpoint.api_waiting(Duration::from_secs(2)).await;
        let token = api.token("ada@example.com").await;
        let answer = ask(&api, &token, QUESTION).await.json();
        assert_eq!(answer["engine"], "documentation", "{answer}");
        assert!(answer["message"].as_str().unwrap().contains("session-NAME"));
        assert_eq!(endpoint.asked.lock().len(), 1, "asked once");
    }
    let gone = Endpoint::start(Manner::Fails).await;
    let api = gone.api().await;
    drop(gone);
    let token = api.token("ada@example.com").await;
    assert_eq!(
        ask(&api, &token, QUESTION).await.json()["engine"],
        "documentation"
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_completed_from_the_documentation() {
    let endpoint = Endpoint::start(Manner::BreaksOff).await;
    let api = endpoint.api().await;
    let token = api.token("ada@example.com").await;
    let answer = ask(&api, &token, QUESTION).await.json();
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.starts_with("Add ") && message.contains("broke off") && message.contains("session-NAME"),
        "{message}"
    );
}
