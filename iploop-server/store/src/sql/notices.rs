//! What customers want to be told, and the outbox of mails.

use async_trait::async_trait;
use iploop_platform::abuse::AuditEntry;
use iploop_platform::clock::{DAY, Timestamp};
use iploop_platform::ids::{AccountId, HoldId, MailId};
use iploop_platform::notices::{
    Addressee, Announcement, MAX_MAILS_A_DAY, MailEnd, NewMail, NewReport, Notice, Notices, OutboxMail,
    Preferences, PreferencesChange,
};
use iploop_platform::store::StoreError;
use serde::Serialize;
use serde_json::Value;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::columns::{clean, id, json, number, text, time};
use super::ledger::ids;
use super::{Db, Row, SqlStore, Tx, announcements, password_requests};
use crate::error::{act, unreadable};

/// Queues a mail in the transaction of what it is about. One for an account and occasion: others change nothing.
pub(super) async fn insert(
    tx: &mut Tx,
    account: AccountId,
    notice: Notice,
    data: &Value,
    occasion: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    insert_row(tx, None, account, notice, data, occasion, now).await
}

/// Queues a mail about something that happens once, in the transaction of that.
pub(super) async fn tell(
    tx: &mut Tx,
    account: AccountId,
    notice: Notice,
    data: &Value,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let occasion = format!("{notice}:{}", MailId::new());
    insert(tx, account, notice, data, &occasion, now).await
}

/// Queues a mail about an account to somebody else, likewise.
pub(super) async fn insert_to(
    tx: &mut Tx,
    to: &Addressee,
    account: AccountId,
    notice: Notice,
    data: &Value,
    occasion: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    insert_row(tx, Some(to), account, notice, data, occasion, now).await
}

/// To the account where `to` is none. What comes beyond the bound of a day is not queued.
async fn insert_row(
    tx: &mut Tx,
    to: Option<&Addressee>,
    account: AccountId,
    notice: Notice,
    data: &Value,
    occasion: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO mail_outbox (id, user_id, template, data, occasion, state, tries, due_at, lease_until, created_at,
             to_address, to_name)
         SELECT $1, $2, $3, $4, $5, 'pending', 0, $6, 0, $6, $7, $8
         WHERE $9 > (SELECT COUNT(*) FROM mail_outbox known
             WHERE known.user_id = $2 AND known.created_at > $10 AND known.to_address IS NULL)
         ON CONFLICT (user_id, occasion) DO NOTHING",
    )
    .bind(MailId::new().uuid())
    .bind(account.uuid())
    .bind(notice.as_str())
    .bind(Json(clean(data.clone())))
    .bind(text(occasion))
    .bind(now.as_millis())
    .bind(to.map(|to| to.address.as_str()))
    .bind(to.map(|to| text(&to.name)))
    .bind(match notice.is_bounded() && to.is_none() {
        true => i64::from(MAX_MAILS_A_DAY),
        false => i64::MAX,
    })
    .bind(now.minus(DAY).as_millis())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Queues the same mail for many accounts; how many of them had none for this occasion.
pub(super) async fn insert_many(
    tx: &mut Tx,
    accounts: &[Uuid],
    notice: Notice,
    data: &Value,
    occasion: &str,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let new: Vec<_> = accounts
        .iter()
        .map(|user_id| NewRow {
            id: MailId::new().uuid(),
            user_id: *user_id,
        })
        .collect();
    let done = sqlx::query(concat!(
        "INSERT INTO mail_outbox (id, user_id, template, data, occasion, state, tries, due_at, lease_until, created_at,
             is_bulk)
         SELECT id, user_id, $2, $3, $4, 'pending', 0, $5, 0, $5, $6 FROM (",
        given!(id uuid, user_id uuid),
        ") AS new WHERE TRUE
         ON CONFLICT (user_id, occasion) DO NOTHING"
    ))
    .bind(Json(new))
    .bind(notice.as_str())
    .bind(Json(clean(data.clone())))
    .bind(text(occasion))
    .bind(now.as_millis())
    .bind(notice.is_bulk())
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}

#[derive(Serialize)]
struct NewRow {
    id: Uuid,
    user_id: Uuid,
}

#[async_trait]
impl Notices for SqlStore {
    async fn preferences(&self, account: AccountId) -> Result<Preferences, StoreError> {
        act(async { Ok(preferences_of(&self.read, account).await?) }).await
    }

