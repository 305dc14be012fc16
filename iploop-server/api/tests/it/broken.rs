//! Breaks each documented request in one place at a time.
//!
//! The promise: what the OpenAPI document forbids is never accepted. What it should forbid and does not is for fuzzers from outside.

use serde_json::{Map, Value, json};

use crate::fuzzing::{Bench, Maker, Random, encoded, operations};

/// Calls to one API before it is made anew.
const CALLS_PER_API: usize = 300;

/// What signs people in ignores fields that it does not know, as what fills in forms adds them; that none of them sticks is
/// shown in `accounts`. The provider's events have whatever fields it likes.
const LENIENT: [&str; 7] = [
    "/api/auth/forgot-password",
    "/api/auth/login",
    "/api/auth/password",
    "/api/auth/register",
    "/api/auth/reset-password",
    "/api/auth/verify-email",
    "/api/billing/webhook",
];

#[tokio::test]
async fn what_the_document_forbids_is_never_accepted() {
    let document = serde_json::to_value(iploop_api::openapi()).unwrap();
    let mut bench = Bench::new().await;
    let mut calls = 0;
    for (number, (method, path, operation)) in operations(&document).into_iter().enumerate() {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let mut wrong = Vec::new();
        if !schema.is_null() {
            breaks(&document, schema, "", &mut wrong);
            if !LENIENT.contains(&path) {
                wrong.push(("/noSuchField".to_owned(), Some(json!(1))));
            }
        }
        let bodies = wrong.into_iter().map(|wrong| (None, Some(wrong)));
        let queries = wrong_queries(&document, operation)
            .into_iter()
            .map(|wrong| (Some(wrong), None));
        for (query, wrong) in bodies.chain(queries) {
            if calls % CALLS_PER_API == 0 {
                bench = Bench::new().await;
            }
            calls += 1;
            let mut made = Maker {
                random: Random(number as u64),
                document: &document,
                known_ids: &bench.ids,
                is_hostile: false,
            };
            let mut target = made.path(path);
            if let Some((name, value)) = &query {
                target = format!("{target}{}", made.query_with(operation, name, value));
            } else {
                target.push_str(&made.query(operation));
            }
            let mut call = bench
                .api
                .call(method.clone(), &target)
                .bearer(bench.token_for(path));
            let mut body = Value::Null;
            if !schema.is_null() {
                body = made.value(schema, 0);
                if let Some((place, value)) = wrong {
                    put(&mut body, &place, value);
                }
                call = call.json(&body);
            }
            let answer = call.send().await;
            let what = format!("{method} {target} with {body}");
            assert!(!answer.status.is_success(), "{} {what}", answer.status);
            assert!(
                answer.status.as_u16() < 500,
                "{} {what}: {}",
                answer.status,
                answer.text
            );
        }
    }
    assert!(calls > 1_000, "only {calls} ways to break a request");
}

/// Places of a body and what must not stand there; none: it must not be left out.
fn breaks(document: &Value, schema: &Value, at: &str, found: &mut Vec<(String, Option<Value>)>) {
    let schema = resolved(document, schema);
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{at}/{name}");
        if required.contains(&json!(name)) {
            found.push((at.clone(), None));
        }
        for wrong in wrong_values(document, property) {
            found.push((at.clone(), Some(wrong)));
        }
        breaks(document, property, &at, found);
    }
    if schema["additionalProperties"] == false {
        found.push((format!("{at}/noSuchField"), Some(json!(1))));
    }
}

/// Query parameters with what must not be their value.
fn wrong_queries(document: &Value, operation: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if parameter["in"] != "query" {
            continue;
        }
        for wrong in wrong_values(document, &parameter["schema"]) {
            let text = match wrong {
                // As text a truth value is a text as well.
                Value::String(_) if is(&resolved(document, &parameter["schema"]), "boolean") => continue,
                Value::String(text) => text,
                // As text a number is a text, and nothing is an empty one.
                Value::Number(_) if !is(&resolved(document, &parameter["schema"]), "integer") => continue,
                Value::Number(number) => number.to_string(),
                _ => continue,
            };
            // An empty value often stands for none.
            if !text.is_empty() {
                found.push((parameter["name"].as_str().unwrap().to_owned(), text));
            }
        }
    }
    found
}

