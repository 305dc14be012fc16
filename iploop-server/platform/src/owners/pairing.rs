//! Codes by which an account claims a device: made for a device that proved itself.

use std::net::IpAddr;
use std::time::Duration;

use super::service::OwnerError;
use super::store::PairingCodes;
use crate::api_key::ApiKeyHash;
use crate::clock::{Clock, Timestamp};
use crate::ids::NodeId;
use crate::login::Logins;
use crate::login::throttle::client_network;
use crate::shared::{Allowance, SharedThrottle};

/// How long a pairing code is good.
pub const PAIRING_LASTS: Duration = Duration::from_secs(600);

/// Without letters and digits that look alike: 32 of them, so that a byte's low bits choose evenly.
const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// Codes that devices at one address may ask for without a tunnel: some homes have one address together.
const BY_CLIENT: Allowance = Allowance {
    burst: 20,
    refill: Duration::from_secs(30),
};

/// A code to be shown.
#[derive(Clone, Debug)]
pub struct NewCode {
    /// Eight characters.
    pub code: String,
    /// Good before this.
    pub expires_at: Timestamp,
}

impl NewCode {
    fn new(now: Timestamp) -> Self {
        let random: [u8; 8] = rand::random();
        let code = random
            .iter()
            .filter_map(|byte| {
                ALPHABET
                    .get(usize::from(byte & 31))
                    .map(|symbol| char::from(*symbol))
            })
            .collect();
        let expires_at = now.plus(PAIRING_LASTS);
        Self { code, expires_at }
    }

    fn hash(&self) -> String {
        ApiKeyHash::of(&self.code).to_hex()
    }

    fn if_set(self, is_set: bool) -> Result<Self, OwnerError> {
        is_set.then_some(self).ok_or(OwnerError::NotFound)
    }
}

/// A code for a device that proves itself by its secret.
pub(super) async fn code_for_secret<S: PairingCodes + ?Sized>(
    store: &S,
    clock: &dyn Clock,
    device_id: &str,
    secret: &str,
) -> Result<NewCode, OwnerError> {
    let new = NewCode::new(clock.now());
    // SHA-256 in hex, as the hub keeps a device's secret.
    let (secret, hash) = (ApiKeyHash::of(secret).to_hex(), new.hash());
    let set = store.set_pairing_code(device_id, &secret, &hash, new.expires_at);
    let is_set = set.await?;
    new.if_set(is_set)
}

/// A code for a connected device, which proved itself when it registered.
///
/// # Errors
/// The data can't be written, or the device is not known.
pub async fn pairing_code(
    store: &dyn PairingCodes,
    clock: &dyn Clock,
    device: NodeId,
) -> Result<NewCode, OwnerError> {
    let new = NewCode::new(clock.now());
    let is_set = store.set_code_of(device, &new.hash(), new.expires_at).await?;
    new.if_set(is_set)
}

/// How often devices ask for codes without a tunnel, by address.
pub struct PairingLimit(SharedThrottle);

impl PairingLimit {
    /// Counted over all processes, as sign-ins are.
    pub fn new(logins: &Logins) -> Self {
        Self(SharedThrottle::new("pairing-client", BY_CLIENT, logins.shared()))
    }

    /// Takes one try of the client's.
    ///
    /// # Errors
    /// How long until there is one.
    pub async fn take(&self, client: IpAddr, now: Timestamp) -> Result<(), Duration> {
        self.0.take(&client_network(client).to_string(), now).await
    }
}
