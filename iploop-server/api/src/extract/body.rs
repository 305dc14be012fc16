//! Bodies: JSON for programs, forms for our own pages without script.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Largest body, in bytes.
pub(crate) const MAX_BODY: usize = 64 * 1024;
/// How long a body may take to arrive. See also the time for the head, in `serve`.
const BODY_TIMEOUT: Duration = Duration::from_secs(8);
/// Most characters of a parser's reason that are repeated to the client.
const MAX_REASON: usize = 200;

/// A JSON body, read or answered.
pub(crate) struct Json<T>(pub(crate) T);

/// A body as it came, of any type: for what is signed over its bytes.
pub(crate) struct Raw(pub(crate) Bytes);

/// A body that may also come from a form.
pub(crate) enum Submitted<T> {
    Json(T),
    Form(T),
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        if essence(request.headers()) != "application/json" {
            return Err(ApiError::UnsupportedMediaType);
        }
        json(&read(request.into_body()).await?).map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        read(request.into_body()).await.map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Submitted<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        match essence(request.headers()).as_str() {
            "application/json" => json(&read(request.into_body()).await?).map(Self::Json),
            "application/x-www-form-urlencoded" => {
                let body = read(request.into_body()).await?;
                from_form(&body)
                    .map(Self::Form)
                    .map_err(|error| malformed(&error))
            }
            _ => Err(ApiError::UnsupportedMediaType),
        }
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

async fn read(body: Body) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_large(&error) => Err(ApiError::BodyTooLarge),
        Ok(Err(error)) => Err(ApiError::MalformedBody(reason(&error))),
        Err(_) => Err(ApiError::BodyTimeout),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // The parser would take an array for the fields in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(ApiError::MalformedBody(
            "The body must be a JSON object".to_owned(),
        ));
    }
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut parser).map_err(|error| malformed(&error))?;
    parser
        .end()
        .map_err(|error| ApiError::MalformedBody(reason(&error)))?;
    Ok(value)
}

/// Reads `name=value&…`, of a form or a query.
pub(super) fn from_form<T: DeserializeOwned>(
    text: &[u8],
) -> Result<T, serde_path_to_error::Error<serde_urlencoded::de::Error>> {
    let pairs = form_urlencoded::parse(text);
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs))
}

fn malformed<E: std::error::Error>(error: &serde_path_to_error::Error<E>) -> ApiError {
    ApiError::MalformedBody(located(error))
}

/// A parser's reason with the field that it is about, where it is about one.
pub(super) fn located<E: std::error::Error>(error: &serde_path_to_error::Error<E>) -> String {
    let path = error.path().to_string();
    match path.as_str() {
        "." | "?" => reason(error.inner()),
        path => reason(&format_args!("{path}: {}", error.inner())),
    }
}

/// The media type without its parameters, in lower case (RFC 9110, section 8.3.1).
fn essence(headers: &HeaderMap) -> String {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

fn reason(error: &dyn std::fmt::Display) -> String {
    error.to_string().chars().take(MAX_REASON).collect()
}
