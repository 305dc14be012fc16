//! What admins may do, each act with its audit record; and the policy in force.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use iploop_protocol::policy::{AbuseLimits, Opening, PlatformPolicy};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::audit::{Actor, AuditAction, AuditEntry, AuditQuery};
use super::config::AbuseConfig;
use super::error::AbuseError;
use super::lists::{self, Entry, EntryKind, PolicyChange, PolicyChanged, StoredPolicy, compose};
use super::status::{existing, set_status};
use super::store::{AccountGrant, ExitUse, ExitUseQuery, RefusalCount, RefusalQuery, Told};
use super::task::AbuseTask;
use super::watch::{AbuseWatch, Suspicion};
use crate::account::{Account, AccountStatus, Standing};
use crate::clock::{Clock, Timestamp};
use crate::field::{self, FieldProblem};
use crate::ids::{AccountId, AuditId, GrantId, PolicyEntryId};
use crate::keys::KeyChanges;
use crate::notices::NoticeService;
use crate::store::{Store, StoreError};

/// Longest time that something is opened for.
const MAX_GRANT: Duration = Duration::from_secs(366 * 24 * 3600);

/// Puts policies in force. Implemented where gateway and hub meet.
#[async_trait]
pub trait Force: Send + Sync + 'static {
    /// At the gateway, for new requests.
    fn at_gateway(&self, policy: &PlatformPolicy);
    /// On every device, for new streams.
    async fn on_devices(&self, policy: &PlatformPolicy);
}

/// Reads the operator's policy file anew.
pub trait ReadPolicy: Send + Sync + 'static {
    /// The file's policy, and what changes whenever the file does.
    ///
    /// # Errors
    /// What is wrong with it, in words for the operator.
    fn read(&self) -> Result<PlatformPolicy, String>;
    /// Something that is another value when the file was written to; none: there is no file.
    fn stamp(&self) -> Option<String>;
}

/// What the service is made of.
pub struct AbuseParts {
    /// The data.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Hears which accounts changed.
    pub changes: Arc<dyn KeyChanges>,
    /// Sends the mails.
    pub notices: NoticeService,
    /// Hears of refusals.
    pub watch: AbuseWatch,
    /// What it suspects.
    pub suspicions: mpsc::Receiver<Suspicion>,
    /// Gateway and hub.
    pub force: Arc<dyn Force>,
    /// The operator's policy file.
    pub source: Arc<dyn ReadPolicy>,
    /// The file's policy as it was read at the start.
    pub file: PlatformPolicy,
    /// What was stored at the start. Both together are in force already.
    pub stored: StoredPolicy,
}

/// Lists, grants, standing, suspension, and the record of it all. Clones share one state.
#[derive(Clone)]
pub struct AbuseService(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) changes: Arc<dyn KeyChanges>,
    pub(super) watch: AbuseWatch,
    pub(super) force: Arc<dyn Force>,
    pub(super) source: Arc<dyn ReadPolicy>,
    pub(super) config: AbuseConfig,
    pub(super) notices: NoticeService,
    /// Held while lists are read and put in force: the last one to read is the last one to do so.
    order: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// What devices shall have.
    wanted: watch::Sender<PlatformPolicy>,
}

struct State {
    file: PlatformPolicy,
    stored: StoredPolicy,
}

/// The policy in force, for admins.
#[derive(Clone, Debug)]
pub struct PolicyOverview {
    /// Its version: the file's and the store's together.
    pub version: u64,
    /// The file's part of it.
    pub file_version: u64,
    /// Its limits per customer and device.
    pub limits: AbuseLimits,
    /// Whether an admin set them, in place of the file's.
    pub limits_are_set: bool,
    /// What is stored.
    pub stored: StoredPolicy,
}

