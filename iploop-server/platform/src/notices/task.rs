//! Sends what is in the outbox, and queues reports when they are due.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::reports;
use super::service::NoticeService;
use super::{MailEnd, OutboxMail};
use crate::clock::Timestamp;
use crate::ids::HoldId;
use crate::store::StoreError;

/// How often the outbox is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Mails held at once; they are sent one after the other.
const AT_ONCE: u32 = 10;
/// How long one mail may take, and how long those held are: all of them one after the other.
const TRY_TIMEOUT: Duration = Duration::from_secs(60);
const HOLD: Duration = Duration::from_secs(11 * 60);
/// Waits before the second try and those after it: 31 hours in all.
const RETRIES: [Duration; 6] = [
    Duration::from_secs(60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(3600),
    Duration::from_secs(4 * 3600),
    Duration::from_secs(8 * 3600),
    Duration::from_secs(18 * 3600),
];
/// How often it is asked whether reports are due.
const REPORTS_EVERY: Duration = Duration::from_secs(300);
/// Reports queued in one transaction.
const REPORTS_AT_ONCE: u32 = 500;

/// Runs beside the [`NoticeService`]. Several processes may run it on the same data.
pub struct NoticeTask(NoticeService);

impl NoticeTask {
    pub(super) fn new(service: NoticeService) -> Self {
        Self(service)
    }

    /// Runs until `stop`. A mail under way then may be sent once more after the next start.
    pub async fn run(self, stop: CancellationToken) {
        let work = async {
            let mut reports_at = Instant::now();
            loop {
                if Instant::now() >= reports_at {
                    reports_at = Instant::now() + REPORTS_EVERY;
                    warn("reports can't be queued", self.0.queue_reports().await);
                }
                let sent = self.0.send_due().await;
                if !matches!(sent, Ok(sent) if sent > 0) {
                    sleep(LOOK_EVERY).await;
                }
                warn("the mail outbox can't be read", sent);
            }
        };
        let _: Option<()> = stop.run_until_cancelled(work).await;
    }
}

impl NoticeService {
    /// Queues the reports that are due, for everybody who has none yet.
    pub async fn queue_reports(&self) -> Result<u64, StoreError> {
        let parts = self.parts();
        let now = parts.clock.now();
        let mut queued = 0;
        for report in reports::due(now) {
            loop {
                let batch = parts.store.queue_reports(&report, now, REPORTS_AT_ONCE).await?;
                queued += batch;
                if batch < u64::from(REPORTS_AT_ONCE) {
                    break;
                }
            }
        }
        Ok(queued)
    }

    /// Sends mails of the outbox that are due, a few; how many were looked at.
    pub async fn send_due(&self) -> Result<u64, StoreError> {
        let parts = self.parts();
        let now = parts.clock.now();
        let held = parts
            .store
            .claim_mails(now, HoldId::new(), now.plus(HOLD), AT_ONCE)
            .await?;
        for mail in &held {
            let end = self.try_to_send(mail).await?;
            let result = match &end {
                MailEnd::Sent => "sent",
                MailEnd::Skipped => "skipped",
                MailEnd::Again(..) => "retried",
                MailEnd::Failed(_) => "failed",
            };
            metrics::counter!("iploop_mails_total", "result" => result).increment(1);
            if let MailEnd::Failed(reason) = &end {
                tracing::warn!(notice = mail.notice.as_str(), reason, "a mail was given up");
            }
            parts.store.finish_mail(mail, &end).await?;
        }
        Ok(held.len() as u64)
    }

    async fn try_to_send(&self, mail: &OutboxMail) -> Result<MailEnd, StoreError> {
        match timeout(TRY_TIMEOUT, self.send(mail)).await {
            Ok(end) => end,
            Err(_) => Ok(again(
                mail.tries,
                self.parts().clock.now(),
                "no answer in time".to_owned(),
            )),
        }
    }
}

/// The next try after so many, or the end.
pub(super) fn again(tries: u32, now: Timestamp, reason: String) -> MailEnd {
    match RETRIES.get(usize::try_from(tries).unwrap_or(usize::MAX)) {
        Some(wait) => MailEnd::Again(now.plus(*wait), reason),
        None => MailEnd::Failed(reason),
    }
}

fn warn(what: &'static str, done: Result<u64, StoreError>) {
    if let Err(error) = done {
        tracing::warn!(%error, what, "trying later");
    }
}
