//! The queue before the way out: bounded, with retries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::mail::{Mail, MailError, Mailer};

/// Mails that may wait, those for their next try included.
const CAPACITY: usize = 1024;
/// Waits before the second try and those after it; after the last one the mail is given up.
const RETRIES: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(3 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(60 * 60),
];
/// How long one try may take.
const TRY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long what waits is still sent after the end was asked for.
const LAST_TRIES: Duration = Duration::from_secs(5);

/// Takes mails to be sent. Clones feed the same queue.
#[derive(Clone)]
pub struct MailQueue {
    mails: mpsc::Sender<Queued>,
    places: Arc<Semaphore>,
}

/// The queue is full: the mail server does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the mail queue is full")]
pub struct MailQueueFull;

/// Sends what is queued, one at a time.
///
/// The queue is memory: mails that wait when the process dies are lost. Those to accounts wait in the outbox instead
/// ([`crate::notices`]).
pub struct MailTask {
    mails: mpsc::Receiver<Queued>,
    mailer: Arc<dyn Mailer>,
}

/// A mail and its place in the queue, given up when it is sent or dropped.
struct Queued {
    mail: Mail,
    tries: usize,
    _place: OwnedSemaphorePermit,
}

/// A queue before `mailer`. Nothing is sent until [`MailTask::run`].
pub fn start(mailer: Arc<dyn Mailer>) -> (MailQueue, MailTask) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let queue = MailQueue {
        mails: sender,
        places: Arc::new(Semaphore::new(CAPACITY)),
    };
    (
        queue,
        MailTask {
            mails: receiver,
            mailer,
        },
    )
}

impl MailQueue {
    /// Queues a mail without waiting.
    pub fn push(&self, mail: Mail) -> Result<(), MailQueueFull> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| MailQueueFull)?;
        self.mails
            .try_send(Queued {
                mail,
                tries: 0,
                _place: place,
            })
            .map_err(|_| MailQueueFull)
    }
}

impl MailTask {
    /// Runs until `shutdown`, then tries once more what waits, for 5 seconds at most.
    pub async fn run(mut self, shutdown: CancellationToken) {
        // By time and a number that keeps equal times apart.
        let mut later: BTreeMap<(Instant, u64), Queued> = BTreeMap::new();
        let mut number = 0;
        loop {
            let due = later.first_key_value().map(|((due, _), _)| *due);
            let queued = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = sleep_until(due) => later.pop_first().map(|(_, queued)| queued),
                queued = self.mails.recv() => match queued {
                    Some(queued) => Some(queued),
                    None if later.is_empty() => return,
                    None => { sleep_until(due).await; None }
                },
            };
            let Some(queued) = queued else { continue };
            if let Some(again) = self.attempt(queued).await {
                let wait = RETRIES[again.tries - 1];
                number += 1;
                later.insert((Instant::now() + wait, number), again);
            }
        }
        self.mails.close();
        let last = async {
            while let Some(queued) = self.mails.recv().await {
                self.attempt(queued).await;
            }
        };
        if tokio::time::timeout(LAST_TRIES, last).await.is_err() || !later.is_empty() {
            tracing::warn!(
                mails = later.len() + self.mails.len(),
                "mails were not sent before the end"
            );
        }
    }

    /// The mail again if another try may help.
    async fn attempt(&self, mut queued: Queued) -> Option<Queued> {
        let sent = tokio::time::timeout(TRY_TIMEOUT, self.mailer.send(&queued.mail))
            .await
            .unwrap_or_else(|_| Err(MailError::Transient("no answer in time".to_owned())));
        queued.tries += 1;
        match sent {
            Ok(()) => {
                metrics::counter!("iploop_mails_total", "result" => "sent").increment(1);
                None
            }
            Err(MailError::Transient(reason)) if queued.tries <= RETRIES.len() => {
                metrics::counter!("iploop_mails_total", "result" => "retried").increment(1);
                tracing::warn!(
                    tries = queued.tries,
                    subject = queued.mail.subject,
                    reason,
                    "mail will be tried again"
                );
                Some(queued)
            }
            Err(error) => {
                metrics::counter!("iploop_mails_total", "result" => "failed").increment(1);
                tracing::error!(tries = queued.tries, subject = queued.mail.subject, %error, "mail given up");
                None
            }
        }
    }
}

