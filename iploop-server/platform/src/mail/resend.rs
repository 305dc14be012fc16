//! Mail by Resend's HTTP API: one POST a mail.

use std::time::Duration;

use async_trait::async_trait;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::mail::{Mail, MailConfigError, MailError, Mailer, message};
use crate::outbound::{Outbound, OutboundClient, Reach, Target};
use crate::secret::{Secret, hex};

/// How long the service may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// So much of a refusal goes into the log.
const ANSWER_LIMIT: usize = 1024;

/// Hands mails to the service.
pub(super) struct ResendMailer {
    client: OutboundClient,
    target: Target,
    authorization: HeaderValue,
    from: String,
}

#[derive(Serialize)]
struct Body<'a> {
    from: &'a str,
    to: [String; 1],
    subject: &'a str,
    html: &'a str,
    text: &'a str,
    headers: serde_json::Map<String, serde_json::Value>,
}

impl ResendMailer {
    pub(super) fn new(
        client: OutboundClient,
        url: &str,
        key: &Secret,
        from: &str,
    ) -> Result<Self, MailConfigError> {
        message::mailbox(from)?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", key.expose()))
            .map_err(|_| MailConfigError::ResendKey)?;
        authorization.set_sensitive(true);
        Ok(Self {
            client,
            target: target(url)?,
            authorization,
            from: from.to_owned(),
        })
    }
}

/// Where mails are posted to.
pub(super) fn target(url: &str) -> Result<Target, MailConfigError> {
    Target::parse(&format!("{}/emails", url.trim_end_matches('/'))).map_err(|_| MailConfigError::ResendUrl)
}

#[async_trait]
impl Mailer for ResendMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let headers = message::extra_headers(mail)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let body = Body {
            from: &self.from,
            to: [message::recipient(mail)?.to_string()],
            subject: &mail.subject,
            html: &mail.html,
            text: &mail.text,
            headers,
        };
        let body = serde_json::to_vec(&body).map_err(|error| MailError::Permanent(error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // A try whose answer got lost is not sent twice.
        if let Ok(key) = HeaderValue::try_from(hex(&Sha256::digest(&body))) {
            headers.insert(HeaderName::from_static("idempotency-key"), key);
        }
        let request = Outbound {
            target: self.target.clone(),
            reach: Reach::Operator,
            method: Method::POST,
            headers,
            body: body.into(),
            timeout: TIMEOUT,
            answer_limit: ANSWER_LIMIT,
        };
        let answer = self.client.send(request).await;
        let answer = answer.map_err(|error| MailError::Transient(error.to_string()))?;
        let said = || format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        match answer.status {
            200..=299 => Ok(()),
            // A wrong key is the operator's to mend; the mail waits for it.
            401 | 403 | 408 | 409 | 429 | 500.. => Err(MailError::Transient(said())),
            _ => Err(MailError::Permanent(said())),
        }
    }
}

#[cfg(test)]
mod tests {
    use iploop_protocol::policy::TestAllow;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::outbound::OutboundConfig;

    /// Sends one mail to a service that answers like this; the result, and the request's head and body.
    async fn send_to_service_answering(answer: &'static str) -> (Result<(), MailError>, String, Value) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let service = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = String::new();
            loop {
                let mut part = [0; 4096];
                let read = stream.read(&mut part).await.unwrap();
                text.push_str(std::str::from_utf8(&part[..read]).unwrap());
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    continue;
                };
                if let Ok(body) = serde_json::from_str::<Value>(body) {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    return (head.to_owned(), body);
                }
            }
        });
        let client = OutboundClient::new(&OutboundConfig::default(), TestAllow::default()).unwrap();
        let key = Secret::new("re_key");
        let mailer = ResendMailer::new(client, &url, &key, "IPLoop <no-reply@iploop.invalid>").unwrap();
        let mail = Mail {
            to: "ada@example.com".parse().unwrap(),
            to_name: "Ada Lovelace".to_owned(),
            subject: "Hello".to_owned(),
            text: "plain".to_owned(),
            html: "<p>rich</p>".to_owned(),
            unsubscribe: Some("https://h/stop".to_owned()),
        };
        let sent = mailer.send(&mail).await;
        let (head, body) = service.await.unwrap();
        (sent, head, body)
    }

    #[tokio::test]
    async fn a_mail_is_one_post_with_everything_in_it() {
        let (sent, head, body) =
            send_to_service_answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert!(sent.is_ok(), "{sent:?}");
        assert!(head.starts_with("POST /emails HTTP/1.1\r\n"), "{head}");
        assert!(
            head.contains("authorization: Bearer re_key") && head.contains("idempotency-key: "),
            "{head}"
        );
        let expected = json!({
            "from": "IPLoop <no-reply@iploop.invalid>",
            "to": ["Ada Lovelace <ada@example.com>"],
            "subject": "Hello",
            "html": "<p>rich</p>",
            "text": "plain",
            "headers": {
                "Auto-Submitted": "auto-generated",
                "List-Unsubscribe": "<https://h/stop>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            },
        });
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn a_refusal_is_permanent_and_a_busy_service_is_not() {
        for (answer, is_permanent) in [
            ("HTTP/1.1 422 x\r\ncontent-length: 3\r\n\r\nbad", true),
            ("HTTP/1.1 429 x\r\ncontent-length: 0\r\n\r\n", false),
            ("HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n", false),
            ("HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n", false),
            ("what?\r\n\r\n", false),
        ] {
            let (sent, _, _) = send_to_service_answering(answer).await;
            let error = sent.unwrap_err();
            assert_eq!(matches!(error, MailError::Permanent(_)), is_permanent, "{error}");
        }
    }
}
