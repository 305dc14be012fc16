//! The background job: looks for news, and hands them to the hub.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Connected, DeviceNews};
use crate::clock::{Clock, Timestamp};
use crate::store::StoreError;

/// News of other processes are looked for this often: whatever they ask for is done within 5 seconds.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// So far back each time: clocks differ, a device may be on its way in, and a hub believes a partner key for half a minute.
const OVERLAP: Duration = Duration::from_secs(60);
/// News of one kind heard together.
const AT_ONCE: u32 = 2_000;
/// How long notes are kept, and how often old ones are forgotten.
const KEPT: Duration = Duration::from_secs(3600);
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// Rung by who changed something: then the news are heard at once. Clones ring the same task.
#[derive(Clone, Debug, Default)]
pub struct NewsBell(Arc<Notify>);

impl NewsBell {
    /// Rings. That nobody listens does no harm: whoever has devices looks by itself.
    pub fn ring(&self) {
        self.0.notify_one();
    }
}

/// Hears of what changed here and elsewhere.
pub struct NewsTask {
    store: Arc<dyn DeviceNews>,
    clock: Arc<dyn Clock>,
    connected: Arc<dyn Connected>,
    bell: NewsBell,
}

impl NewsTask {
    /// For the devices that are connected here; the task must run.
    pub fn new(
        store: Arc<dyn DeviceNews>,
        clock: Arc<dyn Clock>,
        connected: Arc<dyn Connected>,
    ) -> (NewsBell, Self) {
        let bell = NewsBell::default();
        let task = Self {
            store,
            clock,
            connected,
            bell: bell.clone(),
        };
        (bell, task)
    }

    /// Runs until `stop`.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn run(self, stop: CancellationToken) {
        let _: Option<()> = stop.run_until_cancelled(self.listen()).await;
    }

    async fn listen(&self) {
        let mut every = interval(LOOK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut from = self.clock.now();
        let mut forget_at = from;
        loop {
            tokio::select! {
                () = self.bell.0.notified() => {}
                _ = every.tick() => {}
            }
            let now = self.clock.now();
            match self.look(from.minus(OVERLAP), now >= forget_at).await {
                Ok(()) if now >= forget_at => (from, forget_at) = (now, now.plus(FORGET_EVERY)),
                Ok(()) => from = now,
                Err(error) => tracing::warn!(%error, "news for devices could not be looked for"),
            }
        }
    }

    async fn look(&self, from: Timestamp, forgets: bool) -> Result<(), StoreError> {
        for news in self.store.device_news(from, AT_ONCE).await? {
            self.connected.hear(&news).await;
        }
        if forgets {
            self.store.forget_device_news(from.minus(KEPT)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

    use async_trait::async_trait;
    use parking_lot::Mutex;
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::super::{News, Said};
    use super::*;
    use crate::clock::TurnedClock;
    use crate::ids::NodeId;

    #[derive(Default)]
    struct Notes {
        noted: Mutex<Vec<(Timestamp, NodeId)>>,
        is_down: AtomicBool,
        forgotten: AtomicI64,
    }

    #[async_trait]
    impl DeviceNews for Notes {
        async fn device_news(&self, from: Timestamp, _: u32) -> Result<Vec<News>, StoreError> {
            if self.is_down.load(Ordering::Relaxed) {
                return Err(StoreError::Unavailable("down".into()));
            }
            let noted = self.noted.lock();
            let fresh = noted.iter().filter(|(at, _)| *at >= from);
            Ok(fresh.map(|(_, node)| News::Erased(*node)).collect())
        }

        async fn forget_device_news(&self, _: Timestamp) -> Result<(), StoreError> {
            self.forgotten.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    struct Ear(mpsc::Sender<(Duration, News)>, Instant);

    #[async_trait]
    impl Connected for Ear {
        async fn hear(&self, news: &News) {
            self.0.send((self.1.elapsed(), news.clone())).await.unwrap();
        }

        fn said(&self, _: NodeId) -> Option<Said> {
            None
        }
    }

    struct Scene {
        notes: Arc<Notes>,
        clock: Arc<TurnedClock>,
        bell: NewsBell,
        heard: mpsc::Receiver<(Duration, News)>,
        began: Instant,
    }

    fn scene() -> Scene {
        let began = Instant::now();
        let (sender, heard) = mpsc::channel(4096);
        let (notes, clock) = (Arc::new(Notes::default()), Arc::new(TurnedClock::new()));
        let ear = Arc::new(Ear(sender, began));
        let (bell, task) = NewsTask::new(notes.clone(), clock.clone(), ear);
        tokio::spawn(task.run(CancellationToken::new()));
        Scene {
            notes,
            clock,
            bell,
            heard,
            began,
        }
    }

    impl Scene {
        fn note(&self) -> NodeId {
            let node = NodeId::new();
            self.notes.noted.lock().push((self.clock.now(), node));
            node
        }

        /// When it is heard of.
        async fn hears(&mut self, node: NodeId) -> Duration {
            loop {
                let (at, news) = self.heard.recv().await.unwrap();
                if news == News::Erased(node) {
                    return at;
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ring_is_heard_at_once_and_what_others_did_within_five_seconds() {
        let mut scene = scene();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (node, noted_at) = (scene.note(), scene.began.elapsed());
        scene.bell.ring();
        assert_eq!(scene.hears(node).await, noted_at);
        let (node, noted_at) = (scene.note(), scene.began.elapsed());
        let heard_at = scene.hears(node).await;
        assert!(heard_at - noted_at <= Duration::from_secs(5), "{heard_at:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_on_its_way_in_is_met_and_nothing_is_missed_while_the_data_are_away() {
        let mut scene = scene();
        let node = scene.note();
        scene.hears(node).await;
        let again = scene.hears(node).await;
        assert!(again > Duration::ZERO, "heard again, for who came meanwhile");
        scene.notes.is_down.store(true, Ordering::Relaxed);
        let missed = scene.note();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        scene.notes.is_down.store(false, Ordering::Relaxed);
        scene.hears(missed).await;
        assert!(scene.notes.forgotten.load(Ordering::Relaxed) > 0);
    }
}
