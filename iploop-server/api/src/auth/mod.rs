//! `/api/auth`: registering, signing in and out, passwords, the address, and what an owner decides about the account.

mod deletion;
mod export;
mod login;
mod logins;
mod password;
mod profile;
mod recovery;
mod register;
mod security;
mod two_factor;
mod user;
mod verification;

pub(crate) use profile::dollars;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::ApiState;

/// The routes below `/api/auth`, those of the keys apart.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(register::register))
        .routes(routes!(login::login))
        .routes(routes!(login::login_with_code))
        .routes(routes!(login::logout))
        .routes(routes!(logins::list_logins, logins::end_other_logins))
        .routes(routes!(logins::end_login))
        .routes(routes!(profile::profile, profile::change_profile))
        .routes(routes!(security::security, security::change_security))
        .routes(routes!(two_factor::set_up))
        .routes(routes!(two_factor::confirm))
        .routes(routes!(two_factor::disable))
        .routes(routes!(two_factor::recovery_codes))
        .routes(routes!(deletion::delete_account))
        .routes(routes!(export::export))
        .routes(routes!(password::change_password))
        .routes(routes!(recovery::forgot_password))
        .routes(routes!(recovery::verify_reset_token))
        .routes(routes!(recovery::reset_password_page, recovery::reset_password))
        .routes(routes!(verification::resend_verification))
        .routes(routes!(
            verification::verify_email_page,
            verification::verify_email
        ))
}
