use std::time::Duration;

use iploop_platform::events::EventKind;
use iploop_platform::ids::{AccountId, HoldId};
use iploop_platform::notices::{MailEnd, NewReport, Notice, OutboxMail, Preferences};
use serde_json::json;
use tokio::task::JoinSet;

use super::events::event;
use super::{Database, account_request, at, new_account};

async fn claim(db: &Database, seconds: i64) -> Vec<OutboxMail> {
    let now = at(seconds);
    db.store
        .claim_mails(now, HoldId::new(), now.plus(Duration::from_secs(60)), 10)
        .await
        .unwrap()
}

async fn verified_account(db: &Database) -> AccountId {
    let request = account_request(&*db.store).await;
    let request = iploop_platform::account::NewAccount {
        email_verified: true,
        ..request
    };
    db.store.create_account(request).await.unwrap().id
}

pub(super) async fn preferences_are_the_defaults_until_they_are_set(db: &Database) {
    let (ada, eve) = (new_account(&*db.store).await, new_account(&*db.store).await);
    assert_eq!(db.store.preferences(ada).await.unwrap(), Preferences::default());
    let wanted = Preferences {
        email_alerts: false,
        maintenance_alerts: true,
        weekly_reports: false,
        usage_threshold_percent: 100,
        balance_low_bytes: 7,
        ..Preferences::default()
    };
    for preferences in [
        wanted,
        Preferences {
            billing_alerts: false,
            ..wanted
        },
    ] {
        db.store.set_preferences(ada, &preferences, at(1)).await.unwrap();
        assert_eq!(db.store.preferences(ada).await.unwrap(), preferences);
    }
    assert_eq!(db.store.preferences(eve).await.unwrap(), Preferences::default());
}

pub(super) async fn an_event_that_is_mailed_waits_in_the_outbox_once(db: &Database) {
    let account = new_account(&*db.store).await;
    let warning = event(account, EventKind::QuotaWarning, 1);
    db.store
        .publish(&[warning.clone(), event(account, EventKind::BalanceLow, 2)])
        .await
        .unwrap();
    assert!(
        db.store.publish(std::slice::from_ref(&warning)).await.is_err(),
        "an event happens once"
    );
    let mails = claim(db, 10).await;
    assert_eq!(mails.len(), 1);
    assert_eq!(
        (mails[0].account, mails[0].notice, &mails[0].data),
        (account, Notice::QuotaWarning, &warning.data)
    );
}

pub(super) async fn a_mail_is_held_by_one_and_taken_over_after_a_crash(db: &Database) {
    let account = new_account(&*db.store).await;
    let events: Vec<_> = (0..6)
        .map(|n| event(account, EventKind::PaymentFailed, n))
        .collect();
    db.store.publish(&events).await.unwrap();
    let mut workers = JoinSet::new();
    for _ in 0..10 {
        let store = db.store.clone();
        workers.spawn(async move { store.claim_mails(at(10), HoldId::new(), at(70), 4).await.unwrap() });
    }
    let mut held: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    held.extend(claim(db, 10).await);
    let mut ids: Vec<_> = held.iter().map(|mail| mail.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((held.len(), ids.len()), (6, 6), "each once");

    let end = async |mail: &OutboxMail, end: MailEnd| db.store.finish_mail(mail, &end).await.unwrap();
    assert!(end(&held[0], MailEnd::Sent).await);
    assert!(!end(&held[0], MailEnd::Sent).await);
    assert!(end(&held[1], MailEnd::Again(at(500), "busy".into())).await);
    assert!(end(&held[2], MailEnd::Skipped).await);
    assert!(end(&held[3], MailEnd::Failed("no such user".into())).await);
    let taken = claim(db, 70).await;
    assert_eq!(taken.len(), 2, "of whoever held them nothing was heard");
    assert!(!end(&held[4], MailEnd::Sent).await);
    for mail in &taken {
        assert!(end(mail, MailEnd::Sent).await);
    }
    assert!(claim(db, 499).await.is_empty());
    let again = claim(db, 500).await;
    assert_eq!((again.len(), again[0].tries, again[0].id), (1, 1, held[1].id));
}

pub(super) async fn a_report_is_queued_once_for_each_account_that_may_have_it(db: &Database) {
    let ada = verified_account(db).await;
    let eve = verified_account(db).await;
    new_account(&*db.store).await;
    let report = NewReport {
        notice: Notice::WeeklyReport,
        occasion: "weekly:2025-11-24".into(),
        data: json!({"from": at(0), "to": at(100)}),
        made_before: at(100),
    };
    assert_eq!(db.store.queue_reports(&report, at(101), 1).await.unwrap(), 1);
    let mut workers = JoinSet::new();
    for _ in 0..8 {
        let (store, report) = (db.store.clone(), report.clone());
        workers.spawn(async move { store.queue_reports(&report, at(101), 50).await.unwrap() });
    }
    assert_eq!(workers.join_all().await.into_iter().sum::<u64>(), 1);
    let early = NewReport {
        occasion: "weekly:2025-11-17".into(),
        made_before: at(0),
        ..report.clone()
    };
    assert_eq!(
        db.store.queue_reports(&early, at(101), 50).await.unwrap(),
        0,
        "they were not there yet"
    );
    let mut mailed: Vec<_> = claim(db, 200)
        .await
        .into_iter()
        .map(|mail| (mail.account, mail.data))
        .collect();
    mailed.sort_by_key(|(account, _)| *account);
    assert_eq!(mailed, [(ada, report.data.clone()), (eve, report.data)]);
}
