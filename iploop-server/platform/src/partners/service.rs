//! The rules around partners, for admins and for partners themselves.

use std::time::Duration;

use super::app::{App, AppFacts, AppPlatform, AppState, MAX_APPS};
use super::statement::{self, Month};
use super::store::{
    CountryDevices, KeyReplacement, Linked, PartnerChange, PartnerDeleted, PartnerDevice, PartnerSummary,
    PartnerUser, Payout,
};
use super::{CreatedPartner, PartnerError};
use crate::abuse::{Actor, AuditAction, AuditEntry};
use crate::accounts::email::EmailAddress;
use crate::api_key::ApiKeyHash;
use crate::clock::{Clock, DAY, Timestamp};
use crate::device_news::NewsBell;
use crate::field::{self, FieldProblem};
use crate::ids::{AccountId, AppId, NodeId, PartnerId};
use crate::keys::key_prefix;
use crate::ledger::{PartnerTotals, ShareRow, Step};
use crate::partner::Partner;
use crate::secret::Secret;
use crate::store::{Store, StoreError};

/// A device counts as connected if it was heard within this time: some heartbeats.
pub const ACTIVE_WITHIN: Duration = Duration::from_secs(3600);

/// Longest time that a replaced key goes on working, in hours: 30 days.
pub const MAX_OVERLAP_HOURS: u32 = 720;

/// Most payouts read for a statement; more than one a day for five years.
const MAX_PAYOUTS: u32 = 2_000;

/// Longest statement, in months.
const MAX_MONTHS: u32 = 24;

/// What admins and partners do with partners' data. Made for one request.
#[derive(Clone, Copy)]
pub struct PartnerService<'a> {
    store: &'a dyn Store,
    clock: &'a dyn Clock,
    bell: &'a NewsBell,
}

/// Who wants something, and why.
#[derive(Clone, Copy, Debug)]
pub struct Wanting<'a> {
    /// Who.
    pub actor: Actor,
    /// Why; it goes on record.
    pub reason: &'a str,
}

/// A change as it is asked for.
#[derive(Clone, Debug, Default)]
pub struct WantedChange {
    /// The company's name.
    pub name: Option<String>,
    /// Contact address; none inside: no longer any.
    pub email: Option<Option<String>>,
    /// Whether its devices are accepted.
    pub is_active: Option<bool>,
    /// Its share in percent, to the hundredth.
    pub revenue_share_percent: Option<f64>,
}

/// An app as it is described.
#[derive(Clone, Copy, Debug)]
pub struct WantedApp<'a> {
    /// What its users call it.
    pub name: &'a str,
    /// Where it runs.
    pub platform: AppPlatform,
    /// What devices name as `appId`.
    pub bundle_id: &'a str,
    /// Where users get it.
    pub store_url: Option<&'a str>,
}

impl<'a> PartnerService<'a> {
    /// On these data; `bell` tells hubs of devices that have to leave.
    pub fn new(store: &'a dyn Store, clock: &'a dyn Clock, bell: &'a NewsBell) -> Self {
        Self { store, clock, bell }
    }

    /// Partners behind `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The data can't be read.
    pub async fn list(
        &self,
        after: Option<PartnerId>,
        limit: u32,
    ) -> Result<Vec<PartnerSummary>, PartnerError> {
        Ok(self.store.partners(after, self.active_after(), limit).await?)
    }

    /// A partner with what the ledger says of it.
    ///
    /// # Errors
    /// [`PartnerError::NotFound`].
    pub async fn partner(&self, id: PartnerId) -> Result<(PartnerSummary, PartnerTotals), PartnerError> {
        let known = self.store.partner(id, self.active_after()).await?;
        let summary = known.ok_or(PartnerError::NotFound)?;
        Ok((summary, self.store.partner_totals(id).await?))
    }

    /// Its devices behind `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The data can't be read.
    pub async fn devices(
        &self,
        id: PartnerId,
        after: Option<NodeId>,
        limit: u32,
    ) -> Result<Vec<PartnerDevice>, PartnerError> {
        Ok(self.store.partner_devices(id, after, limit).await?)
    }

    /// Its devices by country.
    ///
    /// # Errors
    /// The data can't be read.
    pub async fn countries(&self, id: PartnerId) -> Result<Vec<CountryDevices>, PartnerError> {
        Ok(self.store.partner_countries(id, self.active_after()).await?)
    }

