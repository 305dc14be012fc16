use iploop_platform::abuse::{AuditAction, AuditEntry};
use iploop_platform::device_news::News;
use iploop_platform::ids::{AppId, ConsentId, NodeId, PartnerId};
use iploop_platform::partners::{App, AppFacts, AppPlatform, AppStanding, AppState, PartnerChange};

use super::nodes::{new_partner, registered};
use super::{Database, account_with, at, audit};

fn record(seconds: i64) -> AuditEntry {
    AuditEntry {
        at: at(seconds),
        ..audit::record(AuditAction::AppReviewed)
    }
}

/// What was noted from this second on.
async fn news(db: &Database, seconds: i64) -> Vec<News> {
    db.store.device_news(at(seconds), 100).await.unwrap()
}

async fn app(db: &Database, partner: PartnerId, platform: AppPlatform) -> App {
    let facts = AppFacts {
        name: "Game".into(),
        platform,
        bundle_id: "com.example.game".into(),
        store_url: None,
    };
    db.store
        .create_app(
            partner,
            AppId::new(),
            &facts,
            audit::record(AuditAction::AppHandedIn),
        )
        .await
        .unwrap()
        .unwrap()
}

async fn review(db: &Database, app: &App, state: AppState, seconds: i64) {
    let reviewed = db
        .store
        .review_app(app.partner, app.id, state, record(seconds))
        .await;
    assert!(reviewed.unwrap().is_some());
}

pub(super) async fn a_wish_is_news_as_it_is_now_until_it_is_forgotten(db: &Database) {
    let account = account_with(&*db.store, 0).await;
    let (_, node) = registered(db, "device-1").await;
    db.store.set_code_of(node, "code", at(600)).await.unwrap();
    db.store.claim_device(account, "code", at(5)).await.unwrap();
    let is_paused = |is_paused| [News::Wish { node, is_paused }];
    assert_eq!(news(db, 0).await, is_paused(false));
    for (paused, seconds) in [(true, 10), (false, 11), (true, 12)] {
        db.store
            .wish_pause(account, node, paused, at(seconds))
            .await
            .unwrap();
        assert_eq!(news(db, seconds).await, is_paused(paused));
        assert_eq!(news(db, 0).await, is_paused(paused), "one note, not three");
        assert_eq!(news(db, seconds + 1).await, []);
    }
    db.store.unclaim_device(account, node, at(20)).await.unwrap();
    assert_eq!(news(db, 20).await, is_paused(false));
    db.store.forget_device_news(at(21)).await.unwrap();
    assert_eq!(news(db, 0).await, []);
}

pub(super) async fn a_withdrawal_is_news_of_the_consent_that_it_is_about(db: &Database) {
    let (registration, node) = registered(db, "device-1").await;
    let (_, other) = registered(db, "device-2").await;
    let consent = registration.consent.id;
    let withdraw = async |device_id: &str, consent, seconds| {
        let withdrawn = db.store.withdraw_consent(device_id, consent, at(seconds));
        withdrawn.await.unwrap();
    };
    withdraw("device-1", ConsentId::new(), 5).await;
    withdraw("device-1", consent, 10).await;
    withdraw("nobody-knows-it", ConsentId::new(), 10).await;
    assert_eq!(news(db, 10).await, [News::Withdrawn { node, consent }]);
    assert_eq!(news(db, 0).await.len(), 2, "both of its consents");
    assert!(
        !news(db, 0)
            .await
            .iter()
            .any(|news| matches!(news, News::Withdrawn { node, .. } if *node == other))
    );
}

pub(super) async fn apps_that_changed_are_news_as_they_stand_and_a_partner_while_it_is_stopped(
    db: &Database,
) {
    let partner = new_partner(&*db.store).await;
    let android = app(db, partner, AppPlatform::Android).await;
    let ios = app(db, partner, AppPlatform::Ios).await;
    let standing = |bundle_id: &str, platform, state| AppStanding {
        bundle_id: bundle_id.into(),
        platform,
        state,
    };
    let game = |platform, state| standing("com.example.game", platform, state);
    let apps = |apps: &[AppStanding]| {
        let apps = apps.to_vec();
        [News::Apps { partner, apps }]
    };
    let of_ios = game(AppPlatform::Ios, AppState::Pending);
    assert_eq!(news(db, 0).await, [], "none has brought a device yet");
    for (state, seconds) in [
        (AppState::Approved, 5),
        (AppState::Suspended, 10),
        (AppState::Approved, 15),
    ] {
        review(db, &android, state, seconds).await;
        let both = apps(&[game(AppPlatform::Android, state), of_ios.clone()]);
        assert_eq!(news(db, seconds).await, both);
        assert_eq!(news(db, seconds + 1).await, []);
    }
    let facts = AppFacts {
        name: "Game".into(),
        platform: AppPlatform::Android,
        bundle_id: "com.example.game2".into(),
        store_url: None,
    };
    let changed = db.store.change_app(partner, android.id, &facts, record(16)).await;
    assert!(changed.unwrap().is_some());
    let renamed = standing("com.example.game2", AppPlatform::Android, AppState::Pending);
    assert_eq!(news(db, 16).await, apps(&[renamed, of_ios.clone()]));
    for (gone, seconds) in [(android.id, 17), (ios.id, 18)] {
        assert!(db.store.delete_app(partner, gone, record(seconds)).await.unwrap());
        let left = if seconds == 17 {
            vec![of_ios.clone()]
        } else {
            Vec::new()
        };
        assert_eq!(news(db, seconds).await, apps(&left));
    }

    let switch = async |is_active, seconds| {
        let change = PartnerChange {
            is_active: Some(is_active),
            ..PartnerChange::default()
        };
        let changed = db.store.change_partner(partner, &change, record(seconds)).await;
        assert!(changed.unwrap().is_some());
    };
    switch(false, 20).await;
    assert_eq!(news(db, 20).await, [News::Partner(partner)]);
    switch(true, 21).await;
    assert_eq!(news(db, 20).await, []);
    let deleted = db.store.delete_partner(partner, at(100), record(30)).await;
    deleted.unwrap();
    assert_eq!(news(db, 30).await, [News::Partner(partner)]);
}

pub(super) async fn of_much_news_the_latest_come_first(db: &Database) {
    let account = account_with(&*db.store, 0).await;
    let mut nodes: Vec<NodeId> = Vec::new();
    for number in 0..3 {
        let (_, node) = registered(db, &format!("device-{number}")).await;
        db.store.set_code_of(node, "code", at(600)).await.unwrap();
        db.store.claim_device(account, "code", at(number)).await.unwrap();
        nodes.push(node);
    }
    let latest = db.store.device_news(at(0), 2).await.unwrap();
    let is_paused = false;
    assert_eq!(
        latest,
        [nodes[2], nodes[1]].map(|node| News::Wish { node, is_paused })
    );
}
