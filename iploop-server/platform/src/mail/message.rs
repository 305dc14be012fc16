//! A mail as RFC 5322 text.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use uuid::Uuid;

use crate::clock::Clock;
use crate::mail::{Mail, MailConfigError, MailError};

/// Who sends, and when.
pub(super) struct Sender {
    from: Mailbox,
    clock: Arc<dyn Clock>,
}

impl Sender {
    pub(super) fn parse(from: &str, clock: Arc<dyn Clock>) -> Result<Self, MailConfigError> {
        let from = mailbox(from)?;
        Ok(Self { from, clock })
    }

    /// The mail with its headers, in both forms.
    pub(super) fn message(&self, mail: &Mail) -> Result<Message, MailError> {
        let to = recipient(mail)?;
        let millis = u64::try_from(self.clock.now().as_millis()).unwrap_or(0);
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(&mail.subject)
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
            .message_id(Some(format!("<{}@{}>", Uuid::now_v7(), self.from.email.domain())));
        for (name, value) in extra_headers(mail) {
            builder = builder.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str(name), value));
        }
        builder
            .multipart(MultiPart::alternative_plain_html(
                mail.text.clone(),
                mail.html.clone(),
            ))
            .map_err(permanent)
    }
}

/// Whom a mail is for.
pub(super) fn recipient(mail: &Mail) -> Result<Mailbox, MailError> {
    let address = mail.to.as_str().parse().map_err(permanent)?;
    Ok(Mailbox::new(Some(mail.to_name.clone()), address))
}

/// Header fields for the programs on the way.
pub(super) fn extra_headers(mail: &Mail) -> Vec<(&'static str, String)> {
    // RFC 3834: no out-of-office answers to this one.
    let mut fields = vec![("Auto-Submitted", "auto-generated".to_owned())];
    if let Some(link) = &mail.unsubscribe {
        // RFC 8058: one click, by POST.
        fields.push(("List-Unsubscribe", format!("<{link}>")));
        fields.push(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
    }
    fields
}

/// Name and address of the one who sends.
pub(super) fn mailbox(from: &str) -> Result<Mailbox, MailConfigError> {
    from.parse().map_err(|_| MailConfigError::From)
}

fn permanent(error: impl std::fmt::Display) -> MailError {
    MailError::Permanent(error.to_string())
}
