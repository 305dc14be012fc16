//! Users: found, made, changed and deleted.

use serde::{Deserialize, Serialize};

use super::{AdminError, AdminService};
use crate::abuse::{Actor, AuditAction, AuditEntry, AuditQuery};
use crate::account::{Account, AccountStatus, NewAccount, Role, Standing};
use crate::accounts::EmailAddress;
use crate::accounts::password::NewPassword;
use crate::api_key::ApiKey;
use crate::field::{self, keep, line};
use crate::ids::{AccountId, PlanId};
use crate::plan::Plan;
use crate::secret::Secret;
use crate::usage::Balance;

/// Most accounts in one bulk act.
pub const MAX_BULK: usize = 200;
/// Audit records shown with a user.
const RECENT_RECORDS: u32 = 20;

/// Which users, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserQuery {
    /// With this status.
    pub status: Option<AccountStatus>,
    /// With this role.
    pub role: Option<Role>,
    /// On this plan.
    pub plan: Option<PlanId>,
    /// With this text in address, name or company, without regard to case.
    pub search: Option<String>,
    /// Older than this one: the last of the page before.
    pub before: Option<AccountId>,
    /// So many of them are passed over.
    pub offset: u32,
    /// At most so many.
    pub limit: u32,
}

/// A user as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRow {
    /// The account.
    pub account: Account,
    /// Its plan's id and name.
    pub plan: Option<(PlanId, String)>,
    /// Bytes left.
    pub balance_bytes: i64,
    /// Bytes used in all.
    pub used_bytes: i64,
}

/// A page of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPage {
    /// The users.
    pub rows: Vec<UserRow>,
    /// How many fit in all, whatever the page.
    pub total: u64,
}

/// All that admins see of a user.
#[derive(Clone, Debug)]
pub struct UserDetail {
    /// The account.
    pub account: Account,
    /// Its plan.
    pub plan: Option<Plan>,
    /// What it has left.
    pub balance: Balance,
    /// Its keys, without their secrets.
    pub keys: Vec<ApiKey>,
    /// The newest audit records about it.
    pub records: Vec<AuditEntry>,
}

/// A user to be made by an admin.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Login address.
    pub email: String,
    /// None: one is made up and shown once.
    pub password: Option<Secret>,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Company.
    pub company: Option<String>,
    /// What it may see.
    pub role: Role,
    /// None: the plan that new accounts start on.
    pub plan: Option<PlanId>,
    /// Whether the address counts as verified.
    pub is_verified: bool,
}

/// A new user, with its password if that was made up: shown this once.
#[derive(Clone, Debug)]
pub struct CreatedUser {
    /// The account.
    pub account: Account,
    /// 128 random bits in hex.
    pub generated_password: Option<Secret>,
}

/// One change of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserChange {
    /// Another status. Deleting also switches the keys off.
    Status(AccountStatus),
    /// Another role; whoever acts for a partner does so no longer.
    Role(Role),
    /// Another plan.
    Plan(PlanId),
}

/// What came of changes, which are made all or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserChanged {
    /// Made and on record: so many; the others were so already.
    Done(usize),
    /// There is no such account.
    NotFound,
    /// No active admin would be left.
    LastAdmin,
    /// The account is deleted.
    Deleted,
    /// An admin has to be active and verified.
    NotEligible,
    /// There is no such plan.
    NoSuchPlan,
    /// The plan is not offered any more.
    PlanInactive,
}

/// Changes that an admin wants of a user: what is absent stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WantedUserChange {
    /// Active or suspended; deleting is an act of its own.
    pub status: Option<AccountStatus>,
    /// Another role.
    pub role: Option<Role>,
    /// Another plan.
    pub plan: Option<PlanId>,
}

/// One act on many users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkAct {
    /// Suspend each.
    Suspend,
    /// Let each go on.
    Reinstate,
    /// Delete each.
    Delete,
    /// Move each to a plan.
    ChangePlan,
}

/// What names are searched by.
pub fn name_folded(first_name: &str, last_name: &str, company: Option<&str>) -> String {
    format!("{first_name} {last_name} {}", company.unwrap_or_default()).to_lowercase()
}

impl AdminService {
    /// A page of users.
    ///
    /// # Errors
    /// If the data can't be read.
    pub async fn users(&self, query: &UserQuery) -> Result<UserPage, AdminError> {
        Ok(self.parts().store.user_page(query).await?)
    }

    /// All about one user.
    ///
    /// # Errors
    /// If there is no such account.
    pub async fn user(&self, id: AccountId) -> Result<UserDetail, AdminError> {
        let store = &*self.parts().store;
        let account = self.account(id).await?;
        let records = AuditQuery {
            account: Some(id),
            limit: RECENT_RECORDS,
            ..AuditQuery::default()
        };
        let (plan, balance, keys, records) = tokio::try_join!(
            store.plan_of(id),
            store.balance(id),
            store.api_keys(id),
            store.audit_entries(&records)
        )?;
        Ok(UserDetail {
            account,
            plan,
            balance,
            keys,
            records,
        })
    }

