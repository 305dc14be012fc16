//! Preferences, and what is sent by them.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Notify;

use super::task::NoticeTask;
use super::templates::{Reader, ReportFigures, notice, report};
use super::unsubscribe::{self, Report};
use super::{Addressee, MailEnd, NewMail, Notice, OutboxMail, Preferences, PreferencesChange};
use crate::account::{Account, AccountStatus};
use crate::accounts::{EmailAddress, PublicUrl};
use crate::clock::{Clock, Timestamp};
use crate::field::FieldProblem;
use crate::ids::{AccountId, MailId};
use crate::login::SigningSecret;
use crate::mail::{Mail, MailError, Mailer};
use crate::statistics::Zone;
use crate::store::{Store, StoreError};

/// Path of the links that end reports.
const UNSUBSCRIBE: &str = "/api/mail/unsubscribe";
/// Requests for new passwords that may wait to be looked up.
const MAX_PASSWORD_REQUESTS: u32 = 10_000;
/// Highest limit for `balance.low`: 1 PB.
const MAX_BALANCE_LOW: i64 = 1_000_000_000_000_000;

/// What the service is made of.
pub struct NoticeParts {
    /// The data.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Takes the mails.
    pub mailer: Arc<dyn Mailer>,
    /// Base of the links in mails.
    pub public_url: PublicUrl,
    /// Signs the links that end reports.
    pub secret: SigningSecret,
}

