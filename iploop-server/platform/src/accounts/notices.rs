//! Mails about an account's safety. One that can't be queued is logged; the act stands.

use serde_json::{Value, json};

use super::AccountService;
use crate::account::Account;
use crate::login::Origin;
use crate::mail::templates;
use crate::notices::Notice;

impl AccountService {
    pub(super) async fn tell_sign_in_from_elsewhere(&self, account: &Account, origin: &Origin) {
        let data = json!({
            "address": origin.address,
            "userAgent": origin.user_agent,
            "at": self.0.clock.now(),
        });
        self.tell(account, Notice::NewNetwork, data).await;
    }

    pub(super) async fn tell_recovery_code_used(&self, account: &Account, left: u32) {
        self.tell(account, Notice::RecoveryCodeUsed, json!({ "left": left }))
            .await;
    }

    /// Puts a mail into the outbox.
    pub(super) async fn tell(&self, account: &Account, notice: Notice, data: Value) {
        if let Err(error) = self.0.notices.queue(account.id, notice, data).await {
            tracing::warn!(account.id = %account.id, %notice, %error, "a mail was not queued");
        }
    }

    /// The outbox knows a deleted account's address no more: this mail waits in memory.
    pub(super) fn tell_deleted(&self, account: &Account) {
        let Ok(to) = account.email.parse() else { return };
        let mail = templates::account_deleted(&to, &account.first_name, &self.0.public_url.join("/"));
        if let Err(error) = self.0.mail.push(mail) {
            tracing::warn!(account.id = %account.id, %error, "a mail was not queued");
        }
    }
}
