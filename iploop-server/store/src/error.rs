//! What goes wrong with a database, in the words of the seam; and the limit on how long an act may take.

use std::future::Future;
use std::time::Duration;

use iploop_platform::store::StoreError;
use sqlx::error::DatabaseError;

/// Longest time one act may take, waiting for a connection and for locks included.
pub(crate) const ACT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an act waits for what others hold, at most. What it waits for ends in any case with [`ACT_TIMEOUT`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    /// For a free connection of this process.
    pub(crate) connection: Duration,
    /// For a lock in the database.
    pub(crate) lock: Duration,
}

impl Waits {
    /// Long enough for tests on a machine that is busy with others.
    #[cfg(test)]
    pub(crate) const PATIENT: Self = Self {
        connection: ACT_TIMEOUT,
        lock: ACT_TIMEOUT,
    };
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Neither PostgreSQL nor SQLite.
    #[error(
        "the database address starts with an unknown scheme: use postgres://…, sqlite://PATH or a data folder"
    )]
    UnknownScheme,
    /// The address of a PostgreSQL server can't be understood. Says nothing of its text, which may hold a password.
    #[error("the database address is malformed: use postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    Malformed,
    /// The folder of a SQLite file can't be made or written.
    #[error("the data folder can't be used: {0}")]
    Folder(#[source] std::io::Error),
    /// A newer release has been here.
    #[error(
        "the database is at version {found}, this program knows versions up to {known}: run the newer program, or restore a backup"
    )]
    Newer {
        /// The database's version.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// The database can't be reached, or it failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Carries a driver's error or one of ours out of an act, already in the words of the seam.
#[derive(Debug)]
pub(crate) struct Failure(StoreError);

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self(match &error {
            sqlx::Error::Database(cause) => match broken_rule(cause.as_ref()) {
                Some(what) => StoreError::Conflict { what },
                None if is_passing(cause.as_ref()) => StoreError::Unavailable(Box::new(error)),
                None => StoreError::Internal(Box::new(error)),
            },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => StoreError::Unavailable(Box::new(error)),
            _ => StoreError::Internal(Box::new(error)),
        })
    }
}

/// Runs one act within [`ACT_TIMEOUT`]. An act that is given up is rolled back by the database, unless its commit was
/// under way: callers repeat only what is idempotent.
pub(crate) async fn act<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, StoreError> {
    metrics::counter!("iploop_database_acts_total").increment(1);
    match tokio::time::timeout(ACT_TIMEOUT, work).await {
        Ok(done) => done.map_err(|Failure(error)| error),
        Err(elapsed) => Err(StoreError::Unavailable(Box::new(elapsed))),
    }
}

/// Runs one act of an operator's, or the steps to today's tables, however long it takes.
pub(crate) async fn unhurried<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, StoreError> {
    work.await.map_err(|Failure(error)| error)
}

/// A value in the database that the program can't read.
pub(crate) fn unreadable(column: &str, value: &dyn std::fmt::Display) -> sqlx::Error {
    sqlx::Error::Decode(format!("{column} holds {value}").into())
}

/// The unique rule that is broken, if that is what happened.
fn broken_rule(error: &dyn DatabaseError) -> Option<&'static str> {
    if !error.is_unique_violation() {
        return None;
    }
    // PostgreSQL names the constraint (`api_keys_key_hash_key`), SQLite the column (`… failed: api_keys.key_hash`).
    let rule = error.constraint().unwrap_or(error.message());
    let known = [
        ("email", "email"),
        ("partners", "partner key"),
        ("partner_apps", "app"),
        ("key_hash", "api_key"),
        ("token_hash", "token"),
        ("plans_name", "plan name"),
        ("plans.name", "plan name"),
    ];
    Some(
        known
            .iter()
            .find(|(part, _)| rule.contains(part))
            .map_or("row", |(_, what)| what),
    )
}

/// True where the same statement may succeed later: the fault is the database's or its machine's, not the statement's.
fn is_passing(error: &dyn DatabaseError) -> bool {
    let Some(code) = error.code() else { return false };
    if error.as_error().is::<sqlx::postgres::PgDatabaseError>() {
        // Classes of SQLSTATE (PostgreSQL's manual, appendix A): lost connections, conflicts and deadlocks, too few
        // resources, operator's intervention; then locks not to be had, and a server that only reads after a fail-over.
        return ["08", "40", "53", "57"]
            .iter()
            .any(|class| code.starts_with(class))
            || ["55P03", "25006"].contains(&code.as_ref());
    }
    // SQLite's primary codes (the low byte): BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN.
    matches!(
        code.parse::<u32>().map(|code| code & 0xff),
        Ok(5 | 6 | 7 | 8 | 10 | 13 | 14)
    )
}
