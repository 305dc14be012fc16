//! Accounts, the tokens sent to their mail addresses, and login sessions that ended early.

use std::time::Duration;

use async_trait::async_trait;
use iploop_platform::account::{Account, AccountStatus, MailTokenPurpose, NewAccount, Role};
use iploop_platform::admin::name_folded;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::AccountId;
use iploop_platform::notices::Notice;
use iploop_platform::store::{Accounts, StoreError};
use serde_json::Value;
use sqlx::Row as _;

use super::columns::{id, text, text_or_none, time, time_or_none};
use super::safeguards::{standing_from, standing_text};
use super::{Row, SqlStore, Tx, books, logins, notices};
use crate::error::{Failure, act, unreadable};

/// A revoked login's row stays for this long after its end, for servers whose clocks are behind.
const REVOKED_GRACE: Duration = Duration::from_secs(60 * 60);

/// The columns of [`account_from`], behind `u.` where the table is named so.
macro_rules! account_columns {
    () => {
        "id, email, first_name, last_name, company, phone, time_zone, status, status_reason, standing, role,
         email_verified, created_at, updated_at, last_login_at"
    };
    (u) => {
        "u.id, u.email, u.first_name, u.last_name, u.company, u.phone, u.time_zone, u.status, u.status_reason,
         u.standing, u.role, u.email_verified, u.created_at, u.updated_at,
         u.last_login_at"
    };
}
pub(super) use account_columns;

