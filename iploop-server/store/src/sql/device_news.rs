//! Notes of what concerns connected devices, and how that is now.

use async_trait::async_trait;
use iploop_platform::clock::Timestamp;
use iploop_platform::device_news::{DeviceNews, News};
use iploop_platform::store::StoreError;
use sqlx::Row as _;
use uuid::Uuid;

use super::columns::id;
use super::{Row, SqlStore, Tx};
use crate::error::{act, unreadable};

/// What a note is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    /// A device's owner wishes something.
    Wish,
    /// A device's owner withdrew.
    Withdrawal,
    /// A device was erased.
    Erasure,
    /// An app was decided about.
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
            let mut news = Vec::new();
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

type Reading = (&'static str, fn(&Row) -> Result<News, sqlx::Error>);

/// How what was noted is now, for each kind.
const READINGS: [Reading; 5] = [
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
        "SELECT a.partner_id, a.bundle_id, a.platform,
             NOT EXISTS (SELECT 1 FROM partner_apps o WHERE o.partner_id = a.partner_id AND o.bundle_id = a.bundle_id
                 AND o.state NOT IN ('rejected', 'suspended')) AS is_last
         FROM device_news s JOIN partner_apps a ON a.id = s.subject_id
         WHERE s.kind = 'app' AND s.noted_at >= $1 AND a.state IN ('rejected', 'suspended')
         ORDER BY s.noted_at DESC, s.subject_id LIMIT $2",
        |row| {
            let platform: &str = row.try_get("platform")?;
            Ok(News::App {
                partner: id(row, "partner_id")?,
                bundle_id: row.try_get("bundle_id")?,
                platform: platform
                    .parse()
                    .map_err(|_| unreadable("partner_apps.platform", &platform))?,
                is_last: row.try_get("is_last")?,
            })
        },
    ),
    (
        "SELECT p.id FROM device_news s JOIN partners p ON p.id = s.subject_id
         WHERE s.kind = 'partner' AND s.noted_at >= $1 AND NOT p.is_active
         ORDER BY s.noted_at DESC, s.subject_id LIMIT $2",
        |row| Ok(News::Partner(id(row, "id")?)),
    ),
];