    /// Makes a user on the plan given, with the bonus of the settings. Sends no mail.
    ///
    /// # Errors
    /// If a field is wrong, the address is taken, or there is no such plan.
    pub async fn create_user(
        &self,
        actor: Actor,
        wanted: NewUser,
        reason: &str,
    ) -> Result<CreatedUser, AdminError> {
        let parts = self.parts();
        let generated_password = wanted.password.is_none().then(|| Secret::random::<16>(""));
        let password = wanted
            .password
            .or_else(|| generated_password.clone())
            .unwrap_or_default();
        let mut problems = Vec::new();
        let reason = keep(field::reason(reason), &mut problems);
        let email = keep(wanted.email.parse::<EmailAddress>(), &mut problems);
        let password = keep(NewPassword::parse("password", password), &mut problems);
        let first_name = line("firstName", "First name", &wanted.first_name, 2, 100);
        let first_name = keep(first_name, &mut problems);
        let last_name = line("lastName", "Last name", &wanted.last_name, 2, 100);
        let last_name = keep(last_name, &mut problems);
        let company = wanted.company.as_deref().unwrap_or_default();
        let company = keep(line("company", "Company", company, 0, 255), &mut problems);
        let (Some(reason), Some(email), Some(password), Some(first_name), Some(last_name), Some(company)) =
            (reason, email, password, first_name, last_name, company)
        else {
            return Err(AdminError::Invalid(problems));
        };
        match wanted.role {
            Role::Admin if !wanted.is_verified => return Err(not_eligible()),
            Role::Partner => return Err(needs_partner()),
            _ => {}
        }
        let settings = parts.store.settings().await?.settings;
        let plan = wanted.plan.unwrap_or(settings.first_plan);
        match parts.store.plan_details(plan).await? {
            None => return Err(AdminError::field("plan", "There is no such plan")),
            Some(details) if !details.plan.is_active => return Err(plan_inactive()),
            Some(_) => {}
        }
        let id = AccountId::new();
        let entry = self.entry(actor, AuditAction::UserCreated, Some(id), id.to_string(), &reason);
        let account = NewAccount {
            id,
            email: email.to_string(),
            password_hash: parts.passwords.hash(password).await?,
            first_name,
            last_name,
            company: Some(company).filter(|company| !company.is_empty()),
            role: wanted.role,
            email_verified: wanted.is_verified,
            // Whoever verifies an account by hand knows whose it is.
            standing: match wanted.is_verified {
                true => Standing::Established,
                false => settings.new_standing,
            },
            plan,
            bonus_bytes: settings.bonus_bytes,
            now: entry.at,
        };
        let account = parts.store.create_user(account, entry).await?;
        Ok(CreatedUser {
            account,
            generated_password,
        })
    }

    /// Changes status, role and plan, all or nothing; the user as it is then. What is so already stays without a record.
    ///
    /// # Errors
    /// If a change is not possible; [`AdminError::OwnAccount`] where an admin would take its own rights away.
    pub async fn change_user(
        &self,
        actor: Actor,
        id: AccountId,
        wanted: WantedUserChange,
        reason: &str,
    ) -> Result<Account, AdminError> {
        if wanted.status == Some(AccountStatus::Deleted) {
            let message = "Deleting is an act of its own: DELETE";
            return Err(AdminError::field("status", message));
        }
        let changes = [
            wanted.status.map(UserChange::Status),
            wanted.role.map(UserChange::Role),
            wanted.plan.map(UserChange::Plan),
        ];
        let changes: Vec<UserChange> = changes.into_iter().flatten().collect();
        self.apply(actor, id, &changes, reason).await?;
        self.account(id).await
    }

    /// Gives or takes an admin's rights.
    ///
    /// # Errors
    /// As [`AdminService::change_user`]; [`AdminError::AlreadySo`].
    pub async fn set_role(
        &self,
        actor: Actor,
        id: AccountId,
        role: Role,
        reason: &str,
    ) -> Result<(), AdminError> {
        match self.apply(actor, id, &[UserChange::Role(role)], reason).await? {
            0 => Err(AdminError::AlreadySo),
            _ => Ok(()),
        }
    }

    /// Deletes a user: the row stays, marked; logins and keys end at once, and nothing brings them back.
    ///
    /// # Errors
    /// As [`AdminService::change_user`].
    pub async fn delete_user(&self, actor: Actor, id: AccountId, reason: &str) -> Result<(), AdminError> {
        let gone = UserChange::Status(AccountStatus::Deleted);
        self.apply(actor, id, &[gone], reason).await.map(drop)
    }

