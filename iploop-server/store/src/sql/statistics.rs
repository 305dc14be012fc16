//! Reading the sums of `rollups`: whole UTC days where a part has them, 15 minutes at its ends.

use async_trait::async_trait;
use iploop_platform::ids::{AccountId, ApiKeyId};
use iploop_platform::statistics::{Dimension, Number, Part, Statistics};
use iploop_platform::store::StoreError;
use iploop_platform::usage::UsageSummary;
use sqlx::{QueryBuilder, Row as _};

use super::columns::id;
use super::rollups::{Grain, sums_from};
use super::usage_answers::{Label as Kind, SumsQuestion};
use super::{Db, Row, SqlStore};
use crate::error::act;

#[async_trait]
impl Statistics for SqlStore {
    async fn sums_by_number(
        &self,
        account: AccountId,
        key: Option<ApiKeyId>,
        parts: &[Part],
    ) -> Result<Vec<(i64, UsageSummary)>, StoreError> {
        let dimension = Dimension::All;
        let wanted = Wanted {
            account,
            key,
            dimension,
            label: Label::Number,
            parts,
        };
        self.sums(wanted, " ORDER BY label", None, |row| row.try_get("label"))
            .await
    }

    async fn sums_by_key(
        &self,
        account: AccountId,
        parts: &[Part],
    ) -> Result<Vec<(ApiKeyId, UsageSummary)>, StoreError> {
        let dimension = Dimension::All;
        let wanted = Wanted {
            account,
            key: None,
            dimension,
            label: Label::Column("api_key_id"),
            parts,
        };
        self.sums(wanted, MOST_REQUESTS_FIRST, None, |row| id(row, "label"))
            .await
    }

    async fn sums_by_name(
        &self,
        account: AccountId,
        key: Option<ApiKeyId>,
        dimension: Dimension,
        parts: &[Part],
        limit: u32,
    ) -> Result<Vec<(String, UsageSummary)>, StoreError> {
        let wanted = Wanted {
            account,
            key,
            dimension,
            label: Label::Column("name"),
            parts,
        };
        self.sums(wanted, MOST_REQUESTS_FIRST, Some(limit), |row| {
            row.try_get("label")
        })
        .await
    }
}

const MOST_REQUESTS_FIRST: &str = " ORDER BY requests DESC, label";

/// Which sums.
struct Wanted<'a> {
    account: AccountId,
    key: Option<ApiKeyId>,
    dimension: Dimension,
    label: Label,
    parts: &'a [Part],
}

/// What sums are told apart by.
#[derive(Clone, Copy)]
enum Label {
    /// The number of their part.
    Number,
    /// A column.
    Column(&'static str),
}

impl SqlStore {
    async fn sums<T>(
        &self,
        wanted: Wanted<'_>,
        order: &'static str,
        limit: Option<u32>,
        label: impl Fn(&Row) -> Result<T, sqlx::Error> + Send,
    ) -> Result<Vec<(T, UsageSummary)>, StoreError>
    where
        T: Kind,
    {
        act(async {
            let Some(mut query) = wanted.query() else {
                return Ok(Vec::new());
            };
            query.push(order);
            if let Some(limit) = limit {
                query.push(" LIMIT ").push_bind(i64::from(limit));
            }
            let Some(version) = self.usage_version(wanted.account).await? else {
                return Ok(Vec::new());
            };
            let read = async {
                let rows = query.build().fetch_all(&self.read).await?;
                let read = |row: &Row| Ok((label(row)?, summary_from(row)?));
                Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
            };
            let kept = T::kept(&self.usage_answers);
            kept.get(wanted.question(limit), version, read).await
        })
        .await
    }
}

impl Wanted<'_> {
    fn question(&self, limit: Option<u32>) -> SumsQuestion {
        SumsQuestion {
            account: self.account,
            key: self.key,
            dimension: self.dimension,
            parts: self.parts.to_vec(),
            limit,
        }
    }

