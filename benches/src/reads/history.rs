//! A history of requests, booked through the store as a gateway books them.

use std::sync::Arc;
use std::time::Duration;

use iploop_platform::clock::{Clock as _, SystemClock, Timestamp};
use iploop_platform::ids::{AccountId, ApiKeyId, GatewayId, RequestId};
use iploop_platform::store::Store;
use iploop_platform::usage::{Timings, UsageRecord};
use tokio::time::sleep;
use uuid::Uuid;

/// Booked in one transaction.
const BATCH: usize = 1_000;
/// How often a gateway books what ended (`metering.settle_interval`).
const BOOK_EVERY: Duration = Duration::from_secs(2);
const DAY_MS: u64 = 24 * 3_600 * 1_000;
const DAYS: u64 = 30;
const COUNTRIES: [&str; 24] = [
    "US", "DE", "GB", "FR", "BR", "IN", "JP", "CA", "IT", "ES", "NL", "PL", "SE", "AU", "MX", "TR", "ID",
    "VN", "TH", "ZA", "AR", "UA", "RO", "PT",
];

/// An account with its keys.
pub(super) struct Owner {
    pub(super) account: AccountId,
    pub(super) keys: Vec<ApiKeyId>,
}

/// Books `requests` for each owner, spread over the last 30 days.
pub(super) async fn book(store: &dyn Store, owners: &[Owner], requests: usize) -> anyhow::Result<()> {
    let now = SystemClock.now();
    for owner in owners {
        let records: Vec<UsageRecord> = (0..requests as u64)
            .map(|number| record(owner, number, now))
            .collect();
        for batch in records.chunks(BATCH) {
            store.settle(batch, now).await?;
        }
    }
    Ok(())
}

/// Books one more request for each owner again and again, as a gateway does while its customers work.
pub(super) async fn go_on(store: Arc<dyn Store>, owners: Vec<Owner>) -> anyhow::Result<()> {
    for number in u64::MAX / 2.. {
        sleep(BOOK_EVERY).await;
        let now = SystemClock.now();
        let records: Vec<UsageRecord> = owners
            .iter()
            .map(|owner| UsageRecord {
                started_at: now,
                ended_at: Some(now),
                ..record(owner, number, now)
            })
            .collect();
        store.settle(&records, now).await?;
    }
    Ok(())
}

fn record(owner: &Owner, number: u64, now: Timestamp) -> UsageRecord {
    let mut dice = Dice(number);
    let ended_at = now.minus(Duration::from_millis(dice.below(DAYS * DAY_MS - DAY_MS / 2)));
    let took = Duration::from_millis(50 + dice.below(3_000));
    let failed = dice.below(20) == 0;
    let place = dice.low(COUNTRIES.len());
    let key = dice.low(owner.keys.len());
    UsageRecord {
        id: RequestId::new(),
        account: owner.account,
        api_key: owner
            .keys
            .get(key)
            .copied()
            .unwrap_or_else(|| ApiKeyId::from(Uuid::nil())),
        gateway: GatewayId::from(Uuid::nil()),
        node: None,
        session: (dice.below(4) == 0).then(|| format!("cart-{}", dice.below(50))),
        bytes_up: dice.below(5_000),
        bytes_down: dice.below(200_000),
        billable: true,
        proxy_type: ["connect", "http", "socks5"][dice.low(3)].to_owned(),
        destination: format!("shop-{}.example:443", dice.low(60)),
        exit_country: COUNTRIES.get(place).map(|code| (*code).to_owned()),
        exit_city: Some(format!("City {}", dice.low(9))),
        exit_asn: Some(64_500),
        exit_ip: Some([198, 51, 100, 7].into()),
        timings: Timings {
            select_ms: Some(1),
            dial_ms: Some(40),
            first_byte_ms: Some(180),
        },
        status: Some(if failed { 502 } else { 200 }),
        error: failed.then(|| "connection_refused".to_owned()),
        attempts: 1,
        started_at: ended_at.minus(took),
        ended_at: Some(ended_at),
    }
}

/// SplitMix64: the same history in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }

    /// A small number more often than a large one.
    fn low(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        usize::try_from(self.below(bound).min(self.below(bound))).unwrap_or(0)
    }
}
