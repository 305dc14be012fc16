//! Signing in, with the mails that tell the owner what is unusual about it.

use super::AccountService;
use crate::login::{LoginError, Origin, Proof, SignIn, SignedIn};
use crate::secret::Secret;

impl AccountService {
    /// Checks address and password, as [`Logins::sign_in`](crate::login::Logins::sign_in) does. A sign-in from a new network is
    /// told by mail.
    pub async fn sign_in(&self, email: &str, password: Secret, origin: Origin) -> Result<SignIn, LoginError> {
        let answer = self.0.logins.sign_in(email, password, origin.clone()).await?;
        if let SignIn::Done(login) = &answer {
            self.tell_new_network(login, &origin).await;
        }
        Ok(answer)
    }

    /// Completes a sign-in with a second factor. A used recovery code is told by mail.
    pub async fn sign_in_with_code(
        &self,
        challenge: &str,
        code: &Secret,
        origin: Origin,
    ) -> Result<SignedIn, LoginError> {
        let (login, proof) = self
            .0
            .logins
            .second_factor(challenge, code, origin.clone())
            .await?;
        if let Proof::RecoveryCode { left } = proof {
            self.tell_recovery_code_used(&login.account, left).await;
        }
        self.tell_new_network(&login, &origin).await;
        Ok(login)
    }

    async fn tell_new_network(&self, login: &SignedIn, origin: &Origin) {
        if login.is_new_network {
            self.tell_sign_in_from_elsewhere(&login.account, origin).await;
        }
    }
}
