//! Requests for a new password, answered apart from the request: nobody can measure whether an address has an account.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::account::AccountStatus;
use crate::accounts::{AccountError, AccountService, EmailAddress};

/// Requests that may wait.
const CAPACITY: usize = 256;

/// Takes requests.
pub(super) struct Requests(mpsc::Sender<EmailAddress>);

impl Requests {
    /// Queues a request without waiting; it comes back if the queue is full.
    pub(super) fn push(&self, email: EmailAddress) -> Result<(), EmailAddress> {
        self.0.try_send(email).map_err(|error| error.into_inner())
    }
}

pub(super) fn queue() -> (Requests, mpsc::Receiver<EmailAddress>) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    (Requests(sender), receiver)
}

/// Looks up who asked for a new password and mails them the link.
pub struct RecoveryTask {
    requests: mpsc::Receiver<EmailAddress>,
    accounts: AccountService,
}

impl RecoveryTask {
    pub(super) fn new(requests: mpsc::Receiver<EmailAddress>, accounts: AccountService) -> Self {
        Self { requests, accounts }
    }

    /// Runs until `shutdown`; requests still waiting then are dropped.
    pub async fn run(mut self, shutdown: CancellationToken) {
        while let Some(Some(email)) = shutdown.run_until_cancelled(self.requests.recv()).await {
            if let Err(error) = self.answer(&email).await {
                tracing::warn!(%error, "a reset mail was not queued");
            }
        }
    }

    async fn answer(&self, email: &EmailAddress) -> Result<(), AccountError> {
        match self.accounts.0.store.account_by_email(email.as_str()).await? {
            Some((account, _)) if account.status == AccountStatus::Active => {
                self.accounts.mail_reset(&account).await
            }
            _ => Ok(()),
        }
    }
}
