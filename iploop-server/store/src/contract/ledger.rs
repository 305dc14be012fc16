use iploop_platform::ids::{AccountId, GatewayId, RequestId};
use iploop_platform::store::StoreError;
use iploop_platform::usage::{Balance, UsageRecord};
use tokio::task::JoinSet;

use super::{BONUS, Database, account_with, at, new_account, usage};

fn balance(bytes: i64, leased_bytes: i64, used_bytes: i64) -> Balance {
    Balance {
        bytes,
        leased_bytes,
        used_bytes,
    }
}

/// Takes a lease and answers what was granted.
async fn take(db: &Database, account: AccountId, gateway: GatewayId, want_bytes: u64) -> u64 {
    db.store
        .take_lease(account, gateway, want_bytes, at(1))
        .await
        .unwrap()
        .granted_bytes
}

async fn settle(db: &Database, records: &[UsageRecord]) {
    db.store.settle(records, at(2)).await.unwrap();
}

async fn balance_of(db: &Database, account: AccountId) -> Balance {
    db.store.balance(account).await.unwrap()
}

pub(super) async fn a_lease_takes_from_what_is_free(db: &Database) {
    let account = account_with(&*db.store, 100).await;
    let (one, two) = (GatewayId::new(), GatewayId::new());
    let first = db.store.take_lease(account, one, 60, at(1)).await.unwrap();
    assert_eq!(first.granted_bytes, 60);
    assert_eq!(take(db, account, two, 60).await, 40, "the rest");
    assert_eq!(take(db, account, two, 60).await, 0, "used up");
    assert_eq!(balance_of(db, account).await, balance(100, 100, 0));
    db.store.credit(account, 30, "", "k", at(2)).await.unwrap();
    let more = db.store.take_lease(account, one, u64::MAX, at(3)).await.unwrap();
    assert_eq!(
        (more.granted_bytes, more.id),
        (30, first.id),
        "one open lease for an account and gateway"
    );
    assert_eq!(balance_of(db, account).await, balance(130, 130, 0));
}

pub(super) async fn a_lease_shrinks_to_nothing_at_most_and_no_others_does(db: &Database) {
    let account = account_with(&*db.store, 1_000).await;
    let (one, two) = (GatewayId::new(), GatewayId::new());
    take(db, account, one, 300).await;
    take(db, account, two, 200).await;
    let shrink = async |bytes| db.store.shrink_lease(account, one, bytes).await.unwrap();
    shrink(100).await;
    assert_eq!(balance_of(db, account).await, balance(1_000, 400, 0));
    shrink(u64::MAX).await;
    assert_eq!(balance_of(db, account).await, balance(1_000, 200, 0));
    db.store.shrink_lease(account, GatewayId::new(), 1).await.unwrap();
    assert_eq!(take(db, account, one, 900).await, 800, "it is free again");
}

pub(super) async fn a_lease_of_nothing_is_still_a_lease(db: &Database) {
    let account = account_with(&*db.store, 0).await;
    let gateway = GatewayId::new();
    let first = db.store.take_lease(account, gateway, 10, at(1)).await.unwrap();
    let second = db.store.take_lease(account, gateway, 0, at(1)).await.unwrap();
    assert_eq!((first.granted_bytes, second.granted_bytes), (0, 0));
    assert_eq!(first.id, second.id);
}

pub(super) async fn an_unknown_account_gets_no_lease_and_has_no_balance(db: &Database) {
    let nobody = AccountId::new();
    assert_eq!(take(db, nobody, GatewayId::new(), 10).await, 0);
    assert_eq!(balance_of(db, nobody).await, Balance::default());
    assert_eq!(db.number("SELECT COUNT(*) FROM leases").await, 0);
}

