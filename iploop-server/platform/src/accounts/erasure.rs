//! Leaving: an account goes with everything personal in it.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{AccountError, AccountService, Erased};
use crate::abuse::{Actor, AuditAction, AuditEntry};
use crate::account::{Account, AccountStatus};
use crate::field::FieldProblem;
use crate::ids::AuditId;
use crate::secret::Secret;

/// What leaving takes: the password, the second factor if one is on, and the address typed once more.
#[derive(Clone, Debug)]
pub struct Farewell {
    /// The account's password.
    pub password: Secret,
    /// A code of the second factor; empty where none is on.
    pub code: Secret,
    /// The account's mail address.
    pub confirm_email: String,
}

impl AccountService {
    /// Deletes an account, for good and at once: its keys die, its streams and logins end, its address is free for another
    /// account. Its transactions and usage stay under an id that says nothing; what it had left is lost.
    pub async fn delete(
        &self,
        account: &Account,
        farewell: Farewell,
        client: IpAddr,
    ) -> Result<(), AccountError> {
        let inner = &*self.0;
        if !farewell.confirm_email.trim().eq_ignore_ascii_case(&account.email) {
            let problem = FieldProblem::new("confirmEmail", "Type the account's mail address to confirm");
            return Err(AccountError::Invalid(vec![problem]));
        }
        self.check_password("password", account, farewell.password, client)
            .await?;
        let factor = inner.store.second_factor(account.id).await?;
        if factor.is_some_and(|factor| factor.is_on) {
            self.prove_code(account, &farewell.code, client).await?;
        }
        let entry = AuditEntry {
            id: AuditId::new(),
            at: inner.clock.now(),
            actor: Actor::System,
            action: AuditAction::AccountDeleted,
            account: Some(account.id),
            subject: account.id.to_string(),
            before: json!({ "status": account.status }),
            after: json!({ "status": AccountStatus::Deleted, "personalData": Value::Null }),
            reason: "by its owner".to_owned(),
        };
        let erased = inner.store.erase_account(account.id, entry).await;
        inner.changes.account_suspended(account.id);
        inner.changes.addresses_changed();
        match erased? {
            Erased::Gone => {}
            Erased::NotThere => return Err(AccountError::TokenInvalid),
            Erased::LastAdmin => return Err(AccountError::LastAdmin),
        }
        inner.notices.wake();
        Ok(())
    }
}
