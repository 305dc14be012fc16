//! Plans: prices, limits and gates, as rows that an admin may change.

use serde::Serialize;

use crate::ids::PlanId;

/// A plan: a row of `plans`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Its id.
    pub id: PlanId,
    /// Starter, Growth, Business, Pay-as-you-go.
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
}

/// Features that a plan opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gates {
    /// Region, city and postal code targeting.
    pub city: bool,
    /// Network (ASN, provider) targeting.
    pub asn: bool,
    /// Sticky sessions.
    pub sticky_sessions: bool,
}
