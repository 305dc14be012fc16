//! `/api/owner`: devices that an owner claimed, what they earned, and the rights over their data.

mod earnings;

use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::request::Parts;
use iploop_platform::abuse::Actor;
use iploop_platform::account::Role;
use iploop_platform::clock::Timestamp;
use iploop_platform::device_news::Said;
use iploop_platform::ids::{AccountId, NodeId};
use iploop_platform::ledger::{LedgerError, Refusal};
use iploop_platform::owners::{OwnedDevice, OwnerError, OwnerService};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::{ClientAddress, Json, Path};
use crate::schema::{IdempotencyKey, Reason};
use crate::session::{Admin, SignedIn};
use crate::state::ApiState;

/// Devices in one answer: as many as an account can have.
const MAX_DEVICES: u32 = 1_000;

/// The routes below `/api/owner`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list_owned, claim_device))
        .routes(routes!(unclaim_device))
        .routes(routes!(pause_device))
        .routes(routes!(resume_device))
        .routes(routes!(withdraw_device))
        .routes(routes!(export_device))
        .routes(routes!(erase_device))
        .routes(routes!(own_credits))
        .routes(routes!(earnings::earned_hours))
        .routes(routes!(redeem_credits))
        .routes(routes!(own_vpn))
}

/// The route below `/api/devices`, for devices themselves.
pub(crate) fn pairing_router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(show_code))
}

/// The routes below `/api/admin/owners`.
pub(crate) fn admin_router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(earnings::list_owners))
        .routes(routes!(hold_credits))
}

/// A request of a devices' owner.
pub(crate) struct DeviceOwner(AccountId);

impl FromRequestParts<ApiState> for DeviceOwner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let session = SignedIn::from_request_parts(parts, state).await?;
        match session.account().role {
            Role::Owner => Ok(Self(session.account().id)),
            Role::Customer | Role::Partner | Role::Admin => Err(ApiError::OwnersOnly),
        }
    }
}

/// What a device proves itself with.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PairingBody {
    /// The device's lasting id, as in its hello.
    device_id: String,
    /// Its secret, as in its hello.
    device_secret: String,
}

/// A code to be shown on the device.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PairingCode {
    /// Eight characters; good once.
    code: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// The code that the device shows.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClaimBody {
    /// Spaces, dashes and case do not matter.
    code: String,
}

/// The device that was claimed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClaimedDevice {
    #[schema(value_type = String, format = Uuid)]
    id: NodeId,
}

/// A claimed device.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OwnedDeviceInfo {
    #[schema(value_type = String, format = Uuid)]
    id: NodeId,
    /// `available`, `inactive` or `banned`.
    status: String,
    country: Option<String>,
    device_type: Option<String>,
    sdk_version: String,
    /// Shared, both ways, in all.
    bytes: u64,
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    claimed_at: Timestamp,
    /// Its owner asked here that it pauses.
    is_paused: bool,
    /// Whether it shares, as it says itself; null: it is not connected, as far as the process that answers knows.
    is_sharing: Option<bool>,
    /// Why it does not, as it says itself: `paused_from_afar`, `paused_by_owner`, `daily_cap`, …
    not_sharing_because: Option<String>,
    // The newest consent record; `withdrawnAt` says whether it was withdrawn.
    #[schema(value_type = Value)]
    consent: Value,
}

/// Claimed devices.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnedDevices {
    /// Oldest first.
    devices: Vec<OwnedDeviceInfo>,
}

/// An owner's credits.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreditsAnswer {
    /// To be spent.
    credits: i64,
    /// Earned and not to be spent yet, in 10^-9 credits.
    pending_nano_credits: i64,
    /// Why the pending ones wait for a review; null: they wait until they make a whole credit.
    held: Option<String>,
    /// What a credit buys.
    bytes_per_credit: u32,
}

/// Credits to be spent.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RedeemBody {
    #[schema(minimum = 1, maximum = 9223372036854775807_i64)]
    credits: i64,
    /// The same key again spends nothing.
    #[schema(value_type = IdempotencyKey)]
    idempotency_key: String,
}

/// What credits bought.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Redeemed {
    /// Proxy bytes.
    bytes: i64,
    /// True: they were bought under this key before.
    is_repeat: bool,
}

/// Whether the VPN is open.
#[derive(Serialize, ToSchema)]
pub(crate) struct VpnAnswer {
    /// One of the devices is connected.
    entitled: bool,
    /// The operator's own exits; nothing goes through other people's devices.
    exits: Vec<String>,
}

/// Whether credits wait for a review.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct HoldBody {
    is_held: bool,
    /// For the record.
    #[schema(value_type = Reason)]
    reason: String,
}

