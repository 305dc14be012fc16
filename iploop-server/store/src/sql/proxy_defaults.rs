//! How customers usually reach the proxy.

use async_trait::async_trait;
use iploop_platform::ids::AccountId;
use iploop_platform::proxy_defaults::{KeepsProxyDefaults, ProxyDefaults, ProxyProtocol};
use iploop_platform::store::StoreError;
use sqlx::Row as _;

use super::SqlStore;
use super::columns::{text, time};
use crate::error::{act, unreadable};

#[async_trait]
impl KeepsProxyDefaults for SqlStore {
    async fn proxy_defaults(&self, account: AccountId) -> Result<Option<ProxyDefaults>, StoreError> {
        act(async {
            let row =
                sqlx::query("SELECT targeting, protocol, changed_at FROM proxy_defaults WHERE user_id = $1")
                    .bind(account.uuid())
                    .fetch_optional(&self.read)
                    .await?;
            let Some(row) = row else { return Ok(None) };
            let protocol: String = row.try_get("protocol")?;
            Ok(Some(ProxyDefaults {
                targeting: row.try_get("targeting")?,
                protocol: ProxyProtocol::parse(&protocol).ok_or_else(|| unreadable("protocol", &protocol))?,
                changed_at: time(&row, "changed_at")?,
            }))
        })
        .await
    }

    async fn set_proxy_defaults(
        &self,
        account: AccountId,
        defaults: &ProxyDefaults,
    ) -> Result<(), StoreError> {
        act(async {
            sqlx::query(
                "INSERT INTO proxy_defaults (user_id, targeting, protocol, changed_at) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (user_id) DO UPDATE SET
                     targeting = excluded.targeting,
                     protocol = excluded.protocol,
                     changed_at = excluded.changed_at",
            )
            .bind(account.uuid())
            .bind(text(&defaults.targeting))
            .bind(defaults.protocol.as_str())
            .bind(defaults.changed_at.as_millis())
            .execute(&self.write)
            .await?;
            Ok(())
        })
        .await
    }
}
