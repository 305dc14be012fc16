//! Answers that are kept for as long as what they were read from stands: exact, whichever process changes it.
//!
//! What may change has a version, which counts up in the transaction of each change. A reader reads the version first and
//! then the answer, so an answer is at least as new as the version that it is kept under.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::Semaphore;

/// An answer that nobody asked for in so long is forgotten.
const IDLE: Duration = Duration::from_secs(300);
/// Questions that are read at the same time; those that share a turn wait for each other.
const TURNS: usize = 64;

/// Answers by question, bounded in bytes.
pub(crate) struct Kept<Q, A> {
    answers: Cache<Q, (i64, A)>,
    turns: [Semaphore; TURNS],
}

impl<Q, A> Kept<Q, A>
where
    Q: Hash + Eq + Send + Sync + 'static,
    A: Clone + Send + Sync + 'static,
{
    /// Keeps at most `max_bytes`, by what `weigh` says an entry takes.
    pub(crate) fn new(max_bytes: u64, weigh: fn(&Q, &A) -> usize) -> Self {
        let weigh = move |question: &Q, (_, answer): &(i64, A)| {
            u32::try_from(weigh(question, answer)).unwrap_or(u32::MAX)
        };
        Self {
            answers: Cache::builder()
                .max_capacity(max_bytes)
                .weigher(weigh)
                .time_to_idle(IDLE)
                .build(),
            turns: std::array::from_fn(|_| Semaphore::new(1)),
        }
    }

    /// The answer that was kept under `version` or a later one, else the one that `read` brings. Of many who ask the same at
    /// once one reads.
    ///
    /// # Cancel safety
    /// May be dropped at any time; then the next one reads.
    pub(crate) async fn get<E>(
        &self,
        question: Q,
        version: i64,
        read: impl Future<Output = Result<A, E>>,
    ) -> Result<A, E> {
        if let Some(answer) = self.kept(&question, version) {
            return Ok(answer);
        }
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&question);
        let turn = usize::try_from(hash % TURNS as u64).unwrap_or(0);
        // Never closed: an error does not happen, and would only mean to read more often.
        let _turn = self.turns[turn].acquire().await.ok();
        if let Some(answer) = self.kept(&question, version) {
            return Ok(answer);
        }
        let answer = read.await?;
        self.answers.insert(question, (version, answer.clone()));
        Ok(answer)
    }

    fn kept(&self, question: &Q, version: i64) -> Option<A> {
        let (kept_under, answer) = self.answers.get(question)?;
        (kept_under >= version).then_some(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    fn kept() -> Kept<&'static str, u32> {
        Kept::new(1_000, |_, _| 1)
    }

    #[tokio::test]
    async fn an_answer_stands_until_the_version_counts_up() {
        let kept = kept();
        let ask = |version, read| kept.get("sums", version, async move { Ok::<_, Infallible>(read) });
        assert_eq!(ask(1, 10).await, Ok(10));
        assert_eq!(ask(1, 11).await, Ok(10));
        assert_eq!(ask(2, 12).await, Ok(12));
        assert_eq!(
            ask(1, 13).await,
            Ok(12),
            "a later answer is good for who asks under an earlier version"
        );
    }

    #[tokio::test]
    async fn what_could_not_be_read_is_read_again() {
        let kept = kept();
        assert_eq!(kept.get("sums", 1, async { Err("gone") }).await, Err("gone"));
        assert_eq!(kept.get("sums", 1, async { Ok::<_, &str>(7) }).await, Ok(7));
    }

    #[tokio::test]
    async fn of_many_who_ask_the_same_at_once_one_reads() {
        let (kept, reads) = (kept(), AtomicU32::new(0));
        let ask = || {
            kept.get("sums", 1, async {
                tokio::task::yield_now().await;
                Ok::<_, Infallible>(reads.fetch_add(1, Ordering::Relaxed))
            })
        };
        let answers = join_all((0..20).map(|_| ask())).await;
        assert_eq!(answers, vec![Ok(0); 20]);
        assert_eq!(reads.load(Ordering::Relaxed), 1);
    }
}
