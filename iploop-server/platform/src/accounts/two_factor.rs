//! Turning the second factor on and off. What a code is worth is decided in [`crate::login`].

use std::net::IpAddr;

use qrcode::QrCode;
use qrcode::render::svg;

use super::{AccountError, AccountService};
use crate::account::Account;
use crate::login::{LoginSession, Proof};
use crate::secret::Secret;

/// Least width and height of the QR code's picture, in pixels.
const QR_PIXELS: u32 = 240;

/// A second factor that waits for its first code. Shown once.
#[derive(Clone, Debug)]
pub struct NewTwoFactor {
    /// The secret in base32, for typing.
    pub secret: Secret,
    /// The `otpauth` address of the same.
    pub url: Secret,
    /// That as a QR code in SVG.
    pub qr_svg: Secret,
}

/// What a change of the second factor takes.
#[derive(Clone, Debug)]
pub struct PasswordAndCode {
    /// The account's password.
    pub password: Secret,
    /// A code of the authenticator, or a recovery code.
    pub code: Secret,
}

impl AccountService {
    /// Makes a secret for an authenticator. Nothing changes until it is confirmed; an earlier one that was not is forgotten.
    pub async fn set_up_two_factor(
        &self,
        account: &Account,
        password: Secret,
        client: IpAddr,
    ) -> Result<NewTwoFactor, AccountError> {
        self.check_password("password", account, password, client).await?;
        let setup = self.0.logins.set_up_totp(account).await?;
        let setup = setup.ok_or(AccountError::TwoFactorOn)?;
        let code = QrCode::new(setup.url.expose().as_bytes())
            .map_err(|error| AccountError::Internal(error.to_string()))?;
        let picture = code
            .render::<svg::Color<'_>>()
            .min_dimensions(QR_PIXELS, QR_PIXELS)
            .build();
        Ok(NewTwoFactor {
            secret: setup.secret,
            url: setup.url,
            qr_svg: Secret::new(picture),
        })
    }

    /// Turns the second factor on by its first code, and ends the account's other logins. Answers the recovery codes, which are
    /// shown once.
    pub async fn confirm_two_factor(
        &self,
        session: &LoginSession,
        code: &Secret,
        client: IpAddr,
    ) -> Result<Vec<Secret>, AccountError> {
        let (account, logins) = (&session.account, &self.0.logins);
        match self.0.store.second_factor(account.id).await? {
            None => return Err(AccountError::TwoFactorOff),
            Some(factor) if factor.is_on => return Err(AccountError::TwoFactorOn),
            Some(_) => {}
        }
        let codes = logins.confirm_totp(account, code, client).await?;
        logins.end_others(account.id, Some(session.id())).await?;
        self.0.notices.wake();
        Ok(codes)
    }

    /// Turns the second factor off and forgets it.
    pub async fn end_two_factor(
        &self,
        account: &Account,
        proof: PasswordAndCode,
        client: IpAddr,
    ) -> Result<(), AccountError> {
        self.prove_both(account, proof, client).await?;
        let (store, now) = (&self.0.store, self.0.clock.now());
        if !store.end_second_factor(account.id, now).await? {
            return Err(AccountError::TwoFactorOff);
        }
        self.0.notices.wake();
        Ok(())
    }

    /// New recovery codes in place of all, shown once.
    pub async fn new_recovery_codes(
        &self,
        account: &Account,
        proof: PasswordAndCode,
        client: IpAddr,
    ) -> Result<Vec<Secret>, AccountError> {
        self.prove_both(account, proof, client).await?;
        let codes = self.0.logins.new_recovery_codes(account.id).await?;
        codes.ok_or(AccountError::TwoFactorOff)
    }

    async fn prove_both(
        &self,
        account: &Account,
        proof: PasswordAndCode,
        client: IpAddr,
    ) -> Result<(), AccountError> {
        let factor = self.0.store.second_factor(account.id).await?;
        if factor.is_none_or(|factor| !factor.is_on) {
            return Err(AccountError::TwoFactorOff);
        }
        self.check_password("password", account, proof.password, client)
            .await?;
        self.prove_code(account, &proof.code, client).await
    }

    /// Uses a code up; a used recovery code is told by mail.
    pub(super) async fn prove_code(
        &self,
        account: &Account,
        code: &Secret,
        client: IpAddr,
    ) -> Result<(), AccountError> {
        let proof = self.0.logins.prove(account, code, client).await?;
        if matches!(proof, Proof::RecoveryCode { .. }) {
            self.0.notices.wake();
        }
        Ok(())
    }
}
