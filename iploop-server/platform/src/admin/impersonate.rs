//! Looking on as a customer.

use serde_json::json;

use super::{AdminError, AdminService};
use crate::abuse::{Actor, AuditAction};
use crate::field;
use crate::ids::AccountId;
use crate::login::{LoginSession, SignedIn};

impl AdminService {
    /// A login of a quarter of an hour by which the admin of `session` sees what a customer sees. It reads only, and is on
    /// record before it is given out.
    ///
    /// # Errors
    /// If there is no such account or no reason, or nobody may look on as it.
    pub async fn impersonate(
        &self,
        session: &LoginSession,
        id: AccountId,
        reason: &str,
    ) -> Result<SignedIn, AdminError> {
        let reason = field::reason(reason)?;
        let account = self.account(id).await?;
        if account.is_deleted() {
            return Err(AdminError::AccountDeleted);
        }
        let parts = self.parts();
        let login = parts.logins.impersonate(session, account).await?;
        let actor = Actor::Admin(session.account_id());
        let action = AuditAction::ImpersonationStarted;
        let mut entry = self.entry(actor, action, Some(id), id.to_string(), &reason);
        entry.after = json!({ "until": login.expires_at });
        parts.store.append_audit(entry).await?;
        Ok(login)
    }
}
