//! Sums that are kept with every booking: what a version of a request adds, less what the version before it had added.
//!
//! Written under the locks of the accounts' rows in `user_plans`, so that a row can be read, added to and written back.

use std::collections::{BTreeMap, BTreeSet};

use iploop_platform::statistics::{Dimension, MAX_HOSTS_PER_DAY, MAX_HOSTS_PER_SLOT, SLOT, StatusName};
use iploop_platform::usage::UsageRecord;
use serde::Serialize;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::{Row, Tx};
use crate::booking::Sums;

/// Rows in one statement: bounds the JSON text to some hundred KiB.
const ROWS_PER_STATEMENT: usize = 1_000;

/// What sums are kept by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grain {
    /// 15 minutes.
    Slot,
    /// A UTC day.
    Day,
}

impl Grain {
    pub(super) const fn millis(self) -> i64 {
        match self {
            Self::Slot => 15 * 60 * 1000,
            Self::Day => 24 * 3600 * 1000,
        }
    }

    fn start(self, at: i64) -> i64 {
        at - at.rem_euclid(self.millis())
    }

    fn max_hosts(self) -> usize {
        match self {
            Self::Slot => MAX_HOSTS_PER_SLOT,
            Self::Day => MAX_HOSTS_PER_DAY,
        }
    }
}

const _: () = assert!(Grain::Slot.millis() as u128 == SLOT.as_millis());

/// What a batch of bookings does to the sums.
#[derive(Default)]
pub(super) struct Changes {
    sums: BTreeMap<Key, Sums>,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    user: Uuid,
    dimension: Dimension,
    grain: Grain,
    slot_at: i64,
    api_key: Uuid,
    name: String,
}

impl Key {
    fn place(&self) -> Place {
        (self.user, self.grain, self.slot_at)
    }

    /// The row that hosts beyond the bound share.
    fn others(&self) -> Self {
        Self {
            name: String::new(),
            ..self.clone()
        }
    }

    fn row(&self, sums: Sums) -> SumsRow<'_> {
        SumsRow {
            user_id: self.user,
            dimension: self.dimension.as_str(),
            grain_ms: self.grain.millis(),
            slot_at: self.slot_at,
            api_key_id: self.api_key,
            name: &self.name,
            sums,
        }
    }
}

/// Where hosts are bounded together: account, grain, slot.
type Place = (Uuid, Grain, i64);

impl Changes {
    /// Notes that a request's row becomes `after`.
    pub(super) fn note(&mut self, before: Option<&UsageRecord>, after: &UsageRecord) {
        for (record, is_new) in before
            .map(|before| (before, false))
            .into_iter()
            .chain([(after, true)])
        {
            let sums = Sums::of(record);
            for grain in [Grain::Slot, Grain::Day] {
                for dimension in Dimension::ALL {
                    let key = Key {
                        user: record.account.uuid(),
                        dimension,
                        grain,
                        slot_at: grain.start(record.started_at.as_millis()),
                        api_key: record.api_key.uuid(),
                        name: name(record, dimension),
                    };
                    let sum = self.sums.entry(key).or_default();
                    *sum = if is_new { sum.plus(sums) } else { sum.minus(sums) };
                }
            }
        }
    }

