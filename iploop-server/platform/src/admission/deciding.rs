//! How one request is decided: the checks in their order, from memory wherever memory has the answer.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::timeout;

use super::account_use::{AccountUse, Connection};
use super::admitted::Admitted;
use super::checks::{check_account, check_client, check_key, check_plan, requests_per_day, within_countries};
use super::error::{AdmissionError, unavailable};
use super::key_cache::{KnownKey, Memory};
use super::key_use::{KeyConnection, KeyUse};
use super::{Inner, Login};
use crate::api_key::KeyGrant;
use crate::clock::Timestamp;
use crate::ids::{AccountId, RequestId};
use crate::ip_login;
use crate::login::throttle::client_network;
use crate::store::StoreError;

impl Inner {
    pub(super) async fn admit(
        self: Arc<Self>,
        request: RequestId,
        login: Login<'_>,
        client: IpAddr,
    ) -> Result<Admitted, AdmissionError> {
        let now = self.clock.now();
        let epoch = self.cache.epoch();
        let mut key = self.known_key(login, client, now).await?;
        check_account(&key.grant)?;
        check_client(&key.grant, client)?;
        check_plan(&key.grant.plan, login.targeting)?;
        let mut targeting = within_countries(&key.grant.key.limits, login.targeting)?;
        let (key_connection, connection) = self.connect(&key.grant)?;
        if self.cache.epoch() != epoch {
            // Keys changed while this one was looked up: it may be one of an account whose connections were just cut.
            key = self.known_key(login, client, now).await?;
            check_account(&key.grant)?;
            targeting = within_countries(&key.grant.key.limits, login.targeting)?;
        }
        let grant = &key.grant;
        self.load_today(connection.account(), grant.key.account, now)
            .await?;
        self.check_bytes(grant, key_connection.key(), now).await?;
        let limit = requests_per_day(&grant.plan);
        let counted = connection
            .account()
            .count_request(now, limit)
            .map_err(|retry_after| AdmissionError::DailyRequests { limit, retry_after })?;
        let quota = Arc::clone(key_connection.key().quota());
        let meter = self.meters.begin(grant.key.account, quota, request).await?;
        counted.keep();
        if key.note_use(now) {
            self.last_used.note(grant.key.id, now);
        }
        if grant.key.ip_login {
            self.addresses
                .note(grant, client.to_canonical(), !login.by_address, now);
        }
        Ok(Admitted {
            key,
            targeting: Arc::new(targeting),
            meter,
            key_connection,
            connection,
            at: now,
            admission: self,
        })
    }

    /// Takes a request of the key's rate, and a connection of the key and of the plan.
    fn connect(&self, grant: &KeyGrant) -> Result<(KeyConnection, Connection), AdmissionError> {
        let limits = &grant.key.limits;
        let key = self.key_uses.of(grant.key.id).ok_or(AdmissionError::Overloaded)?;
        if limits.rate.is_some() || limits.max_connections.is_some() {
            self.elsewhere.note_key(&key);
        }
        if let Some(rate) = limits.rate {
            key.take_request(rate).map_err(|retry_after| {
                self.rate_alerts.note(&grant.key, rate, self.clock.now());
                AdmissionError::KeyRate { rate, retry_after }
            })?;
        }
        let key = key.connect(limits.max_connections).ok_or_else(|| {
            let limit = limits.max_connections.unwrap_or(u32::MAX);
            AdmissionError::KeyConnections { limit }
        })?;
        let account = self
            .accounts
            .of(grant.key.account)
            .ok_or(AdmissionError::Overloaded)?;
        self.elsewhere.note_account(grant.key.account, &account);
        let limit = grant.plan.max_concurrent_connections;
        let connection = account
            .connect(limit)
            .ok_or(AdmissionError::TooManyConnections { limit })?;
        Ok((key, connection))
    }

    /// The key has bytes left. What was used before is read from the store the first time only.
    async fn check_bytes(
        &self,
        grant: &KeyGrant,
        used: &KeyUse,
        now: Timestamp,
    ) -> Result<(), AdmissionError> {
        let quota = used.quota();
        quota.limit(grant.key.limits.bytes);
        if quota.needs_usage() {
            let load = async {
                let _one_at_a_time = used.loading.lock().await;
                if quota.needs_usage() {
                    let settled = quota.settled();
                    let known = self.store.key_usage(&[grant.key.id], now).await?;
                    // A key that was deleted this moment has used nothing that matters.
                    if let Some(usage) = known.first() {
                        quota.know(usage, settled, now);
                    }
                }
                Ok(())
            };
            match timeout(self.config.lookup_timeout, load).await {
                Ok(loaded) => loaded.map_err(unavailable)?,
                Err(elapsed) => return Err(unavailable(StoreError::Unavailable(Box::new(elapsed)))),
            }
        }
        match quota.exhausted(now) {
            None => Ok(()),
            Some(exhausted) => Err(AdmissionError::KeyQuotaExceeded {
                period: exhausted.period,
                limit: exhausted.limit,
                retry_after: exhausted.retry_after,
            }),
        }
    }

    /// The key of a login that proves it. Failures count against the client's address, and cost the database nothing.
    async fn known_key(
        &self,
        login: Login<'_>,
        client: IpAddr,
        now: Timestamp,
    ) -> Result<Arc<KnownKey>, AdmissionError> {
        let hash = login.hash;
        let network = client_network(client);
        let key = match self.cache.recall(hash) {
            Memory::Known(key) => self.cache.refresh_if_old(hash, key).await,
            Memory::Stale => self.cache.reread(hash).await.map_err(unavailable)?,
            Memory::Unknown => None,
            Memory::Absent => {
                // A try costs the client one failure until it turns out to be none: so parallel guesses are counted too.
                let mut has_asked = false;
                let may_ask = || self.may_fail(&network, now).inspect(|()| has_asked = true);
                let key = self.cache.look_up(hash, may_ask).await;
                if has_asked {
                    self.failures.give_back(&network);
                }
                key?
            }
        };
        if login.by_address {
            // Nobody guesses here: the address is what it is.
            let admits = |key: &Arc<KnownKey>| ip_login::admits(&key.grant.key, client.to_canonical());
            let key = key.filter(admits).ok_or(AdmissionError::NoAddressLogin)?;
            return check_key(&key.grant, login, now).map(|()| key);
        }
        let checked = key.ok_or(AdmissionError::UnknownKey).and_then(|key| {
            check_key(&key.grant, login, now)?;
            Ok(key)
        });
        if checked.is_err() {
            self.may_fail(&network, now)?;
        }
        checked
    }

    /// Takes one failed login of the client's allowance.
    fn may_fail(&self, network: &IpAddr, now: Timestamp) -> Result<(), AdmissionError> {
        self.failures
            .take(network, now)
            .map_err(|retry_after| AdmissionError::RateLimited { retry_after })
    }

    async fn load_today(
        &self,
        account: &AccountUse,
        id: AccountId,
        now: Timestamp,
    ) -> Result<(), AdmissionError> {
        match timeout(
            self.config.lookup_timeout,
            account.load(id, self.store.as_ref(), now),
        )
        .await
        {
            Ok(loaded) => loaded.map_err(unavailable),
            Err(elapsed) => Err(unavailable(StoreError::Unavailable(Box::new(elapsed)))),
        }
    }
}
