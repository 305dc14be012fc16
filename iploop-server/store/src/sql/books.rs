//! The books: acts with their postings, statements, and what partners are owed.

use async_trait::async_trait;
use iploop_platform::abuse::Actor;
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, EntryId, PartnerId};
use iploop_platform::ledger::{
    Account, Act, Booked, Booking, Books, Checked, EntryKind, Holdings, MAX_SHARE_ROWS, NewEntry, Owner,
    PartnerTotals, Postings, Refusal, ShareRow, Step, Transaction, TransactionCursor, TransactionStatus,
    Unit,
};
use iploop_platform::store::StoreError;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::columns::{clean, id, id_or_none, json as json_of, text, text_or_none, time};
use super::ledger::lock_purse;
use super::{Row, SqlStore, Tx, audit, begin, dialect, ledger_check};
use crate::error::{Failure, act, unreadable};

#[async_trait]
impl Books for SqlStore {
    async fn book(&self, entry: &NewEntry) -> Result<Booking, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let booking = book(&mut tx, entry).await?;
            tx.commit().await?;
            Ok(booking)
        })
        .await
    }

    async fn transactions(
        &self,
        account: AccountId,
        after: Option<TransactionCursor>,
        limit: u32,
    ) -> Result<Vec<Transaction>, StoreError> {
        act(async {
            let after = after.unwrap_or(TransactionCursor {
                at: Timestamp::from_millis(i64::MAX),
                id: EntryId::from(Uuid::max()),
            });
            let entries = sqlx::query(
                "SELECT id, kind, bytes, amount_micros, credits, description, reference, metadata, at,
                     (SELECT CAST(COALESCE(SUM(r.amount_micros), 0) AS BIGINT) FROM ledger_entries r
                      WHERE r.refers_to = e.id) AS refunds_micros
                 FROM ledger_entries e
                 WHERE owner_id = $1 AND owner = 'customer' AND kind <> 'opening' AND (at, id) < ($2, $3)
                 ORDER BY at DESC, id DESC LIMIT $4",
            )
            .bind(account.uuid())
            .bind(after.at.as_millis())
            .bind(after.id.uuid())
            .bind(i64::from(limit))
            .fetch_all(&self.read)
            .await?;
            // One more: the day of the cursor itself may have been seen.
            let days = sqlx::query(
                "SELECT day_at, bytes, sold_micros FROM ledger_days
                 WHERE user_id = $1 AND day_at <= $2 AND (bytes <> 0 OR sold_micros <> 0)
                 ORDER BY day_at DESC LIMIT $3",
            )
            .bind(account.uuid())
            .bind(after.at.as_millis())
            .bind(i64::from(limit) + 1)
            .fetch_all(&self.read)
            .await?;
            let mut lines: Vec<Transaction> =
                entries.iter().map(transaction_from).collect::<Result<_, _>>()?;
            for row in &days {
                let day = time(row, "day_at")?;
                let line =
                    Transaction::of_usage(account, day, row.try_get("bytes")?, row.try_get("sold_micros")?);
                if (line.at, line.id) < (after.at, after.id) {
                    lines.push(line);
                }
            }
            lines.sort_by_key(|line| std::cmp::Reverse((line.at, line.id)));
            lines.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            Ok(lines)
        })
        .await
    }

    async fn partner_totals(&self, partner: PartnerId) -> Result<PartnerTotals, StoreError> {
        act(async {
            let mut tx = begin(&self.read, dialect::SNAPSHOT).await?;
            Ok(totals(&mut tx, partner).await?)
        })
        .await
    }

    async fn partner_shares(
        &self,
        partner: PartnerId,
        from: Timestamp,
        to: Timestamp,
        step: Step,
    ) -> Result<Vec<ShareRow>, StoreError> {
        act(async {
            let rows = sqlx::query(
                "SELECT hour_at - hour_at % $4 AS period_at, CAST(SUM(bytes) AS BIGINT) AS bytes,
                     CAST(SUM(sold_micros) AS BIGINT) AS sold_micros,
                     CAST(SUM(partner_micros) AS BIGINT) AS partner_micros
                 FROM ledger_usage WHERE partner_id = $1 AND hour_at >= $2 AND hour_at < $3
                 GROUP BY 1 HAVING SUM(bytes) <> 0 OR SUM(sold_micros) <> 0 ORDER BY 1 LIMIT $5",
            )
            .bind(partner.uuid())
            .bind(from.hour_start().as_millis())
            .bind(to.as_millis())
            .bind(step.as_millis())
            .bind(i64::from(MAX_SHARE_ROWS))
            .fetch_all(&self.read)
            .await?;
            let shares = rows.iter().map(|row| {
                Ok(ShareRow {
                    from: time(row, "period_at")?,
                    bytes: row.try_get("bytes")?,
                    sold_micros: row.try_get("sold_micros")?,
                    earned_micros: row.try_get("partner_micros")?,
                })
            });
            Ok(shares.collect::<Result<_, sqlx::Error>>()?)
        })
        .await
    }

    async fn check_ledger(&self) -> Result<Checked, StoreError> {
        ledger_check::check(&self.read).await
    }
}

