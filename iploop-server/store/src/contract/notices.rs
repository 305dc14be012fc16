use std::sync::Arc;
use std::time::Duration;

use iploop_platform::abuse::{AuditAction, AuditEntry, AuditQuery, Told};
use iploop_platform::account::AccountStatus;
use iploop_platform::accounts::ProfileChange;
use iploop_platform::clock::{DAY, Timestamp};
use iploop_platform::events::{Event, EventKind};
use iploop_platform::ids::{AccountId, AnnouncementId, ApiKeyId, HoldId};
use iploop_platform::notices::{
    Announcement, MAX_ANNOUNCEMENTS_A_DAY, MailEnd, NewMail, NewReport, Notice, OutboxMail, Preferences,
    PreferencesChange, RateAlert,
};
use iploop_platform::store::StoreError;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::api_keys::key_request;
use super::audit::record;
use super::events::event;
use super::webhooks::webhook_for;
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
        let change = PreferencesChange::from(preferences);
        assert_eq!(
            db.store.change_preferences(ada, &change, at(1)).await.unwrap(),
            preferences
        );
        assert_eq!(db.store.preferences(ada).await.unwrap(), preferences);
    }
    assert_eq!(db.store.preferences(eve).await.unwrap(), Preferences::default());
}

pub(super) async fn changes_of_preferences_at_the_same_moment_all_stand(db: &Database) {
    let account = new_account(&*db.store).await;
    let none = PreferencesChange::default();
    for wanted in [false, true, false] {
        let changes = [
            PreferencesChange {
                usage_alerts: Some(wanted),
                ..none
            },
            PreferencesChange {
                billing_alerts: Some(wanted),
                ..none
            },
            PreferencesChange {
                weekly_reports: Some(wanted),
                ..none
            },
            PreferencesChange {
                monthly_reports: Some(wanted),
                ..none
            },
        ];
        let mut running = JoinSet::new();
        for change in changes {
            let store = Arc::clone(&db.store);
            running.spawn(async move { store.change_preferences(account, &change, at(1)).await });
        }
        while let Some(done) = running.join_next().await {
            done.unwrap().unwrap();
        }
        let expected = Preferences {
            usage_alerts: wanted,
            billing_alerts: wanted,
            weekly_reports: wanted,
            monthly_reports: wanted,
            ..Preferences::default()
        };
        assert_eq!(db.store.preferences(account).await.unwrap(), expected);
    }
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
        time_zone: "UTC".into(),
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
    let elsewhere = NewReport {
        occasion: "weekly:2025-12-01".into(),
        time_zone: "Asia/Tokyo".into(),
        ..report.clone()
    };
    assert_eq!(
        db.store.queue_reports(&elsewhere, at(101), 50).await.unwrap(),
        0,
        "nobody lives there"
    );
    let moved = ProfileChange {
        time_zone: Some("Asia/Tokyo".into()),
        ..ProfileChange::default()
    };
    let mover = verified_account(db).await;
    db.store.change_profile(mover, &moved, at(0)).await.unwrap();
    assert_eq!(db.store.time_zones().await.unwrap(), ["Asia/Tokyo", "UTC"]);
    let to_mover = NewReport {
        made_before: at(0).plus(Duration::from_millis(1)),
        ..elsewhere
    };
    assert_eq!(db.store.queue_reports(&to_mover, at(500), 50).await.unwrap(), 1);
    let mut mailed: Vec<_> = claim(db, 200)
        .await
        .into_iter()
        .map(|mail| (mail.account, mail.data))
        .collect();
    mailed.sort_by_key(|(account, _)| *account);
    assert_eq!(mailed, [(ada, report.data.clone()), (eve, report.data)]);
}

fn mail(account: AccountId, notice: Notice, occasion: &str, now: Timestamp) -> NewMail {
    NewMail {
        account,
        notice,
        data: json!({"at": now}),
        occasion: occasion.into(),
        now,
    }
}

