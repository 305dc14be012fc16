use std::collections::BTreeMap;
use std::time::Duration;

use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, ApiKeyId, GatewayId, RequestId};
use iploop_platform::statistics::{
    Dimension, MAX_HOSTS_PER_DAY, MAX_HOSTS_PER_SLOT, Part, Period, StatusName, Zone,
};
use iploop_platform::usage::{UsageRecord, UsageSummary};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::ledger_model::run;
use super::{Database, at, new_account, usage};
use crate::booking::{Sums, merge};

const REQUESTS: usize = 6;
const ALL: u32 = 10_000;

#[derive(Clone, Debug)]
enum Step {
    /// Versions of requests: which one, and how far it got.
    Settle(Vec<(usize, u8)>),
    /// Everything that ended and began before this hour.
    Archive { hour: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => prop::collection::vec((0..REQUESTS, 0_u8..4), 1..8).prop_map(Step::Settle),
        1 => (0_i64..30).prop_map(|hour| Step::Archive { hour }),
    ]
}

/// A request, as it is at each step of its life. Some change place, host, key and even their begin on the way.
fn version(base: &UsageRecord, request: usize, version: u8) -> UsageRecord {
    let n = i64::try_from(request).unwrap();
    let late = version > 1;
    let ended = version == 3;
    UsageRecord {
        api_key: ApiKeyId::from(Uuid::from_u128(u128::from(request.is_multiple_of(2)) + 1)),
        bytes_up: u64::from(version) * 7,
        bytes_down: u64::from(version) * 1_000 + request as u64,
        billable: !(ended && request == 4),
        proxy_type: ["connect", "http", "socks5"][request % 3].into(),
        destination: format!("host-{}.example:443", if late { 1 } else { request }),
        exit_country: late.then(|| ["DE", "US"][request % 2].into()),
        status: late.then_some([200, 502][usize::from(ended && request > 3)]),
        error: (ended && request > 3).then(|| "exit_lost".into()),
        attempts: u32::from(version),
        // Every five hours, so that some are of another day.
        started_at: at(n * 18_000 + i64::from(late) * 1_000),
        ended_at: ended.then(|| at(n * 18_000 + 3_000)),
        ..base.clone()
    }
}

pub(super) async fn sums_equal_those_over_log_and_archive_whatever_comes_in_whatever_order(db: &Database) {
    let strategy = prop::collection::vec(step(), 1..14);
    run(&strategy, |steps| check(db, steps));
}

/// The request log and its archive in a few lines.
#[derive(Default)]
struct Model {
    log: BTreeMap<RequestId, UsageRecord>,
    archive: Vec<UsageRecord>,
}

async fn check(db: &Database, steps: Vec<Step>) -> TestCaseResult {
    let account = new_account(&*db.store).await;
    let gateway = GatewayId::new();
    let requests: Vec<_> = (0..REQUESTS).map(|_| usage(account, gateway)).collect();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Settle(versions) => {
                let archived_before = archived_before(db).await;
                let batch: Vec<_> = versions
                    .iter()
                    .map(|&(request, step)| version(&requests[request], request, step))
                    .collect();
                db.store.settle(&batch, at(0)).await.unwrap();
                model.settle(batch, archived_before);
            }
            Step::Archive { hour } => {
                let before = at(hour * 3_600).hour_start();
                while db.store.archive_usage(before, 100).await.unwrap() > 0 {}
                model.archive(before);
            }
        }
        compare(db, account, &model).await?;
    }
    Ok(())
}

async fn archived_before(db: &Database) -> Timestamp {
    let millis = db
        .number("SELECT archived_before FROM usage_retention WHERE id = 1")
        .await;
    Timestamp::from_millis(millis)
}

impl Model {
    fn settle(&mut self, batch: Vec<UsageRecord>, archived_before: Timestamp) {
        let mut given: BTreeMap<RequestId, UsageRecord> = BTreeMap::new();
        for record in batch {
            let known = given.remove(&record.id);
            let record = known.map_or(record.clone(), |known| merge(known, &record));
            given.insert(record.id, record);
        }
        for (id, record) in given {
            let record = match self.log.remove(&id) {
                Some(known) => merge(known, &record),
                None if record.started_at < archived_before => UsageRecord {
                    billable: false,
                    ..record
                },
                None => record,
            };
            self.log.insert(id, record);
        }
    }

