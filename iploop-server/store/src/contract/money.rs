//! Every way by which money, bytes and credits move: twenty parallel calls under one key move them once.
//!
//! | who asks | how | here |
//! |---|---|---|
//! | admin: adjustment, refund, bonus; partner's payout; owner's redemption; credits earned | `Books::book`, key of the caller | `ACTS` |
//! | customer: top-up; automatic top-up | `Pages::begin_page`, `Billing::begin_top_up`, `begin_auto_top_up`, key of the page or of account, month, number | `begun` |
//! | provider: top-up paid, invoice paid, refund, dispute | `Billing::take_payment_event`, the event's id | `told` |
//! | provider's answer to a charge | `Billing::settle_payment`, the payment's id | `told` |
//! | time: months of a year; credits of an hour | `give_due_allowances`, `Owners::count_credits` (`owners.rs`) | `told` |
//! | admin: debt let go | `Disputes::forgive_debt` (`disputes.rs`) | |

use std::future::Future;
use std::sync::Arc;

use iploop_platform::billing::{
    Begun, Change, DisputeState, DisputeStatus, PaidInvoice, Payment, RefundState, SubscriptionState,
    SubscriptionStatus, Taken,
};
use iploop_platform::ids::{AccountId, EntryId, PartnerId};
use iploop_platform::ledger::{Act, Booked, Booking};
use iploop_platform::store::Store;
use tokio::task::JoinSet;

use super::billing::{Customer, GB, GROWTH_BYTES, GROWTH_YEAR, receipt, wish};
use super::books::{booked, books_are_in_order, device, entry, purchase, served, settle};
use super::nodes::new_partner;
use super::{BONUS, Database, account_with, at};

const TWENTY: usize = 20;

/// Twenty at once; what they answered.
async fn twenty<T, F>(store: &Arc<dyn Store>, call: impl Fn(Arc<dyn Store>) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut calls = JoinSet::new();
    for _ in 0..TWENTY {
        calls.spawn(call(Arc::clone(store)));
    }
    calls.join_all().await
}

/// Whose, and what was bought before.
struct Owned {
    account: AccountId,
    partner: PartnerId,
    bought: EntryId,
}

type MakeAct = fn(&Owned) -> Act;

const ACTS: [(&str, MakeAct); 9] = [
    ("purchase", |of| purchase(of.account, 100, 50)),
    ("refund", |of| Act::Refund {
        account: of.account,
        bytes: 10,
        money_micros: 5,
        purchase: Some(of.bought),
        reference: None,
        is_forced: false,
    }),
    ("reinstatement", |of| Act::Reinstatement {
        account: of.account,
        bytes: 4,
        money_micros: 3,
        of_ours_micros: 1,
        purchase: Some(of.bought),
        reference: None,
    }),
    ("bonus", |of| Act::Bonus {
        account: of.account,
        bytes: 7,
    }),
    ("adjustment up", |of| Act::Adjustment {
        account: of.account,
        bytes: 11,
        money_micros: 2,
        is_forced: false,
    }),
    ("adjustment down", |of| Act::Adjustment {
        account: of.account,
        bytes: -13,
        money_micros: -1,
        is_forced: false,
    }),
    ("payout", |of| Act::Payout {
        partner: of.partner,
        money_micros: 1,
        reference: None,
    }),
    ("credits earned", |of| Act::CreditsEarned {
        account: of.account,
        credits: 50,
    }),
    ("credits redeemed", |of| Act::CreditsRedeemed {
        account: of.account,
        credits: 20,
        bytes: 200,
    }),
];

pub(super) async fn twenty_parallel_calls_of_every_act_move_money_once(db: &Database) {
    let account = account_with(&*db.store, 0).await;
    let partner = new_partner(&*db.store).await;
    let node = device(&*db.store, partner).await;
    let bought = booked(db, purchase(account, 1_000, 500), "bought").await;
    settle(db, &served(account, node, 100)).await;
    let owned = Owned {
        account,
        partner,
        bought,
    };
    let mut balance = db.store.balance(account).await.unwrap().bytes;
    for (name, act) in ACTS {
        let act = act(&owned);
        let before = db.number("SELECT COUNT(*) FROM ledger_entries").await;
        let bookings = twenty(&db.store, |store| {
            let new = entry(act.clone(), name);
            async move { store.book(&new).await.unwrap() }
        })
        .await;
        let entries: Vec<Booked> = bookings
            .iter()
            .map(|booking| match booking {
                Booking::Done(booked) => *booked,
                Booking::Refused(refusal) => panic!("{name}: {refusal}"),
            })
            .collect();
        let first = entries.iter().filter(|booked| !booked.is_repeat);
        assert_eq!(first.count(), 1, "{name}");
        assert!(
            entries.iter().all(|booked| booked.entry == entries[0].entry),
            "{name}"
        );
        let after = db.number("SELECT COUNT(*) FROM ledger_entries").await;
        assert_eq!(after, before + 1, "{name}");
        balance += act.amounts().0;
        assert_eq!(db.store.balance(account).await.unwrap().bytes, balance, "{name}");
    }
    let paid = db.store.partner_totals(partner).await.unwrap().paid_micros;
    assert_eq!(paid, 1);
    books_are_in_order(&*db.store).await;
}