pub(super) async fn a_mail_is_queued_once_for_its_occasion_and_goes_before_what_many_get(db: &Database) {
    let (ada, eve) = (verified_account(db).await, verified_account(db).await);
    let report = NewReport {
        notice: Notice::WeeklyReport,
        occasion: "weekly:2025-11-24".into(),
        data: Value::Null,
        time_zone: "UTC".into(),
        made_before: at(100),
    };
    assert_eq!(db.store.queue_reports(&report, at(1), 50).await.unwrap(), 2);
    for (account, occasion, now) in [(ada, "one", 2), (ada, "one", 3), (ada, "two", 3), (eve, "one", 4)] {
        let new = mail(account, Notice::PasswordChanged, occasion, at(now));
        db.store.queue_mail(&new).await.unwrap();
    }
    let order: Vec<_> = {
        let mut order = Vec::new();
        while let Some(next) = db
            .store
            .claim_mails(at(10), HoldId::new(), at(90), 1)
            .await
            .unwrap()
            .pop()
        {
            assert!(db.store.finish_mail(&next, &MailEnd::Sent).await.unwrap());
            order.push((next.notice, next.account));
        }
        order
    };
    let first = [ada, ada, eve].map(|account| (Notice::PasswordChanged, account));
    assert_eq!(order[..3], first);
    assert!(
        order.len() == 5
            && order[3..]
                .iter()
                .all(|(notice, _)| *notice == Notice::WeeklyReport)
    );
}

pub(super) async fn an_account_gets_a_hundred_mails_a_day_and_those_that_it_waits_for(db: &Database) {
    let (ada, eve) = (verified_account(db).await, verified_account(db).await);
    let queue = async |account, notice, number: u32, now| {
        let mail = NewMail {
            account,
            notice,
            data: Value::Null,
            occasion: format!("{notice}:{number}"),
            now,
        };
        db.store.queue_mail(&mail).await.unwrap();
    };
    let before = db.number("SELECT COUNT(*) FROM mail_outbox").await;
    let queued = async || db.number("SELECT COUNT(*) FROM mail_outbox").await - before;
    for number in 0..120 {
        queue(ada, Notice::AllowListChanged, number, at(10)).await;
    }
    assert_eq!(queued().await, 100);
    queue(ada, Notice::PasswordReset, 0, at(11)).await;
    queue(eve, Notice::AllowListChanged, 0, at(11)).await;
    assert_eq!(queued().await, 102);
    queue(ada, Notice::TwoFactorOff, 0, at(10).plus(DAY)).await;
    assert_eq!(queued().await, 103, "the next day");
}

pub(super) async fn a_request_for_a_password_becomes_a_mail_where_there_is_an_account(db: &Database) {
    let (ada, eve) = (verified_account(db).await, verified_account(db).await);
    let address = async |account| db.store.account(account).await.unwrap().unwrap().email;
    let suspended = AuditEntry {
        account: Some(eve),
        ..record(AuditAction::AccountSuspended)
    };
    db.store
        .set_account_status(
            eve,
            AccountStatus::Active,
            AccountStatus::Suspended,
            suspended,
            &Told::Nobody,
        )
        .await
        .unwrap();
    let ask = async |email: &str, most| {
        db.store
            .note_password_request(&email.to_lowercase(), at(7), most)
            .await
            .unwrap()
    };
    for email in [
        "nobody@example.com",
        &address(ada).await,
        &address(eve).await,
        "n\0body@example.com",
    ] {
        assert!(ask(email, 4).await, "{email}");
    }
    assert!(!ask(&address(ada).await, 4).await, "as many wait as may");
    assert!(claim(db, 10).await.is_empty(), "nobody looked it up yet");
    let mut workers = JoinSet::new();
    for _ in 0..8 {
        let store = db.store.clone();
        workers.spawn(async move { store.answer_password_requests(3).await.unwrap() });
    }
    assert_eq!(workers.join_all().await.into_iter().sum::<u64>(), 4, "each once");
    assert_eq!(db.store.answer_password_requests(3).await.unwrap(), 0);
    let mails = claim(db, 10).await;
    let found: Vec<_> = mails
        .iter()
        .map(|mail| (mail.account, mail.notice, mail.created_at))
        .collect();
    assert_eq!(found, [(ada, Notice::PasswordReset, at(7))]);
    assert!(ask(&address(ada).await, 4).await);
    assert_eq!(db.store.answer_password_requests(3).await.unwrap(), 1);
    assert_eq!(claim(db, 10).await.len(), 1, "another request is another mail");
}

