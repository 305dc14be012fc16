//! How long it takes to book 1,000 records: `cargo run --release -p iploop-store --example settle [DATABASE_URL]`.
//!
//! A new SQLite file unless an address is given. 200 accounts, 64 devices of 4 partners. `first` are new requests, `more` are
//! later totals of the same ones: what settling does all day.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the figures are the purpose, and without a database there are none"
)]

use std::time::{Duration, Instant};

use iploop_platform::abuse::{Actor, AuditAction, AuditEntry};
use iploop_platform::account::{NewAccount, Role, Standing};
use iploop_platform::api_key::ApiKeyHash;
use iploop_platform::clock::Timestamp;
use iploop_platform::exits::Place;
use iploop_platform::ids::{AccountId, ApiKeyId, ConsentId, GatewayId, NodeId, PartnerId, RequestId};
use iploop_platform::node::{ConsentRecord, GeoFacts, NodeRegistration};
use iploop_platform::partner::NewPartner;
use iploop_platform::store::Store;
use iploop_platform::usage::{Timings, UsageRecord};

const ACCOUNTS: usize = 200;
const NODES: usize = 64;
const PARTNERS: usize = 4;
const RECORDS: usize = 1_000;
const ROUNDS: usize = 31;

fn now() -> Timestamp {
    Timestamp::from_millis(1_764_000_000_000)
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let url = std::env::args()
        .nth(1)
        .unwrap_or_else(|| folder.path().to_str().unwrap().to_owned());
    let store = iploop_store::open(&url).await.unwrap();
    let accounts = accounts(&*store).await;
    let nodes = nodes(&*store).await;
    let gateway = GatewayId::new();
    let (mut first, mut more) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let records: Vec<_> = (0..RECORDS)
            .map(|i| record(accounts[i % ACCOUNTS], nodes[(i + round) % NODES], gateway))
            .collect();
        first.push(timed(&*store, &records).await);
        let later: Vec<_> = records
            .iter()
            .map(|record| UsageRecord {
                bytes_down: record.bytes_down * 3,
                ..record.clone()
            })
            .collect();
        more.push(timed(&*store, &later).await);
    }
    for (name, mut times) in [("first", first), ("more", more)] {
        times.sort_unstable();
        let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1e3;
        println!(
            "{name}: p10 {:.1} ms, p50 {:.1} ms, p90 {:.1} ms",
            at(10),
            at(50),
            at(90)
        );
    }
}

async fn timed(store: &dyn Store, records: &[UsageRecord]) -> Duration {
    let begun = Instant::now();
    store.settle(records, now()).await.unwrap();
    begun.elapsed()
}

async fn accounts(store: &dyn Store) -> Vec<AccountId> {
    let plan = store.plans().await.unwrap()[0].id;
    let mut accounts = Vec::new();
    for _ in 0..ACCOUNTS {
        let id = AccountId::new();
        let account = NewAccount {
            id,
            email: format!("{id}@example.com"),
            password_hash: String::new(),
            first_name: "Ada".into(),
            last_name: "Lovelace".into(),
            company: None,
            role: Role::Customer,
            email_verified: true,
            standing: Standing::Established,
            plan,
            bonus_bytes: 5_000_000_000,
            now: now(),
        };
        accounts.push(store.create_account(account).await.unwrap().id);
    }
    accounts
}

async fn nodes(store: &dyn Store) -> Vec<NodeId> {
    let mut partners = Vec::new();
    for _ in 0..PARTNERS {
        let id = PartnerId::new();
        let partner = NewPartner {
            id,
            name: "Games Ltd".into(),
            email: None,
            key_hash: ApiKeyHash::of(&id.to_string()),
            key_prefix: "iplp_012345678".into(),
            revenue_share_bp: 7_000,
            now: now(),
            audit: AuditEntry::new(
                Actor::System,
                AuditAction::PartnerCreated,
                id.to_string(),
                "an example",
                now(),
            ),
        };
        partners.push(store.create_partner(partner).await.unwrap().id);
    }
    let mut nodes = Vec::new();
    for i in 0..NODES {
        let id = NodeId::new();
        let registration = NodeRegistration {
            id,
            device_id: id.to_string(),
            device_secret_hash: "secret".into(),
            partner: partners[i % PARTNERS],
            ip: "203.0.113.7".parse().unwrap(),
            geo: GeoFacts::default(),
            place: Place::default(),
            connection_type: None,
            device_type: None,
            sdk_version: "2.0.0".into(),
            consent: ConsentRecord {
                id: ConsentId::new(),
                text_version: "2026-02".into(),
                text_hash: String::new(),
                language: "en".into(),
                given_at: now(),
                act: "button".into(),
                app_id: "com.example.game".into(),
                app_version: "1.2".into(),
                networks: serde_json::json!({}),
                minimum_age: true,
            },
            review_apps: false,
            now: now(),
        };
        store.register_node(registration).await.unwrap();
        nodes.push(id);
    }
    nodes
}

fn record(account: AccountId, node: NodeId, gateway: GatewayId) -> UsageRecord {
    UsageRecord {
        id: RequestId::new(),
        account,
        api_key: ApiKeyId::from(account.uuid()),
        gateway,
        node: Some(node),
        session: None,
        bytes_up: 1_000,
        bytes_down: 30_000,
        billable: true,
        proxy_type: "connect".into(),
        destination: "example.com:443".into(),
        exit_country: Some("DE".into()),
        exit_city: Some("Berlin".into()),
        exit_asn: None,
        exit_ip: None,
        timings: Timings::default(),
        status: None,
        error: None,
        attempts: 1,
        started_at: now(),
        ended_at: None,
    }
}
