//! Pages of lists: by number, or behind the last row of the page before.

use std::str::FromStr;

use iploop_platform::field::FieldProblem;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::IntoParams;

use crate::error::ApiError;

/// Most rows in one answer.
const MAX_ROWS: u32 = 200;
/// Furthest that pages by number go: beyond, cursors do.
const MAX_PAGE: u32 = 5_000;
/// Longest text that is searched for, in characters.
const MAX_SEARCH: usize = 200;

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Its number, from 1.
    #[serde(default)]
    #[param(minimum = 1, maximum = 5000, default = 1)]
    page: Option<u32>,
    /// Behind this row: `nextCursor` of the page before. In place of `page`.
    #[serde(default)]
    #[param(format = Uuid)]
    cursor: Option<String>,
    /// Most rows wanted.
    #[serde(default = "fifty")]
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: u32,
}

/// The same, read.
pub(super) struct Place<Id> {
    pub(super) before: Option<Id>,
    pub(super) offset: u32,
    pub(super) limit: u32,
}

impl PageQuery {
    pub(super) fn read<Id: FromStr>(&self) -> Result<Place<Id>, ApiError> {
        let wrong =
            |field, message: &str| Err(ApiError::InvalidFields(vec![FieldProblem::new(field, message)]));
        if !(1..=MAX_ROWS).contains(&self.limit) {
            return wrong("limit", "limit must be 1 to 200");
        }
        let cursor = self.cursor.as_deref().filter(|cursor| !cursor.is_empty());
        if cursor.is_some() && self.page.is_some() {
            return wrong("cursor", "Give either page or cursor");
        }
        let Ok(before) = cursor.map(Id::from_str).transpose() else {
            return wrong("cursor", "cursor must be the nextCursor of a page");
        };
        let page = self.page.unwrap_or(1);
        if !(1..=MAX_PAGE).contains(&page) {
            return wrong("page", "page must be 1 to 5000; further on, use cursor");
        }
        Ok(Place {
            before,
            offset: (page - 1) * self.limit,
            limit: self.limit,
        })
    }

    /// Where the next page goes on; none where this one was not full.
    pub(super) fn next<T, Id: Serialize>(&self, rows: &[T], id: impl Fn(&T) -> Id) -> Option<Id> {
        let is_full = u32::try_from(rows.len()).is_ok_and(|rows| rows == self.limit);
        rows.last().map(id).filter(|_| is_full)
    }

    /// The page's number; none where it was found by a cursor.
    pub(super) fn number(&self) -> Option<u32> {
        let by_cursor = self.cursor.as_deref().is_some_and(|cursor| !cursor.is_empty());
        (!by_cursor).then(|| self.page.unwrap_or(1))
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }
}

/// A filter that names one of a few things; empty: no filter.
pub(super) fn named<T: DeserializeOwned>(
    field: &'static str,
    text: Option<&str>,
    names: &str,
) -> Result<Option<T>, ApiError> {
    let Some(text) = given(text) else {
        return Ok(None);
    };
    serde_json::from_value(Value::String(text.to_owned()))
        .map(Some)
        .map_err(|_| {
            ApiError::InvalidFields(vec![FieldProblem::new(field, format!("{field} must be {names}"))])
        })
}

/// A text to be searched for; empty: no filter.
pub(super) fn searched(text: Option<&str>) -> Result<Option<String>, ApiError> {
    let text = given(text);
    if text.is_some_and(|text| text.chars().count() > MAX_SEARCH) {
        let message = format!("search must be at most {MAX_SEARCH} characters");
        return Err(ApiError::InvalidFields(vec![FieldProblem::new(
            "search", message,
        )]));
    }
    Ok(text.map(str::to_owned))
}

/// A text that is there and not empty.
pub(super) fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn fifty() -> u32 {
    50
}