    /// Adds it to the rows.
    pub(super) async fn write(mut self, tx: &mut Tx) -> Result<(), sqlx::Error> {
        self.sums.retain(|_, sums| *sums != Sums::default());
        let mut stored = stored_sums(tx, &self.sums).await?;
        let crowded = self.crowd_out(tx, &stored).await?;
        for (key, sums) in crowded {
            let others = self.sums.entry(key.others()).or_default();
            *others = others.plus(sums);
        }
        let rows: Vec<_> = self
            .sums
            .iter()
            .map(|(key, sums)| key.row(stored.remove(key).unwrap_or_default().plus(*sums)))
            .collect();
        for rows in rows.chunks(ROWS_PER_STATEMENT) {
            sqlx::query(concat!(
                "INSERT INTO usage_rollups (user_id, dimension, grain_ms, slot_at, api_key_id, name, requests, successful,
                     bytes_uploaded, bytes_downloaded, billed_bytes, duration_ms, ended)
                 SELECT user_id, dimension, grain_ms, slot_at, api_key_id, name, requests, successful, bytes_uploaded,
                     bytes_downloaded, billed_bytes, duration_ms, ended FROM (",
                given!(
                    user_id uuid, dimension text, grain_ms bigint, slot_at bigint, api_key_id uuid, name text,
                    requests bigint, successful bigint, bytes_uploaded bigint, bytes_downloaded bigint,
                    billed_bytes bigint, duration_ms bigint, ended bigint
                ),
                ") AS new WHERE TRUE
                 ON CONFLICT (user_id, dimension, grain_ms, slot_at, api_key_id, name) DO UPDATE SET
                     requests = excluded.requests,
                     successful = excluded.successful,
                     bytes_uploaded = excluded.bytes_uploaded,
                     bytes_downloaded = excluded.bytes_downloaded,
                     billed_bytes = excluded.billed_bytes,
                     duration_ms = excluded.duration_ms,
                     ended = excluded.ended"
            ))
            .bind(Json(rows))
            .execute(&mut **tx)
            .await?;
        }
        Ok(())
    }

    /// Takes out the hosts that get no row of their own any more: those without one, where there are as many as may be.
    ///
    /// A place that is full stays full and rows stay, so all versions of a request count under the same name.
    async fn crowd_out(
        &mut self,
        tx: &mut Tx,
        stored: &BTreeMap<Key, Sums>,
    ) -> Result<Vec<(Key, Sums)>, sqlx::Error> {
        let is_new =
            |key: &Key| key.dimension == Dimension::Host && !key.name.is_empty() && !stored.contains_key(key);
        let places: BTreeSet<Place> = self
            .sums
            .keys()
            .filter(|key| is_new(key))
            .map(Key::place)
            .collect();
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let mut counts = host_counts(tx, &places).await?;
        let crowded = self.sums.extract_if(.., |key, _| {
            if !is_new(key) {
                return false;
            }
            let count = counts.entry(key.place()).or_default();
            let is_full = *count >= key.grain.max_hosts();
            *count += usize::from(!is_full);
            is_full
        });
        Ok(crowded.collect())
    }
}

fn name(record: &UsageRecord, dimension: Dimension) -> String {
    match dimension {
        Dimension::All => String::new(),
        Dimension::ProxyType => record.proxy_type.clone(),
        Dimension::Country => record.exit_country.clone().unwrap_or_default(),
        Dimension::Status => StatusName::write(record.status, record.error.as_deref()),
        Dimension::Host => record.destination_host().to_owned(),
    }
}

