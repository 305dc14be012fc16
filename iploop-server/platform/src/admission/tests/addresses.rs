//! Logins without a key, by a proven address.

use std::net::IpAddr;
use std::sync::atomic::Ordering::SeqCst;

use async_trait::async_trait;
use iploop_protocol::targeting::AddressLogin;

use super::*;
use crate::clock::DAY;
use crate::ip_login::{Claimed, ListedAddress, ProvenAddress, UNUSED_LIFETIME, UsedAddress};

const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 8, 8));

#[async_trait]
impl IpLogins for MemoryKeys {
    async fn claim_address(
        &self,
        claim: UsedAddress,
        lapsed_before: Timestamp,
    ) -> Result<Claimed, StoreError> {
        self.claims.fetch_add(1, SeqCst);
        let mut addresses = self.addresses.lock();
        let held = addresses
            .entry(claim.address)
            .or_insert((claim.account, claim.at));
        if held.0 != claim.account && held.1 >= lapsed_before {
            return self.answer(Claimed::Taken);
        }
        *held = (claim.account, claim.at);
        self.answer(Claimed::Held(ProvenAddress {
            address: claim.address,
            proven_at: claim.at,
            used_at: claim.at,
        }))
    }
    async fn touch_addresses(&self, used: &[UsedAddress]) -> Result<(), StoreError> {
        let mut addresses = self.addresses.lock();
        for used in used {
            if let Some(held) = addresses.get_mut(&used.address) {
                held.1 = used.at;
            }
        }
        self.answer(())
    }
    async fn listed_addresses(
        &self,
        after: Option<(IpAddr, ApiKeyId)>,
        lapsed_before: Timestamp,
        limit: u32,
    ) -> Result<Vec<ListedAddress>, StoreError> {
        let (addresses, grants) = (self.addresses.lock(), self.grants.lock());
        let mut rows: Vec<_> = addresses
            .iter()
            .filter(|(_, (_, used_at))| *used_at >= lapsed_before)
            .flat_map(|(address, (account, used_at))| {
                grants
                    .iter()
                    .filter(move |(_, grant)| grant.key.account == *account && grant.key.ip_login)
                    .map(move |(hash, grant)| ListedAddress {
                        address: *address,
                        account: *account,
                        used_at: *used_at,
                        key: grant.key.id,
                        hash: ApiKeyHash::from_hex(hash).unwrap(),
                        whitelist: grant.key.ip_whitelist.clone(),
                    })
            })
            .filter(|row| after.is_none_or(|after| (row.address, row.key) > after))
            .collect();
        rows.sort_by_key(|row| (row.address, row.key));
        rows.truncate(limit as usize);
        self.answer(rows)
    }
    async fn addresses_of(&self, _: AccountId, _: Timestamp) -> Result<Vec<ProvenAddress>, StoreError> {
        unreachable!("admission shows no addresses")
    }
    async fn release_address(&self, _: AccountId, _: IpAddr) -> Result<bool, StoreError> {
        unreachable!("admission gives no address up")
    }
    async fn forget_addresses(&self, _: Timestamp) -> Result<u64, StoreError> {
        self.answer(0)
    }
}

impl World {
    /// With a key that lists these networks for logins by address.
    async fn listing(networks: &[&str]) -> Self {
        let whitelist = networks.iter().map(|text| text.parse().unwrap()).collect();
        Self::with(|grant| (grant.key.ip_whitelist, grant.key.ip_login) = (whitelist, true)).await
    }

    /// Another key that lists this network, of this account.
    fn add_key(&self, number: u32, account: AccountId, network: &str) -> String {
        let mut other = grant(account);
        other.key.ip_whitelist = vec![network.parse().unwrap()];
        other.key.ip_login = true;
        let text = key_text(number);
        let hash = ApiKeyHash::of(&text).to_hex();
        self.keys.grants.lock().insert(hash, other);
        text
    }

    async fn prove(&self, client: IpAddr) {
        self.login_as("iploop", &key_text(1), client).await.unwrap();
        self.admission.refresh_addresses().await.unwrap();
    }