pub(super) async fn usage_lowers_balance_and_lease_once(db: &Database) {
    let account = account_with(&*db.store, 1_000).await;
    let gateway = GatewayId::new();
    take(db, account, gateway, 500).await;
    let record = UsageRecord {
        bytes_up: 10,
        bytes_down: 90,
        ..usage(account, gateway)
    };
    settle(db, &[]).await;
    settle(db, &[record.clone(), record.clone()]).await;
    settle(db, &[record]).await;
    assert_eq!(balance_of(db, account).await, balance(900, 400, 100));
    assert_eq!(
        take(db, account, GatewayId::new(), 1_000).await,
        500,
        "free: 900 less the lease of 400"
    );
}

pub(super) async fn a_later_total_books_the_difference(db: &Database) {
    let account = account_with(&*db.store, 1_000).await;
    let gateway = GatewayId::new();
    take(db, account, gateway, 500).await;
    let running = UsageRecord {
        bytes_up: 10,
        bytes_down: 90,
        ..usage(account, gateway)
    };
    let ended = UsageRecord {
        bytes_up: 20,
        bytes_down: 180,
        status: Some(200),
        ended_at: Some(at(11)),
        ..running.clone()
    };
    settle(db, &[running]).await;
    settle(db, std::slice::from_ref(&ended)).await;
    assert_eq!(balance_of(db, account).await, balance(800, 300, 200));
    assert_eq!(db.store.recent_usage(account, 10).await.unwrap(), [ended]);
}

pub(super) async fn a_replayed_or_older_record_changes_nothing(db: &Database) {
    let account = account_with(&*db.store, 1_000).await;
    let gateway = GatewayId::new();
    take(db, account, gateway, 500).await;
    let older = UsageRecord {
        bytes_down: 100,
        ..usage(account, gateway)
    };
    let newer = UsageRecord {
        bytes_down: 300,
        attempts: 2,
        ..older.clone()
    };
    settle(db, &[newer.clone(), older.clone()]).await;
    settle(db, &[older]).await;
    settle(db, std::slice::from_ref(&newer)).await;
    assert_eq!(balance_of(db, account).await, balance(700, 200, 300));
    assert_eq!(db.store.recent_usage(account, 10).await.unwrap(), [newer]);
}

pub(super) async fn usage_beyond_the_lease_makes_the_balance_negative(db: &Database) {
    let account = account_with(&*db.store, 100).await;
    let gateway = GatewayId::new();
    take(db, account, gateway, 100).await;
    settle(
        db,
        &[UsageRecord {
            bytes_down: 130,
            ..usage(account, gateway)
        }],
    )
    .await;
    assert_eq!(balance_of(db, account).await, balance(-30, 0, 130));
    assert_eq!(take(db, account, gateway, 10).await, 0);
    db.store.credit(account, 35, "", "k", at(3)).await.unwrap();
    assert_eq!(take(db, account, gateway, 10).await, 5, "debts are paid first");
}

pub(super) async fn usage_without_a_lease_is_booked_all_the_same(db: &Database) {
    let account = account_with(&*db.store, 1_000).await;
    let (one, two) = (GatewayId::new(), GatewayId::new());
    take(db, account, one, 400).await;
    settle(
        db,
        &[UsageRecord {
            bytes_down: 100,
            ..usage(account, two)
        }],
    )
    .await;
    assert_eq!(
        balance_of(db, account).await,
        balance(900, 400, 100),
        "another gateway's lease stays"
    );
}

pub(super) async fn an_unbillable_record_is_kept_and_costs_nothing(db: &Database) {
    let account = account_with(&*db.store, 1_000).await;
    let gateway = GatewayId::new();
    take(db, account, gateway, 500).await;
    let record = UsageRecord {
        bytes_down: 100,
        billable: false,
        ..usage(account, gateway)
    };
    settle(db, std::slice::from_ref(&record)).await;
    assert_eq!(balance_of(db, account).await, balance(1_000, 500, 0));
    assert_eq!(db.store.recent_usage(account, 10).await.unwrap(), [record]);
}