/// The same event in twenty deliveries: it has its effect once.
async fn told(me: &Customer, id: &str, seconds: i64, change: Change) {
    let event = me.event(id, seconds, change);
    let taken = twenty(&me.store, |store| {
        let (event, free) = (event.clone(), me.free);
        async move { store.take_payment_event(&event, free).await.unwrap() }
    })
    .await;
    let repeats = taken.iter().filter(|taken| **taken == Taken::Repeat);
    assert_eq!(repeats.count(), TWENTY - 1, "{id}: {taken:?}");
    let done = taken.iter().filter(|taken| matches!(taken, Taken::Done { .. }));
    assert_eq!(done.count(), 1, "{id}: {taken:?}");
}

async fn begun(me: &Customer) -> Payment {
    let wish = wish(me.account, 500, at(0));
    let begun = twenty(&me.store, |store| async move {
        store.begin_top_up(wish).await.unwrap()
    })
    .await;
    assert!(begun.iter().all(|one| *one == begun[0]), "{begun:?}");
    match begun.into_iter().next() {
        Some(Begun::Payment(payment)) => payment,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn twenty_parallel_events_of_every_kind_move_money_once(db: &Database) {
    let me = Customer::new(db).await;
    let mut balance = BONUS;
    let payment = begun(&me).await;
    told(&me, "top_up", 1, Change::Paid(receipt(&payment))).await;
    balance += GB;
    assert_eq!(me.balance().await, balance);

    me.auto(balance + 1, 100_000).await;
    let account = me.account;
    let autos = twenty(&me.store, |store| async move {
        store.begin_auto_top_up(account, at(2)).await.unwrap()
    })
    .await;
    let [auto] = autos
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let settled = twenty(&me.store, |store| {
        let receipt = receipt(&auto);
        async move { store.settle_payment(&receipt, at(3)).await.unwrap() }
    })
    .await;
    assert_eq!(
        settled
            .iter()
            .filter(|taken| matches!(taken, Taken::Done { .. }))
            .count(),
        1
    );
    balance += 10 * GB;
    assert_eq!(me.balance().await, balance);

    let year = SubscriptionState {
        price: me.year.clone(),
        to: at(365 * 86_400),
        ..me.state(SubscriptionStatus::Active)
    };
    told(&me, "subscription", 4, Change::Subscription(year)).await;
    let invoice = PaidInvoice {
        price: me.year.clone(),
        subtotal_cents: GROWTH_YEAR,
        paid_cents: GROWTH_YEAR,
        to: at(365 * 86_400),
        ..me.invoice("in_1")
    };
    told(&me, "invoice", 5, Change::InvoicePaid(invoice)).await;
    balance += GROWTH_BYTES;
    assert_eq!(me.balance().await, balance);
    let a_month_later = at(365 * 86_400 / 12);
    twenty(&me.store, |store| async move {
        store.give_due_allowances(a_month_later, 10).await.unwrap()
    })
    .await;
    balance += GROWTH_BYTES;
    assert_eq!(me.balance().await, balance);

    let refund = |cents| {
        Change::Refunded(RefundState {
            references: vec![format!("pi_in_1_{account}")],
            customer: None,
            cents,
            currency: "usd".to_owned(),
        })
    };
    told(&me, "refund", 6, refund(GROWTH_YEAR / 10)).await;
    balance -= GROWTH_BYTES / 5;
    assert_eq!(me.balance().await, balance);
    let disputed = |status| {
        Change::Disputed(DisputeState {
            id: "dp_1".to_owned(),
            references: vec![format!("pi_{}", payment.id)],
            cents: 500,
            currency: "usd".to_owned(),
            status,
            reason: "fraudulent".to_owned(),
        })
    };
    for (id, seconds, status, change) in [
        ("open", 7, DisputeStatus::Open, -GB),
        ("won", 8, DisputeStatus::Won, GB),
        ("lost", 9, DisputeStatus::Lost, -GB),
    ] {
        told(&me, id, seconds, disputed(status)).await;
        balance += change;
        assert_eq!(me.balance().await, balance, "{id}");
    }
    books_are_in_order(&*db.store).await;
}
