//! Users, as admins find and change them.

use std::future::Future;

use iploop_platform::abuse::AuditEntry;
use iploop_platform::account::{Account, AccountStatus, NewAccount, Role};
use iploop_platform::admin::{UserChange, UserChanged, UserPage, UserQuery, UserRow};
use iploop_platform::ids::{AccountId, PartnerId, PlanId};
use serde_json::json;
use sqlx::Row as _;

use super::super::accounts::{account_columns, account_from, insert_account, role_text, status_text};
use super::super::columns::{id, id_or_none, number, text};
use super::super::{Pool, Row, Tx, audit, errands};
use super::containing;
use crate::error::Failure;

/// The filters of a [`UserQuery`], `$1` to `$4`.
macro_rules! wanted {
    () => {
        " FROM users u
          LEFT JOIN user_plans b ON b.user_id = u.id
          LEFT JOIN plans p ON p.id = b.plan_id
          WHERE ($1 IS NULL OR u.status = $1) AND ($2 IS NULL OR u.role = $2) AND ($3 IS NULL OR b.plan_id = $3)
            AND ($4 IS NULL OR u.email_folded LIKE $4 ESCAPE '\\' OR u.name_folded LIKE $4 ESCAPE '\\')"
    };
}

pub(super) async fn page(pool: &Pool, query: &UserQuery) -> Result<UserPage, sqlx::Error> {
    let status = query.status.map(status_text);
    let role = query.role.map(role_text);
    let plan = query.plan.map(PlanId::uuid);
    let search = query
        .search
        .as_deref()
        .map(|part| containing(&part.to_lowercase()));
    let counted = sqlx::query(concat!("SELECT COUNT(*) AS users", wanted!()))
        .bind(status)
        .bind(role)
        .bind(plan)
        .bind(&search)
        .fetch_one(pool)
        .await?;
    let rows = sqlx::query(concat!(
        "SELECT ",
        account_columns!(u),
        ", b.plan_id, p.name AS plan_name, COALESCE(b.balance_bytes, 0) AS balance_bytes,
           COALESCE(b.used_bytes, 0) AS used_bytes",
        wanted!(),
        " AND ($5 IS NULL OR u.id < $5) ORDER BY u.id DESC LIMIT $6 OFFSET $7"
    ))
    .bind(status)
    .bind(role)
    .bind(plan)
    .bind(&search)
    .bind(query.before.map(AccountId::uuid))
    .bind(i64::from(query.limit))
    .bind(i64::from(query.offset))
    .fetch_all(pool)
    .await?;
    Ok(UserPage {
        rows: rows.iter().map(row_from).collect::<Result<_, _>>()?,
        total: number(&counted, "users")?,
    })
}

fn row_from(row: &Row) -> Result<UserRow, sqlx::Error> {
    let plan: Option<PlanId> = id_or_none(row, "plan_id")?;
    let name: Option<String> = row.try_get("plan_name")?;
    Ok(UserRow {
        account: account_from(row)?,
        plan: plan.zip(name),
        balance_bytes: row.try_get("balance_bytes")?,
        used_bytes: row.try_get("used_bytes")?,
    })
}

pub(super) async fn create(
    begin: impl Future<Output = Result<Tx, sqlx::Error>>,
    new: NewAccount,
    mut entry: AuditEntry,
) -> Result<Account, Failure> {
    let mut tx = begin.await?;
    let account = insert_account(&mut tx, &new).await?;
    entry.after = json!({
        "email": account.email, "role": account.role, "plan": new.plan, "emailVerified": account.email_verified,
        "bonusBytes": new.bonus_bytes,
    });
    audit::insert(&mut tx, &entry).await?;
    tx.commit().await?;
    Ok(account)
}

/// A user's row, locked, and whether it is the only active admin.
struct Locked {
    status: AccountStatus,
    role: Role,
    email_verified: bool,
    is_last_admin: bool,
}

/// Makes the changes in their order, each with its record. The caller rolls back what is not [`UserChanged::Done`].
pub(super) async fn change(
    tx: &mut Tx,
    user: AccountId,
    changes: Vec<(UserChange, AuditEntry)>,
) -> Result<UserChanged, sqlx::Error> {
    let Some(mut now) = lock(tx, user).await? else {
        return Ok(UserChanged::NotFound);
    };
    let mut done = 0;
    for (change, mut entry) in changes {
        if now.status == AccountStatus::Deleted {
            return Ok(match change {
                UserChange::Status(AccountStatus::Deleted) => UserChanged::Done(done),
                _ => UserChanged::Deleted,
            });
        }
        match change {
            UserChange::Status(to) if to == now.status => continue,
            UserChange::Role(to) if to == now.role => continue,
            UserChange::Status(AccountStatus::Suspended | AccountStatus::Deleted) | UserChange::Role(_)
                if now.is_last_admin =>
            {
                return Ok(UserChanged::LastAdmin);
            }
            UserChange::Status(to) => {
                entry.before = json!({ "status": now.status });
                entry.after = json!({ "status": to });
                set_status(tx, user, to, &entry).await?;
                now.status = to;
            }
            UserChange::Role(to) => {
                if to == Role::Admin && !(now.status == AccountStatus::Active && now.email_verified) {
                    return Ok(UserChanged::NotEligible);
                }
                entry.before = json!({ "role": now.role });
                if let Some(partner) = unlink(tx, user).await? {
                    entry.before["partnerId"] = json!(partner);
                }
                entry.after = json!({ "role": to });
                sqlx::query("UPDATE users SET role = $2, updated_at = $3 WHERE id = $1")
                    .bind(user.uuid())
                    .bind(role_text(to))
                    .bind(entry.at.as_millis())
                    .execute(&mut **tx)
                    .await?;
                now.role = to;
            }
            UserChange::Plan(to) => match set_plan(tx, user, to).await? {
                Moved::From(from, name, to_name) => {
                    entry.before = json!({ "plan": from, "name": name });
                    entry.after = json!({ "plan": to, "name": to_name });
                }
                Moved::AlreadySo => continue,
                Moved::Not(reason) => return Ok(reason),
            },
        }
        audit::insert(tx, &entry).await?;
        done += 1;
    }
    Ok(UserChanged::Done(done))
}

