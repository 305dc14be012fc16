//! Holds every answer against the OpenAPI document: its status, its media type, and each field of its body.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, PASSWORD};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(iploop_api::openapi()).unwrap());

/// Operations and statuses seen since the process started, as `GET /path 200`.
static SEEN: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(Mutex::default);

/// Operations that succeeded and left a record for admins, as `PUT /path`.
static RECORDED: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(Mutex::default);

/// Whether an admin changes something by this operation.
pub(crate) fn is_act_of_admins(method: &Method, path: &str) -> bool {
    let is_for_admins = path.starts_with("/api/admin/") || path.starts_with("/api/partners");
    is_for_admins && *method != Method::GET
}

/// Panics if a documented operation answered otherwise than documented.
pub(crate) fn check(method: &Method, path: &str, answer: &Answer, is_recorded: bool) {
    let method = method.as_str().to_lowercase();
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let Some((template, operation)) = paths
        .iter()
        .filter(|(template, _)| matches(template, path))
        // A literal path wins over a template.
        .min_by_key(|(template, _)| template.matches('{').count())
        .and_then(|(template, item)| Some((template, item.get(&method)?)))
    else {
        return;
    };
    let status = answer.status.as_u16().to_string();
    let what = format!("{} {template} {status}", method.to_uppercase());
    let documented = operation["responses"]
        .get(&status)
        .unwrap_or_else(|| panic!("{what} is not documented: {}", answer.text));
    SEEN.lock().insert(what.clone());
    if is_recorded && answer.status.is_success() {
        RECORDED
            .lock()
            .insert(format!("{} {template}", method.to_uppercase()));
    }
    let Some(contents) = documented.get("content") else {
        assert_eq!(answer.text, "", "{what}: no body is documented");
        return;
    };
    let media = answer.header("content-type").split(';').next().unwrap();
    let content = contents
        .get(media)
        .unwrap_or_else(|| panic!("{what}: {media} is not documented"));
    if media == "application/json" || media.ends_with("+json") {
        conforms(&content["schema"], &answer.json(), &what);
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template
            .iter()
            .zip(&path)
            .all(|(part, given)| part.starts_with('{') || part == given)
}

/// A small part of JSON Schema: what our document uses.
fn conforms(schema: &Value, value: &Value, at: &str) {
    // JSON Schema: no condition, any value.
    if schema.as_object().is_some_and(serde_json::Map::is_empty) {
        return;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        let schema = DOCUMENT["components"]["schemas"]
            .get(name)
            .unwrap_or_else(|| panic!("{at}: {reference} dangles"));
        return conforms(schema, value, at);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let choice = choices
            .iter()
            .find(|choice| (choice["type"] == "null") == value.is_null());
        return conforms(
            choice.unwrap_or_else(|| panic!("{at}: none of the choices")),
            value,
            at,
        );
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let merged = parts
            .iter()
            .map(resolved)
            .fold(json!({"type": "object", "properties": {}, "required": []}), merge);
        return conforms(&merged, value, at);
    }
    if let Some(names) = schema["enum"].as_array() {
        assert!(names.contains(value), "{at}: {value} is none of {names:?}");
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => panic!("{at}: no type in {schema}"),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is_integer_for_number = kind == "integer" && kinds.contains(&"number");
    assert!(
        kinds.contains(&kind) || is_integer_for_number,
        "{at}: {value} is no {kinds:?}"
    );
    match value {
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(n, item)| conforms(&schema["items"], item, &format!("{at}[{n}]")));
        }
        Value::Object(fields) => {
            for name in schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                assert!(fields.contains_key(name), "{at}: {name} is missing");
            }
            for (name, field) in fields {
                let at = format!("{at}.{name}");
                let property = schema["properties"]
                    .get(name)
                    .or_else(|| schema.get("additionalProperties"));
                conforms(
                    property.unwrap_or_else(|| panic!("{at} is not documented")),
                    field,
                    &at,
                );
            }
        }
        _ => {}
    }
}

