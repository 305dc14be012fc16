//! Whether the database answers.

use async_trait::async_trait;
use iploop_platform::store::{Health, StoreError};

use super::SqlStore;
use crate::error::act;

#[async_trait]
impl Health for SqlStore {
    async fn ping(&self) -> Result<(), StoreError> {
        act(async {
            sqlx::query("SELECT 1").execute(&self.read).await?;
            Ok(())
        })
        .await
    }
}