    fn archive(&mut self, before: Timestamp) {
        let old = |record: &UsageRecord| record.ended_at.is_some() && record.started_at < before;
        self.archive.extend(
            self.log
                .extract_if(.., |_, record| old(record))
                .map(|(_, record)| record),
        );
    }

    fn sums<K: Ord>(&self, key: impl Fn(&UsageRecord) -> K) -> BTreeMap<K, UsageSummary> {
        let mut sums: BTreeMap<K, Sums> = BTreeMap::new();
        for record in self.log.values().chain(&self.archive) {
            let sum = sums.entry(key(record)).or_default();
            *sum = sum.plus(Sums::of(record));
        }
        sums.into_iter().map(|(key, sums)| (key, summary(sums))).collect()
    }
}

fn summary(sums: Sums) -> UsageSummary {
    UsageSummary {
        total_requests: sums.requests,
        successful_requests: sums.successful,
        bytes_up: sums.bytes_uploaded,
        bytes_down: sums.bytes_downloaded,
        billed_bytes: sums.billed_bytes,
        total_duration_ms: sums.duration_ms,
        ended_requests: sums.ended,
    }
}

/// Days around everything that these tests book, in a zone of quarter hours.
fn period() -> Period {
    let zone = Zone::named("Asia/Kathmandu").unwrap();
    Period::last_days(zone, 4, at(2 * 24 * 3600)).unwrap()
}

async fn compare(db: &Database, account: AccountId, model: &Model) -> TestCaseResult {
    let period = period();
    let store = &db.store;
    let whole = [period.whole(7)];
    let by_number = async |parts: &[Part]| {
        let sums = store.sums_by_number(account, None, parts).await.unwrap();
        sums.into_iter().collect::<BTreeMap<i64, UsageSummary>>()
    };
    prop_assert_eq!(by_number(&whole).await, model.sums(|_| 7));
    let local = |record: &UsageRecord| record.started_at.as_millis() + 5 * 3_600_000 + 45 * 60_000;
    prop_assert_eq!(
        by_number(&period.by_day()).await,
        model.sums(|record| local(record) / 86_400_000)
    );
    prop_assert_eq!(
        by_number(&period.by_hour()).await,
        model.sums(|record| local(record) / 3_600_000 % 24)
    );
    let by_key = store.sums_by_key(account, &whole).await.unwrap();
    prop_assert_eq!(BTreeMap::from_iter(by_key), model.sums(|record| record.api_key));
    for dimension in Dimension::ALL {
        let named = store
            .sums_by_name(account, None, dimension, &whole, ALL)
            .await
            .unwrap();
        let wanted = model.sums(|record| match dimension {
            Dimension::All => String::new(),
            Dimension::ProxyType => record.proxy_type.clone(),
            Dimension::Country => record.exit_country.clone().unwrap_or_default(),
            Dimension::Status => StatusName::write(record.status, record.error.as_deref()),
            Dimension::Host => record.destination_host().to_owned(),
        });
        prop_assert_eq!(BTreeMap::from_iter(named), wanted, "{:?}", dimension);
    }
    // The log and the archive themselves agree.
    let (from, to) = (period.from.hour_start(), period.to);
    let read = store.usage_summary(account, from, to).await.unwrap();
    prop_assert_eq!(read, model.sums(|_| 0).remove(&0).unwrap_or_default());
    Ok(())
}

