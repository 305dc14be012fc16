//! Whoever asks does not learn whether an address has an account: the answers are the same, and so is the work before them.
//!
//! Nothing here measures time. What costs time is counted: password hashes, and acts of the database.

use std::pin::pin;

use http::{Method, StatusCode};
use iploop_platform::account::AccountStatus;
use iploop_platform::ids::{AccountId, HoldId};
use iploop_platform::notices::Notice;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, Call, PASSWORD};

/// What was done before the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Work {
    hashes: u64,
    acts: u64,
}

/// Counts only what the request itself sets off, whatever tasks run beside it.
async fn counted(call: Call<'_>) -> (Answer, Work) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let mut answer = pin!(call.send());
    let answer = std::future::poll_fn(|context| {
        metrics::with_local_recorder(&recorder, || answer.as_mut().poll(context))
    })
    .await;
    let counted = recorder.handle().render();
    let number = |name: &str| {
        let line = counted.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |number| number.trim().parse().unwrap())
    };
    let work = Work {
        hashes: number("iploop_password_hashes_total "),
        acts: number("iploop_database_acts_total "),
    };
    (answer, work)
}

/// One account of each kind that a stranger could tell apart, and an address that has none.
async fn everybody(api: &Api) -> Vec<&'static str> {
    api.token("plain@example.com").await;
    let verified = api.token_on("Starter", "verified@example.com").await;
    let allow_list = json!({"ipAllowList": ["192.0.2.0/24"]});
    let path = "/api/auth/security";
    let listed = api.call(Method::PATCH, path).bearer(&verified).json(&allow_list);
    assert_eq!(listed.send().await.status, StatusCode::OK);
    let suspended = api.register("suspended@example.com").await;
    let account: AccountId = suspended["user"]["id"].as_str().unwrap().parse().unwrap();
    let (_, admin) = api.admin().await;
    let suspend = api.post(&format!("/api/admin/accounts/{account}/suspend"));
    let suspend = suspend.bearer(&admin).json(&json!({"reason": "a test"}));
    assert!(suspend.send().await.status.is_success());
    let gone = api.token("gone@example.com").await;
    let farewell = json!({"password": PASSWORD, "confirmEmail": "gone@example.com"});
    let farewell = api
        .call(Method::DELETE, "/api/auth/account")
        .bearer(&gone)
        .json(&farewell);
    assert!(farewell.send().await.status.is_success());
    assert_eq!(
        api.store.account(account).await.unwrap().unwrap().status,
        AccountStatus::Suspended
    );
    vec![
        "nobody@example.com",
        "plain@example.com",
        "VERIFIED@example.com",
        "suspended@example.com",
        "gone@example.com",
    ]
}

/// The answer as far as it may depend on the address.
fn shown(answer: &Answer) -> (StatusCode, Vec<String>, String) {
    let mut names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
    names.sort_unstable();
    (answer.status, names, answer.stable())
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_are_answered_after_the_same_work() {
    let api = Api::new().await;
    let mut seen = Vec::new();
    for email in everybody(&api).await {
        let body = json!({"email": email, "password": "a wrong password"});
        let (answer, work) = counted(api.post("/api/auth/login").json(&body)).await;
        assert_eq!(
            answer.problem(),
            (401, "invalid_credentials".to_owned()),
            "{email}"
        );
        seen.push((email, shown(&answer), work));
    }
    let (_, answer, work) = seen[0].clone();
    assert_eq!(work.hashes, 1, "also where there is none to compare with");
    for other in &seen {
        assert_eq!((&other.1, other.2), (&answer, work), "{}", other.0);
    }
}

#[tokio::test]
async fn asking_for_a_new_password_says_and_does_the_same_for_every_address() {
    let api = Api::new().await;
    let everybody = everybody(&api).await;
    while !api.no_mail_is_queued().await {}
    let mut seen = Vec::new();
    for email in &everybody {
        let body: Value = json!({ "email": email });
        let (answer, work) = counted(api.post("/api/auth/forgot-password").json(&body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        seen.push((shown(&answer), work));
    }
    let (answer, work) = seen[0].clone();
    assert_eq!(
        work,
        Work { hashes: 0, acts: 1 },
        "one note, which nobody looked up yet"
    );
    assert!(
        seen.iter().all(|other| *other == (answer.clone(), work)),
        "{seen:?}"
    );
    let now = iploop_platform::clock::Clock::now(&*api.clock);
    let waiting = api.store.claim_mails(now, HoldId::new(), now, 50).await.unwrap();
    assert!(waiting.is_empty(), "no mail before the answer");

    assert_eq!(
        api.notices.answer_requests().await.unwrap(),
        everybody.len() as u64
    );
    let mails = api.store.claim_mails(now, HoldId::new(), now, 50).await.unwrap();
    assert!(mails.iter().all(|mail| mail.notice == Notice::PasswordReset));
    assert_eq!(mails.len(), 2, "those that may sign in");
}
