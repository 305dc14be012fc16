//! Everything that we hold of a person, as one JSON document, read and written piece by piece.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::AccountService;
use crate::account::Account;
use crate::clock::{Clock, Timestamp};
use crate::ids::AccountId;
use crate::ledger::TransactionCursor;
use crate::store::{Store, StoreError};
use crate::support::TicketQuery;

/// Items read at once.
const PAGE: u32 = 500;

/// One area's part of the export: a list under its own name.
///
/// An area that keeps something of a person adds its own to [`AccountParts`](super::AccountParts).
#[async_trait]
pub trait PersonalData: Send + Sync + 'static {
    /// The name in the document.
    fn name(&self) -> &'static str;
    /// Some items behind `after`, which is the `next` of the page before. No secrets.
    async fn page(&self, account: AccountId, after: Option<&str>) -> Result<Page, StoreError>;
}

/// Some items of a list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// At most some hundred.
    pub items: Vec<Value>,
    /// Where to go on; none: that was the last.
    pub next: Option<String>,
}

/// An export under way. Dropping it ends it.
pub struct Export {
    account: AccountId,
    head: Option<String>,
    parts: VecDeque<Arc<dyn PersonalData>>,
    /// The part that was begun: where to go on, and whether an item stands before.
    begun: Option<(Option<String>, bool)>,
}

impl AccountService {
    /// What we hold of an account's owner.
    pub fn export(&self, account: &Account) -> Export {
        let (store, clock) = (&self.0.store, &self.0.clock);
        let own: [Arc<dyn PersonalData>; 10] = [
            Arc::new(Keys(Arc::clone(store))),
            Arc::new(LiveLogins(Arc::clone(store), Arc::clone(clock))),
            Arc::new(Networks(Arc::clone(store))),
            Arc::new(ProvenAddresses(Arc::clone(store))),
            Arc::new(SecuritySettings(Arc::clone(store))),
            Arc::new(Notifications(Arc::clone(store))),
            Arc::new(OwnWebhooks(Arc::clone(store))),
            Arc::new(OwnTickets(Arc::clone(store))),
            Arc::new(Transactions(Arc::clone(store))),
            Arc::new(UsageSums(Arc::clone(store), Arc::clone(clock))),
        ];
        let head = json!({ "exportedAt": clock.now(), "profile": account }).to_string();
        Export {
            account: account.id,
            head: Some(head),
            parts: own
                .into_iter()
                .chain(self.0.personal_data.iter().cloned())
                .collect(),
            begun: None,
        }
    }
}

impl Export {
    /// The next piece of the text; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if let Some(mut head) = self.head.take() {
            // The object goes on.
            head.pop();
            return Ok(Some(head.into()));
        }
        let Some(part) = self.parts.front() else {
            return Ok(None);
        };
        let (after, mut has_items) = self.begun.clone().unwrap_or_default();
        let page = part.page(self.account, after.as_deref()).await?;
        let mut text = String::new();
        if self.begun.is_none() {
            text.push_str(&format!(",{}:[", json!(part.name())));
        }
        for item in page.items {
            if has_items {
                text.push(',');
            }
            text.push_str(&item.to_string());
            has_items = true;
        }
        self.begun = page.next.map(|next| (Some(next), has_items));
        if self.begun.is_none() {
            text.push(']');
            self.parts.pop_front();
            if self.parts.is_empty() {
                text.push_str("}\n");
            }
        }
        Ok(Some(text.into()))
    }
}

struct Keys(Arc<dyn Store>);

#[async_trait]
impl PersonalData for Keys {
    fn name(&self) -> &'static str {
        "apiKeys"
    }

    async fn page(&self, account: AccountId, _: Option<&str>) -> Result<Page, StoreError> {
        let keys = self.0.api_keys(account).await?.into_iter();
        let items = keys.map(|key| {
            json!({
                "id": key.id,
                "name": key.name,
                "keyPrefix": key.key_prefix,
                "isActive": key.is_active,
                "ipWhitelist": key.ip_whitelist,
                "createdAt": key.created_at,
                "lastUsedAt": key.last_used_at,
                "expiresAt": key.expires_at,
            })
        });
        Ok(whole(items))
    }
}

struct LiveLogins(Arc<dyn Store>, Arc<dyn Clock>);

#[async_trait]
impl PersonalData for LiveLogins {
    fn name(&self) -> &'static str {
        "logins"
    }

    async fn page(&self, account: AccountId, _: Option<&str>) -> Result<Page, StoreError> {
        let logins = self.0.logins(account, self.1.now()).await?.into_iter();
        Ok(whole(logins.map(|login| {
            json!({
                "id": login.id,
                "ipAddress": login.address,
                "userAgent": login.user_agent,
                "createdAt": login.created_at,
                "lastSeenAt": login.last_seen_at,
                "expiresAt": login.expires_at,
            })
        })))
    }
}

struct Networks(Arc<dyn Store>);

#[async_trait]
impl PersonalData for Networks {
    fn name(&self) -> &'static str {
        "loginNetworks"
    }

    async fn page(&self, account: AccountId, _: Option<&str>) -> Result<Page, StoreError> {
        let networks = self.0.login_networks(account).await?.into_iter();
        Ok(whole(networks.map(|seen| {
            json!({
                "network": seen.network,
                "firstSeenAt": seen.first_seen_at,
                "lastSeenAt": seen.last_seen_at,
            })
        })))
    }
}

/// Addresses from which the proxy needs no password, lapsed ones included.
struct ProvenAddresses(Arc<dyn Store>);

