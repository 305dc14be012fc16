//! Logins that live. Whoever opens or ends logins of an account holds the lock of its row in `users`.

use async_trait::async_trait;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, LoginId};
use iploop_platform::login::{
    KnownLogin, LoginNetwork, LoginRecord, LoginSessions, MAX_LOGINS, MAX_NETWORKS, NewLogin, OpenedLogin,
};
use iploop_platform::notices::Notice;
use iploop_platform::store::StoreError;
use serde::Serialize;
use serde_json::json;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::accounts::{account_columns, account_from, status_text};
use super::columns::{address_or_none, id, text, time, time_or_none};
use super::latest::latest;
use super::profiles::{settings_columns, settings_from};
use super::reading::all;
use super::{Row, SqlStore, Tx, notices};
use crate::error::{act, unreadable};

#[async_trait]
impl LoginSessions for SqlStore {
    async fn open_login(&self, login: &NewLogin) -> Result<Option<OpenedLogin>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            if !lock_active(&mut tx, login.account).await? {
                return Ok(None);
            }
            make_room(&mut tx, login).await?;
            sqlx::query(
                "INSERT INTO login_sessions (id, user_id, address, user_agent, created_at, last_seen_at, expires_at)
                 VALUES ($1, $2, $3, $4, $5, $5, $6)",
            )
            .bind(login.id.uuid())
            .bind(login.account.uuid())
            .bind(login.origin.address.to_string())
            .bind(text(&login.origin.user_agent))
            .bind(login.now.as_millis())
            .bind(login.expires_at.as_millis())
            .execute(&mut *tx)
            .await?;
            let is_new_network = remember_network(&mut tx, login).await?;
            if is_new_network {
                let data = json!({
                    "address": login.origin.address,
                    "userAgent": login.origin.user_agent,
                    "at": login.now,
                });
                notices::tell(&mut tx, login.account, Notice::NewNetwork, &data, login.now).await?;
            }
            tx.commit().await?;
            Ok(Some(OpenedLogin { is_new_network }))
        })
        .await
    }

    async fn known_login(&self, account: AccountId, id: LoginId) -> Result<Option<KnownLogin>, StoreError> {
        act(async {
            let row = sqlx::query(concat!(
                "SELECT password_hash, ",
                settings_columns!(),
                ", (SELECT login.last_seen_at FROM login_sessions AS login
                    WHERE login.id = $2 AND login.user_id = $1) AS seen_at, ",
                account_columns!(),
                " FROM users WHERE id = $1"
            ))
            .bind(account.uuid())
            .bind(id.uuid())
            .fetch_optional(&self.read)
            .await?;
            let Some(row) = row else { return Ok(None) };
            Ok(Some(KnownLogin {
                account: account_from(&row)?,
                password_hash: row.try_get("password_hash")?,
                settings: settings_from(&row)?,
                last_seen_at: time_or_none(&row, "seen_at")?,
            }))
        })
        .await
    }

    async fn logins(&self, account: AccountId, now: Timestamp) -> Result<Vec<LoginRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, address, user_agent, created_at, last_seen_at, expires_at FROM login_sessions
             WHERE user_id = $1 AND expires_at > $2 ORDER BY last_seen_at DESC, id DESC",
        )
        .bind(account.uuid())
        .bind(now.as_millis())
        .fetch_all(&self.read);
        all(rows, login_from).await
    }

    async fn end_login(&self, account: AccountId, id: LoginId) -> Result<Option<Timestamp>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            lock_active(&mut tx, account).await?;
            let row = sqlx::query(
                "DELETE FROM login_sessions WHERE id = $1 AND user_id = $2 RETURNING id, expires_at",
            )
            .bind(id.uuid())
            .bind(account.uuid())
            .fetch_optional(&mut *tx)
            .await?;
            let Some(row) = row else { return Ok(None) };
            let expires_at = time(&row, "expires_at")?;
            revoke(&mut tx, &[(id, expires_at)]).await?;
            tx.commit().await?;
            Ok(Some(expires_at))
        })
        .await
    }

    async fn end_other_logins(
        &self,
        account: AccountId,
        keep: Option<LoginId>,
    ) -> Result<Vec<(LoginId, Timestamp)>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            lock_active(&mut tx, account).await?;
            let ended = end(&mut tx, account, keep).await?;
            tx.commit().await?;
            Ok(ended)
        })
        .await
    }

    async fn touch_logins(&self, seen: &[(LoginId, Timestamp)]) -> Result<(), StoreError> {
        let given = latest(seen, LoginId::uuid);
        if given.is_empty() {
            return Ok(());
        }
        act(async {
            let mut tx = self.begin().await?;
            sqlx::query(concat!(
                "SELECT id FROM login_sessions WHERE id IN (SELECT id FROM (",
                given!(id uuid, at bigint),
                ") AS seen) ORDER BY id",
                locked!()
            ))
            .bind(Json(&given))
            .fetch_all(&mut *tx)
            .await?;
            sqlx::query(concat!(
                "UPDATE login_sessions SET last_seen_at = seen.at FROM (",
                given!(id uuid, at bigint),
                ") AS seen
                 WHERE login_sessions.id = seen.id AND login_sessions.last_seen_at < seen.at"
            ))
            .bind(Json(&given))
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn forget_logins(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let rows = sqlx::query(concat!(
                "SELECT id FROM login_sessions WHERE expires_at <= $1 ORDER BY id LIMIT $2",
                locked!()
            ))
            .bind(now.as_millis())
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await?;
            let ids = rows
                .iter()
                .map(|row| id(row, "id"))
                .collect::<Result<Vec<LoginId>, _>>()?;
            let gone = delete(&mut tx, ids.into_iter()).await?;
            tx.commit().await?;
            Ok(gone)
        })
        .await
    }

    async fn login_networks(&self, account: AccountId) -> Result<Vec<LoginNetwork>, StoreError> {
        act(async {
            let rows = sqlx::query(
                "SELECT network, first_seen_at, last_seen_at FROM login_networks
                 WHERE user_id = $1 ORDER BY last_seen_at DESC, network",
            )
            .bind(account.uuid())
            .fetch_all(&self.read)
            .await?;
            let networks = rows.iter().map(|row| {
                Ok(LoginNetwork {
                    network: row.try_get("network")?,
                    first_seen_at: time(row, "first_seen_at")?,
                    last_seen_at: time(row, "last_seen_at")?,
                })
            });
            Ok(networks.collect::<Result<_, sqlx::Error>>()?)
        })
        .await
    }
}

