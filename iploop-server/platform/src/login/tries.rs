//! Tries at passwords. Each counts from its begin, so that parallel ones get no more than there are, until it turns out right.
//!
//! One that is too many while others of the same account or client are under way here waits for them: those that turn out right
//! give their tries back. One that waits is counted no earlier than any other, so waiting gains nobody a try.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::throttle::client_network;
use super::{LoginError, Logins};
use crate::shared::SharedThrottle;

/// Longest wait for tries that are under way.
const WAIT: Duration = Duration::from_secs(5);
/// Tries that may wait for those of one account, client, or both.
const MAX_WAITING: usize = 64;

/// What one try counts for: the client's network, the account from there, the account.
const SUBJECTS: usize = 3;

/// The tries that are under way in this process, by what they count for.
#[derive(Default)]
pub(super) struct UnderWay(Mutex<HashMap<String, Group>>);

/// Tries that count for the same.
#[derive(Default)]
struct Group {
    /// All of them, those that wait included: the group is there for their sake.
    members: usize,
    /// Being counted, or counted and not ended.
    active: usize,
    waiting: usize,
    /// Counted ones that ended.
    ends: u64,
    changed: Arc<Notify>,
}

/// A try that was counted, while it is under way. Dropping it ends it: it counts on, unless it was given back.
pub(crate) struct Tried {
    under_way: Arc<UnderWay>,
    subjects: [String; SUBJECTS],
    is_active: bool,
}

impl Logins {
    /// Counts a try at an account's password, as signing in does; a success is given back by [`Logins::give_tries_back`].
    ///
    /// # Cancel safety
    /// The try may be counted all the same.
    pub(crate) async fn take_tries(&self, name: &str, client: IpAddr) -> Result<Tried, LoginError> {
        let mut tried = Tried::new(&self.0.under_way, name, client);
        let deadline = Instant::now() + WAIT;
        loop {
            let ends = tried.begin();
            let Err((full, retry_after)) = self.count(&tried).await else {
                return Ok(tried);
            };
            tried.stop();
            let may_go_on = timeout_at(deadline, tried.wait(full, ends)).await;
            if !may_go_on.unwrap_or(false) {
                return Err(LoginError::Throttled { retry_after });
            }
        }
    }

    /// It was a right one.
    pub(crate) async fn give_tries_back(&self, tried: Tried) {
        for (throttle, subject) in self.throttles().into_iter().zip(&tried.subjects) {
            throttle.give_back(subject).await;
        }
    }

    /// Counts it for all of its subjects or for none; which of them is used up, and until when.
    async fn count(&self, tried: &Tried) -> Result<(), (usize, Duration)> {
        let (throttles, now) = (self.throttles(), self.0.clock.now());
        for (index, (throttle, subject)) in throttles.iter().zip(&tried.subjects).enumerate() {
            if let Err(wait) = throttle.take(subject, now).await {
                // A refused try must not use up what the others allow.
                for (taken, subject) in throttles.iter().zip(&tried.subjects).take(index) {
                    taken.give_back(subject).await;
                }
                return Err((index, wait));
            }
        }
        Ok(())
    }

    /// In the order of [`Tried::subjects`].
    fn throttles(&self) -> [&SharedThrottle; SUBJECTS] {
        [&self.0.by_client, &self.0.by_both, &self.0.by_account]
    }
}

impl Tried {
    fn new(under_way: &Arc<UnderWay>, name: &str, client: IpAddr) -> Self {
        let client = client_network(client).to_string();
        let subjects = [client.clone(), format!("{client} {name}"), name.to_owned()];
        {
            let mut groups = under_way.0.lock();
            for key in keys(&subjects) {
                groups.entry(key).or_default().members += 1;
            }
        }
        Self {
            under_way: Arc::clone(under_way),
            subjects,
            is_active: false,
        }
    }

    /// It is about to be counted. How many of each group ended until now.
    fn begin(&mut self) -> [u64; SUBJECTS] {
        self.is_active = true;
        let mut ends = [0; SUBJECTS];
        let mut groups = self.under_way.0.lock();
        for (key, ends) in keys(&self.subjects).zip(&mut ends) {
            let group = groups.entry(key).or_default();
            group.active += 1;
            *ends = group.ends;
        }
        ends
    }

    /// It was not counted: whoever waits for it in vain shall know.
    fn stop(&mut self) {
        self.is_active = false;
        let mut groups = self.under_way.0.lock();
        for key in keys(&self.subjects) {
            if let Some(group) = groups.get_mut(&key) {
                group.active -= 1;
                if group.active == 0 {
                    group.changed.notify_waiters();
                }
            }
        }
    }

