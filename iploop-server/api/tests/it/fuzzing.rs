//! Feeds every documented operation with paths, queries, bodies and logins that are made from its own schema, and bent.
//!
//! The promises: no answer is our fault (5xx), every status is documented ([`crate::documented`] holds that), nothing hangs.
//! `IPLOOP_FUZZ_CASES` sets the cases of each operation, `IPLOOP_FUZZ_SEED` where they start.

use std::fmt::Write as _;

use http::Method;
use serde_json::{Map, Value, json};

use crate::harness::{Api, PASSWORD, Settings, send};

/// Calls to one API before it is made anew: what was called may have locked everybody out.
const CALLS_PER_API: u64 = 100;

#[tokio::test]
async fn no_documented_operation_fails_or_surprises_whatever_it_is_sent() {
    let cases = number_from("IPLOOP_FUZZ_CASES", 25);
    let seed = number_from("IPLOOP_FUZZ_SEED", 1);
    let document = serde_json::to_value(iploop_api::openapi()).unwrap();
    let operations = operations(&document);
    let mut bench = Bench::new().await;
    let mut calls = 0;
    // All operations in turn, so that each meets what the others left behind.
    for case in 0..cases {
        for (number, (method, path, operation)) in operations.iter().enumerate() {
            if calls % CALLS_PER_API == 0 {
                bench = Bench::new().await;
            }
            calls += 1;
            let mut made = Maker {
                random: Random(seed ^ case << 20 ^ (number as u64) << 40),
                document: &document,
                known_ids: &bench.ids,
                is_hostile: true,
            };
            made.random.next();
            feed(&bench, &mut made, method, path, operation).await;
        }
    }
}

/// The operations of the document: method, path, description.
pub(crate) fn operations(document: &Value) -> Vec<(Method, &str, &Value)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            // Such an answer ends only with its login.
            if operation.to_string().contains("text/event-stream") {
                continue;
            }
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            operations.push((method, path.as_str(), operation));
        }
    }
    operations
}

/// An API with a customer, another one, an admin, a device owner and a partner's user.
pub(crate) struct Bench {
    pub(crate) api: Api,
    tokens: Vec<String>,
    pub(crate) ids: Vec<String>,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        // Without a way to pay most of those routes would only say so.
        let api = Api::with(Settings {
            provider: Some(crate::till::till()),
            ..Settings::default()
        })
        .await;
        let (admin, admin_token) = api.admin().await;
        let customer = api.register("ada@example.com").await;
        let other = api.token_on("Growth", "grace@example.com").await;
        let token = customer["token"].as_str().unwrap().to_owned();
        let key = crate::reading::new_key(&api, &token, json!({"name": "one"})).await;
        let ids = [&customer["user"]["id"], &key["id"], &json!(admin.id.to_string())]
            .map(|id| id.as_str().unwrap().to_owned())
            .to_vec();
        let (owner, _) = crate::owners::owner(&api, "owner@example.com").await;
        let (partner, acts) = (api.register("acme@example.com").await, json!({"name": "Acme"}));
        let acme = send(&api, &admin_token, Method::POST, "/api/partners", acts)
            .await
            .json();
        let users = format!("/api/partners/{}/users", acme["id"].as_str().unwrap());
        let link = json!({"accountId": partner["user"]["id"], "reason": "a test"});
        assert_eq!(
            send(&api, &admin_token, Method::POST, &users, link).await.status,
            204
        );
        let partner = partner["token"].as_str().unwrap().to_owned();
        let tokens = vec![admin_token, token, other, owner, partner];
        Self { api, tokens, ids }
    }

    /// Of somebody who may go there.
    pub(crate) fn token_for(&self, path: &str) -> &str {
        let who = [
            ("/api/admin/", 0),
            ("/api/partners", 0),
            ("/api/partner/", 4),
            ("/api/owner/", 3),
        ];
        let place = who.iter().find(|(area, _)| path.starts_with(area));
        &self.tokens[place.map_or(1, |(_, place)| *place)]
    }
}

