//! What admission adds to a new connection: 100,000 keys, every limit set, everything known already.
//!
//! `cargo bench -p iploop-platform --bench admission`

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use async_trait::async_trait;
use criterion::{Criterion, criterion_group, criterion_main};
use iploop_platform::account::AccountStatus;
use iploop_platform::admission::{Admission, AdmissionConfig, AdmissionStore};
use iploop_platform::api_key::{ApiKey, ApiKeyHash, KeyGrant, KeyUsage};
use iploop_platform::clock::{SystemClock, Timestamp};
use iploop_platform::exits::CustomerTerms;
use iploop_platform::ids::{AccountId, ApiKeyId, GatewayId, LeaseId, PlanId, RequestId};
use iploop_platform::keys::{KeyLimits, WantedLimits};
use iploop_platform::metering::{MeteringConfig, Meters};
use iploop_platform::notices::RateAlert;
use iploop_platform::plan::{Gates, Plan};
use iploop_platform::store::{Lease, Ledger, StoreError};
use iploop_platform::usage::{Balance, DayUse, UsageRecord};
use iploop_protocol::destination::Destination;
use iploop_protocol::targeting::Credentials;
use tokio::runtime::Builder;
use uuid::Uuid;

const KEYS: u64 = 100_000;
/// Five keys to an account.
const KEYS_PER_ACCOUNT: u64 = 5;

/// Every key there can be, with all limits set; counts how often it is asked.
struct AllKeys {
    limits: KeyLimits,
    calls: AtomicU64,
}

fn key_text(number: u64) -> String {
    format!("iploop_{number:048x}")
}

impl AllKeys {
    fn new() -> Self {
        let hosts = |name: &str| (0..100).map(|number| format!("{name}{number}.example")).collect();
        let limits = WantedLimits {
            requests_per_second: Some(100_000),
            burst: Some(100_000),
            max_connections: Some(10_000),
            bytes_per_day: Some(1 << 60),
            bytes_per_month: Some(1 << 60),
            bytes_total: Some(1 << 60),
            countries: vec!["eu".to_owned(), "US".to_owned()],
            allow_destinations: hosts("allowed"),
            deny_destinations: hosts("denied"),
            ports: vec![80, 443],
        };
        Self {
            limits: limits.check().expect("sound limits"),
            calls: AtomicU64::new(0),
        }
    }

    fn grant(&self, number: u64) -> KeyGrant {
        let id = |kind: u128, number: u64| Uuid::from_u128(kind << 64 | u128::from(number));
        KeyGrant {
            key: ApiKey {
                id: ApiKeyId::from(id(1, number)),
                account: AccountId::from(id(2, number / KEYS_PER_ACCOUNT)),
                key_prefix: String::new(),
                name: String::new(),
                ip_whitelist: vec!["192.0.2.0/24".parse().expect("a network")],
                ip_login: false,
                limits: self.limits.clone(),
                is_active: true,
                last_used_at: None,
                expires_at: Some(Timestamp::from_millis(i64::MAX)),
                created_at: Timestamp::default(),
            },
            account_status: AccountStatus::Active,
            email_verified: true,
            plan: Plan {
                id: PlanId::from(id(3, 0)),
                name: "Business".to_owned(),
                description: String::new(),
                price_per_gb_micros: 0,
                price_monthly_cents: 0,
                price_annual_cents: None,
                included_bytes: None,
                requests_per_day: i64::from(u32::MAX),
                max_concurrent_connections: 10_000,
                gates: Gates {
                    city: true,
                    asn: true,
                    sticky_sessions: true,
                },
                features: Vec::new(),
                is_active: true,
            },
            terms: CustomerTerms::default(),
        }
    }
}

