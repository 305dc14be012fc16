//! What keys and accounts use at other gateways, learnt in the background: no request waits for it.
//!
//! Every [`EVERY`] each gateway tells the shared state which requests it admitted since the last time and how many
//! connections it has, and learns the others'; of an account also how many requests it had today. Until then it knows nothing of theirs, so a limit may be passed: the pace by
//! one burst for each further gateway and what the pace allows in that time, connections by what the others open in that
//! time. The pace is a debt, so what was too much at first is missing later, and over time the limit holds exactly. While
//! the shared state is away each gateway counts for itself; today's requests that the others were not told of are told when it
//! is back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{AcqRel, Acquire, Release},
};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Admission;
use super::account_use::AccountUse;
use super::key_use::KeyUse;
use crate::clock::{DAY, Timestamp};
use crate::ids::{AccountId, GatewayId};
use crate::keys::Rate;
use crate::shared::{Charge, Name, Share, SharedError, SharedState, Tally};

/// How often gateways tell each other.
const EVERY: Duration = Duration::from_millis(250);
/// How long a gateway that is not heard of counts.
const LASTS: Duration = Duration::from_secs(3);
/// Rounds without use after which a key or account is not told of any more: 10 seconds.
const IDLE_ROUNDS: u32 = 40;

/// The others' part of one key's or account's use, and what they have not been told of ours.
#[derive(Default)]
pub(super) struct Elsewhere {
    connections: AtomicU32,
    untold: AtomicU32,
    /// Of the rate's limit; 0: none.
    per_second: AtomicU32,
    is_listed: AtomicBool,
}

impl Elsewhere {
    /// Connections at other gateways, as of the last time.
    pub(super) fn connections(&self) -> u32 {
        self.connections.load(Acquire)
    }

    /// A request was admitted under this rate.
    pub(super) fn admitted(&self, rate: Rate) {
        self.per_second.store(rate.per_second.max(1), Release);
        self.untold.fetch_add(1, AcqRel);
    }
}

/// Keys and accounts that are told of. Nothing is listed until somebody shares the register.
#[derive(Default)]
pub(super) struct Register {
    is_shared: AtomicBool,
    listed: Mutex<HashMap<Uuid, Listed>>,
}

struct Listed {
    used: Used,
    idle_rounds: u32,
}

#[derive(Clone)]
enum Used {
    Key(Arc<KeyUse>),
    Account(AccountId, Arc<AccountUse>),
}

impl Used {
    fn elsewhere(&self) -> &Elsewhere {
        match self {
            Self::Key(key) => &key.elsewhere,
            Self::Account(_, account) => &account.elsewhere,
        }
    }

    fn connections(&self) -> u32 {
        match self {
            Self::Key(key) => key.own_connections(),
            Self::Account(_, account) => account.own_connections(),
        }
    }

    fn id(&self) -> Uuid {
        match self {
            Self::Key(key) => key.quota().key().uuid(),
            Self::Account(id, _) => id.uuid(),
        }
    }

    fn share(&self) -> Share {
        let space = match self {
            Self::Key(_) => "key-connections",
            Self::Account(..) => "account-connections",
        };
        Share {
            name: Name::new(space, &self.id().to_string()),
            count: self.connections(),
        }
    }
}

impl Register {
    /// A key with limits is used.
    pub(super) fn note_key(&self, key: &Arc<KeyUse>) {
        self.note(&key.elsewhere, || Used::Key(Arc::clone(key)));
    }

    /// An account is used.
    pub(super) fn note_account(&self, id: AccountId, account: &Arc<AccountUse>) {
        self.note(&account.elsewhere, || Used::Account(id, Arc::clone(account)));
    }

    fn note(&self, elsewhere: &Elsewhere, used: impl FnOnce() -> Used) {
        if self.is_shared.load(Acquire) && !elsewhere.is_listed.swap(true, AcqRel) {
            let used = used();
            self.listed
                .lock()
                .insert(used.id(), Listed { used, idle_rounds: 0 });
        }
    }

