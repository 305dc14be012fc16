use std::time::Duration;

use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, ApiKeyId, GatewayId, NodeId, RequestId};
use iploop_platform::statistics::{Number, Part};
use iploop_platform::usage::{DayUse, Timings, UsageCursor, UsageRecord, UsageSearch, UsageSummary};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Database, at, new_account, usage};

pub(super) async fn a_record_reads_back_as_it_was_settled(db: &Database) {
    let account = new_account(&*db.store).await;
    let full = UsageRecord {
        node: Some(NodeId::new()),
        session: Some("shop 🛒 \"7\"".into()),
        bytes_up: 1_234,
        bytes_down: 987_654_321_012,
        billable: false,
        proxy_type: "socks5".into(),
        destination: "münchen.example:443".into(),
        exit_country: Some("DE".into()),
        exit_city: Some("München".into()),
        exit_asn: Some(u32::MAX),
        exit_ip: Some("2001:db8::7".parse().unwrap()),
        timings: Timings {
            select_ms: Some(0),
            dial_ms: Some(120),
            first_byte_ms: Some(u32::MAX),
        },
        status: Some(502),
        error: Some("connection_refused".into()),
        attempts: 3,
        ended_at: Some(at(11)),
        ..usage(account, GatewayId::new())
    };
    db.store
        .settle(std::slice::from_ref(&full), at(12))
        .await
        .unwrap();
    assert_eq!(
        db.store.recent_usage(account, 10).await.unwrap(),
        std::slice::from_ref(&full)
    );

    let odd = UsageRecord {
        id: RequestId::new(),
        session: Some("with\0nul".into()),
        bytes_down: u64::MAX,
        started_at: at(20),
        ..full
    };
    db.store.settle(std::slice::from_ref(&odd), at(21)).await.unwrap();
    let stored = UsageRecord {
        session: Some("withnul".into()),
        bytes_down: i64::MAX.unsigned_abs(),
        ..odd
    };
    assert_eq!(db.store.recent_usage(account, 1).await.unwrap(), [stored]);
}

pub(super) async fn the_newest_requests_come_first(db: &Database) {
    let (account, other) = (new_account(&*db.store).await, new_account(&*db.store).await);
    let gateway = GatewayId::new();
    let begun = |second: i64, id: u128| UsageRecord {
        id: RequestId::from(Uuid::from_u128(id)),
        started_at: at(second),
        ..usage(account, gateway)
    };
    let records = [
        begun(1, 5),
        begun(3, 4),
        begun(2, 3),
        begun(3, 9),
        usage(other, gateway),
    ];
    db.store.settle(&records, at(4)).await.unwrap();
    let [first, third, second, third_too, _] = records;
    assert_eq!(
        db.store.recent_usage(account, 3).await.unwrap(),
        [third_too.clone(), third.clone(), second.clone()]
    );
    assert_eq!(
        db.store.recent_usage(account, 100).await.unwrap(),
        [third_too, third, second, first]
    );
    assert_eq!(db.store.recent_usage(account, 0).await.unwrap(), []);
}

pub(super) async fn a_summary_counts_the_period_of_its_account(db: &Database) {
    let (account, other) = (new_account(&*db.store).await, new_account(&*db.store).await);
    let gateway = GatewayId::new();
    let counted = |start: i64| UsageRecord {
        bytes_up: 10,
        bytes_down: 100,
        started_at: at(start),
        ..usage(account, gateway)
    };
    let records = [
        counted(9),
        UsageRecord {
            ended_at: Some(at(12)),
            status: Some(200),
            ..counted(10)
        },
        UsageRecord {
            ended_at: Some(at(21)),
            error: Some("no_exit".into()),
            billable: false,
            ..counted(19)
        },
        // A clock that went back: no negative duration.
        UsageRecord {
            ended_at: Some(at(1)),
            ..counted(15)
        },
        counted(11),
        counted(20),
        UsageRecord {
            bytes_up: 77,
            ..usage(other, gateway)
        },
    ];
    db.store.settle(&records, at(22)).await.unwrap();
    assert_eq!(
        db.store.usage_summary(account, at(10), at(20)).await.unwrap(),
        UsageSummary {
            total_requests: 4,
            successful_requests: 3,
            bytes_up: 40,
            bytes_down: 400,
            billed_bytes: 330,
            total_duration_ms: 4_000,
            ended_requests: 3,
        }
    );
}

