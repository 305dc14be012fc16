mod addresses;
mod checks;
mod limits;
mod lookups;
mod memory;
mod together;

use std::sync::atomic::Ordering::SeqCst;

use tokio::time::advance;

use self::memory::MemoryKeys;
use super::*;
use crate::account::AccountStatus;
use crate::api_key::{ApiKey, KeyGrant};
use crate::clock::Timestamp;
use crate::exits::CustomerTerms;
use crate::ids::PlanId;
use crate::keys::{KeyLimits, Rate};
use crate::metering::Outcome;
use crate::metering::tests::ledger::MemoryLedger;
use crate::metering::tests::{Gateway, MIB, Process, TestClock};
use crate::plan::{Gates, Plan};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// One account with one key, and a gateway that serves it.
struct World {
    keys: Arc<MemoryKeys>,
    admission: Admission,
    account: AccountId,
    clock: Arc<TestClock>,
    ledger: Arc<MemoryLedger>,
    /// Both live as long as the world.
    _process: Process,
    _gateway: Gateway,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut KeyGrant)) -> Self {
        let account = AccountId::new();
        let ledger = MemoryLedger::with(account, 100 * MIB);
        let gateway = Gateway::new(Arc::clone(&ledger));
        let process = gateway.start().await;
        let keys = Arc::new(MemoryKeys::default());
        let mut grant = grant(account);
        change(&mut grant);
        keys.grants
            .lock()
            .insert(ApiKeyHash::of(&key_text(1)).to_hex(), grant);
        let admission = Admission::new(
            Arc::clone(&keys) as _,
            Some(Arc::clone(&keys) as _),
            Arc::clone(&gateway.clock) as _,
            process.meters.clone(),
            AdmissionConfig::default(),
        );
        let clock = Arc::clone(&gateway.clock);
        Self {
            keys,
            admission,
            account,
            clock,
            ledger,
            _process: process,
            _gateway: gateway,
        }
    }

    fn change(&self, change: impl FnOnce(&mut KeyGrant)) {
        change(
            self.keys
                .grants
                .lock()
                .get_mut(&ApiKeyHash::of(&key_text(1)).to_hex())
                .unwrap(),
        );
    }

    async fn login(&self, text: &str) -> Result<Admitted, AdmissionError> {
        self.login_as("iploop", &format!("{}{text}", key_text(1)), CLIENT)
            .await
    }

    async fn login_as(&self, user: &str, password: &str, client: IpAddr) -> Result<Admitted, AdmissionError> {
        let login = Credentials::parse(user, password).unwrap();
        self.admission.admit(RequestId::new(), &login, client).await
    }

    async fn code(&self, text: &str) -> &'static str {
        self.login(text)
            .await
            .map_or_else(|error| error.code(), |_| "admitted")
    }

    fn lookups(&self) -> u32 {
        self.keys.lookups.load(SeqCst)
    }
}

fn key_text(number: u32) -> String {
    format!("iploop_{number:048x}")
}

fn grant(account: AccountId) -> KeyGrant {
    KeyGrant {
        key: ApiKey {
            id: ApiKeyId::new(),
            account,
            key_prefix: "iploop_0000000".to_owned(),
            name: "test".to_owned(),
            ip_whitelist: Vec::new(),
            ip_login: false,
            limits: KeyLimits::default(),
            is_active: true,
            last_used_at: None,
            expires_at: None,
            created_at: Timestamp::default(),
        },
        account_status: AccountStatus::Active,
        email_verified: true,
        plan: Plan {
            id: PlanId::new(),
            name: "Starter".to_owned(),
            description: String::new(),
            price_per_gb_micros: 9_800_000,
            price_monthly_cents: 4900,
            price_annual_cents: None,
            included_bytes: Some(5_000_000_000),
            requests_per_day: 10_000,
            max_concurrent_connections: 10,
            gates: Gates {
                city: false,
                asn: false,
                sticky_sessions: false,
            },
            features: Vec::new(),
            is_active: true,
        },
        terms: CustomerTerms::default(),
    }
}