async fn feed(bench: &Bench, made: &mut Maker<'_>, method: &Method, path: &str, operation: &Value) {
    let target = format!("{}{}", made.path(path), made.query(operation));
    let mut call = bench.api.call(method.clone(), &target);
    let login = match made.random.below(10) {
        0 => None,
        1 => Some("eyJhbGciOiJub25lIn0.e30.".to_owned()),
        2 => Some(bench.tokens[2].clone()),
        3..5 => Some(bench.tokens[1].clone()),
        5 => Some(bench.token_for(path).to_owned()),
        _ => Some(bench.tokens[0].clone()),
    };
    if let Some(token) = &login {
        call = call.bearer(token);
    }
    let mut body = String::new();
    if let Some(content) = operation["requestBody"]["content"].as_object() {
        let (media, content) = content.iter().next().unwrap();
        body = made.body(&content["schema"]);
        call = match made.random.below(20) {
            0 => call.body(body.clone()),
            1 => call.header("content-type", "text/plain").body(body.clone()),
            _ => call.header("content-type", media).body(body.clone()),
        };
    }
    body.truncate(body.floor_char_boundary(2_000));
    let what = format!("{method} {target} as {login:?} with {body}");
    eprintln!("{what}");
    let answer = call.send().await;
    let is_meant = answer.status == 503 && path == "/readyz";
    assert!(
        answer.status.as_u16() < 500 || is_meant,
        "{} {}\nto {what}",
        answer.status,
        answer.text
    );
    while !bench.api.no_mail_is_queued().await {}
}

/// Makes requests from schemas.
pub(crate) struct Maker<'a> {
    pub(crate) random: Random,
    pub(crate) document: &'a Value,
    pub(crate) known_ids: &'a [String],
    /// Now and then something else than the schema wants.
    pub(crate) is_hostile: bool,
}