fn resolved(schema: &Value) -> Value {
    let name = schema["$ref"]
        .as_str()
        .and_then(|reference| reference.rsplit('/').next());
    name.map_or_else(
        || schema.clone(),
        |name| DOCUMENT["components"]["schemas"][name].clone(),
    )
}

fn merge(mut all: Value, part: Value) -> Value {
    for (name, property) in part["properties"].as_object().into_iter().flatten() {
        all["properties"][name] = property.clone();
    }
    let required = part["required"].as_array().cloned().unwrap_or_default();
    all["required"].as_array_mut().unwrap().extend(required);
    all
}

/// Every operation once at least, so that it succeeds.
async fn visit_everything() {
    let api = Api::new().await;
    let login = api.register("ada@example.com").await;
    let (token, csrf) = (
        login["token"].as_str().unwrap(),
        login["csrfToken"].as_str().unwrap(),
    );
    assert_ne!(csrf, "");
    let verify = api.mail_token().await;
    api.get(&format!("/api/auth/verify-email?token={verify}"))
        .header("accept", "text/html")
        .send()
        .await;
    api.post("/api/auth/resend-verification")
        .bearer(token)
        .send()
        .await;
    let verify = api.mail_token().await;
    api.post("/api/auth/verify-email")
        .json(&json!({"token": verify}))
        .send()
        .await;
    for path in ["/api/proxy/keys", "/api/auth/api-keys"] {
        let key = api
            .post(path)
            .bearer(token)
            .json(&json!({"name": "one"}))
            .send()
            .await
            .json();
        let one = format!("{path}/{}", key["id"].as_str().unwrap());
        api.get(path).bearer(token).send().await;
        api.get(&one).bearer(token).send().await;
        api.call(Method::PATCH, &one)
            .bearer(token)
            .json(&json!({"isActive": false}))
            .send()
            .await;
        let whitelist = format!("{one}/whitelist");
        api.call(Method::PUT, &whitelist)
            .bearer(token)
            .json(&json!({"ips": ["192.0.2.1"]}))
            .send()
            .await;
        api.call(Method::DELETE, &one).bearer(token).send().await;
    }
    for path in [
        "/healthz",
        "/readyz",
        "/api/auth/profile",
        "/api/proxy/endpoint",
        "/api/proxy/explain",
        "/api/proxy/locations",
        "/api/nodes/stats",
        "/api/usage/summary",
        "/api/usage/recent",
        "/api/usage/requests",
        "/api/usage/requests/export",
        "/api/usage/requests/export?format=ndjson",
    ] {
        api.get(path).bearer(token).send().await;
    }
    crate::addresses::visit_everything(&api, token).await;
    let account = login["user"]["id"].as_str().unwrap().parse().unwrap();
    let request = crate::requests::some_request(&api, account).await;
    api.get(&format!("/api/usage/requests/{request}"))
        .bearer(token)
        .send()
        .await;
    crate::webhooks::visit_everything(&api, token, account).await;
    crate::notifications::visit_everything(&api, token, account).await;
    let growth = api.token_on("Growth", "grace@example.com").await;
    let sessions = "/api/proxy/sessions";
    let body = json!({"targeting": "session-a"});
    api.post(sessions).bearer(&growth).json(&body).send().await;
    api.get(sessions).bearer(&growth).send().await;
    let one = format!("{sessions}/a");
    api.get(&one).bearer(&growth).send().await;
    api.post(&format!("{one}/rotate")).bearer(&growth).send().await;
    api.call(Method::DELETE, &one).bearer(&growth).send().await;
    api.call(Method::DELETE, sessions).bearer(&growth).send().await;
    api.post("/api/auth/forgot-password")
        .json(&json!({"email": "ada@example.com"}))
        .send()
        .await;
    let reset = api.mail_token().await;
    api.get(&format!("/api/auth/verify-reset-token?token={reset}"))
        .send()
        .await;
    api.get(&format!("/api/auth/reset-password?token={reset}"))
        .send()
        .await;
    api.post("/api/auth/reset-password")
        .json(&json!({"token": reset, "password": PASSWORD}))
        .send()
        .await;
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    let token = api.post("/api/auth/login").json(&body).send().await.json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let body = json!({"currentPassword": PASSWORD, "newPassword": "another one"});
    let changed = api
        .call(Method::PUT, "/api/auth/password")
        .bearer(&token)
        .json(&body)
        .send()
        .await
        .json();
    api.post("/api/auth/logout")
        .bearer(changed["token"].as_str().unwrap())
        .send()
        .await;
    // Of the password, set twice.
    for _ in 0..2 {
        api.mail().await;
    }
    let (_, admin) = api.admin().await;
    api.get("/api/billing/transactions").bearer(&admin).send().await;
    api.post("/api/partners")
        .bearer(&admin)
        .json(&json!({"name": "Acme"}))
        .send()
        .await;
    crate::admin::visit_everything(&api, &admin).await;
    crate::notifications::visit_announcements(&api, &admin).await;
    crate::leaving::visit_everything(&api).await;
    crate::statistics::visit_everything(&api, &admin).await;
    crate::live::visit_everything().await;
    crate::trial::visit_everything().await;
    crate::support::visit_everything(&api, &growth, &admin).await;
    crate::payments::visit_everything().await;
    crate::errands::visit_everything().await;
    crate::partners::visit_everything(&api, &admin).await;
    crate::owners::visit_everything(&api, &admin).await;
}