impl AbuseService {
    /// The service, and the task that acts on suspicions, pushes lists to devices and looks for changes of others.
    pub fn new(parts: AbuseParts, config: &AbuseConfig) -> (Self, AbuseTask) {
        let in_force = compose(&parts.file, &parts.stored).unwrap_or_else(|_| parts.file.clone());
        let (wanted, pushes) = watch::channel(in_force);
        let service = Self(Arc::new(Inner {
            store: parts.store,
            clock: parts.clock,
            changes: parts.changes,
            watch: parts.watch,
            force: parts.force,
            source: parts.source,
            config: config.clone(),
            notices: parts.notices,
            order: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                file: parts.file,
                stored: parts.stored,
            }),
            wanted,
        }));
        let task = AbuseTask::new(service.clone(), parts.suspicions, pushes);
        (service, task)
    }

    /// The policy in force.
    pub fn overview(&self) -> PolicyOverview {
        let in_force = self.0.wanted.borrow().clone();
        let state = self.0.state.lock();
        PolicyOverview {
            version: in_force.version(),
            file_version: state.file.version(),
            limits: *in_force.limits(),
            limits_are_set: state.stored.limits.is_some(),
            stored: state.stored.clone(),
        }
    }

    /// Puts an entry on the platform's list: in force at the gateway at once, on devices within seconds.
    ///
    /// # Errors
    /// If a field is wrong, the value is listed, or the list is full.
    pub async fn add_entry(
        &self,
        actor: Actor,
        kind: EntryKind,
        value: &str,
        category: &str,
        reason: &str,
    ) -> Result<Entry, AbuseError> {
        let reason = field::reason(reason)?;
        let entry = Entry {
            id: PolicyEntryId::new(),
            kind,
            value: lists::parse_value(kind, value)?,
            category: lists::parse_category(category)?,
            reason: reason.clone(),
            added_at: self.0.clock.now(),
        };
        let after = json!({ "kind": kind, "value": entry.value, "category": entry.category });
        let audit = self.entry(
            actor,
            AuditAction::EntryAdded,
            None,
            entry.id.to_string(),
            after,
            reason,
        );
        self.change(PolicyChange::Add(entry.clone()), audit).await?;
        Ok(entry)
    }

    /// Takes an entry off the list.
    ///
    /// # Errors
    /// If there is no such entry, or no reason.
    pub async fn remove_entry(
        &self,
        actor: Actor,
        id: PolicyEntryId,
        reason: &str,
    ) -> Result<(), AbuseError> {
        let reason = field::reason(reason)?;
        let audit = self.entry(
            actor,
            AuditAction::EntryRemoved,
            None,
            id.to_string(),
            Value::Null,
            reason,
        );
        self.change(PolicyChange::Remove(id), audit).await
    }

    /// Switches a category of the list on or off.
    ///
    /// # Errors
    /// If there is no such category, or a field is wrong.
    pub async fn switch_category(
        &self,
        actor: Actor,
        category: &str,
        is_on: bool,
        reason: &str,
    ) -> Result<(), AbuseError> {
        let reason = field::reason(reason)?;
        let stored = self.0.store.stored_policy().await?;
        if !stored.category_names().contains(category) {
            return Err(AbuseError::NotFound);
        }
        let action = AuditAction::CategorySwitched;
        let after = json!({ "isOn": is_on });
        let audit = self.entry(actor, action, None, category.to_owned(), after, reason);
        let audit = AuditEntry {
            before: json!({ "isOn": stored.is_on(category) }),
            ..audit
        };
        let category = category.to_owned();
        self.change(PolicyChange::Switch { category, is_on }, audit).await
    }

    /// Sets the limits per customer and device; none: as the file says.
    ///
    /// # Errors
    /// If a number makes no sense, or there is no reason.
    pub async fn set_limits(
        &self,
        actor: Actor,
        limits: Option<AbuseLimits>,
        reason: &str,
    ) -> Result<(), AbuseError> {
        let reason = field::reason(reason)?;
        let is_sound = limits.is_none_or(|limits| {
            limits.failure_percent <= 100 && limits.failure_window_seconds > 0 && limits.failure_min_dials > 0
        });
        if !is_sound {
            let message =
                "failurePercent is at most 100, failureWindowSeconds and failureMinDials at least 1";
            return Err(FieldProblem::new("limits", message).into());
        }
        let action = AuditAction::LimitsSet;
        let audit = self.entry(actor, action, None, "limits".to_owned(), json!(limits), reason);
        self.change(PolicyChange::Limits(limits), audit).await
    }

    /// A customer's grants, those that ended included.
    ///
    /// # Errors
    /// If there is no such account.
    pub async fn grants(&self, account: AccountId) -> Result<Vec<AccountGrant>, AbuseError> {
        self.account(account).await?;
        Ok(self.0.store.grants(account, self.0.clock.now()).await?)
    }

    /// Opens something for one customer up to a date.
    ///
    /// # Errors
    /// If the account is not there, deleted or not verified, the date is not within a year, or it has too many.
    pub async fn give_grant(
        &self,
        actor: Actor,
        account: AccountId,
        opening: Opening,
        until: Timestamp,
        reason: &str,
    ) -> Result<AccountGrant, AbuseError> {
        let reason = field::reason(reason)?;
        let now = self.0.clock.now();
        if until <= now || until > now.plus(MAX_GRANT) {
            return Err(FieldProblem::new("until", "Write a time within the next 366 days").into());
        }
        if !existing(self.0.store.as_ref(), account).await?.email_verified {
            let message = "The customer's address has to be verified first";
            return Err(FieldProblem::new("account", message).into());
        }
        let grant = AccountGrant {
            id: GrantId::new(),
            account,
            opening,
            until,
            reason: reason.clone(),
            given_at: now,
            revoked_at: None,
        };
        let after = json!({ "opening": opening, "until": until });
        let subject = grant.id.to_string();
        let audit = self.entry(
            actor,
            AuditAction::GrantGiven,
            Some(account),
            subject,
            after,
            reason,
        );
        let given = self.0.store.give_grant(&grant, audit).await;
        self.0.changes.account_changed(account);
        match given? {
            true => Ok(grant),
            false => Err(AbuseError::AccountNotFound),
        }
    }

    /// Closes a grant before its date: for new streams at once.
    ///
    /// # Errors
    /// If there is no such account or grant, or it is closed already.
    pub async fn revoke_grant(
        &self,
        actor: Actor,
        account: AccountId,
        id: GrantId,
        reason: &str,
    ) -> Result<(), AbuseError> {
        let reason = field::reason(reason)?;
        let action = AuditAction::GrantRevoked;
        let audit = self.entry(actor, action, Some(account), id.to_string(), Value::Null, reason);
        let revoked = self.0.store.revoke_grant(account, id, audit).await;
        self.0.changes.account_changed(account);
        if revoked?.is_some() {
            return Ok(());
        }
        self.account(account).await?;
        Err(AbuseError::NotFound)
    }

    /// Suspends an account: its logins are refused and its streams end.
    ///
    /// # Errors
    /// If there is no such account, it is not active or deleted, or it is the admin's own.
    pub async fn suspend(&self, actor: Actor, account: AccountId, reason: &str) -> Result<(), AbuseError> {
        if actor == Actor::Admin(account) {
            return Err(FieldProblem::new("account", "Nobody suspends themselves").into());
        }
        self.suspend_telling(actor, account, reason, &Told::Nobody).await
    }

    pub(super) async fn suspend_telling(
        &self,
        actor: Actor,
        account: AccountId,
        reason: &str,
        told: &Told,
    ) -> Result<(), AbuseError> {
        let moved = self
            .set_status(actor, account, AccountStatus::Suspended, reason, told)
            .await;
        self.0.changes.account_suspended(account);
        moved
    }

    /// Lets a suspended account go on.
    ///
    /// # Errors
    /// If there is no such account, it is deleted, or it is not suspended.
    pub async fn reinstate(&self, actor: Actor, account: AccountId, reason: &str) -> Result<(), AbuseError> {
        self.0.watch.forgive(account);
        let moved = self
            .set_status(actor, account, AccountStatus::Active, reason, &Told::Nobody)
            .await;
        self.0.changes.account_changed(account);
        moved
    }

    /// Gives a customer full limits, or those of new ones again.
    ///
    /// # Errors
    /// If there is no such account, it is deleted, or it is so already.
    pub async fn set_standing(
        &self,
        actor: Actor,
        account: AccountId,
        standing: Standing,
        reason: &str,
    ) -> Result<(), AbuseError> {
        let reason = field::reason(reason)?;
        let before = existing(self.0.store.as_ref(), account).await?.standing;
        let action = AuditAction::StandingSet;
        let after = json!({ "standing": standing });
        let audit = self.entry(actor, action, Some(account), account.to_string(), after, reason);
        let audit = AuditEntry {
            before: json!({ "standing": before }),
            ..audit
        };
        let set = self.0.store.set_standing(account, standing, audit).await;
        self.0.changes.account_changed(account);
        set?.then_some(()).ok_or(AbuseError::AlreadySo)
    }

    /// Who left by an exit's address at a time: for complaints. Itself audited, before anything is read.
    ///
    /// # Errors
    /// If there is no reason.
    pub async fn look_up_exit(
        &self,
        actor: Actor,
        query: ExitUseQuery,
        reason: &str,
    ) -> Result<Vec<ExitUse>, AbuseError> {
        let reason = field::reason(reason)?;
        let after = json!({ "at": query.at, "withinSeconds": query.within.as_secs() });
        let audit = self.entry(
            actor,
            AuditAction::ExitLookedUp,
            None,
            query.ip.to_string(),
            after,
            reason,
        );
        self.0.store.append_audit(audit).await?;
        Ok(self.0.store.exit_uses(&query).await?)
    }

    /// Counts of refusals, the latest first.
    ///
    /// # Errors
    /// If the data can't be read.
    pub async fn refusals(&self, query: &RefusalQuery) -> Result<Vec<RefusalCount>, AbuseError> {
        Ok(self.0.store.refusals(query).await?)
    }

    /// A page of audit records, newest first.
    ///
    /// # Errors
    /// If the data can't be read.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, AbuseError> {
        Ok(self.0.store.audit_entries(query).await?)
    }

    /// Reads the policy's file anew. A file that can't be read leaves the policy as it is.
    ///
    /// # Errors
    /// What is wrong with the file or the policy that it would make.
    pub async fn reload_file(&self) -> Result<(), String> {
        let _turn = self.0.order.lock().await;
        let file = self.0.source.read()?;
        let before = self.0.state.lock().file.clone();
        if file == before {
            return Ok(());
        }
        let stored = self
            .0
            .store
            .stored_policy()
            .await
            .map_err(|error| error.to_string())?;
        let policy = compose(&file, &stored).map_err(|error| format!("exit.policy: {error}"))?;
        let (old, new) = (before.version(), file.version());
        self.put_in_force(file, stored, policy);
        let action = AuditAction::FileReloaded;
        let after = json!({ "version": new });
        let reason = "the file changed".to_owned();
        let audit = AuditEntry {
            before: json!({ "version": old }),
            ..self.entry(Actor::System, action, None, "file".to_owned(), after, reason)
        };
        self.0
            .store
            .append_audit(audit)
            .await
            .map_err(|error| error.to_string())
    }

    /// Reads what is stored and puts it in force, if it is new.
    pub(super) async fn reload_stored(&self) -> Result<(), StoreError> {
        let _turn = self.0.order.lock().await;
        let stored = self.0.store.stored_policy().await?;
        let file = {
            let state = self.0.state.lock();
            if state.stored == stored {
                return Ok(());
            }
            state.file.clone()
        };
        match compose(&file, &stored) {
            Ok(policy) => self.put_in_force(file, stored, policy),
            Err(error) => {
                tracing::error!(%error, "the stored policy can't be put in force; the one before stands")
            }
        }
        Ok(())
    }

    async fn set_status(
        &self,
        actor: Actor,
        account: AccountId,
        to: AccountStatus,
        reason: &str,
        told: &Told,
    ) -> Result<(), AbuseError> {
        let Inner { store, clock, .. } = &*self.0;
        set_status((store.as_ref(), clock.as_ref()), actor, account, to, reason, told).await
    }

    async fn account(&self, id: AccountId) -> Result<Account, AbuseError> {
        let account = self.0.store.account(id).await?;
        account.ok_or(AbuseError::AccountNotFound)
    }

    async fn change(&self, change: PolicyChange, audit: AuditEntry) -> Result<(), AbuseError> {
        if !matches!(change, PolicyChange::Remove(_)) {
            let file = self.0.state.lock().file.clone();
            let changed = self.0.store.stored_policy().await?.with(&change);
            compose(&file, &changed).map_err(|_| AbuseError::PolicyTooLong)?;
        }
        let changed = self.0.store.change_policy(&change, audit).await;
        // Also where nobody knows whether it took effect.
        if let Err(error) = self.reload_stored().await {
            tracing::warn!(%error, "a changed policy is put in force when the database is back");
        }
        match changed? {
            PolicyChanged::Done(_) => Ok(()),
            PolicyChanged::NotFound => Err(AbuseError::NotFound),
        }
    }

    fn put_in_force(&self, file: PlatformPolicy, stored: StoredPolicy, policy: PlatformPolicy) {
        *self.0.state.lock() = State { file, stored };
        self.0.force.at_gateway(&policy);
        metrics::gauge!("iploop_policy_version").set(policy.version() as f64);
        tracing::info!(version = policy.version(), "another exit policy is in force");
        self.0.wanted.send_replace(policy);
    }

    fn entry(
        &self,
        actor: Actor,
        action: AuditAction,
        account: Option<AccountId>,
        subject: String,
        after: Value,
        reason: String,
    ) -> AuditEntry {
        AuditEntry {
            id: AuditId::new(),
            at: self.0.clock.now(),
            actor,
            action,
            account,
            subject,
            before: Value::Null,
            after,
            reason,
        }
    }
}
