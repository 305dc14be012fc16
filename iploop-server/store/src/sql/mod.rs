//! The statements, written once and compiled inside `sqlite` and inside `postgres`, which give `Db`, `Pool`, `Row`, the
//! `dialect` module and the macros `locked!` and `given!` their meaning.
//!
//! Locks, the same everywhere: who changes several rows of a table locks them first, in the order of their ids, and who
//! changes a balance or a lease holds the lock of the account's row in `user_plans`; who pays a partner, that of its row in `partners`. So nobody waits in a circle.

use super::{Db, Pool, Row, dialect};

mod accounts;
mod admin;
mod admission;
mod announcements;
mod api_keys;
mod archive;
mod audit;
mod billing;
mod books;
mod columns;
mod deliveries;
mod device_news;
mod device_retention;
mod disputes;
mod errands;
mod events;
mod health;
mod ip_logins;
mod latest;
mod ledger;
mod ledger_check;
mod logins;
mod migrate;
mod nodes;
mod notices;
mod owner_credits;
mod owner_export;
mod owners;
mod pages;
mod partner_apps;
mod partner_records;
mod partners;
mod password_requests;
mod payment_events;
mod payments;
mod plans;
mod profiles;
mod proxy_defaults;
mod rate_alerts;
mod reading;
mod rollups;
mod safeguards;
mod second_factors;
mod settle;
mod sold;
mod statistics;
mod sticky;
mod support;
mod surplus;
mod taken_back;
mod usage;
mod usage_answers;
mod webhooks;

pub(super) use migrate::migrate;
#[cfg(test)]
pub(crate) use migrate::old_database;
use usage_answers::UsageAnswers;

/// Everything the platform keeps, in one database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct SqlStore {
    read: Pool,
    write: Pool,
    usage_answers: UsageAnswers,
}

/// A transaction that may write. Dropping it rolls it back.
type Tx = sqlx::Transaction<'static, Db>;

impl SqlStore {
    /// `read` and `write` may be one pool.
    pub(super) fn new(read: Pool, write: Pool) -> Self {
        Self {
            read,
            write,
            usage_answers: UsageAnswers::new(),
        }
    }

    /// Waits for the acts under way, then ends every connection. Acts after that fail with `Unavailable`.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }

    async fn begin(&self) -> Result<Tx, sqlx::Error> {
        begin(&self.write, dialect::BEGIN).await
    }
}

/// Begins a transaction, in a task of its own.
///
/// A caller that is given up between `BEGIN` and its answer (a closed request, [`crate::error::ACT_TIMEOUT`]) would leave a
/// PostgreSQL connection to the next one inside a transaction that nobody ends: sqlx 0.9 rolls back only what it knows to
/// have begun. So the beginning always runs to its end, and what nobody takes is rolled back.
async fn begin(pool: &Pool, how: &'static str) -> Result<Tx, sqlx::Error> {
    let pool = pool.clone();
    tokio::spawn(async move { pool.begin_with(how).await })
        .await
        .map_err(|_| sqlx::Error::WorkerCrashed)?
}

#[cfg(test)]
impl SqlStore {
    /// A connection for what no method does yet, such as banning a device.
    pub(crate) fn pool(&self) -> &Pool {
        &self.write
    }
}
