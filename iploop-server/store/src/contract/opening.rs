//! Opening: migrations, and what happens when others are there already.

use std::time::Duration;

use iploop_platform::account::Role;
use iploop_platform::ids::{AccountId, GatewayId};
use iploop_platform::store::{Accounts, Health, Plans, StoreError};
use iploop_platform::usage::UsageRecord;
use tokio::task::JoinSet;

use super::database::fresh_postgres;
use super::{Database, account_request, at, new_account, usage};
use crate::error::Waits;
use crate::{OpenError, PostgresStore, SqliteStore};

pub(super) async fn it_answers(db: &Database) {
    db.store.ping().await.unwrap();
}

pub(super) async fn every_rule_of_the_ledger_holds_over_its_tables(db: &Database) {
    let gateway = GatewayId::new();
    for _ in 0..3 {
        let account = new_account(&*db.store).await;
        db.store.credit(account, 500, "", "k", at(1)).await.unwrap();
        let billed = UsageRecord {
            bytes_up: 7,
            bytes_down: 70,
            ..usage(account, gateway)
        };
        let free = UsageRecord {
            bytes_down: 1_000,
            billable: false,
            ..usage(account, gateway)
        };
        db.store.settle(&[billed, free], at(2)).await.unwrap();
    }
    let wrong_used = "SELECT COUNT(*) FROM user_plans p WHERE used_bytes <>
        (SELECT CAST(SUM(bytes_uploaded + bytes_downloaded) AS BIGINT) FROM usage_records u
         WHERE u.user_id = p.user_id AND billable)";
    let wrong_balance = "SELECT COUNT(*) FROM user_plans p WHERE balance_bytes + used_bytes <>
        (SELECT CAST(SUM(bytes) AS BIGINT) FROM billing_transactions t WHERE t.user_id = p.user_id)";
    assert_eq!(db.number(wrong_used).await, 0);
    assert_eq!(db.number(wrong_balance).await, 0);
}

#[tokio::test]
async fn parallel_servers_migrate_one_sqlite_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let mut servers = JoinSet::new();
    for _ in 0..8 {
        let path = path.clone();
        servers.spawn(async move {
            SqliteStore::open_with(&path, Waits::PATIENT)
                .await
                .unwrap()
                .plans()
                .await
                .unwrap()
                .len()
        });
    }
    assert_eq!(servers.join_all().await, [4; 8]);
}

#[tokio::test]
async fn parallel_servers_migrate_one_postgres_database_once() {
    let url = fresh_postgres().await;
    let mut servers = JoinSet::new();
    for _ in 0..8 {
        let url = url.clone();
        servers.spawn(async move {
            PostgresStore::connect_with(&url, 2, Waits::PATIENT)
                .await
                .unwrap()
                .plans()
                .await
                .unwrap()
                .len()
        });
    }
    assert_eq!(servers.join_all().await, [4; 8]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_in_the_systems_words() {
    let waits = Waits {
        connection: Duration::from_millis(50),
        ..Waits::PATIENT
    };
    let nobody = PostgresStore::connect_with("postgres://127.0.0.1:9/iploop", 2, waits).await;
    let said = nobody.err().unwrap().to_string();
    assert!(said.contains("refused"), "{said}");
}

#[tokio::test]
async fn a_newer_database_is_refused_by_name() {
    const NEWER: &str = "INSERT INTO schema_migrations (version, name) VALUES (9999, 'from the future')";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = SqliteStore::open(&path).await.unwrap();
    sqlx::raw_sql(NEWER).execute(store.pool()).await.unwrap();
    store.close().await;
    let refused = SqliteStore::open(&path).await.err().unwrap();
    assert!(
        matches!(refused, OpenError::Newer { found: 9999, .. }),
        "{refused}"
    );

    let url = fresh_postgres().await;
    let store = PostgresStore::connect(&url, 2).await.unwrap();
    sqlx::raw_sql(NEWER).execute(store.pool()).await.unwrap();
    let refused = PostgresStore::connect(&url, 2).await.err().unwrap();
    assert!(
        matches!(refused, OpenError::Newer { found: 9999, .. }),
        "{refused}"
    );
}

/// An admin of before there were four roles, and a row that refers to it.
const OLD_ADMIN: &str = "
    INSERT INTO users (id, email, email_folded, password_hash, first_name, last_name, status, role, email_verified,
        created_at, standing)
    VALUES (UUID '00000000-0000-0000-0000-000000000001', 'a@b.co', 'a@b.co', '', 'Ada', 'Lovelace', 'active', 'admin',
        TRUE, 1, 'new');
    INSERT INTO mail_tokens (user_id, purpose, token_hash, created_at, expires_at)
    VALUES (UUID '00000000-0000-0000-0000-000000000001', 'verify_email', 'token', 1, 2);";

#[tokio::test]
async fn accounts_of_before_the_four_roles_keep_theirs() {
    const ORPHAN: &str = "DELETE FROM users";
    const UNKNOWN: &str = "UPDATE users SET role = 'root'";
    let id = AccountId::from(uuid::Uuid::from_u128(1));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let old = sqlx::SqlitePool::connect_with(options).await.unwrap();
    crate::sqlite::old_database(&old, 6, OLD_ADMIN).await;
    old.close().await;
    let store = SqliteStore::open(&path).await.unwrap();
    let account = store.account(id).await.unwrap().unwrap();
    assert_eq!(account.role, Role::Admin);
    assert_eq!(account.updated_at, account.created_at);
    for refused in [ORPHAN, UNKNOWN] {
        let done = sqlx::raw_sql(refused).execute(store.pool()).await;
        assert!(done.is_err(), "{refused}");
    }

    let url = fresh_postgres().await;
    let old = sqlx::PgPool::connect(&url).await.unwrap();
    crate::postgres::old_database(&old, 6, OLD_ADMIN).await;
    old.close().await;
    let store = PostgresStore::connect(&url, 2).await.unwrap();
    let account = store.account(id).await.unwrap().unwrap();
    assert_eq!(account.role, Role::Admin);
    assert_eq!(account.updated_at, account.created_at);
    for refused in [ORPHAN, UNKNOWN] {
        let done = sqlx::raw_sql(refused).execute(store.pool()).await;
        assert!(done.is_err(), "{refused}");
    }
}

#[tokio::test]
async fn rows_outlive_the_process_that_wrote_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let account = store.create_account(account_request(&store).await).await.unwrap();
    store.close().await;
    let again = SqliteStore::open(&path).await.unwrap();
    assert_eq!(again.account(account.id).await.unwrap(), Some(account));
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_the_sqlite_files() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("test.db")).await.unwrap();
    store.create_account(account_request(&store).await).await.unwrap();
    let mut files = 0;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o077,
            0,
            "{:?}",
            file.path()
        );
        files += 1;
    }
    assert!(files >= 2, "the database and its write-ahead log");
}