#[async_trait]
impl PersonalData for ProvenAddresses {
    fn name(&self) -> &'static str {
        "provenAddresses"
    }

    async fn page(&self, account: AccountId, _: Option<&str>) -> Result<Page, StoreError> {
        let addresses = self.0.addresses_of(account, Timestamp::from_millis(0)).await?;
        Ok(whole(addresses.into_iter().map(|proven| {
            json!({
                "address": proven.address,
                "provenAt": proven.proven_at,
                "usedAt": proven.used_at,
            })
        })))
    }
}

struct SecuritySettings(Arc<dyn Store>);

#[async_trait]
impl PersonalData for SecuritySettings {
    fn name(&self) -> &'static str {
        "security"
    }

    async fn page(&self, account: AccountId, _: Option<&str>) -> Result<Page, StoreError> {
        let settings = self.0.sign_in_settings(account).await?.into_iter();
        Ok(whole(settings.map(|settings| {
            json!({
                "sessionTimeoutMinutes": settings.idle_minutes,
                "ipAllowList": settings.allowed_from,
                "twoFactorEnabled": settings.has_second_factor,
            })
        })))
    }
}

struct Notifications(Arc<dyn Store>);

#[async_trait]
impl PersonalData for Notifications {
    fn name(&self) -> &'static str {
        "notifications"
    }

    async fn page(&self, account: AccountId, _: Option<&str>) -> Result<Page, StoreError> {
        let wanted = self.0.preferences(account).await?;
        Ok(whole(std::iter::once(json!({
            "emailAlerts": wanted.email_alerts,
            "usageAlerts": wanted.usage_alerts,
            "billingAlerts": wanted.billing_alerts,
            "securityAlerts": wanted.security_alerts,
            "maintenanceAlerts": wanted.maintenance_alerts,
            "rateLimitAlerts": wanted.rate_limit_alerts,
            "weeklyReports": wanted.weekly_reports,
            "monthlyReports": wanted.monthly_reports,
            "usageThresholdPercent": wanted.usage_threshold_percent,
            "balanceLowBytes": wanted.balance_low_bytes,
        }))))
    }
}

struct OwnWebhooks(Arc<dyn Store>);

#[async_trait]
impl PersonalData for OwnWebhooks {
    fn name(&self) -> &'static str {
        "webhooks"
    }

    async fn page(&self, account: AccountId, _: Option<&str>) -> Result<Page, StoreError> {
        let webhooks = self.0.webhooks(account).await?.into_iter();
        Ok(whole(webhooks.map(|webhook| {
            json!({
                "id": webhook.id,
                "url": webhook.url,
                "description": webhook.description,
                "events": webhook.events.iter().map(|event| event.as_str()).collect::<Vec<_>>(),
                "timeoutSeconds": webhook.effort.timeout_seconds,
                "maxRetries": webhook.effort.max_retries,
                "isActive": webhook.is_active,
                "createdAt": webhook.created_at,
                "lastTriggeredAt": webhook.last_triggered_at,
            })
        })))
    }
}

struct OwnTickets(Arc<dyn Store>);

#[async_trait]
impl PersonalData for OwnTickets {
    fn name(&self) -> &'static str {
        "supportTickets"
    }

    async fn page(&self, account: AccountId, after: Option<&str>) -> Result<Page, StoreError> {
        let query = TicketQuery {
            before: after.and_then(|text| text.parse().ok()),
            account: Some(account),
            status: None,
            limit: PAGE,
        };
        let tickets = self.0.tickets(&query).await?;
        let is_full = tickets.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX);
        let items = tickets.iter().map(|ticket| {
            json!({
                "id": ticket.id,
                "subject": ticket.subject,
                "message": ticket.message,
                "answer": ticket.answer,
                "createdAt": ticket.created_at,
            })
        });
        Ok(Page {
            items: items.collect(),
            next: tickets
                .last()
                .filter(|_| is_full)
                .map(|ticket| ticket.id.to_string()),
        })
    }
}

struct Transactions(Arc<dyn Store>);

#[async_trait]
impl PersonalData for Transactions {
    fn name(&self) -> &'static str {
        "transactions"
    }

    async fn page(&self, account: AccountId, after: Option<&str>) -> Result<Page, StoreError> {
        let after = after.and_then(|text| text.parse().ok());
        let lines = self.0.transactions(account, after, PAGE).await?;
        let is_full = lines.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX);
        let items = lines.iter().map(|line| {
            json!({
                "id": line.id,
                "type": line.kind.as_str(),
                "amountMicros": line.amount_micros,
                "bytes": line.bytes,
                "credits": line.credits,
                "description": line.description,
                "reference": line.reference,
                "createdAt": line.at,
            })
        });
        Ok(Page {
            items: items.collect(),
            next: lines
                .last()
                .filter(|_| is_full)
                .map(|line| TransactionCursor::of(line).to_string()),
        })
    }
}

/// Sums over all time. The single requests have an export of their own.
struct UsageSums(Arc<dyn Store>, Arc<dyn Clock>);

#[async_trait]
impl PersonalData for UsageSums {
    fn name(&self) -> &'static str {
        "usage"
    }

    async fn page(&self, account: AccountId, _: Option<&str>) -> Result<Page, StoreError> {
        let beginning = Timestamp::from_millis(0);
        let sums = self.0.usage_summary(account, beginning, self.1.now()).await?;
        Ok(whole([as_json(&sums)].into_iter()))
    }
}

fn whole(items: impl Iterator<Item = Value>) -> Page {
    Page {
        items: items.collect(),
        next: None,
    }
}

/// Plain fields into memory: nothing that can fail.
fn as_json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
