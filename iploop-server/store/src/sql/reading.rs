//! One act that reads and does nothing else.

use std::future::Future;

use iploop_platform::store::StoreError;

use super::Row;
use crate::error::act;

/// What rows say.
pub(super) async fn all<T>(
    rows: impl Future<Output = Result<Vec<Row>, sqlx::Error>>,
    read: impl Fn(&Row) -> Result<T, sqlx::Error>,
) -> Result<Vec<T>, StoreError> {
    act(async { Ok(rows.await?.iter().map(read).collect::<Result<_, _>>()?) }).await
}

/// The same of one row, or none.
pub(super) async fn one<T>(
    row: impl Future<Output = Result<Option<Row>, sqlx::Error>>,
    read: impl Fn(&Row) -> Result<T, sqlx::Error>,
) -> Result<Option<T>, StoreError> {
    act(async { Ok(row.await?.as_ref().map(read).transpose()?) }).await
}
