//! One request to Stripe: a form out, JSON in.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use iploop_platform::billing::ProviderError;
use iploop_platform::outbound::{Outbound, OutboundClient, Reach, Target};
use iploop_platform::secret::Secret;
use serde_json::Value;
use tokio::time::sleep;

use crate::API_VERSION;
use crate::provider::StripeError;

/// Longest time that one request may take, connecting included. Somebody waits for it in a browser.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of an answer: a page of invoices with their lines.
const ANSWER_LIMIT: usize = 4 * 1024 * 1024;
/// Stripe's word for a call under whose key another one is under way.
const TWIN: &str = "idempotency_key_in_use";
/// How long to wait for that one, and how often.
const WAIT_FOR_TWIN: Duration = Duration::from_millis(400);
const WAITS_FOR_TWIN: u32 = 8;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Which version of its API Stripe answers in.
const VERSION: HeaderName = HeaderName::from_static("stripe-version");

/// Fields of a form, in their order.
pub(crate) type Form<'a> = Vec<(&'a str, String)>;

pub(crate) struct Client {
    outbound: OutboundClient,
    base: String,
    headers: HeaderMap,
}

impl Client {
    pub(crate) fn new(base: &str, key: &Secret, outbound: OutboundClient) -> Result<Self, StripeError> {
        Target::parse(base).map_err(|_| StripeError::Base)?;
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {}", key.expose())).map_err(|_| StripeError::Key)?;
        authorization.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(VERSION, HeaderValue::from_static(API_VERSION));
        Ok(Self {
            outbound,
            base: base.trim_end_matches('/').to_owned(),
            headers,
        })
    }

    /// `key`: the same again does nothing anew for 24 hours.
    pub(crate) async fn post(
        &self,
        path: &str,
        form: &Form<'_>,
        key: Option<&str>,
    ) -> Result<Value, ProviderError> {
        let mut headers = self.headers.clone();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        if let Some(key) = key {
            headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(key).map_err(refused)?);
        }
        let form = encode(form)?;
        // The same call may be under way, of another process or of a double click: its answer is ours too.
        for _ in 0..WAITS_FOR_TWIN {
            match self.send(Method::POST, path, headers.clone(), form.clone()).await {
                Err(ProviderError::Unavailable(reason)) if reason.contains(TWIN) => {
                    sleep(WAIT_FOR_TWIN).await
                }
                other => return other,
            }
        }
        self.send(Method::POST, path, headers, form).await
    }

    pub(crate) async fn get(&self, path: &str, query: &Form<'_>) -> Result<Value, ProviderError> {
        self.get_by(API_VERSION, path, query).await
    }

    /// In another version of the API.
    pub(crate) async fn get_by(
        &self,
        version: &'static str,
        path: &str,
        query: &Form<'_>,
    ) -> Result<Value, ProviderError> {
        let path = if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{}", encode(query)?)
        };
        let mut headers = self.headers.clone();
        headers.insert(VERSION, HeaderValue::from_static(version));
        self.send(Method::GET, &path, headers, String::new()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value, ProviderError> {
        self.send(Method::DELETE, path, self.headers.clone(), String::new())
            .await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        form: String,
    ) -> Result<Value, ProviderError> {
        let request = Outbound {
            target: Target::parse(&format!("{}{path}", self.base)).map_err(refused)?,
            reach: Reach::Operator,
            method,
            headers,
            body: Bytes::from(form),
            timeout: TIMEOUT,
            answer_limit: ANSWER_LIMIT,
        };
        let answer = self.outbound.send(request).await;
        let answer = answer.map_err(|error| ProviderError::Unavailable(error.to_string()))?;
        let status = answer.status;
        let body: Value = serde_json::from_slice(&answer.body)
            .map_err(|error| ProviderError::Unavailable(format!("status {status}, {error}")))?;
        if (200..300).contains(&status) {
            Ok(body)
        } else {
            Err(refusal(status, &body["error"]))
        }
    }
}

/// What Stripe's error means: its types are `card_error`, `invalid_request_error`, `idempotency_error` and `api_error`.
fn refusal(status: u16, error: &Value) -> ProviderError {
    let message = error["message"].as_str().unwrap_or("no reason given");
    let message: String = message.chars().take(200).collect();
    match error["type"].as_str() {
        Some("card_error") => ProviderError::Declined(message.trim_end_matches('.').to_owned()),
        _ if status >= 500 || matches!(status, 409 | 429) => {
            let code = error["code"].as_str().unwrap_or("no_code");
            ProviderError::Unavailable(format!("status {status} {code}: {message}"))
        }
        _ => {
            let code = error["code"].as_str().unwrap_or("no_code");
            ProviderError::Refused(format!("status {status} {code}: {message}"))
        }
    }
}

fn encode(form: &Form<'_>) -> Result<String, ProviderError> {
    serde_urlencoded::to_string(form).map_err(refused)
}

fn refused(error: impl std::fmt::Display) -> ProviderError {
    ProviderError::Refused(error.to_string())
}
