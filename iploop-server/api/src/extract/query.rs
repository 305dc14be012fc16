//! Queries.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::body::{from_form, located};
use crate::error::ApiError;

/// The query, read into a type; parameters it does not have are ignored.
pub(crate) struct Query<T>(pub(crate) T);

/// The same of filters, as a form sends them: an empty one does not filter.
pub(crate) struct Filters<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        read(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Filters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let is_given = |pair: &&str| pair.split_once('=').is_some_and(|(_, value)| !value.is_empty());
        let given: Vec<&str> = query.split('&').filter(is_given).collect();
        read(&given.join("&")).map(Self)
    }
}

fn read<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    from_form(query.as_bytes()).map_err(|error| ApiError::MalformedQuery(located(&error)))
}
