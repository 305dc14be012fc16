//! Proves the ledger: each rule is a statement that answers the rows that break it, and nothing where all is well.
//!
//! The database sums and sorts, so this process holds the differences only, a bounded number of them.

use iploop_platform::ledger::{Checked, Difference, MAX_DIFFERENCES, Sum};
use iploop_platform::store::StoreError;
use sqlx::{AssertSqlSafe, Row as _};

use super::columns::time_or_none;
use super::{Pool, Tx, begin, dialect};
use crate::error::{Failure, unhurried};

/// What breaks the rule, as `id`, `hour_at`, `expected` and `found`.
struct Rule {
    words: &'static str,
    broken: &'static str,
}

/// A rule about the amount that an entry says of itself, and its postings.
macro_rules! says {
    ($column:literal, $unit:literal) => {
        concat!(
            "SELECT e.id AS id, NULL AS hour_at, e.",
            $column,
            " AS expected,
                 COALESCE(p.amount, 0) AS found
             FROM ledger_entries e LEFT JOIN (
                 SELECT entry_id, -SUM(amount) AS amount FROM ledger_postings
                 WHERE unit = '",
            $unit,
            "' AND account IN ('outside', 'adjustments') GROUP BY entry_id
             ) p ON p.entry_id = e.id
             WHERE e.",
            $column,
            " <> COALESCE(p.amount, 0)"
        )
    };
}

