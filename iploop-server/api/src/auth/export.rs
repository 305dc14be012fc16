//! `GET /api/auth/export`

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use iploop_platform::clock::Timestamp;
use iploop_platform::store::StoreError;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::session::SignedIn;
use crate::state::ApiState;

/// Everything that we hold of the account's owner. Each further field is a list of one kind: `apiKeys`, `logins`,
/// `loginNetworks`, `security`, `transactions`, `usage`, and what other parts of the server keep.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PersonalDataAnswer {
    #[schema(value_type = String, format = DateTime)]
    exported_at: Timestamp,
    profile: Value,
    #[serde(flatten)]
    lists: BTreeMap<String, Vec<Value>>,
}

/// Everything that we hold of the account's owner, in one stream. Secrets are not in it. An answer that breaks off is not whole.
/// The single requests are in `/api/usage/requests/export`.
#[utoipa::path(
    get, path = "/export", tag = "auth", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = PersonalDataAnswer, description = "The data"))
)]
pub(crate) async fn export(
    State(state): State<ApiState>,
    SignedIn(session): SignedIn,
) -> Result<Response, ApiError> {
    let turn = state.export_turn().ok_or(ApiError::Overloaded)?;
    let mut export = state.parts().accounts.export(&session.account);
    // The first piece is read before the answer begins, so that what is wrong can still be said.
    let first = export.next().await?;
    let pieces = stream::try_unfold((first, export, turn), async |(piece, mut export, turn)| {
        let Some(piece) = piece else {
            return Ok::<_, StoreError>(None);
        };
        let next = export.next().await?;
        Ok(Some((piece, (next, export, turn))))
    });
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (
            CONTENT_DISPOSITION,
            "attachment; filename=\"iploop-account.json\"",
        ),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}
