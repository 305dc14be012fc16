//! Settings of an account's owner, and erasure.

use async_trait::async_trait;
use iploop_platform::abuse::AuditEntry;
use iploop_platform::account::Account;
use iploop_platform::accounts::{Erased, ProfileChange, Profiles, Unlock, Unlocked};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::AccountId;
use iploop_platform::login::SignInSettings;
use iploop_platform::notices::{Addressee, Notice};
use iploop_platform::store::StoreError;
use ipnet::IpNet;
use serde_json::{Value, json};
use sqlx::Row as _;
use sqlx::types::Json;

use super::accounts::{account_columns, account_from, fold_name};
use super::columns::{json as json_of, number_or_none, text_or_none};
use super::{Row, SqlStore, Tx, audit, errands, logins, notices, owners, second_factors};
use crate::error::act;

/// Of a row of `users`.
macro_rules! settings_columns {
    () => {
        "idle_minutes, sign_in_from,
         EXISTS (SELECT 1 FROM second_factors AS factor WHERE factor.user_id = users.id AND factor.confirmed_at IS NOT NULL)
             AS has_second_factor"
    };
}
pub(super) use settings_columns;

#[async_trait]
impl Profiles for SqlStore {
    async fn change_profile(
        &self,
        account: AccountId,
        change: &ProfileChange,
        now: Timestamp,
    ) -> Result<Option<Account>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let row = sqlx::query(concat!(
                "UPDATE users SET
                     first_name = COALESCE($2, first_name),
                     last_name = COALESCE($3, last_name),
                     company = CASE WHEN $4 THEN $5 ELSE company END,
                     phone = CASE WHEN $6 THEN $7 ELSE phone END,
                     time_zone = COALESCE($8, time_zone),
                     updated_at = $9
                 WHERE id = $1 AND status <> 'deleted' RETURNING ",
                account_columns!()
            ))
            .bind(account.uuid())
            .bind(text_or_none(change.first_name.as_deref()))
            .bind(text_or_none(change.last_name.as_deref()))
            .bind(change.company.is_some())
            .bind(text_or_none(change.company.as_ref().and_then(Option::as_deref)))
            .bind(change.phone.is_some())
            .bind(text_or_none(change.phone.as_ref().and_then(Option::as_deref)))
            .bind(text_or_none(change.time_zone.as_deref()))
            .bind(now.as_millis())
            .fetch_optional(&mut *tx)
            .await?;
            let changed = row.as_ref().map(account_from).transpose()?;
            if let Some(account) = &changed {
                fold_name(&mut tx, account).await?;
            }
            tx.commit().await?;
            Ok(changed)
        })
        .await
    }

    async fn sign_in_settings(&self, account: AccountId) -> Result<Option<SignInSettings>, StoreError> {
        act(async {
            let row = sqlx::query(concat!(
                "SELECT ",
                settings_columns!(),
                " FROM users WHERE id = $1"
            ))
            .bind(account.uuid())
            .fetch_optional(&self.read)
            .await?;
            Ok(row.as_ref().map(settings_from).transpose()?)
        })
        .await
    }

    async fn set_sign_in_settings(
        &self,
        account: AccountId,
        idle_minutes: Option<Option<u32>>,
        allowed_from: Option<&[IpNet]>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let row = sqlx::query(concat!(
                "SELECT sign_in_from FROM users WHERE id = $1 AND status <> 'deleted'",
                locked!()
            ))
            .bind(account.uuid())
            .fetch_optional(&mut *tx)
            .await?;
            let Some(row) = row else { return Ok(false) };
            if let Some(allowed_from) = allowed_from
                && json_of::<Vec<IpNet>>(&row, "sign_in_from")? != allowed_from
            {
                let data = json!({ "networks": allowed_from.len() });
                notices::tell(&mut tx, account, Notice::AllowListChanged, &data, now).await?;
            }
            sqlx::query(
                "UPDATE users SET
                     idle_minutes = CASE WHEN $2 THEN $3 ELSE idle_minutes END,
                     sign_in_from = CASE WHEN $4 THEN $5 ELSE sign_in_from END,
                     updated_at = $6
                 WHERE id = $1",
            )
            .bind(account.uuid())
            .bind(idle_minutes.is_some())
            .bind(idle_minutes.flatten().map(i64::from))
            .bind(allowed_from.is_some())
            .bind(Json(allowed_from.unwrap_or_default()))
            .bind(now.as_millis())
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn unlock_account(
        &self,
        account: AccountId,
        unlock: Unlock,
        mut entry: AuditEntry,
    ) -> Result<Option<Unlocked>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let row = sqlx::query(concat!(
                "SELECT ",
                settings_columns!(),
                " FROM users WHERE id = $1 AND status <> 'deleted'",
                locked!()
            ))
            .bind(account.uuid())
            .fetch_optional(&mut *tx)
            .await?;
            let Some(row) = row else { return Ok(None) };
            let before = settings_from(&row)?;
            let mut unlocked = Unlocked {
                ended_logins: logins::end(&mut tx, account, None).await?.len(),
                ..Unlocked::default()
            };
            if unlock.second_factor {
                unlocked.had_second_factor = second_factors::delete(&mut tx, account).await?;
            }
            if unlock.allowed_from {
                sqlx::query("UPDATE users SET sign_in_from = '[]', updated_at = $2 WHERE id = $1")
                    .bind(account.uuid())
                    .bind(entry.at.as_millis())
                    .execute(&mut *tx)
                    .await?;
                unlocked.allowed_from.clone_from(&before.allowed_from);
            }
            let left = |networks: Vec<IpNet>| if unlock.allowed_from { Vec::new() } else { networks };
            entry.before = json!({
                "secondFactor": before.has_second_factor,
                "ipAllowList": before.allowed_from,
                "logins": unlocked.ended_logins,
            });
            entry.after = json!({
                "secondFactor": before.has_second_factor && !unlock.second_factor,
                "ipAllowList": left(before.allowed_from),
                "logins": 0,
            });
            audit::insert(&mut tx, &entry).await?;
            let taken = json!({ "secondFactor": unlock.second_factor, "ipAllowList": unlock.allowed_from });
            let occasion = entry.id.to_string();
            notices::insert(
                &mut tx,
                account,
                Notice::AccountUnlocked,
                &taken,
                &occasion,
                entry.at,
            )
            .await?;
            tx.commit().await?;
            Ok(Some(unlocked))
        })
        .await
    }

    async fn erase_account(&self, account: AccountId, entry: AuditEntry) -> Result<Erased, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            // All admins, in the order of their ids: two of them can't both see the other one stay.
            let rows = sqlx::query(concat!(
                "SELECT id, role, email, first_name FROM users
                 WHERE status <> 'deleted' AND (id = $1 OR role = 'admin' AND status = 'active') ORDER BY id",
                locked!()
            ))
            .bind(account.uuid())
            .fetch_all(&mut *tx)
            .await?;
            let mut leaving = None;
            for row in &rows {
                if row.try_get::<uuid::Uuid, _>("id")? == account.uuid() {
                    leaving = Some(row);
                }
            }
            let Some(leaving) = leaving else {
                return Ok(Erased::NotThere);
            };
            if rows.len() == 1 && leaving.try_get::<&str, _>("role")? == "admin" {
                return Ok(Erased::LastAdmin);
            }
            erase(&mut tx, account, entry.at).await?;
            audit::insert(&mut tx, &entry).await?;
            // Behind the erasure, which takes the account's other mails along.
            if let Ok(address) = leaving.try_get::<&str, _>("email")?.parse() {
                let to = Addressee {
                    address,
                    name: leaving.try_get("first_name")?,
                };
                let (notice, occasion) = (Notice::AccountDeleted, entry.id.to_string());
                notices::insert_to(&mut tx, &to, account, notice, &Value::Null, &occasion, entry.at).await?;
            }
            tx.commit().await?;
            Ok(Erased::Gone)
        })
        .await
    }
}