    async fn by_address(&self, user: &str, client: IpAddr) -> Result<Admitted, &'static str> {
        let login = AddressLogin::parse(user).unwrap();
        let admitted = self
            .admission
            .admit_address(RequestId::new(), &login, client)
            .await;
        admitted.map_err(|error| error.code())
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_needs_no_key_once_a_key_was_used_from_it() {
    let world = World::listing(&["8.8.8.0/24"]).await;
    world.admission.refresh_addresses().await.unwrap();
    let refused = world.by_address("", HOME).await.unwrap_err();
    assert_eq!(refused, "credentials_missing");
    world.prove(HOME).await;
    let lookups = world.lookups();
    for _ in 0..100 {
        let admitted = world.by_address("iploop-country-US", HOME).await.unwrap();
        assert_eq!(admitted.account(), world.account);
        assert_eq!(admitted.targeting().to_string(), "country-US");
    }
    assert_eq!(world.lookups(), lookups, "no login asks the database");
    // As any login: the claimed account, the plan, the other checks.
    let short = short_id(world.account);
    assert!(world.by_address(&short, HOME).await.is_ok());
    let refused = world.by_address("0123456789", HOME).await.unwrap_err();
    assert_eq!(refused, "credentials_invalid");
    let refused = world.by_address("city-miami-country-US", HOME).await.unwrap_err();
    assert_eq!(refused, "plan_feature");
    // Its neighbour on the same list has proven nothing.
    let neighbour = "8.8.8.9".parse().unwrap();
    assert!(world.by_address("", neighbour).await.is_err());
    assert!(world.admission.knows_address("::ffff:8.8.8.8".parse().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_proven_address_is_no_other_accounts() {
    let world = World::listing(&["8.8.8.8/32"]).await;
    let other = world.add_key(2, AccountId::new(), "8.8.8.8/32");
    world.prove(HOME).await;
    let login = Credentials::parse("iploop", &other).unwrap();
    let admitted = world.admission.admit(RequestId::new(), &login, HOME).await;
    assert_eq!(admitted.unwrap_err().code(), "balance_depleted");
    world.admission.refresh_addresses().await.unwrap();
    assert_eq!(world.by_address("", HOME).await.unwrap().account(), world.account);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_failed_is_not_tried_again_at_once() {
    let world = World::listing(&["8.8.8.8/32"]).await;
    let now = world.clock.now();
    world.keys.addresses.lock().insert(HOME, (AccountId::new(), now));
    for (expected, wait) in [(1, 1), (1, 59), (2, 0)] {
        world.prove(HOME).await;
        assert_eq!(world.keys.claims.load(SeqCst), expected);
        advance(Duration::from_secs(wait)).await;
    }
    assert!(world.by_address("", HOME).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_switched_off_or_off_the_list_admits_nobody_at_once() {
    for change in [
        (|grant| grant.key.ip_login = false) as fn(&mut KeyGrant),
        |grant| grant.key.ip_whitelist.clear(),
        |grant| grant.key.ip_whitelist = vec!["8.8.0.0/16".parse().unwrap()],
        |grant| grant.key.is_active = false,
        |grant| grant.account_status = AccountStatus::Suspended,
    ] {
        let world = World::listing(&["8.8.8.8/32"]).await;
        world.prove(HOME).await;
        world.change(change);
        let key = world.keys.grants.lock().values().next().unwrap().key.id;
        world.admission.key_changed(key);
        assert!(world.by_address("", HOME).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn the_narrowest_list_decides_and_two_that_are_as_narrow_admit_nobody() {
    let world = World::listing(&["8.8.8.0/24"]).await;
    let narrow = world.add_key(2, world.account, "8.8.8.8/32");
    world.prove(HOME).await;
    let narrow = world.keys.grants.lock()[&ApiKeyHash::of(&narrow).to_hex()].key.id;
    assert_eq!(world.by_address("", HOME).await.unwrap().api_key(), narrow);
    world.add_key(3, world.account, "8.8.8.8/32");
    world.admission.refresh_addresses().await.unwrap();
    assert_eq!(
        world.by_address("", HOME).await.unwrap_err(),
        "credentials_missing"
    );
}

#[tokio::test(start_paused = true)]
async fn an_address_that_says_not_who_a_client_is_is_never_proven() {
    for (client, network) in [
        ("10.1.2.3", "10.1.2.0/24"),
        ("127.0.0.1", "127.0.0.1/32"),
        ("100.64.0.1", "100.64.0.0/24"),
        ("fd00::1", "fd00::/48"),
    ] {
        let world = World::listing(&[network]).await;
        let client = client.parse().unwrap();
        world.prove(client).await;
        assert!(world.by_address("", client).await.is_err(), "{client}");
        assert!(world.keys.addresses.lock().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_without_the_flag_proves_nothing() {
    let world = World::with(|grant| grant.key.ip_whitelist = vec!["8.8.8.8/32".parse().unwrap()]).await;
    world.prove(HOME).await;
    assert!(world.keys.addresses.lock().is_empty());
    assert!(world.by_address("", HOME).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn use_keeps_an_address_and_time_takes_it() {
    let world = World::listing(&["8.8.8.8/32"]).await;
    world.prove(HOME).await;
    advance(UNUSED_LIFETIME - DAY).await;
    world.by_address("", HOME).await.unwrap();
    world.admission.refresh_addresses().await.unwrap();
    advance(UNUSED_LIFETIME - DAY).await;
    world.by_address("", HOME).await.unwrap();
    world.admission.refresh_addresses().await.unwrap();
    advance(UNUSED_LIFETIME + DAY).await;
    world.admission.refresh_addresses().await.unwrap();
    assert!(world.by_address("", HOME).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn without_the_database_known_addresses_go_on() {
    let world = World::listing(&["8.8.8.8/32"]).await;
    world.prove(HOME).await;
    world.keys.away.store(true, SeqCst);
    assert!(world.admission.refresh_addresses().await.is_err());
    world.by_address("", HOME).await.unwrap();
}
