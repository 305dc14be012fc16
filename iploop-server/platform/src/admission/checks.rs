//! What a key, an account and a plan allow: questions that need neither memory nor a clock of their own.

use std::net::IpAddr;

use iploop_protocol::targeting::{ClaimedUser, Gate, Targeting};

use super::Login;
use super::error::AdmissionError;
use crate::account::AccountStatus;
use crate::api_key::KeyGrant;
use crate::clock::Timestamp;
use crate::ids::AccountId;
use crate::keys::KeyLimits;
use crate::plan::{Gates, Plan};

/// How many digits of an account's id are its short id.
const SHORT_ID_DIGITS: usize = 12;

/// The key is of the claimed account, switched on and in its time.
pub(super) fn check_key(grant: &KeyGrant, login: Login<'_>, now: Timestamp) -> Result<(), AdmissionError> {
    let is_claimed = match login.user {
        None => true,
        Some(ClaimedUser::AccountId(id)) => grant.key.account.uuid().as_u128() == *id,
        Some(ClaimedUser::ShortId(id)) => short_id(grant.key.account).eq_ignore_ascii_case(id),
    };
    if !is_claimed {
        Err(AdmissionError::UserMismatch)
    } else if !grant.key.is_active {
        Err(AdmissionError::KeyInactive)
    } else if grant.key.expires_at.is_some_and(|end| end <= now) {
        Err(AdmissionError::KeyExpired)
    } else {
        Ok(())
    }
}

pub(super) fn check_account(grant: &KeyGrant) -> Result<(), AdmissionError> {
    match grant.account_status {
        AccountStatus::Suspended => Err(AdmissionError::AccountSuspended),
        AccountStatus::Deleted => Err(AdmissionError::AccountDeleted),
        AccountStatus::Active if !grant.email_verified => Err(AdmissionError::EmailUnverified),
        AccountStatus::Active => Ok(()),
    }
}

pub(super) fn check_client(grant: &KeyGrant, client: IpAddr) -> Result<(), AdmissionError> {
    match grant.key.may_come_from(client) {
        true => Ok(()),
        false => Err(AdmissionError::IpNotAllowed),
    }
}

/// What the plan does not have of what is asked for, if anything.
pub(crate) fn check_plan(plan: &Plan, targeting: &Targeting) -> Result<(), AdmissionError> {
    match targeting.gates().find(|gate| !opens(&plan.gates, *gate)) {
        None => Ok(()),
        Some(gate) => Err(AdmissionError::PlanFeature {
            parameter: targeting.parameter_for(gate),
            plan: plan.name.clone(),
        }),
    }
}

/// The wishes within the countries that the key is for; what asks for another one is refused.
pub(super) fn within_countries(limits: &KeyLimits, wished: &Targeting) -> Result<Targeting, AdmissionError> {
    if limits.countries.is_empty() {
        return Ok(wished.clone());
    }
    wished
        .within(limits.countries)
        .map_err(|countries| AdmissionError::KeyCountry { countries })
}

pub(super) fn requests_per_day(plan: &Plan) -> u64 {
    u64::try_from(plan.requests_per_day).unwrap_or(0)
}

/// Whether a plan has what a gate stands for.
pub fn opens(gates: &Gates, gate: Gate) -> bool {
    match gate {
        Gate::City | Gate::Region | Gate::Zip => gates.city,
        Gate::Asn | Gate::Isp => gates.asn,
        Gate::StickySession => gates.sticky_sessions,
        Gate::ConnectionType | Gate::DeviceType | Gate::Profile | Gate::Performance => true,
    }
}

/// An account's short id, which may stand for it in the user name: the last 12 hex digits of its id.
pub fn short_id(account: AccountId) -> String {
    let digits = account.uuid().simple().to_string();
    digits[digits.len() - SHORT_ID_DIGITS..].to_owned()
}
