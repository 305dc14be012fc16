//! Requests through the proxy by the library.

use bytes::Bytes;
use iploop_client::api::keys::{ChangeKeyBody, Limits};
use iploop_client::http::{Method, Request};
use iploop_client::proxy::Answer;
use iploop_client::targeting::Targeting;
use iploop_client::{Customer, Error};
use serde_json::{Value, json};

use super::{api, customer, run};
use crate::harness::{Place, Settings, World};

/// Far more than any answer here has.
const PLENTY: usize = 1_000_000;

fn wishes(text: &str) -> Targeting {
    Targeting::parse(text).unwrap()
}

async fn read(answer: Answer) -> Value {
    assert_eq!(answer.status, 200);
    serde_json::from_slice(&answer.bytes(PLENTY).await.unwrap()).unwrap()
}

fn code(done: Result<Answer, Error>) -> (u32, String) {
    let error = done.unwrap_err();
    let refusal = error.refusal().unwrap_or_else(|| panic!("{error}"));
    assert!(
        !refusal.problem.request_id.is_nil() && !refusal.problem.detail.is_empty(),
        "{refusal:?}"
    );
    (refusal.status(), refusal.code().to_owned())
}

#[test]
fn http_and_https_leave_where_they_were_sent() {
    let world = World::start();
    run(async {
        for scheme in ["http", "https"] {
            let customer = customer(&world, scheme, &world.account.key);
            for url in [world.origin.url("/echo"), world.origin.https_url("/echo")] {
                for place in [Place::NEW_YORK, Place::TEL_AVIV] {
                    let there = customer.with(Targeting::builder().country(place.country).build().unwrap());
                    let answer = there.get(&url).await.unwrap();
                    let exit = answer.told.exit.clone();
                    assert_eq!(exit.country.as_deref(), Some(place.country), "{scheme} {url}");
                    assert_eq!(exit.city.as_deref(), Some(place.city));
                    assert_eq!(exit.asn, Some(place.asn));
                    assert!(answer.told.request_id.is_some());
                    let seen = read(answer).await;
                    assert_eq!(seen["ip"], place.address);
                    assert_eq!(exit.ip.map(|ip| ip.to_string()).as_deref(), Some(place.address));
                    let asked = seen.to_string().to_ascii_lowercase();
                    assert!(!asked.contains("proxy-") && !asked.contains("iploop"), "{asked}");
                }
            }
        }
    });
}

#[test]
fn a_body_goes_through_whole_and_an_answer_comes_back_whole() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    run(async {
        let customer = customer(&world, "http", &world.account.key);
        let body = crate::harness::pattern(200_000);
        for url in [world.origin.url("/echo"), world.origin.https_url("/echo")] {
            let request = Request::builder()
                .method(Method::POST)
                .uri(&url)
                .header("X-Own", "kept");
            let answer = customer
                .request(request.body(body.clone().into()).unwrap())
                .await
                .unwrap();
            let seen = read(answer).await;
            assert_eq!(seen["sha256"], crate::harness::sha256(&body));
            assert!(seen["fields"].to_string().contains("kept"), "{seen}");
        }
        let mut answer = customer
            .get(&world.origin.https_url("/chunked/300000"))
            .await
            .unwrap();
        let mut got = Vec::new();
        while let Some(piece) = answer.next().await.unwrap() {
            got.extend_from_slice(&piece);
        }
        assert!(got == crate::harness::pattern(300_000));
        let long = customer.get(&world.origin.url("/bytes/5000")).await.unwrap();
        assert!(matches!(long.bytes(4999).await, Err(Error::TooLong(4999))));
    });
}

#[test]
fn a_session_stays_until_it_is_told_to_move() {
    let world = World::start();
    run(async {
        let customer =
            customer(&world, "http", &world.account.key).with(wishes("session-cart-rotate-manual"));
        let first = customer.get(&world.origin.url("/echo")).await.unwrap();
        let (ip, session) = (first.told.exit.ip, first.told.session.clone());
        assert_eq!((session.as_deref(), first.told.is_rotated), (Some("cart"), false));
        for _ in 0..5 {
            let again = customer.get(&world.origin.https_url("/echo")).await.unwrap();
            assert_eq!(
                (again.told.exit.ip, again.told.session.as_deref()),
                (ip, Some("cart"))
            );
        }
        // By the header, in a tunnel too.
        let moved = customer
            .rotating()
            .get(&world.origin.https_url("/echo"))
            .await
            .unwrap();
        assert!(
            moved.told.is_rotated && moved.told.exit.ip != ip,
            "{:?}",
            moved.told
        );
        // By the API.
        let api = api(&world).with_token(world.account.key.as_str());
        api.sessions().rotate_session("cart").await.unwrap();
        let again = customer.get(&world.origin.url("/echo")).await.unwrap();
        assert!(
            again.told.is_rotated && again.told.exit.ip != moved.told.exit.ip,
            "{:?}",
            again.told
        );
        let stays = customer.get(&world.origin.url("/echo")).await.unwrap();
        assert_eq!(stays.told.exit.ip, again.told.exit.ip);
    });
}

