//! The audit record as CSV, read and written piece by piece.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use iploop_platform::abuse::{AbuseError, AbuseService, AuditEntry, AuditQuery};
use tokio::sync::OwnedSemaphorePermit;

use super::records::AuditFilter;
use crate::error::ApiError;
use crate::extract::Filters;
use crate::session::Admin;
use crate::state::ApiState;
use crate::usage::csv;

/// Most records in one export.
const MAX_ROWS: u32 = 100_000;
/// Records read at once.
const ROWS_AT_ONCE: u32 = 500;

/// The columns, in the names of the JSON.
const COLUMNS: &str = "id,at,actor,actorId,action,accountId,subject,before,after,reason\r\n";

/// The records that fit, newest first, in one stream, at most 100,000: the last row's id is the `cursor` that leads on. An
/// answer that breaks off is not whole. A cell that a spreadsheet would take for a formula begins with an apostrophe.
#[utoipa::path(
    get, path = "/audit/export", tag = "admin", params(AuditFilter), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "The records", content((String = "text/csv"))))
)]
pub(crate) async fn export_audit(
    State(state): State<ApiState>,
    _: Admin,
    Filters(filter): Filters<AuditFilter>,
) -> Result<Response, ApiError> {
    let turn = state.export_turn().ok_or(ApiError::Overloaded)?;
    let mut export = Export {
        abuse: state.parts().abuse.clone(),
        query: filter.read(ROWS_AT_ONCE)?,
        left: MAX_ROWS,
        header: Some(COLUMNS),
        _turn: turn,
    };
    // The first piece is read before the answer begins, so that what is wrong can still be said.
    let first = export.next().await?;
    let pieces = stream::try_unfold((first, export), async |(piece, mut export)| {
        let Some(piece) = piece else {
            return Ok::<_, AbuseError>(None);
        };
        let next = export.next().await?;
        Ok(Some((piece, (next, export))))
    });
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (CONTENT_DISPOSITION, "attachment; filename=\"iploop-audit.csv\""),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// An export under way: what is still to be read.
struct Export {
    abuse: AbuseService,
    query: AuditQuery,
    left: u32,
    header: Option<&'static str>,
    /// Few run at the same time.
    _turn: OwnedSemaphorePermit,
}

impl Export {
    /// The next piece of the text; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, AbuseError> {
        let mut text = self.header.take().unwrap_or_default().to_owned();
        if self.left > 0 {
            self.query.limit = self.left.min(ROWS_AT_ONCE);
            let records = self.abuse.audit(&self.query).await?;
            let read = u32::try_from(records.len()).unwrap_or(u32::MAX);
            self.left = match read < self.query.limit {
                true => 0,
                false => self.left - read,
            };
            self.query.before = records.last().map(|record| record.id).or(self.query.before);
            for record in &records {
                put_row(&mut text, record);
            }
        }
        Ok((!text.is_empty()).then(|| Bytes::from(text)))
    }
}

fn put_row(text: &mut String, record: &AuditEntry) {
    let actor_id = record.actor.account().map(|account| account.to_string());
    let account = record.account.map(|account| account.to_string());
    let cells = [
        record.id.to_string(),
        record.at.to_string(),
        record.actor.as_str().to_owned(),
        actor_id.unwrap_or_default(),
        record.action.to_string(),
        account.unwrap_or_default(),
        record.subject.clone(),
        record.before.to_string(),
        record.after.to_string(),
        record.reason.clone(),
    ];
    csv::put_row(text, &cells);
}
