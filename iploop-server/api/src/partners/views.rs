//! What answers say of partners, their apps, devices and money.

use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AppId, EntryId, NodeId, PartnerId};
use iploop_platform::ledger::{PartnerTotals, ShareRow};
use iploop_platform::partner::Partner;
use iploop_platform::partners::{App, AppPlatform, CountryDevices, Month, PartnerDevice, Payout, WantedApp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::ApiError;
use crate::schema::{AppPlatformName, BundleId, Name, StoreUrl};
use crate::units::{dollars, gigabytes, signed_gigabytes};
use crate::usage::in_range;

/// Most rows of one page.
const MAX_PAGE: u32 = 100;

/// A partner.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartnerInfo {
    #[schema(value_type = String, format = Uuid)]
    id: PartnerId,
    name: String,
    email: Option<String>,
    /// The key's first 14 characters.
    api_key_prefix: String,
    is_active: bool,
    /// Percent of what its devices' bytes sell for.
    revenue_share: f64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// What a partner earned and got, from the ledger.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TotalsInfo {
    /// Paid bytes that its devices served.
    bytes: i64,
    gigabytes: f64,
    /// What these sold for.
    gross_micros: i64,
    gross_usd: f64,
    /// Its share.
    earned_micros: i64,
    earned_usd: f64,
    paid_micros: i64,
    paid_usd: f64,
    /// What it is owed.
    payable_micros: i64,
    payable_usd: f64,
}

/// A partner's device. Nothing here leads to its owner.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartnerDeviceInfo {
    #[schema(value_type = String, format = Uuid)]
    id: NodeId,
    /// `available`, `inactive` or `banned`.
    status: String,
    country: Option<String>,
    device_type: Option<String>,
    connection_type: Option<String>,
    sdk_version: String,
    bytes: u64,
    /// 0 to 100.
    quality: Option<u8>,
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// Some devices.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartnerDevicePage {
    devices: Vec<PartnerDeviceInfo>,
    /// For the next page; null: this was the last.
    next_cursor: Option<String>,
}

/// Devices of one country.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartnerCountry {
    country: Option<String>,
    devices: u64,
    active_devices: u64,
    bytes: u64,
    gigabytes: f64,
}

/// An app that carries the SDK.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AppInfo {
    #[schema(value_type = String, format = Uuid)]
    id: AppId,
    name: String,
    /// `android`, `ios`, `windows`, `mac`, `linux` or `browser`.
    platform: &'static str,
    /// What devices name in their consent as `appId`.
    bundle_id: String,
    store_url: Option<String>,
    /// `pending`, `approved`, `rejected` or `suspended`.
    state: &'static str,
    state_reason: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    changed_at: Timestamp,
}

/// A partner's apps.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppList {
    /// Oldest first.
    apps: Vec<AppInfo>,
}

/// What is said of an app.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AppBody {
    #[schema(value_type = Name)]
    name: String,
    /// `android`, `ios`, `windows`, `mac`, `linux` or `browser`.
    #[schema(value_type = AppPlatformName)]
    platform: AppPlatform,
    /// What devices name in their consent as `appId`.
    #[schema(value_type = BundleId)]
    bundle_id: String,
    /// Where users get it: an `https` address.
    #[schema(value_type = Option<StoreUrl>)]
    #[serde(default)]
    store_url: Option<String>,
}

/// One UTC month.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartnerMonth {
    /// `2026-11`.
    month: String,
    bytes: i64,
    gigabytes: f64,
    gross_micros: i64,
    gross_usd: f64,
    share_micros: i64,
    share_usd: f64,
    /// Paid out in this month, for whatever it was earned.
    payouts_micros: i64,
    payouts_usd: f64,
}

/// A statement.
#[derive(Serialize, ToSchema)]
pub(crate) struct PartnerStatement {
    /// Months in which something happened, oldest first. The newest 25 hours may still change.
    months: Vec<PartnerMonth>,
}

/// A payout.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PayoutInfo {
    #[schema(value_type = String, format = Uuid)]
    id: EntryId,
    amount_micros: i64,
    amount_usd: f64,
    /// The payment, as the bank names it.
    reference: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// Payouts.
#[derive(Serialize, ToSchema)]
pub(crate) struct PartnerPayouts {
    /// Newest first, at most 100.
    payouts: Vec<PayoutInfo>,
}

/// One UTC day.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartnerDay {
    #[schema(value_type = String, format = DateTime)]
    day: Timestamp,
    bytes: i64,
    gigabytes: f64,
    earned_micros: i64,
    earned_usd: f64,
}

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// The `nextCursor` of the page before.
    #[serde(default)]
    #[param(format = Uuid)]
    pub(crate) cursor: Option<String>,
    #[serde(default = "fifty")]
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: u32,
}

impl PageQuery {
    /// Rows wanted.
    pub(crate) fn limit(&self) -> Result<u32, ApiError> {
        in_range("limit", self.limit, MAX_PAGE)?;
        Ok(self.limit)
    }

