//! Sends what is in the outbox, and fills it with what nobody waits for: reports, announcements, mails to who asked for a new
//! password.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::reports;
use super::service::NoticeService;
use super::{MailEnd, NewReport, OutboxMail};
use crate::clock::Timestamp;
use crate::ids::HoldId;
use crate::statistics::Zone;
use crate::store::StoreError;

/// How often the outbox is looked at for what other processes put in; what this one puts in is sent at once.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Mails sent between two looks at what else there is to do.
const AT_ONCE: u64 = 10;
/// How long one mail may take, and how long it is held: after a crash it waits for that.
const TRY_TIMEOUT: Duration = Duration::from_secs(60);
const HOLD: Duration = Duration::from_secs(90);
/// Waits before the second try and those after it: 31 hours in all. The first ones are short, for who sits and waits.
const RETRIES: [Duration; 8] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(3 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(3600),
    Duration::from_secs(4 * 3600),
    Duration::from_secs(8 * 3600),
    Duration::from_secs(18 * 3600),
];
/// Requests for new passwords answered in one transaction.
const REQUESTS_AT_ONCE: u32 = 100;
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
                warn(
                    "requests for new passwords can't be answered",
                    self.0.answer_requests().await,
                );
                warn("announcements can't be told", self.0.tell_announcements().await);
                let sent = self.0.send_due().await;
                if !matches!(sent, Ok(sent) if sent > 0) {
                    // What comes in the meantime is noticed: the news wait until they are asked for.
                    let _ = timeout(LOOK_EVERY, self.0.news()).await;
                }
                warn("the mail outbox can't be read", sent);
            }
        };
        let _: Option<()> = stop.run_until_cancelled(work).await;
    }
}

impl NoticeService {
    /// Queues the mails to who asked for a new password and has an account; how many asked.
    pub async fn answer_requests(&self) -> Result<u64, StoreError> {
        let mut answered = 0;
        loop {
            let batch = self
                .parts()
                .store
                .answer_password_requests(REQUESTS_AT_ONCE)
                .await?;
            answered += batch;
            if batch < u64::from(REQUESTS_AT_ONCE) {
                return Ok(answered);
            }
        }
    }

    /// Queues the reports that are due, for everybody who has none yet.
    pub async fn queue_reports(&self) -> Result<u64, StoreError> {
        let parts = self.parts();
        let now = parts.clock.now();
        let mut queued = 0;
        for time_zone in parts.store.time_zones().await? {
            // A zone that this program does not know counts as UTC.
            let zone = Zone::named(&time_zone).unwrap_or_default();
            for mut report in reports::due(now, &zone) {
                report.time_zone.clone_from(&time_zone);
                queued += self.queue_report(&report, now).await?;
            }
        }
        Ok(queued)
    }

    async fn queue_report(&self, report: &NewReport, now: Timestamp) -> Result<u64, StoreError> {
        let mut queued = 0;
        loop {
            let batch = self
                .parts()
                .store
                .queue_reports(report, now, REPORTS_AT_ONCE)
                .await?;
            queued += batch;
            if batch < u64::from(REPORTS_AT_ONCE) {
                return Ok(queued);
            }
        }
    }

    /// Sends mails of the outbox that are due, a few; how many were looked at.
    pub async fn send_due(&self) -> Result<u64, StoreError> {
        let parts = self.parts();
        for sent in 0..AT_ONCE {
            let now = parts.clock.now();
            // One at a time: a crash delays one mail, by its own hold.
            let held = parts
                .store
                .claim_mails(now, HoldId::new(), now.plus(HOLD), 1)
                .await?;
            let Some(mail) = held.first() else {
                return Ok(sent);
            };
            let end = self.try_to_send(mail).await?;
            let result = match &end {
                MailEnd::Sent => "sent",
                MailEnd::Skipped => "skipped",
                MailEnd::Again(..) => "retried",
                MailEnd::Failed(_) => "failed",
            };
            if let MailEnd::Failed(reason) = &end {
                tracing::warn!(notice = mail.notice.as_str(), reason, "a mail was given up");
            }
            parts.store.finish_mail(mail, &end).await?;
            // Counted when it is noted: whoever sees the count finds the mail so after a crash too.
            metrics::counter!("iploop_mails_total", "result" => result).increment(1);
        }
        Ok(AT_ONCE)
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