/// Books an act with its postings: the only way by which entries are made.
pub(super) async fn book(tx: &mut Tx, new: &NewEntry) -> Result<Booking, Failure> {
    let Some(holds) = lock_owner(tx, &new.act).await? else {
        return Ok(Booking::Refused(Refusal::NoSuchOwner));
    };
    if let Some(key) = &new.key
        && let Some(known) = entry_by_key(tx, &new.act, key).await?
    {
        return Ok(known);
    }
    if let Act::Adjustment { account, .. } = new.act
        && is_deleted(tx, account).await?
    {
        return Ok(Booking::Refused(Refusal::Deleted));
    }
    if let Some(purchase) = new.act.purchase()
        && !is_refundable(tx, &new.act, purchase).await?
    {
        return Ok(Booking::Refused(Refusal::NotRefundable));
    }
    let postings = match new.act.postings(&holds) {
        Ok(postings) => postings,
        Err(refusal) => return Ok(Booking::Refused(refusal)),
    };
    let entry = insert_entry(tx, new).await?;
    insert_postings(tx, entry, &postings).await?;
    let held = match new.act.owner() {
        Owner::Customer(account) => {
            let posted = |unit| {
                postings
                    .get(&(Account::Purse(account), unit))
                    .copied()
                    .unwrap_or(0)
            };
            let purse = Holdings {
                bytes: holds.bytes.saturating_add(posted(Unit::Bytes)),
                value_micros: holds.value_micros.saturating_add(posted(Unit::UsdMicros)),
                ..holds
            };
            write_purse(tx, account, &purse).await?;
            json!({ "balanceBytes": purse.bytes, "valueMicros": purse.value_micros })
        }
        Owner::Partner(partner) => {
            let posted = postings.get(&(Account::Payable(partner), Unit::UsdMicros));
            json!({ "payableMicros": holds.payable_micros.saturating_add(posted.copied().unwrap_or(0)) })
        }
    };
    if let Some(record) = &new.audit {
        let mut record = record.clone();
        record.before = match new.act.owner() {
            Owner::Customer(_) => json!({ "balanceBytes": holds.bytes, "valueMicros": holds.value_micros }),
            Owner::Partner(_) => json!({ "payableMicros": holds.payable_micros }),
        };
        record.after = held;
        record.after["entryId"] = json!(entry);
        audit::insert(tx, &record).await?;
    }
    Ok(Booking::Done(Booked {
        entry,
        is_repeat: false,
    }))
}

/// The bytes that a new account starts with.
pub(super) async fn welcome(
    tx: &mut Tx,
    account: AccountId,
    bytes: i64,
    now: Timestamp,
) -> Result<(), Failure> {
    let bonus = NewEntry {
        act: Act::Bonus { account, bytes },
        description: "Welcome bonus".to_owned(),
        reason: None,
        actor: Actor::System,
        key: None,
        metadata: json!({}),
        audit: None,
        now,
    };
    match book(tx, &bonus).await? {
        Booking::Done(_) => Ok(()),
        Booking::Refused(refusal) => Err(StoreError::Internal(Box::new(refusal)).into()),
    }
}

