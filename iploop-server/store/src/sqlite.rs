//! The store on SQLite: one file, one writer, several readers. The embedded default.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tempfile::NamedTempFile;
use tokio::time::Instant;

use crate::error::{ACT_TIMEOUT, OpenError, Waits, act};

pub use sql::SqlStore as SqliteStore;
#[cfg(test)]
pub(crate) use sql::old_database;

type Db = sqlx::Sqlite;
type Pool = sqlx::SqlitePool;
type Row = sqlx::sqlite::SqliteRow;

/// Reads that run beside each other and beside the writer.
const READERS: u32 = 4;

/// The lock is that of another process that writes to the same file.
const WAITS: Waits = Waits {
    connection: Duration::from_secs(5),
    lock: Duration::from_secs(5),
};

/// Between two tries to open a file that another process opens as well.
const LOCKED_PAUSE: Duration = Duration::from_millis(10);

/// Rows that a connection's thread reads before whoever asked takes them: a page is read in one go.
const ROWS_AHEAD: usize = 512;

/// What is left of the write-ahead log after a checkpoint, in bytes.
const WAL_LIMIT_BYTES: u32 = 64 * 1024 * 1024;

impl SqliteStore {
    /// Opens the file at `path` and brings its tables up to date. A missing file is made, with its folder; only its owner
    /// may read it.
    ///
    /// # Errors
    /// [`OpenError::Folder`], [`OpenError::Newer`], [`OpenError::Store`].
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, WAITS).await
    }

    pub(crate) async fn open_with(path: &Path, waits: Waits) -> Result<Self, OpenError> {
        make_file(path).map_err(OpenError::Folder)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(waits.lock)
            .row_buffer_size(ROWS_AHEAD)
            .pragma("journal_size_limit", WAL_LIMIT_BYTES.to_string());
        let write = act(async { Ok(first_connection(&options, waits).await?) }).await?;
        // The readers come after the writer, which makes the tables.
        sql::migrate(&write).await?;
        let read = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(waits.connection)
            .test_before_acquire(false)
            .connect_lazy_with(options.pragma("query_only", "ON"));
        Ok(Self::new(read, write))
    }

    /// Opens a database in memory, which ends with this store. Its one connection serves reads as well, so that an act may
    /// wait for it as long as an act may take.
    ///
    /// # Errors
    /// [`OpenError::Store`].
    pub async fn open_in_memory() -> Result<Self, OpenError> {
        let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
        let pool = act(async { Ok(one_connection(ACT_TIMEOUT).connect_with(options).await?) }).await?;
        sql::migrate(&pool).await?;
        Ok(Self::new(pool.clone(), pool))
    }
}

/// The connection that writes. The first one of a new file turns on the write-ahead log, for which SQLite does not wait
/// while another process does the same: whoever waited there would hold what the other waits for.
async fn first_connection(options: &SqliteConnectOptions, waits: Waits) -> Result<Pool, sqlx::Error> {
    let until = Instant::now() + waits.lock;
    loop {
        match one_connection(waits.connection)
            .connect_with(options.clone())
            .await
        {
            Err(error) if is_locked(&error) && Instant::now() < until => {
                tokio::time::sleep(LOCKED_PAUSE).await
            }
            connected => return connected,
        }
    }
}

/// Whether another process holds the file (SQLITE_BUSY).
fn is_locked(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code == "5")
}

/// A pool of one connection: writers queue here, in order, instead of failing with SQLITE_BUSY.
fn one_connection(wait: Duration) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(1)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(wait)
        .test_before_acquire(false)
}

/// Makes the file before SQLite does, so that nobody but its owner may read it; the write-ahead log takes over its mode.
/// It is whole and closed before it has its name, and one that is there is not touched: to close a file ends every lock that
/// this process has on it, those of an open database too ("How To Corrupt An SQLite Database File", section 2.2).
fn make_file(path: &Path) -> std::io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let file = NamedTempFile::new_in(folder)?.into_temp_path();
    match file.persist_noclobber(path) {
        Err(refused) if refused.error.kind() != ErrorKind::AlreadyExists => Err(refused.error),
        _ => Ok(()),
    }
}

/// The few words in which SQLite differs.
mod dialect {
    /// Says how a query would be answered, and does not answer it.
    #[cfg(test)]
    pub(super) const EXPLAIN: &str = "EXPLAIN QUERY PLAN ";

    /// Starts a transaction that writes. It takes the write lock at once: one that reads first and writes later would fail
    /// when another process wrote between.
    pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";

    /// Starts a transaction that only reads, all of it as the data is at its first read.
    pub(super) const SNAPSHOT: &str = "BEGIN";

    /// Lets the transaction's statements run for as long as they take: they do already.
    pub(super) const UNHURRIED: &str = "SELECT 1";

    /// Keeps other servers from migrating: [`BEGIN`] does that already.
    pub(super) const LOCK_MIGRATIONS: &str = "SELECT 1";

    /// A statement in SQLite's words: `UUID '…'` becomes a blob, and a table that is read by ranges of its primary key lies in
    /// that order.
    pub(super) fn statement(sql: &str) -> String {
        let sql = sql.replace("/* WITHOUT ROWID */", "WITHOUT ROWID");
        let mut parts = sql.split("UUID '");
        let mut text = String::from(parts.next().unwrap_or_default());
        for part in parts {
            let (uuid, rest) = part.split_once('\'').unwrap_or((part, ""));
            text.push_str("X'");
            text.push_str(&uuid.replace('-', ""));
            text.push('\'');
            text.push_str(rest);
        }
        text
    }
}

/// Keeps the rows read from changing until the transaction ends: here the write lock does.
macro_rules! locked {
    () => {
        ""
    };
}

/// A SELECT of the rows given as a JSON array of objects in `$1`: `given!(id uuid, at bigint)`.
macro_rules! given {
    ($first:ident $type:ident $(, $name:ident $types:ident)*) => {
        concat!("SELECT ", field!($first $type) $(, ", ", field!($name $types))*, " FROM json_each($1)")
    };
}

/// One field of such a row as a column.
macro_rules! field {
    ($name:ident uuid) => {
        concat!(
            "unhex(value ->> '",
            stringify!($name),
            "', '-') AS ",
            stringify!($name)
        )
    };
    ($name:ident $type:ident) => {
        concat!("value ->> '", stringify!($name), "' AS ", stringify!($name))
    };
}

#[path = "sql/mod.rs"]
#[expect(clippy::duplicate_mod, reason = "one SQL source, compiled for each database")]
mod sql;
