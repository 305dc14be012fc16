use iploop_platform::ids::{AccountId, GatewayId, NodeId, RequestId};
use iploop_platform::usage::{UsageRecord, UsageSummary};
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
            total_duration_ms: 4_000,
            ended_requests: 3,
        }
    );
    assert_eq!(db.store.request_count(account, at(10), at(20)).await.unwrap(), 4);
    assert_eq!(db.store.request_count(account, at(0), at(100)).await.unwrap(), 6);
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
    assert_eq!(db.store.request_count(nobody, at(0), at(9)).await.unwrap(), 0);
}
