//! Mail by SMTP (RFC 5321), over TLS where the configuration says so.

use std::time::Duration;

use async_trait::async_trait;
use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use crate::mail::message::Sender;
use crate::mail::{Mail, MailConfigError, MailError, Mailer};
use crate::secret::Secret;

/// How long a mail server may take for one command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);

/// One connection a mail.
pub(super) struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    sender: Sender,
}

impl SmtpMailer {
    pub(super) fn new(url: &Secret, sender: Sender) -> Result<Self, MailConfigError> {
        let transport = transport(url)?.timeout(Some(COMMAND_TIMEOUT)).build();
        Ok(Self { transport, sender })
    }
}

/// How to reach the server that `url` names; nothing is connected.
pub(super) fn transport(url: &Secret) -> Result<AsyncSmtpTransportBuilder, MailConfigError> {
    AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose()).map_err(|_| MailConfigError::SmtpUrl)
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = self.sender.message(mail)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(MailError::Permanent(error.to_string())),
            Err(error) => Err(MailError::Transient(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;

    use super::*;
    use crate::clock::SystemClock;

    /// Serves one connection as a mail server that answers RCPT with `rcpt`; returns what it was given as data.
    async fn mail_server(listener: TcpListener, rcpt: &'static str) -> String {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.get_mut().write_all(b"220 test\r\n").await.unwrap();
        let mut data = String::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return data;
            }
            let answer = match line.get(..4).unwrap_or_default() {
                "EHLO" => "250 test",
                "MAIL" => "250 ok",
                "RCPT" => rcpt,
                "DATA" => {
                    stream.get_mut().write_all(b"354 go on\r\n").await.unwrap();
                    while !data.ends_with("\r\n.\r\n") {
                        assert!(stream.read_line(&mut data).await.unwrap() > 0);
                    }
                    "250 taken"
                }
                "QUIT" => "221 bye",
                _ => "500 what?",
            };
            if stream
                .get_mut()
                .write_all(format!("{answer}\r\n").as_bytes())
                .await
                .is_err()
            {
                return data;
            }
        }
    }

    async fn send_to_server_answering(rcpt: &'static str) -> (Result<(), MailError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Secret::new(format!("smtp://{}", listener.local_addr().unwrap()));
        let sender = Sender::parse("IPLoop <no-reply@iploop.invalid>", Arc::new(SystemClock)).unwrap();
        let mailer = SmtpMailer::new(&url, sender).unwrap();
        let server = tokio::spawn(mail_server(listener, rcpt));
        let mail = Mail {
            to: "ada@example.com".parse().unwrap(),
            to_name: "Ada".to_owned(),
            subject: "Hello".to_owned(),
            text: "plain".to_owned(),
            html: "<p>rich</p>".to_owned(),
            unsubscribe: None,
        };
        let sent = mailer.send(&mail).await;
        (sent, server.await.unwrap())
    }

    #[tokio::test]
    async fn a_mail_reaches_the_server() {
        let (sent, data) = send_to_server_answering("250 ok").await;
        assert!(sent.is_ok(), "{sent:?}");
        assert!(
            data.contains("Subject: Hello") && data.contains("plain"),
            "{data}"
        );
    }

    #[tokio::test]
    async fn a_refusal_is_permanent_and_a_busy_mailbox_is_not() {
        let (sent, _) = send_to_server_answering("550 no such user").await;
        assert!(matches!(sent, Err(MailError::Permanent(_))), "{sent:?}");
        let (sent, _) = send_to_server_answering("450 busy").await;
        assert!(matches!(sent, Err(MailError::Transient(_))), "{sent:?}");
    }

    #[test]
    fn a_wrong_url_is_refused_without_showing_it() {
        let sender = Sender::parse("a@b.co", Arc::new(SystemClock)).unwrap();
        let error = SmtpMailer::new(&Secret::new("http://user:hunter2@host"), sender)
            .err()
            .unwrap();
        assert!(!error.to_string().contains("hunter2"));
    }
}
