use std::future::poll_fn;
use std::task::Poll;

use iploop_platform::abuse::{Actor, AuditAction, AuditEntry, AuditQuery};
use iploop_platform::ids::{AccountId, EntryId, GatewayId, NodeId, PartnerId, RequestId};
use iploop_platform::ledger::{
    Act, Booked, Booking, EntryKind, NewEntry, Refusal, ShareRow, Step, Transaction, TransactionCursor,
    TransactionStatus, Unit,
};
use iploop_platform::node::Registered;
use iploop_platform::store::Store;
use iploop_platform::usage::UsageRecord;
use serde_json::json;
use tokio::task::JoinSet;

use super::audit::record;
use super::database::fresh_postgres;
use super::nodes::{new_partner, registration};
use super::{Database, account_with, at, usage};
use crate::{PostgresStore, SqliteStore};

fn entry(act: Act, key: &str) -> NewEntry {
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

fn purchase(account: AccountId, bytes: i64, money_micros: i64) -> Act {
    Act::Purchase {
        account,
        bytes,
        money_micros,
        reference: Some("pi_1".into()),
    }
}

fn adjustment(account: AccountId, bytes: i64, is_forced: bool) -> Act {
    Act::Adjustment {
        account,
        bytes,
        money_micros: 0,
        is_forced,
    }
}

async fn book(db: &Database, act: Act, key: &str) -> Booking {
    db.store.book(&entry(act, key)).await.unwrap()
}

/// Books what is possible.
async fn booked(db: &Database, act: Act, key: &str) -> EntryId {
    match book(db, act, key).await {
        Booking::Done(Booked { entry, .. }) => entry,
        Booking::Refused(refusal) => panic!("{refusal}"),
    }
}

/// The whole ledger holds, and every unit sums to nothing.
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

fn served(account: AccountId, node: NodeId, bytes: u64) -> UsageRecord {
    UsageRecord {
        node: Some(node),
        bytes_down: bytes,
        ..usage(account, GatewayId::new())
    }
}

async fn settle(db: &Database, record: &UsageRecord) {
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
            actor: admin,
            account: Some(account),
            subject: account.to_string(),
            reason: "counted wrong".into(),
            ..record(AuditAction::BalanceAdjusted)
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

/// What is done to the books behind their back, what undoes it, and the rules that notice.
const TAMPERED: [(&str, &str, &[&str]); 11] = [
    (
        "UPDATE ledger_postings SET amount = amount + 1 WHERE account = 'outside' AND unit = 'bytes'",
        "UPDATE ledger_postings SET amount = amount - 1 WHERE account = 'outside' AND unit = 'bytes'",
        &[
            "an entry's postings sum to zero",
            "an entry moves the bytes that it says",
        ],
    ),
    (
        "UPDATE ledger_entries SET amount_micros = amount_micros + 1",
        "UPDATE ledger_entries SET amount_micros = amount_micros - 1",
        &["an entry moves the money that it says"],
    ),
    (
        "UPDATE user_plans SET balance_bytes = balance_bytes + 1",
        "UPDATE user_plans SET balance_bytes = balance_bytes - 1",
        &["a balance is what was posted less what was used"],
    ),
    (
        "UPDATE user_plans SET used_bytes = used_bytes + 1",
        "UPDATE user_plans SET used_bytes = used_bytes - 1",
        &["the used bytes are those of the ledger"],
    ),
    (
        "UPDATE user_plans SET value_micros = value_micros - 1",
        "UPDATE user_plans SET value_micros = value_micros + 1",
        &["a purse's value is what was paid less what was sold"],
    ),
    (
        "UPDATE ledger_usage SET bytes = bytes + 1",
        "UPDATE ledger_usage SET bytes = bytes - 1",
        &[
            "a balance is what was posted less what was used",
            "a customer's bytes of an hour are those of its requests",
        ],
    ),
    (
        "UPDATE ledger_usage SET partner_micros = partner_micros + 1",
        "UPDATE ledger_usage SET partner_micros = partner_micros - 1",
        &["the partners' shares of a customer's hour are those of its requests"],
    ),
    (
        "UPDATE usage_records SET bytes_downloaded = bytes_downloaded + 1",
        "UPDATE usage_records SET bytes_downloaded = bytes_downloaded - 1",
        &["a customer's bytes of an hour are those of its requests"],
    ),
    (
        "UPDATE usage_records SET sold_micros = sold_micros + 1",
        "UPDATE usage_records SET sold_micros = sold_micros - 1",
        &["a customer's sales of an hour are those of its requests"],
    ),
    (
        "UPDATE usage_archive SET billed_bytes = billed_bytes - 1",
        "UPDATE usage_archive SET billed_bytes = billed_bytes + 1",
        &["a customer's bytes of an hour are those of its requests"],
    ),
    (
        "UPDATE ledger_usage SET partner_micros = partner_micros + 1, sold_micros = sold_micros - 1",
        "UPDATE ledger_usage SET partner_micros = partner_micros - 1, sold_micros = sold_micros + 1",
        &["a partner's share of an hour is that of the requests it served"],
    ),
];

pub(super) async fn a_changed_number_is_found_and_named(db: &Database) {
    let account = account_with(&*db.store, 100).await;
    let node = device(&*db.store, new_partner(&*db.store).await).await;
    booked(db, purchase(account, 100, 10_000), "evt_1").await;
    let archived = UsageRecord {
        ended_at: Some(at(11)),
        ..served(account, node, 20)
    };
    settle(db, &archived).await;
    db.store.archive_usage(at(3_600).hour_start(), 10).await.unwrap();
    settle(
        db,
        &UsageRecord {
            started_at: at(7_200),
            ..served(account, node, 30)
        },
    )
    .await;
    books_are_in_order(&*db.store).await;
    for (tamper, undo, rules) in TAMPERED {
        db.execute(tamper).await;
        let checked = db.store.check_ledger().await.unwrap();
        for rule in rules {
            assert!(
                checked
                    .differences
                    .iter()
                    .any(|difference| difference.rule == *rule),
                "{tamper}: {rule}: {checked}"
            );
        }
        assert!(!checked.to_string().contains("in order"));
        db.execute(undo).await;
        books_are_in_order(&*db.store).await;
    }
    db.execute("UPDATE user_plans SET balance_bytes = 0").await;
    let checked = db.store.check_ledger().await.unwrap();
    assert!(
        checked
            .to_string()
            .contains(&format!("{account}: expected 150, found 0")),
        "{checked}"
    );
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

/// What a server of version 5 left: a bonus, a purchase, and 1,000 of 6,000 bytes used, some of it archived.
const OLD_ROWS: &str = "
    INSERT INTO users (id, email, email_folded, password_hash, first_name, last_name, status, role, email_verified,
        created_at)
    VALUES (UUID '01900000-0000-7000-8000-0000000000aa', 'a@example.com', 'a@example.com', '', 'A', 'B', 'active',
        'customer', TRUE, 1764000000000);
    INSERT INTO user_plans (user_id, plan_id, balance_bytes, used_bytes, started_at)
    VALUES (UUID '01900000-0000-7000-8000-0000000000aa', UUID '01900000-0000-7000-8000-000000000001', 5000, 1000,
        1764000000000);
    INSERT INTO billing_transactions (id, user_id, type, amount_micros, bytes, description, idempotency_key, created_at)
    VALUES (UUID '01900000-0000-7000-8000-0000000000b1', UUID '01900000-0000-7000-8000-0000000000aa', 'bonus', 0, 5000,
            'Welcome bonus', NULL, 1764000000000),
        (UUID '01900000-0000-7000-8000-0000000000b2', UUID '01900000-0000-7000-8000-0000000000aa', 'purchase', 10000000,
            1000, 'Bought', 'evt_1', 1764000001000);
    INSERT INTO usage_records (id, user_id, api_key_id, gateway_id, bytes_uploaded, bytes_downloaded, billable,
        proxy_type, destination, attempts, started_at)
    VALUES (UUID '01900000-0000-7000-8000-0000000000c1', UUID '01900000-0000-7000-8000-0000000000aa',
            UUID '01900000-0000-7000-8000-0000000000d1', UUID '01900000-0000-7000-8000-0000000000d2', 100, 500, TRUE,
            'connect', 'example.com:443', 1, 1764000002000),
        (UUID '01900000-0000-7000-8000-0000000000c2', UUID '01900000-0000-7000-8000-0000000000aa',
            UUID '01900000-0000-7000-8000-0000000000d1', UUID '01900000-0000-7000-8000-0000000000d2', 1, 2, FALSE,
            'connect', 'example.com:443', 1, 1764000002000);
    INSERT INTO usage_archive (user_id, api_key_id, hour_at, requests, successful, bytes_uploaded, bytes_downloaded,
        billed_bytes, duration_ms, ended)
    VALUES (UUID '01900000-0000-7000-8000-0000000000aa', UUID '01900000-0000-7000-8000-0000000000d1', 1763996400000, 1, 1,
        0, 400, 400, 5, 1);";

async fn is_upgraded(store: &dyn Store) {
    books_are_in_order(store).await;
    let account: AccountId = "01900000-0000-7000-8000-0000000000aa".parse().unwrap();
    let lines = store.transactions(account, None, 10).await.unwrap();
    assert_eq!(lines.iter().map(|line| line.bytes).sum::<i64>(), 5_000);
    let kinds: Vec<&str> = lines.iter().map(|line| line.kind.as_str()).collect();
    assert_eq!(kinds, ["purchase", "bonus", "usage"]);
    // The key of before the ledger still stands for its purchase: it had no reference.
    let again = Act::Purchase {
        account,
        bytes: 1_000,
        money_micros: 10_000_000,
        reference: None,
    };
    let repeat = store.book(&entry(again, "evt_1")).await.unwrap();
    assert!(
        matches!(repeat, Booking::Done(Booked { is_repeat: true, .. })),
        "{repeat:?}"
    );
    // A sixth of the price left with a sixth of the bytes, within a rounding; the rest leaves with the rest.
    let rest = UsageRecord {
        id: RequestId::new(),
        bytes_up: 5_000,
        ..usage(account, GatewayId::new())
    };
    store.settle(&[rest], at(60)).await.unwrap();
    let lines = store.transactions(account, None, 10).await.unwrap();
    let sold: i64 = lines
        .iter()
        .filter(|line| line.kind == EntryKind::Usage)
        .map(|line| line.amount_micros)
        .sum();
    assert!((-8_333_334..=-8_333_333).contains(&sold), "{sold}");
    books_are_in_order(store).await;
}

#[tokio::test]
async fn an_older_database_is_brought_up_with_its_books_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let old = sqlx::SqlitePool::connect_with(options).await.unwrap();
    crate::sqlite::old_database(&old, 5, OLD_ROWS).await;
    old.close().await;
    is_upgraded(&SqliteStore::open(&path).await.unwrap()).await;

    let url = fresh_postgres().await;
    let old = sqlx::PgPool::connect(&url).await.unwrap();
    crate::postgres::old_database(&old, 5, OLD_ROWS).await;
    old.close().await;
    is_upgraded(&PostgresStore::connect(&url, 2).await.unwrap()).await;
}