pub(super) async fn an_empty_period_sums_to_nothing(db: &Database) {
    let account = new_account(&*db.store).await;
    assert_eq!(
        db.store.usage_summary(account, at(0), at(9)).await.unwrap(),
        UsageSummary::default()
    );
    let nobody = AccountId::new();
    assert_eq!(
        db.store.usage_summary(nobody, at(0), at(9)).await.unwrap(),
        UsageSummary::default()
    );
    assert_eq!(
        db.store.day_use(nobody, at(0), at(9)).await.unwrap(),
        DayUse::default()
    );
}

pub(super) async fn a_day_counts_requests_and_what_was_not_charged(db: &Database) {
    let (account, other) = (new_account(&*db.store).await, new_account(&*db.store).await);
    let gateway = GatewayId::new();
    let counted = |second: i64, billable: bool| UsageRecord {
        bytes_up: 10,
        bytes_down: 100,
        started_at: at(second),
        billable,
        ..usage(account, gateway)
    };
    let records = [
        counted(9, false),
        counted(10, true),
        counted(15, false),
        counted(19, false),
        counted(20, false),
        UsageRecord {
            account: other,
            ..counted(15, false)
        },
    ];
    db.store.settle(&records, at(22)).await.unwrap();
    assert_eq!(
        db.store.day_use(account, at(10), at(20)).await.unwrap(),
        DayUse {
            requests: 3,
            forgiven_bytes: 220,
        }
    );
}

pub(super) async fn a_request_is_found_by_its_id_and_account(db: &Database) {
    let (account, other) = (new_account(&*db.store).await, new_account(&*db.store).await);
    let record = usage(account, GatewayId::new());
    db.store
        .settle(std::slice::from_ref(&record), at(1))
        .await
        .unwrap();
    let found = db.store.usage_record(account, record.id).await.unwrap();
    assert_eq!(found, Some(record.clone()));
    assert_eq!(db.store.usage_record(other, record.id).await.unwrap(), None);
    assert_eq!(
        db.store.usage_record(account, RequestId::new()).await.unwrap(),
        None
    );
}

pub(super) async fn a_search_finds_what_was_asked_for_and_nothing_else(db: &Database) {
    let (account, other) = (new_account(&*db.store).await, new_account(&*db.store).await);
    let key = ApiKeyId::new();
    let plain = UsageRecord {
        destination: "[2001:db8::1]:443".into(),
        ended_at: Some(at(30)),
        ..usage(account, GatewayId::new())
    };
    let special = UsageRecord {
        id: RequestId::new(),
        api_key: key,
        session: Some("shop' OR 1=1 --".into()),
        proxy_type: "socks5".into(),
        destination: "www.example.com:8443".into(),
        exit_country: Some("DE".into()),
        status: Some(502),
        error: Some("connection_refused".into()),
        started_at: at(20),
        ..plain.clone()
    };
    let running = UsageRecord {
        id: RequestId::new(),
        ended_at: None,
        started_at: at(25),
        ..plain.clone()
    };
    let stranger = UsageRecord {
        id: RequestId::new(),
        account: other,
        ..special.clone()
    };
    let records = [plain.clone(), special.clone(), running.clone(), stranger];
    db.store.settle(&records, at(31)).await.unwrap();
    let find = async |search: UsageSearch| {
        let found = db.store.search_usage(account, &search, 10).await.unwrap();
        found.iter().map(|record| record.id).collect::<Vec<_>>()
    };
    let any = UsageSearch::default;
    assert_eq!(find(any()).await, [running.id, special.id, plain.id]);
    let searches = [
        UsageSearch {
            api_key: Some(key),
            ..any()
        },
        UsageSearch {
            code: Some("connection_refused".into()),
            ..any()
        },
        UsageSearch {
            country: Some("DE".into()),
            ..any()
        },
        UsageSearch {
            host: Some("www.example.com".into()),
            ..any()
        },
        UsageSearch {
            status: Some(502),
            ..any()
        },
        UsageSearch {
            proxy_type: Some("socks5".into()),
            ..any()
        },
        UsageSearch {
            session: Some("shop' OR 1=1 --".into()),
            ..any()
        },
        UsageSearch {
            from: Some(at(20)),
            to: Some(at(25)),
            ..any()
        },
    ];
    for search in searches {
        assert_eq!(find(search.clone()).await, [special.id], "{search:?}");
    }
    assert_eq!(
        find(UsageSearch {
            code: Some("ok".into()),
            ..any()
        })
        .await,
        [plain.id]
    );
    assert_eq!(
        find(UsageSearch {
            host: Some("2001:db8::1".into()),
            ..any()
        })
        .await,
        [running.id, plain.id]
    );
    assert_eq!(
        find(UsageSearch {
            host: Some("example.com".into()),
            ..any()
        })
        .await,
        []
    );
    assert_eq!(
        db.store.search_usage(account, &any(), 1).await.unwrap(),
        [running]
    );
}

