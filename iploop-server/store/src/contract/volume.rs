//! Many rows: what is asked often must not look at all of them.

use std::time::{Duration, Instant};

use iploop_platform::ids::GatewayId;
use iploop_platform::usage::{UsageCursor, UsageRecord, UsageSearch};

use super::{Database, at, new_account, usage};

/// Requests of each account in the suite; `IPLOOP_VOLUME_ROWS` takes others, and has the times printed.
const REQUESTS: usize = 5_000;
const ACCOUNTS: usize = 4;
const PAGE: u32 = 100;

fn searches(cursor: UsageCursor) -> Vec<(&'static str, UsageSearch)> {
    let text = |text: &str| Some(text.to_owned());
    let all = UsageSearch::default;
    vec![
        ("the newest", all()),
        (
            "a page in the middle",
            UsageSearch {
                after: Some(cursor),
                ..all()
            },
        ),
        (
            "an hour",
            UsageSearch {
                from: Some(at(1000)),
                to: Some(at(4600)),
                ..all()
            },
        ),
        (
            "of a host",
            UsageSearch {
                host: text("host7.example"),
                ..all()
            },
        ),
        (
            "of a session",
            UsageSearch {
                session: text("session-10"),
                ..all()
            },
        ),
        (
            "of a key",
            UsageSearch {
                api_key: Some(uuid::Uuid::from_u128(7).into()),
                ..all()
            },
        ),
        (
            "with a code",
            UsageSearch {
                code: text("connection_refused"),
                ..all()
            },
        ),
        (
            "that went well",
            UsageSearch {
                code: text("ok"),
                ..all()
            },
        ),
        (
            "with a status",
            UsageSearch {
                status: Some(502),
                ..all()
            },
        ),
        (
            "by a country",
            UsageSearch {
                country: text("DE"),
                ..all()
            },
        ),
        (
            "with a status that none has",
            UsageSearch {
                status: Some(418),
                ..all()
            },
        ),
    ]
}

pub(super) async fn every_search_of_requests_takes_an_index(db: &Database) {
    let asked = std::env::var("IPLOOP_VOLUME_ROWS")
        .ok()
        .and_then(|rows| rows.parse::<usize>().ok());
    let requests = asked.map_or(REQUESTS, |rows| rows / ACCOUNTS);
    let mut accounts = Vec::new();
    for _ in 0..ACCOUNTS {
        accounts.push(new_account(&*db.store).await);
    }
    db.fill_usage(requests).await;
    let account = accounts[1];
    let middle = i64::try_from(requests / 2).unwrap();
    let cursor = UsageCursor {
        started_at: at(middle),
        id: uuid::Uuid::from_u128(1 << 100).into(),
    };
    let mut times = Vec::new();
    for (name, search) in searches(cursor) {
        let plan = db.plan_of_search(account, &search, PAGE).await;
        // A sequential scan, as PostgreSQL and as SQLite say it.
        let looks_at_all = plan.contains("Seq Scan") || plan.contains("SCAN usage_records");
        // What none has is looked for in all that the account did, in whichever way is quickest.
        let has_index = !looks_at_all && plan.contains("usage_records_");
        assert!(has_index || search.status == Some(418), "{name}: {plan}");
        let began = Instant::now();
        let found = db.store.search_usage(account, &search, PAGE).await.unwrap();
        times.push((name, began.elapsed()));
        assert_eq!(found.is_empty(), search.status == Some(418), "{name}");
        assert!(found.iter().all(|record| record.account == account), "{name}");
    }
    let began = Instant::now();
    let gateway = GatewayId::new();
    let batch: Vec<UsageRecord> = (0..500)
        .map(|number| UsageRecord {
            bytes_up: 10,
            ..usage(accounts[number % ACCOUNTS], gateway)
        })
        .collect();
    db.store
        .settle(&batch, at(0).plus(Duration::from_secs(1)))
        .await
        .unwrap();
    times.push(("a settlement of 500 requests", began.elapsed()));
    let began = Instant::now();
    let sums = db.store.usage_summary(account, at(0), at(3600)).await.unwrap();
    times.push(("the sums of an hour", began.elapsed()));
    assert!(sums.total_requests >= 3600);
    let began = Instant::now();
    db.store
        .usage_summary(account, at(0), at(i64::from(u32::MAX)))
        .await
        .unwrap();
    times.push(("the sums of everything", began.elapsed()));
    if asked.is_some() {
        for (name, time) in times {
            println!("{name}: {time:?}");
        }
    }
}