/// Every table that holds something personal of an account has its line here.
async fn erase(tx: &mut Tx, account: AccountId, now: Timestamp) -> Result<(), sqlx::Error> {
    owners::erase_all(tx, account, now).await?;
    logins::delete_all(tx, account).await?;
    second_factors::delete(tx, account).await?;
    errands::leave(tx, account).await?;
    for statement in [
        "DELETE FROM login_networks WHERE user_id = $1",
        "DELETE FROM mail_tokens WHERE user_id = $1",
        "DELETE FROM ip_login_addresses WHERE user_id = $1",
        "DELETE FROM partner_users WHERE user_id = $1",
        "DELETE FROM credit_accounts WHERE user_id = $1",
        "DELETE FROM node_sessions WHERE user_id = $1",
        "DELETE FROM proxy_defaults WHERE user_id = $1",
        "DELETE FROM api_keys WHERE user_id = $1",
        "DELETE FROM webhook_attempts WHERE webhook_id IN (SELECT id FROM webhooks WHERE user_id = $1)",
        "DELETE FROM webhook_deliveries WHERE webhook_id IN (SELECT id FROM webhooks WHERE user_id = $1)",
        "DELETE FROM webhook_subscriptions WHERE webhook_id IN (SELECT id FROM webhooks WHERE user_id = $1)",
        "DELETE FROM webhooks WHERE user_id = $1",
        "DELETE FROM events WHERE user_id = $1",
        "DELETE FROM purse_watch WHERE user_id = $1",
        "DELETE FROM notification_preferences WHERE user_id = $1",
        "DELETE FROM mail_outbox WHERE user_id = $1",
        "DELETE FROM password_requests WHERE email_folded = (SELECT email_folded FROM users WHERE id = $1)",
        "DELETE FROM support_tickets WHERE user_id = $1",
        "DELETE FROM billing_settings WHERE user_id = $1",
        "UPDATE billing_payments SET status = 'failed', reason = 'deleted' WHERE user_id = $1 AND status = 'pending'",
    ] {
        sqlx::query(statement)
            .bind(account.uuid())
            .execute(&mut **tx)
            .await?;
    }
    // No address that mail could reach, and none that another account could want. The hash fits no password.
    let address = format!("{account}@deleted.invalid");
    sqlx::query(
        "UPDATE users SET
             email = $2, email_folded = $2, email_verified = FALSE, password_hash = '', first_name = '', last_name = '',
             company = NULL, name_folded = '', phone = NULL, time_zone = 'UTC', last_login_at = NULL, idle_minutes = NULL,
             sign_in_from = '[]', status = 'deleted', status_reason = NULL, updated_at = $3
         WHERE id = $1",
    )
    .bind(account.uuid())
    .bind(address)
    .bind(now.as_millis())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) fn settings_from(row: &Row) -> Result<SignInSettings, sqlx::Error> {
    Ok(SignInSettings {
        idle_minutes: number_or_none(row, "idle_minutes")?,
        allowed_from: json_of(row, "sign_in_from")?,
        has_second_factor: row.try_get("has_second_factor")?,
    })
}