pub(super) async fn a_record_that_turns_out_unbillable_gives_back_what_was_booked(db: &Database) {
    let account = account_with(&*db.store, 1_000).await;
    let gateway = GatewayId::new();
    take(db, account, gateway, 500).await;
    let running = UsageRecord {
        bytes_down: 100,
        ..usage(account, gateway)
    };
    let failed = UsageRecord {
        bytes_down: 120,
        billable: false,
        error: Some("node_gone".into()),
        ended_at: Some(at(11)),
        ..running.clone()
    };
    settle(db, std::slice::from_ref(&running)).await;
    settle(db, &[failed]).await;
    assert_eq!(
        balance_of(db, account).await,
        balance(1_000, 400, 0),
        "free again, not leased again"
    );
    settle(db, &[running]).await;
    assert_eq!(
        balance_of(db, account).await,
        balance(1_000, 400, 0),
        "and it stays so"
    );
}

pub(super) async fn an_ended_record_stays_ended(db: &Database) {
    let account = account_with(&*db.store, 1_000).await;
    let running = UsageRecord {
        bytes_down: 100,
        ..usage(account, GatewayId::new())
    };
    let ended = UsageRecord {
        bytes_down: 90,
        status: Some(200),
        ended_at: Some(at(11)),
        ..running.clone()
    };
    settle(db, std::slice::from_ref(&ended)).await;
    settle(db, std::slice::from_ref(&running)).await;
    // More bytes than the end knew of are booked, the end stands.
    let stored = UsageRecord {
        bytes_down: 100,
        ..ended.clone()
    };
    assert_eq!(
        db.store.recent_usage(account, 10).await.unwrap(),
        std::slice::from_ref(&stored)
    );
    // A gateway that restarts ends again what its journal shows as running.
    let ended_again = UsageRecord {
        error: Some("gateway_restarted".into()),
        ended_at: Some(at(99)),
        ..running
    };
    settle(db, &[ended_again]).await;
    assert_eq!(db.store.recent_usage(account, 10).await.unwrap(), [stored]);
    assert_eq!(balance_of(db, account).await, balance(900, 0, 100));
}

pub(super) async fn a_batch_with_an_unknown_account_is_refused_whole(db: &Database) {
    let account = account_with(&*db.store, 1_000).await;
    let (gateway, nobody) = (GatewayId::new(), AccountId::new());
    let records = [
        UsageRecord {
            bytes_down: 100,
            ..usage(account, gateway)
        },
        UsageRecord {
            bytes_down: 50,
            ..usage(nobody, gateway)
        },
    ];
    let refused = db.store.settle(&records, at(2)).await;
    assert!(matches!(refused, Err(StoreError::Internal(_))), "{refused:?}");
    assert_eq!(balance_of(db, account).await, balance(1_000, 0, 0));
    assert_eq!(db.number("SELECT COUNT(*) FROM usage_records").await, 0);
    settle(db, &records[..1]).await;
    assert_eq!(balance_of(db, account).await, balance(900, 0, 100));
}

pub(super) async fn a_record_under_another_accounts_request_is_refused(db: &Database) {
    let (owner, other) = (
        account_with(&*db.store, 1_000).await,
        account_with(&*db.store, 1_000).await,
    );
    let gateway = GatewayId::new();
    let record = UsageRecord {
        bytes_down: 100,
        ..usage(owner, gateway)
    };
    settle(db, std::slice::from_ref(&record)).await;
    let stolen = UsageRecord {
        bytes_down: 500,
        account: other,
        ..record.clone()
    };
    for batch in [vec![stolen.clone()], vec![record.clone(), stolen]] {
        let refused = db.store.settle(&batch, at(2)).await;
        assert!(matches!(refused, Err(StoreError::Internal(_))), "{refused:?}");
    }
    assert_eq!(balance_of(db, owner).await, balance(900, 0, 100));
    assert_eq!(balance_of(db, other).await, balance(1_000, 0, 0));
    assert_eq!(db.store.recent_usage(owner, 10).await.unwrap(), [record]);
}

