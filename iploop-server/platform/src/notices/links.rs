//! Mails whose link opens something: the token is made when the mail is written.

use std::time::Duration;

use super::service::NoticeService;
use super::{Notice, OutboxMail};
use crate::account::{Account, AccountStatus, MailTokenPurpose};
use crate::secret::{Secret, token_hash};
use crate::store::StoreError;

/// A link of a mail, before it has a token.
pub(super) struct Link {
    purpose: MailTokenPurpose,
    path: &'static str,
    /// How long it works; a mail that waited longer is not sent.
    lifetime: Duration,
}

impl Notice {
    /// The link that the mail brings, if it opens something.
    pub(super) const fn link(self) -> Option<Link> {
        match self {
            Self::Welcome | Self::Verification => Some(Link {
                purpose: MailTokenPurpose::VerifyEmail,
                path: "/api/auth/verify-email",
                lifetime: Duration::from_secs(24 * 3600),
            }),
            Self::PasswordReset => Some(Link {
                purpose: MailTokenPurpose::ResetPassword,
                path: "/api/auth/reset-password",
                lifetime: Duration::from_secs(3600),
            }),
            _ => None,
        }
    }
}

impl NoticeService {
    /// The link with a fresh token, which ends earlier ones of its purpose; none if the mail has become pointless.
    pub(super) async fn fresh_link(
        &self,
        mail: &OutboxMail,
        account: &Account,
        link: &Link,
    ) -> Result<Option<String>, StoreError> {
        let now = self.parts().clock.now();
        let is_pointless = match link.purpose {
            MailTokenPurpose::VerifyEmail => account.email_verified,
            MailTokenPurpose::ResetPassword => account.status != AccountStatus::Active,
        };
        if is_pointless || now.since(mail.created_at) >= link.lifetime {
            return Ok(None);
        }
        let token = Secret::random::<32>("");
        let hash = token_hash(token.expose());
        let expires_at = now.plus(link.lifetime);
        let store = &self.parts().store;
        store
            .create_mail_token(account.id, link.purpose, &hash, now, expires_at)
            .await?;
        let path = format!("{}?token={}", link.path, token.expose());
        Ok(Some(self.parts().public_url.join(&path)))
    }
}