/// A code for a device to show, in place of the one before. The device proves itself by its secret; 20 codes at once for each
/// client address, and one more each 30 seconds. A connected device asks by its tunnel.
#[utoipa::path(
    post, path = "/pairing-code", tag = "owner", request_body = PairingBody,
    responses(
        (status = 201, body = PairingCode, description = "The code, good for ten minutes"),
        (status = 404, body = crate::problem::Problem, content_type = "application/problem+json", description = "No such device, or not its secret"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many codes for this address"),
    )
)]
pub(crate) async fn show_code(
    State(state): State<ApiState>,
    ClientAddress(client): ClientAddress,
    Json(body): Json<PairingBody>,
) -> Result<Response, ApiError> {
    state.may_ask_for_code(client).await?;
    let new = service(&state)
        .pairing_code(&body.device_id, &body.device_secret)
        .await?;
    let answer = PairingCode {
        code: new.code,
        expires_at: new.expires_at,
    };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// The devices that the account claimed.
#[utoipa::path(
    get, path = "/devices", tag = "owner", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = OwnedDevices, description = "The devices"))
)]
pub(crate) async fn list_owned(
    State(state): State<ApiState>,
    DeviceOwner(account): DeviceOwner,
) -> Result<Json<OwnedDevices>, ApiError> {
    let devices = service(&state).devices(account, None, MAX_DEVICES).await?;
    let ids: Vec<NodeId> = devices.iter().map(|device| device.id).collect();
    let said = state.parts().connected.said_anywhere(&ids).await;
    let info = |(device, said)| OwnedDeviceInfo::new(device, said);
    let devices = devices.into_iter().zip(said).map(info).collect();
    Ok(Json(OwnedDevices { devices }))
}

/// Claims the device that shows this code. It is nobody else's any more.
#[utoipa::path(
    post, path = "/devices", tag = "owner", request_body = ClaimBody, security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 201, body = ClaimedDevice, description = "The device"),
        (status = 429, body = crate::problem::Problem, content_type = "application/problem+json", description = "Too many tries"),
    )
)]
pub(crate) async fn claim_device(
    State(state): State<ApiState>,
    DeviceOwner(account): DeviceOwner,
    Json(body): Json<ClaimBody>,
) -> Result<Response, ApiError> {
    state.may_claim(account)?;
    let id = service(&state).claim(account, &body.code).await?;
    Ok((StatusCode::CREATED, Json(ClaimedDevice { id })).into_response())
}

/// Gives a device up. What it earned stays.
#[utoipa::path(
    delete, path = "/devices/{deviceId}", tag = "owner", params(("deviceId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])), responses((status = 204, description = "Given up"))
)]
pub(crate) async fn unclaim_device(
    State(state): State<ApiState>,
    DeviceOwner(account): DeviceOwner,
    Path(device): Path<String>,
) -> Result<StatusCode, ApiError> {
    service(&state).unclaim(account, id(&device)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks a device to pause, by its account: one that is connected hears it at once, another one when it next connects. It gets no
/// stream meanwhile. A pause at the device itself is its own.
#[utoipa::path(
    post, path = "/devices/{deviceId}/pause", tag = "owner", params(("deviceId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])), responses((status = 204, description = "Asked"))
)]
pub(crate) async fn pause_device(
    State(state): State<ApiState>,
    DeviceOwner(account): DeviceOwner,
    Path(device): Path<String>,
) -> Result<StatusCode, ApiError> {
    service(&state).pause(account, id(&device)?, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the pause that was asked for here. It ends no pause at the device itself.
#[utoipa::path(
    post, path = "/devices/{deviceId}/resume", tag = "owner", params(("deviceId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])), responses((status = 204, description = "Ended"))
)]
pub(crate) async fn resume_device(
    State(state): State<ApiState>,
    DeviceOwner(account): DeviceOwner,
    Path(device): Path<String>,
) -> Result<StatusCode, ApiError> {
    service(&state).pause(account, id(&device)?, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Withdraws a device's consent: it is disconnected within seconds, and shares no more until its owner agrees anew, at the device.
#[utoipa::path(
    post, path = "/devices/{deviceId}/withdraw", tag = "owner", params(("deviceId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])), responses((status = 204, description = "Withdrawn"))
)]
pub(crate) async fn withdraw_device(
    State(state): State<ApiState>,
    DeviceOwner(account): DeviceOwner,
    Path(device): Path<String>,
) -> Result<StatusCode, ApiError> {
    service(&state).withdraw(account, id(&device)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Everything that we hold of a device, the newest 1,000 rows of each kind.
#[utoipa::path(
    get, path = "/devices/{deviceId}/export", tag = "owner", params(("deviceId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = Value, description = "The data"))
)]
pub(crate) async fn export_device(
    State(state): State<ApiState>,
    DeviceOwner(account): DeviceOwner,
    Path(device): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(service(&state).export(account, id(&device)?).await?))
}

/// Withdraws the device's consent and erases what leads to it. A connected one is disconnected within seconds.
#[utoipa::path(
    post, path = "/devices/{deviceId}/erase", tag = "owner", params(("deviceId" = String, Path, format = Uuid)),
    security(("bearer" = []), ("cookie" = [])), responses((status = 204, description = "Erased"))
)]
pub(crate) async fn erase_device(
    State(state): State<ApiState>,
    DeviceOwner(account): DeviceOwner,
    Path(device): Path<String>,
) -> Result<StatusCode, ApiError> {
    service(&state).erase(account, id(&device)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the account earned.
#[utoipa::path(
    get, path = "/credits", tag = "owner", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = CreditsAnswer, description = "The credits"))
)]
pub(crate) async fn own_credits(
    State(state): State<ApiState>,
    DeviceOwner(account): DeviceOwner,
) -> Result<Json<CreditsAnswer>, ApiError> {
    let parts = state.parts();
    let credits = parts.store.credits(account).await?;
    Ok(Json(CreditsAnswer {
        credits: credits.credits,
        pending_nano_credits: credits.pending_nanos,
        held: credits.held,
        bytes_per_credit: parts.owners.bytes_per_credit,
    }))
}

/// Turns credits into proxy bytes of the same account.
#[utoipa::path(
    post, path = "/credits/redeem", tag = "owner", request_body = RedeemBody,
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 201, body = Redeemed, description = "The bytes"))
)]
pub(crate) async fn redeem_credits(
    State(state): State<ApiState>,
    DeviceOwner(account): DeviceOwner,
    Json(body): Json<RedeemBody>,
) -> Result<Response, ApiError> {
    let parts = state.parts();
    let bytes = body
        .credits
        .saturating_mul(i64::from(parts.owners.bytes_per_credit));
    let booked = parts
        .ledger
        .redeem_credits(account, body.credits, bytes, &body.idempotency_key)
        .await
        .map_err(about_ledger)?;
    let answer = Redeemed {
        bytes,
        is_repeat: booked.is_repeat,
    };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// Whether the VPN is open for the account: one connected device opens it.
#[utoipa::path(
    get, path = "/vpn", tag = "owner", security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, body = VpnAnswer, description = "Whether it is"))
)]
pub(crate) async fn own_vpn(
    State(state): State<ApiState>,
    DeviceOwner(account): DeviceOwner,
) -> Result<Json<VpnAnswer>, ApiError> {
    let entitled = service(&state).has_active_device(account).await?;
    let exits = match entitled {
        true => state.parts().owners.vpn_exits.clone(),
        false => Vec::new(),
    };
    Ok(Json(VpnAnswer { entitled, exits }))
}

