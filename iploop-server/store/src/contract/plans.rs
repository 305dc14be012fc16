use iploop_platform::ids::AccountId;
use iploop_platform::plan::Plan;

use super::Database;

pub(super) async fn plans_are_seeded_as_the_prd_says(db: &Database) {
    let plans = db.store.plans().await.unwrap();
    let names: Vec<_> = plans.iter().map(|plan| plan.name.as_str()).collect();
    assert_eq!(
        names,
        ["Pay-as-you-go", "Starter", "Growth", "Business"],
        "cheapest first"
    );
    let limits = |plan: &Plan| {
        (
            plan.included_bytes,
            plan.requests_per_day,
            plan.max_concurrent_connections,
        )
    };
    let prices = |plan: &Plan| {
        (
            plan.price_per_gb_micros,
            plan.price_monthly_cents,
            plan.price_annual_cents,
        )
    };
    let gates = |plan: &Plan| (plan.gates.city, plan.gates.asn, plan.gates.sticky_sessions);
    let [pay_as_you_go, starter, growth, business] = &plans[..] else {
        panic!("{plans:?}")
    };

    assert_eq!(limits(pay_as_you_go), (None, 50_000, 25));
    assert_eq!(prices(pay_as_you_go), (5_000_000, 0, None));
    assert_eq!(gates(pay_as_you_go), (false, false, false));

    assert_eq!(limits(starter), (Some(5_000_000_000), 10_000, 10));
    assert_eq!(prices(starter), (9_800_000, 4_900, Some(47_000)));
    assert_eq!(gates(starter), (false, false, false));

    assert_eq!(limits(growth), (Some(25_000_000_000), 50_000, 50));
    assert_eq!(prices(growth), (5_960_000, 14_900, Some(143_000)));
    assert_eq!(gates(growth), (true, false, true));

    assert_eq!(limits(business), (Some(100_000_000_000), 200_000, 200));
    assert_eq!(prices(business), (4_990_000, 49_900, Some(479_000)));
    assert_eq!(gates(business), (true, true, true));

    for plan in &plans {
        assert!(
            plan.is_active && !plan.features.is_empty() && !plan.description.is_empty(),
            "{plan:?}"
        );
    }
}

pub(super) async fn an_unknown_account_has_no_plan(db: &Database) {
    assert_eq!(db.store.plan_of(AccountId::new()).await.unwrap(), None);
}