#[tokio::test]
async fn every_documented_operation_answers_with_its_success() {
    visit_everything().await;
    let seen = SEEN.lock();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let statuses = operation["responses"].as_object().unwrap().keys();
            for status in statuses.filter(|status| status.starts_with('2')) {
                let what = format!("{} {path} {status}", method.to_uppercase());
                assert!(seen.contains(&what), "{what} was not seen");
            }
        }
    }
}

#[tokio::test]
async fn every_act_of_admins_is_on_record() {
    visit_everything().await;
    let recorded = RECORDED.lock();
    let (mut acts, mut missing) = (0, Vec::new());
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for name in item.as_object().unwrap().keys() {
            let name = name.to_uppercase();
            if is_act_of_admins(&Method::from_bytes(name.as_bytes()).unwrap(), path) {
                let what = format!("{name} {path}");
                acts += 1;
                if !recorded.contains(&what) {
                    missing.push(what);
                }
            }
        }
    }
    assert!(missing.is_empty(), "no record of {missing:#?}");
    assert!(acts > 30, "only {acts}");
}

#[tokio::test]
async fn the_document_is_served_and_is_openapi_3_1_with_unique_operation_ids() {
    let answer = Api::new().await.get("/api/openapi.json").send().await;
    assert_eq!(answer.json(), *DOCUMENT);
    assert!(DOCUMENT["openapi"].as_str().unwrap().starts_with("3.1."));
    let paths = DOCUMENT["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|item| item.as_object().unwrap().values());
    let ids: Vec<&str> = operations
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
}

#[test]
fn every_answer_is_described() {
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let text = answer["description"].as_str().unwrap_or_default();
                assert_ne!(text, "", "{method} {path} {status}: OpenAPI wants a description");
            }
        }
    }
}

#[test]
fn a_default_is_a_value_of_its_own_schema() {
    fn look(schema: &Value, at: &str) {
        if let Some(default) = schema.get("default") {
            conforms(schema, default, at);
        }
        match schema {
            Value::Array(parts) => parts.iter().for_each(|part| look(part, at)),
            Value::Object(fields) => fields
                .iter()
                .for_each(|(name, part)| look(part, &format!("{at}/{name}"))),
            _ => {}
        }
    }
    look(&DOCUMENT, "");
}

#[test]
fn the_operations_of_the_document() {
    let mut lines = String::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let statuses: Vec<&str> = operation["responses"]
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            lines.push_str(&format!(
                "{:<6} {path}: {}\n",
                method.to_uppercase(),
                statuses.join(" ")
            ));
        }
    }
    insta::assert_snapshot!(lines);
}

#[test]
fn the_document_in_the_documentation_is_that_of_the_code() {
    let page: Value = serde_json::from_str(include_str!("../../../../docs/openapi.json")).unwrap();
    assert!(
        page == *DOCUMENT,
        "docs/openapi.json is stale; run: cargo xtask api"
    );
}
