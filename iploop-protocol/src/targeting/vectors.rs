//! The cases of `vectors/targeting.json`, which every implementation of the grammar walks.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{ClaimedUser, Credentials, CredentialsError, Parameter, Targeting};

fn cases() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../../vectors/targeting.json")).unwrap();
    file["cases"].as_array().unwrap().clone()
}

/// A case with what we make of it in the place of what it expects.
fn answered(case: &Value) -> Value {
    let (user, password) = (case["user"].as_str().unwrap(), case["password"].as_str().unwrap());
    let mut answer = json!({ "name": case["name"], "user": user, "password": password });
    match Credentials::parse(user, password) {
        Ok(credentials) => {
            answer["claimed"] = credentials.user.as_ref().map_or(Value::Null, claimed);
            answer["key"] = credentials.key.expose().into();
            answer["targeting"] = serde_json::to_value(&credentials.targeting).unwrap();
            answer["canonical"] = credentials.targeting.to_string().into();
        }
        Err(error) => answer["error"] = json!({ "code": error.code(), "parameter": error.parameter() }),
    }
    answer
}

fn claimed(user: &ClaimedUser) -> Value {
    match user {
        ClaimedUser::AccountId(id) => {
            let hex = format!("{id:032x}");
            let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
            json!({ "accountId": parts.join("-") })
        }
        ClaimedUser::ShortId(id) => json!({ "shortId": id }),
    }
}

#[test]
fn every_vector_gets_the_answer_it_expects() {
    let cases = cases();
    assert!(cases.len() >= 120);
    let wrong: Vec<_> = cases.iter().filter(|case| answered(case) != **case).collect();
    for case in &wrong {
        eprintln!("expected {case}\n     got {}", answered(case));
    }
    assert!(wrong.is_empty(), "{} of {} vectors", wrong.len(), cases.len());
}

#[test]
fn every_canonical_text_reads_back() {
    for case in cases() {
        if let Some(canonical) = case["canonical"].as_str() {
            let targeting = Targeting::parse(canonical).unwrap();
            assert_eq!(targeting.to_string(), canonical);
            assert_eq!(
                serde_json::to_value(&targeting).unwrap(),
                case["targeting"],
                "{}",
                case["name"]
            );
        }
    }
}

#[test]
fn vectors_cover_every_code_and_every_parameter_right_and_wrong() {
    let cases = cases();
    let names: BTreeSet<_> = cases.iter().map(|case| case["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), cases.len(), "a name stands for one case");
    for code in [
        "credentials_missing",
        "credentials_invalid",
        "unknown_parameter",
        "duplicate_parameter",
        "conflicting_parameters",
        "invalid_country",
        "invalid_value",
    ] {
        assert!(cases.iter().any(|case| case["error"]["code"] == code), "{code}");
    }
    for parameter in Parameter::ALL.map(Parameter::as_str) {
        let is_read = |case: &Value| {
            case["targeting"].is_object()
                && case["password"]
                    .as_str()
                    .unwrap()
                    .contains(&format!("-{parameter}-"))
        };
        assert!(cases.iter().any(is_read), "{parameter} right");
        assert!(
            cases.iter().any(|case| case["error"]["parameter"] == parameter),
            "{parameter} wrong"
        );
    }
}

#[test]
fn every_error_of_a_vector_says_what_to_do() {
    for case in cases() {
        let parsed = Credentials::parse(case["user"].as_str().unwrap(), case["password"].as_str().unwrap());
        if let Err(error) = parsed {
            let hint = error.hint();
            assert!((10..=400).contains(&hint.len()), "{}: {hint}", case["name"]);
            assert_eq!(
                error.parameter().is_none(),
                !matches!(error, CredentialsError::Targeting(_)),
                "{error}"
            );
            assert!(
                !format!("{error} {hint}").contains("0123456789abcdef"),
                "{}",
                case["name"]
            );
        }
    }
}