pub(super) async fn a_part_counts_what_began_in_it_and_only_the_wanted_key(db: &Database) {
    let (account, other) = (new_account(&*db.store).await, new_account(&*db.store).await);
    let key = ApiKeyId::new();
    let day = at(0).next_day();
    let minutes = |minutes: i64| Timestamp::from_millis(day.as_millis() + minutes * 60_000);
    let begun = |account: AccountId, minute: i64| UsageRecord {
        id: RequestId::new(),
        started_at: minutes(minute),
        ..usage(account, GatewayId::new())
    };
    let records = [
        begun(account, -15),
        begun(account, -1),
        begun(account, 0),
        UsageRecord {
            api_key: key,
            ..begun(account, 60)
        },
        begun(account, 3 * 24 * 60 + 14),
        begun(account, 3 * 24 * 60 + 15),
        begun(other, 1),
    ];
    db.store.settle(&records, day).await.unwrap();
    let period = Period::between(Zone::default(), minutes(-15), minutes(3 * 24 * 60 + 15)).unwrap();
    let count = async |key: Option<ApiKeyId>, parts: &[Part]| {
        let sums = db.store.sums_by_number(account, key, parts).await.unwrap();
        sums.into_iter()
            .map(|(number, sums)| (number, sums.total_requests))
            .collect::<Vec<_>>()
    };
    assert_eq!(count(None, &[period.whole(1)]).await, [(1, 5)]);
    assert_eq!(count(Some(key), &[period.whole(1)]).await, [(1, 1)]);
    assert_eq!(count(Some(ApiKeyId::new()), &[period.whole(1)]).await, []);
    assert_eq!(count(None, &[]).await, []);
    let previous = period.previous(period.to).unwrap();
    assert_eq!(count(None, &[previous.whole(0), period.whole(1)]).await, [(1, 5)]);
    let first = i64::from(day.utc_day());
    assert_eq!(
        count(None, &period.by_day()).await,
        [(first - 1, 2), (first, 2), (first + 3, 1)]
    );
    let top = db.store.sums_by_key(account, &[period.whole(0)]).await.unwrap();
    assert_eq!(
        top.iter()
            .map(|(_, sums)| sums.total_requests)
            .collect::<Vec<_>>(),
        [4, 1]
    );
}

pub(super) async fn hosts_beyond_the_bound_count_together_in_all_their_versions(db: &Database) {
    let account = new_account(&*db.store).await;
    let hosts = MAX_HOSTS_PER_DAY + 100;
    let to_host = |host: usize| UsageRecord {
        bytes_up: 10,
        destination: format!("host-{host}.example:443"),
        // Six slots: one alone takes fewer than a day.
        started_at: at(0)
            .day_start()
            .plus(Duration::from_secs(900 * (host as u64 % 6))),
        ..usage(account, GatewayId::new())
    };
    let running: Vec<_> = (0..hosts).map(to_host).collect();
    for records in running.chunks(97) {
        db.store.settle(records, at(0)).await.unwrap();
    }
    let ended: Vec<_> = running
        .into_iter()
        .map(|record| UsageRecord {
            bytes_up: 30,
            ended_at: Some(record.started_at),
            ..record
        })
        .collect();
    db.store.settle(&ended, at(0)).await.unwrap();
    let start = at(0).day_start();
    let count = async |from: Timestamp, to: Timestamp| {
        let period = Period::between(Zone::default(), from, to).unwrap();
        let named = db
            .store
            .sums_by_name(account, None, Dimension::Host, &[period.whole(0)], ALL)
            .await
            .unwrap();
        assert!(
            named
                .iter()
                .all(|(_, sums)| sums.bytes_up == sums.total_requests * 30)
        );
        let others = named.iter().find(|(name, _)| name.is_empty());
        (named.len(), others.map_or(0, |(_, sums)| sums.total_requests))
    };
    assert_eq!(count(start, start.next_day()).await, (MAX_HOSTS_PER_DAY + 1, 100));
    let slot = count(start, start.plus(Duration::from_secs(900))).await;
    assert_eq!(
        slot,
        (MAX_HOSTS_PER_SLOT, 0),
        "600 hosts in 6 slots: each is just full"
    );
    let more: Vec<_> = (0..12).map(|host| to_host(6 * (1_000 + host))).collect();
    let more: Vec<_> = more
        .into_iter()
        .map(|record| UsageRecord {
            bytes_up: 30,
            ..record
        })
        .collect();
    db.store.settle(&more, at(0)).await.unwrap();
    let slot = count(start, start.plus(Duration::from_secs(900))).await;
    assert_eq!(slot, (MAX_HOSTS_PER_SLOT + 1, 12));
}

