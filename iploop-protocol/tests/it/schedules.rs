//! Properties of two honest tunnels, for any schedule of what their owners do.

use std::time::Duration;

use proptest::prelude::*;

use crate::model::{Model, Op};
use crate::rng::Rng;
use crate::wire::Line;
use crate::world::World;

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn bytes_arrive_as_written_everything_ends_and_the_budget_comes_back(
        ops in prop::collection::vec(any::<u64>().prop_map(|seed| Op::any(&mut Rng::new(seed))), 0..80),
        delay_ms in 0u64..100,
        jitter_ms in 0u64..50,
        seed in any::<u64>(),
    ) {
        let line = Line {
            jitter: Duration::from_millis(jitter_ms),
            ..Line::delay(Duration::from_millis(delay_ms))
        };
        let mut model = Model::new(World::open(line.clone(), line, seed));
        for op in &ops {
            model.apply(op);
        }
        model.wind_down();
    }
}