    /// What is listed, with what is not told yet; what rests is told for the last time.
    fn take_untold(&self) -> Vec<(Used, u32)> {
        let mut all = Vec::new();
        self.listed.lock().retain(|_, listed| {
            let elsewhere = listed.used.elsewhere();
            let untold = elsewhere.untold.swap(0, AcqRel);
            let is_idle = untold == 0 && listed.used.connections() == 0;
            listed.idle_rounds = if is_idle { listed.idle_rounds + 1 } else { 0 };
            all.push((listed.used.clone(), untold));
            let stays = listed.idle_rounds < IDLE_ROUNDS;
            if !stays {
                elsewhere.connections.store(0, Release);
                elsewhere.is_listed.store(false, Release);
            }
            stays
        });
        all
    }

    /// The others count no more.
    fn forget_others(&self) {
        for listed in self.listed.lock().values() {
            listed.used.elsewhere().connections.store(0, Release);
        }
    }
}

impl Admission {
    /// Counts rates and connections together with other gateways until `shutdown`.
    ///
    /// # Cancel safety
    /// May be dropped at any time: each gateway then counts for itself.
    pub async fn count_together(
        &self,
        shared: Arc<dyn SharedState>,
        gateway: GatewayId,
        shutdown: CancellationToken,
    ) {
        let inner = &self.inner;
        inner.elsewhere.is_shared.store(true, Release);
        let rounds = async {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut since, mut heard_at) = (inner.clock.now(), Instant::now());
            loop {
                ticks.tick().await;
                let now = inner.clock.now();
                match self.exchange_use(&*shared, gateway, since, now).await {
                    Ok(()) => heard_at = Instant::now(),
                    Err(_) if heard_at.elapsed() > LASTS => inner.elsewhere.forget_others(),
                    Err(_) => {}
                }
                since = now;
            }
        };
        let _: Option<()> = shutdown.run_until_cancelled(rounds).await;
        inner.elsewhere.is_shared.store(false, Release);
        inner.elsewhere.forget_others();
    }

    /// One round: tells what was admitted from `since` to `now`, and learns of the others.
    ///
    /// # Errors
    /// What could not be told of paces is not told later: who was away for long shall not come back with debts.
    pub(super) async fn exchange_use(
        &self,
        shared: &dyn SharedState,
        gateway: GatewayId,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<(), SharedError> {
        let began = Instant::now();
        let used = self.inner.elsewhere.take_untold();
        let (mut keys, mut charges) = (Vec::new(), Vec::new());
        for (used, count) in &used {
            let (Used::Key(key), per_second) = (used, used.elsewhere().per_second.load(Acquire)) else {
                continue;
            };
            if per_second > 0 {
                charges.push(Charge {
                    name: Name::new("key-pace", &used.id().to_string()),
                    count: *count,
                    refill: Duration::from_secs(1) / per_second,
                    since,
                });
                keys.push(key);
            }
        }
        let shares: Vec<Share> = used.iter().map(|(used, _)| used.share()).collect();
        let owed = shared.charge(&charges, now).await?;
        for (key, owed) in keys.into_iter().zip(owed) {
            key.owe(began, owed);
        }
        let others = shared.share(gateway.uuid(), &shares, LASTS, now).await?;
        for ((used, _), others) in used.iter().zip(others) {
            let elsewhere = used.elsewhere();
            if elsewhere.is_listed.load(Acquire) {
                elsewhere
                    .connections
                    .store(u32::try_from(others).unwrap_or(u32::MAX), Release);
            }
        }
        self.tell_today(shared, gateway, &used, now).await
    }

    /// Adds this gateway's requests of today to the others'.
    async fn tell_today(
        &self,
        shared: &dyn SharedState,
        gateway: GatewayId,
        used: &[(Used, u32)],
        now: Timestamp,
    ) -> Result<(), SharedError> {
        let accounts: Vec<_> = used
            .iter()
            .filter_map(|(used, _)| match used {
                Used::Account(id, account) => Some((id, account, account.to_tell(now))),
                Used::Key(_) => None,
            })
            .collect();
        let tallies: Vec<Tally> = accounts
            .iter()
            .map(|(id, _, tell)| Tally {
                name: Name::new("account-requests", &format!("{id} {}", tell.day)),
                turn: tell.turn,
                add: tell.add,
                at_least: tell.at_least,
            })
            .collect();
        let wholes = shared.tally(gateway.uuid(), &tallies, DAY, now).await?;
        for ((_, account, tell), whole) in accounts.iter().zip(wholes) {
            account.was_told(tell, whole);
        }
        Ok(())
    }
}