fn announcement(message: &str) -> Announcement {
    Announcement {
        id: AnnouncementId::new(),
        starts_at: at(100),
        ends_at: at(200),
        message: message.into(),
        created_at: at(1),
    }
}

pub(super) async fn an_announcement_is_told_once_to_each_who_wants_to_know(db: &Database) {
    let mut readers = Vec::new();
    for wants in [true, false, true, true] {
        let account = verified_account(db).await;
        let preferences = Preferences {
            maintenance_alerts: wants,
            ..Preferences::default()
        };
        db.store
            .change_preferences(account, &preferences.into(), at(0))
            .await
            .unwrap();
        if wants {
            readers.push(account);
        }
    }
    let subscriber = verified_account(db).await;
    webhook_for(db, subscriber, &[EventKind::MaintenanceAnnounced]).await;
    assert_eq!(db.store.tell_announcement(at(2), 2).await.unwrap(), None);
    let first = announcement("a new database");
    db.store
        .announce(&first, record(AuditAction::MaintenanceAnnounced))
        .await
        .unwrap();
    let query = AuditQuery {
        action: Some(AuditAction::MaintenanceAnnounced),
        limit: 10,
        ..AuditQuery::default()
    };
    assert_eq!(db.store.audit_entries(&query).await.unwrap().len(), 1);
    let mut workers = JoinSet::new();
    for _ in 0..6 {
        let store = db.store.clone();
        workers.spawn(async move {
            let mut told = 0;
            while let Some((of, mails)) = store.tell_announcement(at(2), 2).await.unwrap() {
                assert_eq!(of.message, "a new database");
                told += mails;
            }
            told
        });
    }
    assert_eq!(workers.join_all().await.into_iter().sum::<u64>(), 3);
    let mails = claim(db, 10).await;
    let mut told: Vec<_> = mails.iter().map(|mail| mail.account).collect();
    told.sort_unstable();
    assert_eq!(told, readers);
    assert!(
        mails
            .iter()
            .all(|mail| mail.notice == Notice::Maintenance && mail.data == first.data())
    );
    let delivered = db.store.claim_deliveries(at(10), at(20), 10, 10).await.unwrap();
    assert_eq!(delivered.len(), 1);
    assert_eq!(
        (delivered[0].event.account, &delivered[0].event.data),
        (subscriber, &first.data())
    );
    for _ in 1..MAX_ANNOUNCEMENTS_A_DAY {
        db.store
            .announce(&announcement("more"), record(AuditAction::MaintenanceAnnounced))
            .await
            .unwrap();
    }
    let refused = db
        .store
        .announce(
            &announcement("too many"),
            record(AuditAction::MaintenanceAnnounced),
        )
        .await;
    assert!(matches!(refused, Err(StoreError::LimitReached { .. })));
}

pub(super) async fn a_key_at_its_rate_is_told_once_an_hour_however_many_say_so(db: &Database) {
    let account = verified_account(db).await;
    let key = db.store.create_api_key(key_request(account)).await.unwrap().id;
    for mail in claim(db, 10).await {
        assert!(db.store.finish_mail(&mail, &MailEnd::Sent).await.unwrap());
    }
    let hour = at(0).hour_start();
    let alert = |api_key, minutes: u32| RateAlert {
        api_key,
        event: Event::new(
            account,
            EventKind::RateLimitReached,
            hour.plus(Duration::from_secs(60) * minutes),
            json!({"keyId": api_key}),
        ),
    };
    let told = async || {
        let mails = db.store.claim_mails(
            hour.plus(Duration::from_secs(9000)),
            HoldId::new(),
            at(99_999),
            10,
        );
        mails.await.unwrap().len()
    };
    let mut workers = JoinSet::new();
    for minute in 0..8 {
        let (store, alert) = (db.store.clone(), alert(key, minute));
        workers.spawn(async move { store.tell_rate_limits(&[alert]).await.unwrap() });
    }
    workers.join_all().await;
    assert_eq!(told().await, 1);
    db.store.tell_rate_limits(&[alert(key, 59)]).await.unwrap();
    assert_eq!(told().await, 0, "the same hour");
    db.store
        .tell_rate_limits(&[alert(key, 61), alert(ApiKeyId::new(), 61)])
        .await
        .unwrap();
    assert_eq!(told().await, 1, "another hour; a key that is gone is nobody's");
}
