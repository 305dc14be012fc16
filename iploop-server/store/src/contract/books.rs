use std::future::poll_fn;
use std::task::Poll;

use iploop_platform::abuse::{Actor, AuditAction, AuditEntry, AuditQuery};
use iploop_platform::ids::{AccountId, AuditId, EntryId, GatewayId, NodeId, PartnerId};
use iploop_platform::ledger::{
    Act, Booked, Booking, EntryKind, NewEntry, Refusal, ShareRow, Step, Transaction, TransactionCursor,
    TransactionStatus, Unit,
};
use iploop_platform::node::Registered;
use iploop_platform::store::Store;
use iploop_platform::usage::UsageRecord;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::nodes::{new_partner, registration};
use super::{Database, account_with, at, usage};

pub(super) fn entry(act: Act, key: &str) -> NewEntry {
    NewEntry {
        act,
        description: "Something".into(),
        reason: Some("because".into()),
        actor: Actor::System,
        key: Some(key.into()),
        metadata: json!({ "note": "n" }),
        audit: None,
        now: at(5),
    }
}

pub(super) fn purchase(account: AccountId, bytes: i64, money_micros: i64) -> Act {
    Act::Purchase {
        account,
        bytes,
        money_micros,
        reference: Some("pi_1".into()),
    }
}

pub(super) fn adjustment(account: AccountId, bytes: i64, is_forced: bool) -> Act {
    Act::Adjustment {
        account,
        bytes,
        money_micros: 0,
        is_forced,
    }
}

pub(super) async fn book(db: &Database, act: Act, key: &str) -> Booking {
    db.store.book(&entry(act, key)).await.unwrap()
}

/// Books what is possible.
pub(super) async fn booked(db: &Database, act: Act, key: &str) -> EntryId {
    match book(db, act, key).await {
        Booking::Done(Booked { entry, .. }) => entry,
        Booking::Refused(refusal) => panic!("{refusal}"),
    }
}

pub(super) async fn books_are_in_order(store: &dyn Store) {
    let checked = store.check_ledger().await.unwrap();
    assert!(checked.differences.is_empty(), "{checked}");
    for unit in ["bytes", "usd_micros", "credits"] {
        let sums = checked.sums.iter().filter(|sum| sum.unit == unit);
        assert_eq!(sums.map(|sum| sum.amount).sum::<i64>(), 0, "{checked}");
    }
}

/// A device of a partner's.
pub(super) async fn device(store: &dyn Store, partner: PartnerId) -> NodeId {
    let registration = registration(partner, &NodeId::new().to_string());
    match store.register_node(registration).await.unwrap() {
        Registered::Accepted(node) => node,
        refused => panic!("{refused:?}"),
    }
}

pub(super) fn served(account: AccountId, node: NodeId, bytes: u64) -> UsageRecord {
    UsageRecord {
        node: Some(node),
        bytes_down: bytes,
        ..usage(account, GatewayId::new())
    }
}

pub(super) async fn settle(db: &Database, record: &UsageRecord) {
    db.store
        .settle(std::slice::from_ref(record), at(20))
        .await
        .unwrap();
}