pub(super) async fn pages_are_whole_while_new_requests_come(db: &Database) {
    let account = new_account(&*db.store).await;
    let gateway = GatewayId::new();
    let begun = |second: i64| UsageRecord {
        started_at: at(second),
        ..usage(account, gateway)
    };
    // Three of each moment, so that pages end between them.
    let records: Vec<UsageRecord> = (0..30).map(|number| begun(number / 3)).collect();
    db.store.settle(&records, at(100)).await.unwrap();
    let mut seen = Vec::new();
    let mut search = UsageSearch::default();
    loop {
        let page = db.store.search_usage(account, &search, 7).await.unwrap();
        let Some(last) = page.last() else { break };
        search.after = Some(UsageCursor::of(last));
        seen.extend(page.iter().map(|record| record.id));
        db.store.settle(&[begun(200)], at(201)).await.unwrap();
    }
    let mut wanted = records;
    wanted.sort_by_key(|record| std::cmp::Reverse((record.started_at, record.id)));
    assert_eq!(seen, wanted.iter().map(|record| record.id).collect::<Vec<_>>());
}

pub(super) async fn what_is_kept_of_usage_ends_with_each_change_of_it(db: &Database) {
    let account = new_account(&*db.store).await;
    let (hour, record) = ended(account, 1);
    let read = async || {
        let page = db
            .store
            .search_usage(account, &UsageSearch::default(), 10)
            .await
            .unwrap();
        let whole = [Part {
            from: at(0).hour_start(),
            to: hour.plus(Duration::from_secs(3_600)),
            number: Number::Is(0),
        }];
        let sums = db.store.sums_by_number(account, None, &whole).await.unwrap();
        (
            page.first().map(|record| record.attempts),
            sums.first().map(|(_, sums)| sums.total_requests),
        )
    };
    assert_eq!(read().await, (None, None));
    let running = UsageRecord {
        bytes_up: 0,
        bytes_down: 0,
        ended_at: None,
        ..record.clone()
    };
    db.store.settle(&[running], hour).await.unwrap();
    assert_eq!(
        read().await,
        (Some(1), Some(1)),
        "a booking without a byte is one"
    );
    db.store.settle(&[record], hour).await.unwrap();
    assert_eq!(read().await, (Some(1), Some(1)));

    // Behind the store's back: seen when another process counts the version up, as its booking does.
    db.execute("UPDATE usage_records SET attempts = 9").await;
    db.execute("UPDATE usage_rollups SET requests = 5").await;
    assert_eq!(read().await, (Some(1), Some(1)), "it is kept");
    db.execute("UPDATE user_plans SET usage_version = usage_version + 1")
        .await;
    assert_eq!(read().await, (Some(9), Some(5)));

    let archived = db
        .store
        .archive_usage(hour.plus(Duration::from_secs(7_200)), 10)
        .await;
    assert_eq!(archived.unwrap(), 1);
    assert_eq!(read().await, (None, Some(5)), "the log is cut, the sums stay");
}

