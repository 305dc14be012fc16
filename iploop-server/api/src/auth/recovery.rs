//! A forgotten password: asking for the mail, the page its link opens, and the new password.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use iploop_platform::account::MailTokenPurpose;
use iploop_platform::secret::Secret;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::ApiError;
use crate::extract::{ClientAddress, Json, Query, Submitted};
use crate::html::{self, Html};
use crate::state::ApiState;

/// Who forgot a password.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ForgotBody {
    /// Login address.
    #[schema(required, format = Email, max_length = 254)]
    #[serde(default)]
    email: String,
}

/// A sentence for the customer.
#[derive(Serialize, ToSchema)]
pub(crate) struct Message {
    pub(crate) message: &'static str,
}

/// The token of a mail.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TokenQuery {
    /// As in the link of the mail.
    #[param(required, value_type = String)]
    #[serde(default)]
    pub(crate) token: Secret,
}

/// Whether a token is good.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenAnswer {
    /// Always true: a token that is not good is a 400.
    valid: bool,
}

/// A new password for whoever got the mail.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ResetBody {
    /// As in the link of the mail.
    #[schema(required, value_type = String)]
    #[serde(default)]
    token: Secret,
    /// At least 8 characters, at most 512 bytes, and none of the most common ones.
    #[schema(required, value_type = String, format = Password, min_length = 8, max_length = 512)]
    #[serde(default)]
    password: Secret,
}

const RESET_DONE: &str = "Your password is set; sign in with it";

/// Mails a link to set a new password, if the address has an account. The answer does not say whether it has.
#[utoipa::path(
    post, path = "/forgot-password", tag = "auth", request_body = ForgotBody,
    responses(
        (status = 200, body = Message, description = "Asked for"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Asked for too often"),
    )
)]
pub(crate) async fn forgot_password(
    State(state): State<ApiState>,
    ClientAddress(client): ClientAddress,
    Json(body): Json<ForgotBody>,
) -> Result<Json<Message>, ApiError> {
    state
        .parts()
        .accounts
        .forgot_password(&body.email, client)
        .await?;
    Ok(Json(Message {
        message: "If the address has an account, a mail with a link is on its way",
    }))
}

/// Whether the token of a reset mail is still good. Does not use it up.
#[utoipa::path(
    get, path = "/verify-reset-token", tag = "auth", params(TokenQuery),
    responses(
        (status = 200, body = TokenAnswer, description = "It is good"),
        (status = 400, body = crate::problem::Problem, content_type = "application/problem+json", description = "It is not"),
    )
)]
pub(crate) async fn verify_reset_token(
    State(state): State<ApiState>,
    Query(query): Query<TokenQuery>,
) -> Result<Json<TokenAnswer>, ApiError> {
    check(&state, &query.token).await?;
    Ok(Json(TokenAnswer { valid: true }))
}

/// The page that the link of a reset mail opens.
#[utoipa::path(
    get, path = "/reset-password", tag = "auth", params(TokenQuery),
    responses(
        (status = 200, content_type = "text/html", body = String, description = "A form for the new password"),
        (status = 400, content_type = "text/html", body = String, description = "The link is not good"),
    )
)]
pub(crate) async fn reset_password_page(
    State(state): State<ApiState>,
    query: Result<Query<TokenQuery>, ApiError>,
) -> Result<Response, ApiError> {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return html::refusal("Set a new password", error),
    };
    match check(&state, &query.token).await {
        Ok(()) => Ok(form(StatusCode::OK, &query.token, None)),
        Err(error) => html::refusal("Set a new password", error),
    }
}

/// Sets a new password with the token of a reset mail, which is used up. Ends every login of the account.
///
/// As JSON for programs; as a form, from the page above, the answer is a page as well.
#[utoipa::path(
    post, path = "/reset-password", tag = "auth",
    request_body(content((ResetBody = "application/json"), (ResetBody = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, description = "The password is set", content((Message = "application/json"), (String = "text/html"))),
        (status = 400, description = "The token is not good", content((crate::problem::Problem = "application/problem+json"), (String = "text/html"))),
    )
)]
pub(crate) async fn reset_password(
    State(state): State<ApiState>,
    body: Submitted<ResetBody>,
) -> Result<Response, ApiError> {
    let accounts = &state.parts().accounts;
    match body {
        Submitted::Json(body) => {
            accounts
                .reset_password(body.token.expose(), body.password)
                .await?;
            Ok(Json(Message { message: RESET_DONE }).into_response())
        }
        Submitted::Form(body) => {
            match accounts
                .reset_password(body.token.expose(), body.password)
                .await
                .map_err(ApiError::from)
            {
                Ok(()) => Ok(html::page(
                    StatusCode::OK,
                    "Set a new password",
                    Html::paragraph(RESET_DONE),
                )),
                Err(ApiError::InvalidFields(problems)) => {
                    let problem = problems.first().map(|problem| problem.message.as_str());
                    Ok(form(StatusCode::BAD_REQUEST, &body.token, problem))
                }
                Err(error) => html::refusal("Set a new password", error),
            }
        }
    }
}

async fn check(state: &ApiState, token: &Secret) -> Result<(), ApiError> {
    let purpose = MailTokenPurpose::ResetPassword;
    Ok(state
        .parts()
        .accounts
        .check_mail_token(purpose, token.expose())
        .await?)
}

fn form(status: StatusCode, token: &Secret, problem: Option<&str>) -> Response {
    let mut body = Html::default();
    if let Some(problem) = problem {
        body.raw("<p role=\"alert\">").text(problem).raw("</p>");
    }
    body.raw(
        "<form method=\"post\" action=\"reset-password\"><input type=\"hidden\" name=\"token\" value=\"",
    )
    .text(token.expose())
    .raw(
        "\"><p><label for=\"password\">New password (at least 8 characters)</label><br>\
             <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"new-password\" \
             minlength=\"8\" required></p><button>Set password</button></form>",
    );
    html::page(status, "Set a new password", body)
}
