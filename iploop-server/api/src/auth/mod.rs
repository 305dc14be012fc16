//! `/api/auth`: registering, signing in and out, passwords, the address.

mod login;
mod password;
mod profile;
mod recovery;
mod register;
mod user;
mod verification;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::ApiState;

/// The routes below `/api/auth`, those of the keys apart.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(register::register))
        .routes(routes!(login::login))
        .routes(routes!(login::logout))
        .routes(routes!(profile::profile))
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