#[async_trait]
impl Accounts for SqlStore {
    async fn create_account(&self, new: NewAccount) -> Result<Account, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let account = insert_account(&mut tx, &new).await?;
            tx.commit().await?;
            Ok(account)
        })
        .await
    }

    async fn register_account(&self, new: NewAccount) -> Result<Account, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let account = insert_account(&mut tx, &new).await?;
            notices::tell(&mut tx, account.id, Notice::Welcome, &Value::Null, new.now).await?;
            tx.commit().await?;
            Ok(account)
        })
        .await
    }

    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        act(async {
            let row = sqlx::query(concat!(
                "SELECT ",
                account_columns!(),
                " FROM users WHERE id = $1"
            ))
            .bind(id.uuid())
            .fetch_optional(&self.read)
            .await?;
            Ok(row.as_ref().map(account_from).transpose()?)
        })
        .await
    }

    async fn account_by_email(&self, email: &str) -> Result<Option<(Account, String)>, StoreError> {
        act(async {
            let row = sqlx::query(concat!(
                "SELECT password_hash, ",
                account_columns!(),
                " FROM users WHERE email_folded = $1"
            ))
            .bind(folded(email))
            .fetch_optional(&self.read)
            .await?;
            let Some(row) = row else { return Ok(None) };
            Ok(Some((account_from(&row)?, row.try_get("password_hash")?)))
        })
        .await
    }

    async fn password_hash(&self, id: AccountId) -> Result<Option<String>, StoreError> {
        act(async {
            let row = sqlx::query("SELECT password_hash FROM users WHERE id = $1")
                .bind(id.uuid())
                .fetch_optional(&self.read)
                .await?;
            Ok(row.map(|row| row.try_get("password_hash")).transpose()?)
        })
        .await
    }

    async fn set_password(
        &self,
        id: AccountId,
        known: &str,
        hash: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let done = sqlx::query(
                "UPDATE users SET password_hash = $3, updated_at = $4 WHERE id = $1 AND password_hash = $2",
            )
            .bind(id.uuid())
            .bind(known)
            .bind(hash)
            .bind(now.as_millis())
            .execute(&mut *tx)
            .await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            logins::delete_all(&mut tx, id).await?;
            notices::tell(&mut tx, id, Notice::PasswordChanged, &Value::Null, now).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn touch_login(&self, id: AccountId, now: Timestamp) -> Result<(), StoreError> {
        act(async {
            sqlx::query("UPDATE users SET last_login_at = $2 WHERE id = $1")
                .bind(id.uuid())
                .bind(now.as_millis())
                .execute(&self.write)
                .await?;
            Ok(())
        })
        .await
    }

    async fn create_mail_token(
        &self,
        account: AccountId,
        purpose: MailTokenPurpose,
        token_hash: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        act(async {
            sqlx::query(
                "INSERT INTO mail_tokens (user_id, purpose, token_hash, created_at, expires_at)
                 VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (user_id, purpose) DO UPDATE SET
                     token_hash = excluded.token_hash,
                     created_at = excluded.created_at,
                     expires_at = excluded.expires_at,
                     used_at = NULL",
            )
            .bind(account.uuid())
            .bind(purpose_text(purpose))
            .bind(token_hash)
            .bind(now.as_millis())
            .bind(expires_at.as_millis())
            .execute(&self.write)
            .await?;
            Ok(())
        })
        .await
    }

    async fn mail_token(
        &self,
        purpose: MailTokenPurpose,
        token_hash: &str,
        now: Timestamp,
    ) -> Result<Option<AccountId>, StoreError> {
        act(async {
            let row = sqlx::query(
                "SELECT user_id FROM mail_tokens
                 WHERE token_hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3",
            )
            .bind(text(token_hash))
            .bind(purpose_text(purpose))
            .bind(now.as_millis())
            .fetch_optional(&self.read)
            .await?;
            Ok(row.map(|row| id(&row, "user_id")).transpose()?)
        })
        .await
    }

    async fn verify_email(&self, token_hash: &str, now: Timestamp) -> Result<Option<AccountId>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let Some(account) = use_up(&mut tx, MailTokenPurpose::VerifyEmail, token_hash, now).await? else {
                return Ok(None);
            };
            sqlx::query("UPDATE users SET email_verified = TRUE, updated_at = $2 WHERE id = $1")
                .bind(account.uuid())
                .bind(now.as_millis())
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(Some(account))
        })
        .await
    }

    async fn reset_password(
        &self,
        token_hash: &str,
        password_hash: &str,
        now: Timestamp,
    ) -> Result<Option<AccountId>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let Some(account) = use_up(&mut tx, MailTokenPurpose::ResetPassword, token_hash, now).await?
            else {
                return Ok(None);
            };
            sqlx::query("UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1")
                .bind(account.uuid())
                .bind(password_hash)
                .bind(now.as_millis())
                .execute(&mut *tx)
                .await?;
            logins::delete_all(&mut tx, account).await?;
            notices::tell(&mut tx, account, Notice::PasswordChanged, &Value::Null, now).await?;
            tx.commit().await?;
            Ok(Some(account))
        })
        .await
    }

    async fn revoke_login(&self, token_id: &str, expires_at: Timestamp) -> Result<(), StoreError> {
        act(async {
            sqlx::query(
                "INSERT INTO revoked_logins (token_id, expires_at) VALUES ($1, $2) ON CONFLICT (token_id) DO NOTHING",
            )
            .bind(text(token_id))
            .bind(expires_at.as_millis())
            .execute(&self.write)
            .await?;
            Ok(())
        })
        .await
    }

    async fn revoked_logins(&self, now: Timestamp) -> Result<Vec<(String, Timestamp)>, StoreError> {
        act(async {
            sqlx::query("DELETE FROM revoked_logins WHERE expires_at <= $1")
                .bind(now.minus(REVOKED_GRACE).as_millis())
                .execute(&self.write)
                .await?;
            let rows = sqlx::query(
                "SELECT token_id, expires_at FROM revoked_logins WHERE expires_at > $1 ORDER BY expires_at, token_id",
            )
            .bind(now.as_millis())
            .fetch_all(&self.read)
            .await?;
            let logins = rows.iter().map(|row| Ok((row.try_get("token_id")?, time(row, "expires_at")?)));
            Ok(logins.collect::<Result<_, sqlx::Error>>()?)
        })
        .await
    }
}

/// Makes the user, its purse and its bonus.
pub(super) async fn insert_account(tx: &mut Tx, new: &NewAccount) -> Result<Account, Failure> {
    let account = insert_user(tx, new)
        .await?
        .ok_or(StoreError::Conflict { what: "email" })?;
    sqlx::query(
        "INSERT INTO user_plans (user_id, plan_id, balance_bytes, used_bytes, started_at)
         VALUES ($1, $2, 0, 0, $3)",
    )
    .bind(new.id.uuid())
    .bind(new.plan.uuid())
    .bind(new.now.as_millis())
    .execute(&mut **tx)
    .await?;
    if new.bonus_bytes != 0 {
        books::welcome(tx, new.id, new.bonus_bytes, new.now).await?;
    }
    Ok(account)
}