impl Maker<'_> {
    pub(crate) fn path(&mut self, template: &str) -> String {
        let parts = template.split('/').map(|part| match part.starts_with('{') {
            true => encoded(&self.id()),
            false => part.to_owned(),
        });
        parts.collect::<Vec<_>>().join("/")
    }

    pub(crate) fn query(&mut self, operation: &Value) -> String {
        let mut query = String::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let is_wanted = parameter["required"] == true || self.random.one_in(2);
            if parameter["in"] != "query" || !is_wanted {
                continue;
            }
            let value = match self.value(&parameter["schema"], 0) {
                Value::String(text) => text,
                Value::Null => String::new(),
                other => other.to_string(),
            };
            let name = parameter["name"].as_str().unwrap();
            let repeats = if self.is_hostile && self.random.one_in(20) {
                2
            } else {
                1
            };
            for _ in 0..repeats {
                let separator = if query.is_empty() { '?' } else { '&' };
                write!(query, "{separator}{name}={}", encoded(&value)).unwrap();
            }
        }
        query
    }

    fn body(&mut self, schema: &Value) -> String {
        let mut text = self.value(schema, 0).to_string();
        match self.random.below(40) {
            0 => text.truncate(text.floor_char_boundary(text.len() / 2)),
            1 => text.push_str(&text.clone()),
            2 => text = "[".repeat(10_000),
            3 => text = String::new(),
            4 => text = text.replace(':', ":1e999,\"x\":"),
            5 => text = format!("{text}{}", " ".repeat(70_000)),
            _ => {}
        }
        text
    }

    /// Mostly a value as the schema wants it.
    pub(crate) fn value(&mut self, schema: &Value, depth: u32) -> Value {
        if self.is_hostile && self.random.one_in(12) {
            return self.hostile();
        }
        if let Some(name) = schema["$ref"]
            .as_str()
            .and_then(|reference| reference.rsplit('/').next())
        {
            return self.value(&self.document["components"]["schemas"][name], depth);
        }
        for choice in ["oneOf", "anyOf", "enum"] {
            if let Some(choices) = schema[choice].as_array() {
                let chosen = self.random.pick(choices);
                return match choice {
                    "enum" => chosen.clone(),
                    _ => self.value(chosen, depth),
                };
            }
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let mut all = Map::new();
            for part in parts {
                if let Value::Object(fields) = self.value(part, depth) {
                    all.extend(fields);
                }
            }
            return Value::Object(all);
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => self.random.pick(kinds).as_str().unwrap(),
            kind => kind.as_str().unwrap_or("object"),
        };
        match kind {
            "null" => Value::Null,
            "boolean" => json!(self.random.one_in(2)),
            "integer" | "number" => self.number(schema),
            "array" if depth < 4 => (0..self.random.below(4))
                .map(|_| self.value(&schema["items"], depth + 1))
                .collect(),
            "object" if depth < 4 => self.object(schema, depth),
            "string" => self.text(schema),
            _ => Value::Null,
        }
    }

    fn object(&mut self, schema: &Value, depth: u32) -> Value {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let mut fields = Map::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let is_required = required.iter().any(|wanted| wanted == name);
            let is_left_out = match (is_required, self.is_hostile) {
                (true, false) => false,
                (true, true) => self.random.one_in(20),
                (false, _) => self.random.one_in(2),
            };
            if !is_left_out {
                fields.insert(name.clone(), self.value(property, depth + 1));
            }
        }
        if self.is_hostile && self.random.one_in(20) {
            let name = *self
                .random
                .pick(&["role", "id", "userId", "isAdmin", "__proto__", ""]);
            fields.insert(name.to_owned(), self.hostile());
        }
        Value::Object(fields)
    }

    fn number(&mut self, schema: &Value) -> Value {
        let least = schema["minimum"].as_i64().unwrap_or(0);
        let most = schema["maximum"].as_i64().unwrap_or(1_000);
        let below = if self.is_hostile { 8 } else { 2 };
        match self.random.below(below) {
            0 => json!(least),
            1 => json!(most),
            2 => json!(least.saturating_sub(1)),
            3 => json!(most.saturating_add(1)),
            4 => json!(0.5),
            _ => json!(least.saturating_add(i64::try_from(self.random.below(30)).unwrap())),
        }
    }

    fn text(&mut self, schema: &Value) -> Value {
        if !self.is_hostile
            && let Some(text) = wanted(schema)
        {
            return json!(text);
        }
        json!(match schema["format"].as_str() {
            Some("uuid") => self.id(),
            Some("email") => (*self
                .random
                .pick(&["ada@example.com", "new@example.com", "A@B.C", "a@", "@"]))
            .to_owned(),
            Some("date-time") => (*self.random.pick(&[
                "2025-11-24T16:00:00Z",
                "2025-12-24T16:00:00+05:45",
                "9999-12-31T23:59:59Z",
                "0000-01-01T00:00:00Z",
                "2025-13-40T99:00:00Z",
            ]))
            .to_owned(),
            Some("uri") => (*self.random.pick(&[
                "https://hooks.example.com/x",
                "http://127.0.0.1:1/",
                "https://[::1]/",
                "file:///etc/passwd",
                "https://user:pass@example.com:99999/",
            ]))
            .to_owned(),
            _ => (*self.random.pick(&[
                "a",
                "name",
                "DE",
                "Europe/Berlin",
                "session-a-country-de",
                "192.0.2.0/24",
                "10.0.0.0/0",
                "80-443",
                "2025-11-24",
                "30",
                PASSWORD,
                "reason enough",
            ]))
            .to_owned(),
        })
    }

    fn id(&mut self) -> String {
        if !self.is_hostile {
            return self.random.pick(self.known_ids).clone();
        }
        match self.random.below(6) {
            0 => "00000000-0000-0000-0000-000000000000".to_owned(),
            1 => "0193a5f2-7c11-7abc-8def-0123456789ab".to_owned(),
            2 => (*self.random.pick(&["..", "\0", "%", "a b", "💥", "-1"])).to_owned(),
            _ => self.random.pick(self.known_ids).clone(),
        }
    }

    fn hostile(&mut self) -> Value {
        match self.random.below(14) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(-1),
            3 => json!(i64::MAX),
            4 => json!(u64::MAX),
            5 => json!(1e308),
            6 => json!([]),
            7 => json!({}),
            8 => json!("\0"),
            9 => json!("' OR 1=1 --"),
            10 => json!("=cmd()\r\nX: y\u{202e}💥"),
            11 => json!("x".repeat(5_000)),
            12 => json!(""),
            _ => json!([[[[{"a": [null]}]]]]),
        }
    }
}

/// A text that the schema wants, where it says more than a format.
fn wanted(schema: &Value) -> Option<String> {
    let text = match (schema["pattern"].as_str(), schema["format"].as_str()) {
        (Some("^[A-Za-z]{2}$"), _) => "DE",
        (Some("^[a-z0-9_]{1,40}$"), _) => "complaints",
        (Some(digits), _) if digits.starts_with("^0*") => "9.80",
        // One of a few names.
        (Some(names), _) if names.starts_with("^(") => {
            names.trim_start_matches("^(").split(['|', ')']).next()?
        }
        (Some(_), _) => "reason enough",
        (None, Some("email")) => "ada@example.com",
        (None, Some("date-time")) => "2025-12-01T00:00:00Z",
        _ => return None,
    };
    Some(text.to_owned())
}

/// Every byte that is not a letter or digit.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || byte == b'-' {
            true => encoded.push(char::from(byte)),
            false => write!(encoded, "%{byte:02X}").unwrap(),
        }
    }
    encoded
}

/// SplitMix64: the same cases for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let place = self.below(from.len() as u64);
        &from[usize::try_from(place).unwrap()]
    }
}

fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}