    /// Changes a partner. Devices of one that is switched off are disconnected within seconds.
    ///
    /// # Errors
    /// [`PartnerError`].
    pub async fn change(
        &self,
        id: PartnerId,
        wanted: WantedChange,
        who: Wanting<'_>,
    ) -> Result<Partner, PartnerError> {
        let name = wanted
            .name
            .map(|name| field::line("name", "Name", &name, 1, 100))
            .transpose()
            .map_err(PartnerError::Invalid)?;
        let email = match wanted.email {
            Some(Some(email)) => {
                let email = email.parse::<EmailAddress>().map_err(PartnerError::Invalid)?;
                Some(Some(email.to_string()))
            }
            unchanged_or_none => unchanged_or_none,
        };
        let share = wanted.revenue_share_percent.map(basis_points).transpose();
        let change = PartnerChange {
            name,
            email,
            is_active: wanted.is_active,
            revenue_share_bp: share.map_err(PartnerError::Invalid)?,
        };
        if change == PartnerChange::default() {
            return Err(PartnerError::Invalid(FieldProblem::new(
                "name",
                "Nothing to change",
            )));
        }
        let entry = self.entry(AuditAction::PartnerChanged, id.to_string(), who)?;
        let changed = self.store.change_partner(id, &change, entry).await?;
        self.bell.ring();
        changed.ok_or(PartnerError::NotFound)
    }

    /// Gives a partner another key. The one before works for `overlap_hours` more, the one before that no longer.
    ///
    /// # Errors
    /// [`PartnerError`].
    pub async fn replace_key(
        &self,
        id: PartnerId,
        overlap_hours: u32,
        who: Wanting<'_>,
    ) -> Result<CreatedPartner, PartnerError> {
        if overlap_hours > MAX_OVERLAP_HOURS {
            return Err(PartnerError::Invalid(FieldProblem::new(
                "overlapHours",
                format!("Must be at most {MAX_OVERLAP_HOURS}"),
            )));
        }
        let key = Secret::random::<24>("iplp_");
        let overlap = Duration::from_secs(u64::from(overlap_hours) * 3600);
        let replacement = KeyReplacement {
            key_hash: ApiKeyHash::of(key.expose()),
            key_prefix: key_prefix(&key),
            old_until: self.clock.now().plus(overlap),
        };
        let entry = self.entry(AuditAction::PartnerKeyReplaced, id.to_string(), who)?;
        let partner = self.store.replace_partner_key(id, &replacement, entry).await?;
        let partner = partner.ok_or(PartnerError::NotFound)?;
        Ok(CreatedPartner { partner, key })
    }

    /// Deletes a partner none of whose devices is connected. What it earned and got stays in the ledger.
    ///
    /// # Errors
    /// [`PartnerError::HasActiveDevices`] and others.
    pub async fn delete(&self, id: PartnerId, who: Wanting<'_>) -> Result<(), PartnerError> {
        let entry = self.entry(AuditAction::PartnerDeleted, id.to_string(), who)?;
        match self.store.delete_partner(id, self.active_after(), entry).await? {
            PartnerDeleted::Gone => {
                self.bell.ring();
                Ok(())
            }
            PartnerDeleted::NotThere => Err(PartnerError::NotFound),
            PartnerDeleted::HasActiveDevices(devices) => Err(PartnerError::HasActiveDevices(devices)),
        }
    }

    /// A partner's apps, oldest first.
    ///
    /// # Errors
    /// The data can't be read.
    pub async fn apps(&self, partner: PartnerId) -> Result<Vec<App>, PartnerError> {
        Ok(self.store.partner_apps(partner).await?)
    }

    /// Hands an app in, to be looked at.
    ///
    /// # Errors
    /// [`PartnerError`].
    pub async fn create_app(
        &self,
        partner: PartnerId,
        wanted: WantedApp<'_>,
        who: Wanting<'_>,
    ) -> Result<App, PartnerError> {
        let facts = facts(wanted).map_err(PartnerError::Invalid)?;
        let app = AppId::new();
        let entry = self.entry(AuditAction::AppHandedIn, app.to_string(), who)?;
        let created = self.store.create_app(partner, app, &facts, entry).await;
        created.map_err(about_apps)?.ok_or(PartnerError::NotFound)
    }