pub(super) async fn parallel_top_ups_with_one_key_are_one(db: &Database) {
    let (account, other) = (
        account_with(&*db.store, 0).await,
        account_with(&*db.store, 0).await,
    );
    let mut tops = JoinSet::new();
    for _ in 0..20 {
        let store = db.store.clone();
        tops.spawn(async move {
            store
                .book(&entry(purchase(account, 1_000, 500), "evt_1"))
                .await
                .unwrap()
        });
    }
    let bookings = tops.join_all().await;
    let entries: Vec<Booked> = bookings
        .iter()
        .map(|booking| match booking {
            Booking::Done(booked) => *booked,
            Booking::Refused(refusal) => panic!("{refusal}"),
        })
        .collect();
    assert_eq!(entries.iter().filter(|booked| !booked.is_repeat).count(), 1);
    assert!(entries.iter().all(|booked| booked.entry == entries[0].entry));
    assert_eq!(db.store.balance(account).await.unwrap().bytes, 1_000);
    for another in [
        purchase(account, 1_000, 501),
        purchase(account, 1_001, 500),
        Act::Bonus {
            account,
            bytes: 1_000,
        },
    ] {
        assert_eq!(
            book(db, another, "evt_1").await,
            Booking::Refused(Refusal::KeyTaken)
        );
    }
    booked(db, purchase(other, 7, 7), "evt_1").await;
    let nobody = purchase(AccountId::new(), 1, 1);
    assert_eq!(
        book(db, nobody, "k").await,
        Booking::Refused(Refusal::NoSuchOwner)
    );
    books_are_in_order(&*db.store).await;
}

pub(super) async fn a_deleted_customers_purse_is_not_corrected_any_more(db: &Database) {
    let account = account_with(&*db.store, 0).await;
    let entry = booked(db, adjustment(account, 100, false), "before").await;
    db.execute("UPDATE users SET status = 'deleted'").await;
    for (bytes, is_forced) in [(100, false), (-100, false), (-500, true)] {
        assert_eq!(
            book(db, adjustment(account, bytes, is_forced), "after").await,
            Booking::Refused(Refusal::Deleted)
        );
    }
    assert_eq!(
        booked(db, adjustment(account, 100, false), "before").await,
        entry,
        "the same again stands"
    );
    assert_eq!(db.store.balance(account).await.unwrap().bytes, 100);
    // What the bank or the provider did is booked as ever.
    booked(db, purchase(account, 10, 5), "evt_1").await;
    books_are_in_order(&*db.store).await;
}

pub(super) async fn bytes_take_their_price_along_and_partners_get_their_share(db: &Database) {
    let account = account_with(&*db.store, 0).await;
    let partner = new_partner(&*db.store).await;
    let node = device(&*db.store, partner).await;
    booked(db, purchase(account, 1_000, 999), "evt_1").await;
    settle(db, &served(account, node, 500)).await;
    let totals = db.store.partner_totals(partner).await.unwrap();
    assert_eq!((totals.bytes, totals.sold_micros), (500, 499));
    assert_eq!(
        (totals.earned_micros, totals.payable_micros()),
        (349, 349),
        "70 % of 499"
    );
    // Nobody's device, and more than there is: all that is left moves, and it is ours.
    settle(
        db,
        &UsageRecord {
            bytes_up: 600,
            ..usage(account, GatewayId::new())
        },
    )
    .await;
    assert_eq!(db.store.balance(account).await.unwrap().bytes, -100);
    assert_eq!(db.number("SELECT value_micros FROM user_plans").await, 0);
    assert_eq!(db.store.partner_totals(partner).await.unwrap(), totals);
    let hour = at(10).hour_start();
    let row = ShareRow {
        from: hour,
        bytes: 500,
        sold_micros: 499,
        earned_micros: 349,
    };
    let shares = |step| db.store.partner_shares(partner, at(0), at(3_600), step);
    assert_eq!(shares(Step::Hour).await.unwrap(), [row]);
    let day = ShareRow {
        from: hour.day_start(),
        ..row
    };
    assert_eq!(shares(Step::Day).await.unwrap(), [day]);
    books_are_in_order(&*db.store).await;
}

