//! Plans as admins see and change them.

use serde::Serialize;

use super::{AdminError, AdminService};
use crate::abuse::{Actor, AuditAction};
use crate::field::{self, FieldProblem, keep, line};
use crate::ids::PlanId;
use crate::plan::{Gates, Plan};

/// Highest price of 10^9 bytes, in micro-dollars: $10,000.
const MAX_PRICE_MICROS: i64 = 10_000_000_000;
/// Highest price of a month or year, in cents: $1,000,000.
const MAX_PRICE_CENTS: i64 = 100_000_000;
/// Most bytes in a plan: 10 PB.
const MAX_INCLUDED_BYTES: i64 = 10_000_000_000_000_000;
/// Most requests a day.
const MAX_REQUESTS: i64 = 1_000_000_000_000;
/// Most connections at the same time.
const MAX_CONNECTIONS: u32 = 1_000_000;
/// Most texts for the price page.
const MAX_FEATURES: usize = 30;
/// Accounts that are told of a changed plan between two visits of the database.
const ACCOUNTS_AT_ONCE: u32 = 1_000;

/// A plan with what only admins see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanDetails {
    /// The plan.
    pub plan: Plan,
    /// The price at Stripe that it is sold by for a month, while that costs what the plan does; none: one that we make.
    pub stripe_price_monthly: Option<String>,
    /// The same for a year.
    pub stripe_price_annual: Option<String>,
    /// Accounts on it that are not deleted.
    pub accounts: u64,
}

/// A plan to be stored, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WantedPlan {
    /// Unique.
    pub name: String,
    /// One sentence about it.
    pub description: String,
    /// Price of 10^9 bytes beyond the allowance, in micro-dollars.
    pub price_per_gb_micros: i64,
    /// Monthly price in cents.
    pub price_monthly_cents: i64,
    /// Annual price in cents, if it is sold by the year.
    pub price_annual_cents: Option<i64>,
    /// Bytes a month in the price; none: pay as you go.
    pub included_bytes: Option<i64>,
    /// Requests a day.
    pub requests_per_day: i64,
    /// Tunnels and requests at the same time.
    pub max_concurrent_connections: u32,
    /// What it may use.
    pub gates: Gates,
    /// Texts for the price page.
    pub features: Vec<String>,
    /// Offered to new subscribers.
    pub is_active: bool,
    /// The price at Stripe that it is sold by for a month, while that costs what the plan does; none: one that we make.
    pub stripe_price_monthly: Option<String>,
    /// The same for a year.
    pub stripe_price_annual: Option<String>,
}

/// Changes of a plan: what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanChange {
    /// As in [`WantedPlan`].
    pub name: Option<String>,
    /// As in [`WantedPlan`].
    pub description: Option<String>,
    /// As in [`WantedPlan`].
    pub price_per_gb_micros: Option<i64>,
    /// As in [`WantedPlan`].
    pub price_monthly_cents: Option<i64>,
    /// As in [`WantedPlan`].
    pub price_annual_cents: Option<Option<i64>>,
    /// As in [`WantedPlan`].
    pub included_bytes: Option<Option<i64>>,
    /// As in [`WantedPlan`].
    pub requests_per_day: Option<i64>,
    /// As in [`WantedPlan`].
    pub max_concurrent_connections: Option<u32>,
    /// Whether cities may be asked for.
    pub city: Option<bool>,
    /// Whether networks may be asked for.
    pub asn: Option<bool>,
    /// Whether sessions may be sticky.
    pub sticky_sessions: Option<bool>,
    /// As in [`WantedPlan`].
    pub features: Option<Vec<String>>,
    /// As in [`WantedPlan`].
    pub is_active: Option<bool>,
    /// As in [`WantedPlan`].
    pub stripe_price_monthly: Option<Option<String>>,
    /// As in [`WantedPlan`].
    pub stripe_price_annual: Option<Option<String>>,
}

/// What came of a changed plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanChanged {
    /// Changed and on record.
    Done,
    /// It was so already.
    AlreadySo,
    /// There is no such plan.
    NotFound,
    /// It can't be taken off the offer: new accounts start on it.
    FirstPlan,
}

