//! What we hold of an account's devices and of what they earned, for the export of everything.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use super::store::EarnedHour;
use crate::accounts::{Page, PersonalData};
use crate::clock::Timestamp;
use crate::ids::{AccountId, NodeId};
use crate::store::{Store, StoreError};

/// Devices in one piece of the text: each may have some thousand rows.
const DEVICES: u32 = 4;
/// Hours in one piece.
const HOURS: u32 = 500;

/// The parts of an owner's export.
pub fn personal_data(store: &Arc<dyn Store>) -> Vec<Arc<dyn PersonalData>> {
    vec![
        Arc::new(Devices(Arc::clone(store))),
        Arc::new(Credits(Arc::clone(store))),
        Arc::new(CreditHours(Arc::clone(store))),
        Arc::new(Partnership(Arc::clone(store))),
    ]
}

/// The claimed devices, each with all that its owner may have exported, the claim and an open pairing code included.
struct Devices(Arc<dyn Store>);

#[async_trait]
impl PersonalData for Devices {
    fn name(&self) -> &'static str {
        "devices"
    }

    async fn page(&self, account: AccountId, after: Option<&str>) -> Result<Page, StoreError> {
        let after = after.and_then(|text| text.parse().ok());
        let devices = self.0.owned_devices(account, after, DEVICES).await?;
        let mut items = Vec::with_capacity(devices.len());
        for device in &devices {
            // One that was given up meanwhile is left out.
            items.extend(self.0.export_device(account, device.id).await?);
        }
        let is_full = devices.len() >= usize::try_from(DEVICES).unwrap_or(usize::MAX);
        Ok(Page {
            items,
            next: devices
                .last()
                .filter(|_| is_full)
                .map(|device| device.id.to_string()),
        })
    }
}

struct Credits(Arc<dyn Store>);

#[async_trait]
impl PersonalData for Credits {
    fn name(&self) -> &'static str {
        "credits"
    }

    async fn page(&self, account: AccountId, _: Option<&str>) -> Result<Page, StoreError> {
        let credits = self.0.credits(account).await?;
        Ok(one(json!({
            "credits": credits.credits,
            "pendingNanoCredits": credits.pending_nanos,
            "held": credits.held,
        })))
    }
}

/// What all devices earned for the account, those included that it gave up.
struct CreditHours(Arc<dyn Store>);

#[async_trait]
impl PersonalData for CreditHours {
    fn name(&self) -> &'static str {
        "creditHours"
    }

    async fn page(&self, account: AccountId, after: Option<&str>) -> Result<Page, StoreError> {
        let hours = self
            .0
            .earned_hours(account, after.and_then(cursor_from), HOURS)
            .await?;
        let is_full = hours.len() >= usize::try_from(HOURS).unwrap_or(usize::MAX);
        let items = hours.iter().map(|earned| {
            json!({
                "hour": earned.hour,
                "device": earned.node,
                "bytes": earned.bytes,
                "nanoCredits": earned.nanos,
            })
        });
        Ok(Page {
            items: items.collect(),
            next: hours.last().filter(|_| is_full).map(cursor),
        })
    }
}

/// The partner that the account acts for.
struct Partnership(Arc<dyn Store>);

#[async_trait]
impl PersonalData for Partnership {
    fn name(&self) -> &'static str {
        "partnerships"
    }

    async fn page(&self, account: AccountId, _: Option<&str>) -> Result<Page, StoreError> {
        let Some(id) = self.0.partner_of(account).await? else {
            return Ok(Page::default());
        };
        let known = self.0.partner(id, Timestamp::from_millis(0)).await?;
        Ok(one(json!({
            "partnerId": id,
            "name": known.map(|known| known.partner.name),
        })))
    }
}

fn one(item: serde_json::Value) -> Page {
    Page {
        items: vec![item],
        next: None,
    }
}

fn cursor(earned: &EarnedHour) -> String {
    format!("{} {}", earned.hour.as_millis(), earned.node)
}

fn cursor_from(text: &str) -> Option<(Timestamp, NodeId)> {
    let (hour, node) = text.split_once(' ')?;
    Some((Timestamp::from_millis(hour.parse().ok()?), node.parse().ok()?))
}
