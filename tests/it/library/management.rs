//! The management API by the library.

use std::time::Duration;

use iploop_client::api::auth::{LoginBody, LoginOutcome, RegisterBody, VerifyBody};
use iploop_client::api::keys::{ChangeKeyBody, CreateKeyBody};
use iploop_client::api::proxy::ExplainQuery;
use iploop_client::api::sessions::CreateSessionBody;
use iploop_client::api::usage::{ExportUsageQuery, Format, UsageQuery};
use iploop_client::values::Change;
use iploop_client::{Api, Error, Retries};

use super::{api, customer, run};
use crate::api::token_in_mail;
use crate::harness::{PATIENCE, Place, Settings, World};

const PASSWORD: &str = "correct horse battery";

/// The world's account, signed in.
async fn signed_in(world: &World) -> Api {
    let form = LoginBody {
        email: world.account.email.clone(),
        password: world.account.password.as_str().into(),
    };
    match api(world).auth().login(&form).await.unwrap() {
        LoginOutcome::Login(login) => api(world).with_token(login.token),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stranger_registers_makes_a_key_uses_it_and_sees_what_was_used() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    run(async {
        let form = RegisterBody {
            email: "ada@example.com".to_owned(),
            password: PASSWORD.into(),
            first_name: "Ada".to_owned(),
            last_name: "Lovelace".to_owned(),
            ..RegisterBody::default()
        };
        let registered = api(&world).auth().register(&form).await.unwrap();
        let api = api(&world).with_token(registered.token);
        let new = CreateKeyBody {
            name: "first".to_owned(),
            ..CreateKeyBody::default()
        };
        let made = api.keys().create_key(&new).await.unwrap();
        let listed = api.keys().list_keys().await.unwrap();
        assert_eq!(
            listed.keys.iter().map(|key| key.id).collect::<Vec<_>>(),
            [made.id]
        );

        let customer = customer(&world, "http", made.key.expose());
        let early = customer.get(&world.origin.url("/echo")).await.unwrap_err();
        assert_eq!(early.code(), Some("email_unverified"));
        let token = token_in_mail(&world, "ada@example.com").into();
        api.auth().verify_email(&VerifyBody { token }).await.unwrap();
        let answer = customer.get(&world.origin.url("/bytes/100000")).await.unwrap();
        let request = answer.told.request_id.unwrap();
        assert_eq!(answer.bytes(1_000_000).await.unwrap().len(), 100_000);

        // A request is booked a moment after its end.
        let receipt = async {
            loop {
                match api.usage().request_receipt(request).await {
                    Ok(receipt) if receipt.bytes_downloaded >= 100_000 => return receipt,
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.code(), Some("request_not_found"), "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let receipt = tokio::time::timeout(PATIENCE, receipt).await.unwrap();
        assert_eq!(receipt.target_country.as_deref(), Some("DE"));
        let period = UsageQuery {
            days: Some(1),
            ..UsageQuery::default()
        };
        let sums = api.usage().usage_summary(&period).await.unwrap();
        assert_eq!(sums.summary.successful_requests, 1);
        let table = api.usage().usage_by_country_csv(&period).await.unwrap();
        assert!(table.content_type().unwrap().starts_with("text/csv"));
        let table = table.bytes(1_000_000).await.unwrap();
        assert!(String::from_utf8_lossy(&table).contains("DE"), "{table:?}");
        let lines = ExportUsageQuery {
            format: Some(Format::Ndjson),
            country: Some("DE".to_owned()),
            ..ExportUsageQuery::default()
        };
        let lines = api
            .usage()
            .export_usage(&lines)
            .await
            .unwrap()
            .bytes(1_000_000)
            .await
            .unwrap();
        assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 1);
    });
}

#[test]
fn a_key_explains_its_wishes_and_keeps_sessions() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    run(async {
        // A key is enough for these.
        let api = api(&world).with_token(world.account.key.as_str());
        let wishes = ExplainQuery {
            params: Some("country-de-session-cart".to_owned()),
        };
        let explained = api.proxy().explain(&wishes).await.unwrap();
        assert_eq!(explained.parameters, "country-DE-session-cart");
        let wrong = ExplainQuery {
            params: Some("contry-DE".to_owned()),
        };
        let error = api.proxy().explain(&wrong).await.unwrap_err();
        let refusal = error.refusal().unwrap();
        assert_eq!(
            (
                refusal.status(),
                refusal.code(),
                refusal.problem.parameter.as_deref()
            ),
            (400, "unknown_parameter", Some("contry"))
        );

        let new = CreateSessionBody {
            targeting: Some("country-DE-session-a/b".to_owned()),
        };
        let error = api.sessions().create_session(&new).await.unwrap_err();
        assert_eq!(error.code(), Some("invalid_value"), "{error}");
        let new = CreateSessionBody {
            targeting: Some("country-DE-session-cart".to_owned()),
        };
        let made = api.sessions().create_session(&new).await.unwrap();
        assert_eq!(made.id, "cart");
        let rotated = api.sessions().rotate_session("cart").await.unwrap();
        assert_eq!((rotated.id.as_str(), rotated.exit), ("cart", None));
        assert_eq!(
            api.sessions()
                .list_sessions(&Default::default())
                .await
                .unwrap()
                .sessions
                .len(),
            1
        );
        let unknown = api.sessions().get_session("../keys").await.unwrap_err();
        assert_eq!(unknown.refusal().map(|refusal| refusal.status()), Some(404));
        api.sessions().end_session("cart").await.unwrap();
        let login_only = api.keys().list_keys().await.unwrap_err();
        assert_eq!(login_only.refusal().map(|refusal| refusal.status()), Some(401));
    });
}

#[test]
fn what_can_not_be_accepted_is_named_by_code_and_field() {
    let world = World::start_with(Settings::with_places(&[]));
    run(async {
        let stranger = api(&world).keys().list_keys().await.unwrap_err();
        assert_eq!(
            stranger.refusal().map(|refusal| refusal.status()),
            Some(401),
            "{stranger}"
        );
        let api = signed_in(&world).await;
        let refused = api
            .keys()
            .create_key(&CreateKeyBody::default())
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Some("invalid_fields"));
        assert!(refused.refusal().unwrap().field("name").is_some(), "{refused}");

        let key: uuid::Uuid = world.account.key_id.parse().unwrap();
        let change = ChangeKeyBody {
            is_active: Change::To(false),
            ..ChangeKeyBody::default()
        };
        let changed = api.keys().change_key(key, &change).await.unwrap();
        assert_eq!((changed.is_active, changed.name.as_str()), (false, "tests"));
        api.keys().delete_key(key).await.unwrap();
        let gone = api.keys().get_key(key).await.unwrap_err();
        assert_eq!(gone.refusal().map(|refusal| refusal.status()), Some(404));
    });
}

/// Asks so many times: an account may ask 60 times at once, and then 5 times a second.
async fn explain_often(api: &Api, times: u32) -> Result<(), Error> {
    for _ in 0..times {
        api.proxy().explain(&ExplainQuery::default()).await?;
    }
    Ok(())
}

#[test]
fn who_is_told_to_wait_waits_as_long_as_the_server_says() {
    let world = World::start_with(Settings::with_places(&[]));
    run(async {
        let builder = || Api::builder(&format!("http://{}", world.ready.api));
        let key = world.account.key.as_str();
        let impatient = builder().retries(Retries::NONE).build().unwrap().with_token(key);
        let error = explain_often(&impatient, 10_000).await.unwrap_err();
        let refusal = error.refusal().unwrap();
        assert_eq!(refusal.status(), 429, "{error}");
        assert!(refusal.retry_after.is_some(), "{error}");
        let most = Retries {
            most: 20,
            within: PATIENCE,
        };
        let patient = builder().retries(most).build().unwrap().with_token(key);
        explain_often(&patient, 75).await.unwrap();
    });
}

#[test]
fn events_arrive_as_they_happen() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    run(async {
        let api = signed_in(&world).await;
        let mut events = api.live().live(&Default::default()).await.unwrap();
        let customer = customer(&world, "http", &world.account.key);
        let answer = customer.get(&world.origin.url("/bytes/10")).await.unwrap();
        let request = answer.told.request_id.unwrap().to_string();
        answer.bytes(100).await.unwrap();
        let mut heard = String::new();
        while !heard.contains(&request) {
            let piece = events.next().await.unwrap().expect("the events go on");
            heard += &String::from_utf8_lossy(&piece);
        }
    });
}
