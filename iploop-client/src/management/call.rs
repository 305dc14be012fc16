//! One operation: its request, its repetitions, its answer.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{Api, Download};
use crate::error::Error;
use crate::refusal::{Refusal, is_for_now};
use crate::retries::Schedule;
use crate::wire::{ConnectError, whole};

/// Longest answer that is kept in memory, in bytes. Exports have pages, or come as [`Download`].
const MAX_ANSWER: usize = 32 * 1024 * 1024;
/// Longest error that is read, in bytes.
const MAX_PROBLEM: usize = 256 * 1024;
const AGENT: &str = concat!("iploop-client/", env!("CARGO_PKG_VERSION"));

/// A request on its way to be sent.
pub(crate) struct Call<'a> {
    api: &'a Api,
    method: Method,
    path: String,
    query: Vec<String>,
    accept: &'static str,
    body: Option<Bytes>,
    mistake: Option<Error>,
}

/// A success, whole.
pub(crate) struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl<'a> Call<'a> {
    pub(super) fn new(api: &'a Api, method: Method, path: &str) -> Self {
        Self {
            api,
            method,
            path: path.to_owned(),
            query: Vec::new(),
            accept: "application/json",
            body: None,
            mistake: None,
        }
    }

    pub(crate) fn query(mut self, query: &impl Serialize) -> Self {
        match serde_urlencoded::to_string(query) {
            Ok(text) if text.is_empty() => {}
            Ok(text) => self.query.push(text),
            Err(error) => self.mistake = Some(Error::invalid(error)),
        }
        self
    }

    /// The form of the answer, where the query names it.
    pub(crate) fn form(mut self, form: &str) -> Self {
        self.query.push(format!("format={form}"));
        self.accept("*/*")
    }

    /// The form of the answer, where the header names it.
    pub(crate) fn accept(mut self, accept: &'static str) -> Self {
        self.accept = accept;
        self
    }

    pub(crate) fn json(mut self, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => self.body = Some(body.into()),
            Err(error) => self.mistake = Some(Error::invalid(error)),
        }
        self
    }

    /// Sends it and reads the whole answer.
    pub(crate) async fn answer(self) -> Result<Answer, Error> {
        let patience = self.api.shared.patience;
        let mut response = self.send().await?;
        Ok(Answer {
            status: response.status(),
            body: whole(response.body_mut(), MAX_ANSWER, patience).await?,
        })
    }

    /// Sends it and leaves the answer's content to the caller.
    pub(crate) async fn download(self) -> Result<Download, Error> {
        let patience = self.api.shared.patience;
        let response = self.send().await?;
        let content_type = response.headers().get(CONTENT_TYPE);
        let content_type = content_type
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        Ok(Download::new(content_type, response.into_body(), patience))
    }

    /// Until there is a success, or an error that repeating does not help.
    async fn send(mut self) -> Result<Response<Incoming>, Error> {
        if let Some(mistake) = self.mistake.take() {
            return Err(mistake);
        }
        let mut schedule = Schedule::begin(self.api.shared.retries);
        loop {
            let (status, pause, error) = match self.try_once().await? {
                Tried::Good(response) => return Ok(response),
                Tried::Bad { status, pause, error } => (status, pause, error),
            };
            // A POST that was refused may have acted all the same: not every 503 is ours.
            let may_repeat = self.method.is_idempotent() && is_for_now(status);
            if !may_repeat || !schedule.wait(pause).await {
                return Err(error);
            }
        }
    }

    async fn try_once(&self) -> Result<Tried, Error> {
        let patience = self.api.shared.patience;
        let sent = self.api.shared.client.request(self.request()?);
        let mut response = timeout(patience, sent)
            .await
            .map_err(|_| Error::Timeout(patience))?
            .map_err(transport)?;
        let status = response.status();
        if status.is_success() {
            return Ok(Tried::Good(response));
        }
        let body = whole(response.body_mut(), MAX_PROBLEM, patience).await?;
        let refusal = Refusal::read(response.headers(), &body);
        let pause = refusal.as_ref().and_then(|refusal| refusal.retry_after);
        let error = match refusal {
            Some(refusal) => Error::Refused(Box::new(refusal)),
            None => Error::Unreadable {
                status: status.as_u16(),
                problem: "it is no problem document of the API's".to_owned(),
            },
        };
        Ok(Tried::Bad { status, pause, error })
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, Error> {
        let mut uri = format!("{}{}", self.api.shared.base, self.path);
        if !self.query.is_empty() {
            uri = format!("{uri}?{}", self.query.join("&"));
        }
        let mut request = Request::builder()
            .method(&self.method)
            .uri(uri)
            .header(ACCEPT, self.accept)
            .header(USER_AGENT, AGENT);
        if let Some(token) = &self.api.token {
            let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
            // Not the error's own words: they could hold a part of the token.
            let mut value = value.map_err(|_| Error::invalid("the token has characters that none has"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if self.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request
            .body(Full::new(self.body.clone().unwrap_or_default()))
            .map_err(Error::invalid)
    }
}

enum Tried {
    Good(Response<Incoming>),
    Bad {
        status: StatusCode,
        pause: Option<Duration>,
        error: Error,
    },
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| Error::Unreadable {
            status: self.status(),
            problem: error.to_string(),
        })
    }
}

/// The pool wraps what the connector said: callers want that itself.
fn transport(error: hyper_util::client::legacy::Error) -> Error {
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        if let Some(connect) = inner.downcast_ref::<ConnectError>() {
            // What is a source can't be moved out.
            return Error::Connect(connect.again());
        }
        source = inner.source();
    }
    Error::Broken(Box::new(error))
}

/// A part of a path, with everything encoded that could lead elsewhere.
///
/// # Errors
/// It is empty or made of dots: then the path would name something else.
pub(crate) fn segment(text: &str) -> Result<String, Error> {
    use std::fmt::Write as _;

    if matches!(text, "" | "." | "..") {
        return Err(Error::invalid(format_args!("`{text}` can't be part of a path")));
    }
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing into a string can't fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_path_stays_one() {
        assert_eq!(segment("cart-17").unwrap(), "cart-17");
        assert_eq!(segment("a/b?c#d e%").unwrap(), "a%2Fb%3Fc%23d%20e%25");
        assert_eq!(segment("2001:db8::1").unwrap(), "2001%3Adb8%3A%3A1");
        for text in ["", ".", ".."] {
            assert!(matches!(segment(text), Err(Error::Invalid(_))), "{text}");
        }
    }

    #[tokio::test]
    async fn a_token_that_can_be_none_is_not_sent_and_not_shown() {
        let api = Api::at("http://127.0.0.1:9").unwrap().with_token("line\nbreak");
        let error = api.keys().list_keys().await.unwrap_err();
        assert!(
            matches!(&error, Error::Invalid(problem) if !problem.contains("break")),
            "{error}"
        );
    }
}