/// Ends an account's logins but one and revokes their tokens. Under the lock of its row in `users`.
pub(super) async fn end(
    tx: &mut Tx,
    account: AccountId,
    keep: Option<LoginId>,
) -> Result<Vec<(LoginId, Timestamp)>, sqlx::Error> {
    let mut ended: Vec<(LoginId, Timestamp)> = locked_logins(tx, account)
        .await?
        .into_iter()
        .map(|login| (login.id, login.expires_at))
        .collect();
    ended.retain(|(id, _)| Some(*id) != keep);
    delete(tx, ended.iter().map(|(id, _)| *id)).await?;
    revoke(tx, &ended).await?;
    Ok(ended)
}

/// Ends every login of an account under whose password they were opened: their tokens don't fit the new one.
pub(super) async fn delete_all(tx: &mut Tx, account: AccountId) -> Result<(), sqlx::Error> {
    let logins = locked_logins(tx, account).await?;
    delete(tx, logins.into_iter().map(|login| login.id)).await?;
    Ok(())
}

/// Locks an account's row; whether it may sign in.
async fn lock_active(tx: &mut Tx, account: AccountId) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(concat!("SELECT status FROM users WHERE id = $1", locked!()))
        .bind(account.uuid())
        .fetch_optional(&mut **tx)
        .await?;
    let status: Option<String> = row.map(|row| row.try_get("status")).transpose()?;
    Ok(status.as_deref() == Some(status_text(iploop_platform::account::AccountStatus::Active)))
}

/// What decides which login goes.
struct Lived {
    id: LoginId,
    last_seen_at: Timestamp,
    expires_at: Timestamp,
}

