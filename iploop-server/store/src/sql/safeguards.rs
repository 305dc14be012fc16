//! Lists, grants, standing, suspensions and refusals; the audit record of each change in its transaction.

use std::net::IpAddr;

use async_trait::async_trait;
use iploop_platform::abuse::{
    AccountGrant, AuditEntry, AuditQuery, Entry, EntryKind, ExitUse, ExitUseQuery, MAX_ENTRIES, PolicyChange,
    PolicyChanged, RefusalCount, RefusalQuery, Safeguards, StoredPolicy, Told,
};
use iploop_platform::account::{AccountStatus, Standing};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, AuditId, GrantId};
use iploop_platform::notices::{Addressee, Notice};
use iploop_platform::store::StoreError;
use iploop_protocol::policy::{AbuseLimits, Grant, Grants, MAX_GRANTS};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::accounts::status_text;
use super::admin::is_last_admin;
use super::columns::{clean, id, id_or_none, json as json_of, number, text, time, time_or_none};
use super::reading::all;
use super::{Row, SqlStore, Tx, audit, errands, notices};
use crate::booking::signed;
use crate::error::{Failure, act, unreadable};

/// Rows in one statement.
const ROWS_PER_STATEMENT: usize = 1_000;

/// Longest that a tunnel lasts: what began earlier has ended.
const MAX_REQUEST_MILLIS: i64 = 25 * 3600 * 1000;

#[async_trait]
impl Safeguards for SqlStore {
    async fn stored_policy(&self) -> Result<StoredPolicy, StoreError> {
        act(async {
            // The version first: a change that comes between is read again at the next look.
            let state = sqlx::query("SELECT version, limits FROM policy_state WHERE id = 1")
                .fetch_one(&self.read)
                .await?;
            let categories = sqlx::query("SELECT name, is_on FROM policy_categories ORDER BY name")
                .fetch_all(&self.read)
                .await?;
            let entries = sqlx::query(
                "SELECT id, kind, value, category, reason, added_at FROM policy_entries ORDER BY added_at, id",
            )
            .fetch_all(&self.read)
            .await?;
            let named = categories.iter().map(|row| Ok((row.try_get("name")?, row.try_get("is_on")?)));
            Ok(StoredPolicy {
                version: number(&state, "version")?,
                limits: state
                    .try_get::<Option<Json<AbuseLimits>>, _>("limits")?
                    .map(|Json(limits)| limits),
                categories: named.collect::<Result<_, sqlx::Error>>()?,
                entries: entries.iter().map(entry_from).collect::<Result<_, _>>()?,
            })
        })
        .await
    }