/// The rows that are there of those that change, and of those that hosts may be counted under instead.
async fn stored_sums(tx: &mut Tx, sums: &BTreeMap<Key, Sums>) -> Result<BTreeMap<Key, Sums>, sqlx::Error> {
    let mut wanted: BTreeSet<Key> = sums.keys().cloned().collect();
    let hosts = sums.keys().filter(|key| key.dimension == Dimension::Host);
    wanted.extend(hosts.map(Key::others));
    let wanted: Vec<Key> = wanted.into_iter().collect();
    let mut stored = BTreeMap::new();
    for keys in wanted.chunks(ROWS_PER_STATEMENT) {
        // The place of each in what was asked for comes back, instead of the whole key.
        let asked: Vec<_> = keys
            .iter()
            .zip(0_i64..)
            .map(|(key, place)| AskedRow::of(key, place))
            .collect();
        let rows = sqlx::query(concat!(
            "SELECT asked.place AS place, kept.requests AS requests, kept.successful AS successful,
                 kept.bytes_uploaded AS bytes_uploaded, kept.bytes_downloaded AS bytes_downloaded,
                 kept.billed_bytes AS billed_bytes, kept.duration_ms AS duration_ms, kept.ended AS ended
             FROM (",
            given!(
                place bigint, user_id uuid, dimension text, grain_ms bigint, slot_at bigint, api_key_id uuid, name text
            ),
            ") AS asked JOIN usage_rollups AS kept ON kept.user_id = asked.user_id AND kept.dimension = asked.dimension
                 AND kept.grain_ms = asked.grain_ms AND kept.slot_at = asked.slot_at
                 AND kept.api_key_id = asked.api_key_id AND kept.name = asked.name"
        ))
        .bind(Json(asked))
        .fetch_all(&mut **tx)
        .await?;
        for row in &rows {
            let place: i64 = row.try_get("place")?;
            let key = usize::try_from(place).ok().and_then(|place| keys.get(place));
            if let Some(key) = key {
                stored.insert(key.clone(), sums_from(row)?);
            }
        }
    }
    Ok(stored)
}

/// Hosts with a row of their own, with all keys of the account together.
async fn host_counts(tx: &mut Tx, places: &BTreeSet<Place>) -> Result<BTreeMap<Place, usize>, sqlx::Error> {
    let places: Vec<&Place> = places.iter().collect();
    let mut counts = BTreeMap::new();
    for places in places.chunks(ROWS_PER_STATEMENT) {
        let asked: Vec<_> = places
            .iter()
            .zip(0_i64..)
            .map(|((user_id, grain, slot_at), place)| PlaceRow {
                place,
                user_id: *user_id,
                grain_ms: grain.millis(),
                slot_at: *slot_at,
            })
            .collect();
        let rows = sqlx::query(concat!(
            "SELECT asked.place AS place, COUNT(*) AS hosts FROM (",
            given!(place bigint, user_id uuid, grain_ms bigint, slot_at bigint),
            ") AS asked JOIN usage_rollups AS kept ON kept.user_id = asked.user_id AND kept.dimension = 'host'
                 AND kept.grain_ms = asked.grain_ms AND kept.slot_at = asked.slot_at AND kept.name <> ''
             GROUP BY asked.place"
        ))
        .bind(Json(asked))
        .fetch_all(&mut **tx)
        .await?;
        for row in &rows {
            let (place, hosts): (i64, i64) = (row.try_get("place")?, row.try_get("hosts")?);
            let place = usize::try_from(place).ok().and_then(|place| places.get(place));
            if let Some(place) = place {
                counts.insert(**place, usize::try_from(hosts).unwrap_or(usize::MAX));
            }
        }
    }
    Ok(counts)
}

pub(super) fn sums_from(row: &Row) -> Result<Sums, sqlx::Error> {
    Ok(Sums {
        requests: row.try_get("requests")?,
        successful: row.try_get("successful")?,
        bytes_uploaded: row.try_get("bytes_uploaded")?,
        bytes_downloaded: row.try_get("bytes_downloaded")?,
        billed_bytes: row.try_get("billed_bytes")?,
        duration_ms: row.try_get("duration_ms")?,
        ended: row.try_get("ended")?,
    })
}

#[derive(Serialize)]
struct SumsRow<'a> {
    user_id: Uuid,
    dimension: &'static str,
    grain_ms: i64,
    slot_at: i64,
    api_key_id: Uuid,
    name: &'a str,
    #[serde(flatten)]
    sums: Sums,
}

#[derive(Serialize)]
struct AskedRow<'a> {
    place: i64,
    user_id: Uuid,
    dimension: &'static str,
    grain_ms: i64,
    slot_at: i64,
    api_key_id: Uuid,
    name: &'a str,
}

impl<'a> AskedRow<'a> {
    fn of(key: &'a Key, place: i64) -> Self {
        Self {
            place,
            user_id: key.user,
            dimension: key.dimension.as_str(),
            grain_ms: key.grain.millis(),
            slot_at: key.slot_at,
            api_key_id: key.api_key,
            name: &key.name,
        }
    }
}

#[derive(Serialize)]
struct PlaceRow {
    place: i64,
    user_id: Uuid,
    grain_ms: i64,
    slot_at: i64,
}