/// Whether no other account is an active admin. Until the transaction ends nobody else takes an admin's rights away.
pub(in super::super) async fn is_last_admin(tx: &mut Tx, user: AccountId) -> Result<bool, sqlx::Error> {
    Ok(lock(tx, user).await?.is_some_and(|locked| locked.is_last_admin))
}

/// Locks the user and all active admins, in the order of their ids: of two who take rights away, the second sees what the
/// first left.
async fn lock(tx: &mut Tx, user: AccountId) -> Result<Option<Locked>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        account_columns!(),
        " FROM users WHERE id = $1 OR (role = 'admin' AND status = 'active') ORDER BY id",
        locked!()
    ))
    .bind(user.uuid())
    .fetch_all(&mut **tx)
    .await?;
    let accounts = rows.iter().map(account_from).collect::<Result<Vec<_>, _>>()?;
    let is_admin =
        |account: &&Account| account.role == Role::Admin && account.status == AccountStatus::Active;
    let admins: Vec<AccountId> = accounts
        .iter()
        .filter(is_admin)
        .map(|account| account.id)
        .collect();
    let found = accounts.iter().find(|account| account.id == user);
    Ok(found.map(|account| Locked {
        status: account.status,
        role: account.role,
        email_verified: account.email_verified,
        is_last_admin: admins == [user],
    }))
}

async fn set_status(
    tx: &mut Tx,
    user: AccountId,
    to: AccountStatus,
    entry: &AuditEntry,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE users SET status = $2, status_reason = $3, updated_at = $4 WHERE id = $1")
        .bind(user.uuid())
        .bind(status_text(to))
        .bind(text(&entry.reason))
        .bind(entry.at.as_millis())
        .execute(&mut **tx)
        .await?;
    errands::account_is(tx, user, to, entry.at).await?;
    if to == AccountStatus::Deleted {
        sqlx::query("UPDATE api_keys SET is_active = FALSE WHERE user_id = $1")
            .bind(user.uuid())
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Ends that the user acts for a partner; for which one it did.
async fn unlink(tx: &mut Tx, user: AccountId) -> Result<Option<PartnerId>, sqlx::Error> {
    let row = sqlx::query("DELETE FROM partner_users WHERE user_id = $1 RETURNING partner_id")
        .bind(user.uuid())
        .fetch_optional(&mut **tx)
        .await?;
    row.map(|row| id(&row, "partner_id")).transpose()
}

enum Moved {
    /// From this plan and its name, to one of this name.
    From(PlanId, String, String),
    AlreadySo,
    Not(UserChanged),
}

async fn set_plan(tx: &mut Tx, user: AccountId, to: PlanId) -> Result<Moved, sqlx::Error> {
    let plan = sqlx::query("SELECT name, is_active FROM plans WHERE id = $1")
        .bind(to.uuid())
        .fetch_optional(&mut **tx)
        .await?;
    let Some(plan) = plan else {
        return Ok(Moved::Not(UserChanged::NoSuchPlan));
    };
    let purse = sqlx::query(concat!(
        "SELECT plan_id FROM user_plans WHERE user_id = $1",
        locked!()
    ))
    .bind(user.uuid())
    .fetch_optional(&mut **tx)
    .await?;
    let Some(purse) = purse else {
        return Ok(Moved::Not(UserChanged::NotFound));
    };
    let from: PlanId = id(&purse, "plan_id")?;
    if from == to {
        return Ok(Moved::AlreadySo);
    }
    if !plan.try_get::<bool, _>("is_active")? {
        return Ok(Moved::Not(UserChanged::PlanInactive));
    }
    let before = sqlx::query("SELECT name FROM plans WHERE id = $1")
        .bind(from.uuid())
        .fetch_one(&mut **tx)
        .await?;
    sqlx::query("UPDATE user_plans SET plan_id = $2 WHERE user_id = $1")
        .bind(user.uuid())
        .bind(to.uuid())
        .execute(&mut **tx)
        .await?;
    Ok(Moved::From(from, before.try_get("name")?, plan.try_get("name")?))
}