/// A rule about a column of the purse: what was posted to an account of its owner, and what usage brings there.
macro_rules! holds {
    ($column:literal, $account:literal, $unit:literal, $usage:literal) => {
        concat!(
            "SELECT u.user_id AS id, NULL AS hour_at,
                 COALESCE(p.amount, 0) + COALESCE(s.amount, 0) AS expected, u.",
            $column,
            " AS found
             FROM user_plans u LEFT JOIN (
                 SELECT owner_id, SUM(amount) AS amount FROM ledger_postings
                 WHERE account = '",
            $account,
            "' AND unit = '",
            $unit,
            "' GROUP BY owner_id
             ) p ON p.owner_id = u.user_id LEFT JOIN (
                 SELECT user_id, SUM(",
            $usage,
            ") AS amount FROM ledger_usage GROUP BY user_id
             ) s ON s.user_id = u.user_id
             WHERE u.",
            $column,
            " <> COALESCE(p.amount, 0) + COALESCE(s.amount, 0)"
        )
    };
}

/// A rule about a number of each customer and hour: in the ledger, and over the requests and their archive.
macro_rules! hourly {
    ($ledger:literal, $archived:literal, $request:literal) => {
        concat!(
            "SELECT user_id AS id, hour_at, SUM(expected) AS expected, SUM(found) AS found
             FROM (
                 SELECT user_id, hour_at, 0 AS expected, ",
            $ledger,
            " AS found FROM ledger_usage
                 UNION ALL SELECT user_id, hour_at, ",
            $archived,
            ", 0 FROM usage_archive
                 UNION ALL SELECT user_id, started_at - started_at % 3600000, ",
            $request,
            ", 0 FROM usage_records
             ) AS booked
             GROUP BY user_id, hour_at HAVING SUM(expected) <> SUM(found)"
        )
    };
}

/// A rule about a number of each customer and UTC day, and that of the day's hours.
macro_rules! daily {
    ($column:literal) => {
        concat!(
            "SELECT user_id AS id, day_at AS hour_at, SUM(expected) AS expected, SUM(found) AS found
             FROM (
                 SELECT user_id, day_at, ",
            $column,
            " AS expected, 0 AS found FROM ledger_usage
                 UNION ALL SELECT user_id, day_at, 0, ",
            $column,
            " FROM ledger_days
             ) AS summed
             GROUP BY user_id, day_at HAVING SUM(expected) <> SUM(found)"
        )
    };
}

const RULES: &[Rule] = &[
    Rule {
        words: "an entry's postings sum to zero",
        broken: "SELECT entry_id AS id, NULL AS hour_at, 0 AS expected, SUM(amount) AS found
             FROM ledger_postings GROUP BY entry_id, unit HAVING SUM(amount) <> 0",
    },
    Rule {
        words: "an entry moves the bytes that it says",
        broken: says!("bytes", "bytes"),
    },
    Rule {
        words: "an entry moves the money that it says",
        broken: says!("amount_micros", "usd_micros"),
    },
    Rule {
        words: "an entry moves the credits that it says",
        broken: says!("credits", "credits"),
    },
    Rule {
        words: "a posting belongs to an entry",
        broken: "SELECT p.entry_id AS id, NULL AS hour_at, 0 AS expected, p.amount AS found
             FROM ledger_postings p LEFT JOIN ledger_entries e ON e.id = p.entry_id WHERE e.id IS NULL",
    },
    Rule {
        words: "an owner's account is that of the entry's owner",
        broken: "SELECT p.entry_id AS id, NULL AS hour_at, 0 AS expected, p.amount AS found
             FROM ledger_postings p JOIN ledger_entries e ON e.id = p.entry_id
             WHERE (p.account IN ('purse', 'used') AND (e.owner <> 'customer' OR p.owner_id <> e.owner_id))
                 OR (p.account = 'payable' AND (e.owner <> 'partner' OR p.owner_id <> e.owner_id))
                 OR (p.account IN ('outside', 'adjustments', 'revenue')
                     AND p.owner_id <> UUID '00000000-0000-0000-0000-000000000000')",
    },
    Rule {
        words: "a balance is what was posted less what was used",
        broken: holds!("balance_bytes", "purse", "bytes", "-bytes"),
    },
    Rule {
        words: "the used bytes are those of the ledger",
        broken: holds!("used_bytes", "used", "bytes", "bytes"),
    },
    Rule {
        words: "a purse's value is what was paid less what was sold",
        broken: holds!("value_micros", "purse", "usd_micros", "-sold_micros"),
    },
    Rule {
        words: "a customer's bytes of a day are those of its hours",
        broken: daily!("bytes"),
    },
    Rule {
        words: "a customer's sales of a day are those of its hours",
        broken: daily!("sold_micros"),
    },
    Rule {
        words: "a purse's value is not below zero",
        broken: "SELECT user_id AS id, NULL AS hour_at, 0 AS expected, value_micros AS found
             FROM user_plans WHERE value_micros < 0",
    },
    Rule {
        words: "a customer of the ledger has a purse",
        broken: "SELECT o.owner_id AS id, NULL AS hour_at, 1 AS expected, 0 AS found
             FROM (
                 SELECT owner_id FROM ledger_entries WHERE owner = 'customer' UNION SELECT user_id FROM ledger_usage
             ) o LEFT JOIN user_plans u ON u.user_id = o.owner_id WHERE u.user_id IS NULL",
    },
    Rule {
        words: "a partner of the ledger is known",
        broken: "SELECT o.owner_id AS id, NULL AS hour_at, 1 AS expected, 0 AS found
             FROM (
                 SELECT owner_id FROM ledger_entries WHERE owner = 'partner'
                 UNION SELECT partner_id FROM ledger_usage
             ) o LEFT JOIN partners p ON p.id = o.owner_id
             WHERE p.id IS NULL AND o.owner_id <> UUID '00000000-0000-0000-0000-000000000000'",
    },
    Rule {
        words: "a partner's share is within what was sold, and nobody's share is nothing",
        broken: "SELECT partner_id AS id, hour_at, sold_micros AS expected, partner_micros AS found FROM ledger_usage
             WHERE bytes < 0 OR partner_micros < 0 OR partner_micros > sold_micros
                 OR (partner_id = UUID '00000000-0000-0000-0000-000000000000' AND partner_micros <> 0)",
    },
    Rule {
        words: "a customer's bytes of an hour are those of its requests",
        broken: hourly!(
            "bytes",
            "billed_bytes",
            "CASE
                 WHEN NOT billable THEN 0
                 WHEN bytes_uploaded > 9223372036854775807 - bytes_downloaded THEN 9223372036854775807
                 ELSE bytes_uploaded + bytes_downloaded
             END"
        ),
    },
    Rule {
        words: "a customer's sales of an hour are those of its requests",
        broken: hourly!("sold_micros", "sold_micros", "sold_micros"),
    },
    Rule {
        words: "the partners' shares of a customer's hour are those of its requests",
        broken: hourly!("partner_micros", "partner_micros", "partner_micros"),
    },
    // Only where no request of the hour can be in the archive, which does not tell partners apart.
    Rule {
        words: "a partner's share of an hour is that of the requests it served",
        broken: "SELECT partner_id AS id, hour_at, SUM(expected) AS expected, SUM(found) AS found
             FROM (
                 SELECT partner_id, hour_at, 0 AS expected, partner_micros AS found FROM ledger_usage
                 WHERE partner_id <> UUID '00000000-0000-0000-0000-000000000000'
                 UNION ALL SELECT partner_id, started_at - started_at % 3600000, partner_micros, 0 FROM usage_records
                 WHERE partner_id IS NOT NULL
             ) AS booked
             WHERE hour_at >= (SELECT archived_before FROM usage_retention WHERE id = 1)
             GROUP BY partner_id, hour_at HAVING SUM(expected) <> SUM(found)",
    },
];

/// What lies in the accounts of each kind, the entries of usage included.
const SUMS: &str = "
    SELECT unit, account, CAST(SUM(amount) AS BIGINT) AS amount FROM (
        SELECT unit, account, amount FROM ledger_postings
        UNION ALL SELECT 'bytes', 'purse', -bytes FROM ledger_usage
        UNION ALL SELECT 'bytes', 'used', bytes FROM ledger_usage
        UNION ALL SELECT 'usd_micros', 'purse', -sold_micros FROM ledger_usage
        UNION ALL SELECT 'usd_micros', 'payable', partner_micros FROM ledger_usage
        UNION ALL SELECT 'usd_micros', 'revenue', sold_micros - partner_micros FROM ledger_usage
    ) AS moved GROUP BY unit, account ORDER BY unit, account";

pub(super) async fn check(pool: &Pool) -> Result<Checked, StoreError> {
    unhurried(async {
        let mut tx = begin(pool, dialect::SNAPSHOT).await?;
        sqlx::query(dialect::UNHURRIED).execute(&mut *tx).await?;
        let mut checked = counted(&mut tx).await?;
        for rule in RULES {
            checked.differences.extend(broken(&mut tx, rule).await?);
        }
        checked.sums = sums(&mut tx).await?;
        Ok(checked)
    })
    .await
}

async fn counted(tx: &mut Tx) -> Result<Checked, Failure> {
    let row = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM ledger_entries) AS entries, (SELECT COUNT(*) FROM ledger_postings) AS postings,
             (SELECT COUNT(*) FROM ledger_usage) AS usage_entries, (SELECT COUNT(*) FROM user_plans) AS accounts,
             (SELECT COUNT(*) FROM usage_records) AS requests",
    )
    .fetch_one(&mut **tx)
    .await?;
    Ok(Checked {
        entries: row.try_get("entries")?,
        postings: row.try_get("postings")?,
        usage_entries: row.try_get("usage_entries")?,
        accounts: row.try_get("accounts")?,
        requests: row.try_get("requests")?,
        ..Checked::default()
    })
}