/// Holds an owner's credits back, or lets them go. For admins.
#[utoipa::path(
    put, path = "/{accountId}/hold", tag = "admin", params(("accountId" = String, Path, format = Uuid)),
    request_body = HoldBody, security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "It is so"))
)]
pub(crate) async fn hold_credits(
    State(state): State<ApiState>,
    Admin(admin): Admin,
    Path(account): Path<String>,
    Json(body): Json<HoldBody>,
) -> Result<StatusCode, ApiError> {
    let account = account.parse().map_err(|_| ApiError::AccountNotFound)?;
    let actor = Actor::Admin(admin.account.id);
    service(&state)
        .hold(actor, account, body.is_held, &body.reason)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn service(state: &ApiState) -> OwnerService<'_> {
    let parts = state.parts();
    OwnerService::new(&*parts.store, &*parts.clock, &parts.bell)
}

fn id(text: &str) -> Result<NodeId, ApiError> {
    text.parse().map_err(|_| ApiError::NotFound)
}

fn about_ledger(error: LedgerError) -> ApiError {
    match error {
        LedgerError::Invalid(problem) => ApiError::InvalidFields(vec![problem]),
        LedgerError::Refused(Refusal::NoSuchOwner) => ApiError::AccountNotFound,
        LedgerError::Refused(refusal) => ApiError::NotBooked(refusal),
        LedgerError::Store(error) => error.into(),
        other => ApiError::Internal(other.to_string()),
    }
}

impl From<OwnerError> for ApiError {
    fn from(error: OwnerError) -> Self {
        match error {
            OwnerError::Invalid(problem) => Self::InvalidFields(vec![problem]),
            OwnerError::NotFound => Self::NotFound,
            OwnerError::CodeInvalid => Self::PairingCodeInvalid,
            OwnerError::TooMany(limit) => Self::TooMany(limit),
            OwnerError::AccountNotFound => Self::AccountNotFound,
            OwnerError::AccountDeleted => Self::AccountDeleted,
            OwnerError::AlreadySo => Self::AlreadySo,
            OwnerError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl OwnedDeviceInfo {
    fn new(device: OwnedDevice, said: Option<Said>) -> Self {
        Self {
            is_paused: device.is_paused,
            is_sharing: said.as_ref().map(|said| said.is_sharing),
            not_sharing_because: said.filter(|said| !said.is_sharing).and_then(|said| said.reason),
            id: device.id,
            status: device.status,
            country: device.country,
            device_type: device.device_type,
            sdk_version: device.sdk_version,
            bytes: device.bytes,
            last_seen_at: device.last_seen_at,
            claimed_at: device.claimed_at,
            consent: device.consent.unwrap_or_default(),
        }
    }
}
