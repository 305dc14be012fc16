//! Customers' tickets, for those who answer them.

use axum::extract::State;
use iploop_platform::field::FieldProblem;
use iploop_platform::ids::{AccountId, TicketId};
use iploop_platform::support::{Ticket, TicketQuery, TicketStatus};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::ApiError;
use crate::extract::{Filters, Json, Path, Query};
use crate::schema::{MessageText, Reason, TicketStatusName};
use crate::session::Admin;
use crate::state::ApiState;
use crate::support::{TicketInfo, TicketPageQuery, next_cursor};

/// Which tickets.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TicketFilter {
    /// `open`, `answered` or `closed`.
    #[serde(default)]
    #[param(inline, value_type = Option<TicketStatusName>)]
    status: Option<String>,
    /// Of this customer.
    #[serde(default)]
    #[param(value_type = Option<String>, format = Uuid)]
    account: Option<AccountId>,
}

/// A page of customers' tickets.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CustomerTicketList {
    /// The newest first.
    tickets: Vec<CustomerTicket>,
    /// There may be more behind it; none: that was all.
    #[schema(value_type = Option<String>, format = Uuid)]
    next_cursor: Option<TicketId>,
}

/// A ticket, and whose it is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CustomerTicket {
    #[schema(value_type = String, format = Uuid)]
    account_id: AccountId,
    #[serde(flatten)]
    ticket: TicketInfo,
}

/// An answer for the customer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerBody {
    /// In place of an earlier answer.
    #[schema(value_type = MessageText)]
    answer: String,
}

/// Why it is over.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseBody {
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// Customers' tickets.
#[utoipa::path(
    get, path = "/tickets", tag = "admin", params(TicketFilter, TicketPageQuery), security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = CustomerTicketList, description = "The tickets"))
)]
pub(crate) async fn list_customer_tickets(
    State(state): State<ApiState>,
    _: Admin,
    Filters(filter): Filters<TicketFilter>,
    Query(page): Query<TicketPageQuery>,
) -> Result<Json<CustomerTicketList>, ApiError> {
    let status = match filter.status.as_deref() {
        None => None,
        Some(name) => Some(TicketStatus::named(name).ok_or_else(|| {
            let message = "status must be open, answered or closed";
            ApiError::InvalidFields(vec![FieldProblem::new("status", message)])
        })?),
    };
    let query = TicketQuery {
        account: filter.account,
        status,
        ..page.read()?
    };
    let tickets = state.parts().tickets.list(&query).await?;
    Ok(Json(CustomerTicketList {
        next_cursor: next_cursor(&tickets, query.limit),
        tickets: tickets.into_iter().map(CustomerTicket::from).collect(),
    }))
}

/// Answers a ticket; the customer gets the answer by mail.
#[utoipa::path(
    post, path = "/tickets/{ticketId}/answer", tag = "admin", params(("ticketId" = String, Path, format = Uuid)),
    request_body = AnswerBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = CustomerTicket, description = "The ticket"))
)]
pub(crate) async fn answer_ticket(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(id): Path<TicketId>,
    Json(body): Json<AnswerBody>,
) -> Result<Json<CustomerTicket>, ApiError> {
    let tickets = &state.parts().tickets;
    let ticket = tickets.answer(admin.account.id, id, &body.answer).await?;
    Ok(Json(ticket.into()))
}

/// Ends a ticket.
#[utoipa::path(
    post, path = "/tickets/{ticketId}/close", tag = "admin", params(("ticketId" = String, Path, format = Uuid)),
    request_body = CloseBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = CustomerTicket, description = "The ticket"))
)]
pub(crate) async fn close_ticket(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(id): Path<TicketId>,
    Json(body): Json<CloseBody>,
) -> Result<Json<CustomerTicket>, ApiError> {
    let tickets = &state.parts().tickets;
    let ticket = tickets.close(admin.account.id, id, &body.reason).await?;
    Ok(Json(ticket.into()))
}

impl From<Ticket> for CustomerTicket {
    fn from(ticket: Ticket) -> Self {
        Self {
            account_id: ticket.account,
            ticket: ticket.into(),
        }
    }
}
