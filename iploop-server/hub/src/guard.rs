//! Limits of each customer on each device, counted here as the device counts them, so that a refusal costs no round trip. What
//! the device itself counts is what holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use iploop_platform::abuse::{AbuseWatch, Cause};
use iploop_platform::account::Standing;
use iploop_platform::exits::Places;
use iploop_platform::ids::{AccountId, NodeId};
use iploop_protocol::destination::Destination;
use iploop_protocol::policy::{AbuseLimits, AbuseTable, Limit, Limited};
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

/// Customers on devices that are remembered. Beyond, what a new one does is counted by its device alone.
const MAX_REMEMBERED: usize = 50_000;

/// A customer on a device; customers as devices see them.
type Who = (NodeId, u64);

/// The limits, and who has used how much of them.
pub(crate) struct Guard {
    table: Mutex<AbuseTable<Who>>,
    limits: RwLock<AbuseLimits>,
    /// Of new customers, in per cent of the limits.
    new_customer_percent: u32,
    /// Hears of refusals.
    pub(crate) watch: AbuseWatch,
}

/// A stream that was counted, until it is dropped.
pub(crate) struct Ticket {
    guard: Arc<Guard>,
    who: Who,
    standing: Standing,
}

impl Guard {
    pub(crate) fn new(new_customer_percent: u32, watch: AbuseWatch) -> Self {
        Self {
            table: Mutex::new(AbuseTable::new(MAX_REMEMBERED)),
            limits: RwLock::default(),
            new_customer_percent,
            watch,
        }
    }

    pub(crate) fn set_limits(&self, limits: AbuseLimits) {
        *self.limits.write() = limits;
    }

    fn limits(&self, standing: Standing) -> AbuseLimits {
        let limits = *self.limits.read();
        match standing {
            Standing::New => limits.scaled(self.new_customer_percent),
            Standing::Established => limits,
        }
    }

    /// Counts a stream to be opened; none where there is no room to count it. Without a destination it is one of datagrams,
    /// whose places are counted by [`Ticket::places`].
    pub(crate) fn admit(
        self: &Arc<Self>,
        node: NodeId,
        customer: u64,
        standing: Standing,
        to: Option<&Destination>,
    ) -> Result<Option<Ticket>, Limited> {
        let limits = self.limits(standing);
        let who = (node, customer);
        let now = Instant::now().into_std();
        let mut table = self.table.lock();
        let admitted = match to {
            Some(to) => table.admit(now, &limits, who, to),
            None => table.admit_datagrams(now, &limits, who),
        };
        drop(table);
        match admitted {
            Ok(()) => Ok(Some(Ticket {
                guard: Arc::clone(self),
                who,
                standing,
            })),
            Err(limited) if limited.limit == Limit::Customers => {
                metrics::counter!("iploop_hub_uncounted_customers_total").increment(1);
                Ok(None)
            }
            Err(limited) => Err(limited),
        }
    }
}

impl Ticket {
    /// The dial ended. True: so many failed that the customer is stopped on this device from now on.
    pub(crate) fn dialled(&self, is_failure: bool) -> bool {
        let limits = self.guard.limits(self.standing);
        let mut table = self.guard.table.lock();
        table.dialled(Instant::now().into_std(), &limits, self.who, is_failure)
    }
}

/// Counts where the datagrams of one stream go, for as long as its ticket lives.
pub(crate) struct Visits {
    guard: Arc<Guard>,
    who: Who,
    standing: Standing,
    account: AccountId,
    /// The watch was told of a refusal. Once for a stream: a client that asks again and again is stubborn, and no worse than that.
    is_told: AtomicBool,
}

impl Ticket {
    /// For the stream of datagrams that this is the ticket of.
    pub(crate) fn places(&self, account: AccountId) -> Visits {
        Visits {
            guard: Arc::clone(&self.guard),
            who: self.who,
            standing: self.standing,
            account,
            is_told: AtomicBool::new(false),
        }
    }
}

impl Places for Visits {
    fn visit(&self, to: &Destination) -> Result<(), Limited> {
        let limits = self.guard.limits(self.standing);
        let now = Instant::now().into_std();
        let visited = self.guard.table.lock().dial(now, &limits, self.who, to);
        visited.inspect_err(|limited| {
            if !self.is_told.swap(true, Relaxed) {
                let cause = Cause::Limit(limited.limit);
                self.guard.watch.refused(self.account, Some(self.who.0), cause);
            }
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.guard.table.lock().finished(self.who);
    }
}