    /// The id in the cursor.
    pub(crate) fn after<T: std::str::FromStr>(&self) -> Result<Option<T>, ApiError> {
        let cursor = self.cursor.as_deref().filter(|text| !text.is_empty());
        let parsed = cursor.map(str::parse::<T>).transpose();
        parsed.map_err(|_| ApiError::MalformedQuery("cursor is no nextCursor of ours".to_owned()))
    }
}

/// How many months back.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct MonthsQuery {
    /// The present one included.
    #[serde(default = "twelve")]
    #[param(minimum = 1, maximum = 24, default = 12)]
    pub(crate) months: u32,
}

fn fifty() -> u32 {
    50
}

fn twelve() -> u32 {
    12
}

impl AppBody {
    pub(crate) fn wanted(&self) -> WantedApp<'_> {
        WantedApp {
            name: &self.name,
            platform: self.platform,
            bundle_id: &self.bundle_id,
            store_url: self.store_url.as_deref(),
        }
    }
}

impl AppList {
    pub(crate) fn of(apps: Vec<App>) -> Self {
        Self {
            apps: apps.into_iter().map(AppInfo::from).collect(),
        }
    }
}

impl PartnerStatement {
    pub(crate) fn of(months: &[Month]) -> Self {
        Self {
            months: months.iter().map(PartnerMonth::from).collect(),
        }
    }
}

impl PartnerPayouts {
    pub(crate) fn of(payouts: Vec<Payout>) -> Self {
        Self {
            payouts: payouts.into_iter().map(PayoutInfo::from).collect(),
        }
    }
}

impl PartnerDevicePage {
    /// Of one row more than `limit`, if there are so many.
    pub(crate) fn of(mut devices: Vec<PartnerDevice>, limit: u32) -> Self {
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = devices.len() > most;
        devices.truncate(most);
        let next_cursor = devices.last().filter(|_| more).map(|last| last.id.to_string());
        Self {
            devices: devices.into_iter().map(PartnerDeviceInfo::from).collect(),
            next_cursor,
        }
    }
}

impl From<Partner> for PartnerInfo {
    fn from(partner: Partner) -> Self {
        Self {
            id: partner.id,
            name: partner.name,
            email: partner.email,
            api_key_prefix: partner.api_key_prefix,
            is_active: partner.is_active,
            revenue_share: f64::from(partner.revenue_share_bp) / 100.0,
            created_at: partner.created_at,
        }
    }
}

impl From<PartnerTotals> for TotalsInfo {
    fn from(totals: PartnerTotals) -> Self {
        Self {
            bytes: totals.bytes,
            gigabytes: signed_gigabytes(totals.bytes),
            gross_micros: totals.sold_micros,
            gross_usd: dollars(totals.sold_micros),
            earned_micros: totals.earned_micros,
            earned_usd: dollars(totals.earned_micros),
            paid_micros: totals.paid_micros,
            paid_usd: dollars(totals.paid_micros),
            payable_micros: totals.payable_micros(),
            payable_usd: dollars(totals.payable_micros()),
        }
    }
}

impl From<PartnerDevice> for PartnerDeviceInfo {
    fn from(device: PartnerDevice) -> Self {
        Self {
            id: device.id,
            status: device.status,
            country: device.country,
            device_type: device.device_type,
            connection_type: device.connection_type,
            sdk_version: device.sdk_version,
            bytes: device.bytes,
            quality: device.quality,
            last_seen_at: device.last_seen_at,
            created_at: device.created_at,
        }
    }
}

impl From<CountryDevices> for PartnerCountry {
    fn from(of: CountryDevices) -> Self {
        Self {
            country: of.country,
            devices: of.devices,
            active_devices: of.active_devices,
            bytes: of.bytes,
            gigabytes: gigabytes(of.bytes),
        }
    }
}

impl From<App> for AppInfo {
    fn from(app: App) -> Self {
        Self {
            id: app.id,
            name: app.name,
            platform: app.platform.as_str(),
            bundle_id: app.bundle_id,
            store_url: app.store_url,
            state: app.state.as_str(),
            state_reason: app.state_reason,
            created_at: app.created_at,
            changed_at: app.changed_at,
        }
    }
}

impl From<&Month> for PartnerMonth {
    fn from(month: &Month) -> Self {
        Self {
            month: month.name(),
            bytes: month.bytes,
            gigabytes: signed_gigabytes(month.bytes),
            gross_micros: month.sold_micros,
            gross_usd: dollars(month.sold_micros),
            share_micros: month.earned_micros,
            share_usd: dollars(month.earned_micros),
            payouts_micros: month.paid_micros,
            payouts_usd: dollars(month.paid_micros),
        }
    }
}

impl From<Payout> for PayoutInfo {
    fn from(payout: Payout) -> Self {
        Self {
            id: payout.id,
            amount_micros: payout.amount_micros,
            amount_usd: dollars(payout.amount_micros),
            reference: payout.reference,
            at: payout.at,
        }
    }
}

impl From<ShareRow> for PartnerDay {
    fn from(row: ShareRow) -> Self {
        Self {
            day: row.from,
            bytes: row.bytes,
            gigabytes: signed_gigabytes(row.bytes),
            earned_micros: row.earned_micros,
            earned_usd: dollars(row.earned_micros),
        }
    }
}
