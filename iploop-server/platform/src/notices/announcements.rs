//! Planned work on the platform: announced by an admin, told by mail to who wants to know, and by webhook to who subscribed.

use std::time::Duration;

use serde_json::{Value, json};

use super::service::{NoticeError, NoticeService};
use crate::abuse::{Actor, AuditAction, AuditEntry};
use crate::clock::{DAY, Timestamp};
use crate::field::{self, FieldProblem, keep, line};
use crate::ids::{AnnouncementId, AuditId};
use crate::store::StoreError;

/// Announcements in a day.
pub const MAX_ANNOUNCEMENTS_A_DAY: u32 = 20;
/// Longest message, in characters.
const MAX_MESSAGE: usize = 1000;
/// How far ahead work may be announced, and how long it may take.
const MAX_AHEAD: Duration = Duration::from_secs(366 * 24 * 3600);
const MAX_LENGTH: Duration = Duration::from_secs(7 * 24 * 3600);
/// Mails queued in one transaction.
const AT_ONCE: u32 = 500;

/// Planned work that was announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Its id.
    pub id: AnnouncementId,
    /// When the work begins.
    pub starts_at: Timestamp,
    /// When it ends.
    pub ends_at: Timestamp,
    /// What customers will notice.
    pub message: String,
    /// When it was announced.
    pub created_at: Timestamp,
}

/// What an admin wants to announce.
#[derive(Clone, Debug)]
pub struct WantedAnnouncement {
    /// When the work begins, at most a year ahead.
    pub starts_at: Timestamp,
    /// When it ends: at most a week later, and not in the past.
    pub ends_at: Timestamp,
    /// One line of at most 1,000 characters.
    pub message: String,
}

impl Announcement {
    /// The particulars, as mails and webhooks have them.
    pub fn data(&self) -> Value {
        json!({ "startsAt": self.starts_at, "endsAt": self.ends_at, "message": self.message })
    }
}

impl NoticeService {
    /// Announces planned work, on record. Who wants to know is told within seconds, by [`NoticeTask`](super::NoticeTask).
    ///
    /// # Errors
    /// If a field is wrong, or there were [`MAX_ANNOUNCEMENTS_A_DAY`] within a day.
    pub async fn announce(
        &self,
        actor: Actor,
        wanted: WantedAnnouncement,
        reason: &str,
    ) -> Result<Announcement, NoticeError> {
        let now = self.parts().clock.now();
        let announcement = checked(wanted, now)?;
        let reason = field::reason(reason).map_err(|problem| vec![problem]);
        let entry = AuditEntry {
            id: AuditId::new(),
            at: now,
            actor,
            action: AuditAction::MaintenanceAnnounced,
            account: None,
            subject: announcement.id.to_string(),
            before: Value::Null,
            after: announcement.data(),
            reason: reason.map_err(NoticeError::Invalid)?,
        };
        match self.parts().store.announce(&announcement, entry).await {
            Err(StoreError::LimitReached { limit, .. }) => return Err(NoticeError::TooMany(limit)),
            other => other?,
        }
        self.wake();
        Ok(announcement)
    }

    /// Queues the mails and events about what was announced and not told; how many mails.
    pub async fn tell_announcements(&self) -> Result<u64, StoreError> {
        let mut told = 0;
        loop {
            let now = self.parts().clock.now();
            match self.parts().store.tell_announcement(now, AT_ONCE).await? {
                Some((_, mails)) => told += mails,
                None => return Ok(told),
            }
        }
    }
}

fn checked(wanted: WantedAnnouncement, now: Timestamp) -> Result<Announcement, NoticeError> {
    let WantedAnnouncement {
        starts_at,
        ends_at,
        message,
    } = wanted;
    let mut problems = Vec::new();
    let message = keep(
        line("message", "Message", &message, 3, MAX_MESSAGE),
        &mut problems,
    );
    if starts_at > now.plus(MAX_AHEAD) {
        problems.push(FieldProblem::new(
            "startsAt",
            "Work is announced at most a year ahead",
        ));
    }
    if ends_at <= starts_at || ends_at.since(starts_at) > MAX_LENGTH {
        let text = format!(
            "Work ends after it starts, within {} days",
            MAX_LENGTH.as_secs() / DAY.as_secs()
        );
        problems.push(FieldProblem::new("endsAt", text));
    } else if ends_at <= now {
        problems.push(FieldProblem::new("endsAt", "Work that is over is not announced"));
    }
    match message {
        Some(message) if problems.is_empty() => Ok(Announcement {
            id: AnnouncementId::new(),
            starts_at,
            ends_at,
            message,
            created_at: now,
        }),
        _ => Err(NoticeError::Invalid(problems)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_to_come_within_bounds_is_announced() {
        let now = Timestamp::from_millis(1_764_000_000_000);
        let hours = |hours: u32| now.plus(Duration::from_secs(3600) * hours);
        let fields = |starts_at, ends_at, message: &str| {
            let message = message.to_owned();
            let wanted = WantedAnnouncement {
                starts_at,
                ends_at,
                message,
            };
            match checked(wanted, now) {
                Ok(_) => Vec::new(),
                Err(NoticeError::Invalid(problems)) => problems.iter().map(|problem| problem.field).collect(),
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(fields(hours(1), hours(2), "an upgrade"), [""; 0]);
        assert_eq!(fields(now.minus(DAY), hours(1), "running already"), [""; 0]);
        assert_eq!(fields(hours(2), hours(1), "x"), ["message", "endsAt"]);
        assert_eq!(fields(hours(1), hours(200), "too long"), ["endsAt"]);
        assert_eq!(fields(now.minus(DAY), now, "over"), ["endsAt"]);
        assert_eq!(fields(hours(9000), hours(9001), "too far"), ["startsAt"]);
        assert_eq!(fields(hours(1), hours(2), "two\nlines"), ["message"]);
        assert_eq!(fields(hours(1), hours(2), &"x".repeat(1001)), ["message"]);
    }
}