/// Preferences, and what is sent by them. Clones share one state.
#[derive(Clone)]
pub struct NoticeService {
    parts: Arc<NoticeParts>,
    /// Told when something new is in the outbox.
    news: Arc<Notify>,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoticeError {
    /// Fields that can't be accepted.
    #[error("invalid fields")]
    Invalid(Vec<FieldProblem>),
    /// The link is none of ours.
    #[error("the link is not good")]
    LinkInvalid,
    /// There were so many within a day.
    #[error("at most {0} a day")]
    TooMany(u32),
    /// The data can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NoticeService {
    /// The task sends and must run.
    pub fn new(parts: NoticeParts) -> (Self, NoticeTask) {
        let service = Self {
            parts: Arc::new(parts),
            news: Arc::default(),
        };
        let task = NoticeTask::new(service.clone());
        (service, task)
    }

    /// What an account wants to be told.
    pub async fn preferences(&self, account: AccountId) -> Result<Preferences, NoticeError> {
        Ok(self.parts.store.preferences(account).await?)
    }

    /// Changes it, and says what comes of it. That mails about the account's safety are switched off is itself mailed.
    pub async fn change_preferences(
        &self,
        account: AccountId,
        change: &PreferencesChange,
    ) -> Result<Preferences, NoticeError> {
        let mut problems = Vec::new();
        let percent = change.usage_threshold_percent;
        if percent.is_some_and(|percent| !(1..=100).contains(&percent)) {
            let message = "Usage threshold must be 1 to 100 per cent";
            problems.push(FieldProblem::new("usageThresholdPercent", message));
        }
        let bytes = change.balance_low_bytes;
        if bytes.is_some_and(|bytes| !(0..=MAX_BALANCE_LOW).contains(&bytes)) {
            let message = "Balance limit must be 0 to 10^15 bytes";
            problems.push(FieldProblem::new("balanceLowBytes", message));
        }
        if !problems.is_empty() {
            return Err(NoticeError::Invalid(problems));
        }
        let now = self.parts.clock.now();
        let preferences = self.parts.store.change_preferences(account, change, now).await?;
        self.wake();
        Ok(preferences)
    }

    /// Puts a mail into the outbox. When this returns it survives a crash.
    pub async fn queue(&self, account: AccountId, notice: Notice, data: Value) -> Result<(), StoreError> {
        let mail = NewMail {
            account,
            notice,
            data,
            occasion: format!("{notice}:{}", MailId::new()),
            now: self.parts.clock.now(),
        };
        self.parts.store.queue_mail(&mail).await?;
        self.wake();
        Ok(())
    }

    /// Asks for a mail with a link to set a new password, if the address has an account; false: too many such requests wait.
    /// Survives a crash. Whether there is an account is looked up later, by [`NoticeTask`].
    pub async fn ask_for_password(&self, email: &EmailAddress) -> Result<bool, StoreError> {
        let now = self.parts.clock.now();
        let noted = self
            .parts
            .store
            .note_password_request(&email.folded(), now, MAX_PASSWORD_REQUESTS)
            .await?;
        self.wake();
        Ok(noted)
    }

    /// Something new is in the outbox: it need not wait for the next look.
    pub(crate) fn wake(&self) {
        self.news.notify_one();
    }

    /// Until something new is in the outbox.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// The link that ends a kind of report.
    pub fn report_link(&self, account: AccountId, report: Report) -> String {
        let token = unsubscribe::token(&self.parts.secret, account, report);
        self.parts
            .public_url
            .join(&format!("{UNSUBSCRIBE}?token={token}"))
    }

    /// What a link would end, if it is one of ours. Changes nothing.
    pub fn read_link(&self, token: &str) -> Result<Report, NoticeError> {
        let read = unsubscribe::read(&self.parts.secret, token);
        read.map(|(_, report)| report).ok_or(NoticeError::LinkInvalid)
    }

    /// Ends a kind of report for whoever has its link; idempotent.
    pub async fn unsubscribe(&self, token: &str) -> Result<Report, NoticeError> {
        let (account, report) =
            unsubscribe::read(&self.parts.secret, token).ok_or(NoticeError::LinkInvalid)?;
        let mut change = PreferencesChange::default();
        match report {
            Report::Weekly => change.weekly_reports = Some(false),
            Report::Monthly => change.monthly_reports = Some(false),
        }
        let now = self.parts.clock.now();
        self.parts.store.change_preferences(account, &change, now).await?;
        Ok(report)
    }

    pub(super) fn parts(&self) -> &NoticeParts {
        &self.parts
    }

    /// Writes and sends a mail of the outbox, if it is still wanted.
    pub(super) async fn send(&self, mail: &OutboxMail) -> Result<MailEnd, StoreError> {
        let Some(written) = self.write(mail).await? else {
            return Ok(MailEnd::Skipped);
        };
        Ok(match self.parts.mailer.send(&written).await {
            Ok(()) => MailEnd::Sent,
            Err(MailError::Transient(reason)) => {
                super::task::again(mail.tries, self.parts.clock.now(), reason)
            }
            Err(MailError::Permanent(reason)) => MailEnd::Failed(reason),
        })
    }

    /// The mail; none if nobody wants it any more, or if it has nothing to say.
    async fn write(&self, mail: &OutboxMail) -> Result<Option<Mail>, StoreError> {
        if let Some(to) = &mail.to {
            return Ok(Some(self.addressed(mail, to)));
        }
        let store = &self.parts.store;
        let Some(account) = store.account(mail.account).await? else {
            return Ok(None);
        };
        let preferences = store.preferences(mail.account).await?;
        if account.status == AccountStatus::Deleted || !mail.notice.is_wanted(&preferences) {
            return Ok(None);
        }
        let Ok(to) = account.email.parse::<EmailAddress>() else {
            return Ok(None);
        };
        let link = match mail.notice.link() {
            None => None,
            Some(link) => match self.fresh_link(mail, &account, &link).await? {
                None => return Ok(None),
                fresh => fresh,
            },
        };
        let home = self.parts.public_url.join("");
        let reader = Reader {
            to: &to,
            name: &account.first_name,
            home: &home,
            link: link.as_deref(),
        };
        match mail.notice {
            Notice::WeeklyReport => self.report(&account, &reader, Report::Weekly, &mail.data).await,
            Notice::MonthlyReport => self.report(&account, &reader, Report::Monthly, &mail.data).await,
            other => Ok(Some(notice(other, &reader, &mail.data))),
        }
    }

    /// A mail to somebody else than the account that it is about.
    fn addressed(&self, mail: &OutboxMail, to: &Addressee) -> Mail {
        let home = self.parts.public_url.join("");
        let reader = Reader {
            to: &to.address,
            name: &to.name,
            home: &home,
            link: None,
        };
        notice(mail.notice, &reader, &mail.data)
    }

    async fn report(
        &self,
        account: &Account,
        reader: &Reader<'_>,
        kind: Report,
        data: &Value,
    ) -> Result<Option<Mail>, StoreError> {
        let time = |field: &str| serde_json::from_value::<Timestamp>(data[field].clone()).ok();
        let (Some(from), Some(to)) = (time("from"), time("to")) else {
            return Ok(None);
        };
        let usage = self.parts.store.usage_summary(account.id, from, to).await?;
        if usage.total_requests == 0 {
            return Ok(None);
        }
        let zone = data["timeZone"].as_str().unwrap_or_default();
        let figures = ReportFigures {
            from,
            to,
            zone: Zone::named(zone).unwrap_or_default(),
            usage,
            balance_bytes: self.parts.store.balance(account.id).await?.bytes,
        };
        let period = match kind {
            Report::Weekly => "week",
            Report::Monthly => "month",
        };
        let link = self.report_link(account.id, kind);
        Ok(Some(report(reader, period, &figures, &link)))
    }
}
