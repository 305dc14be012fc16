//! Brings the tables up to date.

use sqlx::{AssertSqlSafe, Row as _};

use super::{Pool, dialect};
use crate::error::{Failure, OpenError, unhurried};
use crate::migrations::{MIGRATIONS, newest_version};

/// Runs the steps that the database has not seen, all in one transaction. Of several servers that start at once, one
/// migrates and the others wait for it. A step may take as long as the rows that it fills its tables from want.
///
/// # Errors
/// [`OpenError::Newer`] before anything is changed; else [`OpenError::Store`].
pub(crate) async fn migrate(pool: &Pool) -> Result<(), OpenError> {
    let known = newest_version();
    let found = unhurried(run(pool, known)).await?;
    if found > known {
        Err(OpenError::Newer { found, known })
    } else {
        Ok(())
    }
}

/// Goes as far as `to`; answers the version that was found.
async fn run(pool: &Pool, to: i64) -> Result<i64, Failure> {
    let mut tx = pool.begin_with(dialect::BEGIN).await?;
    sqlx::query(dialect::UNHURRIED).execute(&mut *tx).await?;
    sqlx::query(dialect::LOCK_MIGRATIONS).execute(&mut *tx).await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS schema_migrations (version BIGINT PRIMARY KEY NOT NULL, name TEXT NOT NULL)")
        .execute(&mut *tx)
        .await?;
    let found: i64 = sqlx::query("SELECT COALESCE(MAX(version), 0) AS version FROM schema_migrations")
        .fetch_one(&mut *tx)
        .await?
        .try_get("version")?;
    let is_new = found == 0;
    if is_new {
        tracing::info!(version = to, "making the tables of a new database");
    }
    for step in MIGRATIONS
        .iter()
        .filter(|step| step.version > found && step.version <= to)
    {
        if !is_new {
            tracing::info!(
                version = step.version,
                name = step.name,
                "bringing the database up to date"
            );
        }
        // Safe: the text is one of our own files.
        sqlx::raw_sql(AssertSqlSafe(dialect::statement(step.sql)))
            .execute(&mut *tx)
            .await?;
        sqlx::query("INSERT INTO schema_migrations (version, name) VALUES ($1, $2)")
            .bind(step.version)
            .bind(step.name)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(found)
}

/// What an earlier release left behind: the tables of version `version`, with these rows.
#[cfg(test)]
pub(crate) async fn old_database(pool: &Pool, version: i64, rows: &str) {
    unhurried(run(pool, version)).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(dialect::statement(rows).to_string()))
        .execute(pool)
        .await
        .unwrap();
}