pub(super) async fn a_request_id_claimed_twice_at_once_is_booked_for_one_account(db: &Database) {
    let accounts = [
        account_with(&*db.store, 1_000).await,
        account_with(&*db.store, 1_000).await,
    ];
    let mut claims = JoinSet::new();
    for _ in 0..20 {
        let base = UsageRecord {
            bytes_down: 10,
            ..usage(accounts[0], GatewayId::new())
        };
        for account in accounts {
            let (store, record) = (
                db.store.clone(),
                UsageRecord {
                    account,
                    ..base.clone()
                },
            );
            claims.spawn(async move { store.settle(&[record], at(2)).await.is_ok() });
        }
    }
    let booked = claims
        .join_all()
        .await
        .into_iter()
        .filter(|is_booked| *is_booked)
        .count();
    assert_eq!(booked, 20);
    let [one, two] = [
        balance_of(db, accounts[0]).await,
        balance_of(db, accounts[1]).await,
    ];
    assert_eq!(one.used_bytes + two.used_bytes, 200);
    assert_eq!(db.number("SELECT COUNT(*) FROM usage_records").await, 20);
}

pub(super) async fn an_absurd_count_is_booked_without_a_fault(db: &Database) {
    let account = account_with(&*db.store, 1_000).await;
    let gateway = GatewayId::new();
    let absurd = UsageRecord {
        bytes_up: u64::MAX,
        bytes_down: u64::MAX,
        ..usage(account, gateway)
    };
    let another = UsageRecord {
        id: RequestId::new(),
        ..absurd.clone()
    };
    settle(db, &[absurd, another]).await;
    assert_eq!(
        balance_of(db, account).await,
        balance(1_000 - i64::MAX, 0, i64::MAX)
    );
    assert_eq!(take(db, account, gateway, 10).await, 0);
}

pub(super) async fn returned_leases_are_free_again(db: &Database) {
    let (account, other) = (
        account_with(&*db.store, 100).await,
        account_with(&*db.store, 100).await,
    );
    let (one, two) = (GatewayId::new(), GatewayId::new());
    for (account, gateway) in [(account, one), (account, two), (other, one)] {
        take(db, account, gateway, 40).await;
    }
    db.store.return_leases(one, Some(account)).await.unwrap();
    assert_eq!(balance_of(db, account).await, balance(100, 40, 0));
    assert_eq!(balance_of(db, other).await, balance(100, 40, 0));
    db.store.return_leases(one, None).await.unwrap();
    db.store.return_leases(one, None).await.unwrap();
    assert_eq!(
        balance_of(db, account).await,
        balance(100, 40, 0),
        "another gateway's lease stays"
    );
    assert_eq!(balance_of(db, other).await, balance(100, 0, 0));
}

pub(super) async fn a_credit_counts_once_for_its_key(db: &Database) {
    let (account, other) = (
        account_with(&*db.store, 100).await,
        account_with(&*db.store, 100).await,
    );
    take(db, account, GatewayId::new(), 30).await;
    let credited = db
        .store
        .credit(account, 50, "sorry", "ticket-7", at(1))
        .await
        .unwrap();
    assert_eq!(credited, balance(150, 30, 0));
    let mut repeats = JoinSet::new();
    for _ in 0..20 {
        let store = db.store.clone();
        repeats.spawn(async move {
            store
                .credit(account, 50, "sorry", "ticket-7", at(2))
                .await
                .unwrap()
        });
    }
    assert!(repeats.join_all().await.iter().all(|answer| *answer == credited));
    assert_eq!(
        db.store
            .credit(account, -20, "mistake", "ticket-8", at(3))
            .await
            .unwrap()
            .bytes,
        130
    );
    assert_eq!(
        db.store
            .credit(other, 50, "sorry", "ticket-7", at(4))
            .await
            .unwrap()
            .bytes,
        150
    );
    assert_eq!(
        db.number("SELECT CAST(SUM(bytes) AS BIGINT) FROM billing_transactions WHERE type = 'bonus'")
            .await,
        130 + 150
    );
}