pub(super) async fn parallel_bookings_and_archives_leave_equal_sums(db: &Database) {
    let account = new_account(&*db.store).await;
    let start = at(0).hour_start();
    let next = start.plus(Duration::from_secs(3600));
    let versions = |bytes: u64, ended: bool| -> Vec<UsageRecord> {
        (0..40_u64)
            .map(|number| UsageRecord {
                id: RequestId::from(Uuid::from_u128(account.uuid().as_u128() ^ u128::from(number + 1))),
                bytes_down: bytes,
                started_at: start.plus(Duration::from_secs(60 * (number % 59))),
                ended_at: ended.then_some(next),
                ..usage(account, GatewayId::from(Uuid::from_u128(9)))
            })
            .collect()
    };
    let mut tasks = JoinSet::new();
    for (bytes, ended) in [(10, false), (20, false), (50, true), (50, true)] {
        let (store, records) = (db.store.clone(), versions(bytes, ended));
        tasks.spawn(async move {
            for records in records.chunks(7) {
                store.settle(records, next).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let mut archives = JoinSet::new();
    for _ in 0..2 {
        let store = db.store.clone();
        archives.spawn(async move { while store.archive_usage(next, 9).await.unwrap() > 0 {} });
    }
    archives.join_all().await;
    let read = db.store.usage_summary(account, start, next).await.unwrap();
    assert_eq!((read.total_requests, read.bytes_down), (40, 2_000));
    let period = Period::between(Zone::default(), start, next).unwrap();
    let sums = db
        .store
        .sums_by_number(account, None, &[period.whole(0)])
        .await
        .unwrap();
    assert_eq!(sums, [(0, read)]);
}

/// What a database of before the sums gets when it is brought up to date.
pub(super) async fn the_first_filling_equals_what_booking_kept(db: &Database) {
    const FILL: &str = include_str!("../../migrations/0008_rollups.sql");
    let account = new_account(&*db.store).await;
    let requests: Vec<_> = (0..REQUESTS).map(|_| usage(account, GatewayId::new())).collect();
    let records: Vec<_> = (0_u8..)
        .zip(&requests)
        .map(|(n, base)| version(base, n.into(), n % 4))
        .collect();
    db.store.settle(&records, at(0)).await.unwrap();
    let whole = [period().whole(0)];
    let read = async || {
        let by_number = db
            .store
            .sums_by_number(account, None, &period().by_hour())
            .await
            .unwrap();
        let by_key = db.store.sums_by_key(account, &whole).await.unwrap();
        let mut by_name = Vec::new();
        for dimension in Dimension::ALL {
            by_name.push(
                db.store
                    .sums_by_name(account, None, dimension, &whole, ALL)
                    .await
                    .unwrap(),
            );
        }
        (by_number, by_key, by_name)
    };
    let (_, fill) = FILL.split_once(";\n").unwrap();
    let (fill, _) = fill.split_once("\nCREATE TABLE").unwrap();
    let kept = read().await;
    db.execute("DELETE FROM usage_rollups").await;
    db.execute(fill).await;
    assert_eq!(read().await, kept);
    // The archive knows keys and hours, and all else is without a name.
    while db
        .store
        .archive_usage(at(1_000_000).hour_start(), 100)
        .await
        .unwrap()
        > 0
    {}
    db.execute("DELETE FROM usage_rollups").await;
    db.execute(fill).await;
    let filled = read().await;
    assert_eq!(filled.1, kept.1);
    let requests =
        |named: &[(String, UsageSummary)]| named.iter().map(|(_, sums)| sums.total_requests).sum::<i64>();
    assert!(
        filled
            .2
            .iter()
            .zip(&kept.2)
            .all(|(filled, kept)| requests(filled) == requests(kept))
    );
}
