//! The rules around owners: claiming, wishes, and the rights over a device's data.

use serde_json::Value;

use super::pairing::{self, NewCode};
use super::store::OwnedDevice;
use crate::abuse::{Actor, AuditAction, AuditEntry};
use crate::api_key::ApiKeyHash;
use crate::clock::Clock;
use crate::device_news::NewsBell;
use crate::field::{self, FieldProblem};
use crate::ids::{AccountId, AuditId, NodeId};
use crate::store::{Store, StoreError};

/// What owners do with devices. Made for one request.
#[derive(Clone, Copy)]
pub struct OwnerService<'a> {
    store: &'a dyn Store,
    clock: &'a dyn Clock,
    bell: &'a NewsBell,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnerError {
    /// A field can't be accepted.
    #[error("{}: {}", .0.field, .0.message)]
    Invalid(FieldProblem),
    /// The device is not the account's, or there is none.
    #[error("there is no such device")]
    NotFound,
    /// The code is unknown, used or expired.
    #[error("the code is unknown, used or expired")]
    CodeInvalid,
    /// An account has so many devices at most.
    #[error("an account has at most {0} devices")]
    TooMany(u32),
    /// There is no such account.
    #[error("there is no such account")]
    AccountNotFound,
    /// The account is deleted.
    #[error("the account is deleted")]
    AccountDeleted,
    /// It is so already, or there is nothing to hold.
    #[error("it is so already")]
    AlreadySo,
    /// The data can't be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<'a> OwnerService<'a> {
    /// On these data; `bell` tells of what connected devices have to know.
    pub fn new(store: &'a dyn Store, clock: &'a dyn Clock, bell: &'a NewsBell) -> Self {
        Self { store, clock, bell }
    }

    /// A code for a device that proves itself by its secret: to be shown on the device, for its owner to type.
    ///
    /// # Errors
    /// [`OwnerError::NotFound`] also for a wrong secret.
    pub async fn pairing_code(&self, device_id: &str, secret: &str) -> Result<NewCode, OwnerError> {
        pairing::code_for_secret(self.store, self.clock, device_id, secret).await
    }

    /// Claims the device that shows this code; spaces, dashes and case do not matter.
    ///
    /// # Errors
    /// [`OwnerError::CodeInvalid`].
    pub async fn claim(&self, account: AccountId, code: &str) -> Result<NodeId, OwnerError> {
        let code: String = code
            .chars()
            .filter(|symbol| !symbol.is_whitespace() && *symbol != '-')
            .take(16)
            .collect();
        let hash = ApiKeyHash::of(&code.to_ascii_uppercase()).to_hex();
        match self.store.claim_device(account, &hash, self.clock.now()).await {
            Err(StoreError::LimitReached { limit, .. }) => Err(OwnerError::TooMany(limit)),
            claimed => {
                let device = claimed?.ok_or(OwnerError::CodeInvalid)?;
                // A wish of the owner before has ended.
                self.bell.ring();
                Ok(device)
            }
        }
    }

    /// Gives a device up.
    ///
    /// # Errors
    /// [`OwnerError::NotFound`].
    pub async fn unclaim(&self, account: AccountId, device: NodeId) -> Result<(), OwnerError> {
        let now = self.clock.now();
        self.told(self.store.unclaim_device(account, device, now).await?)
    }

    /// Wishes that a device pauses, or goes on: what it does at the device stays as it is. A device that is connected hears it
    /// at once, others when they next register; none gets a stream meanwhile.
    ///
    /// # Errors
    /// [`OwnerError::NotFound`].
    pub async fn pause(&self, account: AccountId, device: NodeId, is_paused: bool) -> Result<(), OwnerError> {
        let now = self.clock.now();
        self.told(self.store.wish_pause(account, device, is_paused, now).await?)
    }

    /// Withdraws a device's consent: it is disconnected within seconds and shares no more until its owner agrees anew, at the
    /// device. It stays claimed, with what it earned.
    ///
    /// # Errors
    /// [`OwnerError::NotFound`].
    pub async fn withdraw(&self, account: AccountId, device: NodeId) -> Result<(), OwnerError> {
        let entry = self.entry(
            AuditAction::DeviceWithdrawn,
            Actor::User(account),
            account,
            device.to_string(),
            "asked by its owner",
        )?;
        self.told(self.store.withdraw_device(account, device, entry).await?)
    }

    /// An account's devices behind `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The data can't be read.
    pub async fn devices(
        &self,
        account: AccountId,
        after: Option<NodeId>,
        limit: u32,
    ) -> Result<Vec<OwnedDevice>, OwnerError> {
        Ok(self.store.owned_devices(account, after, limit).await?)
    }

    /// Everything that we hold of a device.
    ///
    /// # Errors
    /// [`OwnerError::NotFound`].
    pub async fn export(&self, account: AccountId, device: NodeId) -> Result<Value, OwnerError> {
        let export = self.store.export_device(account, device).await?;
        export.ok_or(OwnerError::NotFound)
    }

    /// Withdraws a device's consent and erases what leads to it. A connected one is disconnected within seconds.
    ///
    /// # Errors
    /// [`OwnerError::NotFound`].
    pub async fn erase(&self, account: AccountId, device: NodeId) -> Result<(), OwnerError> {
        let entry = self.entry(
            AuditAction::DeviceErased,
            Actor::User(account),
            account,
            device.to_string(),
            "asked by its owner",
        )?;
        self.told(self.store.erase_device(account, device, entry).await?)
    }

    /// Whether one of the account's devices is connected, which opens the VPN.
    ///
    /// # Errors
    /// The data can't be read.
    pub async fn has_active_device(&self, account: AccountId) -> Result<bool, OwnerError> {
        let after = self.clock.now().minus(crate::partners::ACTIVE_WITHIN);
        let devices = self.store.owned_devices(account, None, 1_000).await?;
        Ok(devices
            .iter()
            .any(|device| device.status == "available" && device.last_seen_at > after))
    }

    /// Holds an account's credits back, or lets them go; on record.
    ///
    /// # Errors
    /// [`OwnerError`].
    pub async fn hold(
        &self,
        actor: Actor,
        account: AccountId,
        is_held: bool,
        reason: &str,
    ) -> Result<(), OwnerError> {
        let action = if is_held {
            AuditAction::CreditsHeld
        } else {
            AuditAction::CreditsReleased
        };
        let entry = self.entry(action, actor, account, account.to_string(), reason)?;
        match self.store.account(account).await? {
            None => return Err(OwnerError::AccountNotFound),
            Some(known) if known.is_deleted() => return Err(OwnerError::AccountDeleted),
            Some(_) => {}
        }
        if self.store.hold_credits(account, is_held, entry).await? {
            Ok(())
        } else {
            Err(OwnerError::AlreadySo)
        }
    }

    /// Tells connected devices of what was done.
    fn told(&self, is_found: bool) -> Result<(), OwnerError> {
        if is_found {
            self.bell.ring();
            Ok(())
        } else {
            Err(OwnerError::NotFound)
        }
    }

    fn entry(
        &self,
        action: AuditAction,
        actor: Actor,
        account: AccountId,
        subject: String,
        reason: &str,
    ) -> Result<AuditEntry, OwnerError> {
        Ok(AuditEntry {
            id: AuditId::new(),
            at: self.clock.now(),
            actor,
            action,
            account: Some(account),
            subject,
            before: Value::Null,
            after: Value::Null,
            reason: field::reason(reason).map_err(OwnerError::Invalid)?,
        })
    }
}