impl PlanDetails {
    /// The plan in the form in which it is changed.
    pub fn wanted(&self) -> WantedPlan {
        let Plan {
            id: _,
            name,
            description,
            price_per_gb_micros,
            price_monthly_cents,
            price_annual_cents,
            included_bytes,
            requests_per_day,
            max_concurrent_connections,
            gates,
            features,
            is_active,
        } = self.plan.clone();
        WantedPlan {
            name,
            description,
            price_per_gb_micros,
            price_monthly_cents,
            price_annual_cents,
            included_bytes,
            requests_per_day,
            max_concurrent_connections,
            gates,
            features,
            is_active,
            stripe_price_monthly: self.stripe_price_monthly.clone(),
            stripe_price_annual: self.stripe_price_annual.clone(),
        }
    }
}

impl PlanChange {
    /// What comes of it where this plan stood.
    pub fn over(&self, plan: WantedPlan) -> WantedPlan {
        let change = self.clone();
        WantedPlan {
            name: change.name.unwrap_or(plan.name),
            description: change.description.unwrap_or(plan.description),
            price_per_gb_micros: change.price_per_gb_micros.unwrap_or(plan.price_per_gb_micros),
            price_monthly_cents: change.price_monthly_cents.unwrap_or(plan.price_monthly_cents),
            price_annual_cents: change.price_annual_cents.unwrap_or(plan.price_annual_cents),
            included_bytes: change.included_bytes.unwrap_or(plan.included_bytes),
            requests_per_day: change.requests_per_day.unwrap_or(plan.requests_per_day),
            max_concurrent_connections: change
                .max_concurrent_connections
                .unwrap_or(plan.max_concurrent_connections),
            gates: Gates {
                city: change.city.unwrap_or(plan.gates.city),
                asn: change.asn.unwrap_or(plan.gates.asn),
                sticky_sessions: change.sticky_sessions.unwrap_or(plan.gates.sticky_sessions),
            },
            features: change.features.unwrap_or(plan.features),
            is_active: change.is_active.unwrap_or(plan.is_active),
            stripe_price_monthly: change.stripe_price_monthly.unwrap_or(plan.stripe_price_monthly),
            stripe_price_annual: change.stripe_price_annual.unwrap_or(plan.stripe_price_annual),
        }
    }

    /// Texts trimmed; every mistake at once.
    fn checked(mut self) -> Result<Self, AdminError> {
        let mut problems = Vec::new();
        for (field, called, text, least, most) in [
            ("name", "Name", &mut self.name, 1, 100),
            ("description", "Description", &mut self.description, 0, 1000),
        ] {
            let Some(text) = text else { continue };
            if let Some(trimmed) = keep(line(field, called, text, least, most), &mut problems) {
                *text = trimmed;
            }
        }
        for (field, number, least, most) in [
            ("pricePerGb", self.price_per_gb_micros, 0, MAX_PRICE_MICROS),
            ("priceMonthly", self.price_monthly_cents, 0, MAX_PRICE_CENTS),
            (
                "priceAnnual",
                self.price_annual_cents.flatten(),
                0,
                MAX_PRICE_CENTS,
            ),
            ("includedGb", self.included_bytes.flatten(), 0, MAX_INCLUDED_BYTES),
            ("requestsPerDay", self.requests_per_day, 1, MAX_REQUESTS),
            (
                "maxConcurrentConnections",
                self.max_concurrent_connections.map(i64::from),
                1,
                i64::from(MAX_CONNECTIONS),
            ),
        ] {
            if number.is_some_and(|number| !(least..=most).contains(&number)) {
                problems.push(FieldProblem::new(field, format!("{field} is out of bounds")));
            }
        }
        let features = self.features.as_deref_mut().unwrap_or_default();
        if features.len() > MAX_FEATURES {
            problems.push(FieldProblem::new("features", "There are 30 features at most"));
        }
        for feature in features {
            if let Some(text) = keep(line("features", "A feature", feature, 1, 200), &mut problems) {
                *feature = text;
            }
        }
        for (field, price) in [
            ("stripePriceMonthly", &mut self.stripe_price_monthly),
            ("stripePriceAnnual", &mut self.stripe_price_annual),
        ] {
            let Some(price) = price else { continue };
            let given = price.as_deref().unwrap_or_default();
            if let Some(text) = keep(line(field, "A price's id", given, 0, 255), &mut problems) {
                *price = Some(text).filter(|text| !text.is_empty());
            }
        }
        match problems.is_empty() {
            true => Ok(self),
            false => Err(AdminError::Invalid(problems)),
        }
    }
}

