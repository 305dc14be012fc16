//! Connects, again and again, until there is a reason to stop.

use std::sync::Arc;
use std::time::Duration;

use iploop_protocol::codes::CloseCode;
use iploop_protocol::io::Closed;
use tokio::time::{Instant, sleep_until};

use crate::backoff::{Backoff, STABLE};
use crate::error::NodeError;
use crate::hub::{ConnectError, Connector, bounded};
use crate::keeper;
use crate::session;
use crate::shared::{Shared, Stop};
use crate::sharing::NotSharing;
use crate::state::{OwnersWord, Withdrawn};
use crate::status::{Event, Link};

/// A network that changes all the time makes no storm of attempts.
const LEAST_BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);

/// Runs until the node is shut down.
pub(crate) async fn supervise(shared: Arc<Shared>, connector: Connector) {
    let mut backoff = Backoff::default();
    let mut is_withdrawal_known = false;
    while shared.stop().is_none() {
        if let Err(error) = shared.consent.check_current(shared.now()) {
            let problem = error.to_string();
            end(&shared, Link::ConsentNeeded { problem }).await;
            break;
        }
        shared.set_link(Link::Connecting);
        shared.tell(Event::Connecting {
            hub: shared.config.hub.to_string(),
        });
        let attempt = Attempt {
            began: Instant::now(),
            network_changes: shared.outlook.borrow().network_changes,
        };
        let connected = tokio::select! {
            connected = connector.connect() => connected,
            () = stopped(&shared) => break,
        };
        let (problem, wish) = match connected {
            Ok(connection) => {
                let ended = session::run(&shared, connection).await;
                let on_cellular = shared.outlook.borrow().is_on_cellular();
                keeper::save(&shared, on_cellular).await;
                is_withdrawal_known = ended.is_withdrawal_known;
                if shared.stop().is_some() {
                    break;
                }
                if let Some(link) = final_link(&shared, &ended.closed) {
                    end(&shared, link).await;
                    break;
                }
                if ended.has_moved || ended.served.is_some_and(|served| served >= STABLE) {
                    backoff.reset();
                }
                if ended.has_moved {
                    continue;
                }
                (describe(&ended.closed), ended.closed.retry_after.map(bounded))
            }
            Err(ConnectError { problem, retry_after }) => (problem, retry_after),
        };
        wait(&shared, &mut backoff, attempt, problem, wish).await;
    }
    if shared.stop() == Some(Stop::Withdraw) {
        report_withdrawal(&shared, &connector, is_withdrawal_known).await;
    }
    let on_cellular = shared.outlook.borrow().is_on_cellular();
    keeper::save(&shared, on_cellular).await;
    if !shared.link.borrow().is_final() {
        shared.set_link(Link::Stopped);
    }
}

/// Tells the hub of a withdrawal by one short connection. True: it knows.
pub(crate) async fn deliver(
    shared: &Shared,
    connector: &Connector,
    withdrawn: &Withdrawn,
) -> Result<bool, NodeError> {
    let connection = connector
        .connect()
        .await
        .map_err(|error| NodeError::Network(error.problem))?;
    let status = session::sharing_status(Some(NotSharing::Withdrawn));
    let hello = session::hello(shared, withdrawn.statement.clone(), status);
    match session::deliver(hello, withdrawn, connection).await {
        Ok(false) => Ok(false),
        Ok(true) => {
            shared.state.mark_delivered()?;
            Ok(true)
        }
        Err(closed) => Err(NodeError::Rejected {
            code: closed.code,
            reason: closed.reason,
        }),
    }
}

