//! Room for a benchmark: a plan, a balance and abuse limits that no test runs into.
//!
//! Plans are rows that an operator may change, and so is a balance; they are changed here in the database's file before the
//! server starts, by SQL, as an operator would. The limits against abuse are part of the platform's policy document.

use std::path::Path;

use anyhow::Context;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

/// More bytes, requests or streams than any run takes, and far from overflow in any sum.
const PLENTY: i64 = 1_000_000_000_000_000;
/// Streams and dials in the limits' own type.
const PLENTY_STREAMS: u32 = 1_000_000;

/// What the device's owner grants beyond the defaults: no cap on bytes, streams for every test, and no condition that pauses.
pub(crate) const OWNER: [&str; 14] = [
    "--daily-limit",
    "1000000GB",
    "--monthly-limit",
    "1000000GB",
    "--max-streams",
    "10000",
    "--even-if",
    "battery",
    "--even-if",
    "power-saver",
    "--even-if",
    "metered",
    "--even-if",
    "vpn",
];

/// Opens every plan and fills every purse in the database of a server that does not run.
pub(crate) async fn grant_plenty(data: &Path) -> anyhow::Result<()> {
    let file = SqliteConnectOptions::new().filename(data.join("iploop.db"));
    let mut database = SqliteConnection::connect_with(&file)
        .await
        .context("the server's database")?;
    sqlx::query("UPDATE plans SET requests_per_day = $1, max_concurrent_connections = $2")
        .bind(PLENTY)
        .bind(i64::from(PLENTY_STREAMS))
        .execute(&mut database)
        .await?;
    // The balance is the sum of the ledger's postings, so both change.
    for statement in [
        "INSERT INTO ledger_entries (id, kind, owner, owner_id, bytes, amount_micros, credits, description, actor,
             metadata, at)
         SELECT randomblob(16), 'bonus', 'customer', user_id, $1, 0, 0, 'benchmark', 'system', '{}', started_at
         FROM user_plans",
        "INSERT INTO ledger_postings (entry_id, account, owner_id, unit, amount)
         SELECT id, 'purse', owner_id, 'bytes', $1 FROM ledger_entries WHERE description = 'benchmark'
         UNION ALL
         SELECT id, 'outside', zeroblob(16), 'bytes', -$1 FROM ledger_entries WHERE description = 'benchmark'",
    ] {
        sqlx::query(statement).bind(PLENTY).execute(&mut database).await?;
    }
    sqlx::query("UPDATE user_plans SET balance_bytes = balance_bytes + $1")
        .bind(PLENTY)
        .execute(&mut database)
        .await?;
    Ok(database.close().await?)
}

/// A policy document (`docs/protocol.md`, Policy) that allows one customer all of one device.
pub(crate) fn policy() -> String {
    serde_json::json!({
        "format": 1,
        "version": 1,
        "limits": {
            "openStreams": PLENTY_STREAMS,
            "dialsPerSecond": PLENTY_STREAMS,
            "dialsPerHostPerSecond": PLENTY_STREAMS,
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use iploop_protocol::policy::PlatformPolicy;

    use super::*;

    #[tokio::test]
    async fn a_server_of_this_build_is_granted_plenty() {
        let folder = tempfile::tempdir().unwrap();
        drop(iploop_store::open(folder.path().to_str().unwrap()).await.unwrap());
        grant_plenty(folder.path()).await.unwrap();
    }

    #[test]
    fn policy_document_is_one() {
        let policy = PlatformPolicy::parse(&policy()).unwrap();
        assert_eq!(policy.limits().open_streams, PLENTY_STREAMS);
        assert_eq!(policy.limits().dials_per_host_per_second, PLENTY_STREAMS);
    }
}