/// Never, without a time.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use async_trait::async_trait;
    use parking_lot::Mutex;
    use tokio::sync::Notify;

    use super::*;

    /// Answers from a list, then takes everything.
    #[derive(Default)]
    struct Scripted {
        answers: Mutex<VecDeque<Result<(), MailError>>>,
        taken: Mutex<Vec<(String, Instant)>>,
        progress: Notify,
    }

    #[async_trait]
    impl Mailer for Scripted {
        async fn send(&self, mail: &Mail) -> Result<(), MailError> {
            let answer = self.answers.lock().pop_front().unwrap_or(Ok(()));
            if answer.is_ok() {
                self.taken.lock().push((mail.subject.clone(), Instant::now()));
            }
            self.progress.notify_one();
            answer
        }
    }

    fn mail(subject: &str) -> Mail {
        Mail {
            to: "ada@example.com".parse().unwrap(),
            to_name: String::new(),
            subject: subject.to_owned(),
            text: String::new(),
            html: String::new(),
            unsubscribe: None,
        }
    }

    fn transient() -> Result<(), MailError> {
        Err(MailError::Transient("busy".to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_transient_failure_is_tried_again_and_delays_nobody_else() {
        let mailer = Arc::new(Scripted::default());
        mailer.answers.lock().extend([transient(), Ok(()), transient()]);
        let (queue, task) = start(mailer.clone());
        let begin = Instant::now();
        queue.push(mail("slow")).unwrap();
        queue.push(mail("quick")).unwrap();
        drop(queue);
        task.run(CancellationToken::new()).await;
        let taken: Vec<_> = mailer
            .taken
            .lock()
            .iter()
            .map(|(subject, at)| (subject.clone(), *at - begin))
            .collect();
        assert_eq!(
            taken,
            [
                ("quick".to_owned(), Duration::ZERO),
                ("slow".to_owned(), RETRIES[0] + RETRIES[1])
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_mail_is_given_up_at_once_and_a_failing_one_after_the_last_retry() {
        let mailer = Arc::new(Scripted::default());
        mailer
            .answers
            .lock()
            .push_back(Err(MailError::Permanent("no such user".to_owned())));
        mailer
            .answers
            .lock()
            .extend((0..=RETRIES.len()).map(|_| transient()));
        let (queue, task) = start(mailer.clone());
        queue.push(mail("refused")).unwrap();
        queue.push(mail("failing")).unwrap();
        drop(queue);
        task.run(CancellationToken::new()).await;
        assert!(mailer.taken.lock().is_empty());
        assert!(mailer.answers.lock().is_empty(), "every try was made");
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded_mails_between_tries_included() {
        let mailer = Arc::new(Scripted::default());
        mailer.answers.lock().push_back(transient());
        let (queue, task) = start(mailer.clone());
        for number in 0..CAPACITY {
            queue.push(mail(&number.to_string())).unwrap();
        }
        assert_eq!(queue.push(mail("one too many")), Err(MailQueueFull));
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(task.run(shutdown.clone()));
        while mailer.taken.lock().len() < CAPACITY - 1 {
            mailer.progress.notified().await;
        }
        assert!(queue.push(mail("room again")).is_ok());
        shutdown.cancel();
        running.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_at_the_end_is_sent_once_more() {
        let mailer = Arc::new(Scripted::default());
        let (queue, task) = start(mailer.clone());
        queue.push(mail("last")).unwrap();
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        task.run(shutdown).await;
        assert_eq!(mailer.taken.lock().len(), 1);
        assert_eq!(queue.push(mail("too late")), Err(MailQueueFull));
    }
}