    async fn change_policy(
        &self,
        change: &PolicyChange,
        mut entry: AuditEntry,
    ) -> Result<PolicyChanged, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let state = sqlx::query(concat!("SELECT version, limits FROM policy_state WHERE id = 1", locked!()))
                .fetch_one(&mut *tx)
                .await?;
            let version: i64 = state.try_get("version")?;
            match change {
                PolicyChange::Add(new) => add_entry(&mut tx, new).await?,
                PolicyChange::Remove(gone) => {
                    let row = sqlx::query(
                        "DELETE FROM policy_entries WHERE id = $1 RETURNING id, kind, value, category, reason, added_at",
                    )
                    .bind(gone.uuid())
                    .fetch_optional(&mut *tx)
                    .await?;
                    let Some(row) = row else {
                        return Ok(PolicyChanged::NotFound);
                    };
                    let gone = entry_from(&row)?;
                    entry.before = json!({ "kind": gone.kind, "value": gone.value, "category": gone.category });
                }
                PolicyChange::Switch { category, is_on } => {
                    sqlx::query(
                        "INSERT INTO policy_categories (name, is_on) VALUES ($1, $2)
                         ON CONFLICT (name) DO UPDATE SET is_on = excluded.is_on",
                    )
                    .bind(text(category))
                    .bind(is_on)
                    .execute(&mut *tx)
                    .await?;
                }
                PolicyChange::Limits(limits) => {
                    entry.before = state
                        .try_get::<Option<Json<Value>>, _>("limits")?
                        .map_or(Value::Null, |Json(limits)| limits);
                    sqlx::query("UPDATE policy_state SET limits = $1 WHERE id = 1")
                        .bind(limits.map(Json))
                        .execute(&mut *tx)
                        .await?;
                }
            }
            sqlx::query("UPDATE policy_state SET version = $1 WHERE id = 1")
                .bind(version + 1)
                .execute(&mut *tx)
                .await?;
            audit::insert(&mut tx, &entry).await?;
            tx.commit().await?;
            Ok(PolicyChanged::Done(u64::try_from(version + 1).unwrap_or(0)))
        })
        .await
    }

    async fn grants(&self, account: AccountId, now: Timestamp) -> Result<Vec<AccountGrant>, StoreError> {
        act(async {
            let holding = sqlx::query(
                "SELECT id, user_id, opening, until_at, reason, given_at, revoked_at FROM account_grants
                 WHERE user_id = $1 AND revoked_at IS NULL AND until_at > $2 ORDER BY given_at DESC, id DESC",
            )
            .bind(account.uuid())
            .bind(now.as_millis())
            .fetch_all(&self.read)
            .await?;
            let ended = sqlx::query(
                "SELECT id, user_id, opening, until_at, reason, given_at, revoked_at FROM account_grants
                 WHERE user_id = $1 AND (revoked_at IS NOT NULL OR until_at <= $2)
                 ORDER BY given_at DESC, id DESC LIMIT $3",
            )
            .bind(account.uuid())
            .bind(now.as_millis())
            .bind(most_grants())
            .fetch_all(&self.read)
            .await?;
            let grants = holding.iter().chain(&ended).map(grant_from);
            Ok(grants.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn give_grant(&self, grant: &AccountGrant, entry: AuditEntry) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let account = sqlx::query(concat!("SELECT id FROM users WHERE id = $1", locked!()))
                .bind(grant.account.uuid())
                .fetch_optional(&mut *tx)
                .await?;
            if account.is_none() {
                return Ok(false);
            }
            let row = sqlx::query(
                "SELECT COUNT(*) AS holding FROM account_grants
                 WHERE user_id = $1 AND revoked_at IS NULL AND until_at > $2",
            )
            .bind(grant.account.uuid())
            .bind(grant.given_at.as_millis())
            .fetch_one(&mut *tx)
            .await?;
            if row.try_get::<i64, _>("holding")? >= most_grants() {
                let limit = u32::try_from(MAX_GRANTS).unwrap_or(u32::MAX);
                return Err(StoreError::LimitReached {
                    what: "grants",
                    limit,
                }
                .into());
            }
            sqlx::query(
                "INSERT INTO account_grants (id, user_id, opening, until_at, reason, given_at)
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(grant.id.uuid())
            .bind(grant.account.uuid())
            .bind(Json(grant.opening))
            .bind(grant.until.as_millis())
            .bind(text(&grant.reason))
            .bind(grant.given_at.as_millis())
            .execute(&mut *tx)
            .await?;
            audit::insert(&mut tx, &entry).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn revoke_grant(
        &self,
        account: AccountId,
        id: GrantId,
        mut entry: AuditEntry,
    ) -> Result<Option<AccountGrant>, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let row = sqlx::query(
                "UPDATE account_grants SET revoked_at = $3 WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL
                 RETURNING id, user_id, opening, until_at, reason, given_at, revoked_at",
            )
            .bind(id.uuid())
            .bind(account.uuid())
            .bind(entry.at.as_millis())
            .fetch_optional(&mut *tx)
            .await?;
            let Some(grant) = row.as_ref().map(grant_from).transpose()? else {
                return Ok(None);
            };
            entry.before = json!({ "opening": grant.opening, "until": grant.until });
            audit::insert(&mut tx, &entry).await?;
            tx.commit().await?;
            Ok(Some(grant))
        })
        .await
    }

    async fn set_account_status(
        &self,
        account: AccountId,
        from: AccountStatus,
        to: AccountStatus,
        entry: AuditEntry,
        told: &Told,
    ) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            if to != AccountStatus::Active && is_last_admin(&mut tx, account).await? {
                return Err(StoreError::Conflict { what: "last admin" }.into());
            }
            let done = sqlx::query(
                "UPDATE users SET status = $3, status_reason = $4, updated_at = $5 WHERE id = $1 AND status = $2",
            )
            .bind(account.uuid())
            .bind(status_text(from))
            .bind(status_text(to))
            .bind(text(&entry.reason))
            .bind(entry.at.as_millis())
            .execute(&mut *tx)
            .await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            errands::account_is(&mut tx, account, to, entry.at).await?;
            audit::insert(&mut tx, &entry).await?;
            tell(&mut tx, account, &entry, told).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn set_standing(
        &self,
        account: AccountId,
        standing: Standing,
        entry: AuditEntry,
    ) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            let done = sqlx::query(
                "UPDATE users SET standing = $2, updated_at = $3
                 WHERE id = $1 AND standing <> $2 AND status <> 'deleted'",
            )
            .bind(account.uuid())
            .bind(standing_text(standing))
            .bind(entry.at.as_millis())
            .execute(&mut *tx)
            .await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
            audit::insert(&mut tx, &entry).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }

    async fn append_audit(&self, entry: AuditEntry) -> Result<(), StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            audit::insert(&mut tx, &entry).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn audit_entries(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        act(async { Ok(audit::page(&self.read, query).await?) }).await
    }

    async fn audit_since(
        &self,
        from: Timestamp,
        after: Option<AuditId>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        act(async { Ok(audit::since(&self.read, from, after, limit).await?) }).await
    }

    async fn add_refusals(&self, counts: &[RefusalCount]) -> Result<(), StoreError> {
        let mut rows: Vec<CountRow<'_>> = counts.iter().map(CountRow::from).collect();
        // In one order, so that parallel batches wait for each other and in no circle.
        rows.sort_unstable();
        act(async {
            let mut tx = self.begin().await?;
            for rows in rows.chunks(ROWS_PER_STATEMENT) {
                sqlx::query(concat!(
                    "INSERT INTO refusal_counts (day, cause, user_id, node_id, refusals, first_at, last_at)
                     SELECT day, cause, user_id, node_id, refusals, first_at, last_at FROM (",
                    given!(
                        day bigint, cause text, user_id uuid, node_id uuid, refusals bigint, first_at bigint,
                        last_at bigint
                    ),
                    ") AS new WHERE TRUE
                     ON CONFLICT (day, cause, user_id, node_id) DO UPDATE SET
                         refusals = refusal_counts.refusals + excluded.refusals,
                         first_at = CASE WHEN excluded.first_at < refusal_counts.first_at
                             THEN excluded.first_at ELSE refusal_counts.first_at END,
                         last_at = CASE WHEN excluded.last_at > refusal_counts.last_at
                             THEN excluded.last_at ELSE refusal_counts.last_at END"
                ))
                .bind(Json(rows))
                .execute(&mut *tx)
                .await?;
            }
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn refusals(&self, query: &RefusalQuery) -> Result<Vec<RefusalCount>, StoreError> {
        let rows = sqlx::query(
            "SELECT day, cause, user_id, node_id, refusals, first_at, last_at FROM refusal_counts
             WHERE day >= $1 AND ($2 IS NULL OR user_id = $2) AND ($3 IS NULL OR node_id = $3)
               AND ($4 IS NULL OR cause = $4)
             ORDER BY last_at DESC, user_id, cause, node_id LIMIT $5",
        )
        .bind(query.from_day)
        .bind(query.account.map(|account| account.uuid()))
        .bind(query.node.map(|node| node.uuid()))
        .bind(query.cause.as_deref().map(text))
        .bind(i64::from(query.limit))
        .fetch_all(&self.read);
        all(rows, count_from).await
    }

    async fn forget_refusals(&self, day: i64, limit: u32) -> Result<u64, StoreError> {
        act(async {
            let done = sqlx::query(
                "DELETE FROM refusal_counts WHERE (day, cause, user_id, node_id) IN
                     (SELECT day, cause, user_id, node_id FROM refusal_counts WHERE day < $1 ORDER BY day LIMIT $2)",
            )
            .bind(day)
            .bind(i64::from(limit))
            .execute(&self.write)
            .await?;
            Ok(done.rows_affected())
        })
        .await
    }

    async fn exit_uses(&self, query: &ExitUseQuery) -> Result<Vec<ExitUse>, StoreError> {
        act(async {
            let (first, last) = (query.at.minus(query.within), query.at.plus(query.within));
            let rows = sqlx::query(
                "SELECT id, user_id, api_key_id, node_id, destination, started_at, ended_at FROM usage_records
                 WHERE exit_ip IN ($1, $6) AND started_at <= $3 AND started_at > $4 AND (ended_at IS NULL OR ended_at >= $2)
                 ORDER BY started_at DESC, id DESC LIMIT $5",
            )
            .bind(query.ip.to_canonical().to_string())
            .bind(first.as_millis())
            .bind(last.as_millis())
            .bind(first.as_millis().saturating_sub(MAX_REQUEST_MILLIS))
            .bind(i64::from(query.limit))
            .bind(mapped(query.ip))
            .fetch_all(&self.read)
            .await?;
            let uses = rows.iter().map(|row| {
                Ok(ExitUse {
                    request: id(row, "id")?,
                    account: id(row, "user_id")?,
                    api_key: id(row, "api_key_id")?,
                    node: id_or_none(row, "node_id")?,
                    destination: row.try_get("destination")?,
                    started_at: time(row, "started_at")?,
                    ended_at: time_or_none(row, "ended_at")?,
                })
            });
            Ok(uses.collect::<Result<_, sqlx::Error>>()?)
        })
        .await
    }
}

/// Queues the mails about a suspension.
async fn tell(tx: &mut Tx, account: AccountId, entry: &AuditEntry, told: &Told) -> Result<(), sqlx::Error> {
    let data = json!({ "account": account, "reason": entry.reason });
    let notice = Notice::AccountSuspended;
    match told {
        Told::Nobody => {}
        Told::Admins(most) => {
            let rows = sqlx::query(
                "SELECT id FROM users WHERE role = 'admin' AND status = 'active' ORDER BY created_at, id LIMIT $1",
            )
            .bind(i64::from(*most))
            .fetch_all(&mut **tx)
            .await?;
            for row in &rows {
                let occasion = entry.id.to_string();
                notices::insert(tx, id(row, "id")?, notice, &data, &occasion, entry.at).await?;
            }
        }
        Told::Addresses(addresses) => {
            for (place, address) in addresses.iter().enumerate() {
                let occasion = format!("{}:{place}", entry.id);
                let to = Addressee {
                    address: address.clone(),
                    name: String::new(),
                };
                notices::insert_to(tx, &to, account, notice, &data, &occasion, entry.at).await?;
            }
        }
    }
    Ok(())
}

/// What is open for a customer in the form of a login's answer. Whether its time is over is asked at each use.
pub(super) async fn grants_of(pool: &super::Pool, account: AccountId) -> Result<Grants, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT id, user_id, opening, until_at, reason, given_at, revoked_at FROM account_grants
         WHERE user_id = $1 AND revoked_at IS NULL ORDER BY until_at DESC LIMIT $2",
    )
    .bind(account.uuid())
    .bind(most_grants())
    .fetch_all(pool)
    .await?;
    let grants: Vec<Grant> = rows
        .iter()
        .map(|row| grant_from(row).map(|grant| grant.grant()))
        .collect::<Result<_, _>>()?;
    Ok(Grants::new(grants).unwrap_or_default())
}

pub(super) fn standing_from(row: &Row, column: &str) -> Result<Standing, sqlx::Error> {
    match row.try_get(column)? {
        "new" => Ok(Standing::New),
        "established" => Ok(Standing::Established),
        other => Err(unreadable("users.standing", &other)),
    }
}

pub(super) fn standing_text(standing: Standing) -> &'static str {
    match standing {
        Standing::New => "new",
        Standing::Established => "established",
    }
}

async fn add_entry(tx: &mut Tx, new: &Entry) -> Result<(), Failure> {
    let row = sqlx::query("SELECT COUNT(*) AS entries FROM policy_entries")
        .fetch_one(&mut **tx)
        .await?;
    if row.try_get::<i64, _>("entries")? >= i64::from(MAX_ENTRIES) {
        let what = "policy entries";
        return Err(StoreError::LimitReached {
            what,
            limit: MAX_ENTRIES,
        }
        .into());
    }
    let done = sqlx::query(
        "INSERT INTO policy_entries (id, kind, value, category, reason, added_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (kind, value) DO NOTHING",
    )
    .bind(new.id.uuid())
    .bind(new.kind.as_str())
    .bind(text(&new.value))
    .bind(text(&new.category))
    .bind(text(&new.reason))
    .bind(new.added_at.as_millis())
    .execute(&mut **tx)
    .await?;
    match done.rows_affected() {
        0 => Err(StoreError::Conflict { what: "policy entry" }.into()),
        _ => Ok(()),
    }
}

/// The other form in which an IPv4 address may have been written.
fn mapped(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_string(),
        ip => ip.to_string(),
    }
}