/// Locks the owner's row, and answers what the act needs to know of what is held; none: there is no such owner.
async fn lock_owner(tx: &mut Tx, act: &Act) -> Result<Option<Holdings>, sqlx::Error> {
    match act.owner() {
        Owner::Customer(account) => {
            let Some(purse) = lock_purse(tx, account).await? else {
                return Ok(None);
            };
            let credits = match act {
                Act::CreditsEarned { .. } | Act::CreditsRedeemed { .. } => {
                    posted(tx, account.uuid(), "purse", Unit::Credits).await?
                }
                _ => 0,
            };
            Ok(Some(Holdings {
                bytes: purse.balance_bytes,
                value_micros: purse.value_micros,
                credits,
                payable_micros: 0,
            }))
        }
        Owner::Partner(partner) => {
            let row = sqlx::query(concat!("SELECT id FROM partners WHERE id = $1", locked!()))
                .bind(partner.uuid())
                .fetch_optional(&mut **tx)
                .await?;
            if row.is_none() {
                return Ok(None);
            }
            Ok(Some(Holdings {
                payable_micros: totals(tx, partner).await?.payable_micros(),
                ..Holdings::default()
            }))
        }
    }
}

/// What became of an act under a key that is known; none: the key is new.
async fn entry_by_key(tx: &mut Tx, act: &Act, key: &str) -> Result<Option<Booking>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT id, kind, bytes, amount_micros, credits, reference, refers_to FROM ledger_entries
         WHERE owner_id = $1 AND idempotency_key = $2",
    )
    .bind(owner_id(act.owner()))
    .bind(text(key))
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let amounts = (
        row.try_get("bytes")?,
        row.try_get("amount_micros")?,
        row.try_get("credits")?,
    );
    let is_same = kind_from(&row)? == act.kind()
        && amounts == act.amounts()
        && row.try_get::<Option<String>, _>("reference")?.as_deref()
            == text_or_none(act.reference()).as_deref()
        && id_or_none(&row, "refers_to")? == act.purchase();
    Ok(Some(if is_same {
        Booking::Done(Booked {
            entry: id(&row, "id")?,
            is_repeat: true,
        })
    } else {
        Booking::Refused(Refusal::KeyTaken)
    }))
}

async fn is_deleted(tx: &mut Tx, account: AccountId) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("SELECT 1 FROM users WHERE id = $1 AND status = 'deleted'")
        .bind(account.uuid())
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.is_some())
}

/// Whether the purchase is the customer's, and all its refunds with this one are no more than was paid.
async fn is_refundable(tx: &mut Tx, act: &Act, purchase: EntryId) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(
        "SELECT amount_micros + (SELECT CAST(COALESCE(SUM(r.amount_micros), 0) AS BIGINT) FROM ledger_entries r
             WHERE r.refers_to = e.id) AS left_micros
         FROM ledger_entries e WHERE id = $1 AND owner_id = $2 AND kind = 'purchase'",
    )
    .bind(purchase.uuid())
    .bind(owner_id(act.owner()))
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else { return Ok(false) };
    let left: i64 = row.try_get("left_micros")?;
    Ok(left >= act.amounts().1.saturating_neg())
}

async fn insert_entry(tx: &mut Tx, new: &NewEntry) -> Result<EntryId, sqlx::Error> {
    let entry = EntryId::new();
    let owner = match new.act.owner() {
        Owner::Customer(_) => "customer",
        Owner::Partner(_) => "partner",
    };
    let (bytes, amount_micros, credits) = new.act.amounts();
    sqlx::query(
        "INSERT INTO ledger_entries (id, kind, owner, owner_id, bytes, amount_micros, credits, description, reason,
             reference, refers_to, actor, actor_id, idempotency_key, metadata, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    )
    .bind(entry.uuid())
    .bind(new.act.kind().as_str())
    .bind(owner)
    .bind(owner_id(new.act.owner()))
    .bind(bytes)
    .bind(amount_micros)
    .bind(credits)
    .bind(text(&new.description))
    .bind(text_or_none(new.reason.as_deref()))
    .bind(text_or_none(new.act.reference()))
    .bind(new.act.purchase().map(|purchase| purchase.uuid()))
    .bind(audit::stored_actor(new.actor))
    .bind(new.actor.account().map(AccountId::uuid))
    .bind(text_or_none(new.key.as_deref()))
    .bind(Json(clean(new.metadata.clone())))
    .bind(new.now.as_millis())
    .execute(&mut **tx)
    .await?;
    Ok(entry)
}

