//! The ledger against a model of a few lines: whatever the order, both say the same after each step.

use std::collections::BTreeMap;

use iploop_platform::abuse::Actor;
use iploop_platform::ids::{AccountId, GatewayId, NodeId};
use iploop_platform::ledger::{Act, Booking, NewEntry};
use iploop_platform::store::Store;
use iploop_platform::usage::{Balance, UsageRecord};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};
use serde_json::json;
use tokio::runtime::Handle;

use super::books::{crash, device};
use super::nodes::new_partner;
use super::{Database, account_with, at, usage};

const GATEWAYS: usize = 3;
const REQUESTS: usize = 5;
/// Each request passes through so many versions, the last one ended.
const VERSIONS: u64 = 4;
const CASES: u32 = 48;

#[derive(Clone, Debug)]
enum Step {
    Take {
        gateway: usize,
        want_bytes: u64,
    },
    Settle(Vec<(usize, u64)>),
    ReturnLease {
        gateway: usize,
    },
    ReturnAll {
        gateway: usize,
    },
    Credit {
        bytes: i64,
        key: u8,
    },
    Buy {
        bytes: i64,
        money_micros: i64,
        key: u8,
    },
    /// A settlement that is given up after so many steps; nobody knows whether it took effect, so it is repeated.
    Crash {
        versions: Vec<(usize, u64)>,
        polls: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let versions = prop::collection::vec((0..REQUESTS, 0..VERSIONS), 1..6);
    let crash = (versions.clone(), 0_usize..12);
    prop_oneof![
        3 => (0..GATEWAYS, 0_u64..600).prop_map(|(gateway, want_bytes)| Step::Take { gateway, want_bytes }),
        4 => versions.prop_map(Step::Settle),
        1 => (0..GATEWAYS).prop_map(|gateway| Step::ReturnLease { gateway }),
        1 => (0..GATEWAYS).prop_map(|gateway| Step::ReturnAll { gateway }),
        1 => (-200_i64..500, 0_u8..4).prop_map(|(bytes, key)| Step::Credit { bytes, key }),
        1 => (0_i64..500, 0_i64..90, 0_u8..4)
            .prop_map(|(bytes, money_micros, key)| Step::Buy { bytes, money_micros, key }),
        1 => crash.prop_map(|(versions, polls)| Step::Crash { versions, polls }),
    ]
}

/// Version `version` of request `request`. Every fifth request turns out not billable at its end.
fn version_of(base: &UsageRecord, request: usize, version: u64) -> UsageRecord {
    let is_last = version + 1 == VERSIONS;
    UsageRecord {
        bytes_up: version * 7,
        bytes_down: version * 40,
        billable: !(is_last && request == 4),
        status: is_last.then_some(200),
        ended_at: is_last.then(|| at(30)),
        ..base.clone()
    }
}

fn cost(request: usize, version: u64) -> i64 {
    if request == 4 && version + 1 == VERSIONS {
        0
    } else {
        i64::try_from(version * 47).unwrap()
    }
}

#[derive(Default)]
struct Model {
    credits: BTreeMap<u8, i64>,
    bought: BTreeMap<u8, (i64, i64)>,
    newest: BTreeMap<usize, u64>,
    leases: BTreeMap<usize, i64>,
}

impl Model {
    fn balance(&self, bonus: i64) -> Balance {
        let used_bytes = self
            .newest
            .iter()
            .map(|(&request, &version)| cost(request, version))
            .sum();
        Balance {
            bytes: bonus
                + self.credits.values().sum::<i64>()
                + self.bought.values().map(|(bytes, _)| bytes).sum::<i64>()
                - used_bytes,
            leased_bytes: self.leases.values().sum(),
            used_bytes,
        }
    }

