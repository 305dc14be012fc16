//! Which addresses of an account need no password (see [`crate::ip_login`]).

use std::net::IpAddr;

use ipnet::IpNet;

use super::{KeyError, KeyService};
use crate::api_key::ApiKey;
use crate::field::FieldProblem;
use crate::ids::{AccountId, ApiKeyId};
use crate::ip_login::{self, Claimed, ProvenAddress, UsedAddress};
use crate::store::StoreError;

impl KeyService {
    /// The same where addresses of private networks and of this machine may be proven too: for tests and closed networks.
    #[must_use]
    pub fn permitting_local_ip_login(self, local: bool) -> Self {
        Self {
            local_ip_login: local,
            ..self
        }
    }

    /// The account's proven addresses.
    pub async fn addresses(&self, account: AccountId) -> Result<Vec<ProvenAddress>, KeyError> {
        let lapsed_before = ip_login::lapsed_before(self.clock.now());
        Ok(self.store.addresses_of(account, lapsed_before).await?)
    }

    /// Makes the address that the account asks from its own: asking from there is the proof.
    ///
    /// # Errors
    /// [`KeyError::AddressTaken`]; [`KeyError::TooManyAddresses`]; [`KeyError::Invalid`] where no key with `ip_login` lists
    /// it.
    pub async fn claim_address(&self, account: AccountId, client: IpAddr) -> Result<ProvenAddress, KeyError> {
        let client = client.to_canonical();
        let keys = self.store.api_keys(account).await?;
        let problem = if !ip_login::identifies(client, self.local_ip_login) {
            Some(format!("{client} is not of the public internet"))
        } else if !keys.iter().any(|key| ip_login::admits(key, client)) {
            Some(format!("No key with ipLogin has {client} on its list"))
        } else {
            None
        };
        if let Some(message) = problem {
            return Err(KeyError::Invalid(vec![FieldProblem::new("address", message)]));
        }
        let now = self.clock.now();
        let claim = UsedAddress {
            address: client,
            account,
            at: now,
        };
        let claimed = self
            .store
            .claim_address(claim, ip_login::lapsed_before(now))
            .await;
        self.changes.addresses_changed();
        match claimed {
            Ok(Claimed::Held(address)) => Ok(address),
            Ok(Claimed::Taken) => Err(KeyError::AddressTaken),
            Err(StoreError::LimitReached { .. }) => Err(KeyError::TooManyAddresses),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives an address up: from now on it needs a password, until it is proven anew.
    ///
    /// # Errors
    /// [`KeyError::AddressNotFound`] where it is not the account's.
    pub async fn release_address(&self, account: AccountId, address: IpAddr) -> Result<(), KeyError> {
        let released = self.store.release_address(account, address.to_canonical()).await;
        self.changes.addresses_changed();
        match released? {
            true => Ok(()),
            false => Err(KeyError::AddressNotFound),
        }
    }

    /// Whether `ip_login` may be switched on for this key, as it is now.
    pub(super) async fn check_ip_login(&self, account: AccountId, key: ApiKeyId) -> Result<(), KeyError> {
        let key = self.get(account, key).await?;
        self.check_list("ipLogin", &key.ip_whitelist)
    }

    /// Whether this may become the list of this key.
    pub(super) fn check_whitelist(&self, key: &ApiKey, whitelist: &[IpNet]) -> Result<(), KeyError> {
        match key.ip_login {
            true => self.check_list("ips", whitelist),
            false => Ok(()),
        }
    }

    pub(super) fn check_list(&self, field: &'static str, whitelist: &[IpNet]) -> Result<(), KeyError> {
        ip_login::check_list(field, whitelist, self.local_ip_login)
            .map_err(|problem| KeyError::Invalid(vec![problem]))
    }
}
