//! What each byte sold for: usage takes money from purses, and partners get their share of it.
//!
//! Kept as sums by customer, hour and partner in `ledger_usage`, equal to the requests' own numbers at every commit,
//! and by day in `ledger_days` for statements.

use std::collections::{BTreeMap, BTreeSet};

use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, NodeId, PartnerId};
use iploop_platform::ledger::{partner_micros, returned_micros, sold_micros};
use iploop_platform::usage::UsageRecord;
use serde::Serialize;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::columns::{id, id_or_none, number};
use super::ledger::{Purse, ids};
use super::usage::record_from;
use super::{Row, Tx};
use crate::booking::cost_bytes;

/// A request as it is booked: with the money that its bytes took along.
pub(super) struct Sold {
    pub(super) record: UsageRecord,
    /// Of the customer's purse.
    pub(super) sold_micros: i64,
    /// Of that, the partner's.
    pub(super) partner_micros: i64,
    /// Whose device served it, as of its newest bytes.
    pub(super) partner: Option<PartnerId>,
}

impl Sold {
    pub(super) fn from_row(row: &Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            record: record_from(row)?,
            sold_micros: row.try_get("sold_micros")?,
            partner_micros: row.try_get("partner_micros")?,
            partner: id_or_none(row, "partner_id")?,
        })
    }
}

/// The purses of a batch and what it sells out of them, under their locks.
#[derive(Default)]
pub(super) struct Sales {
    purses: BTreeMap<AccountId, Purse>,
    /// Whose requests change.
    touched: BTreeSet<AccountId>,
    /// The partner of each device of the batch, with its share in basis points.
    partners: BTreeMap<NodeId, (PartnerId, u32)>,
    /// Changes by customer, hour and partner.
    hours: BTreeMap<(AccountId, Timestamp, Uuid), Change>,
}

#[derive(Default, PartialEq, Eq)]
struct Change {
    bytes: i64,
    sold_micros: i64,
    partner_micros: i64,
}

impl Sales {
    pub(super) fn new(purses: BTreeMap<AccountId, Purse>) -> Self {
        Self {
            purses,
            ..Self::default()
        }
    }