/// All of it.
impl From<WantedPlan> for PlanChange {
    fn from(all: WantedPlan) -> Self {
        Self {
            name: Some(all.name),
            description: Some(all.description),
            price_per_gb_micros: Some(all.price_per_gb_micros),
            price_monthly_cents: Some(all.price_monthly_cents),
            price_annual_cents: Some(all.price_annual_cents),
            included_bytes: Some(all.included_bytes),
            requests_per_day: Some(all.requests_per_day),
            max_concurrent_connections: Some(all.max_concurrent_connections),
            city: Some(all.gates.city),
            asn: Some(all.gates.asn),
            sticky_sessions: Some(all.gates.sticky_sessions),
            features: Some(all.features),
            is_active: Some(all.is_active),
            stripe_price_monthly: Some(all.stripe_price_monthly),
            stripe_price_annual: Some(all.stripe_price_annual),
        }
    }
}

/// Which plans.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlanQuery {
    /// Behind this one, where it stands by its present price.
    pub after: Option<PlanId>,
    /// So many of them are passed over.
    pub offset: u32,
    /// At most so many.
    pub limit: u32,
}

/// Some plans.
#[derive(Clone, Debug)]
pub struct PlanPage {
    /// The plans, cheapest first.
    pub rows: Vec<PlanDetails>,
    /// How many there are in all.
    pub total: u64,
}

impl AdminService {
    /// Plans, cheapest first, those that are not offered included.
    ///
    /// # Errors
    /// If the data can't be read.
    pub async fn plans(&self, query: &PlanQuery) -> Result<PlanPage, AdminError> {
        Ok(self.parts().store.plan_page(query).await?)
    }

    /// One plan.
    ///
    /// # Errors
    /// If there is no such plan.
    pub async fn plan(&self, id: PlanId) -> Result<PlanDetails, AdminError> {
        let plan = self.parts().store.plan_details(id).await?;
        plan.ok_or(AdminError::PlanNotFound)
    }

    /// Makes a plan.
    ///
    /// # Errors
    /// If a field is wrong, or a plan has this name.
    pub async fn create_plan(
        &self,
        actor: Actor,
        wanted: WantedPlan,
        reason: &str,
    ) -> Result<PlanDetails, AdminError> {
        let reason = field::reason(reason)?;
        let wanted = PlanChange::from(wanted.clone()).checked()?.over(wanted);
        let id = PlanId::new();
        let entry = self.entry(actor, AuditAction::PlanCreated, None, id.to_string(), &reason);
        self.parts().store.create_plan(id, &wanted, entry).await?;
        self.plan(id).await
    }

    /// Changes a plan; of two changes at the same moment neither undoes the other. Its accounts have the new limits at this server's gateways at once, at others' within
    /// `admission.key_ttl`.
    ///
    /// # Errors
    /// If a field is wrong, a plan has this name, or new accounts start on it and it would not be offered any more.
    pub async fn change_plan(
        &self,
        actor: Actor,
        id: PlanId,
        wanted: PlanChange,
        reason: &str,
    ) -> Result<PlanDetails, AdminError> {
        let reason = field::reason(reason)?;
        let wanted = wanted.checked()?;
        let entry = self.entry(actor, AuditAction::PlanChanged, None, id.to_string(), &reason);
        let changed = self.parts().store.change_plan(id, &wanted, entry).await;
        self.tell_accounts_on(id).await;
        match changed? {
            PlanChanged::Done | PlanChanged::AlreadySo => self.plan(id).await,
            PlanChanged::NotFound => Err(AdminError::PlanNotFound),
            PlanChanged::FirstPlan => Err(AdminError::FirstPlan),
        }
    }

    async fn tell_accounts_on(&self, plan: PlanId) {
        let parts = self.parts();
        let mut after = None;
        loop {
            match parts.store.accounts_on(plan, after, ACCOUNTS_AT_ONCE).await {
                Ok(accounts) => {
                    for account in &accounts {
                        parts.changes.account_changed(*account);
                    }
                    after = accounts.last().copied();
                    if accounts.len() < usize::try_from(ACCOUNTS_AT_ONCE).unwrap_or(usize::MAX) {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "gateways learn of a changed plan when their keys' time is over");
                    return;
                }
            }
        }
    }
}
