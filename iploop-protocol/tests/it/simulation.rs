//! Thousands of random lives of a tunnel: owners, wires, limits and ends drawn from a seed.
//!
//! `IPLOOP_SEED=…` repeats one; `IPLOOP_SEEDS=…` runs that many instead of the usual number.

use std::time::Duration;

use iploop_protocol::codes::CloseCode;
use iploop_protocol::tunnel::Budget;

use crate::model::{Model, Op};
use crate::rng::Rng;
use crate::wire::Line;
use crate::world::{SIDES, World};

/// Seeds in one run: some seconds without optimisation.
const SEEDS: u64 = 5_000;

#[test]
fn honest_tunnels_keep_their_promises_on_any_wire() {
    if let Some(seed) = number("IPLOOP_SEED") {
        return live(seed);
    }
    for seed in 0..number("IPLOOP_SEEDS").unwrap_or(SEEDS) {
        live(seed);
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number")),
    )
}

/// Prints how to repeat the seed when the test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "to repeat: IPLOOP_SEED={} cargo test -p iploop-protocol --test it honest",
                self.0
            );
        }
    }
}

fn live(seed: u64) {
    let _print = Seed(seed);
    let mut rng = Rng::new(seed);
    let (down, up) = (line(&mut rng), line(&mut rng));
    let windows = 1024 * (1 + rng.below(200));
    let queue = 1024 * (1 + rng.index(64));
    let budget = if rng.chance(1, 4) { 64 * 1024 } else { 32 << 20 };
    let mut world = World::with(down, up, rng.next(), |config| {
        config.stream_window_bytes = u32::try_from(windows).unwrap();
        config.send_queue_bytes = queue;
        config.budget = Budget::new(budget);
    });
    world.shake_hands();
    let mut model = Model::new(world);
    let drain_at = rng.below(400);
    for step in 0..rng.below(120) {
        if step == drain_at {
            model.apply(&Op::Drain {
                by: SIDES[rng.index(2)],
            });
        }
        model.apply(&Op::any(&mut rng));
    }
    match rng.below(10) {
        0 => model.lose(),
        1 => model.close(SIDES[rng.index(2)], CloseCode::ShuttingDown),
        _ => model.wind_down(),
    }
}

fn line(rng: &mut Rng) -> Line {
    let rates = [50_000, 1_000_000, 2_500_000, 50_000_000];
    Line {
        rate: rng.chance(3, 4).then(|| rates[rng.index(rates.len())]),
        delay: Duration::from_micros(rng.below(120_000)),
        jitter: if rng.chance(1, 2) {
            Duration::ZERO
        } else {
            Duration::from_micros(rng.below(30_000))
        },
        buffer_bytes: 1024 * (1 + rng.below(256)),
    }
}
