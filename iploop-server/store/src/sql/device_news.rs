//! Notes of what concerns connected devices, and how that is now.

use async_trait::async_trait;
use iploop_platform::clock::Timestamp;
use iploop_platform::device_news::{DeviceNews, News};
use iploop_platform::ids::PartnerId;
use iploop_platform::partners::AppStanding;
use iploop_platform::store::StoreError;
use sqlx::Row as _;
use uuid::Uuid;

use super::columns::id;
use super::partner_apps::standing_from;
use super::{Row, SqlStore, Tx};
use crate::error::act;

/// What a note is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    /// A device's owner wishes something.
    Wish,
    /// A device's owner withdrew.
    Withdrawal,
    /// A device was erased.
    Erasure,
    /// An app of a partner changed, was decided about, or is gone.
    App,
    /// A partner changed.
    Partner,
}

impl About {
    fn as_str(self) -> &'static str {
        match self {
            Self::Wish => "wish",
            Self::Withdrawal => "withdrawal",
            Self::Erasure => "erasure",
            Self::App => "app",
            Self::Partner => "partner",
        }
    }
}

/// Notes it, in the transaction of what it is about.
pub(super) async fn note(
    tx: &mut Tx,
    about: About,
    subject: Uuid,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO device_news (subject_id, kind, noted_at) VALUES ($1, $2, $3)
         ON CONFLICT (subject_id, kind) DO UPDATE SET noted_at = excluded.noted_at",
    )
    .bind(subject)
    .bind(about.as_str())
    .bind(now.as_millis())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[async_trait]
impl DeviceNews for SqlStore {
    async fn device_news(&self, from: Timestamp, limit: u32) -> Result<Vec<News>, StoreError> {
        act(async {
            let mut news = apps(self, from, limit).await?;
            for (sql, read) in READINGS {
                let rows = sqlx::query(sql)
                    .bind(from.as_millis())
                    .bind(i64::from(limit))
                    .fetch_all(&self.read)
                    .await?;
                for row in &rows {
                    news.push(read(row)?);
                }
            }
            Ok(news)
        })
        .await
    }

    async fn forget_device_news(&self, before: Timestamp) -> Result<(), StoreError> {
        act(async {
            sqlx::query("DELETE FROM device_news WHERE noted_at < $1")
                .bind(before.as_millis())
                .execute(&self.write)
                .await?;
            Ok(())
        })
        .await
    }
}

/// How the apps of the partners stand of which one was noted.
async fn apps(store: &SqlStore, from: Timestamp, limit: u32) -> Result<Vec<News>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT s.subject_id, a.bundle_id, a.platform, a.state
         FROM (SELECT subject_id, noted_at FROM device_news WHERE kind = 'app' AND noted_at >= $1
               ORDER BY noted_at DESC, subject_id LIMIT $2) s
             LEFT JOIN partner_apps a ON a.partner_id = s.subject_id
         ORDER BY s.noted_at DESC, s.subject_id, a.id",
    )
    .bind(from.as_millis())
    .bind(i64::from(limit))
    .fetch_all(&store.read)
    .await?;
    let mut partners: Vec<(PartnerId, Vec<AppStanding>)> = Vec::new();
    for row in &rows {
        let partner: PartnerId = id(row, "subject_id")?;
        if partners.last().is_none_or(|(last, _)| *last != partner) {
            partners.push((partner, Vec::new()));
        }
        if row.try_get::<Option<String>, _>("state")?.is_some()
            && let Some((_, apps)) = partners.last_mut()
        {
            apps.push(standing_from(row)?);
        }
    }
    let news = partners.into_iter();
    Ok(news.map(|(partner, apps)| News::Apps { partner, apps }).collect())
}

type Reading = (&'static str, fn(&Row) -> Result<News, sqlx::Error>);

/// How what was noted is now, for each kind.
const READINGS: [Reading; 4] = [
    (
        "SELECT s.subject_id, o.paused_at IS NOT NULL AS is_paused
         FROM device_news s LEFT JOIN device_owners o ON o.node_id = s.subject_id
         WHERE s.kind = 'wish' AND s.noted_at >= $1 ORDER BY s.noted_at DESC, s.subject_id LIMIT $2",
        |row| {
            Ok(News::Wish {
                node: id(row, "subject_id")?,
                is_paused: row.try_get("is_paused")?,
            })
        },
    ),
    (
        "SELECT s.subject_id, w.consent_id
         FROM device_news s JOIN nodes n ON n.id = s.subject_id
             JOIN consent_withdrawals w ON w.device_id = n.device_id AND w.withdrawn_at >= $1
         WHERE s.kind = 'withdrawal' AND s.noted_at >= $1
         ORDER BY s.noted_at DESC, s.subject_id, w.consent_id LIMIT $2",
        |row| {
            Ok(News::Withdrawn {
                node: id(row, "subject_id")?,
                consent: id(row, "consent_id")?,
            })
        },
    ),
    (
        "SELECT subject_id FROM device_news
         WHERE kind = 'erasure' AND noted_at >= $1 ORDER BY noted_at DESC, subject_id LIMIT $2",
        |row| Ok(News::Erased(id(row, "subject_id")?)),
    ),
    (
        "SELECT p.id FROM device_news s JOIN partners p ON p.id = s.subject_id
         WHERE s.kind = 'partner' AND s.noted_at >= $1 AND NOT p.is_active
         ORDER BY s.noted_at DESC, s.subject_id LIMIT $2",
        |row| Ok(News::Partner(id(row, "id")?)),
    ),
];
