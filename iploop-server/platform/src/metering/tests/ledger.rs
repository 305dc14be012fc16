//! A ledger in memory that keeps the contract of [`Ledger`], and fails when told to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::ids::{AccountId, GatewayId, LeaseId, RequestId};
use crate::store::{Lease, Ledger, StoreError};
use crate::usage::{Balance, UsageRecord};

#[derive(Default)]
pub(crate) struct MemoryLedger {
    books: Mutex<Books>,
    /// Every call fails before it does anything.
    pub(crate) away: AtomicBool,
    /// Every call waits forever.
    pub(crate) hangs: AtomicBool,
    /// So many calls do their work and then say that they failed.
    pub(crate) doubtful: AtomicU32,
    /// Calls of `settle` that reached the data.
    pub(crate) settles: AtomicU32,
}

#[derive(Default)]
struct Books {
    credits: BTreeMap<AccountId, i64>,
    used: BTreeMap<AccountId, i64>,
    leases: BTreeMap<(AccountId, GatewayId), u64>,
    rows: BTreeMap<RequestId, UsageRecord>,
    refused: BTreeSet<RequestId>,
}

impl MemoryLedger {
    pub(crate) fn with(account: AccountId, bytes: i64) -> Arc<Self> {
        let ledger = Self::default();
        ledger.add(account, bytes);
        Arc::new(ledger)
    }

    pub(crate) fn add(&self, account: AccountId, bytes: i64) {
        *self.books.lock().credits.entry(account).or_default() += bytes;
    }

    /// From now on records of this request are refused.
    pub(crate) fn refuse(&self, request: RequestId) {
        self.books.lock().refused.insert(request);
    }

    pub(crate) fn row(&self, request: RequestId) -> Option<UsageRecord> {
        self.books.lock().rows.get(&request).cloned()
    }

    pub(crate) fn rows(&self) -> usize {
        self.books.lock().rows.len()
    }

    pub(crate) fn books(&self, account: AccountId) -> Balance {
        self.books.lock().balance(account)
    }

    /// What the rows of an account say was used: must be what the balance went down by.
    pub(crate) fn billed(&self, account: AccountId) -> i64 {
        let books = self.books.lock();
        books
            .rows
            .values()
            .filter(|row| row.account == account)
            .map(billable)
            .sum()
    }

    async fn answer<T>(
        &self,
        work: impl FnOnce(&mut Books) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        tokio::task::yield_now().await;
        if self.hangs.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.away.load(SeqCst) {
            return Err(StoreError::Unavailable("away".into()));
        }
        let result = work(&mut self.books.lock());
        if self
            .doubtful
            .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
            .is_ok()
        {
            return Err(StoreError::Unavailable("the answer was lost".into()));
        }
        result
    }
}

impl Books {
    fn balance(&self, account: AccountId) -> Balance {
        let used = self.used.get(&account).copied().unwrap_or(0);
        let leased: u64 = self
            .leases
            .iter()
            .filter(|((of, _), _)| *of == account)
            .map(|(_, bytes)| bytes)
            .sum();
        Balance {
            bytes: self.credits.get(&account).copied().unwrap_or(0) - used,
            leased_bytes: i64::try_from(leased).unwrap(),
            used_bytes: used,
        }
    }

    fn book(&mut self, record: &UsageRecord) {
        let known = self.rows.get(&record.id);
        let before = known.map_or(0, billable);
        // As the real one decides: totals only grow, an end is never undone, and of two ends the first stands.
        let mut row = match known {
            Some(known)
                if known
                    .ended_at
                    .is_some_and(|end| record.ended_at.is_none_or(|other| end <= other)) =>
            {
                known.clone()
            }
            Some(known) => {
                assert!(
                    known.ended_at.is_none(),
                    "{record:?} would replace the end in {known:?}"
                );
                record.clone()
            }
            None => record.clone(),
        };
        if let Some(known) = known {
            row.bytes_up = known.bytes_up.max(record.bytes_up);
            row.bytes_down = known.bytes_down.max(record.bytes_down);
        }
        let new = billable(&row) - before;
        *self.used.entry(record.account).or_default() += new;
        if let Some(lease) = self.leases.get_mut(&(record.account, record.gateway)) {
            *lease = lease.saturating_sub(u64::try_from(new).unwrap_or(0));
        }
        self.rows.insert(record.id, row);
    }
}

fn total(record: &UsageRecord) -> u64 {
    record.bytes_up + record.bytes_down
}

fn billable(record: &UsageRecord) -> i64 {
    if record.billable {
        i64::try_from(total(record)).unwrap()
    } else {
        0
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn balance(&self, account: AccountId) -> Result<Balance, StoreError> {
        self.answer(|books| Ok(books.balance(account))).await
    }

    async fn take_lease(
        &self,
        account: AccountId,
        gateway: GatewayId,
        want_bytes: u64,
        _now: Timestamp,
    ) -> Result<Lease, StoreError> {
        self.answer(|books| {
            let balance = books.balance(account);
            let free = u64::try_from(balance.bytes - balance.leased_bytes).unwrap_or(0);
            let granted_bytes = want_bytes.min(free);
            *books.leases.entry((account, gateway)).or_default() += granted_bytes;
            Ok(Lease {
                id: LeaseId::new(),
                granted_bytes,
            })
        })
        .await
    }

    async fn settle(&self, records: &[UsageRecord], _now: Timestamp) -> Result<(), StoreError> {
        assert!(records.len() <= 1000, "a batch has a bound");
        self.answer(|books| {
            self.settles.fetch_add(1, SeqCst);
            if records.iter().any(|record| books.refused.contains(&record.id)) {
                return Err(StoreError::Internal("a row can't be written".into()));
            }
            for record in records {
                books.book(record);
            }
            Ok(())
        })
        .await
    }

    async fn shrink_lease(
        &self,
        account: AccountId,
        gateway: GatewayId,
        bytes: u64,
    ) -> Result<(), StoreError> {
        self.answer(|books| {
            if let Some(lease) = books.leases.get_mut(&(account, gateway)) {
                *lease = lease.saturating_sub(bytes);
            }
            Ok(())
        })
        .await
    }

    async fn return_leases(&self, gateway: GatewayId, account: Option<AccountId>) -> Result<(), StoreError> {
        self.answer(|books| {
            books
                .leases
                .retain(|(of, by), _| *by != gateway || account.is_some_and(|account| account != *of));
            Ok(())
        })
        .await
    }

    async fn credit(
        &self,
        account: AccountId,
        bytes: i64,
        _description: &str,
        _key: &str,
        _now: Timestamp,
    ) -> Result<Balance, StoreError> {
        self.answer(|books| {
            *books.credits.entry(account).or_default() += bytes;
            Ok(books.balance(account))
        })
        .await
    }
}
