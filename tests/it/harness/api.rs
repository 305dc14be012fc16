//! The management API and the metrics, asked by hand.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::{PATIENCE, Response, eventually, read_response};

/// One listener that speaks HTTP, and who asks.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    pub(crate) token: Option<String>,
}

impl Api {
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address, token: None }
    }

    /// Signed in.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// The same at another process.
    pub(crate) fn elsewhere(&self, address: SocketAddr) -> Self {
        Self {
            address,
            ..self.clone()
        }
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.ask("GET", path, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        self.ask("POST", path, Some(body))
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Response {
        self.ask("PUT", path, Some(body))
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Response {
        self.ask("PATCH", path, Some(body))
    }

    pub(crate) fn delete(&self, path: &str) -> Response {
        self.ask("DELETE", path, None)
    }

    /// A signed-in customer's receipt of a request, once it says how the request ended.
    pub(crate) fn receipt(&self, id: &str) -> Value {
        eventually("the receipt says how the request ended", || {
            let answer = self.get(&format!("/api/usage/requests/{id}"));
            (answer.status == 200 && !answer.json()["endedAt"].is_null()).then(|| answer.json())
        })
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            self.address
        );
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            let length = body.len();
            head += &format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
        }
        write!(stream, "{head}\r\n{body}").unwrap();
        read_response(&mut stream, false).unwrap()
    }
}
