//! Every type against samples that the document's own schemas allow.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use serde_json::{Map, Number, Value, json};

use crate::api::again_by_name;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap());

fn schemas() -> &'static Map<String, Value> {
    DOCUMENT["components"]["schemas"].as_object().unwrap()
}

fn named(reference: &Value) -> Option<&str> {
    reference.as_str()?.strip_prefix("#/components/schemas/")
}

/// Values of a schema, with everything that it leaves open: absent fields, nulls, and fields of a newer server.
fn values(schema: &'static Value) -> BoxedStrategy<Value> {
    if let Some(name) = named(&schema["$ref"]) {
        return values(&schemas()[name]);
    }
    if let Some(options) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        let options: Vec<_> = options.iter().map(values).collect();
        return prop::strategy::Union::new(options).boxed();
    }
    if let Some(parts) = schema["allOf"].as_array() {
        if let Some(words) = parts.iter().find(|part| part.get("enum").is_some()) {
            return values(words);
        }
        let parts: Vec<_> = parts.iter().map(values).collect();
        return parts
            .prop_map(|parts| Value::Object(parts.into_iter().flat_map(fields_of).collect()))
            .boxed();
    }
    match &schema["type"] {
        Value::Array(kinds) => {
            let kinds: Vec<_> = kinds
                .iter()
                .map(|kind| of_kind(kind.as_str().unwrap(), schema))
                .collect();
            prop::strategy::Union::new(kinds).boxed()
        }
        Value::String(kind) => of_kind(kind, schema),
        _ => Just(json!({ "any": [1, "thing"] })).boxed(),
    }
}

fn fields_of(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn of_kind(kind: &str, schema: &'static Value) -> BoxedStrategy<Value> {
    let least = schema["minimum"].as_i64();
    match kind {
        "null" => Just(Value::Null).boxed(),
        "boolean" => any::<bool>().prop_map(Value::Bool).boxed(),
        "number" => any::<i32>()
            .prop_map(|number| json!(f64::from(number) / 8.0))
            .boxed(),
        "integer" => {
            let widest = match (schema["format"].as_str(), least) {
                (Some("int32"), Some(0..)) => i64::from(u32::MAX),
                (Some("int32"), _) => i64::from(i32::MAX),
                _ => i64::MAX,
            };
            let most = schema["maximum"].as_i64().unwrap_or(widest);
            let least = least.unwrap_or(-1_000_000);
            (least..=most)
                .prop_map(|number| Value::Number(Number::from(number)))
                .boxed()
        }
        "string" => text(schema),
        "array" => prop::collection::vec(values(&schema["items"]), 0..3)
            .prop_map(Value::Array)
            .boxed(),
        "object" => object(schema),
        other => panic!("{other}"),
    }
}

fn text(schema: &'static Value) -> BoxedStrategy<Value> {
    if let Some(words) = schema["enum"].as_array() {
        // A word of a newer server now and then.
        let words: Vec<Value> = words.iter().cloned().chain([json!("a_newer_word")]).collect();
        return prop::sample::select(words).boxed();
    }
    match schema["format"].as_str() {
        Some("uuid") => any::<u128>()
            .prop_map(|id| json!(uuid::Uuid::from_u128(id)))
            .boxed(),
        Some("date-time") => (0..4_000_000_000_i64)
            .prop_map(|seconds| {
                let time = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
                json!(crate::values::Timestamp::new(time).unwrap())
            })
            .boxed(),
        Some("ipv4") => any::<std::net::Ipv4Addr>().prop_map(|ip| json!(ip)).boxed(),
        Some("ipv6") => any::<std::net::Ipv6Addr>().prop_map(|ip| json!(ip)).boxed(),
        _ => "\\PC{0,12}".prop_map(Value::String).boxed(),
    }
}

fn object(schema: &'static Value) -> BoxedStrategy<Value> {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut fields: Vec<BoxedStrategy<Option<(String, Value)>>> = Vec::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let value = values(property).prop_map(move |value| Some((name.clone(), value)));
        let is_required = required.contains(&name.as_str());
        fields.push(match is_required {
            true => value.boxed(),
            false => prop_oneof![Just(None), value].boxed(),
        });
    }
    let is_map = schema["additionalProperties"].is_object();
    let more = match is_map {
        true => {
            let value = values(&schema["additionalProperties"]);
            prop::collection::btree_map("[A-Z]{2}", value, 0..3).boxed()
        }
        // Only where it is one type more, never in place of a type.
        false if schema.get("additionalProperties").is_none() => prop_oneof![
            Just(BTreeMap::new()),
            Just(BTreeMap::from([(NEWER.to_owned(), json!(1))]))
        ]
        .boxed(),
        false => Just(BTreeMap::new()).boxed(),
    };
    (fields, more)
        .prop_map(|(fields, more)| Value::Object(fields.into_iter().flatten().chain(more).collect()))
        .boxed()
}

/// A field that only a newer server knows.
const NEWER: &str = "ofANewerServer";

/// Without what a client may leave out: nulls, empty lists, and fields that it does not know.
fn essence(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(name, value)| *name != NEWER && !value.is_null() && **value != json!([]))
                .map(|(name, value)| (name.clone(), essence(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(essence).collect()),
        other => other.clone(),
    }
}

#[test]
fn every_type_reads_what_its_schema_allows_and_writes_it_again() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let mut known = 0;
    for (name, schema) in schemas() {
        if again_by_name(name, Value::Null).is_none() {
            continue;
        }
        known += 1;
        let result = runner.run(&values(schema), |sample| {
            let again = again_by_name(name, sample.clone()).unwrap();
            let again = again.map_err(|error| TestCaseError::fail(format!("{error}: {sample}")))?;
            prop_assert_eq!(essence(&again), essence(&sample));
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(known > 100, "{known} types");
}

#[test]
fn what_operations_send_and_answer_has_a_type() {
    let tags = [
        "auth", "billing", "keys", "live", "nodes", "platform", "proxy", "sessions", "support", "usage",
        "webhooks",
    ];
    let mut seen = 0;
    for methods in DOCUMENT["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            let answers = operation["responses"].as_object().unwrap().values();
            let contents = answers.chain([&operation["requestBody"]]);
            let json =
                contents.filter_map(|one| named(&one["content"]["application/json"]["schema"]["$ref"]));
            if tags.contains(&operation["tags"][0].as_str().unwrap()) {
                for name in json {
                    assert!(again_by_name(name, Value::Null).is_some(), "{name}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 100, "{seen}");
}
