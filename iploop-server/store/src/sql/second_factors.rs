//! Second factors and recovery codes, with the mails about them. What a code is used up by is one statement: the first one finds it unused.

use async_trait::async_trait;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::AccountId;
use iploop_platform::login::{SecondFactor, SecondFactors};
use iploop_platform::notices::Notice;
use iploop_platform::store::StoreError;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::Row as _;
use sqlx::types::Json;

use super::columns::{number, text};
use super::{SqlStore, Tx, notices};
use crate::error::act;

#[async_trait]
impl SecondFactors for SqlStore {
    async fn second_factor(&self, account: AccountId) -> Result<Option<SecondFactor>, StoreError> {
        act(async {
            let row = sqlx::query(
                "SELECT sealed_secret, confirmed_at IS NOT NULL AS is_on, last_step,
                     (SELECT COUNT(*) FROM recovery_codes AS code WHERE code.user_id = $1 AND code.used_at IS NULL)
                         AS codes_left
                 FROM second_factors WHERE user_id = $1",
            )
            .bind(account.uuid())
            .fetch_optional(&self.read)
            .await?;
            let Some(row) = row else { return Ok(None) };
            Ok(Some(SecondFactor {
                sealed_secret: row.try_get("sealed_secret")?,
                is_on: row.try_get("is_on")?,
                last_step: row.try_get("last_step")?,
                codes_left: number(&row, "codes_left")?,
            }))
        })
        .await
    }

    async fn set_up_second_factor(
        &self,
        account: AccountId,
        sealed_secret: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        act(async {
            let done = sqlx::query(
                "INSERT INTO second_factors (user_id, sealed_secret, last_step, created_at) VALUES ($1, $2, 0, $3)
                 ON CONFLICT (user_id) DO UPDATE SET
                     sealed_secret = excluded.sealed_secret,
                     created_at = excluded.created_at
                 WHERE second_factors.confirmed_at IS NULL",
            )
            .bind(account.uuid())
            .bind(sealed_secret)
            .bind(now.as_millis())
            .execute(&self.write)
            .await?;
            Ok(done.rows_affected() > 0)
        })
        .await
    }

    async fn confirm_second_factor(
        &self,
        account: AccountId,
        sealed_secret: &str,
        step: i64,
        code_hashes: &[String],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let done = sqlx::query(
                "UPDATE second_factors SET confirmed_at = $4, last_step = $3
                 WHERE user_id = $1 AND sealed_secret = $2 AND confirmed_at IS NULL",
            )
            .bind(account.uuid())
            .bind(sealed_secret)
            .bind(step)
            .bind(now.as_millis())
            .execute(&mut *tx)
            .await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            insert_codes(&mut tx, account, code_hashes).await?;
            notices::tell(&mut tx, account, Notice::TwoFactorOn, &Value::Null, now).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn use_step(&self, account: AccountId, step: i64) -> Result<bool, StoreError> {
        act(async {
            let done = sqlx::query(
                "UPDATE second_factors SET last_step = $2
                 WHERE user_id = $1 AND confirmed_at IS NOT NULL AND last_step < $2",
            )
            .bind(account.uuid())
            .bind(step)
            .execute(&self.write)
            .await?;
            Ok(done.rows_affected() > 0)
        })
        .await
    }

    async fn use_recovery_code(
        &self,
        account: AccountId,
        code_hash: &str,
        now: Timestamp,
    ) -> Result<Option<u32>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let done = sqlx::query(
                "UPDATE recovery_codes SET used_at = $3 WHERE user_id = $1 AND code_hash = $2 AND used_at IS NULL",
            )
            .bind(account.uuid())
            .bind(text(code_hash))
            .bind(now.as_millis())
            .execute(&mut *tx)
            .await?;
            if done.rows_affected() == 0 {
                return Ok(None);
            }
            let row = sqlx::query(
                "SELECT COUNT(*) AS codes_left FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL",
            )
            .bind(account.uuid())
            .fetch_one(&mut *tx)
            .await?;
            let left = number(&row, "codes_left")?;
            let data = json!({ "left": left });
            notices::tell(&mut tx, account, Notice::RecoveryCodeUsed, &data, now).await?;
            tx.commit().await?;
            Ok(Some(left))
        })
        .await
    }

    async fn replace_recovery_codes(
        &self,
        account: AccountId,
        code_hashes: &[String],
    ) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let row = sqlx::query(concat!(
                "SELECT user_id FROM second_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL",
                locked!()
            ))
            .bind(account.uuid())
            .fetch_optional(&mut *tx)
            .await?;
            if row.is_none() {
                return Ok(false);
            }
            insert_codes(&mut tx, account, code_hashes).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn end_second_factor(&self, account: AccountId, now: Timestamp) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let was_on = delete(&mut tx, account).await?;
            if was_on {
                notices::tell(&mut tx, account, Notice::TwoFactorOff, &Value::Null, now).await?;
            }
            tx.commit().await?;
            Ok(was_on)
        })
        .await
    }
}

/// Forgets an account's second factor and its codes; whether it was on. The factor's row goes first: who holds it may touch
/// the codes.
pub(super) async fn delete(tx: &mut Tx, account: AccountId) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(
        "DELETE FROM second_factors WHERE user_id = $1 RETURNING confirmed_at IS NOT NULL AS was_on",
    )
    .bind(account.uuid())
    .fetch_optional(&mut **tx)
    .await?;
    sqlx::query("DELETE FROM recovery_codes WHERE user_id = $1")
        .bind(account.uuid())
        .execute(&mut **tx)
        .await?;
    row.map_or(Ok(false), |row| row.try_get("was_on"))
}

/// Puts codes in place of all that there are.
async fn insert_codes(tx: &mut Tx, account: AccountId, hashes: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM recovery_codes WHERE user_id = $1")
        .bind(account.uuid())
        .execute(&mut **tx)
        .await?;
    let given: Vec<_> = hashes.iter().map(|code_hash| Code { code_hash }).collect();
    sqlx::query(concat!(
        "INSERT INTO recovery_codes (user_id, code_hash) SELECT $2, code_hash FROM (",
        given!(code_hash text),
        ") AS codes"
    ))
    .bind(Json(&given))
    .bind(account.uuid())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[derive(Serialize)]
struct Code<'a> {
    code_hash: &'a str,
}
