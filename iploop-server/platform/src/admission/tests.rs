mod addresses;
mod together;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::SeqCst};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, advance};

use super::*;
use crate::api_key::{ApiKey, KeyChange, KeyUsage, NewApiKey};
use crate::exits::CustomerTerms;
use crate::ids::PlanId;
use crate::keys::WantedLimits;
use crate::metering::tests::ledger::MemoryLedger;
use crate::metering::tests::{Gateway, MIB, Process, TestClock};
use crate::metering::{NoCredit, Outcome};
use crate::usage::{DayUse, UsageRecord, UsageSearch, UsageSummary};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// Keys in memory, and how often they were asked for.
#[derive(Default)]
struct MemoryKeys {
    grants: Mutex<BTreeMap<String, KeyGrant>>,
    touched: Mutex<Vec<(ApiKeyId, Timestamp)>>,
    lookups: AtomicU32,
    requests_today: AtomicU32,
    forgiven_today: AtomicU64,
    /// What every key has used, by day, by month and in all.
    used_bytes: AtomicI64,
    usage_reads: AtomicU32,
    claims: AtomicU32,
    /// Proven addresses: whose, and when they were last used.
    addresses: Mutex<BTreeMap<IpAddr, (AccountId, Timestamp)>>,
    away: AtomicBool,
    hangs: AtomicBool,
    /// The next lookup reads at once and answers when told to.
    slow: Mutex<Option<Arc<Notify>>>,
}

impl MemoryKeys {
    fn answer<T>(&self, value: T) -> Result<T, StoreError> {
        match self.away.load(SeqCst) {
            true => Err(StoreError::Unavailable("away".into())),
            false => Ok(value),
        }
    }
}

#[async_trait]
impl ApiKeys for MemoryKeys {
    async fn create_api_key(&self, _: NewApiKey) -> Result<ApiKey, StoreError> {
        unreachable!("admission makes no keys")
    }
    async fn api_keys(&self, _: AccountId) -> Result<Vec<ApiKey>, StoreError> {
        unreachable!("admission lists no keys")
    }
    async fn api_key(&self, _: AccountId, _: ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
        unreachable!("admission looks keys up by hash")
    }
    async fn change_api_key(
        &self,
        _: AccountId,
        _: ApiKeyId,
        _: KeyChange,
    ) -> Result<Option<ApiKey>, StoreError> {
        unreachable!("admission changes no keys")
    }
    async fn key_usage(&self, keys: &[ApiKeyId], _: Timestamp) -> Result<Vec<KeyUsage>, StoreError> {
        self.usage_reads.fetch_add(1, SeqCst);
        let (grants, used) = (self.grants.lock(), self.used_bytes.load(SeqCst));
        let known = grants
            .values()
            .filter(|grant| keys.contains(&grant.key.id))
            .map(|grant| KeyUsage {
                key: grant.key.id,
                limits: grant.key.limits.clone(),
                day_bytes: used,
                month_bytes: used,
                total_bytes: used,
            });
        self.answer(known.collect())
    }
    async fn set_api_key_whitelist(
        &self,
        _: AccountId,
        _: ApiKeyId,
        _: &[ipnet::IpNet],
    ) -> Result<Option<ApiKey>, StoreError> {
        unreachable!("admission changes no keys")
    }
    async fn delete_api_key(&self, _: AccountId, _: ApiKeyId, _: Timestamp) -> Result<bool, StoreError> {
        unreachable!("admission deletes no keys")
    }
    async fn key_grant(&self, hash: ApiKeyHash) -> Result<Option<KeyGrant>, StoreError> {
        self.lookups.fetch_add(1, SeqCst);
        let grant = self.grants.lock().get(&hash.to_hex()).cloned();
        if self.hangs.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        let slow = self.slow.lock().take();
        match slow {
            Some(told) => told.notified().await,
            None => tokio::task::yield_now().await,
        }
        self.answer(grant)
    }
    async fn touch_api_keys(&self, used: &[(ApiKeyId, Timestamp)]) -> Result<(), StoreError> {
        self.touched.lock().extend_from_slice(used);
        self.answer(())
    }
}

