//! The rules around owners: pairing, and the rights over a device's data.

use std::time::Duration;

use serde_json::Value;

use super::store::OwnedDevice;
use crate::abuse::{Actor, AuditAction, AuditEntry};
use crate::api_key::ApiKeyHash;
use crate::clock::{Clock, Timestamp};
use crate::field::{self, FieldProblem};
use crate::ids::{AccountId, AuditId, NodeId};
use crate::store::{Store, StoreError};

/// How long a pairing code is good.
pub const PAIRING_LASTS: Duration = Duration::from_secs(600);

/// Without letters and digits that look alike: 32 of them, so that a byte's low bits choose evenly.
const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// What owners do with devices. Made for one request.
#[derive(Clone, Copy)]
pub struct OwnerService<'a> {
    store: &'a dyn Store,
    clock: &'a dyn Clock,
}

/// A code to be shown.
#[derive(Clone, Debug)]
pub struct NewCode {
    /// Eight characters.
    pub code: String,
    /// Good before this.
    pub expires_at: Timestamp,
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
    /// It is so already, or there is nothing to hold.
    #[error("it is so already")]
    AlreadySo,
    /// The data can't be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<'a> OwnerService<'a> {
    /// On these data.
    pub fn new(store: &'a dyn Store, clock: &'a dyn Clock) -> Self {
        Self { store, clock }
    }

    /// A code for a device that proves itself by its secret: to be shown on the device, for its owner to type.
    ///
    /// # Errors
    /// [`OwnerError::NotFound`] also for a wrong secret.
    pub async fn pairing_code(&self, device_id: &str, secret: &str) -> Result<NewCode, OwnerError> {
        let random: [u8; 8] = rand::random();
        let code: String = random
            .iter()
            .filter_map(|byte| {
                ALPHABET
                    .get(usize::from(byte & 31))
                    .map(|symbol| char::from(*symbol))
            })
            .collect();
        let expires_at = self.clock.now().plus(PAIRING_LASTS);
        // SHA-256 in hex, as the hub keeps a device's secret.
        let (secret, hash) = (ApiKeyHash::of(secret).to_hex(), ApiKeyHash::of(&code).to_hex());
        let set = self.store.set_pairing_code(device_id, &secret, &hash, expires_at);
        if set.await? {
            Ok(NewCode { code, expires_at })
        } else {
            Err(OwnerError::NotFound)
        }
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
            claimed => claimed?.ok_or(OwnerError::CodeInvalid),
        }
    }

    /// Gives a device up.
    ///
    /// # Errors
    /// [`OwnerError::NotFound`].
    pub async fn unclaim(&self, account: AccountId, device: NodeId) -> Result<(), OwnerError> {
        found(self.store.unclaim_device(account, device).await?)
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

    /// Withdraws a device's consent and erases what leads to it.
    ///
    /// # Errors
    /// [`OwnerError::NotFound`].
    pub async fn erase(&self, account: AccountId, device: NodeId) -> Result<(), OwnerError> {
        let entry = self.entry(
            AuditAction::DeviceErased,
            Actor::System,
            account,
            device.to_string(),
            "asked by its owner",
        )?;
        found(self.store.erase_device(account, device, entry).await?)
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
        if self.store.hold_credits(account, is_held, entry).await? {
            Ok(())
        } else {
            Err(OwnerError::AlreadySo)
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
            reason: field::line("reason", "Reason", reason, 1, 200).map_err(OwnerError::Invalid)?,
        })
    }
}

fn found(is_found: bool) -> Result<(), OwnerError> {
    if is_found {
        Ok(())
    } else {
        Err(OwnerError::NotFound)
    }
}
