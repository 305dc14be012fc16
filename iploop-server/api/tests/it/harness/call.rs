//! Requests to the API and their answers.

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{HeaderMap, Method, Request, StatusCode};
use iploop_platform::abuse::AuditQuery;
use iploop_platform::ids::AuditId;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::Api;
use crate::documented;

impl Api {
    pub(crate) fn get(&self, path: &str) -> Call<'_> {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call<'_> {
        self.call(Method::POST, path)
    }

    /// The newest of what is on record.
    async fn newest_record(&self) -> Option<AuditId> {
        let newest = AuditQuery {
            limit: 1,
            ..AuditQuery::default()
        };
        // A test may have ended the store.
        let records = self.store.audit_entries(&newest).await.ok()?;
        records.first().map(|record| record.id)
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call<'_> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "iploop.test")
            .body(Body::empty())
            .unwrap();
        Call {
            api: self,
            request,
            client: "192.0.2.1".parse().unwrap(),
        }
    }
}

/// A request in the making.
pub(crate) struct Call<'a> {
    api: &'a Api,
    request: Request<Body>,
    client: IpAddr,
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.request.headers_mut().append(name, value.parse().unwrap());
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn client(mut self, address: &str) -> Self {
        self.client = address.parse().unwrap();
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .body(body.to_string())
    }

    pub(crate) fn form(self, body: &str) -> Self {
        self.header("content-type", "application/x-www-form-urlencoded")
            .body(body.to_owned())
    }

    pub(crate) fn body(mut self, body: impl Into<Body>) -> Self {
        *self.request.body_mut() = body.into();
        self
    }

    pub(crate) async fn send(mut self) -> Answer {
        self.request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::new(self.client, 4242)));
        let method = self.request.method().clone();
        let path = self.request.uri().path().to_owned();
        let is_act = documented::is_act_of_admins(&method, &path);
        let record = if is_act {
            self.api.newest_record().await
        } else {
            None
        };
        let response = self.api.router.clone().oneshot(self.request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        };
        let is_recorded = is_act && self.api.newest_record().await != record;
        documented::check(&method, &path, &answer, is_recorded);
        answer
    }
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and code of a problem document.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{}",
            self.text
        );
        let body = self.json();
        assert_eq!(body["status"], self.status.as_u16());
        assert_eq!(body["request_id"], self.header("x-iploop-request-id"));
        (self.status.as_u16(), body["code"].as_str().unwrap().to_owned())
    }

    /// Status and body with everything random replaced, for snapshots.
    pub(crate) fn stable(&self) -> String {
        let mut body = self.json();
        stabilise(&mut body);
        format!(
            "{}\n{}",
            self.status,
            serde_json::to_string_pretty(&body).unwrap()
        )
    }
}

fn stabilise(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match name.as_str() {
                    "token" | "csrfToken" | "keyPrefix" | "key" | "apiKeyPrefix" | "challenge" => {
                        *field = json!(format!("[{name}]"))
                    }
                    "id" | "request_id" | "username" => *field = json!("[uuid]"),
                    _ => stabilise(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(stabilise),
        _ => {}
    }
}

/// Asks for something, signed in.
pub(crate) async fn get(api: &Api, token: &str, path: &str) -> Answer {
    api.get(path).bearer(token).send().await
}

/// Sends something, signed in.
pub(crate) async fn send(api: &Api, token: &str, method: Method, path: &str, body: Value) -> Answer {
    api.call(method, path).bearer(token).json(&body).send().await
}