    /// Reads whose devices served these requests.
    pub(super) async fn meet_devices(
        &mut self,
        tx: &mut Tx,
        given: &[UsageRecord],
        known: impl Iterator<Item = &Sold>,
    ) -> Result<(), sqlx::Error> {
        let nodes = given.iter().chain(known.map(|known| &known.record));
        let unknown: BTreeSet<Uuid> = nodes
            .filter_map(|record| record.node)
            .filter(|node| !self.partners.contains_key(node))
            .map(|node| node.uuid())
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let unknown: Vec<Uuid> = unknown.into_iter().collect();
        let rows = sqlx::query(concat!(
            "SELECT n.id, n.partner_id, p.revenue_share_bp FROM nodes n JOIN partners p ON p.id = n.partner_id
             WHERE n.id IN (",
            given!(id uuid),
            ")"
        ))
        .bind(Json(ids(&unknown)))
        .fetch_all(&mut **tx)
        .await?;
        for row in &rows {
            let partner = (id(row, "partner_id")?, number(row, "revenue_share_bp")?);
            self.partners.insert(id(row, "id")?, partner);
        }
        Ok(())
    }

    /// Moves what is new, or goes back, between the purse and who sold.
    pub(super) fn sell(&mut self, known: Option<&Sold>, stored: UsageRecord) -> Sold {
        let cost = cost_bytes(&stored);
        let known_cost = known.map_or(0, |known| cost_bytes(&known.record));
        let new_bytes = cost.saturating_sub(known_cost);
        let mut sold = Sold {
            sold_micros: known.map_or(0, |known| known.sold_micros),
            partner_micros: known.map_or(0, |known| known.partner_micros),
            partner: known.and_then(|known| known.partner),
            record: stored,
        };
        self.touched.insert(sold.record.account);
        let is_served_by_another = known.is_some_and(|known| known.record.node != sold.record.node);
        if new_bytes != 0
            && let Some(purse) = self.purses.get_mut(&sold.record.account)
        {
            let moved = if new_bytes > 0 {
                sold_micros(purse.value_micros, purse.balance_bytes, new_bytes)
            } else {
                -returned_micros(sold.sold_micros, known_cost, new_bytes.saturating_neg())
            };
            // Absurd counts stop at the column's end, on both sides alike.
            let used_bytes = purse.used_bytes.saturating_add(new_bytes);
            let taken = used_bytes.saturating_sub(purse.used_bytes);
            purse.balance_bytes = purse.balance_bytes.saturating_sub(taken);
            purse.used_bytes = used_bytes;
            purse.value_micros = purse.value_micros.saturating_sub(moved);
            sold.sold_micros = sold.sold_micros.saturating_add(moved);
        }
        if new_bytes != 0 || is_served_by_another {
            let partner = sold.record.node.and_then(|node| self.partners.get(&node));
            sold.partner = partner.map(|(partner, _)| *partner);
            sold.partner_micros = partner.map_or(0, |(_, bp)| partner_micros(sold.sold_micros, *bp));
        }
        if let Some(known) = known {
            self.change(known, -1);
        }
        self.change(&sold, 1);
        sold
    }

    fn change(&mut self, sold: &Sold, sign: i64) {
        let record = &sold.record;
        let partner = sold.partner.map_or(Uuid::nil(), |partner| partner.uuid());
        let hour = (record.account, record.started_at.hour_start(), partner);
        let change = self.hours.entry(hour).or_default();
        let add = |sum: &mut i64, more: i64| *sum = sum.saturating_add(more.saturating_mul(sign));
        add(&mut change.bytes, cost_bytes(record));
        add(&mut change.sold_micros, sold.sold_micros);
        add(&mut change.partner_micros, sold.partner_micros);
    }

    pub(super) async fn write(&self, tx: &mut Tx) -> Result<(), sqlx::Error> {
        self.write_purses(tx).await?;
        self.write_hours(tx).await?;
        self.write_days(tx).await
    }

    async fn write_purses(&self, tx: &mut Tx) -> Result<(), sqlx::Error> {
        let touched = self.touched.iter();
        let rows: Vec<PurseRow> = touched
            .filter_map(|account| {
                let purse = self.purses.get(account)?;
                Some(PurseRow {
                    user_id: account.uuid(),
                    balance_bytes: purse.balance_bytes,
                    used_bytes: purse.used_bytes,
                    value_micros: purse.value_micros,
                })
            })
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        sqlx::query(concat!(
            "UPDATE user_plans SET balance_bytes = now.balance_bytes, used_bytes = now.used_bytes,
                 value_micros = now.value_micros, usage_version = usage_version + 1 FROM (",
            given!(user_id uuid, balance_bytes bigint, used_bytes bigint, value_micros bigint),
            ") AS now WHERE user_plans.user_id = now.user_id"
        ))
        .bind(Json(rows))
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    async fn write_hours(&self, tx: &mut Tx) -> Result<(), sqlx::Error> {
        let changed = self
            .hours
            .iter()
            .filter(|(_, change)| **change != Change::default());
        let rows: Vec<HourRow> = changed
            .map(|((account, hour, partner_id), change)| HourRow {
                user_id: account.uuid(),
                day_at: hour.day_start().as_millis(),
                hour_at: hour.as_millis(),
                partner_id: *partner_id,
                bytes: change.bytes,
                sold_micros: change.sold_micros,
                partner_micros: change.partner_micros,
            })
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        // Bytes of absurd counts stop at the column's end instead of failing; money is bounded by what was paid.
        sqlx::query(concat!(
            "INSERT INTO ledger_usage (user_id, day_at, hour_at, partner_id, bytes, sold_micros, partner_micros)
             SELECT user_id, day_at, hour_at, partner_id, bytes, sold_micros, partner_micros FROM (",
            given!(
                user_id uuid, day_at bigint, hour_at bigint, partner_id uuid, bytes bigint, sold_micros bigint,
                partner_micros bigint
            ),
            ") AS new WHERE TRUE
             ON CONFLICT (user_id, day_at, hour_at, partner_id) DO UPDATE SET
                 bytes = CASE
                     WHEN ledger_usage.bytes > 9223372036854775807 - ABS(excluded.bytes) THEN 9223372036854775807
                     ELSE ledger_usage.bytes + excluded.bytes
                 END,
                 sold_micros = ledger_usage.sold_micros + excluded.sold_micros,
                 partner_micros = ledger_usage.partner_micros + excluded.partner_micros"
        ))
        .bind(Json(rows))
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// The sums of the same hours by day.
    async fn write_days(&self, tx: &mut Tx) -> Result<(), sqlx::Error> {
        let mut days: BTreeMap<(AccountId, Timestamp), (i64, i64)> = BTreeMap::new();
        for ((account, hour, _), change) in &self.hours {
            let (bytes, sold_micros) = days.entry((*account, hour.day_start())).or_default();
            *bytes = bytes.saturating_add(change.bytes);
            *sold_micros = sold_micros.saturating_add(change.sold_micros);
        }
        let changed = days.into_iter().filter(|(_, change)| *change != (0, 0));
        let rows: Vec<DayRow> = changed
            .map(|((account, day), (bytes, sold_micros))| DayRow {
                user_id: account.uuid(),
                day_at: day.as_millis(),
                bytes,
                sold_micros,
            })
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        sqlx::query(concat!(
            "INSERT INTO ledger_days (user_id, day_at, bytes, sold_micros)
             SELECT user_id, day_at, bytes, sold_micros FROM (",
            given!(user_id uuid, day_at bigint, bytes bigint, sold_micros bigint),
            ") AS new WHERE TRUE
             ON CONFLICT (user_id, day_at) DO UPDATE SET
                 bytes = CASE
                     WHEN ledger_days.bytes > 9223372036854775807 - ABS(excluded.bytes) THEN 9223372036854775807
                     ELSE ledger_days.bytes + excluded.bytes
                 END,
                 sold_micros = ledger_days.sold_micros + excluded.sold_micros"
        ))
        .bind(Json(rows))
        .execute(&mut **tx)
        .await?;
        Ok(())
    }
}

#[derive(Serialize)]
struct DayRow {
    user_id: Uuid,
    day_at: i64,
    bytes: i64,
    sold_micros: i64,
}

#[derive(Serialize)]
struct PurseRow {
    user_id: Uuid,
    balance_bytes: i64,
    used_bytes: i64,
    value_micros: i64,
}

#[derive(Serialize)]
struct HourRow {
    user_id: Uuid,
    day_at: i64,
    hour_at: i64,
    partner_id: Uuid,
    bytes: i64,
    sold_micros: i64,
    partner_micros: i64,
}
