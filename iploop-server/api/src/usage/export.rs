//! `/api/usage/requests/export`: the request log as CSV or NDJSON, read and written piece by piece.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use iploop_platform::ids::AccountId;
use iploop_platform::store::{Store, StoreError};
use iploop_platform::usage::{UsageCursor, UsageRecord, UsageSearch};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::{IntoParams, ToSchema};

use super::search::SearchQuery;
use super::{RequestInfo, csv, in_range};
use crate::error::ApiError;
use crate::extract::Query;
use crate::session::SignedIn;
use crate::state::ApiState;

/// Most requests in one export.
const MAX_ROWS: u32 = 100_000;
/// Requests read at once: some hundred KiB of text.
const ROWS_AT_ONCE: u32 = 1_000;

/// The form.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Csv,
    Ndjson,
}

/// In which form, and how many.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    /// `csv` (RFC 4180, with a header line) or `ndjson`.
    #[serde(default)]
    #[param(inline)]
    format: Format,
    /// Most requests wanted.
    #[serde(default = "all")]
    #[param(minimum = 1, maximum = 100000, default = 100000)]
    limit: u32,
}

/// The requests that fit, newest first, in one stream. Each row ends with its `cursor`: where there are more than `limit`, the
/// last row's leads on. An answer that breaks off is not whole. In CSV, a cell that a spreadsheet would take for a formula
/// begins with an apostrophe.
#[utoipa::path(
    get, path = "/requests/export", tag = "usage", params(SearchQuery, ExportQuery),
    security(("bearer" = []), ("cookie" = [])),
    responses((
        status = 200, description = "The requests",
        content((String = "text/csv"), (String = "application/x-ndjson"))
    ))
)]
pub(crate) async fn export_usage(
    State(state): State<ApiState>,
    session: SignedIn,
    Query(query): Query<SearchQuery>,
    Query(ExportQuery { format, limit }): Query<ExportQuery>,
) -> Result<Response, ApiError> {
    in_range("limit", limit, MAX_ROWS)?;
    let turn = state.export_turn().ok_or(ApiError::Overloaded)?;
    let mut export = Export {
        store: Arc::clone(&state.parts().store),
        account: session.account().id,
        search: query.read()?,
        format,
        left: limit,
        header: Some(format.header()),
        _turn: turn,
    };
    // The first piece is read before the answer begins, so that what is wrong can still be said.
    let first = export.next().await?;
    let pieces = stream::try_unfold((first, export), async |(piece, mut export)| {
        let Some(piece) = piece else {
            return Ok::<_, StoreError>(None);
        };
        let next = export.next().await?;
        Ok(Some((piece, (next, export))))
    });
    let headers = [
        (CONTENT_TYPE, format.media_type()),
        (CONTENT_DISPOSITION, format.disposition()),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// An export under way: what is still to be read.
struct Export {
    store: Arc<dyn Store>,
    account: AccountId,
    search: UsageSearch,
    format: Format,
    left: u32,
    header: Option<String>,
    /// Few run at the same time.
    _turn: OwnedSemaphorePermit,
}

impl Export {
    /// The next piece of the text; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let mut text = self.header.take().unwrap_or_default();
        if self.left > 0 {
            let wanted = self.left.min(ROWS_AT_ONCE);
            let records = self
                .store
                .search_usage(self.account, &self.search, wanted)
                .await?;
            let read = u32::try_from(records.len()).unwrap_or(u32::MAX);
            self.left = if read < wanted { 0 } else { self.left - read };
            self.search.after = records.last().map(UsageCursor::of).or(self.search.after);
            for record in records {
                self.format.row(&mut text, record);
            }
        }
        Ok((!text.is_empty()).then(|| Bytes::from(text)))
    }
}

/// A few requests as CSV, whole.
pub(super) fn table(name: &'static str, records: Vec<UsageRecord>) -> Response {
    let rows = records.into_iter().map(|record| {
        let cursor = UsageCursor::of(&record).to_string();
        cells(&RequestInfo::from(record), &cursor)
    });
    csv::answer(name, COLUMNS.trim_end(), rows)
}

/// A request with the place to go on from.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    request: RequestInfo,
    cursor: String,
}

/// The columns, in the names of the JSON.
const COLUMNS: &str = "startedAt,endedAt,id,apiKeyId,proxyType,destination,statusCode,errorMessage,attempts,bytesUploaded,\
                       bytesDownloaded,billedBytes,targetCountry,targetCity,exitAsn,exitNetwork,sessionId,selectMs,dialMs,\
                       firstByteMs,durationMs,cursor\r\n";

impl Format {
    fn header(self) -> String {
        match self {
            Self::Csv => COLUMNS.to_owned(),
            Self::Ndjson => String::new(),
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Csv => csv::MEDIA_TYPE,
            Self::Ndjson => "application/x-ndjson",
        }
    }

    fn disposition(self) -> &'static str {
        match self {
            Self::Csv => "attachment; filename=\"iploop-requests.csv\"",
            Self::Ndjson => "attachment; filename=\"iploop-requests.ndjson\"",
        }
    }

    fn row(self, text: &mut String, record: UsageRecord) {
        let cursor = UsageCursor::of(&record).to_string();
        let request = RequestInfo::from(record);
        match self {
            Self::Csv => csv::put_row(text, &cells(&request, &cursor)),
            Self::Ndjson => {
                // Plain fields into memory: nothing that can fail.
                let row = serde_json::to_string(&Row { request, cursor }).unwrap_or_default();
                text.push_str(&row);
                text.push('\n');
            }
        }
    }
}

fn cells(request: &RequestInfo, cursor: &str) -> Vec<String> {
    let or_nothing = |value: Option<String>| value.unwrap_or_default();
    let number = |value: Option<u64>| value.map_or_else(String::new, |number| number.to_string());
    vec![
        request.started_at.to_string(),
        or_nothing(request.ended_at.map(|end| end.to_string())),
        request.id.to_string(),
        request.api_key_id.to_string(),
        request.proxy_type.clone(),
        request.destination.clone(),
        number(request.status_code.map(u64::from)),
        or_nothing(request.error_message.clone()),
        request.attempts.to_string(),
        request.bytes_uploaded.to_string(),
        request.bytes_downloaded.to_string(),
        request.billed_bytes.to_string(),
        or_nothing(request.target_country.clone()),
        or_nothing(request.target_city.clone()),
        number(request.exit_asn.map(u64::from)),
        or_nothing(request.exit_network.clone()),
        or_nothing(request.session_id.clone()),
        number(request.select_ms.map(u64::from)),
        number(request.dial_ms.map(u64::from)),
        number(request.first_byte_ms.map(u64::from)),
        number(request.duration_ms),
        cursor.to_owned(),
    ]
}

fn all() -> u32 {
    MAX_ROWS
}