pub(super) async fn what_turns_out_unpaid_goes_back_to_the_purse_and_from_the_partner(db: &Database) {
    let account = account_with(&*db.store, 500).await;
    let (one, two) = (new_partner(&*db.store).await, new_partner(&*db.store).await);
    let (node, another) = (device(&*db.store, one).await, device(&*db.store, two).await);
    booked(db, purchase(account, 500, 1_000), "evt_1").await;
    let running = served(account, node, 250);
    settle(db, &running).await;
    assert_eq!(db.store.partner_totals(one).await.unwrap().earned_micros, 175);
    // Another device takes over: the request is its partner's.
    let moved = UsageRecord {
        node: Some(another),
        attempts: 2,
        ..running.clone()
    };
    settle(db, &moved).await;
    assert_eq!(db.store.partner_totals(one).await.unwrap().earned_micros, 0);
    assert_eq!(db.store.partner_totals(two).await.unwrap().earned_micros, 175);
    books_are_in_order(&*db.store).await;
    let broken = UsageRecord {
        billable: false,
        ended_at: Some(at(30)),
        error: Some("exit_lost".into()),
        ..moved
    };
    settle(db, &broken).await;
    assert_eq!(db.store.partner_totals(two).await.unwrap().earned_micros, 0);
    assert_eq!(db.number("SELECT value_micros FROM user_plans").await, 1_000);
    assert_eq!(db.store.balance(account).await.unwrap().bytes, 1_000);
    books_are_in_order(&*db.store).await;
}

fn refund(account: AccountId, bytes: i64, money_micros: i64, purchase: EntryId, is_forced: bool) -> Act {
    Act::Refund {
        account,
        bytes,
        money_micros,
        purchase: Some(purchase),
        reference: None,
        is_forced,
    }
}

pub(super) async fn refunds_are_never_more_than_their_purchase(db: &Database) {
    let (account, other) = (
        account_with(&*db.store, 0).await,
        account_with(&*db.store, 0).await,
    );
    let bought = booked(db, purchase(account, 1_000, 600), "evt_1").await;
    settle(
        db,
        &UsageRecord {
            bytes_up: 500,
            ..usage(account, GatewayId::new())
        },
    )
    .await;
    booked(db, refund(account, 100, 200, bought, false), "re_1").await;
    for wrong in [
        refund(account, 0, 401, bought, false),
        refund(other, 0, 1, bought, false),
        refund(account, 0, 1, EntryId::new(), false),
    ] {
        assert_eq!(
            book(db, wrong, "re_2").await,
            Booking::Refused(Refusal::NotRefundable)
        );
    }
    let too_much = Refusal::TooMuch {
        unit: Unit::Bytes,
        available: 400,
    };
    let rest = |is_forced| refund(account, 900, 400, bought, is_forced);
    assert_eq!(book(db, rest(false), "re_3").await, Booking::Refused(too_much));
    let status = async || {
        let lines = db.store.transactions(account, None, 10).await.unwrap();
        let bought = lines.into_iter().find(|line| line.kind == EntryKind::Purchase);
        bought.unwrap().status
    };
    assert_eq!(status().await, TransactionStatus::Completed);
    booked(db, rest(true), "re_3").await;
    assert_eq!(status().await, TransactionStatus::Refunded);
    assert_eq!(
        db.store.balance(account).await.unwrap().bytes,
        -500,
        "the bank took it back"
    );
    books_are_in_order(&*db.store).await;
    // What is bought next pays the debt first, and its price leaves with what is left.
    booked(db, purchase(account, 600, 60), "evt_2").await;
    settle(
        db,
        &UsageRecord {
            bytes_up: 50,
            ..usage(account, GatewayId::new())
        },
    )
    .await;
    assert_eq!(
        db.number("SELECT CAST(SUM(value_micros) AS BIGINT) FROM user_plans")
            .await,
        30
    );
    books_are_in_order(&*db.store).await;
}