/// Values that the schema does not allow, one for each thing it says.
fn wrong_values(document: &Value, schema: &Value) -> Vec<Value> {
    let is_nullable = is(schema, "null")
        || schema["oneOf"]
            .as_array()
            .is_some_and(|choices| choices.iter().any(|choice| is(choice, "null")));
    let schema = resolved(document, schema);
    let mut wrong = Vec::new();
    if !is_nullable && !is(&schema, "null") && !schema["type"].is_null() {
        wrong.push(Value::Null);
    }
    if is(&schema, "string") {
        if !is(&schema, "number") {
            wrong.push(json!(7));
        }
        wrong.push(json!({}));
        for (keyword, text) in [("enum", "no such name"), ("pattern", "\u{1}")] {
            if !schema[keyword].is_null() {
                wrong.push(json!(text));
            }
        }
        match schema["format"].as_str() {
            Some("uuid") => wrong.push(json!("no-id")),
            Some("date-time") => wrong.push(json!("yesterday")),
            Some("email") => wrong.push(json!("nobody")),
            _ => {}
        }
        if let Some(most) = schema["maxLength"].as_u64() {
            wrong.push(json!("x".repeat(usize::try_from(most + 1).unwrap())));
        }
        if let Some(least) = schema["minLength"].as_u64().filter(|least| *least > 0) {
            wrong.push(json!("x".repeat(usize::try_from(least - 1).unwrap())));
        }
    }
    if is(&schema, "integer") || is(&schema, "number") {
        wrong.push(json!("x"));
        match schema["minimum"].as_i64() {
            // As a float it is below all whole numbers of 64 bits.
            Some(i64::MIN) => wrong.push(json!(-1e19)),
            Some(least) => wrong.push(json!(least - 1)),
            None => {}
        }
        if let Some(most) = schema["maximum"].as_u64() {
            wrong.push(json!(most + 1));
        }
    }
    if is(&schema, "integer") {
        wrong.push(json!(0.5));
    }
    if is(&schema, "boolean") {
        wrong.extend([json!("true"), json!(1)]);
    }
    if is(&schema, "object") {
        wrong.extend([json!([]), json!("x")]);
    }
    if is(&schema, "array") {
        wrong.push(json!({}));
        let item = wrong_values(document, &schema["items"]);
        wrong.extend(item.into_iter().map(|wrong| json!([wrong])));
        if schema["minItems"].as_u64().is_some_and(|least| least > 0) {
            wrong.push(json!([]));
        }
        if let Some(most) = schema["maxItems"].as_u64() {
            wrong.push(json!(vec![
                json!("192.0.2.1");
                usize::try_from(most + 1).unwrap()
            ]));
        }
    }
    wrong
}

/// The schema that a reference or a choice beside null means.
fn resolved(document: &Value, schema: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return resolved(document, &document["components"]["schemas"][name]);
    }
    let choice = schema["oneOf"]
        .as_array()
        .and_then(|choices| choices.iter().find(|choice| !is(choice, "null")));
    choice.map_or_else(|| schema.clone(), |choice| resolved(document, choice))
}

fn is(schema: &Value, kind: &str) -> bool {
    schema["type"] == kind
        || schema["type"]
            .as_array()
            .is_some_and(|kinds| kinds.contains(&json!(kind)))
}

/// Puts the value there, or takes away what is there; makes the objects on the way.
fn put(body: &mut Value, place: &str, value: Option<Value>) {
    let (parents, name) = place.rsplit_once('/').unwrap();
    let mut parent = body;
    for part in parents.split('/').skip(1) {
        if !parent[part].is_object() {
            parent[part] = Value::Object(Map::new());
        }
        parent = &mut parent[part];
    }
    match value {
        Some(value) => parent[name] = value,
        None => drop(parent.as_object_mut().unwrap().remove(name)),
    }
}

impl Maker<'_> {
    /// A query in which one parameter has this value.
    fn query_with(&mut self, operation: &Value, name: &str, value: &str) -> String {
        let others = self.query(operation);
        let kept = others
            .trim_start_matches('?')
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.starts_with(&format!("{name}=")));
        let wrong = format!("{name}={}", encoded(value));
        format!(
            "?{}",
            kept.map(str::to_owned)
                .chain([wrong])
                .collect::<Vec<_>>()
                .join("&")
        )
    }
}