    fn settle(&mut self, versions: &[(usize, u64)]) {
        let mut batch: BTreeMap<usize, u64> = BTreeMap::new();
        for &(request, version) in versions {
            let newest = batch.entry(request).or_insert(version);
            *newest = version.max(*newest);
        }
        for (request, version) in batch {
            let before = self.newest.get(&request).copied();
            if before.is_none_or(|before| before < version) {
                self.newest.insert(request, version);
                let new = cost(request, version) - before.map_or(0, |before| cost(request, before));
                if let Some(lease) = self.leases.get_mut(&(request % GATEWAYS)) {
                    *lease = (*lease - new.max(0)).max(0);
                }
            }
        }
    }
}

pub(super) async fn any_interleaving_agrees_with_the_model(db: &Database) {
    let strategy = (0_i64..1_500, prop::collection::vec(step(), 1..25));
    let node = device(&*db.store, new_partner(&*db.store).await).await;
    run(&strategy, |(bonus, steps)| {
        check_interleaving(&*db.store, node, bonus, steps)
    });
}

pub(super) async fn any_order_of_versions_ends_in_the_same_row(db: &Database) {
    let all: Vec<u64> = (0..VERSIONS).flat_map(|version| [version, version]).collect();
    let strategy = (Just(all).prop_shuffle(), 0..REQUESTS);
    run(&strategy, |(order, request)| {
        check_order(&*db.store, order, request)
    });
}

/// Runs the cases on this test's own runtime: proptest's runner is synchronous.
pub(super) fn run<S, F>(strategy: &S, check: impl Fn(S::Value) -> F)
where
    S: Strategy,
    F: Future<Output = TestCaseResult>,
{
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    tokio::task::block_in_place(|| {
        TestRunner::new(config).run(strategy, |value| Handle::current().block_on(check(value)))
    })
    .unwrap();
}

async fn check_interleaving(store: &dyn Store, node: NodeId, bonus: i64, steps: Vec<Step>) -> TestCaseResult {
    let account = account_with(store, bonus).await;
    let gateways: Vec<_> = (0..GATEWAYS).map(|_| GatewayId::new()).collect();
    let requests = requests(account, &gateways, node);
    let batch = |versions: &[(usize, u64)]| -> Vec<UsageRecord> {
        versions
            .iter()
            .map(|&(request, version)| version_of(&requests[request], request, version))
            .collect()
    };
    let mut model = Model::default();
    for step in steps {
        match &step {
            Step::Take { gateway, want_bytes } => {
                let lease = store
                    .take_lease(account, gateways[*gateway], *want_bytes, at(1))
                    .await
                    .unwrap();
                let granted = i64::try_from(lease.granted_bytes).unwrap();
                let before = model.balance(bonus);
                let free = (before.bytes - before.leased_bytes).max(0);
                prop_assert_eq!(granted, free.min(i64::try_from(*want_bytes).unwrap()));
                *model.leases.entry(*gateway).or_default() += granted;
                if granted > 0 {
                    let after = model.balance(bonus);
                    prop_assert!(
                        after.leased_bytes <= after.bytes,
                        "a byte leased twice: {:?}",
                        after
                    );
                }
            }
            Step::Settle(versions) => {
                store.settle(&batch(versions), at(2)).await.unwrap();
                model.settle(versions);
            }
            Step::ReturnLease { gateway } => {
                store
                    .return_leases(gateways[*gateway], Some(account))
                    .await
                    .unwrap();
                model.leases.remove(gateway);
            }
            Step::ReturnAll { gateway } => {
                store.return_leases(gateways[*gateway], None).await.unwrap();
                model.leases.remove(gateway);
            }
            Step::Credit { bytes, key } => {
                let credited = store.credit(account, *bytes, "", &key.to_string(), at(3)).await;
                let known = *model.credits.entry(*key).or_insert(*bytes);
                prop_assert_eq!(credited.is_ok(), known == *bytes, "a key stands for one credit");
            }
            Step::Buy {
                bytes,
                money_micros,
                key,
            } => {
                let booking = store
                    .book(&purchase(account, *bytes, *money_micros, *key))
                    .await
                    .unwrap();
                let known = *model.bought.entry(*key).or_insert((*bytes, *money_micros));
                let is_done = matches!(booking, Booking::Done(_));
                prop_assert_eq!(
                    is_done,
                    known == (*bytes, *money_micros),
                    "a key stands for one purchase"
                );
            }
            Step::Crash { versions, polls } => {
                let batch = batch(versions);
                crash(store.settle(&batch, at(2)), *polls).await;
                store.settle(&batch, at(2)).await.unwrap();
                model.settle(versions);
            }
        }
        prop_assert_eq!(
            store.balance(account).await.unwrap(),
            model.balance(bonus),
            "after {:?}",
            step
        );
    }
    let rows = store.recent_usage(account, 100).await.unwrap();
    prop_assert_eq!(rows.len(), model.newest.len());
    let checked = store.check_ledger().await.unwrap();
    prop_assert!(checked.differences.is_empty(), "{}", checked);
    for (&request, &version) in &model.newest {
        prop_assert!(rows.contains(&version_of(&requests[request], request, version)));
    }
    Ok(())
}

async fn check_order(store: &dyn Store, order: Vec<u64>, request: usize) -> TestCaseResult {
    let account = account_with(store, 1_000).await;
    let gateway = GatewayId::new();
    let base = usage(account, gateway);
    for version in order {
        store
            .settle(&[version_of(&base, request, version)], at(2))
            .await
            .unwrap();
    }
    let last = version_of(&base, request, VERSIONS - 1);
    prop_assert_eq!(store.recent_usage(account, 10).await.unwrap(), [last]);
    prop_assert_eq!(
        store.balance(account).await.unwrap().bytes,
        1_000 - cost(request, VERSIONS - 1)
    );
    Ok(())
}

/// Every second request is served by the partner's device.
fn requests(account: AccountId, gateways: &[GatewayId], node: NodeId) -> Vec<UsageRecord> {
    (0..REQUESTS)
        .map(|request| UsageRecord {
            node: (request % 2 == 0).then_some(node),
            ..usage(account, gateways[request % GATEWAYS])
        })
        .collect()
}

fn purchase(account: AccountId, bytes: i64, money_micros: i64, key: u8) -> NewEntry {
    NewEntry {
        act: Act::Purchase {
            account,
            bytes,
            money_micros,
            reference: None,
        },
        description: String::new(),
        reason: None,
        actor: Actor::System,
        key: Some(format!("evt_{key}")),
        metadata: json!({}),
        audit: None,
        now: at(3),
    }
}
