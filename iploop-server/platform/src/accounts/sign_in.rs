//! Signing in. What is unusual about it is told to the owner by mail.

use super::AccountService;
use crate::login::{LoginError, Origin, Proof, SignIn, SignedIn};
use crate::secret::Secret;

impl AccountService {
    /// Checks address and password, as [`Logins::sign_in`](crate::login::Logins::sign_in) does. A sign-in from a new network is
    /// told by mail.
    pub async fn sign_in(&self, email: &str, password: Secret, origin: Origin) -> Result<SignIn, LoginError> {
        let answer = self.0.logins.sign_in(email, password, origin).await?;
        if let SignIn::Done(login) = &answer
            && login.is_new_network
        {
            self.0.notices.wake();
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
        let (login, proof) = self.0.logins.second_factor(challenge, code, origin).await?;
        if login.is_new_network || matches!(proof, Proof::RecoveryCode { .. }) {
            self.0.notices.wake();
        }
        Ok(login)
    }
}