async fn insert_postings(tx: &mut Tx, entry: EntryId, postings: &Postings) -> Result<(), sqlx::Error> {
    let rows: Vec<PostingRow> = postings
        .iter()
        .map(|((account, unit), amount)| PostingRow {
            entry_id: entry.uuid(),
            account: account.as_str(),
            owner_id: account.owner_id(),
            unit: unit.as_str(),
            amount: *amount,
        })
        .collect();
    sqlx::query(concat!(
        "INSERT INTO ledger_postings (entry_id, account, owner_id, unit, amount)
         SELECT entry_id, account, owner_id, unit, amount FROM (",
        given!(entry_id uuid, account text, owner_id uuid, unit text, amount bigint),
        ") AS new"
    ))
    .bind(Json(rows))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn write_purse(tx: &mut Tx, account: AccountId, purse: &Holdings) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE user_plans SET balance_bytes = $2, value_micros = $3 WHERE user_id = $1")
        .bind(account.uuid())
        .bind(purse.bytes)
        .bind(purse.value_micros)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// A partner's sums. Under the lock of its row nobody else pays it; what it earns goes on.
async fn totals(tx: &mut Tx, partner: PartnerId) -> Result<PartnerTotals, sqlx::Error> {
    let row = sqlx::query(
        "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) AS bytes,
             CAST(COALESCE(SUM(sold_micros), 0) AS BIGINT) AS sold_micros,
             CAST(COALESCE(SUM(partner_micros), 0) AS BIGINT) AS partner_micros
         FROM ledger_usage WHERE partner_id = $1",
    )
    .bind(partner.uuid())
    .fetch_one(&mut **tx)
    .await?;
    Ok(PartnerTotals {
        bytes: row.try_get("bytes")?,
        sold_micros: row.try_get("sold_micros")?,
        earned_micros: row.try_get("partner_micros")?,
        paid_micros: posted(tx, partner.uuid(), "payable", Unit::UsdMicros)
            .await?
            .saturating_neg(),
    })
}

/// What entries besides usage brought to an account.
async fn posted(tx: &mut Tx, owner: Uuid, account: &str, unit: Unit) -> Result<i64, sqlx::Error> {
    sqlx::query(
        "SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) AS amount FROM ledger_postings
         WHERE owner_id = $1 AND account = $2 AND unit = $3",
    )
    .bind(owner)
    .bind(account)
    .bind(unit.as_str())
    .fetch_one(&mut **tx)
    .await?
    .try_get("amount")
}

fn owner_id(owner: Owner) -> Uuid {
    match owner {
        Owner::Customer(account) => account.uuid(),
        Owner::Partner(partner) => partner.uuid(),
    }
}

fn kind_from(row: &Row) -> Result<EntryKind, sqlx::Error> {
    let name: &str = row.try_get("kind")?;
    let known = EntryKind::ALL.into_iter().find(|kind| kind.as_str() == name);
    known.ok_or_else(|| unreadable("ledger_entries.kind", &name))
}

fn transaction_from(row: &Row) -> Result<Transaction, sqlx::Error> {
    let kind = kind_from(row)?;
    let amount_micros: i64 = row.try_get("amount_micros")?;
    let refunds_micros: i64 = row.try_get("refunds_micros")?;
    let is_refunded =
        kind == EntryKind::Purchase && amount_micros > 0 && refunds_micros.saturating_neg() >= amount_micros;
    Ok(Transaction {
        id: id(row, "id")?,
        kind,
        bytes: row.try_get("bytes")?,
        amount_micros,
        credits: row.try_get("credits")?,
        description: row.try_get("description")?,
        reference: row.try_get("reference")?,
        status: if is_refunded {
            TransactionStatus::Refunded
        } else {
            TransactionStatus::Completed
        },
        metadata: json_of::<Value>(row, "metadata")?,
        at: time(row, "at")?,
    })
}

#[derive(Serialize)]
struct PostingRow {
    entry_id: Uuid,
    account: &'static str,
    owner_id: Uuid,
    unit: &'static str,
    amount: i64,
}
