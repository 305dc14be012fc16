//! The check of the ledger: what it notices, and the books of an older database.

use iploop_platform::ids::{AccountId, GatewayId, RequestId};
use iploop_platform::ledger::{Act, Booked, Booking, EntryKind};
use iploop_platform::store::Store;
use iploop_platform::usage::UsageRecord;

use super::books::{booked, books_are_in_order, device, entry, purchase, served, settle};
use super::database::fresh_postgres;
use super::nodes::new_partner;
use super::{Database, account_with, at, usage};
use crate::{PostgresStore, SqliteStore};

/// What is done to the books behind their back, what undoes it, and the rules that notice.
const TAMPERED: [(&str, &str, &[&str]); 13] = [
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
        "UPDATE ledger_days SET bytes = bytes + 1",
        "UPDATE ledger_days SET bytes = bytes - 1",
        &["a customer's bytes of a day are those of its hours"],
    ),
    (
        "UPDATE ledger_days SET sold_micros = sold_micros - 1",
        "UPDATE ledger_days SET sold_micros = sold_micros + 1",
        &["a customer's sales of a day are those of its hours"],
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
