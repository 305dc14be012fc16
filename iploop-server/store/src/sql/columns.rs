//! Between columns and the platform's types.

use std::borrow::Cow;
use std::net::IpAddr;

use iploop_platform::clock::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::Row as _;
use sqlx::types::Json;
use uuid::Uuid;

use super::Row;
use crate::error::unreadable;

pub(super) fn id<T: From<Uuid>>(row: &Row, column: &str) -> Result<T, sqlx::Error> {
    row.try_get::<Uuid, _>(column).map(T::from)
}

pub(super) fn id_or_none<T: From<Uuid>>(row: &Row, column: &str) -> Result<Option<T>, sqlx::Error> {
    Ok(row.try_get::<Option<Uuid>, _>(column)?.map(T::from))
}

pub(super) fn time(row: &Row, column: &str) -> Result<Timestamp, sqlx::Error> {
    row.try_get(column).map(Timestamp::from_millis)
}

pub(super) fn time_or_none(row: &Row, column: &str) -> Result<Option<Timestamp>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_millis))
}

/// A BIGINT as the narrower type that was stored in it.
pub(super) fn number<T: TryFrom<i64>>(row: &Row, column: &str) -> Result<T, sqlx::Error> {
    narrow(row.try_get(column)?, column)
}

pub(super) fn number_or_none<T: TryFrom<i64>>(row: &Row, column: &str) -> Result<Option<T>, sqlx::Error> {
    row.try_get::<Option<i64>, _>(column)?
        .map(|value| narrow(value, column))
        .transpose()
}

pub(super) fn address(row: &Row, column: &str) -> Result<IpAddr, sqlx::Error> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|_| unreadable(column, &text))
}

pub(super) fn address_or_none(row: &Row, column: &str) -> Result<Option<IpAddr>, sqlx::Error> {
    let text: Option<String> = row.try_get(column)?;
    text.map(|text| text.parse().map_err(|_| unreadable(column, &text)))
        .transpose()
}

pub(super) fn json<T: DeserializeOwned + 'static>(row: &Row, column: &str) -> Result<T, sqlx::Error> {
    row.try_get::<Json<T>, _>(column).map(|Json(value)| value)
}

/// Text from outside as a column takes it: PostgreSQL has no NUL in text, so no row has it.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', ""))
    } else {
        Cow::Borrowed(text)
    }
}

pub(super) fn text_or_none(given: Option<&str>) -> Option<Cow<'_, str>> {
    given.map(text)
}

/// JSON from outside, likewise without NUL.
pub(super) fn clean(json: Value) -> Value {
    match json {
        Value::String(given) => Value::String(text(&given).into_owned()),
        Value::Array(items) => items.into_iter().map(clean).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (text(&name).into_owned(), clean(value)))
            .collect(),
        plain => plain,
    }
}

fn narrow<T: TryFrom<i64>>(value: i64, column: &str) -> Result<T, sqlx::Error> {
    T::try_from(value).map_err(|_| unreadable(column, &value))
}
