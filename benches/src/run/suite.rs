//! The tests of one round, and how much of each.

use crate::order::{Scenario, Way};
use crate::peer::{PathKind, Peer};

/// One test, taken on every peer that can.
#[derive(Clone, Debug)]
pub(super) struct Test {
    pub(super) name: &'static str,
    pub(super) path: PathKind,
    /// Memory is only comparable in processes that have done nothing yet.
    pub(super) fresh: bool,
    pub(super) scenario: Scenario,
}

impl Test {
    /// Can this peer take it?
    pub(super) fn suits(&self, peer: Peer) -> bool {
        match self.scenario {
            Scenario::Http { .. } => peer == Peer::Direct || peer.forwards_http(),
            Scenario::Devices { .. } | Scenario::Fleet { .. } => peer.is_ours(),
            _ => true,
        }
    }
}

/// How long and how much.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    pub(super) rounds: usize,
    /// Of each measured phase on loopback, in seconds.
    phase: f64,
    /// Before bulk is measured, in seconds.
    ramp: f64,
    /// Before we look whether memory has come to rest, in seconds.
    settle: f64,
    equal_bytes: u64,
    idle_streams: usize,
    idle_devices: usize,
    /// With each of two fleets, in seconds.
    fleet: f64,
}

impl Effort {
    /// For figures to quote.
    pub(super) fn full() -> Effort {
        Effort {
            rounds: 5,
            phase: 2.0,
            ramp: 0.5,
            settle: 1.0,
            equal_bytes: 16 << 20,
            idle_streams: 1_000,
            idle_devices: 2_000,
            fleet: 20.0,
        }
    }

    /// For a first look: about two minutes with the usual peers.
    pub(super) fn quick() -> Effort {
        Effort {
            rounds: 2,
            phase: 0.6,
            ramp: 0.2,
            settle: 0.5,
            equal_bytes: 4 << 20,
            idle_streams: 300,
            idle_devices: 500,
            fleet: 8.0,
        }
    }
}

/// Streams of every test with many.
const MANY: usize = 32;
/// New connections of one test: enough, and ports are left for the next one.
const CONNECTIONS: usize = 4_000;

/// All tests in their order.
pub(super) fn suite(effort: Effort) -> Vec<Test> {
    let Effort {
        phase,
        ramp,
        settle,
        equal_bytes,
        idle_streams,
        idle_devices,
        fleet,
        ..
    } = effort;
    let test = |name, scenario| Test {
        name,
        path: PathKind::Loopback,
        fresh: false,
        scenario,
    };
    let fresh = |name, scenario| Test {
        fresh: true,
        ..test(name, scenario)
    };
    let delayed = |name, scenario| Test {
        path: PathKind::Delayed,
        ..test(name, scenario)
    };
    let connect = |at_once| Scenario::Connect {
        at_once,
        seconds: phase,
        at_most: CONNECTIONS,
    };
    let bulk = |streams, way| Scenario::Bulk {
        streams,
        way,
        ramp_seconds: ramp,
        seconds: phase,
    };
    let stalled = |way| Scenario::Stalled {
        streams: MANY,
        way,
        settle_seconds: settle,
        seconds: phase / 2.0,
    };
    vec![
        test("small", Scenario::Small { seconds: phase }),
        test("connect-1", connect(1)),
        test("connect-16", connect(16)),
        test("connect-64", connect(64)),
        test("bulk-1-down", bulk(1, Way::Down)),
        test("bulk-1-up", bulk(1, Way::Up)),
        test("bulk-32-down", bulk(MANY, Way::Down)),
        test("bulk-32-up", bulk(MANY, Way::Up)),
        test(
            "beside",
            Scenario::Beside {
                streams: MANY,
                ramp_seconds: ramp,
                seconds: phase,
                pause_ms: 1,
            },
        ),
        fresh(
            "equal",
            Scenario::Equal {
                streams: MANY,
                bytes: equal_bytes,
            },
        ),
        fresh("stalled-down", stalled(Way::Down)),
        fresh("stalled-up", stalled(Way::Up)),
        fresh(
            "idle",
            Scenario::Idle {
                streams: idle_streams,
                settle_seconds: settle,
            },
        ),
        fresh(
            "devices",
            Scenario::Devices {
                count: idle_devices,
                settle_seconds: settle,
            },
        ),
        fresh(
            "fleet",
            Scenario::Fleet {
                devices: 200,
                dead: 40,
                slow: 20,
                at_once: 16,
                seconds: fleet,
            },
        ),
        delayed("delayed-connect-1", connect(1)),
        delayed("delayed-http", Scenario::Http { count: 5 }),
        delayed("delayed-connect-64", connect(64)),
        delayed(
            "delayed-bulk",
            Scenario::Equal {
                streams: 1,
                bytes: 16 << 20,
            },
        ),
        Test {
            name: "limited",
            path: PathKind::Limited,
            fresh: false,
            // A path this slow needs its time: 8 streams fill it, and a small request takes 50 ms at best.
            scenario: Scenario::Beside {
                streams: 8,
                ramp_seconds: 1.0 + ramp,
                seconds: 2.0 * phase,
                pause_ms: 5,
            },
        },
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let tests = suite(Effort::full());
        assert_eq!(
            tests.iter().map(|test| test.name).collect::<BTreeSet<_>>().len(),
            tests.len()
        );
    }
}
