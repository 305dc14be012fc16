//! Preferences, and what is sent by them.

use std::sync::Arc;

use serde_json::Value;

use super::task::NoticeTask;
use super::templates::{Reader, ReportFigures, notice, report};
use super::unsubscribe::{self, Report};
use super::{MailEnd, Notice, OutboxMail, Preferences};
use crate::account::{Account, AccountStatus};
use crate::accounts::{EmailAddress, PublicUrl};
use crate::clock::{Clock, Timestamp};
use crate::field::FieldProblem;
use crate::ids::AccountId;
use crate::login::SigningSecret;
use crate::mail::{Mail, MailError, Mailer};
use crate::store::{Store, StoreError};

/// Path of the links that end reports.
const UNSUBSCRIBE: &str = "/api/mail/unsubscribe";
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
pub struct NoticeService(Arc<NoticeParts>);

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
    /// The data can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NoticeService {
    /// The task sends and must run.
    pub fn new(parts: NoticeParts) -> (Self, NoticeTask) {
        let service = Self(Arc::new(parts));
        let task = NoticeTask::new(service.clone());
        (service, task)
    }

    /// What an account wants to be told.
    pub async fn preferences(&self, account: AccountId) -> Result<Preferences, NoticeError> {
        Ok(self.0.store.preferences(account).await?)
    }

    /// Sets all of it.
    pub async fn set_preferences(
        &self,
        account: AccountId,
        preferences: &Preferences,
    ) -> Result<(), NoticeError> {
        let mut problems = Vec::new();
        if !(1..=100).contains(&preferences.usage_threshold_percent) {
            let message = "Usage threshold must be 1 to 100 per cent";
            problems.push(FieldProblem::new("usageThresholdPercent", message));
        }
        if !(0..=MAX_BALANCE_LOW).contains(&preferences.balance_low_bytes) {
            let message = "Balance limit must be 0 to 10^15 bytes";
            problems.push(FieldProblem::new("balanceLowBytes", message));
        }
        if !problems.is_empty() {
            return Err(NoticeError::Invalid(problems));
        }
        let now = self.0.clock.now();
        Ok(self.0.store.set_preferences(account, preferences, now).await?)
    }

    /// The link that ends a kind of report.
    pub fn report_link(&self, account: AccountId, report: Report) -> String {
        let token = unsubscribe::token(&self.0.secret, account, report);
        self.0.public_url.join(&format!("{UNSUBSCRIBE}?token={token}"))
    }

    /// What a link would end, if it is one of ours. Changes nothing.
    pub fn read_link(&self, token: &str) -> Result<Report, NoticeError> {
        let read = unsubscribe::read(&self.0.secret, token);
        read.map(|(_, report)| report).ok_or(NoticeError::LinkInvalid)
    }

    /// Ends a kind of report for whoever has its link; idempotent.
    pub async fn unsubscribe(&self, token: &str) -> Result<Report, NoticeError> {
        let (account, report) = unsubscribe::read(&self.0.secret, token).ok_or(NoticeError::LinkInvalid)?;
        let mut preferences = self.0.store.preferences(account).await?;
        match report {
            Report::Weekly => preferences.weekly_reports = false,
            Report::Monthly => preferences.monthly_reports = false,
        }
        let now = self.0.clock.now();
        self.0.store.set_preferences(account, &preferences, now).await?;
        Ok(report)
    }

    pub(super) fn parts(&self) -> &NoticeParts {
        &self.0
    }

    /// Writes and sends a mail of the outbox, if it is still wanted.
    pub(super) async fn send(&self, mail: &OutboxMail) -> Result<MailEnd, StoreError> {
        let Some(written) = self.write(mail).await? else {
            return Ok(MailEnd::Skipped);
        };
        Ok(match self.0.mailer.send(&written).await {
            Ok(()) => MailEnd::Sent,
            Err(MailError::Transient(reason)) => super::task::again(mail.tries, self.0.clock.now(), reason),
            Err(MailError::Permanent(reason)) => MailEnd::Failed(reason),
        })
    }

    /// The mail; none if nobody wants it any more, or if it has nothing to say.
    async fn write(&self, mail: &OutboxMail) -> Result<Option<Mail>, StoreError> {
        let store = &self.0.store;
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
        let home = self.0.public_url.join("");
        let reader = Reader {
            to: &to,
            name: &account.first_name,
            home: &home,
        };
        match mail.notice {
            Notice::WeeklyReport => self.report(&account, &reader, Report::Weekly, &mail.data).await,
            Notice::MonthlyReport => self.report(&account, &reader, Report::Monthly, &mail.data).await,
            other => Ok(Some(notice(other, &reader, &mail.data))),
        }
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
        let usage = self.0.store.usage_summary(account.id, from, to).await?;
        if usage.total_requests == 0 {
            return Ok(None);
        }
        let figures = ReportFigures {
            from,
            to,
            usage,
            balance_bytes: self.0.store.balance(account.id).await?.bytes,
        };
        let period = match kind {
            Report::Weekly => "week",
            Report::Monthly => "month",
        };
        let link = self.report_link(account.id, kind);
        Ok(Some(report(reader, period, &figures, &link)))
    }
}
