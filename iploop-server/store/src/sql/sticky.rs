//! Sticky sessions, over a restart.

use std::collections::BTreeMap;
use std::net::IpAddr;

use async_trait::async_trait;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, NodeId};
use iploop_platform::sticky::{HeldExit, StickySession};
use iploop_platform::store::{StickySessions, StoreError};
use serde::Serialize;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::columns::{id, id_or_none, number, number_or_none, text, text_or_none, time, time_or_none};
use super::reading::all;
use super::{Row, SqlStore};
use crate::booking::signed;
use crate::error::{act, unreadable};

macro_rules! columns {
    () => {
        "user_id, session_key, api_key_id, targeting, node_id, exit_ip, exit_country, exit_city, exit_asn, exit_since,
         left_ip, told_ip, created_at, last_used_at, expires_at, forget_at, requests, bytes_uploaded, bytes_downloaded,
         rotations"
    };
}

#[async_trait]
impl StickySessions for SqlStore {
    async fn sticky_sessions(
        &self,
        after: Option<(AccountId, &str)>,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<StickySession>, StoreError> {
        // Behind nobody: no id is smaller, and no name is empty.
        let (account, name) = after.map_or((Uuid::nil(), ""), |(account, name)| (account.uuid(), name));
        let rows = sqlx::query(concat!(
            "SELECT ",
            columns!(),
            " FROM node_sessions WHERE (user_id, session_key) > ($1, $2) AND forget_at > $3
             ORDER BY user_id, session_key LIMIT $4"
        ))
        .bind(account)
        .bind(text(name))
        .bind(now.as_millis())
        .bind(i64::from(limit))
        .fetch_all(&self.read);
        all(rows, session_from).await
    }

    async fn keep_sticky_sessions(
        &self,
        kept: &[StickySession],
        ended: &[(AccountId, String)],
    ) -> Result<(), StoreError> {
        if kept.is_empty() && ended.is_empty() {
            return Ok(());
        }
        // In the order of the keys, so that two writers of the same sessions never wait in a circle.
        let kept: BTreeMap<_, _> = kept
            .iter()
            .map(|session| ((session.account, session.name.as_str()), KeptRow::of(session)))
            .collect();
        let kept: Vec<_> = kept.into_values().collect();
        let mut ended: Vec<_> = ended
            .iter()
            .map(|(account, name)| EndedRow {
                user_id: account.uuid(),
                session_key: text(name).into_owned(),
            })
            .collect();
        ended.sort_by(|a, b| (a.user_id, &a.session_key).cmp(&(b.user_id, &b.session_key)));
        // Each in its own transaction: one that deletes a row and then waits for another can meet one that waits for the first.
        self.delete_sticky_sessions(&ended).await?;
        if kept.is_empty() {
            return Ok(());
        }
        act(async {
            let mut tx = self.begin().await?;
            sqlx::query(concat!(
                "INSERT INTO node_sessions (",
                columns!(),
                ") SELECT ",
                columns!(),
                " FROM (",
                given!(
                    user_id uuid, session_key text, api_key_id uuid, targeting text, node_id uuid, exit_ip text,
                    exit_country text, exit_city text, exit_asn bigint, exit_since bigint, left_ip text, told_ip text,
                    created_at bigint, last_used_at bigint, expires_at bigint, forget_at bigint, requests bigint,
                    bytes_uploaded bigint, bytes_downloaded bigint, rotations bigint
                ),
                ") AS new WHERE TRUE
                 ORDER BY user_id, session_key
                 ON CONFLICT (user_id, session_key) DO UPDATE SET
                     api_key_id = excluded.api_key_id,
                     targeting = excluded.targeting,
                     node_id = excluded.node_id,
                     exit_ip = excluded.exit_ip,
                     exit_country = excluded.exit_country,
                     exit_city = excluded.exit_city,
                     exit_asn = excluded.exit_asn,
                     exit_since = excluded.exit_since,
                     left_ip = excluded.left_ip,
                     told_ip = excluded.told_ip,
                     created_at = excluded.created_at,
                     last_used_at = excluded.last_used_at,
                     expires_at = excluded.expires_at,
                     forget_at = excluded.forget_at,
                     requests = excluded.requests,
                     bytes_uploaded = excluded.bytes_uploaded,
                     bytes_downloaded = excluded.bytes_downloaded,
                     rotations = excluded.rotations"
            ))
            .bind(Json(&kept))
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn forget_sticky_sessions(&self, now: Timestamp) -> Result<u64, StoreError> {
        act(async {
            let done = sqlx::query("DELETE FROM node_sessions WHERE forget_at <= $1")
                .bind(now.as_millis())
                .execute(&self.write)
                .await?;
            Ok(done.rows_affected())
        })
        .await
    }
}

impl SqlStore {
    async fn delete_sticky_sessions(&self, ended: &[EndedRow]) -> Result<(), StoreError> {
        if ended.is_empty() {
            return Ok(());
        }
        act(async {
            let mut tx = self.begin().await?;
            sqlx::query(concat!(
                "SELECT user_id FROM node_sessions WHERE (user_id, session_key) IN (",
                given!(user_id uuid, session_key text),
                ") ORDER BY user_id, session_key",
                locked!()
            ))
            .bind(Json(ended))
            .fetch_all(&mut *tx)
            .await?;
            sqlx::query(concat!(
                "DELETE FROM node_sessions WHERE (user_id, session_key) IN (",
                given!(user_id uuid, session_key text),
                ")"
            ))
            .bind(Json(ended))
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }
}

#[derive(Clone, Serialize)]
struct EndedRow {
    user_id: Uuid,
    session_key: String,
}

#[derive(Serialize)]
struct KeptRow {
    user_id: Uuid,
    session_key: String,
    api_key_id: Option<Uuid>,
    targeting: String,
    node_id: Option<Uuid>,
    exit_ip: Option<IpAddr>,
    exit_country: Option<String>,
    exit_city: Option<String>,
    exit_asn: Option<u32>,
    exit_since: Option<i64>,
    left_ip: Option<IpAddr>,
    told_ip: Option<IpAddr>,
    created_at: i64,
    last_used_at: Option<i64>,
    expires_at: i64,
    forget_at: i64,
    requests: i64,
    bytes_uploaded: i64,
    bytes_downloaded: i64,
    rotations: i64,
}

impl KeptRow {
    fn of(session: &StickySession) -> Self {
        let exit = session.exit.as_ref();
        let clean = |given: Option<&str>| text_or_none(given).map(|given| given.into_owned());
        Self {
            user_id: session.account.uuid(),
            session_key: text(&session.name).into_owned(),
            api_key_id: session.api_key.map(|key| key.uuid()),
            targeting: text(&session.targeting).into_owned(),
            node_id: exit.map(|exit| exit.node.uuid()),
            exit_ip: exit.map(|exit| exit.ip),
            exit_country: clean(exit.and_then(|exit| exit.country.as_deref())),
            exit_city: clean(exit.and_then(|exit| exit.city.as_deref())),
            exit_asn: exit.and_then(|exit| exit.asn),
            exit_since: exit.map(|exit| exit.since.as_millis()),
            left_ip: session.left_ip,
            told_ip: session.told_ip,
            created_at: session.created_at.as_millis(),
            last_used_at: session.last_used_at.map(Timestamp::as_millis),
            expires_at: session.expires_at.as_millis(),
            forget_at: session.forget_at.as_millis(),
            requests: signed(session.requests),
            bytes_uploaded: signed(session.bytes_up),
            bytes_downloaded: signed(session.bytes_down),
            rotations: signed(session.rotations),
        }
    }
}

fn session_from(row: &Row) -> Result<StickySession, sqlx::Error> {
    let exit = match (
        id_or_none::<NodeId>(row, "node_id")?,
        ip_or_none(row, "exit_ip")?,
        time_or_none(row, "exit_since")?,
    ) {
        (Some(node), Some(ip), Some(since)) => Some(HeldExit {
            node,
            ip,
            country: row.try_get("exit_country")?,
            city: row.try_get("exit_city")?,
            asn: number_or_none(row, "exit_asn")?,
            since,
        }),
        _ => None,
    };
    Ok(StickySession {
        account: id(row, "user_id")?,
        name: row.try_get("session_key")?,
        api_key: id_or_none(row, "api_key_id")?,
        targeting: row.try_get("targeting")?,
        exit,
        left_ip: ip_or_none(row, "left_ip")?,
        told_ip: ip_or_none(row, "told_ip")?,
        created_at: time(row, "created_at")?,
        last_used_at: time_or_none(row, "last_used_at")?,
        expires_at: time(row, "expires_at")?,
        forget_at: time(row, "forget_at")?,
        requests: number(row, "requests")?,
        bytes_up: number(row, "bytes_uploaded")?,
        bytes_down: number(row, "bytes_downloaded")?,
        rotations: number(row, "rotations")?,
    })
}

fn ip_or_none(row: &Row, column: &str) -> Result<Option<IpAddr>, sqlx::Error> {
    row.try_get::<Option<&str>, _>(column)?
        .map(|ip| ip.parse().map_err(|_| unreadable(column, &ip)))
        .transpose()
}