    /// Says something else of an app: it is looked at again. Where apps are reviewed its connected devices are disconnected within
    /// seconds.
    ///
    /// # Errors
    /// [`PartnerError`].
    pub async fn change_app(
        &self,
        partner: PartnerId,
        app: AppId,
        wanted: WantedApp<'_>,
        who: Wanting<'_>,
    ) -> Result<App, PartnerError> {
        let facts = facts(wanted).map_err(PartnerError::Invalid)?;
        let entry = self.entry(AuditAction::AppChanged, app.to_string(), who)?;
        let changed = self.store.change_app(partner, app, &facts, entry).await;
        self.bell.ring();
        changed.map_err(about_apps)?.ok_or(PartnerError::NotFound)
    }

    /// Removes an app that nobody decided against. Its connected devices as for [`Self::change_app`].
    ///
    /// # Errors
    /// [`PartnerError::NotFound`] also for one that was rejected or suspended: that stays on record.
    pub async fn delete_app(
        &self,
        partner: PartnerId,
        app: AppId,
        who: Wanting<'_>,
    ) -> Result<(), PartnerError> {
        let entry = self.entry(AuditAction::AppRemoved, app.to_string(), who)?;
        if self.store.delete_app(partner, app, entry).await? {
            self.bell.ring();
            Ok(())
        } else {
            Err(PartnerError::NotFound)
        }
    }

    /// Decides about an app. Connected devices of one that may bring none are disconnected within seconds.
    ///
    /// # Errors
    /// [`PartnerError`].
    pub async fn review_app(
        &self,
        partner: PartnerId,
        app: AppId,
        state: AppState,
        who: Wanting<'_>,
    ) -> Result<App, PartnerError> {
        let entry = self.entry(AuditAction::AppReviewed, app.to_string(), who)?;
        let reviewed = self.store.review_app(partner, app, state, entry).await?;
        self.bell.ring();
        reviewed.ok_or(PartnerError::NotFound)
    }

    /// Who acts for a partner, the oldest accounts first, behind `after`, at most `limit`.
    ///
    /// # Errors
    /// [`PartnerError`].
    pub async fn users(
        &self,
        partner: PartnerId,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<PartnerUser>, PartnerError> {
        Ok(self.store.partner_users(partner, after, limit).await?)
    }

    /// Lets a customer's account act for a partner.
    ///
    /// # Errors
    /// [`PartnerError`].
    pub async fn link(
        &self,
        partner: PartnerId,
        account: AccountId,
        who: Wanting<'_>,
    ) -> Result<(), PartnerError> {
        let mut entry = self.entry(AuditAction::PartnerUserLinked, partner.to_string(), who)?;
        entry.account = Some(account);
        match self.store.link_partner_user(partner, account, entry).await? {
            Linked::Done => Ok(()),
            Linked::NoPartner => Err(PartnerError::NotFound),
            Linked::NoAccount => Err(PartnerError::AccountNotFound),
            Linked::Deleted => Err(PartnerError::AccountDeleted),
            Linked::OtherRole => Err(PartnerError::OtherRole),
        }
    }

    /// Ends that.
    ///
    /// # Errors
    /// [`PartnerError`].
    pub async fn unlink(
        &self,
        partner: PartnerId,
        account: AccountId,
        who: Wanting<'_>,
    ) -> Result<(), PartnerError> {
        let mut entry = self.entry(AuditAction::PartnerUserUnlinked, partner.to_string(), who)?;
        entry.account = Some(account);
        if self.store.unlink_partner_user(partner, account, entry).await? {
            Ok(())
        } else {
            Err(PartnerError::NotFound)
        }
    }

    /// The statement of the last `months` UTC months, the present one included, oldest first.
    ///
    /// # Errors
    /// [`PartnerError`].
    pub async fn statement(&self, partner: PartnerId, months: u32) -> Result<Vec<Month>, PartnerError> {
        if !(1..=MAX_MONTHS).contains(&months) {
            return Err(PartnerError::Invalid(FieldProblem::new(
                "months",
                format!("Must be 1 to {MAX_MONTHS}"),
            )));
        }
        let now = self.clock.now();
        let (from, to) = (month_start(now, months - 1), now.next_month());
        let shares = self.store.partner_shares(partner, from, to, Step::Day).await?;
        let payouts = self.store.payouts(partner, from, to, MAX_PAYOUTS).await?;
        Ok(statement::by_month(&shares, &payouts))
    }

    /// What a partner earned on each of the last `days` UTC days, oldest first.
    ///
    /// # Errors
    /// [`PartnerError`].
    pub async fn earnings(&self, partner: PartnerId, days: u32) -> Result<Vec<ShareRow>, PartnerError> {
        if !(1..=366).contains(&days) {
            return Err(PartnerError::Invalid(FieldProblem::new(
                "days",
                "Must be 1 to 366",
            )));
        }
        let to = self.clock.now().next_day();
        Ok(self
            .store
            .partner_shares(partner, to.minus(DAY * days), to, Step::Day)
            .await?)
    }

    /// The newest payouts, at most `limit`; also those of a partner that was deleted.
    ///
    /// # Errors
    /// [`PartnerError::NotFound`].
    pub async fn payouts(&self, partner: PartnerId, limit: u32) -> Result<Vec<Payout>, PartnerError> {
        let (from, to) = (Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX));
        let payouts = self.store.payouts(partner, from, to, limit).await?;
        if payouts.is_empty() && self.store.partner(partner, self.active_after()).await?.is_none() {
            return Err(PartnerError::NotFound);
        }
        Ok(payouts)
    }