pub(super) async fn an_adjustment_stops_at_zero_and_is_on_record(db: &Database) {
    let account = account_with(&*db.store, 100).await;
    let admin = Actor::Admin(AccountId::new());
    let adjust = |bytes, is_forced, key: &str| NewEntry {
        actor: admin,
        audit: Some(AuditEntry {
            id: AuditId::new(),
            at: at(5),
            actor: admin,
            action: AuditAction::BalanceAdjusted,
            account: Some(account),
            subject: account.to_string(),
            before: Value::Null,
            after: Value::Null,
            reason: "counted wrong".into(),
        }),
        ..entry(adjustment(account, bytes, is_forced), key)
    };
    let too_much = Refusal::TooMuch {
        unit: Unit::Bytes,
        available: 100,
    };
    let refused = db.store.book(&adjust(-101, false, "a")).await.unwrap();
    assert_eq!(refused, Booking::Refused(too_much));
    for key in ["a", "a"] {
        db.store.book(&adjust(-100, false, key)).await.unwrap();
    }
    db.store.book(&adjust(-10, true, "b")).await.unwrap();
    assert_eq!(db.store.balance(account).await.unwrap().bytes, -10);
    let query = AuditQuery {
        account: Some(account),
        limit: 10,
        ..AuditQuery::default()
    };
    let records = db.store.audit_entries(&query).await.unwrap();
    let seen: Vec<_> = records
        .iter()
        .map(|record| {
            (
                record.before["balanceBytes"].clone(),
                record.after["balanceBytes"].clone(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [(json!(0), json!(-10)), (json!(100), json!(0))],
        "the repeat is not"
    );
    books_are_in_order(&*db.store).await;
}

pub(super) async fn a_partner_is_paid_at_most_what_it_is_owed_also_in_parallel(db: &Database) {
    let account = account_with(&*db.store, 0).await;
    let partner = new_partner(&*db.store).await;
    let node = device(&*db.store, partner).await;
    booked(db, purchase(account, 1_000, 1_000), "evt_1").await;
    settle(db, &served(account, node, 1_000)).await;
    let mut payouts = JoinSet::new();
    for i in 0..10 {
        let store = db.store.clone();
        let payout = Act::Payout {
            partner,
            money_micros: 100,
            reference: None,
        };
        payouts.spawn(async move { store.book(&entry(payout, &format!("po_{i}"))).await.unwrap() });
    }
    let done = payouts.join_all().await;
    let paid = done.iter().filter(|booking| matches!(booking, Booking::Done(_)));
    assert_eq!(paid.count(), 7);
    let totals = db.store.partner_totals(partner).await.unwrap();
    assert_eq!(
        (totals.earned_micros, totals.paid_micros, totals.payable_micros()),
        (700, 700, 0)
    );
    books_are_in_order(&*db.store).await;
}

pub(super) async fn credits_become_bytes_once(db: &Database) {
    let account = account_with(&*db.store, 0).await;
    booked(db, Act::CreditsEarned { account, credits: 50 }, "c").await;
    let redeem = |credits| Act::CreditsRedeemed {
        account,
        credits,
        bytes: 1_000,
    };
    booked(db, redeem(40), "r").await;
    booked(db, redeem(40), "r").await;
    let too_much = Refusal::TooMuch {
        unit: Unit::Credits,
        available: 10,
    };
    assert_eq!(book(db, redeem(11), "r2").await, Booking::Refused(too_much));
    assert_eq!(db.store.balance(account).await.unwrap().bytes, 1_000);
    books_are_in_order(&*db.store).await;
}

pub(super) async fn a_statement_has_every_line_once_and_sums_to_the_balance(db: &Database) {
    let account = account_with(&*db.store, 10_000).await;
    let other = account_with(&*db.store, 10_000).await;
    booked(db, purchase(other, 1, 1), "k0").await;
    for i in 0..7 {
        booked(db, purchase(account, 100 + i, 10), &format!("k{i}")).await;
    }
    for day in 0..4 {
        for _ in 0..2 {
            let record = UsageRecord {
                started_at: at(day * 86_400),
                ..served(account, NodeId::new(), 10)
            };
            settle(db, &record).await;
        }
    }
    let all = db.store.transactions(account, None, 100).await.unwrap();
    assert_eq!(all.len(), 1 + 7 + 4);
    assert!(all.is_sorted_by_key(|line| std::cmp::Reverse((line.at, line.id))));
    assert_eq!(
        all.iter().map(|line| line.bytes).sum::<i64>(),
        db.store.balance(account).await.unwrap().bytes
    );
    let mut paged: Vec<Transaction> = Vec::new();
    loop {
        let after = paged.last().map(TransactionCursor::of);
        let page = db.store.transactions(account, after, 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
}

/// Begins an act and gives it up in the middle, as a crash does.
pub(super) async fn crash<T>(act: impl Future<Output = T>, polls: usize) {
    let mut act = Box::pin(act);
    for _ in 0..polls {
        let is_done = poll_fn(|context| Poll::Ready(act.as_mut().poll(context).is_ready())).await;
        if is_done {
            return;
        }
        tokio::task::yield_now().await;
    }
}

pub(super) async fn an_act_given_up_anywhere_is_whole_or_not_at_all(db: &Database) {
    let account = account_with(&*db.store, 0).await;
    for polls in 0..40 {
        let bought = entry(purchase(account, 1_000, 500), &format!("evt_{polls}"));
        crash(db.store.book(&bought), polls).await;
        // Whoever comes next has a connection that works, outside of any transaction.
        db.store
            .credit(account, 1, "", &format!("after_{polls}"), at(6))
            .await
            .unwrap();
    }
    let purchases = db
        .number("SELECT COUNT(*) FROM ledger_entries WHERE kind = 'purchase'")
        .await;
    assert_eq!(
        db.store.balance(account).await.unwrap().bytes,
        purchases * 1_000 + 40
    );
    books_are_in_order(&*db.store).await;
}

pub(super) async fn parallel_acts_crashes_and_archives_keep_the_books_in_order(db: &Database) {
    const ROUNDS: i64 = 12;
    let partner = new_partner(&*db.store).await;
    let node = device(&*db.store, partner).await;
    let mut accounts = Vec::new();
    for i in 0..3 {
        accounts.push(account_with(&*db.store, 100 * i).await);
    }
    let records: Vec<UsageRecord> = (0..30)
        .map(|i| UsageRecord {
            started_at: at(i64::try_from(i).unwrap() * 400),
            ..served(accounts[i % 3], node, 0)
        })
        .collect();
    let mut all = JoinSet::new();
    for task in 0..4 {
        let (store, accounts, records) = (db.store.clone(), accounts.clone(), records.clone());
        all.spawn(async move {
            for round in 0..ROUNDS {
                let batch: Vec<UsageRecord> = records
                    .iter()
                    .map(|record| UsageRecord {
                        bytes_down: u64::try_from((round * 7 + task) * 3).unwrap(),
                        billable: !(round == ROUNDS - 1 && record.started_at.as_millis() % 3 == 0),
                        ended_at: (round == ROUNDS - 1).then(|| at(20_000)),
                        ..record.clone()
                    })
                    .collect();
                crash(store.settle(&batch, at(20)), usize::try_from(round).unwrap()).await;
                store.settle(&batch, at(20)).await.unwrap();
                let account = accounts[usize::try_from(round % 3).unwrap()];
                let key = format!("evt_{round}");
                let bought = entry(purchase(account, 900, 700 + round), &key);
                crash(store.book(&bought), 3).await;
                store.book(&bought).await.unwrap();
                let correction = entry(adjustment(account, -200, false), &format!("adj_{task}_{round}"));
                store.book(&correction).await.unwrap();
                let payout = Act::Payout {
                    partner,
                    money_micros: 10,
                    reference: None,
                };
                store
                    .book(&entry(payout, &format!("po_{task}_{round}")))
                    .await
                    .unwrap();
                store
                    .archive_usage(at(round * 900).hour_start(), 5)
                    .await
                    .unwrap();
            }
        });
    }
    all.join_all().await;
    books_are_in_order(&*db.store).await;
    assert_eq!(
        db.number("SELECT COUNT(*) FROM ledger_entries WHERE kind = 'purchase'")
            .await,
        ROUNDS
    );
}
