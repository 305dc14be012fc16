//! Grants, suspension and standing of single customers.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use iploop_platform::abuse::AccountGrant;
use iploop_platform::account::Standing;
use iploop_platform::clock::Timestamp;
use iploop_platform::field::FieldProblem;
use iploop_platform::ids::{AccountId, GrantId};
use iploop_protocol::policy::{OpenableRule, Opening, PortRange, RuleClass};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::actor;
use super::policy::ReasonQuery;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query};
use crate::schema::{Reason, RuleName, StandingName};
use crate::session::Admin;
use crate::state::ApiState;

/// What is open for a customer beyond the policy.
#[derive(Serialize, ToSchema)]
pub(crate) struct GrantsAnswer {
    /// Those that hold first, then the newest ones that ended.
    grants: Vec<GrantInfo>,
}

/// One opening.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GrantInfo {
    #[schema(value_type = String, format = Uuid)]
    id: GrantId,
    /// The rule's class that is lifted, if it is a rule.
    rule: Option<String>,
    /// The TCP ports that are open, if it is ports.
    tcp_ports: Option<String>,
    /// Open before this time.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    reason: String,
    #[schema(value_type = String, format = DateTime)]
    given_at: Timestamp,
    /// Closed by an admin.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
}

/// An opening to be given: a rule or ports.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct GiveGrantBody {
    /// A rule's class of the default tier.
    #[schema(value_type = Option<RuleName>)]
    #[serde(default)]
    rule: Option<String>,
    /// A port or a range, such as `5900-5910`. Ports that are closed for everyone stay closed.
    #[schema(pattern = "^[0-9]{1,5}(-[0-9]{1,5})?$")]
    #[serde(default)]
    tcp_ports: Option<String>,
    /// Open before this time, within a year.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// Why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasonBody {
    /// For the record.
    #[schema(value_type = Reason)]
    pub(super) reason: String,
}

/// How far a customer is trusted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StandingBody {
    /// `new` (lower limits) or `established`.
    #[schema(value_type = StandingName)]
    standing: Standing,
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// What is open for a customer.
#[utoipa::path(
    get, path = "/accounts/{accountId}/grants", tag = "admin", params(("accountId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = GrantsAnswer, description = "The grants"))
)]
pub(crate) async fn list_grants(
    State(state): State<ApiState>,
    _: Admin,
    Path(account): Path<String>,
) -> Result<Json<GrantsAnswer>, ApiError> {
    let grants = state.parts().abuse.grants(id(&account)?).await?;
    let grants = grants.into_iter().map(GrantInfo::from).collect();
    Ok(Json(GrantsAnswer { grants }))
}

/// Opens a rule of the default tier, or ports, for one customer up to a date.
#[utoipa::path(
    post, path = "/accounts/{accountId}/grants", tag = "admin", params(("accountId" = String, Path, format = Uuid)),
    request_body = GiveGrantBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 201, body = GrantInfo, description = "The grant"))
)]
pub(crate) async fn give_grant(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(account): Path<String>,
    Json(body): Json<GiveGrantBody>,
) -> Result<Response, ApiError> {
    let opening = opening(&body)?;
    let abuse = &state.parts().abuse;
    let grant = abuse
        .give_grant(
            actor(&admin.account),
            id(&account)?,
            opening,
            body.until,
            &body.reason,
        )
        .await?;
    Ok((StatusCode::CREATED, Json(GrantInfo::from(grant))).into_response())
}

/// Closes a grant before its date.
#[utoipa::path(
    delete, path = "/accounts/{accountId}/grants/{grantId}", tag = "admin",
    params(("accountId" = String, Path, format = Uuid), ("grantId" = String, Path, format = Uuid), ReasonQuery),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Closed"))
)]
pub(crate) async fn revoke_grant(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path((account, grant)): Path<(String, String)>,
    Query(query): Query<ReasonQuery>,
) -> Result<StatusCode, ApiError> {
    let grant = grant.parse().map_err(|_| ApiError::NotFound)?;
    let abuse = &state.parts().abuse;
    abuse
        .revoke_grant(actor(&admin.account), id(&account)?, grant, &query.reason)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Suspends an account: logins are refused, running connections end.
#[utoipa::path(
    post, path = "/accounts/{accountId}/suspend", tag = "admin", params(("accountId" = String, Path, format = Uuid)),
    request_body = ReasonBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Suspended"))
)]
pub(crate) async fn suspend_account(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(account): Path<String>,
    Json(body): Json<ReasonBody>,
) -> Result<StatusCode, ApiError> {
    let abuse = &state.parts().abuse;
    abuse
        .suspend(actor(&admin.account), id(&account)?, &body.reason)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a suspended account go on.
#[utoipa::path(
    post, path = "/accounts/{accountId}/reinstate", tag = "admin", params(("accountId" = String, Path, format = Uuid)),
    request_body = ReasonBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Reinstated"))
)]
pub(crate) async fn reinstate_account(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(account): Path<String>,
    Json(body): Json<ReasonBody>,
) -> Result<StatusCode, ApiError> {
    let abuse = &state.parts().abuse;
    abuse
        .reinstate(actor(&admin.account), id(&account)?, &body.reason)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a customer full limits, or those of new ones.
#[utoipa::path(
    put, path = "/accounts/{accountId}/standing", tag = "admin", params(("accountId" = String, Path, format = Uuid)),
    request_body = StandingBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Set"))
)]
pub(crate) async fn set_standing(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(account): Path<String>,
    Json(body): Json<StandingBody>,
) -> Result<StatusCode, ApiError> {
    let abuse = &state.parts().abuse;
    abuse
        .set_standing(actor(&admin.account), id(&account)?, body.standing, &body.reason)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn id(text: &str) -> Result<AccountId, ApiError> {
    text.parse().map_err(|_| ApiError::AccountNotFound)
}

/// A hard rule has no way through here: there is no [`OpenableRule`] of one.
fn opening(body: &GiveGrantBody) -> Result<Opening, ApiError> {
    let wrong = |field, message: String| ApiError::InvalidFields(vec![FieldProblem::new(field, message)]);
    match (&body.rule, &body.tcp_ports) {
        (Some(rule), None) => {
            let class = rule
                .parse::<RuleClass>()
                .map_err(|error| wrong("rule", error.to_string()))?;
            let rule = OpenableRule::try_from(class).map_err(|error| wrong("rule", error.to_string()))?;
            Ok(Opening::Rule(rule))
        }
        (None, Some(ports)) => {
            let range = ports.parse::<PortRange>();
            range
                .map(Opening::TcpPorts)
                .map_err(|error| wrong("tcpPorts", error.to_string()))
        }
        _ => Err(wrong("rule", "Give either rule or tcpPorts".to_owned())),
    }
}

impl From<AccountGrant> for GrantInfo {
    fn from(grant: AccountGrant) -> Self {
        let (rule, tcp_ports) = match grant.opening {
            Opening::Rule(rule) => (Some(rule.rule().to_string()), None),
            Opening::TcpPorts(range) => (None, Some(range.to_string())),
        };
        Self {
            id: grant.id,
            rule,
            tcp_ports,
            until: grant.until,
            reason: grant.reason,
            given_at: grant.given_at,
            revoked_at: grant.revoked_at,
        }
    }
}
