//! What an account uses of its plan's limits in this process: connections now, requests today.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::AdmissionStore;
use super::exchange::Elsewhere;
use crate::clock::Timestamp;
use crate::ids::AccountId;
use crate::store::StoreError;

const SHARDS: usize = 64;

/// One account's use.
pub(super) struct AccountUse {
    connections: AtomicU32,
    /// The UTC day in the upper half, requests of that day in the lower: they change together.
    today: AtomicU64,
    /// The same of other gateways, as of the last time.
    others_today: AtomicU64,
    told: Mutex<Told>,
    forgiven: Mutex<Forgiven>,
    /// Cancelled, and replaced, when what runs under the account shall end.
    cut: Mutex<CancellationToken>,
    loaded: OnceCell<()>,
    pub(super) elsewhere: Elsewhere,
}

/// What was delivered in requests that our side broke, and not charged.
#[derive(Default)]
struct Forgiven {
    day: u32,
    bytes: u64,
}

/// What other gateways know of a day's requests.
#[derive(Default)]
struct Told {
    day: u32,
    /// Of [`AccountUse::today`], the ones that they know of.
    count: u32,
    /// All gateways' together, as of the last time.
    whole: u64,
    /// What was told and not answered, and under which name: it is told again, and counts once.
    pending: Option<(Uuid, u32)>,
}

/// What is to be told of an account's requests of a day.
pub(super) struct ToTell {
    pub(super) day: u32,
    pub(super) turn: Uuid,
    pub(super) add: u32,
    /// All gateways' together at least.
    pub(super) at_least: u64,
}

/// A tunnel or request that runs; dropping it makes room for the next.
pub(super) struct Connection {
    account: Arc<AccountUse>,
    cut: CancellationToken,
}

impl Connection {
    pub(super) fn account(&self) -> &AccountUse {
        &self.account
    }

    /// Cancelled when it shall end, because of its account.
    pub(super) fn cut(&self) -> &CancellationToken {
        &self.cut
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.account.connections.fetch_sub(1, AcqRel);
    }
}

/// A request that counts for its day; dropping it before [`keep`](Self::keep) takes it out again.
pub(super) struct CountedRequest<'a> {
    account: &'a AccountUse,
    day: u32,
    kept: bool,
}

impl CountedRequest<'_> {
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for CountedRequest<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let taken_out = |today| match unpack(today) {
                (day, count) if day == self.day => Some(pack(day, count.saturating_sub(1))),
                _ => None,
            };
            let _ = self.account.today.fetch_update(AcqRel, Acquire, taken_out);
        }
    }
}

impl AccountUse {
    /// Takes one of `limit` connections.
    pub(super) fn connect(self: &Arc<Self>, limit: u32) -> Option<Connection> {
        let limit = limit.saturating_sub(self.elsewhere.connections());
        self.connections
            .fetch_update(AcqRel, Acquire, |open| (open < limit).then(|| open + 1))
            .ok()
            .map(|_| Connection {
                account: Arc::clone(self),
                cut: self.cut.lock().clone(),
            })
    }

    /// Ends every connection of now. Later ones are not touched.
    fn cut(&self) {
        std::mem::take(&mut *self.cut.lock()).cancel();
    }