fn most_grants() -> i64 {
    i64::try_from(MAX_GRANTS).unwrap_or(i64::MAX)
}

fn entry_from(row: &Row) -> Result<Entry, sqlx::Error> {
    Ok(Entry {
        id: id(row, "id")?,
        kind: match row.try_get("kind")? {
            "suffix" => EntryKind::Suffix,
            "address" => EntryKind::Address,
            "port" => EntryKind::Port,
            other => return Err(unreadable("policy_entries.kind", &other)),
        },
        value: row.try_get("value")?,
        category: row.try_get("category")?,
        reason: row.try_get("reason")?,
        added_at: time(row, "added_at")?,
    })
}

fn grant_from(row: &Row) -> Result<AccountGrant, sqlx::Error> {
    Ok(AccountGrant {
        id: id(row, "id")?,
        account: id(row, "user_id")?,
        opening: json_of(row, "opening")?,
        until: time(row, "until_at")?,
        reason: row.try_get("reason")?,
        given_at: time(row, "given_at")?,
        revoked_at: time_or_none(row, "revoked_at")?,
    })
}

fn count_from(row: &Row) -> Result<RefusalCount, sqlx::Error> {
    let node: Uuid = row.try_get("node_id")?;
    Ok(RefusalCount {
        day: row.try_get("day")?,
        cause: row.try_get("cause")?,
        account: id(row, "user_id")?,
        node: (!node.is_nil()).then(|| node.into()),
        count: number(row, "refusals")?,
        first_at: time(row, "first_at")?,
        last_at: time(row, "last_at")?,
    })
}

/// A count under the names of its columns.
#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct CountRow<'a> {
    day: i64,
    cause: &'a str,
    user_id: Uuid,
    node_id: Uuid,
    refusals: i64,
    first_at: i64,
    last_at: i64,
}

impl<'a> From<&'a RefusalCount> for CountRow<'a> {
    fn from(count: &'a RefusalCount) -> Self {
        Self {
            day: count.day,
            cause: &count.cause,
            user_id: count.account.uuid(),
            node_id: count.node.map_or(Uuid::nil(), |node| node.uuid()),
            refusals: signed(count.count),
            first_at: count.first_at.as_millis(),
            last_at: count.last_at.as_millis(),
        }
    }
}

/// JSON of ours that may hold text from outside.
pub(super) fn stored(value: &Value) -> Json<Value> {
    Json(clean(value.clone()))
}