/// The start of an hour, and a request of an account that began a second after it and ended.
fn ended(account: AccountId, hour: u64) -> (Timestamp, UsageRecord) {
    let hour = at(0).hour_start().plus(Duration::from_secs(hour * 3600));
    let started_at = hour.plus(Duration::from_secs(1));
    let record = UsageRecord {
        bytes_up: 10,
        bytes_down: 100,
        started_at,
        ended_at: Some(started_at.plus(Duration::from_secs(2))),
        ..usage(account, GatewayId::new())
    };
    (hour, record)
}

pub(super) async fn archived_requests_stay_in_the_sums(db: &Database) {
    let account = new_account(&*db.store).await;
    let (first_hour, old) = ended(account, 0);
    let failed = UsageRecord {
        id: RequestId::new(),
        error: Some("exit_lost".into()),
        billable: false,
        ..old.clone()
    };
    let running = UsageRecord {
        id: RequestId::new(),
        ended_at: None,
        ..old.clone()
    };
    let (second_hour, new) = ended(account, 1);
    let records = [old, failed, running.clone(), new.clone()];
    db.store.settle(&records, second_hour).await.unwrap();
    let sums = async || {
        let to = second_hour.plus(Duration::from_secs(3600));
        let all = db.store.usage_summary(account, first_hour, to).await.unwrap();
        let later = db.store.usage_summary(account, second_hour, to).await.unwrap();
        (all, later)
    };
    let before = sums().await;
    assert_eq!((before.0.total_requests, before.0.billed_bytes), (4, 330));
    assert_eq!(db.store.archive_usage(first_hour, 10).await.unwrap(), 0);
    assert_eq!(db.store.archive_usage(second_hour, 1).await.unwrap(), 1);
    assert_eq!(sums().await, before);
    assert_eq!(db.store.archive_usage(second_hour, 10).await.unwrap(), 1);
    assert_eq!(db.store.archive_usage(second_hour, 10).await.unwrap(), 0);
    assert_eq!(sums().await, before);
    assert_eq!(
        db.store.recent_usage(account, 10).await.unwrap(),
        [new, running],
        "what runs is not archived"
    );
}

pub(super) async fn an_archived_request_that_is_booked_again_costs_nothing(db: &Database) {
    let account = new_account(&*db.store).await;
    let (hour, record) = ended(account, 0);
    let running = UsageRecord {
        id: RequestId::new(),
        ended_at: None,
        ..record.clone()
    };
    let next = hour.plus(Duration::from_secs(3600));
    db.store
        .settle(&[record.clone(), running.clone()], next)
        .await
        .unwrap();
    assert_eq!(db.store.archive_usage(next, 10).await.unwrap(), 1);
    let before = db.store.balance(account).await.unwrap();
    // A gateway that was away for long brings what its journal still has.
    db.store
        .settle(std::slice::from_ref(&record), next)
        .await
        .unwrap();
    assert_eq!(db.store.balance(account).await.unwrap(), before);
    // What was running all the time goes on being paid.
    let more = UsageRecord {
        bytes_down: 1_100,
        ended_at: Some(next),
        ..running
    };
    db.store.settle(&[more], next).await.unwrap();
    assert_eq!(
        db.store.balance(account).await.unwrap().bytes,
        before.bytes - 1_000
    );
}

pub(super) async fn parallel_archives_and_settlements_lose_nothing(db: &Database) {
    let mut accounts = Vec::new();
    for _ in 0..3 {
        accounts.push(new_account(&*db.store).await);
    }
    let (hour, _) = ended(accounts[0], 0);
    let next = hour.plus(Duration::from_secs(3600));
    let records: Vec<UsageRecord> = (0..60).map(|number| ended(accounts[number % 3], 0).1).collect();
    db.store.settle(&records, next).await.unwrap();
    let mut tasks = JoinSet::new();
    for part in 0..4 {
        let (store, records) = (db.store.clone(), records.clone());
        tasks.spawn(async move {
            while store.archive_usage(next, 7).await.unwrap() > 0 {}
            store.settle(&records[part * 15..][..15], next).await.unwrap();
        });
    }
    tasks.join_all().await;
    for account in accounts {
        let paid = db.store.balance(account).await.unwrap().used_bytes;
        let sums = db.store.usage_summary(account, hour, next).await.unwrap();
        assert_eq!((paid, sums.billed_bytes), (20 * 110, 20 * 110));
    }
}
