//! What an account's own state says: plan, balance, keys, and why requests failed lately.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::CodeHelp;
use super::secrets::without_secrets;
use crate::account::Account;
use crate::api_key::ApiKey;
use crate::clock::{DAY, Timestamp};
use crate::plan::Plan;
use crate::store::{Store, StoreError};
use crate::usage::Balance;

/// Requests looked back at.
const RECENT: u32 = 100;
/// Codes that are explained.
const MAX_CODES: usize = 5;

/// An account's state at one moment.
pub(super) struct Facts {
    account: Account,
    plan: Option<Plan>,
    balance: Balance,
    keys: Vec<ApiKey>,
    /// Plans on sale, cheapest first.
    offers: Vec<Plan>,
    /// Codes of the last day's failures with their number, most first.
    failures: Vec<(String, u32)>,
    now: Timestamp,
}

impl Facts {
    pub(super) async fn read(
        store: &dyn Store,
        account: Account,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let (plan, balance, keys, recent, mut offers) = tokio::try_join!(
            store.plan_of(account.id),
            store.balance(account.id),
            store.api_keys(account.id),
            store.recent_usage(account.id, RECENT),
            store.plans()
        )?;
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for record in recent {
            if let Some(code) = record.error.filter(|_| record.started_at > now.minus(DAY)) {
                *counts.entry(code.to_string()).or_default() += 1;
            }
        }
        let mut failures: Vec<_> = counts.into_iter().collect();
        failures.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        failures.truncate(MAX_CODES);
        offers.retain(|plan| plan.is_active);
        Ok(Self {
            account,
            plan,
            balance,
            keys,
            offers,
            failures,
            now,
        })
    }

    /// One line each, without secrets.
    pub(super) fn plan(&self) -> String {
        let mut text = match &self.plan {
            None => "Your account has no plan.".to_owned(),
            Some(plan) => {
                let gates = [
                    (plan.gates.city, "city targeting"),
                    (plan.gates.asn, "ASN targeting"),
                    (plan.gates.sticky_sessions, "sticky sessions"),
                ];
                let has: Vec<&str> = gates
                    .iter()
                    .filter(|(open, _)| *open)
                    .map(|(_, name)| *name)
                    .collect();
                let has = match has.is_empty() {
                    true => "no targeting beyond countries".to_owned(),
                    false => has.join(", "),
                };
                format!(
                    "Your plan is {}: {} requests a day, {} connections at the same time, {has}.",
                    plan.name, plan.requests_per_day, plan.max_concurrent_connections
                )
            }
        };
        if !self.account.email_verified {
            text.push_str(" Your email address is not verified yet: the proxy opens when it is.");
        }
        text
    }

    /// What the plans on sale cost and hold; none if nothing is on sale.
    pub(super) fn prices(&self) -> Option<String> {
        if self.offers.is_empty() {
            return None;
        }
        let mut text = "The plans on sale:".to_owned();
        for plan in &self.offers {
            let _ = write!(
                text,
                "\n- {}: {} a month",
                plan.name,
                dollars(plan.price_monthly_cents)
            );
            if let Some(cents) = plan.price_annual_cents {
                let _ = write!(text, " or {} a year", dollars(cents));
            }
            if let Some(bytes) = plan.included_bytes {
                let _ = write!(text, " with {} each month", gigabytes(bytes));
            }
            let _ = write!(
                text,
                ", {} per GB, {} requests a day, {} connections at the same time",
                dollars(plan.price_per_gb_micros / 10_000),
                plan.requests_per_day,
                plan.max_concurrent_connections
            );
        }
        Some(text)
    }

    pub(super) fn balance(&self) -> String {
        format!(
            "You have {} left and used {} in all.",
            gigabytes(self.balance.bytes),
            gigabytes(self.balance.used_bytes)
        )
    }

    pub(super) fn keys(&self) -> String {
        if self.keys.is_empty() {
            return "You have no API key yet: create one under API Keys.".to_owned();
        }
        let mut text = format!("You have {} API keys:", self.keys.len());
        for key in &self.keys {
            let state = match (key.is_active, key.expires_at) {
                (false, _) => "switched off",
                (true, Some(end)) if end <= self.now => "expired",
                (true, _) => "active",
            };
            // The name is the customer's own text.
            let _ = write!(text, "\n- {}: {state}", without_secrets(&key.name));
            let limits = &key.limits;
            if let Some(rate) = limits.rate {
                let _ = write!(
                    text,
                    ", {} requests a second (burst {})",
                    rate.per_second, rate.burst
                );
            }
            if let Some(connections) = limits.max_connections {
                let _ = write!(text, ", {connections} connections");
            }
            for (limit, period) in [
                (limits.bytes.per_day, "a day"),
                (limits.bytes.per_month, "a month"),
                (limits.bytes.total, "in all"),
            ] {
                if let Some(bytes) = limit {
                    let _ = write!(
                        text,
                        ", {} {period}",
                        gigabytes(i64::try_from(bytes).unwrap_or(i64::MAX))
                    );
                }
            }
            if !key.ip_whitelist.is_empty() {
                let _ = write!(text, ", only from {} networks", key.ip_whitelist.len());
            }
        }
        text
    }

    /// Why requests of the last day failed; none if none did.
    pub(super) fn failures(&self, codes: fn(&str) -> Option<CodeHelp>) -> Option<String> {
        if self.failures.is_empty() {
            return None;
        }
        let mut text = format!("Of your last {RECENT} requests, within a day, these failed:");
        for (code, count) in &self.failures {
            let _ = write!(text, "\n- {count}× {}", explained(code, codes));
        }
        Some(text)
    }
}

/// A code with its meaning and what to do.
pub(super) fn explained(code: &str, codes: fn(&str) -> Option<CodeHelp>) -> String {
    match codes(code) {
        None => format!("`{code}`"),
        Some(CodeHelp { status, detail, hint }) => {
            format!("`{code}` ({status}): {detail}. What to do: {hint}.")
        }
    }
}

fn dollars(cents: i64) -> String {
    format!("${}.{:02}", cents / 100, cents.unsigned_abs() % 100)
}

fn gigabytes(bytes: i64) -> String {
    let (sign, bytes) = (if bytes < 0 { "-" } else { "" }, bytes.unsigned_abs());
    if bytes < 10_000_000 {
        return format!("{sign}{}.{:03} MB", bytes / 1_000_000, bytes / 1_000 % 1_000);
    }
    format!(
        "{sign}{}.{:02} GB",
        bytes / 1_000_000_000,
        bytes / 10_000_000 % 100
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_said_in_gigabytes_of_a_thousand_million() {
        assert_eq!(gigabytes(5_000_000_000), "5.00 GB");
        assert_eq!(gigabytes(4_129_999_999), "4.12 GB");
        assert_eq!(gigabytes(1_500), "0.001 MB");
        assert_eq!(gigabytes(-20_000_000), "-0.02 GB");
    }
}