#[async_trait]
impl AdmissionStore for AllKeys {
    async fn key_grant(&self, hash: ApiKeyHash) -> Result<Option<KeyGrant>, StoreError> {
        // Hashes can't be turned round: the warming up asks for one key after the other.
        let number = self.calls.fetch_add(1, Relaxed) % KEYS;
        Ok((ApiKeyHash::of(&key_text(number)) == hash).then(|| self.grant(number)))
    }
    async fn key_usage(&self, keys: &[ApiKeyId], _: Timestamp) -> Result<Vec<KeyUsage>, StoreError> {
        let used = |&key| KeyUsage {
            key,
            limits: self.limits.clone(),
            day_bytes: 1,
            month_bytes: 2,
            total_bytes: 3,
        };
        Ok(keys.iter().map(used).collect())
    }
    async fn touch_api_keys(&self, _: &[(ApiKeyId, Timestamp)]) -> Result<(), StoreError> {
        Ok(())
    }
    async fn day_use(&self, _: AccountId, _: Timestamp, _: Timestamp) -> Result<DayUse, StoreError> {
        Ok(DayUse::default())
    }
    async fn tell_rate_limits(&self, _: &[RateAlert]) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Ledger for AllKeys {
    async fn balance(&self, _: AccountId) -> Result<Balance, StoreError> {
        Ok(Balance {
            bytes: 1 << 60,
            ..Balance::default()
        })
    }
    async fn take_lease(
        &self,
        _: AccountId,
        _: GatewayId,
        want_bytes: u64,
        _: Timestamp,
    ) -> Result<Lease, StoreError> {
        Ok(Lease {
            id: LeaseId::new(),
            granted_bytes: want_bytes,
        })
    }
    async fn settle(&self, _: &[UsageRecord], _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
    async fn shrink_lease(&self, _: AccountId, _: GatewayId, _: u64) -> Result<(), StoreError> {
        Ok(())
    }
    async fn return_leases(&self, _: GatewayId, _: Option<AccountId>) -> Result<(), StoreError> {
        Ok(())
    }
    async fn credit(
        &self,
        _: AccountId,
        _: i64,
        _: &str,
        _: &str,
        _: Timestamp,
    ) -> Result<Balance, StoreError> {
        Err(StoreError::Internal("not part of this bench".into()))
    }
}

fn admission(criterion: &mut Criterion) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let store = Arc::new(AllKeys::new());
    let folder = tempfile::tempdir().expect("a folder");
    let metering = MeteringConfig {
        max_requests: 10_000_000,
        ..MeteringConfig::default()
    };
    let (meters, task) = runtime
        .block_on(Meters::start(
            Arc::clone(&store) as _,
            Arc::new(SystemClock),
            GatewayId::new(),
            folder.path(),
            metering,
        ))
        .expect("meters");
    runtime.spawn(task.run(tokio_util::sync::CancellationToken::new()));
    let config = AdmissionConfig {
        // Room beyond the keys: the cache counts roughly.
        max_keys: KEYS * 2,
        // Nothing is read anew while the clock runs: what is measured is memory.
        key_ttl: std::time::Duration::from_secs(3600),
        ..AdmissionConfig::default()
    };
    let admission = Admission::new(
        Arc::clone(&store) as _,
        None,
        Arc::new(SystemClock),
        meters,
        config,
    );
    let client: IpAddr = "192.0.2.1".parse().expect("an address");
    let destination: Destination = "www.allowed7.example:443".parse().expect("a destination");
    let logins: Vec<Credentials> = (0..KEYS)
        .map(|number| Credentials::parse("iploop", &key_text(number)).expect("a login"))
        .collect();
    let admit = |login: &Credentials| {
        let admitted = runtime
            .block_on(admission.admit(RequestId::new(), login, client))
            .expect("admitted");
        admitted.check_destination(&destination).expect("allowed");
        admitted
    };
    for login in &logins {
        drop(admit(login));
    }
    assert_eq!(store.calls.load(Relaxed), KEYS);
    let mut next = 0;
    criterion.bench_function("admit, 100,000 keys, all limits", |bencher| {
        bencher.iter(|| {
            // Far apart, so that no cache of the processor helps.
            next = (next + 7_919) % logins.len();
            black_box(admit(&logins[next]))
        });
    });
    assert_eq!(store.calls.load(Relaxed), KEYS, "the store was asked");
}

criterion_group!(benches, admission);
criterion_main!(benches);