async fn broken(tx: &mut Tx, rule: &Rule) -> Result<Vec<Difference>, Failure> {
    let bounded = format!(
        "SELECT id, CAST(hour_at AS BIGINT) AS hour_at, CAST(expected AS BIGINT) AS expected,
             CAST(found AS BIGINT) AS found
         FROM ({}) AS broken ORDER BY id, hour_at LIMIT {MAX_DIFFERENCES}",
        dialect::statement(rule.broken)
    );
    // Safe: the text is our own.
    let rows = sqlx::query(AssertSqlSafe(bounded)).fetch_all(&mut **tx).await?;
    let differences = rows.iter().map(|row| {
        Ok(Difference {
            rule: rule.words,
            id: row.try_get("id")?,
            hour: time_or_none(row, "hour_at")?,
            expected: row.try_get("expected")?,
            found: row.try_get("found")?,
        })
    });
    Ok(differences.collect::<Result<_, sqlx::Error>>()?)
}

async fn sums(tx: &mut Tx) -> Result<Vec<Sum>, Failure> {
    let rows = sqlx::query(SUMS).fetch_all(&mut **tx).await?;
    let sums = rows.iter().map(|row| {
        Ok(Sum {
            unit: row.try_get("unit")?,
            account: row.try_get("account")?,
            amount: row.try_get("amount")?,
        })
    });
    Ok(sums.collect::<Result<_, sqlx::Error>>()?)
}
