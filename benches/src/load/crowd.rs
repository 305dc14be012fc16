//! Many devices in one process that come back whenever their connection ends, by the rules of `docs/protocol.md`, section 8.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Console;
use super::devices::Network;
use super::fleet::Dice;
use crate::child;
use crate::order::HubAccess;

/// Section 8, Reconnecting.
const FIRST: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_secs(30);
const STABLE: Duration = Duration::from_secs(60);

/// Which devices of which hub.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CrowdOrder {
    pub(crate) hub: HubAccess,
    pub(crate) from: usize,
    pub(crate) count: usize,
}

/// Reads an order from standard input and keeps those devices connected until that ends.
pub(crate) fn main() -> anyhow::Result<()> {
    child::local_runtime(async {
        let mut console = Console::open();
        let CrowdOrder { hub, from, count } = serde_json::from_str(&console.next_line().await?)?;
        let network = Network::of(&hub)?;
        let mut devices = JoinSet::new();
        for number in from..from + count {
            devices.spawn_local(stay(network.clone(), number));
        }
        // Who is refused for good is no error of this process: the hub does not count it.
        while devices.join_next().await.is_some() {}
        std::future::pending().await
    })?
}

/// Connects again and again, until the hub wants it never again.
async fn stay(network: Network, number: usize) {
    let hello = network.hello(number);
    let mut dice = Dice::of(number);
    let mut failures = 0_u32;
    loop {
        let began = Instant::now();
        let closed = network.live(number, &hello).await;
        if began.elapsed() >= STABLE {
            failures = 0;
        }
        let wish = match closed {
            Ok(closed) if !closed.code.is_retryable() => return,
            Ok(closed) => closed.retry_after,
            Err(_) => None,
        };
        let random = dice.throw();
        sleep(match wish {
            Some(wish) => wish + wish.mul_f64(random / 10.0),
            None => FIRST
                .saturating_mul(1 << failures.min(20))
                .min(SHORT)
                .mul_f64(random),
        })
        .await;
        failures += 1;
    }
}