#[test]
fn the_gateways_refusals_come_with_their_code_by_http_and_in_place_of_a_tunnel() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    run(async {
        let good = customer(&world, "http", &world.account.key);
        let stranger = customer(&world, "http", &format!("iploop_{}", "00".repeat(24)));
        let (plain, secure) = (world.origin.url("/echo"), world.origin.https_url("/echo"));
        for url in [&plain, &secure] {
            assert_eq!(
                code(stranger.get(url).await),
                (407, "credentials_invalid".to_owned())
            );
            let japan = good.with(wishes("country-JP"));
            assert_eq!(code(japan.get(url).await), (503, "no_exit".to_owned()));
        }
        for url in ["http://127.0.0.1/", "https://127.0.0.1/", "https://10.0.0.1/"] {
            assert_eq!(
                code(good.get(url).await),
                (403, "destination_forbidden".to_owned()),
                "{url}"
            );
        }
        // There is no content to say it in.
        let head = Request::builder().method(Method::HEAD).uri("http://127.0.0.1/");
        let error = good.request(head.body(Bytes::new()).unwrap()).await.unwrap_err();
        assert_eq!(error.code(), Some("destination_forbidden"));
    });
}

#[test]
fn a_used_up_key_says_so() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    run(async {
        let key = world.account.key_id.parse().unwrap();
        let api = api(&world).with_token(world.signed_in().token.unwrap());
        let change = ChangeKeyBody {
            limits: Some(Limits {
                bytes_total: 50_000_u64.into(),
                ..Limits::default()
            }),
            ..ChangeKeyBody::default()
        };
        api.keys().change_key(key, &change).await.unwrap();
        let customer = customer(&world, "http", &world.account.key);
        let broken = async {
            customer
                .get(&world.origin.url("/bytes/2000000"))
                .await?
                .bytes(3 * PLENTY)
                .await
        };
        let error = broken.await.unwrap_err();
        assert!(matches!(error, Error::Broken(_)), "{error}");
        for url in [world.origin.url("/echo"), world.origin.https_url("/echo")] {
            assert_eq!(
                code(customer.get(&url).await),
                (402, "key_quota_exceeded".to_owned())
            );
        }
    });
}

/// Asks until the gateway finds it too fast.
async fn until_too_fast(customer: &Customer, method: Method, url: &str) {
    loop {
        let request = Request::builder().method(method.clone()).uri(url);
        if let Err(error) = customer.request(request.body(Bytes::new()).unwrap()).await {
            assert_eq!(error.code(), Some("rate_limited"), "{error}");
            assert!(error.refusal().unwrap().retry_after.is_some(), "{error}");
            return;
        }
    }
}

#[test]
fn a_safe_request_that_was_refused_for_now_is_repeated_and_another_is_not() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let slow = json!({ "name": "slow", "limits": { "requestsPerSecond": 1 } });
    let made = world.signed_in().post("/api/proxy/keys", &slow).json();
    run(async {
        let url = world.origin.url("/echo");
        let impatient = customer(&world, "http", made["key"].as_str().unwrap());
        until_too_fast(&impatient, Method::GET, &url).await;
        let proxy = format!("http://{}", world.ready.proxy);
        let patient = Customer::builder(&proxy, impatient.login().clone())
            .build()
            .unwrap();
        for _ in 0..3 {
            patient.get(&url).await.unwrap();
        }
        until_too_fast(&patient, Method::POST, &url).await;
    });
}

#[test]
fn a_proxy_that_is_not_there_and_a_certificate_that_is_not_trusted_are_told_apart() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    run(async {
        let nobody = Customer::at("http://127.0.0.1:9", &world.account.key).unwrap();
        assert!(matches!(
            nobody.get("http://a.test/").await,
            Err(Error::Connect(_))
        ));
        let strict = Customer::at(&format!("http://{}", world.ready.proxy), &world.account.key).unwrap();
        let error = strict.get(&world.origin.https_url("/echo")).await.unwrap_err();
        assert!(matches!(error, Error::Destination(_)), "{error}");
        let strict = Customer::at(&format!("https://{}", world.ready.proxy), &world.account.key).unwrap();
        let error = strict.get(&world.origin.url("/echo")).await.unwrap_err();
        assert!(matches!(error, Error::Connect(_)), "{error}");
    });
}
