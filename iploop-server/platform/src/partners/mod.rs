//! Partners: who they are, the key their devices register with, their apps, and what they are paid.

mod app;
mod config;
mod service;
mod statement;
mod store;

use crate::abuse::AuditAction;
use crate::accounts::email::EmailAddress;
use crate::api_key::ApiKeyHash;
use crate::clock::Clock;
use crate::field::{self, FieldProblem};
use crate::ids::PartnerId;
use crate::keys::key_prefix;
use crate::partner::{NewPartner, Partner};
use crate::secret::Secret;
use crate::store::{Store, StoreError};

pub use app::{App, AppFacts, AppPlatform, AppStanding, AppState, MAX_APPS, UnknownName, admits_device};
pub use config::PartnersConfig;
pub use service::{ACTIVE_WITHIN, MAX_OVERLAP_HOURS, PartnerService, WantedApp, WantedChange, Wanting};
pub use statement::{Month, csv};
pub use store::{
    CountryDevices, KeyReplacement, Linked, PartnerChange, PartnerDeleted, PartnerDevice, PartnerRecords,
    PartnerSummary, PartnerUser, Payout,
};

/// A partner's share unless agreed otherwise, in basis points.
pub const DEFAULT_REVENUE_SHARE_BP: u32 = 7_000;

/// A new partner with its key, which is shown this once.
#[derive(Clone, Debug)]
pub struct CreatedPartner {
    /// The partner.
    pub partner: Partner,
    /// `iplp_` and 48 hex digits.
    pub key: Secret,
}

/// Why something about a partner could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartnerError {
    /// A field can't be accepted.
    #[error("{}: {}", .0.field, .0.message)]
    Invalid(FieldProblem),
    /// There is no such partner, or it has no such app or user.
    #[error("there is no such partner, app or user")]
    NotFound,
    /// There is no such account.
    #[error("there is no such account")]
    AccountNotFound,
    /// The account is deleted.
    #[error("the account is deleted")]
    AccountDeleted,
    /// So many of its devices are connected.
    #[error("{0} devices of the partner are connected")]
    HasActiveDevices(u64),
    /// The account has another role, or acts for a partner already.
    #[error("the account has another role, or acts for a partner already")]
    OtherRole,
    /// The partner has an app of this bundle id and platform.
    #[error("the partner has an app of this bundle id and platform")]
    AppTaken,
    /// The partner has so many apps.
    #[error("a partner has at most {0} apps")]
    TooManyApps(u32),
    /// The data can't be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A partner as it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct WantedPartner<'a> {
    /// The company's name.
    pub name: &'a str,
    /// Contact address.
    pub email: Option<&'a str>,
    /// Its share in percent, to the hundredth; none: [`DEFAULT_REVENUE_SHARE_BP`].
    pub revenue_share_percent: Option<f64>,
}

/// Makes a partner with a fresh key.
///
/// # Errors
/// A name, address, share or reason that can't be accepted; the store's.
pub async fn create(
    store: &dyn Store,
    clock: &dyn Clock,
    wanted: WantedPartner<'_>,
    who: Wanting<'_>,
) -> Result<CreatedPartner, PartnerError> {
    let (id, now) = (PartnerId::new(), clock.now());
    let audit = service::entry(AuditAction::PartnerCreated, id.to_string(), who, now)?;
    let name = field::line("name", "Name", wanted.name, 1, 100).map_err(PartnerError::Invalid)?;
    let share = wanted
        .revenue_share_percent
        .map(service::basis_points)
        .transpose()
        .map_err(PartnerError::Invalid)?;
    let email = wanted
        .email
        .map(str::parse::<EmailAddress>)
        .transpose()
        .map_err(PartnerError::Invalid)?;
    let key = Secret::random::<24>("iplp_");
    let partner = store
        .create_partner(NewPartner {
            id,
            name,
            email: email.map(|email| email.to_string()),
            key_hash: ApiKeyHash::of(key.expose()),
            key_prefix: key_prefix(&key),
            revenue_share_bp: share.unwrap_or(DEFAULT_REVENUE_SHARE_BP),
            now,
            audit,
        })
        .await?;
    Ok(CreatedPartner { partner, key })
}