    /// Counts a request of today, or says how long until tomorrow.
    pub(super) fn count_request(&self, now: Timestamp, limit: u64) -> Result<CountedRequest<'_>, Duration> {
        let day = now.utc_day();
        let limit = limit.saturating_sub(of_day(self.others_today.load(Acquire), day).into());
        let counted = |today| {
            let count = of_day(today, day);
            (u64::from(count) < limit).then(|| pack(day, count.saturating_add(1)))
        };
        match self.today.fetch_update(AcqRel, Acquire, counted) {
            Ok(_) => Ok(CountedRequest {
                account: self,
                day,
                kept: false,
            }),
            Err(_) => Err(now.next_day().since(now)),
        }
    }

    /// Connections of this process.
    pub(super) fn own_connections(&self) -> u32 {
        self.connections.load(Acquire)
    }

    /// Requests of today, and connections now, those at other gateways included.
    pub(super) fn counts(&self, now: Timestamp) -> (u64, u32) {
        let day = now.utc_day();
        let own = of_day(self.today.load(Acquire), day);
        let today = u64::from(own) + u64::from(of_day(self.others_today.load(Acquire), day));
        let open = self
            .own_connections()
            .saturating_add(self.elsewhere.connections());
        (today, open)
    }

    /// What other gateways do not know of today's requests.
    pub(super) fn to_tell(&self, now: Timestamp) -> ToTell {
        let day = now.utc_day();
        let own = of_day(self.today.load(Acquire), day);
        let mut told = self.told.lock();
        if told.day != day {
            *told = Told {
                day,
                ..Told::default()
            };
        }
        let add = own.saturating_sub(told.count);
        let (turn, add) = *told.pending.get_or_insert_with(|| (Uuid::now_v7(), add));
        ToTell {
            day,
            turn,
            add,
            at_least: told.whole,
        }
    }

    /// It was told, and this is what all gateways have together.
    pub(super) fn was_told(&self, tell: &ToTell, whole: u64) {
        let mut told = self.told.lock();
        if told.day == tell.day && told.pending == Some((tell.turn, tell.add)) {
            told.pending = None;
            told.count = told.count.saturating_add(tell.add);
            self.know_whole(&mut told, whole);
        }
    }

    fn know_whole(&self, told: &mut Told, whole: u64) {
        told.whole = whole;
        let others = whole.saturating_sub(told.count.into());
        let others = pack(told.day, u32::try_from(others).unwrap_or(u32::MAX));
        self.others_today.store(others, Release);
    }

    /// Whether these bytes of a request that our side broke go uncharged: until `most` have today. The last request may
    /// reach past that.
    pub(super) fn forgive(&self, bytes: u64, most: u64, now: Timestamp) -> bool {
        let mut forgiven = self.forgiven.lock();
        let day = now.utc_day();
        if forgiven.day < day {
            *forgiven = Forgiven { day, bytes: 0 };
        }
        let may = bytes == 0 || forgiven.bytes < most;
        if may {
            forgiven.bytes = forgiven.bytes.saturating_add(bytes);
        }
        may
    }

    /// Reads what counts for today from the store, the first time only.
    pub(super) async fn load(
        &self,
        account: AccountId,
        store: &dyn AdmissionStore,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let load = async || {
            let used = store.day_use(account, now.day_start(), now.next_day()).await?;
            let day = now.utc_day();
            let count = u32::try_from(used.requests).unwrap_or(u32::MAX);
            self.today.store(pack(day, count), Release);
            let mut told = self.told.lock();
            // What was booked before is known to all who share the database.
            let whole = match told.day == day {
                true => told.whole.max(count.into()),
                false => count.into(),
            };
            (told.day, told.count) = (day, count);
            self.know_whole(&mut told, whole);
            drop(told);
            *self.forgiven.lock() = Forgiven {
                day,
                bytes: used.forgiven_bytes,
            };
            Ok(())
        };
        self.loaded.get_or_try_init(load).await.copied()
    }
}

/// The use of each account that was here lately. At most `max`.
pub(super) struct AccountUses {
    shards: [Mutex<HashMap<AccountId, Arc<AccountUse>>>; SHARDS],
    max_per_shard: usize,
}

impl AccountUses {
    pub(super) fn new(max: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            max_per_shard: max.div_ceil(SHARDS),
        }
    }

    /// Ends what runs under an account.
    pub(super) fn cut(&self, account: AccountId) {
        let known = self.shard(account).lock().get(&account).cloned();
        if let Some(known) = known {
            known.cut();
        }
    }

    fn shard(&self, account: AccountId) -> &Mutex<HashMap<AccountId, Arc<AccountUse>>> {
        let [.., last] = account.uuid().into_bytes();
        &self.shards[usize::from(last) % SHARDS]
    }

    /// The account's use; none if the table is full of accounts with open connections.
    pub(super) fn of(&self, account: AccountId) -> Option<Arc<AccountUse>> {
        let mut shard = self.shard(account).lock();
        if let Some(known) = shard.get(&account) {
            return Some(Arc::clone(known));
        }
        if shard.len() >= self.max_per_shard {
            // Whoever is not connected loses nothing: today's count is read anew.
            shard.retain(|_, known| Arc::strong_count(known) > 1);
            if shard.len() >= self.max_per_shard {
                return None;
            }
        }
        let fresh = Arc::new(AccountUse {
            connections: AtomicU32::new(0),
            today: AtomicU64::new(0),
            others_today: AtomicU64::new(0),
            told: Mutex::default(),
            forgiven: Mutex::default(),
            cut: Mutex::default(),
            loaded: OnceCell::new(),
            elsewhere: Elsewhere::default(),
        });
        shard.insert(account, Arc::clone(&fresh));
        Some(fresh)
    }
}

