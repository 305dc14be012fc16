//! IPLoop's data: SQLite and PostgreSQL from one SQL source, and their migrations; and the state that processes share.
//!
//! `sqlite.rs` and `postgres.rs` are twins: each opens its database and says the few words in which that database differs,
//! then compiles the same statements from `sql/`. What the statements promise stands on the traits of
//! [`iploop_platform::store`]; `contract/` proves it on both.
//!
//! Bytes are booked by two rules, and only here: what one record costs and how two versions of it become one is
//! `booking.rs`; balances, leases and their locks are `sql/ledger.rs` and `sql/settle.rs`.

mod booking;
#[cfg(test)]
mod contract;
mod error;
mod kept;
mod migrations;
mod postgres;
mod shared;
mod sqlite;

use std::path::Path;
use std::sync::Arc;

use iploop_platform::store::Store;

pub use error::OpenError;
pub use postgres::PostgresStore;
pub use shared::{MemoryState, RedisState, RedisUrlError, check_redis_url};
pub use sqlite::SqliteStore;

/// Connections to PostgreSQL, unless said otherwise.
pub const DEFAULT_POSTGRES_CONNECTIONS: u32 = 16;

/// Name of the database file in a data folder.
pub const DATABASE_FILE: &str = "iploop.db";

/// Opens the database that `url` names, and brings its tables up to date.
///
/// * `postgres://…` or `postgresql://…`: PostgreSQL, [`DEFAULT_POSTGRES_CONNECTIONS`] connections at most
/// * `sqlite::memory:`: SQLite in memory, gone with the last handle
/// * `sqlite://PATH`: that SQLite file, made if it is missing
/// * anything else without `://`: a data folder, made if it is missing; the file in it is [`DATABASE_FILE`]
///
/// # Errors
/// [`OpenError`], each variant with what to do about it.
pub async fn open(url: &str) -> Result<Arc<dyn Store>, OpenError> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Arc::new(
            PostgresStore::connect(url, DEFAULT_POSTGRES_CONNECTIONS).await?,
        ));
    }
    if url == "sqlite::memory:" {
        return Ok(Arc::new(SqliteStore::open_in_memory().await?));
    }
    if let Some(path) = url.strip_prefix("sqlite://") {
        return Ok(Arc::new(SqliteStore::open(Path::new(path)).await?));
    }
    if url.contains("://") {
        return Err(OpenError::UnknownScheme);
    }
    Ok(Arc::new(
        SqliteStore::open(&Path::new(url).join(DATABASE_FILE)).await?,
    ))
}

/// Whether [`open`] understands `url`; nothing is opened.
///
/// # Errors
/// [`OpenError::UnknownScheme`], [`OpenError::Malformed`].
pub fn check_url(url: &str) -> Result<(), OpenError> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return postgres::check_url(url);
    }
    if url.contains("://") && !url.starts_with("sqlite://") {
        return Err(OpenError::UnknownScheme);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_can_not_be_opened_is_known_beforehand() {
        for sound in [
            "postgres://u:p@h:5432/d",
            "postgresql://h/d",
            "sqlite:///tmp/x.db",
            "/srv/data",
        ] {
            assert!(check_url(sound).is_ok(), "{sound}");
        }
        assert!(matches!(check_url("mysql://h/d"), Err(OpenError::UnknownScheme)));
        assert!(matches!(
            check_url("postgres://h:port/d"),
            Err(OpenError::Malformed)
        ));
    }

    #[tokio::test]
    async fn a_data_folder_is_made_and_opened_again_with_its_rows() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("new").join("data");
        for _ in 0..2 {
            let store = open(folder.to_str().unwrap()).await.unwrap();
            assert_eq!(store.plans().await.unwrap().len(), 4);
        }
        assert!(folder.join(DATABASE_FILE).exists());
    }

    #[tokio::test]
    async fn an_unknown_scheme_is_refused() {
        assert!(matches!(
            open("mysql://localhost/x").await.err(),
            Some(OpenError::UnknownScheme)
        ));
    }
}