#[tokio::test]
async fn processes_that_share_a_sqlite_file_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let mut writers = JoinSet::new();
    for _ in 0..4 {
        // A store of its own each: their writers meet in the file, not in a pool.
        let store = SqliteStore::open_with(&path, Waits::PATIENT).await.unwrap();
        writers.spawn(async move {
            for _ in 0..25 {
                store.create_account(account_request(&store).await).await.unwrap();
            }
        });
    }
    writers.join_all().await;
}

#[tokio::test]
async fn a_closed_or_unreachable_database_is_unavailable() {
    let store = SqliteStore::open_in_memory().await.unwrap();
    store.close().await;
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));

    let nowhere = PostgresStore::connect("postgres://postgres@localhost/x?host=/nonexistent", 2).await;
    assert!(matches!(
        nowhere.err().unwrap(),
        OpenError::Store(StoreError::Unavailable(_))
    ));
    let malformed = PostgresStore::connect("postgres://user:secret@host:notaport/x", 2)
        .await
        .err()
        .unwrap();
    assert!(matches!(malformed, OpenError::Malformed));
    assert!(!malformed.to_string().contains("secret"));
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_passes() {
    let store = SqliteStore::open_in_memory().await.unwrap();
    sqlx::raw_sql("PRAGMA max_page_count = 1")
        .execute(store.pool())
        .await
        .unwrap();
    let refused = loop {
        if let Err(error) = store.create_account(account_request(&store).await).await {
            break error;
        }
    };
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    sqlx::raw_sql("PRAGMA max_page_count = 1000000")
        .execute(store.pool())
        .await
        .unwrap();
    store.create_account(account_request(&store).await).await.unwrap();
}

#[tokio::test]
async fn lost_connections_are_unavailable_and_replaced() {
    const CONNECTIONS: u32 = 4;
    let url = fresh_postgres().await;
    let store = PostgresStore::connect(&url, CONNECTIONS).await.unwrap();
    let other = PostgresStore::connect(&url, 1).await.unwrap();
    let mut pings = JoinSet::new();
    for _ in 0..CONNECTIONS * 4 {
        let store = store.clone();
        pings.spawn(async move { store.ping().await.unwrap() });
    }
    pings.join_all().await;
    let end_all = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    sqlx::raw_sql(end_all).execute(other.pool()).await.unwrap();
    let mut failures = 0;
    while let Err(error) = store.plans().await {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        failures += 1;
        assert!(failures <= CONNECTIONS, "a lost connection fails once");
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named_as_the_reason() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let below_a_file = file.path().join("data").join("test.db");
    assert!(matches!(
        SqliteStore::open(&below_a_file).await.err().unwrap(),
        OpenError::Folder(_)
    ));
}