fn pack(day: u32, count: u32) -> u64 {
    u64::from(day) << 32 | u64::from(count)
}

/// The count, if it is this day's.
fn of_day(packed: u64, day: u32) -> u32 {
    match unpack(packed) {
        (known, count) if known == day => count,
        _ => 0,
    }
}

fn unpack(today: u64) -> (u32, u32) {
    let [d0, d1, d2, d3, c0, c1, c2, c3] = today.to_be_bytes();
    (
        u32::from_be_bytes([d0, d1, d2, d3]),
        u32::from_be_bytes([c0, c1, c2, c3]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::DAY;

    const DAY_MILLIS: i64 = 24 * 3600 * 1000;

    fn fresh() -> Arc<AccountUse> {
        AccountUses::new(64).of(AccountId::new()).unwrap()
    }

    #[test]
    fn a_dropped_connection_makes_room_for_the_next() {
        let account = fresh();
        let first = account.connect(2).unwrap();
        let _second = account.connect(2).unwrap();
        assert!(account.connect(2).is_none());
        drop(first);
        assert!(account.connect(2).is_some());
    }

    #[test]
    fn requests_are_counted_by_utc_day_and_only_if_kept() {
        let account = fresh();
        let evening = Timestamp::from_millis(20_000 * DAY_MILLIS - 1500);
        account.count_request(evening, 2).unwrap().keep();
        drop(account.count_request(evening, 2).unwrap());
        account.count_request(evening, 2).unwrap().keep();
        assert_eq!(
            account.count_request(evening, 2).err(),
            Some(Duration::from_millis(1500))
        );
        let midnight = Timestamp::from_millis(20_000 * DAY_MILLIS);
        account.count_request(midnight, 2).unwrap().keep();
        let late = account.count_request(midnight, 2).unwrap();
        account.count_request(midnight.plus(DAY), 2).unwrap().keep();
        drop(late);
        let tomorrow = midnight.plus(DAY);
        account.count_request(tomorrow, 2).unwrap().keep();
        assert!(
            account.count_request(tomorrow, 2).is_err(),
            "yesterday's request took nothing from today"
        );
    }

    #[test]
    fn a_full_table_forgets_accounts_without_connections_only() {
        let table = AccountUses::new(SHARDS);
        let ids: Vec<AccountId> = (0..1000).map(|_| AccountId::new()).collect();
        let kept = table.of(ids[0]).unwrap();
        let connection = kept.connect(10).unwrap();
        for id in &ids {
            if let Some(account) = table.of(*id) {
                drop(account.connect(10));
            }
        }
        drop(kept);
        assert_eq!(table.of(ids[0]).unwrap().connections.load(Acquire), 1);
        drop(connection);
        assert!(table.shards.iter().all(|shard| shard.lock().len() <= 1));
    }

    #[test]
    fn forgiveness_has_an_end_each_day_and_the_last_request_may_reach_past_it() {
        let account = fresh();
        let noon = Timestamp::from_millis(20_000 * DAY_MILLIS + DAY_MILLIS / 2);
        assert!(account.forgive(60, 100, noon));
        assert!(account.forgive(60, 100, noon));
        assert!(!account.forgive(1, 100, noon));
        assert!(
            account.forgive(0, 100, noon),
            "a request without bytes never costs"
        );
        assert!(account.forgive(60, 100, noon.plus(DAY)));
        assert!(!account.forgive(60, 0, noon.plus(DAY)));
    }
}
