//! Queries.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::body::{from_form, located};
use crate::error::ApiError;

/// The query, read into a type; parameters it does not have are ignored.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        from_form(query.as_bytes())
            .map(Self)
            .map_err(|error| ApiError::MalformedQuery(located(&error)))
    }
}