    fn active_after(&self) -> Timestamp {
        self.clock.now().minus(ACTIVE_WITHIN)
    }

    fn entry(
        &self,
        action: AuditAction,
        subject: String,
        who: Wanting<'_>,
    ) -> Result<AuditEntry, PartnerError> {
        entry(action, subject, who, self.clock.now())
    }
}

/// A record of what somebody wanted.
pub(super) fn entry(
    action: AuditAction,
    subject: String,
    who: Wanting<'_>,
    now: Timestamp,
) -> Result<AuditEntry, PartnerError> {
    let reason = field::reason(who.reason).map_err(PartnerError::Invalid)?;
    Ok(AuditEntry::new(who.actor, action, subject, &reason, now))
}

/// When the month began that was `back` months before that of `now`.
fn month_start(now: Timestamp, back: u32) -> Timestamp {
    let wanted = now.utc_month().saturating_sub(back);
    let mut day = now.day_start();
    // At most 31 steps for each of a bounded number of months.
    while day.minus(DAY).utc_month() >= wanted {
        day = day.minus(DAY);
    }
    day
}

/// Percent as basis points, where it has no more than two digits behind the point.
pub(super) fn basis_points(percent: f64) -> Result<u32, FieldProblem> {
    let points = (percent * 100.0).round();
    if (0.0..=10_000.0).contains(&points) && (percent * 100.0 - points).abs() < 1e-6 {
        // In range, so nothing is cut.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 10,000"
        )]
        let points = points as u32;
        Ok(points)
    } else {
        Err(FieldProblem::new(
            "revenueShare",
            "Must be 0 to 100 with at most two digits behind the point",
        ))
    }
}

fn facts(wanted: WantedApp<'_>) -> Result<AppFacts, FieldProblem> {
    let bundle_id = field::line("bundleId", "Bundle id", wanted.bundle_id, 1, 128)?;
    if bundle_id.chars().any(char::is_whitespace) {
        return Err(FieldProblem::new("bundleId", "Bundle id must not contain spaces"));
    }
    let store_url = match wanted.store_url {
        None => None,
        Some(url) => {
            let url = field::line("storeUrl", "Store URL", url, 1, 500)?;
            if !url.starts_with("https://") {
                return Err(FieldProblem::new(
                    "storeUrl",
                    "Store URL must start with https://",
                ));
            }
            Some(url)
        }
    };
    Ok(AppFacts {
        name: field::line("name", "Name", wanted.name, 1, 100)?,
        platform: wanted.platform,
        bundle_id,
        store_url,
    })
}

fn about_apps(error: StoreError) -> PartnerError {
    match error {
        StoreError::Conflict { what: "app" } => PartnerError::AppTaken,
        StoreError::LimitReached { .. } => PartnerError::TooManyApps(MAX_APPS),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_two_digits_behind_the_point() {
        assert_eq!(basis_points(70.0).unwrap(), 7_000);
        assert_eq!(basis_points(66.67).unwrap(), 6_667);
        assert_eq!(basis_points(100.0).unwrap(), 10_000);
        for wrong in [-0.01, 100.01, 33.333, f64::NAN, f64::INFINITY] {
            assert!(basis_points(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn months_begin_on_their_first_day() {
        // 2026-03-15T12:00:00Z
        let now = Timestamp::from_millis(1_773_576_000_000);
        assert_eq!(month_start(now, 0).to_string(), "2026-03-01T00:00:00Z");
        assert_eq!(month_start(now, 1).to_string(), "2026-02-01T00:00:00Z");
        assert_eq!(month_start(now, 14).to_string(), "2025-01-01T00:00:00Z");
    }
}
