//! The background job: notes how claimed devices are, and counts hours once their requests are all booked.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::credits::CreditRules;
use super::store::Earnings;
use crate::clock::{Clock, Timestamp};
use crate::partners::ACTIVE_WITHIN;
use crate::store::StoreError;

const HOUR: Duration = Duration::from_secs(3600);
/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(300);
/// A request ends up to a day later than it begins, and is booked soon after.
const SETTLED_AFTER: Duration = Duration::from_secs(26 * 3600);
/// How long an hour's notes are kept.
const NOTES_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Accounts read at once.
const PAGE: u32 = 500;
/// Hours counted in one look: a server that was away for long catches up in steps.
const MAX_HOURS: u32 = 48;

/// Works until `shutdown`.
pub async fn run(
    store: Arc<dyn Earnings>,
    clock: Arc<dyn Clock>,
    rules: CreditRules,
    shutdown: CancellationToken,
) {
    let work = async {
        loop {
            if let Err(error) = look(store.as_ref(), clock.now(), &rules).await {
                tracing::warn!(%error, "credits were not counted, trying later");
            }
            sleep(INTERVAL).await;
        }
    };
    // What is under way is a transaction: whole or not at all.
    let _: Option<()> = shutdown.run_until_cancelled(work).await;
}

/// Notes the present hour and counts the ones that are due.
async fn look(store: &dyn Earnings, now: Timestamp, rules: &CreditRules) -> Result<(), StoreError> {
    store
        .note_device_hours(now.hour_start(), now.minus(ACTIVE_WITHIN), now.minus(NOTES_KEPT))
        .await?;
    let last = now.minus(SETTLED_AFTER).hour_start();
    let mut hour = store.credit_hour(last).await?;
    for _ in 0..MAX_HOURS {
        if hour > last {
            break;
        }
        let mut after = None;
        loop {
            let owners = store.owners(after, PAGE).await?;
            for account in &owners {
                store.count_credits(*account, hour, rules, now).await?;
            }
            after = owners.last().copied();
            if after.is_none() {
                break;
            }
        }
        hour = hour.plus(HOUR);
        store.finish_credit_hour(hour).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use async_trait::async_trait;
    use parking_lot::Mutex;
    use tokio::task::JoinHandle;

    use super::super::store::{CreditBalance, EarnedHour, HourCounted, OwnerQuery, OwnerRecord};
    use super::*;
    use crate::abuse::AuditEntry;
    use crate::clock::TurnedClock;
    use crate::ids::{AccountId, NodeId};

    /// What a database would keep: it outlives the task.
    #[derive(Default)]
    struct Book {
        owners: Vec<AccountId>,
        kept: Mutex<Kept>,
    }

    #[derive(Default)]
    struct Kept {
        noted: BTreeSet<Timestamp>,
        next: Option<Timestamp>,
        /// When each account's hours were counted, and how often that changed something.
        counted: BTreeMap<(Timestamp, AccountId), u32>,
        /// Counts until the data are away, once.
        left: Option<u32>,
    }

    #[async_trait]
    impl Earnings for Book {
        async fn note_device_hours(
            &self,
            hour: Timestamp,
            _: Timestamp,
            _: Timestamp,
        ) -> Result<(), StoreError> {
            self.kept.lock().noted.insert(hour);
            Ok(())
        }

        async fn credit_hour(&self, first: Timestamp) -> Result<Timestamp, StoreError> {
            Ok(*self.kept.lock().next.get_or_insert(first))
        }

        async fn owners(&self, after: Option<AccountId>, limit: u32) -> Result<Vec<AccountId>, StoreError> {
            let behind = self.owners.iter().filter(|owner| Some(**owner) > after);
            Ok(behind.take(limit.try_into().unwrap()).copied().collect())
        }

        async fn count_credits(
            &self,
            account: AccountId,
            hour: Timestamp,
            _: &CreditRules,
            _: Timestamp,
        ) -> Result<HourCounted, StoreError> {
            let mut kept = self.kept.lock();
            if kept.left == Some(0) {
                kept.left = None;
                return Err(StoreError::Unavailable("away".into()));
            }
            kept.left = kept.left.map(|left| left - 1);
            if kept.counted.contains_key(&(hour, account)) {
                return Ok(HourCounted::Nothing);
            }
            *kept.counted.entry((hour, account)).or_default() += 1;
            Ok(HourCounted::Posted(1))
        }

        async fn finish_credit_hour(&self, next: Timestamp) -> Result<(), StoreError> {
            let mut kept = self.kept.lock();
            kept.next = kept.next.max(Some(next));
            Ok(())
        }

        async fn credits(&self, _: AccountId) -> Result<CreditBalance, StoreError> {
            Ok(CreditBalance::default())
        }

        async fn earned_hours(
            &self,
            _: AccountId,
            _: Option<(Timestamp, NodeId)>,
            _: u32,
        ) -> Result<Vec<EarnedHour>, StoreError> {
            Ok(Vec::new())
        }

        async fn owner_records(&self, _: &OwnerQuery) -> Result<Vec<OwnerRecord>, StoreError> {
            Ok(Vec::new())
        }

        async fn hold_credits(&self, _: AccountId, _: bool, _: AuditEntry) -> Result<bool, StoreError> {
            Ok(false)
        }
    }

    fn book() -> Arc<Book> {
        let mut owners = vec![AccountId::new(), AccountId::new(), AccountId::new()];
        owners.sort();
        Arc::new(Book {
            owners,
            ..Book::default()
        })
    }

    fn rules() -> CreditRules {
        super::super::OwnersConfig::default().rules()
    }

    /// One process; it ends in the middle of whatever it does when the handle is aborted.
    fn start(book: &Arc<Book>, clock: &Arc<TurnedClock>) -> JoinHandle<()> {
        let (book, clock) = (Arc::clone(book), Arc::clone(clock));
        tokio::spawn(run(book, clock, rules(), CancellationToken::new()))
    }

    impl Book {
        /// Every hour from the first one on was counted once for each account, up to 26 hours ago.
        fn check(&self, first: Timestamp, clock: &TurnedClock) {
            let kept = self.kept.lock();
            let last = clock.now().minus(SETTLED_AFTER).hour_start();
            let mut hour = first;
            let mut expected = BTreeMap::new();
            while hour <= last {
                expected.extend(self.owners.iter().map(|owner| ((hour, *owner), 1)));
                hour = hour.plus(HOUR);
            }
            assert_eq!(kept.counted, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_hour_is_noted_as_it_passes_and_counted_26_hours_later() {
        let (book, clock) = (book(), Arc::new(TurnedClock::new()));
        let began = clock.now();
        let _task = start(&book, &clock);
        tokio::time::sleep(Duration::from_secs(72 * 3600 + 60)).await;
        book.check(began.minus(SETTLED_AFTER).hour_start(), &clock);
        let mut hour = began.hour_start();
        while hour <= clock.now().hour_start() {
            assert!(book.kept.lock().noted.contains(&hour), "{hour}");
            hour = hour.plus(HOUR);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn restarts_and_a_second_process_count_nothing_twice_and_leave_nothing_out() {
        let (book, clock) = (book(), Arc::new(TurnedClock::new()));
        let first = clock.now().minus(SETTLED_AFTER).hour_start();
        for run in 0..20 {
            // Two processes, and the data go away in the middle of an hour.
            book.kept.lock().left = Some(run);
            let tasks = [start(&book, &clock), start(&book, &clock)];
            tokio::time::sleep(Duration::from_secs(2 * 3600 + 7)).await;
            tasks.iter().for_each(JoinHandle::abort);
            // Nobody runs for a while.
            tokio::time::sleep(Duration::from_secs(5 * 3600)).await;
        }
        let _task = start(&book, &clock);
        tokio::time::sleep(INTERVAL).await;
        book.check(first, &clock);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_was_away_for_a_week_catches_up_in_steps() {
        let (book, clock) = (book(), Arc::new(TurnedClock::new()));
        let first = clock.now().minus(SETTLED_AFTER).hour_start();
        let task = start(&book, &clock);
        tokio::time::sleep(INTERVAL / 2).await;
        task.abort();
        tokio::time::sleep(Duration::from_secs(7 * 24 * 3600)).await;
        let _task = start(&book, &clock);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let counted = book.kept.lock().counted.len();
        assert_eq!(counted, book.owners.len() * (1 + 48), "one look is bounded");
        tokio::time::sleep(INTERVAL * 4).await;
        book.check(first, &clock);
    }
}
