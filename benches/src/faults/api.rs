//! The management API, as an account's owner.

use std::net::SocketAddr;

use anyhow::Context;
use serde_json::{Value, json};

use super::site::PASSWORD;
use crate::http::{self, Connection};

/// Signs in; the token.
pub(super) async fn sign_in(api: SocketAddr, email: &str) -> anyhow::Result<String> {
    let login = json!({ "email": email, "password": PASSWORD });
    let answer = ask(("POST", api, "/api/auth/login"), None, Some(&login)).await?;
    Ok(answer["token"].as_str().context("no token")?.to_owned())
}

/// One request on a connection of its own; its answer, or null where there is none.
pub(super) async fn ask(
    what: (&str, SocketAddr, &str),
    token: Option<&str>,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let mut connection = Connection::open(what.1).await?;
    let answer = connection.exchange(&http::request(what, token, body)).await?;
    let text = String::from_utf8_lossy(answer.body);
    anyhow::ensure!((200..300).contains(&answer.status), "{}: {text}", answer.status);
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}
