use iploop_platform::abuse::{AuditAction, AuditQuery};
use iploop_platform::api_key::ApiKeyHash;
use iploop_platform::ids::PartnerId;
use iploop_platform::partner::NewPartner;
use iploop_platform::store::StoreError;

use super::safeguards::audit;
use super::{Database, at};

fn partner_request(key: &str) -> NewPartner {
    NewPartner {
        id: PartnerId::new(),
        name: "Games Ltd".into(),
        email: Some("dev@games.example".into()),
        key_hash: ApiKeyHash::of(key),
        key_prefix: "iplp_012345678".into(),
        revenue_share_bp: 7_000,
        now: at(0),
        audit: audit(AuditAction::PartnerCreated, None, 0),
    }
}

pub(super) async fn a_partner_is_found_by_its_key(db: &Database) {
    let request = partner_request("iplp_1");
    let partner = db.store.create_partner(request.clone()).await.unwrap();
    assert_eq!((partner.id, partner.name.as_str()), (request.id, "Games Ltd"));
    assert_eq!(partner.email.as_deref(), Some("dev@games.example"));
    assert_eq!(
        (partner.api_key_prefix.as_str(), partner.revenue_share_bp),
        ("iplp_012345678", 7_000)
    );
    assert!(partner.is_active);
    assert_eq!(partner.created_at, at(0));
    let query = AuditQuery {
        limit: 9,
        ..AuditQuery::default()
    };
    let records = db.store.audit_entries(&query).await.unwrap();
    let [record] = &records[..] else {
        panic!("one record: {records:?}")
    };
    assert_eq!(record.action, AuditAction::PartnerCreated);
    assert_eq!(record.after["name"], "Games Ltd");
    assert!(record.after.get("email").is_none(), "it would stay for ever");
    assert_eq!(
        db.store.partner_by_key(request.key_hash, at(1)).await.unwrap(),
        Some(partner)
    );
    assert_eq!(
        db.store
            .partner_by_key(ApiKeyHash::of("iplp_2"), at(1))
            .await
            .unwrap(),
        None
    );
    db.execute("UPDATE partners SET is_active = FALSE").await;
    assert!(
        !db.store
            .partner_by_key(request.key_hash, at(1))
            .await
            .unwrap()
            .unwrap()
            .is_active
    );
}

pub(super) async fn a_key_belongs_to_one_partner(db: &Database) {
    db.store.create_partner(partner_request("iplp_1")).await.unwrap();
    let refused = db.store.create_partner(partner_request("iplp_1")).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict { what: "partner key" })),
        "{refused:?}"
    );
}
