//! `/api/proxy/addresses`: the addresses that an account has proven, for keys with `ipLogin`.

use std::net::IpAddr;

use axum::extract::{FromRequestParts, Path, State};
use http::StatusCode;
use http::request::Parts;
use iploop_platform::clock::Timestamp;
use iploop_platform::ip_login::{MAX_ADDRESSES, ProvenAddress};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::{ClientAddress, Json};
use crate::session::SignedIn;
use crate::state::ApiState;

/// The routes below `/api/proxy/addresses`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list_addresses, claim_address))
        .routes(routes!(release_address))
}

/// The address in the path; what is none is nobody's.
pub(crate) struct Address(IpAddr);

impl FromRequestParts<ApiState> for Address {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::AddressNotFound)?;
        text.parse().map(Self).map_err(|_| ApiError::AddressNotFound)
    }
}

/// A proven address.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AddressInfo {
    #[schema(value_type = String, example = "192.0.2.7")]
    address: IpAddr,
    /// When the account first authenticated from it.
    #[schema(value_type = String, format = DateTime)]
    proven_at: Timestamp,
    /// When it was last used, to the day. After 30 days without use it is nobody's again.
    #[schema(value_type = String, format = DateTime)]
    last_used_at: Timestamp,
}

/// The account's proven addresses.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AddressList {
    addresses: Vec<AddressInfo>,
    /// Most addresses an account may have.
    max_addresses: u32,
}

impl From<ProvenAddress> for AddressInfo {
    fn from(proven: ProvenAddress) -> Self {
        Self {
            address: proven.address,
            proven_at: proven.proven_at,
            last_used_at: proven.used_at,
        }
    }
}

/// The addresses from which the account has authenticated: those of them that a key with `ipLogin` lists need no password.
#[utoipa::path(
    get, path = "", tag = "keys", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = AddressList, description = "The addresses"))
)]
pub(crate) async fn list_addresses(
    State(state): State<ApiState>,
    session: SignedIn,
) -> Result<Json<AddressList>, ApiError> {
    let addresses = state.parts().keys.addresses(session.account().id).await?;
    Ok(Json(AddressList {
        addresses: addresses.into_iter().map(AddressInfo::from).collect(),
        max_addresses: MAX_ADDRESSES,
    }))
}

/// Proves the address that this request comes from. A key with `ipLogin` must list it. A request at the proxy with such a key
/// proves its address as well.
#[utoipa::path(
    post, path = "", tag = "keys", security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = AddressInfo, description = "The address is the account's"),
        (status = 400, body = crate::problem::Problem, content_type = "application/problem+json",
            description = "No key with ipLogin lists it, or it is not of the public internet"),
        (status = 409, body = crate::problem::Problem, content_type = "application/problem+json",
            description = "It is another account's, or the account has as many as it may"),
    )
)]
pub(crate) async fn claim_address(
    State(state): State<ApiState>,
    session: SignedIn,
    ClientAddress(client): ClientAddress,
) -> Result<Json<AddressInfo>, ApiError> {
    let keys = &state.parts().keys;
    let proven = keys.claim_address(session.account().id, client).await?;
    Ok(Json(proven.into()))
}

/// Gives an address up: from there a password is needed again, until a key with `ipLogin` is used from it anew.
#[utoipa::path(
    delete, path = "/{address}", tag = "keys", params(("address" = String, Path)), security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Given up"))
)]
pub(crate) async fn release_address(
    State(state): State<ApiState>,
    session: SignedIn,
    Address(address): Address,
) -> Result<StatusCode, ApiError> {
    let keys = &state.parts().keys;
    keys.release_address(session.account().id, address).await?;
    Ok(StatusCode::NO_CONTENT)
}