    async fn change_preferences(
        &self,
        account: AccountId,
        change: &PreferencesChange,
        now: Timestamp,
    ) -> Result<Preferences, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            // A second change waits here for the first, and is made to what that left.
            sqlx::query(concat!("SELECT id FROM users WHERE id = $1", locked!()))
                .bind(account.uuid())
                .fetch_optional(&mut *tx)
                .await?;
            let before = preferences_of(&mut *tx, account).await?;
            let preferences = change.over(before);
            if before.security_alerts && !preferences.security_alerts {
                // Whoever took the account over must not be able to keep it quiet.
                tell(&mut tx, account, Notice::SecurityAlertsOff, &Value::Null, now).await?;
            }
            write_preferences(&mut tx, account, &preferences, now).await?;
            tx.commit().await?;
            Ok(preferences)
        })
        .await
    }

    async fn queue_mail(&self, mail: &NewMail) -> Result<(), StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            insert(
                &mut tx,
                mail.account,
                mail.notice,
                &mail.data,
                &mail.occasion,
                mail.now,
            )
            .await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn note_password_request(
        &self,
        email_folded: &str,
        now: Timestamp,
        most: u32,
    ) -> Result<bool, StoreError> {
        act(async { Ok(password_requests::note(self, email_folded, now, most).await?) }).await
    }

    async fn answer_password_requests(&self, limit: u32) -> Result<u64, StoreError> {
        act(async { Ok(password_requests::answer(self, limit).await?) }).await
    }

    async fn time_zones(&self) -> Result<Vec<String>, StoreError> {
        act(async {
            let rows = sqlx::query("SELECT DISTINCT time_zone FROM users ORDER BY time_zone")
                .fetch_all(&self.read)
                .await?;
            let zones = rows.iter().map(|row| row.try_get("time_zone"));
            Ok(zones.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn announce(&self, announcement: &Announcement, entry: AuditEntry) -> Result<(), StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            announcements::announce(&mut tx, announcement, &entry).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn tell_announcement(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Option<(Announcement, u64)>, StoreError> {
        act(async { Ok(announcements::tell(self, now, limit).await?) }).await
    }

    async fn queue_reports(&self, report: &NewReport, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        act(async {
            let rows = sqlx::query(
                "SELECT u.id FROM users u
                 WHERE u.status = 'active' AND u.email_verified AND u.created_at < $1 AND u.time_zone = $4
                     AND NOT EXISTS (SELECT 1 FROM mail_outbox m WHERE m.user_id = u.id AND m.occasion = $2)
                 ORDER BY u.id LIMIT $3",
            )
            .bind(report.made_before.as_millis())
            .bind(text(&report.occasion))
            .bind(i64::from(limit))
            .bind(text(&report.time_zone))
            .fetch_all(&self.read)
            .await?;
            if rows.is_empty() {
                return Ok(0);
            }
            let readers = rows
                .iter()
                .map(|row| row.try_get("id"))
                .collect::<Result<Vec<Uuid>, _>>()?;
            let mut tx = self.begin().await?;
            let queued = insert_many(
                &mut tx,
                &readers,
                report.notice,
                &report.data,
                &report.occasion,
                now,
            )
            .await?;
            tx.commit().await?;
            Ok(queued)
        })
        .await
    }

    async fn claim_mails(
        &self,
        now: Timestamp,
        hold: HoldId,
        hold_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxMail>, StoreError> {
        act(async {
            let due = sqlx::query(
                "SELECT id FROM mail_outbox WHERE state = 'pending' AND due_at <= $1 AND lease_until <= $1
                 ORDER BY is_bulk, due_at, id LIMIT $2",
            )
            .bind(now.as_millis())
            .bind(i64::from(limit))
            .fetch_all(&self.read)
            .await?;
            let due = due
                .iter()
                .map(|row| row.try_get("id"))
                .collect::<Result<Vec<Uuid>, _>>()?;
            if due.is_empty() {
                return Ok(Vec::new());
            }
            let mut tx = self.begin().await?;
            sqlx::query(concat!(
                "SELECT id FROM mail_outbox WHERE id IN (",
                given!(id uuid),
                ") ORDER BY id",
                locked!()
            ))
            .bind(Json(ids(&due)))
            .fetch_all(&mut *tx)
            .await?;
            let rows = sqlx::query(concat!(
                "UPDATE mail_outbox SET lease = $2, lease_until = $3 WHERE id IN (",
                given!(id uuid),
                ") AND state = 'pending' AND lease_until <= $4
                 RETURNING id, user_id, template, data, tries, created_at, to_address, to_name"
            ))
            .bind(Json(ids(&due)))
            .bind(hold.uuid())
            .bind(hold_until.as_millis())
            .bind(now.as_millis())
            .fetch_all(&mut *tx)
            .await?;
            tx.commit().await?;
            let mut mails = Vec::with_capacity(rows.len());
            for row in &rows {
                mails.extend(mail_from(row, hold)?);
            }
            mails.sort_unstable_by_key(|mail: &OutboxMail| mail.id);
            Ok(mails)
        })
        .await
    }

    async fn finish_mail(&self, mail: &OutboxMail, end: &MailEnd) -> Result<bool, StoreError> {
        let (state, due_at, error) = match end {
            MailEnd::Sent => ("sent", None, None),
            MailEnd::Skipped => ("skipped", None, None),
            MailEnd::Again(at, error) => ("pending", Some(at.as_millis()), Some(error)),
            MailEnd::Failed(error) => ("failed", None, Some(error)),
        };
        // A mail server's words may quote the address, which nobody has any more.
        let error = error.filter(|_| mail.notice != Notice::AccountDeleted);
        act(async {
            let done = sqlx::query(
                "UPDATE mail_outbox SET state = $3, due_at = COALESCE($4, due_at), error = $5, tries = tries + 1,
                     lease = NULL, lease_until = 0,
                     to_address = CASE WHEN $3 = 'pending' THEN to_address END,
                     to_name = CASE WHEN $3 = 'pending' THEN to_name END
                 WHERE id = $1 AND lease = $2 AND state = 'pending'",
            )
            .bind(mail.id.uuid())
            .bind(mail.hold.uuid())
            .bind(state)
            .bind(due_at)
            .bind(error.map(|error| text(error)))
            .execute(&self.write)
            .await?;
            Ok(done.rows_affected() > 0)
        })
        .await
    }
}

/// The defaults where the account never said.
async fn preferences_of<'c>(
    from: impl sqlx::Executor<'c, Database = Db>,
    account: AccountId,
) -> Result<Preferences, sqlx::Error> {
    let row = sqlx::query(
        "SELECT email_alerts, usage_alerts, billing_alerts, security_alerts, maintenance_alerts, rate_limit_alerts,
             weekly_reports, monthly_reports, usage_threshold_percent, balance_low_bytes
         FROM notification_preferences WHERE user_id = $1",
    )
    .bind(account.uuid())
    .fetch_optional(from)
    .await?;
    Ok(row
        .as_ref()
        .map(preferences_from)
        .transpose()?
        .unwrap_or_default())
}

async fn write_preferences(
    tx: &mut Tx,
    account: AccountId,
    preferences: &Preferences,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO notification_preferences (user_id, email_alerts, usage_alerts, billing_alerts, security_alerts,
             maintenance_alerts, rate_limit_alerts, weekly_reports, monthly_reports, usage_threshold_percent,
             balance_low_bytes, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (user_id) DO UPDATE SET
             email_alerts = excluded.email_alerts,
             usage_alerts = excluded.usage_alerts,
             billing_alerts = excluded.billing_alerts,
             security_alerts = excluded.security_alerts,
             maintenance_alerts = excluded.maintenance_alerts,
             rate_limit_alerts = excluded.rate_limit_alerts,
             weekly_reports = excluded.weekly_reports,
             monthly_reports = excluded.monthly_reports,
             usage_threshold_percent = excluded.usage_threshold_percent,
             balance_low_bytes = excluded.balance_low_bytes,
             updated_at = excluded.updated_at",
    )
    .bind(account.uuid())
    .bind(preferences.email_alerts)
    .bind(preferences.usage_alerts)
    .bind(preferences.billing_alerts)
    .bind(preferences.security_alerts)
    .bind(preferences.maintenance_alerts)
    .bind(preferences.rate_limit_alerts)
    .bind(preferences.weekly_reports)
    .bind(preferences.monthly_reports)
    .bind(i64::from(preferences.usage_threshold_percent))
    .bind(preferences.balance_low_bytes)
    .bind(now.as_millis())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn preferences_from(row: &Row) -> Result<Preferences, sqlx::Error> {
    Ok(Preferences {
        email_alerts: row.try_get("email_alerts")?,
        usage_alerts: row.try_get("usage_alerts")?,
        billing_alerts: row.try_get("billing_alerts")?,
        security_alerts: row.try_get("security_alerts")?,
        maintenance_alerts: row.try_get("maintenance_alerts")?,
        rate_limit_alerts: row.try_get("rate_limit_alerts")?,
        weekly_reports: row.try_get("weekly_reports")?,
        monthly_reports: row.try_get("monthly_reports")?,
        usage_threshold_percent: number(row, "usage_threshold_percent")?,
        balance_low_bytes: row.try_get("balance_low_bytes")?,
    })
}

/// None if a newer release wrote it: that one will send it.
fn mail_from(row: &Row, hold: HoldId) -> Result<Option<OutboxMail>, sqlx::Error> {
    let Some(notice) = Notice::named(row.try_get("template")?) else {
        return Ok(None);
    };
    Ok(Some(OutboxMail {
        id: id(row, "id")?,
        hold,
        account: id(row, "user_id")?,
        to: addressee_from(row)?,
        notice,
        data: json(row, "data")?,
        tries: number(row, "tries")?,
        created_at: time(row, "created_at")?,
    }))
}

fn addressee_from(row: &Row) -> Result<Option<Addressee>, sqlx::Error> {
    let Some(address) = row.try_get::<Option<String>, _>("to_address")? else {
        return Ok(None);
    };
    Ok(Some(Addressee {
        address: address
            .parse()
            .map_err(|_| unreadable("mail_outbox.to_address", &address))?,
        name: row.try_get::<Option<String>, _>("to_name")?.unwrap_or_default(),
    }))
}
