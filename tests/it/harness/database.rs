//! The embedded database, looked into and changed from beside the server, as an operator might.

use std::path::PathBuf;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Row as _};

/// The Business plan of the first migration: cities, networks and sessions, and 200 connections.
const BUSINESS: &str = "01900000000070008000000000000003";

/// The database file of a server.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    file: PathBuf,
}

/// One request as it is booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Booked {
    /// The request's id: hex digits without dashes.
    pub(crate) id: String,
    pub(crate) bytes_up: i64,
    pub(crate) bytes_down: i64,
    pub(crate) billable: bool,
    pub(crate) proxy_type: String,
    pub(crate) status: Option<i64>,
    pub(crate) error: Option<String>,
    pub(crate) is_ended: bool,
}

/// An account's purse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Purse {
    pub(crate) balance: i64,
    pub(crate) used: i64,
    /// Everything that was ever added.
    pub(crate) granted: i64,
    /// The sum of the billable records.
    pub(crate) booked: i64,
}

impl Database {
    pub(crate) fn at(file: PathBuf) -> Self {
        Self { file }
    }

    /// Puts an account into the plan that has everything.
    pub(crate) fn give_business_plan(&self, account: &str) {
        self.execute(&format!(
            "UPDATE user_plans SET plan_id = x'{BUSINESS}' WHERE user_id = x'{}'",
            hex(account)
        ));
    }

    /// Leaves an account just so many bytes.
    pub(crate) fn set_balance(&self, account: &str, bytes: i64) {
        let account = hex(account);
        // Its one entry is the bonus.
        self.execute(&format!(
            "UPDATE ledger_entries SET bytes = {bytes} WHERE owner_id = x'{account}'"
        ));
        self.execute(&format!(
            "UPDATE ledger_postings SET amount = CASE account WHEN 'purse' THEN {bytes} ELSE -{bytes} END \
             WHERE entry_id IN (SELECT id FROM ledger_entries WHERE owner_id = x'{account}')"
        ));
        self.execute(&format!(
            "UPDATE user_plans SET balance_bytes = {bytes} - used_bytes WHERE user_id = x'{account}'"
        ));
    }

    /// Every request of an account, oldest first.
    pub(crate) fn booked(&self, account: &str) -> Vec<Booked> {
        let query = format!(
            "SELECT lower(hex(id)), bytes_uploaded, bytes_downloaded, billable, proxy_type, status_code, error_code, \
             ended_at FROM usage_records WHERE user_id = x'{}' ORDER BY started_at, id",
            hex(account)
        );
        self.rows(&query)
            .iter()
            .map(|row| Booked {
                id: row.get(0),
                bytes_up: row.get(1),
                bytes_down: row.get(2),
                billable: row.get(3),
                proxy_type: row.get(4),
                status: row.get(5),
                error: row.get(6),
                is_ended: row.get::<Option<i64>, _>(7).is_some(),
            })
            .collect()
    }

    pub(crate) fn purse(&self, account: &str) -> Purse {
        let account = hex(account);
        let query = format!(
            "SELECT balance_bytes, used_bytes, \
             (SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM billing_transactions WHERE user_id = x'{account}'), \
             (SELECT CAST(COALESCE(SUM(bytes_uploaded + bytes_downloaded), 0) AS BIGINT) FROM usage_records \
             WHERE user_id = x'{account}' AND billable) \
             FROM user_plans WHERE user_id = x'{account}'"
        );
        let rows = self.rows(&query);
        let row = rows.first().unwrap();
        Purse {
            balance: row.get(0),
            used: row.get(1),
            granted: row.get(2),
            booked: row.get(3),
        }
    }

    /// How many consents were withdrawn.
    pub(crate) fn withdrawals(&self) -> i64 {
        self.rows("SELECT COUNT(*) FROM consent_withdrawals")[0].get(0)
    }

    /// How many mails of this template wait for another try, and nobody has them in hand.
    pub(crate) fn mails_to_try_again(&self, template: &str) -> i64 {
        let query = format!(
            "SELECT COUNT(*) FROM mail_outbox \
             WHERE template = '{template}' AND state = 'pending' AND tries > 0 AND lease IS NULL"
        );
        self.rows(&query)[0].get(0)
    }

    /// Runs a statement.
    pub(crate) fn execute(&self, statement: &str) {
        self.with(async |database| {
            sqlx::query(sqlx::AssertSqlSafe(statement))
                .execute(database)
                .await
                .unwrap();
        });
    }

    fn rows(&self, query: &str) -> Vec<sqlx::sqlite::SqliteRow> {
        self.with(async |database| {
            sqlx::query(sqlx::AssertSqlSafe(query))
                .fetch_all(database)
                .await
                .unwrap()
        })
    }

    fn with<T>(&self, work: impl AsyncFnOnce(&mut SqliteConnection) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let options = SqliteConnectOptions::new()
                .filename(&self.file)
                .busy_timeout(Duration::from_secs(30));
            let mut database = SqliteConnection::connect_with(&options).await.unwrap();
            let value = work(&mut database).await;
            database.close().await.unwrap();
            value
        })
    }
}

/// An id as SQLite's blob literal has it.
pub(crate) fn hex(id: &str) -> String {
    let hex = id.replace('-', "").to_ascii_lowercase();
    assert!(
        hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    hex
}