    /// The sums as the columns of [`sums_from`] beside their `label`: a range of the primary key for each piece, so that each
    /// database knows what it reads. None without a piece.
    fn query(&self) -> Option<QueryBuilder<Db>> {
        let mut query = QueryBuilder::new(
            "SELECT label, CAST(SUM(requests) AS BIGINT) AS requests, CAST(SUM(successful) AS BIGINT) AS successful,
                 CAST(SUM(bytes_uploaded) AS BIGINT) AS bytes_uploaded,
                 CAST(SUM(bytes_downloaded) AS BIGINT) AS bytes_downloaded,
                 CAST(SUM(billed_bytes) AS BIGINT) AS billed_bytes,
                 CAST(SUM(duration_ms) AS BIGINT) AS duration_ms, CAST(SUM(ended) AS BIGINT) AS ended FROM (",
        );
        let mut is_first = true;
        for piece in self.parts.iter().flat_map(pieces) {
            query.push(if std::mem::take(&mut is_first) {
                "SELECT "
            } else {
                " UNION ALL SELECT "
            });
            self.push_label(&mut query, piece.number);
            query
                .push(
                    " AS label, requests, successful, bytes_uploaded, bytes_downloaded, billed_bytes, duration_ms, ended
                     FROM usage_rollups WHERE user_id = ",
                )
                .push_bind(self.account.uuid());
            query.push(" AND dimension = ").push_bind(self.dimension.as_str());
            query.push(" AND grain_ms = ").push_bind(piece.grain.millis());
            query.push(" AND slot_at >= ").push_bind(piece.from_at);
            query.push(" AND slot_at < ").push_bind(piece.to_at);
            if let Some(key) = self.key {
                query.push(" AND api_key_id = ").push_bind(key.uuid());
            }
        }
        query.push(") AS pieces GROUP BY label HAVING SUM(requests) <> 0");
        (!is_first).then_some(query)
    }

    fn push_label(&self, query: &mut QueryBuilder<Db>, number: Number) {
        // Whole numbers divided give whole numbers on both databases.
        match (self.label, number) {
            (Label::Column(column), _) => query.push(column),
            (Label::Number, Number::Is(number)) => query.push("CAST(").push_bind(number).push(" AS BIGINT)"),
            (Label::Number, Number::Day { offset_ms }) => query
                .push("(slot_at + ")
                .push_bind(offset_ms)
                .push(") / 86400000"),
            (Label::Number, Number::Hour { offset_ms }) => query
                .push("(slot_at + ")
                .push_bind(offset_ms)
                .push(") / 3600000 % 24"),
        };
    }
}

fn summary_from(row: &Row) -> Result<UsageSummary, sqlx::Error> {
    let sums = sums_from(row)?;
    Ok(UsageSummary {
        total_requests: sums.requests,
        successful_requests: sums.successful,
        bytes_up: sums.bytes_uploaded,
        bytes_down: sums.bytes_downloaded,
        billed_bytes: sums.billed_bytes,
        total_duration_ms: sums.duration_ms,
        ended_requests: sums.ended,
    })
}

/// A part of a part that one grain covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    grain: Grain,
    from_at: i64,
    to_at: i64,
    number: Number,
}

/// The part in pieces: its whole UTC days, where a day has one number, and what is before and after them.
fn pieces(part: &Part) -> impl Iterator<Item = Piece> + use<> {
    let (from, to, number) = (part.from.as_millis(), part.to.as_millis(), part.number);
    let has_days = match number {
        Number::Is(_) => true,
        Number::Day { offset_ms } => offset_ms == 0,
        Number::Hour { .. } => false,
    };
    let first_day = from + (-from).rem_euclid(Grain::Day.millis());
    let last_day = to - to.rem_euclid(Grain::Day.millis());
    let pieces = if has_days && first_day < last_day {
        [
            (Grain::Slot, from, first_day),
            (Grain::Day, first_day, last_day),
            (Grain::Slot, last_day, to),
        ]
    } else {
        [
            (Grain::Slot, from, to),
            (Grain::Slot, to, to),
            (Grain::Slot, to, to),
        ]
    };
    pieces
        .into_iter()
        .filter(|(_, from_at, to_at)| from_at < to_at)
        .map(move |(grain, from_at, to_at)| Piece {
            grain,
            from_at,
            to_at,
            number,
        })
}
