//! A server that has a dashboard shows it, and nothing else of its disk.

use std::fs;

use http::{Method, StatusCode};
use tempfile::TempDir;

use crate::harness::{Answer, Api, Settings};

const PAGE: &str = "<!doctype html><title>IPLoop</title>";

/// A dashboard in a folder, with a secret beside it.
async fn with_dashboard() -> (Api, TempDir) {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("dist");
    fs::create_dir_all(folder.join("assets")).unwrap();
    fs::write(place.path().join("secret"), "secret").unwrap();
    for (name, text) in [
        ("index.html", PAGE),
        ("theme.js", "theme"),
        ("assets/index-4f2a.js", "script"),
        ("assets/index-4f2a.js.br", "in brotli"),
        ("assets/index-4f2a.css", "style"),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    let api = Api::with(Settings {
        dashboard: Some(folder),
        ..Settings::default()
    })
    .await;
    (api, place)
}

/// As a browser asks for a page.
async fn look(api: &Api, path: &str) -> Answer {
    let accept = "text/html,application/xhtml+xml,*/*;q=0.8";
    api.get(path).header("accept", accept).send().await
}

#[tokio::test]
async fn every_address_that_is_nobody_elses_opens_the_page() {
    let (api, _place) = with_dashboard().await;
    for path in [
        "/",
        "/login",
        "/api-keys",
        "/settings?tab=security",
        "/index.html",
    ] {
        let page = look(&api, path).await;
        assert_eq!(
            (page.status, page.text.as_str()),
            (StatusCode::OK, PAGE),
            "{path}"
        );
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("cache-control"), "no-cache");
        assert_eq!(page.header("x-frame-options"), "DENY");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        let policy = page.header("content-security-policy");
        assert!(
            policy.contains("script-src 'self';") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    }
    assert_eq!(
        api.get("/").send().await.text,
        PAGE,
        "also for programs that name no type"
    );
}

#[tokio::test]
async fn what_the_server_draws_itself_stays_as_it_is() {
    let (api, _place) = with_dashboard().await;
    let status = look(&api, "/status").await;
    assert!(status.text.contains("<title>Status"), "{}", status.text);
    assert!(
        look(&api, "/api/auth/verify-email?token=x")
            .await
            .text
            .contains("The link is not valid")
    );
    assert!(look(&api, "/style.css").await.text.contains("color-scheme"));
    for path in ["/api", "/api/", "/api/nothing", "/api/auth/loginx"] {
        let answer = look(&api, path).await;
        assert_eq!(answer.problem(), (404, "not_found".to_owned()), "{path}");
    }
    let elsewhere = api.post("/login").header("accept", "text/html").send().await;
    assert_eq!(elsewhere.problem(), (404, "not_found".to_owned()));
    let posted = api.post("/").send().await;
    assert_eq!(posted.problem(), (405, "method_not_allowed".to_owned()));
    assert_eq!(
        api.get("/nothing").send().await.problem(),
        (404, "not_found".to_owned()),
        "programs that look for no page hear that there is nothing"
    );
}

#[tokio::test]
async fn assets_are_kept_for_good_and_the_rest_is_asked_for_again() {
    let (api, _place) = with_dashboard().await;
    let script = api.get("/assets/index-4f2a.js").send().await;
    assert_eq!((script.status, script.text.as_str()), (StatusCode::OK, "script"));
    assert_eq!(script.header("content-type"), "text/javascript");
    assert_eq!(
        script.header("cache-control"),
        "public, max-age=31536000, immutable"
    );
    let style = api.get("/assets/index-4f2a.css").send().await;
    assert_eq!(style.header("content-type"), "text/css");
    let small = api
        .get("/assets/index-4f2a.js")
        .header("accept-encoding", "gzip, br")
        .send()
        .await;
    assert_eq!(
        (small.header("content-encoding"), small.text.as_str()),
        ("br", "in brotli")
    );

    let theme = api.get("/theme.js").send().await;
    assert_eq!(theme.header("cache-control"), "no-cache");
    let again = api
        .get("/theme.js")
        .header("if-none-match", theme.header("etag"))
        .send()
        .await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);

    let gone = look(&api, "/assets/index-0000.js").await;
    assert_eq!(gone.problem(), (404, "not_found".to_owned()));
    let head = api.call(Method::HEAD, "/theme.js").send().await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
}

#[tokio::test]
async fn no_path_leads_out_of_the_folder() {
    let (api, _place) = with_dashboard().await;
    for path in [
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/assets/../../secret",
        "/assets/%2e%2e/%2e%2e/secret",
        "/..%5csecret",
        "//secret",
        "/%00",
        "/assets",
        "/assets/",
        "/dist/../../secret",
    ] {
        for accept in ["*/*", "text/html"] {
            let answer = api.get(path).header("accept", accept).send().await;
            assert!(!answer.text.contains("secret"), "{path}: {}", answer.text);
            let is_harmless = answer.text == PAGE || answer.status == StatusCode::NOT_FOUND;
            assert!(is_harmless, "{path}: {}", answer.status);
        }
    }
}
