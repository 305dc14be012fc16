//! Proving the mail address: the page that the link opens, its button, and another mail.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use iploop_platform::account::MailTokenPurpose;
use iploop_platform::secret::Secret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::recovery::{Message, TokenQuery};
use crate::error::ApiError;
use crate::extract::{Json, Query, Submitted};
use crate::html::{self, Html};
use crate::session::SignedIn;
use crate::state::ApiState;

/// The token of a verification mail.
#[derive(Deserialize, ToSchema)]
pub(crate) struct VerifyBody {
    /// As in the link of the mail.
    #[schema(required, value_type = String)]
    #[serde(default)]
    token: Secret,
}

/// The address is verified.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VerifyAnswer {
    message: &'static str,
    /// Always true.
    email_verified: bool,
}

const TITLE: &str = "Verify your email";
const DONE: &str = "Your email address is verified; the proxy is open";

/// Mails the link that verifies the address once more. Earlier links stop working when the mail leaves.
#[utoipa::path(
    post, path = "/resend-verification", tag = "auth", security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = Message, description = "Mailed"),
        (status = 409, body = crate::problem::Problem, content_type = "application/problem+json", description = "The address is verified already"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Asked for too often"),
    )
)]
pub(crate) async fn resend_verification(
    State(state): State<ApiState>,
    session: SignedIn,
) -> Result<Json<Message>, ApiError> {
    state
        .parts()
        .accounts
        .resend_verification(session.account())
        .await?;
    Ok(Json(Message {
        message: "A mail with a link is on its way",
    }))
}

/// The page that the link of a verification mail opens. Programs that look at links in mails verify nothing by opening it.
#[utoipa::path(
    get, path = "/verify-email", tag = "auth", params(TokenQuery),
    responses(
        (status = 200, content_type = "text/html", body = String, description = "A button that verifies the address"),
        (status = 400, content_type = "text/html", body = String, description = "The link is not good"),
    )
)]
pub(crate) async fn verify_email_page(
    State(state): State<ApiState>,
    query: Result<Query<TokenQuery>, ApiError>,
) -> Result<Response, ApiError> {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return html::refusal(TITLE, error),
    };
    let purpose = MailTokenPurpose::VerifyEmail;
    match state
        .parts()
        .accounts
        .check_mail_token(purpose, query.token.expose())
        .await
    {
        Ok(()) => {
            let mut body = Html::paragraph("Press the button to confirm that this address is yours.");
            body.raw("<form method=\"post\" action=\"verify-email\"><input type=\"hidden\" name=\"token\" value=\"")
                .text(query.token.expose())
                .raw("\"><button>Verify my email</button></form>");
            Ok(html::page(StatusCode::OK, TITLE, body))
        }
        Err(error) => html::refusal(TITLE, error.into()),
    }
}

/// Verifies the address with the token of the mail, which is used up. The proxy opens.
///
/// As JSON for programs; as a form, from the page above, the answer is a page as well.
#[utoipa::path(
    post, path = "/verify-email", tag = "auth",
    request_body(content((VerifyBody = "application/json"), (VerifyBody = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, description = "The address is verified", content((VerifyAnswer = "application/json"), (String = "text/html"))),
        (status = 400, description = "The token is not good", content((crate::problem::Problem = "application/problem+json"), (String = "text/html"))),
    )
)]
pub(crate) async fn verify_email(
    State(state): State<ApiState>,
    body: Submitted<VerifyBody>,
) -> Result<Response, ApiError> {
    let accounts = &state.parts().accounts;
    match body {
        Submitted::Json(body) => {
            accounts.verify_email(body.token.expose()).await?;
            Ok(Json(VerifyAnswer {
                message: DONE,
                email_verified: true,
            })
            .into_response())
        }
        Submitted::Form(body) => match accounts.verify_email(body.token.expose()).await {
            Ok(_) => Ok(html::page(StatusCode::OK, TITLE, Html::paragraph(DONE))),
            Err(error) => html::refusal(TITLE, error.into()),
        },
    }
}
