//! The status page and the health checks.

use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;
use iploop_api::ReadyCheck;
use iploop_platform::network::{CityPresence, CountryPresence};
use serde_json::json;

use crate::harness::{Api, Settings};

#[tokio::test]
async fn the_status_page_shows_what_runs() {
    let api = Api::new().await;
    let page = api.get("/").send().await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    insta::assert_snapshot!("status_page", page.text.replace('>', ">\n"));
    let style = api.get("/style.css").send().await;
    assert!(style.text.contains("prefers-color-scheme: dark"));
}

#[tokio::test]
async fn names_from_outside_never_become_markup() {
    let city = CityPresence {
        city: "<script>alert(1)</script>".to_owned(),
        nodes: 1,
    };
    let place = CountryPresence {
        country: "AT".to_owned(),
        nodes: 1,
        cities: vec![city],
    };
    let api = Api::with(Settings {
        locations: vec![place],
        ..Settings::default()
    })
    .await;
    let page = api.get("/").send().await.text;
    assert!(
        page.contains("&lt;script&gt;alert(1)") && !page.contains("<script"),
        "{page}"
    );
    let link = api
        .get("/api/auth/verify-email?token=%22%3E%3Cscript%3E")
        .header("accept", "text/html")
        .send()
        .await;
    assert_eq!(link.status, StatusCode::BAD_REQUEST);
    assert!(!link.text.contains("<script"));
}

#[tokio::test]
async fn a_network_without_devices_says_so() {
    let api = Api::with(Settings {
        locations: Vec::new(),
        ..Settings::default()
    })
    .await;
    for path in ["/", "/status"] {
        let page = api.get(path).send().await;
        assert!(page.text.contains("No device is online."), "{path}");
    }
}

/// A part that works or does not.
struct Part(Result<(), String>);

#[async_trait]
impl ReadyCheck for Part {
    fn name(&self) -> &'static str {
        "hub"
    }

    async fn check(&self) -> Result<(), String> {
        self.0.clone()
    }
}

/// A part that never answers.
struct Stuck;

#[async_trait]
impl ReadyCheck for Stuck {
    fn name(&self) -> &'static str {
        "stuck"
    }

    async fn check(&self) -> Result<(), String> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn readiness_names_its_parts_and_keeps_reasons_to_the_log() {
    let ready = Api::with(Settings {
        ready_checks: vec![Arc::new(Part(Ok(())))],
        ..Settings::default()
    })
    .await;
    let answer = ready.get("/readyz").send().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json(),
        json!({"status": "ready", "parts": {"store": "ok", "hub": "ok"}})
    );

    let broken = Part(Err("10.1.2.3 is gone".to_owned()));
    let api = Api::with(Settings {
        ready_checks: vec![Arc::new(broken)],
        ..Settings::default()
    })
    .await;
    let answer = api.get("/readyz").send().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        answer.json(),
        json!({"status": "not_ready", "parts": {"store": "ok", "hub": "unavailable"}})
    );
    assert_eq!(
        api.get("/healthz").send().await.json()["status"],
        "ok",
        "alive all the same"
    );
}

/// A part that the process can do without, and has to.
struct Spare;

#[async_trait]
impl ReadyCheck for Spare {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn is_needed(&self) -> bool {
        false
    }

    async fn check(&self) -> Result<(), String> {
        Err("gone".to_owned())
    }
}

#[tokio::test]
async fn a_process_that_can_do_without_a_part_is_ready_without_it() {
    let api = Api::with(Settings {
        ready_checks: vec![Arc::new(Spare)],
        ..Settings::default()
    })
    .await;
    let answer = api.get("/readyz").send().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json(),
        json!({"status": "ready", "parts": {"store": "ok", "redis": "degraded"}})
    );
}

#[tokio::test]
async fn a_part_that_never_answers_is_not_ready() {
    let api = Api::with(Settings {
        ready_checks: vec![Arc::new(Stuck)],
        ..Settings::default()
    })
    .await;
    // Not before the database is open: its own waits would run out in paused time.
    tokio::time::pause();
    let answer = api.get("/readyz").send().await;
    assert_eq!(answer.json()["parts"]["stuck"], "unavailable");
}

#[tokio::test]
async fn a_process_that_ends_takes_no_more_traffic() {
    let api = Api::new().await;
    api.draining.cancel();
    let answer = api.get("/readyz").send().await;
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("draining"))
    );
}