    /// Waits until another try of a group has ended since `ends`; false: none is under way, or too many wait.
    async fn wait(&self, subject: usize, ends: [u64; SUBJECTS]) -> bool {
        let (Some(key), Some(ends)) = (keys(&self.subjects).nth(subject), ends.get(subject)) else {
            return false;
        };
        let look = |begins: bool| {
            let mut groups = self.under_way.0.lock();
            let Some(group) = groups.get_mut(&key) else {
                return Look::Over;
            };
            match () {
                () if group.ends != *ends => Look::Again,
                () if group.active == 0 || begins && group.waiting >= MAX_WAITING => Look::Over,
                () => {
                    group.waiting += usize::from(begins);
                    Look::Wait(Arc::clone(&group.changed))
                }
            }
        };
        let changed = match look(true) {
            Look::Again => return true,
            Look::Over => return false,
            Look::Wait(changed) => changed,
        };
        let _place = Place(&self.under_way, &key);
        loop {
            let mut notified = std::pin::pin!(changed.notified());
            // From here on nothing is missed.
            notified.as_mut().enable();
            match look(false) {
                Look::Again => return true,
                Look::Over => return false,
                Look::Wait(_) => notified.await,
            }
        }
    }
}

enum Look {
    /// One ended: there may be a try.
    Again,
    /// There is nothing to wait for.
    Over,
    Wait(Arc<Notify>),
}

/// A place among those that wait.
struct Place<'a>(&'a UnderWay, &'a str);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(group) = self.0.0.lock().get_mut(self.1) {
            group.waiting -= 1;
        }
    }
}

impl Drop for Tried {
    fn drop(&mut self) {
        let mut groups = self.under_way.0.lock();
        for key in keys(&self.subjects) {
            let Some(group) = groups.get_mut(&key) else {
                continue;
            };
            group.members -= 1;
            if self.is_active {
                group.active -= 1;
                group.ends += 1;
                // One try at most is free by it; with the last one all know that there is nothing to wait for.
                match group.active {
                    0 => group.changed.notify_waiters(),
                    _ => group.changed.notify_one(),
                }
            }
            if group.members == 0 {
                groups.remove(&key);
            }
        }
    }
}

/// Subjects of different kinds that read the same are different groups.
fn keys(subjects: &[String; SUBJECTS]) -> impl Iterator<Item = String> {
    let kinds = ["client", "both", "account"];
    kinds
        .into_iter()
        .zip(subjects)
        .map(|(kind, subject)| format!("{kind} {subject}"))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const CLIENT: usize = 0;
    const ACCOUNT: usize = 2;

    fn tried(under_way: &Arc<UnderWay>, name: &str, last: u8) -> (Tried, [u64; SUBJECTS]) {
        let mut tried = Tried::new(under_way, name, [192, 0, 2, last].into());
        let ends = tried.begin();
        (tried, ends)
    }

    #[test]
    fn a_try_waits_for_one_of_its_own_account_and_for_no_other() {
        let under_way = Arc::new(UnderWay::default());
        let (first, _) = tried(&under_way, "ada", 1);
        let (mut second, ends) = tried(&under_way, "ada", 2);
        second.stop();
        assert_eq!(
            second.wait(CLIENT, ends).now_or_never(),
            Some(false),
            "nobody else is there"
        );
        {
            let mut turn = std::pin::pin!(second.wait(ACCOUNT, ends));
            assert_eq!(turn.as_mut().now_or_never(), None);
            let (other, _) = tried(&under_way, "eve", 1);
            drop(other);
            assert_eq!(turn.as_mut().now_or_never(), None);
            drop(first);
            assert_eq!(turn.now_or_never(), Some(true));
        }
        let ends = second.begin();
        second.stop();
        assert_eq!(second.wait(ACCOUNT, ends).now_or_never(), Some(false));
        drop(second);
        assert!(under_way.0.lock().is_empty());
    }

    #[test]
    fn one_that_is_not_counted_after_all_ends_the_wait_for_it() {
        let under_way = Arc::new(UnderWay::default());
        let (mut first, _) = tried(&under_way, "ada", 1);
        let (mut second, ends) = tried(&under_way, "ada", 1);
        second.stop();
        let mut turn = std::pin::pin!(second.wait(ACCOUNT, ends));
        assert_eq!(turn.as_mut().now_or_never(), None);
        first.stop();
        assert_eq!(turn.now_or_never(), Some(false));
    }

    #[test]
    fn what_ended_before_the_wait_began_is_not_missed() {
        let under_way = Arc::new(UnderWay::default());
        let (first, _) = tried(&under_way, "ada", 1);
        let (mut second, ends) = tried(&under_way, "ada", 1);
        drop(first);
        second.stop();
        assert_eq!(second.wait(ACCOUNT, ends).now_or_never(), Some(true));
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let under_way = Arc::new(UnderWay::default());
        let (_first, _) = tried(&under_way, "ada", 1);
        let waiting: Vec<_> = (0..=MAX_WAITING)
            .map(|_| {
                let (mut tried, ends) = tried(&under_way, "ada", 1);
                tried.stop();
                (tried, ends)
            })
            .collect();
        let mut turns: Vec<_> = waiting
            .iter()
            .map(|(tried, ends)| Box::pin(tried.wait(ACCOUNT, *ends)))
            .collect();
        let last = turns.pop().unwrap();
        for turn in &mut turns {
            assert_eq!(turn.as_mut().now_or_never(), None);
        }
        assert_eq!(last.now_or_never(), Some(false));
        turns.pop();
        let (tried, ends) = waiting.last().unwrap();
        assert_eq!(
            tried.wait(ACCOUNT, *ends).now_or_never(),
            None,
            "there is room again"
        );
    }
}