pub(super) async fn a_credit_for_an_unknown_account_fails(db: &Database) {
    let refused = db.store.credit(AccountId::new(), 50, "", "k", at(1)).await;
    assert!(matches!(refused, Err(StoreError::Internal(_))), "{refused:?}");
    let account = new_account(&*db.store).await;
    let refused = db.store.credit(account, i64::MAX, "", "k", at(1)).await;
    assert!(matches!(refused, Err(StoreError::Internal(_))), "{refused:?}");
    assert_eq!(balance_of(db, account).await, balance(BONUS, 0, 0));
}

pub(super) async fn parallel_gateways_never_lease_a_byte_twice(db: &Database) {
    let account = account_with(&*db.store, 1_000).await;
    let mut takes = JoinSet::new();
    for _ in 0..50 {
        let (store, gateway) = (db.store.clone(), GatewayId::new());
        takes.spawn(async move { store.take_lease(account, gateway, 70, at(1)).await.unwrap() });
    }
    let granted: Vec<u64> = takes
        .join_all()
        .await
        .iter()
        .map(|lease| lease.granted_bytes)
        .collect();
    assert_eq!(granted.iter().sum::<u64>(), 1_000, "{granted:?}");
    assert_eq!(balance_of(db, account).await, balance(1_000, 1_000, 0));
}

pub(super) async fn parallel_settlements_of_the_same_records_book_each_byte_once(db: &Database) {
    let (account, gateway) = (new_account(&*db.store).await, GatewayId::new());
    take(db, account, gateway, 1_000_000).await;
    let requests: Vec<_> = (0..20).map(|_| usage(account, gateway)).collect();
    let mut settlements = JoinSet::new();
    for round in 0..50_u64 {
        let records: Vec<_> = requests
            .iter()
            .map(|request| UsageRecord {
                bytes_down: round * 10,
                ..request.clone()
            })
            .collect();
        let store = db.store.clone();
        settlements.spawn(async move { store.settle(&records, at(2)).await.unwrap() });
    }
    settlements.join_all().await;
    assert_eq!(
        balance_of(db, account).await,
        balance(BONUS - 20 * 490, 1_000_000 - 20 * 490, 20 * 490)
    );
}

pub(super) async fn parallel_settlements_returns_and_leases_do_not_deadlock(db: &Database) {
    let mut accounts = Vec::new();
    for _ in 0..8 {
        accounts.push(new_account(&*db.store).await);
    }
    let gateways: Vec<_> = (0..3).map(|_| GatewayId::new()).collect();
    let mut acts = JoinSet::new();
    for round in 0..30_usize {
        accounts.rotate_left(3);
        let gateway = gateways[round % gateways.len()];
        let records: Vec<_> = accounts
            .iter()
            .map(|&account| UsageRecord {
                bytes_down: 10,
                ..usage(account, gateway)
            })
            .collect();
        let (accounts, store) = (accounts.clone(), db.store.clone());
        acts.spawn(async move {
            for account in accounts {
                store.take_lease(account, gateway, 100, at(1)).await.unwrap();
            }
            store.settle(&records, at(2)).await.unwrap();
            store.return_leases(gateway, None).await.unwrap();
        });
    }
    acts.join_all().await;
    for account in accounts {
        assert_eq!(balance_of(db, account).await, balance(BONUS - 300, 0, 300));
    }
}

pub(super) async fn a_large_batch_is_one_settlement(db: &Database) {
    let (account, gateway) = (new_account(&*db.store).await, GatewayId::new());
    let records: Vec<_> = (0..2_500)
        .map(|_| UsageRecord {
            bytes_down: 3,
            ..usage(account, gateway)
        })
        .collect();
    settle(db, &records).await;
    settle(db, &records[1_000..2_200]).await;
    assert_eq!(balance_of(db, account).await, balance(BONUS - 7_500, 0, 7_500));
    assert_eq!(
        db.store.day_use(account, at(0), at(100)).await.unwrap().requests,
        2_500
    );
}