    /// One act on many users, each by itself: what came of each, in the order given, each id once.
    ///
    /// # Errors
    /// If there are none or more than [`MAX_BULK`], or what the act needs is missing.
    pub async fn bulk(
        &self,
        actor: Actor,
        act: BulkAct,
        ids: &[AccountId],
        plan: Option<PlanId>,
        reason: &str,
    ) -> Result<Vec<(AccountId, Result<(), AdminError>)>, AdminError> {
        if ids.is_empty() || ids.len() > MAX_BULK {
            return Err(AdminError::field("ids", "Name 1 to 200 accounts"));
        }
        field::reason(reason)?;
        let change = match (act, plan) {
            (BulkAct::Suspend, None) => UserChange::Status(AccountStatus::Suspended),
            (BulkAct::Reinstate, None) => UserChange::Status(AccountStatus::Active),
            (BulkAct::Delete, None) => UserChange::Status(AccountStatus::Deleted),
            (BulkAct::ChangePlan, Some(plan)) => UserChange::Plan(plan),
            (BulkAct::ChangePlan, None) => return Err(AdminError::field("plan", "Name the plan")),
            (_, Some(_)) => return Err(AdminError::field("plan", "Only change_plan takes a plan")),
        };
        let mut results: Vec<(AccountId, Result<(), AdminError>)> = Vec::with_capacity(ids.len());
        for &id in ids {
            if results.iter().any(|(done, _)| *done == id) {
                continue;
            }
            let result = match self.apply(actor, id, &[change], reason).await {
                Ok(0) => Err(AdminError::AlreadySo),
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            results.push((id, result));
        }
        Ok(results)
    }

    /// How many of the changes were made.
    async fn apply(
        &self,
        actor: Actor,
        id: AccountId,
        changes: &[UserChange],
        reason: &str,
    ) -> Result<usize, AdminError> {
        let reason = field::reason(reason)?;
        let takes_rights = |change: &UserChange| match change {
            UserChange::Status(status) => *status != AccountStatus::Active,
            UserChange::Role(role) => *role != Role::Admin,
            UserChange::Plan(_) => false,
        };
        if actor == Actor::Admin(id) && changes.iter().any(takes_rights) {
            return Err(AdminError::OwnAccount);
        }
        if changes.contains(&UserChange::Role(Role::Partner)) {
            return Err(needs_partner());
        }
        let entry = |change: &UserChange| {
            let action = match change {
                UserChange::Status(AccountStatus::Active) => AuditAction::AccountReinstated,
                UserChange::Status(AccountStatus::Suspended) => AuditAction::AccountSuspended,
                UserChange::Status(AccountStatus::Deleted) => AuditAction::UserDeleted,
                UserChange::Role(_) => AuditAction::UserRoleChanged,
                UserChange::Plan(_) => AuditAction::UserPlanChanged,
            };
            (
                *change,
                self.entry(actor, action, Some(id), id.to_string(), &reason),
            )
        };
        let parts = self.parts();
        let written = parts
            .store
            .change_user(id, changes.iter().map(entry).collect())
            .await;
        // Also where nobody knows whether it took effect.
        self.tell(id, changes);
        match written? {
            UserChanged::Done(many) => Ok(many),
            UserChanged::NotFound => Err(AdminError::AccountNotFound),
            UserChanged::LastAdmin => Err(AdminError::LastAdmin),
            UserChanged::Deleted => Err(AdminError::AccountDeleted),
            UserChanged::NotEligible => Err(not_eligible()),
            UserChanged::NoSuchPlan => Err(AdminError::field("plan", "There is no such plan")),
            UserChanged::PlanInactive => Err(plan_inactive()),
        }
    }

    /// Gateways forget what they knew of the account; what runs under one that may not go on ends.
    fn tell(&self, id: AccountId, changes: &[UserChange]) {
        let parts = self.parts();
        for change in changes {
            match change {
                UserChange::Status(AccountStatus::Active) => {
                    parts.watch.forgive(id);
                    parts.changes.account_changed(id);
                }
                UserChange::Status(AccountStatus::Suspended | AccountStatus::Deleted) => {
                    parts.changes.account_suspended(id);
                }
                UserChange::Plan(_) => parts.changes.account_changed(id),
                UserChange::Role(_) => {}
            }
        }
    }

    pub(super) async fn account(&self, id: AccountId) -> Result<Account, AdminError> {
        let account = self.parts().store.account(id).await?;
        account.ok_or(AdminError::AccountNotFound)
    }
}

fn not_eligible() -> AdminError {
    AdminError::field(
        "role",
        "Only an active account with a verified address can be an admin",
    )
}

fn needs_partner() -> AdminError {
    AdminError::field(
        "role",
        "An account becomes a partner's by being linked to one: POST /api/partners/{partnerId}/users",
    )
}

fn plan_inactive() -> AdminError {
    AdminError::field("plan", "The plan is not offered any more")
}