#[async_trait]
impl Usage for MemoryKeys {
    async fn usage_summary(
        &self,
        _: AccountId,
        _: Timestamp,
        _: Timestamp,
    ) -> Result<UsageSummary, StoreError> {
        unreachable!("admission reads no sums")
    }
    async fn recent_usage(&self, _: AccountId, _: u32) -> Result<Vec<UsageRecord>, StoreError> {
        unreachable!("admission reads no rows")
    }
    async fn usage_record(&self, _: AccountId, _: RequestId) -> Result<Option<UsageRecord>, StoreError> {
        unreachable!("admission reads no rows")
    }
    async fn search_usage(
        &self,
        _: AccountId,
        _: &UsageSearch,
        _: u32,
    ) -> Result<Vec<UsageRecord>, StoreError> {
        unreachable!("admission reads no rows")
    }
    async fn archive_usage(&self, _: Timestamp, _: u32) -> Result<u64, StoreError> {
        unreachable!("admission archives nothing")
    }
    async fn day_use(&self, _: AccountId, from: Timestamp, to: Timestamp) -> Result<DayUse, StoreError> {
        assert_eq!(to.since(from), Duration::from_secs(24 * 3600));
        self.answer(DayUse {
            requests: u64::from(self.requests_today.load(SeqCst)),
            forgiven_bytes: self.forgiven_today.load(SeqCst),
        })
    }
}

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
        let admission = Admission::over(
            Arc::clone(&keys) as _,
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

#[tokio::test(start_paused = true)]
async fn a_known_key_is_admitted_without_the_database() {
    let world = World::new().await;
    for _ in 0..1000 {
        let admitted = world.login("").await.unwrap();
        assert_eq!(admitted.account(), world.account);
        assert_eq!(admitted.plan().name, "Starter");
    }
    assert_eq!(world.lookups(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_user_name_must_not_contradict_the_key() {
    let world = World::new().await;
    let key = key_text(1);
    let id = world.account.to_string();
    let short = short_id(world.account);
    for user in [
        "iploop",
        id.as_str(),
        id.to_uppercase().as_str(),
        short.as_str(),
        short.to_uppercase().as_str(),
    ] {
        world.login_as(user, &key, CLIENT).await.unwrap();
    }
    let other = AccountId::new();
    for user in [other.to_string(), short_id(other), "someone".to_owned()] {
        let error = world.login_as(&user, &key, CLIENT).await.unwrap_err();
        assert!(matches!(error, AdmissionError::UserMismatch), "{error:?}");
        assert_eq!((error.status(), error.code()), (407, "credentials_invalid"));
    }
}

#[tokio::test(start_paused = true)]
async fn every_check_has_its_own_answer() {
    for (change, code) in [
        (
            (|grant| grant.key.is_active = false) as fn(&mut KeyGrant),
            "key_inactive",
        ),
        (
            |grant| grant.key.expires_at = Some(Timestamp::from_millis(1_764_000_000_000)),
            "key_expired",
        ),
        (
            |grant| grant.account_status = AccountStatus::Suspended,
            "account_suspended",
        ),
        (
            |grant| grant.account_status = AccountStatus::Deleted,
            "account_deleted",
        ),
        (|grant| grant.email_verified = false, "email_unverified"),
        (
            |grant| grant.key.ip_whitelist = vec!["198.51.100.0/24".parse().unwrap()],
            "ip_not_allowed",
        ),
        (
            |grant| grant.plan.max_concurrent_connections = 0,
            "too_many_connections",
        ),
        (|grant| grant.plan.requests_per_day = 0, "daily_requests"),
        (|grant| grant.key.account = AccountId::new(), "balance_depleted"),
        (
            |grant| grant.key.expires_at = Some(Timestamp::from_millis(1_764_000_000_001)),
            "admitted",
        ),
        (
            |grant| grant.key.ip_whitelist = vec!["192.0.2.0/30".parse().unwrap()],
            "admitted",
        ),
    ] {
        assert_eq!(World::with(change).await.code("").await, code);
    }
}

#[tokio::test(start_paused = true)]
async fn an_allow_list_knows_ipv4_in_its_ipv6_form() {
    let world = World::with(|grant| {
        grant.key.ip_whitelist = vec!["192.0.2.0/30".parse().unwrap(), "2001:db8::/48".parse().unwrap()];
    })
    .await;
    for (client, allowed) in [
        ("192.0.2.3", true),
        ("::ffff:192.0.2.3", true),
        ("192.0.2.4", false),
        ("2001:db8:0:1::1", true),
        ("2001:db8:1::1", false),
    ] {
        let login = world
            .login_as("iploop", &key_text(1), client.parse().unwrap())
            .await;
        assert_eq!(login.is_ok(), allowed, "{client}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_parameter_outside_the_plan_is_named() {
    let world = World::new().await;
    for (text, parameter) in [
        ("-country-US-city-miami", "city"),
        ("-region-texas", "region"),
        ("-asn-7018", "asn"),
        ("-isp-telekom", "isp"),
        ("-session-a", "session"),
        ("-sesstype-sticky", "sesstype"),
    ] {
        match world.login(text).await {
            Err(error @ AdmissionError::PlanFeature { .. }) => {
                assert!(error.to_string().contains(&format!("`{parameter}`")), "{error}");
                assert!(error.to_string().contains("Starter"));
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    world.login("-country-US-sesstype-rotating").await.unwrap();
    world.change(|grant| {
        grant.plan.gates = Gates {
            city: true,
            asn: true,
            sticky_sessions: true,
        }
    });
    world.admission.account_changed(world.account);
    world
        .login("-country-US-city-miami-asn-7018-session-a")
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn connections_are_counted_until_they_end_in_any_way() {
    let world = World::with(|grant| grant.plan.max_concurrent_connections = 2).await;
    let first = world.login("").await.unwrap();
    let second = world.login("").await.unwrap();
    let refused = world.login("").await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.retry_after()),
        ("too_many_connections", Some(Duration::from_secs(1)))
    );
    first.finish(Outcome::Served);
    let third = world.login("").await.unwrap();
    drop(second);
    world.login("").await.unwrap();
    drop(third);
    let mut waiting = Box::pin(world.login("-country-US"));
    assert!(
        futures_util::poll!(&mut waiting).is_ready(),
        "memory answers at once"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_while_it_waits_leaves_nothing_counted() {
    let world = World::with(|grant| {
        grant.plan.max_concurrent_connections = 1;
        grant.plan.requests_per_day = 1;
    })
    .await;
    world.ledger.hangs.store(true, SeqCst);
    let mut waiting = Box::pin(world.login(""));
    for _ in 0..10 {
        assert!(futures_util::poll!(&mut waiting).is_pending());
        tokio::task::yield_now().await;
    }
    drop(waiting);
    world.ledger.hangs.store(false, SeqCst);
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.login("").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_day_ends_at_midnight_utc_and_counts_what_was_before_a_restart() {
    let world = World::with(|grant| grant.plan.requests_per_day = 100).await;
    world.keys.requests_today.store(97, SeqCst);
    for _ in 0..3 {
        world.login("").await.unwrap();
    }
    let refused = world.login("").await.unwrap_err();
    let midnight = Timestamp::from_millis((world.clock.now().as_millis() / 86_400_000 + 1) * 86_400_000);
    assert_eq!(
        (refused.code(), refused.retry_after()),
        ("daily_requests", Some(midnight.since(world.clock.now())))
    );
    advance(midnight.since(world.clock.now())).await;
    world.login("").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_refused_for_the_balance_does_not_count_for_the_day() {
    let world = World::with(|grant| {
        grant.key.account = AccountId::new();
        grant.plan.requests_per_day = 1;
    })
    .await;
    for _ in 0..5 {
        assert_eq!(world.code("").await, "balance_depleted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_login_after_a_right_one_from_the_same_address_is_refused() {
    let world = World::new().await;
    world.login("").await.unwrap();
    let wrong = world.login_as("iploop", &key_text(2), CLIENT).await.unwrap_err();
    assert!(matches!(wrong, AdmissionError::UnknownKey));
    world.login("").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn guessing_keys_soon_costs_the_database_nothing() {
    let world = World::new().await;
    world.login("").await.unwrap();
    let mut limited = 0;
    for number in 100..1100 {
        match world.login_as("iploop", &key_text(number), CLIENT).await {
            Err(AdmissionError::UnknownKey) => {}
            Err(AdmissionError::RateLimited { retry_after }) => {
                assert!(retry_after <= Duration::from_millis(100));
                limited += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((limited, world.lookups()), (950, 51));
    world
        .login("")
        .await
        .expect("a known key is not kept out by its neighbours");
    let elsewhere = world
        .login_as("iploop", &key_text(1), [198, 51, 100, 1].into())
        .await;
    elsewhere.expect("nor is another address");
    advance(Duration::from_secs(1)).await;
    for number in 2000..2020 {
        let _ = world.login_as("iploop", &key_text(number), CLIENT).await;
    }
    assert_eq!(world.lookups(), 61, "ten more a second later");
}

#[tokio::test(start_paused = true)]
async fn the_same_wrong_key_is_looked_up_once_in_a_while() {
    let world = World::new().await;
    for _ in 0..40 {
        world.login_as("iploop", &key_text(9), CLIENT).await.unwrap_err();
    }
    assert_eq!(world.lookups(), 1);
    advance(Duration::from_secs(5)).await;
    world.login_as("iploop", &key_text(9), CLIENT).await.unwrap_err();
    assert_eq!(world.lookups(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_first_logins_with_one_key_are_one_lookup() {
    let world = World::with(|grant| grant.plan.max_concurrent_connections = 1000).await;
    let logins = (0..500).map(|_| world.login(""));
    let admitted = futures_util::future::join_all(logins).await;
    assert!(admitted.iter().all(Result::is_ok));
    assert_eq!(world.lookups(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_read_anew_while_it_is_used_and_change_elsewhere_is_noticed() {
    let world = World::new().await;
    world.login("").await.unwrap();
    world.change(|grant| grant.key.is_active = false);
    advance(Duration::from_secs(15)).await;
    assert_eq!(world.code("").await, "admitted");
    advance(Duration::from_secs(6)).await;
    assert_eq!(world.code("").await, "key_inactive");
    world.change(|grant| grant.key.is_active = true);
    advance(Duration::from_secs(31)).await;
    assert_eq!(world.code("").await, "admitted");
}

#[tokio::test(start_paused = true)]
async fn a_change_told_is_believed_at_once() {
    let world = World::new().await;
    world.login("").await.unwrap();
    let key = world.keys.grants.lock().values().next().unwrap().key.id;
    world.change(|grant| grant.key.is_active = false);
    world.admission.key_changed(key);
    assert_eq!(world.code("").await, "key_inactive");
    world.change(|grant| grant.account_status = AccountStatus::Suspended);
    world.change(|grant| grant.key.is_active = true);
    world.admission.account_changed(world.account);
    assert_eq!(world.code("").await, "account_suspended");
}

#[tokio::test(start_paused = true)]
async fn a_change_during_a_lookup_is_not_overwritten_by_what_was_read_before() {
    let world = World::new().await;
    let told = Arc::new(Notify::new());
    *world.keys.slow.lock() = Some(Arc::clone(&told));
    let mut login = Box::pin(world.login(""));
    while world.lookups() == 0 {
        assert!(futures_util::poll!(&mut login).is_pending());
    }
    world.change(|grant| grant.key.is_active = false);
    world.admission.account_changed(world.account);
    told.notify_one();
    assert_eq!(login.await.unwrap_err().code(), "key_inactive");
    assert_eq!(world.code("").await, "key_inactive");
}

#[tokio::test(start_paused = true)]
async fn without_the_database_known_keys_go_on_unknown_get_503_and_revoked_stay_revoked() {
    let world = World::new().await;
    world.login("").await.unwrap();
    world.keys.away.store(true, SeqCst);
    advance(Duration::from_secs(40 * 60)).await;
    for _ in 0..3 {
        world.login("").await.unwrap();
    }
    let unknown = world.login_as("iploop", &key_text(7), CLIENT).await.unwrap_err();
    assert_eq!((unknown.status(), unknown.code()), (503, "unavailable"));
    assert!(unknown.retry_after().is_some());
    advance(Duration::from_secs(30 * 60)).await;
    assert_eq!(world.code("").await, "unavailable", "not for ever");
    world.keys.away.store(false, SeqCst);
    advance(Duration::from_secs(1)).await;
    world.login("").await.unwrap();
    world.keys.away.store(true, SeqCst);
    world.admission.account_changed(world.account);
    assert_eq!(
        world.code("").await,
        "unavailable",
        "what was told to be changed is not believed any more"
    );
}

#[tokio::test(start_paused = true)]
async fn a_database_that_hangs_delays_known_keys_little_and_seldom() {
    let world = World::with(|grant| grant.plan.max_concurrent_connections = 1000).await;
    world.login("").await.unwrap();
    world.keys.hangs.store(true, SeqCst);
    advance(Duration::from_secs(31)).await;
    let asked = Instant::now();
    let logins = futures_util::future::join_all((0..500).map(|_| world.login(""))).await;
    assert!(logins.iter().all(Result::is_ok), "known keys go on");
    drop(logins);
    assert_eq!(
        asked.elapsed(),
        Duration::from_millis(500),
        "all wait for the same answer"
    );
    for _ in 0..40 {
        world.login("").await.unwrap();
        advance(Duration::from_millis(100)).await;
    }
    assert_eq!(
        asked.elapsed(),
        Duration::from_millis(500 + 4000),
        "and then nobody waits for a while"
    );
}

#[tokio::test(start_paused = true)]
async fn a_database_that_is_away_is_left_alone_for_a_moment() {
    let world = World::new().await;
    world.login("").await.unwrap();
    world.keys.away.store(true, SeqCst);
    advance(Duration::from_secs(31)).await;
    let before = world.lookups();
    let asked = Instant::now();
    for number in 0..40 {
        let _ = world.login_as("iploop", &key_text(1 + number % 3), CLIENT).await;
    }
    assert_eq!(world.lookups() - before, 1);
    assert_eq!(asked.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_use_of_a_key_is_written_once_a_minute_in_batches() {
    let world = World::new().await;
    let shutdown = CancellationToken::new();
    let task = tokio::spawn({
        let (admission, shutdown) = (world.admission.clone(), shutdown.clone());
        async move { admission.run(shutdown).await }
    });
    for _ in 0..130 {
        world.login("").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(world.keys.touched.lock().len(), 3, "at 0, 60 and 120 seconds");
    advance(Duration::from_secs(60)).await;
    world.login("").await.unwrap();
    shutdown.cancel();
    task.await.unwrap();
    assert_eq!(world.keys.touched.lock().len(), 4, "the last one at the end");
}

/// The key of [`World`] with these limits.
fn with_limits(limits: &WantedLimits) -> impl FnOnce(&mut KeyGrant) {
    let limits = limits.check().unwrap();
    move |grant| grant.key.limits = limits
}

#[tokio::test(start_paused = true)]
async fn a_keys_rate_and_connections_hold_beside_the_plans() {
    let world = World::with(with_limits(&WantedLimits {
        requests_per_second: Some(2),
        burst: Some(4),
        max_connections: Some(2),
        ..WantedLimits::default()
    }))
    .await;
    let first = world.login("").await.unwrap();
    let _second = world.login("").await.unwrap();
    let error = world.login("").await.unwrap_err();
    assert!(
        matches!(error, AdmissionError::KeyConnections { limit: 2 }),
        "{error:?}"
    );
    drop(first);
    let _third = world.login("").await.unwrap();
    let error = world.login("").await.unwrap_err();
    assert_eq!(error.code(), "rate_limited");
    assert_eq!(error.retry_after(), Some(Duration::from_millis(500)));
    advance(Duration::from_millis(500)).await;
    assert_eq!(world.code("").await, "too_many_connections");
}

#[tokio::test(start_paused = true)]
async fn a_key_for_countries_narrows_what_is_asked_for_and_refuses_others() {
    let world = World::with(with_limits(&WantedLimits {
        countries: vec!["DE".to_owned(), "FR".to_owned()],
        ..WantedLimits::default()
    }))
    .await;
    for (asked, admitted) in [
        ("", "country-DE+FR"),
        ("-country-FR", "country-FR"),
        ("-exclude-US", "country-DE+FR-exclude-US"),
    ] {
        let targeting = world.login(asked).await.unwrap().targeting().to_string();
        assert_eq!(targeting, admitted, "{asked}");
    }
    for asked in ["-country-US", "-country-DE+US", "-exclude-DE+FR"] {
        assert_eq!(world.code(asked).await, "key_country_forbidden", "{asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_keys_bytes_are_read_once_counted_in_memory_and_end_its_streams() {
    let day = WantedLimits {
        bytes_per_day: Some(1_000_000),
        ..WantedLimits::default()
    };
    let world = World::with(with_limits(&day)).await;
    world.keys.used_bytes.store(900_000, SeqCst);
    let admitted = world.login("").await.unwrap();
    for _ in 0..10 {
        drop(world.login("").await.unwrap());
    }
    assert_eq!(world.keys.usage_reads.load(SeqCst), 1);
    let meter = admitted.meter();
    meter.charge_down(60_000).await.unwrap();
    let left = admitted.limits();
    let left = left.iter().find(|limit| limit.name == "key-bytes-day").unwrap();
    assert_eq!((left.quota, left.remaining), (1_000_000, 40_000));
    meter.charge_up(60_000).await.unwrap();
    assert_eq!(meter.charge_down(1).await, Err(NoCredit::KeyQuotaExceeded));
    let error = world.login("").await.unwrap_err();
    assert_eq!((error.status(), error.code()), (402, "key_quota_exceeded"));
    let midnight = world.clock.now().next_day().since(world.clock.now());
    assert_eq!(error.retry_after(), Some(midnight));
    advance(midnight).await;
    meter.charge_down(1).await.unwrap();
    assert_eq!(world.code("").await, "admitted");
}

#[tokio::test(start_paused = true)]
async fn a_changed_limit_holds_for_a_running_stream_within_seconds() {
    let world = World::new().await;
    let shutdown = CancellationToken::new();
    let (admission, stop) = (world.admission.clone(), shutdown.clone());
    let running = tokio::spawn(async move { admission.run(stop).await });
    let admitted = world.login("").await.unwrap();
    admitted.meter().charge_down(500_000).await.unwrap();
    let low = WantedLimits {
        bytes_total: Some(400_000),
        ..WantedLimits::default()
    };
    world.change(with_limits(&low));
    world.admission.key_changed(admitted.api_key());
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(
        admitted.meter().charge_down(1).await,
        Err(NoCredit::KeyQuotaExceeded),
        "at once where the change is told"
    );
    // A change by another process, which nobody tells.
    let high = WantedLimits {
        bytes_total: Some(600_000),
        ..WantedLimits::default()
    };
    world.change(with_limits(&high));
    tokio::time::sleep(AdmissionConfig::default().key_refresh_interval).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    admitted.meter().charge_down(1).await.unwrap();
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn bytes_of_other_gateways_count_once_they_are_booked() {
    let world = World::with(with_limits(&WantedLimits {
        bytes_total: Some(1_000_000),
        ..WantedLimits::default()
    }))
    .await;
    let shutdown = CancellationToken::new();
    let (admission, stop) = (world.admission.clone(), shutdown.clone());
    let running = tokio::spawn(async move { admission.run(stop).await });
    let admitted = world.login("").await.unwrap();
    admitted.meter().charge_down(10).await.unwrap();
    world.keys.used_bytes.store(1_000_000, SeqCst);
    tokio::time::sleep(AdmissionConfig::default().key_refresh_interval + Duration::from_millis(10)).await;
    assert_eq!(
        admitted.meter().charge_down(1).await,
        Err(NoCredit::KeyQuotaExceeded)
    );
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_the_database_a_key_with_unknown_use_waits_and_a_known_one_goes_on() {
    let world = World::with(with_limits(&WantedLimits {
        bytes_total: Some(1_000_000),
        ..WantedLimits::default()
    }))
    .await;
    drop(world.login("").await.unwrap());
    world.keys.away.store(true, SeqCst);
    assert_eq!(world.code("").await, "admitted");
}

#[tokio::test(start_paused = true)]
async fn what_our_side_broke_is_forgiven_up_to_the_days_bound_also_after_a_restart() {
    let world = World::new().await;
    let most = AdmissionConfig::default().forgiven_bytes_per_day;
    // Read at the account's first request: what was forgiven before a restart counts.
    world.keys.forgiven_today.store(most - 100, SeqCst);
    let broken = async |bytes: usize| {
        let admitted = world.login("").await.unwrap();
        let id = admitted.meter().request();
        admitted.meter().charge_down(bytes).await.unwrap();
        admitted.finish(Outcome::OurFailure("exit_lost"));
        id
    };
    let forgiven = broken(50_000).await;
    let paid = broken(60_000).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let row = |id| world.ledger.row(id).unwrap();
    assert!(!row(forgiven).billable);
    assert!(row(paid).billable);
    assert_eq!(row(paid).error.as_deref(), Some("exit_lost"));
    assert_eq!(world.ledger.billed(world.account), 60_000);
    assert_eq!(world.ledger.books(world.account).used_bytes, 60_000);
}

#[tokio::test(start_paused = true)]
async fn a_refund_gives_the_key_its_bytes_back_too() {
    let world = World::with(with_limits(&WantedLimits {
        bytes_total: Some(100_000),
        ..WantedLimits::default()
    }))
    .await;
    let admitted = world.login("").await.unwrap();
    admitted.meter().charge_down(60_000).await.unwrap();
    admitted.meter().charge_down(60_000).await.unwrap();
    assert_eq!(world.code("").await, "key_quota_exceeded");
    // Long enough to be booked while it runs.
    tokio::time::sleep(Duration::from_secs(15)).await;
    admitted.finish(Outcome::OurFailure("exit_lost"));
    assert_eq!(world.code("").await, "admitted");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.ledger.billed(world.account), 0);
    let left = world.login("").await.unwrap().limits();
    let left = left.iter().find(|limit| limit.name == "key-bytes-total").unwrap();
    assert_eq!(left.remaining, 100_000);
}

#[tokio::test]
async fn suspension_ends_what_runs_and_refuses_what_was_being_admitted() {
    let world = World::new().await;
    let running = world.login("").await.unwrap();
    assert!(!running.cut().is_cancelled());
    // One that has read its key before the suspension, and asks for its connection after it.
    let told = Arc::new(Notify::new());
    world.admission.invalidate_account(world.account);
    *world.keys.slow.lock() = Some(Arc::clone(&told));
    let (late, ()) = tokio::join!(world.login(""), async {
        tokio::task::yield_now().await;
        for grant in world.keys.grants.lock().values_mut() {
            grant.account_status = AccountStatus::Suspended;
        }
        world.admission.account_suspended(world.account);
        told.notify_one();
    });
    assert!(matches!(late, Err(AdmissionError::AccountSuspended)), "{late:?}");
    assert!(running.cut().is_cancelled());
    drop(running);
    for grant in world.keys.grants.lock().values_mut() {
        grant.account_status = AccountStatus::Active;
    }
    world.admission.account_changed(world.account);
    let again = world.login("").await.unwrap();
    assert!(!again.cut().is_cancelled(), "what comes after is not touched");
}
