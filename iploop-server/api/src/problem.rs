//! Problem documents (RFC 9457): the body of every error.

use std::borrow::Cow;

use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use iploop_platform::ids::RequestId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;

/// What went wrong, for programs by `code` and for people by `detail` and `hint`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// `urn:iploop:error:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:iploop:error:invalid_fields")]
    kind: String,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// Stable name of the error.
    #[schema(example = "invalid_fields")]
    code: &'static str,
    /// What happened, to be shown as it is.
    detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<Cow<'static, str>>,
    /// The targeting parameter at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    /// Names this request in our logs.
    #[schema(format = Uuid)]
    request_id: String,
    /// Each field that can't be accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
}

/// One field that can't be accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// Its name in the request.
    field: &'static str,
    /// What is wrong, to be shown beside it.
    message: String,
}

/// The whole answer to an error.
pub(crate) fn respond(error: &ApiError, request: RequestId) -> Response {
    let answer = error.answer();
    let errors = match error {
        ApiError::InvalidFields(problems) => problems
            .iter()
            .map(|problem| FieldError {
                field: problem.field,
                message: problem.message.clone(),
            })
            .collect(),
        _ => Vec::new(),
    };
    let problem = Problem {
        kind: format!("urn:iploop:error:{}", answer.code),
        title: answer.status.canonical_reason().unwrap_or("Error"),
        status: answer.status.as_u16(),
        code: answer.code,
        detail: answer.detail.into_owned(),
        hint: answer.hint,
        parameter: answer.parameter,
        request_id: request.to_string(),
        errors,
    };
    let mut response = (answer.status, axum::Json(problem)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = error.retry_after() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if answer.status == StatusCode::UNAUTHORIZED {
        headers.insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"iploop\""),
        );
    }
    response
}