/// The withdrawal is in force. What is left is to tell the hub: at once where there is a way, else whenever there is one while
/// the app keeps the node, by short connections that serve nothing.
async fn report_withdrawal(shared: &Arc<Shared>, connector: &Connector, is_known: bool) {
    let mut backoff = Backoff::default();
    let Ok(OwnersWord::Withdrawn(withdrawn)) = shared.state.consent() else {
        return shared.set_link(Link::Withdrawn { delivered: false });
    };
    if is_known || withdrawn.is_delivered() {
        if let Err(error) = shared.state.mark_delivered() {
            tracing::warn!(%error, "that the hub knows of the withdrawal can't be stored");
        }
        return shared.set_link(Link::Withdrawn { delivered: true });
    }
    loop {
        match deliver(shared, connector, &withdrawn).await {
            Ok(true) => return shared.set_link(Link::Withdrawn { delivered: true }),
            Ok(false) | Err(NodeError::Network(_)) => {}
            Err(error) => {
                tracing::warn!(%error, "the hub can't be told of the withdrawal");
                return shared.set_link(Link::Withdrawn { delivered: false });
            }
        }
        if *shared.link.borrow() != (Link::Withdrawn { delivered: false }) {
            shared.set_link(Link::Withdrawn { delivered: false });
        }
        let delay = backoff.after_failure(Instant::now(), (shared.parts.random)(), None);
        let network_changes = shared.outlook.borrow().network_changes;
        let mut wishes = shared.wishes.subscribe();
        tokio::select! {
            () = sleep_until(Instant::now() + delay) => {}
            () = network_changed(shared, network_changes) => backoff.reset(),
            _ = wishes.wait_for(|wishes| matches!(wishes.stop, Some(Stop::Shutdown(_)))) => return,
        }
    }
}

/// The link is over for good: nothing happens until the app stops the node or the owner withdraws.
async fn end(shared: &Shared, link: Link) {
    shared.set_link(link);
    stopped(shared).await;
}

/// What a close means that no further attempt can mend; none: another attempt can.
fn final_link(shared: &Shared, closed: &Closed) -> Option<Link> {
    if closed.code == CloseCode::Withdrawn {
        // The owner withdrew elsewhere, on the web for example. It holds here too, and the hub knows.
        let recorded = shared.state.withdraw(shared.now(), "withdrawn at the hub");
        if let Err(error) = recorded.and_then(|_| shared.state.mark_delivered()) {
            tracing::warn!(%error, "the withdrawal can't be stored");
        }
        return Some(Link::Withdrawn { delivered: true });
    }
    (!closed.code.is_retryable()).then(|| Link::refused(closed.code, describe(closed)))
}

fn describe(closed: &Closed) -> String {
    if closed.reason.is_empty() {
        closed.code.name().to_owned()
    } else {
        closed.reason.chars().take(256).collect()
    }
}

/// One attempt to connect, and how the network was when it began.
struct Attempt {
    began: Instant,
    network_changes: u64,
}

async fn wait(
    shared: &Shared,
    backoff: &mut Backoff,
    attempt: Attempt,
    problem: String,
    wish: Option<Duration>,
) {
    let now = Instant::now();
    let delay = backoff.after_failure(now, (shared.parts.random)(), wish);
    let retry_in_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    shared.tell(Event::Disconnected {
        problem: problem.clone(),
        retry_in_ms,
    });
    shared.set_link(Link::Waiting { problem, retry_in_ms });
    tokio::select! {
        () = sleep_until(now + delay) => {}
        () = stopped(shared) => {}
        () = async {
            network_changed(shared, attempt.network_changes).await;
            sleep_until(attempt.began + LEAST_BETWEEN_ATTEMPTS).await;
        } => backoff.reset(),
    }
}

/// Ready when the node is to end.
async fn stopped(shared: &Shared) {
    let mut wishes = shared.wishes.subscribe();
    // The sender lives as long as `shared`.
    let _ = wishes.wait_for(|wishes| wishes.stop.is_some()).await;
}

/// Ready when the network is another one than `before`.
async fn network_changed(shared: &Shared, before: u64) {
    let mut outlook = shared.outlook.subscribe();
    let _ = outlook
        .wait_for(|outlook| outlook.network_changes != before)
        .await;
}
