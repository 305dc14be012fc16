//! Keys that reached their rate: told once for each key and hour.

use iploop_platform::events::Event;
use iploop_platform::notices::RateAlert;

use super::{Tx, events};

pub(super) async fn tell(tx: &mut Tx, alerts: &[RateAlert]) -> Result<(), sqlx::Error> {
    // In the order of the keys, so that nobody waits in a circle.
    let mut alerts: Vec<&RateAlert> = alerts.iter().collect();
    alerts.sort_unstable_by_key(|alert| alert.api_key);
    let mut told: Vec<Event> = Vec::with_capacity(alerts.len());
    for alert in alerts {
        let is_first = sqlx::query(
            "INSERT INTO rate_limit_alerts (api_key_id, hour_at)
             SELECT id, $2 FROM api_keys WHERE id = $1
             ON CONFLICT (api_key_id) DO UPDATE SET hour_at = excluded.hour_at
             WHERE rate_limit_alerts.hour_at < excluded.hour_at",
        )
        .bind(alert.api_key.uuid())
        .bind(alert.event.at.hour_start().as_millis())
        .execute(&mut **tx)
        .await?;
        if is_first.rows_affected() > 0 {
            told.push(alert.event.clone());
        }
    }
    events::insert(tx, &told).await
}