/// None if the address is known.
async fn insert_user(tx: &mut Tx, new: &NewAccount) -> Result<Option<Account>, sqlx::Error> {
    let row = sqlx::query(concat!(
        "INSERT INTO users (id, email, email_folded, password_hash, first_name, last_name, company, status, role,
             email_verified, created_at, updated_at, standing, name_folded)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'active', $8, $9, $10, $10, $11, $12)
         ON CONFLICT (email_folded) DO NOTHING
         RETURNING ",
        account_columns!()
    ))
    .bind(new.id.uuid())
    .bind(text(&new.email))
    .bind(folded(&new.email))
    .bind(&new.password_hash)
    .bind(text(&new.first_name))
    .bind(text(&new.last_name))
    .bind(text_or_none(new.company.as_deref()))
    .bind(role_text(new.role))
    .bind(new.email_verified)
    .bind(new.now.as_millis())
    .bind(standing_text(new.standing))
    .bind(text(&name_folded(&new.first_name, &new.last_name, new.company.as_deref())))
    .fetch_optional(&mut **tx)
    .await?;
    row.as_ref().map(account_from).transpose()
}

/// Marks a token as used, if it is still good. Of parallel tries the first one gets the row, the others see it used.
async fn use_up(
    tx: &mut Tx,
    purpose: MailTokenPurpose,
    token_hash: &str,
    now: Timestamp,
) -> Result<Option<AccountId>, sqlx::Error> {
    let row = sqlx::query(
        "UPDATE mail_tokens SET used_at = $3
         WHERE token_hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3
         RETURNING user_id",
    )
    .bind(text(token_hash))
    .bind(purpose_text(purpose))
    .bind(now.as_millis())
    .fetch_optional(&mut **tx)
    .await?;
    row.map(|row| id(&row, "user_id")).transpose()
}

/// Brings what admins search names by up to date.
pub(super) async fn fold_name(tx: &mut Tx, account: &Account) -> Result<(), sqlx::Error> {
    let folded = name_folded(
        &account.first_name,
        &account.last_name,
        account.company.as_deref(),
    );
    sqlx::query("UPDATE users SET name_folded = $2 WHERE id = $1")
        .bind(account.id.uuid())
        .bind(folded)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) fn account_from(row: &Row) -> Result<Account, sqlx::Error> {
    Ok(Account {
        id: id(row, "id")?,
        email: row.try_get("email")?,
        first_name: row.try_get("first_name")?,
        last_name: row.try_get("last_name")?,
        company: row.try_get("company")?,
        phone: row.try_get("phone")?,
        time_zone: row.try_get("time_zone")?,
        status: status_from(row, "status")?,
        status_reason: row.try_get("status_reason")?,
        standing: standing_from(row, "standing")?,
        role: match row.try_get("role")? {
            "customer" => Role::Customer,
            "admin" => Role::Admin,
            "partner" => Role::Partner,
            "owner" => Role::Owner,
            other => return Err(unreadable("users.role", &other)),
        },
        email_verified: row.try_get("email_verified")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        last_login_at: time_or_none(row, "last_login_at")?,
    })
}

pub(super) fn status_from(row: &Row, column: &str) -> Result<AccountStatus, sqlx::Error> {
    match row.try_get(column)? {
        "active" => Ok(AccountStatus::Active),
        "suspended" => Ok(AccountStatus::Suspended),
        "deleted" => Ok(AccountStatus::Deleted),
        other => Err(unreadable("users.status", &other)),
    }
}

pub(super) fn status_text(status: AccountStatus) -> &'static str {
    match status {
        AccountStatus::Active => "active",
        AccountStatus::Suspended => "suspended",
        AccountStatus::Deleted => "deleted",
    }
}

/// What addresses are compared by.
pub(super) fn folded(email: &str) -> String {
    text(email.trim()).to_lowercase()
}

pub(super) fn role_text(role: Role) -> &'static str {
    match role {
        Role::Customer => "customer",
        Role::Admin => "admin",
        Role::Partner => "partner",
        Role::Owner => "owner",
    }
}

fn purpose_text(purpose: MailTokenPurpose) -> &'static str {
    match purpose {
        MailTokenPurpose::VerifyEmail => "verify_email",
        MailTokenPurpose::ResetPassword => "reset_password",
    }
}
