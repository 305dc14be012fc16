//! An account whose balance ends while it downloads as fast as it can, at one gateway and at two.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};

use super::customers::{Customer, Running, eventually};
use super::postgres::Postgres;
use super::site::{Settings, Site, balance_statements};
use super::{Bench, Bound, Figure};

const BALANCE: i64 = 400_000_000;
const STREAMS: usize = 32;
/// Fewer where the plan is the one that everyone begins with.
const STREAMS_OF_TWO: usize = 8;
const LIMIT: Duration = Duration::from_secs(60);
const OVER_SERVED_KIB: f64 = 64.0;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let site = Site::with_devices(&bench.binaries, Settings::default(), 3).await?;
    let account = &site.other;
    site.set_balance(account, BALANCE).await?;
    let received = download(&[site.customer_of(account)], STREAMS).await?;
    let used = eventually("everything is booked", LIMIT, async || {
        let [used, booked] = site.used(account).await.ok()?;
        (used == booked && used >= received).then_some(used)
    })
    .await?;
    figures(used.max(received), received, STREAMS)
}

pub(super) async fn measure_two(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let postgres = Postgres::start()?;
    let settings = Settings {
        database: Some(postgres.url()),
        ..Settings::default()
    };
    let mut site = Site::with_devices(&bench.binaries, settings, 1).await?;
    let (_second, there) = site.second_server().await?;
    let id = format!("'{}'", site.other.id);
    let mut database = PgConnection::connect(&postgres.url()).await?;
    for statement in balance_statements(&id, BALANCE) {
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(&mut database)
            .await?;
    }
    let here = site.customer_of(&site.other);
    let there = Customer {
        proxy: there.proxy,
        ..here.clone()
    };
    let received = download(&[here, there], STREAMS_OF_TWO).await?;
    let query = format!("SELECT used_bytes FROM user_plans WHERE user_id = {id}");
    let mut used = 0;
    // What is booked last is booked within two seconds, and never less than what was received.
    for _ in 0..LIMIT.as_secs() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let row = sqlx::query(sqlx::AssertSqlSafe(query.clone()))
            .fetch_one(&mut database)
            .await?;
        let now: i64 = row.get(0);
        if now == used && used >= received {
            break;
        }
        used = now;
    }
    figures(used.max(received), received, STREAMS_OF_TWO)
}

/// Downloads until every stream has ended; bytes received.
async fn download(customers: &[Customer], streams: usize) -> anyhow::Result<i64> {
    let mut running = Vec::new();
    for customer in customers {
        running
            .extend(Running::start_all(customer, 0..streams / customers.len(), |_| "pour".to_owned()).await?);
    }
    let mut received = 0;
    for stream in &mut running {
        let past = stream.ended_within(LIMIT).await;
        let past = past.ok_or_else(|| anyhow::anyhow!("a stream goes on without a balance"))?;
        received += i64::try_from(past.arrivals.last().map_or(0, |(_, bytes)| *bytes))?;
    }
    Ok(received)
}

fn figures(served: i64, received: i64, streams: usize) -> anyhow::Result<Vec<Figure>> {
    let over = (served - BALANCE) as f64 / streams as f64 / 1024.0;
    let unserved = (BALANCE - received).max(0) as f64 / BALANCE as f64;
    Ok(vec![
        Figure::new(
            "over-served of each live stream",
            over,
            " KiB",
            Bound::AtMost(OVER_SERVED_KIB),
        )
        .of(format!("{streams} streams, {served} bytes of {BALANCE}")),
        Figure::new("paid for and not served", unserved * 100.0, " %", Bound::None),
    ])
}