async fn locked_logins(tx: &mut Tx, account: AccountId) -> Result<Vec<Lived>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "SELECT id, last_seen_at, expires_at FROM login_sessions WHERE user_id = $1 ORDER BY id",
        locked!()
    ))
    .bind(account.uuid())
    .fetch_all(&mut **tx)
    .await?;
    let logins = rows.iter().map(|row| {
        Ok(Lived {
            id: id(row, "id")?,
            last_seen_at: time(row, "last_seen_at")?,
            expires_at: time(row, "expires_at")?,
        })
    });
    logins.collect()
}

/// Deletes what expired, and those seen longest ago until there is room for one.
async fn make_room(tx: &mut Tx, login: &NewLogin) -> Result<(), sqlx::Error> {
    let mut lived = locked_logins(tx, login.account).await?;
    lived.sort_by_key(|old| (old.expires_at <= login.now, std::cmp::Reverse(old.last_seen_at)));
    let kept = lived
        .iter()
        .take_while(|old| old.expires_at > login.now)
        .count()
        .min(MAX_LOGINS - 1);
    delete(tx, lived.drain(kept..).map(|old| old.id)).await?;
    Ok(())
}

/// Whether the account, which signed in before, never did from there.
async fn remember_network(tx: &mut Tx, login: &NewLogin) -> Result<bool, sqlx::Error> {
    let network = login.origin.network().to_string();
    let rows = sqlx::query(
        "SELECT network FROM login_networks WHERE user_id = $1 ORDER BY last_seen_at DESC, network",
    )
    .bind(login.account.uuid())
    .fetch_all(&mut **tx)
    .await?;
    let known = rows
        .iter()
        .map(|row| row.try_get("network"))
        .collect::<Result<Vec<String>, _>>()?;
    let is_known = known.contains(&network);
    if let Some(oldest) = known.get(MAX_NETWORKS - 1).filter(|_| !is_known) {
        sqlx::query("DELETE FROM login_networks WHERE user_id = $1 AND network = $2")
            .bind(login.account.uuid())
            .bind(oldest)
            .execute(&mut **tx)
            .await?;
    }
    sqlx::query(
        "INSERT INTO login_networks (user_id, network, first_seen_at, last_seen_at) VALUES ($1, $2, $3, $3)
         ON CONFLICT (user_id, network) DO UPDATE SET last_seen_at = excluded.last_seen_at",
    )
    .bind(login.account.uuid())
    .bind(&network)
    .bind(login.now.as_millis())
    .execute(&mut **tx)
    .await?;
    Ok(!is_known && !known.is_empty())
}

async fn delete(tx: &mut Tx, logins: impl Iterator<Item = LoginId>) -> Result<u64, sqlx::Error> {
    let given: Vec<_> = logins.map(|id| Id { id: id.uuid() }).collect();
    if given.is_empty() {
        return Ok(0);
    }
    let done = sqlx::query(concat!(
        "DELETE FROM login_sessions WHERE id IN (",
        given!(id uuid),
        ")"
    ))
    .bind(Json(&given))
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}

async fn revoke(tx: &mut Tx, logins: &[(LoginId, Timestamp)]) -> Result<(), sqlx::Error> {
    let given: Vec<_> = logins
        .iter()
        .map(|(id, expires_at)| Revoked {
            token_id: id.to_string(),
            expires_at: expires_at.as_millis(),
        })
        .collect();
    // TRUE, or SQLite would take ON for a join's.
    sqlx::query(concat!(
        "INSERT INTO revoked_logins (token_id, expires_at) SELECT token_id, expires_at FROM (",
        given!(token_id text, expires_at bigint),
        ") AS ended WHERE TRUE ORDER BY token_id ON CONFLICT (token_id) DO NOTHING"
    ))
    .bind(Json(&given))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn login_from(row: &Row) -> Result<LoginRecord, sqlx::Error> {
    Ok(LoginRecord {
        id: id(row, "id")?,
        address: address_or_none(row, "address")?
            .ok_or_else(|| unreadable("login_sessions.address", &"nothing"))?,
        user_agent: row.try_get("user_agent")?,
        created_at: time(row, "created_at")?,
        last_seen_at: time(row, "last_seen_at")?,
        expires_at: time(row, "expires_at")?,
    })
}

#[derive(Serialize)]
struct Id {
    id: Uuid,
}

#[derive(Serialize)]
struct Revoked {
    token_id: String,
    expires_at: i64,
}
