//! Mail: written by templates, sent by SMTP, by Resend or into a folder. What waits lies in the outbox ([`crate::notices`]).

mod file;
pub(crate) mod layout;
mod message;
mod resend;
mod smtp;
pub(crate) mod templates;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::accounts::email::EmailAddress;
use crate::clock::Clock;
use crate::outbound::OutboundClient;
use crate::secret::Secret;
use file::FileMailer;
use message::Sender;
use resend::ResendMailer;
use smtp::SmtpMailer;

/// The `[mail]` section: how mails to customers leave.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MailConfig {
    /// Who sends, as `IPLoop <no-reply@example.com>`. Required with `smtp_url` and
    /// `resend_key`.
    #[schemars(example = &"IPLoop <no-reply@example.com>")]
    pub from: Option<String>,
    /// `smtps://user:password@host` (TLS) or `smtp://user:password@host:587?tls=required` (STARTTLS). Without it mails
    /// are written as `.eml` files into the data folder's `outbox/`.
    #[schemars(with = "Option<String>", example = &"smtps://user:password@mail.example.com")]
    pub smtp_url: Option<Secret>,
    /// Key for the API of Resend. With it mails leave that way, also where `smtp_url` is set.
    #[schemars(with = "Option<String>", example = &"re_123456789")]
    pub resend_key: Option<Secret>,
    /// Where that API is; default: `https://api.resend.com`.
    #[schemars(example = &"https://api.resend.com")]
    pub resend_url: Option<String>,
}

impl MailConfig {
    /// Everything that is wrong with the values; nothing is sent or made.
    pub fn mistakes(&self) -> Vec<MailConfigError> {
        let needs_from = self.smtp_url.is_some() || self.resend_key.is_some();
        let from = match &self.from {
            Some(from) => message::mailbox(from).err(),
            None => needs_from.then_some(MailConfigError::From),
        };
        let url = self.smtp_url.as_ref().and_then(|url| smtp::transport(url).err());
        let resend = resend::target(self.resend_url()).err();
        from.into_iter().chain(url).chain(resend).collect()
    }

    /// Whether mails become files: there is no mail server.
    pub fn is_to_folder(&self) -> bool {
        self.smtp_url.is_none() && self.resend_key.is_none()
    }

    fn resend_url(&self) -> &str {
        self.resend_url.as_deref().unwrap_or(RESEND_URL)
    }
}

/// Where the API of Resend is.
const RESEND_URL: &str = "https://api.resend.com";

/// Folder in the data folder that takes the mails, where there is no mail server.
pub const OUTBOX: &str = "outbox";

/// One mail to one person.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// The address.
    pub to: EmailAddress,
    /// The person's name.
    pub to_name: String,
    /// The subject.
    pub subject: String,
    /// The plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
    /// Where one click ends mails of this kind.
    pub unsubscribe: Option<String>,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// Hands one mail over: to a mail server, or to a folder.
#[async_trait]
pub trait Mailer: Send + Sync + 'static {
    /// Returns when the other side has taken responsibility for the mail.
    async fn send(&self, mail: &Mail) -> Result<(), MailError>;
}

/// Why a mail was not handed over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailError {
    /// Trying again later may help.
    #[error("mail not taken for now: {0}")]
    Transient(String),
    /// It will never be taken.
    #[error("mail refused: {0}")]
    Permanent(String),
}

/// Why the `[mail]` section can't be used. Never shows the password in `smtp_url`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailConfigError {
    /// `from` is missing or malformed.
    #[error("mail.from: write it as \"IPLoop <no-reply@example.com>\"")]
    From,
    /// `smtp_url` is malformed.
    #[error(
        "mail.smtp_url: write it as smtps://user:password@host or smtp://user:password@host:587?tls=required"
    )]
    SmtpUrl,
    /// `resend_key` can't be a key.
    #[error("mail.resend_key: holds characters that no key has")]
    ResendKey,
    /// `resend_url` is malformed.
    #[error("mail.resend_url: write it as https://api.resend.com")]
    ResendUrl,
    /// The outbox can't be made.
    #[error("{path}: {source}")]
    Outbox {
        /// The folder.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Opens the configured way out.
pub fn mailer(
    config: &MailConfig,
    data: &Path,
    clock: Arc<dyn Clock>,
    client: OutboundClient,
) -> Result<Arc<dyn Mailer>, MailConfigError> {
    let from = || config.from.as_deref().ok_or(MailConfigError::From);
    if let Some(key) = &config.resend_key {
        let mailer = ResendMailer::new(client, config.resend_url(), key, from()?)?;
        return Ok(Arc::new(mailer));
    }
    if let Some(url) = &config.smtp_url {
        return Ok(Arc::new(SmtpMailer::new(url, Sender::parse(from()?, clock)?)?));
    }
    let from = config
        .from
        .as_deref()
        .unwrap_or("IPLoop <no-reply@iploop.invalid>");
    let mailer = FileMailer::open(&data.join(OUTBOX), Sender::parse(from, clock)?)?;
    Ok(Arc::new(mailer))
}
