//! A request that the server understood and refused, with its reason.

use std::fmt;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use uuid::Uuid;

use crate::api::shared::Problem;

/// Why the API or the gateway refused: its problem document (RFC 9457).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Refusal {
    /// For programs by `code`, for people by `detail` and `hint`.
    pub problem: Problem,
    /// When it may be tried again, where the server said so.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// The stable name of the error: `no_exit`, `credentials_invalid`.
    pub fn code(&self) -> &str {
        &self.problem.code
    }

    /// The HTTP status.
    pub fn status(&self) -> u32 {
        self.problem.status
    }

    /// What is wrong with this field of the request.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut errors = self.problem.errors.iter();
        errors
            .find(|error| error.field == name)
            .map(|error| error.message.as_str())
    }

    /// Reads an error; none if it holds no problem document.
    pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        Some(Self {
            problem: serde_json::from_slice(body).ok()?,
            retry_after: retry_after(headers),
        })
    }

    /// An error of the gateway's by its header alone: an answer to `HEAD` has no document.
    pub(crate) fn of_header(
        status: StatusCode,
        headers: &HeaderMap,
        code: &str,
        request: Option<Uuid>,
    ) -> Self {
        Self {
            problem: Problem {
                code: code.to_owned(),
                detail: "the answer has no content that says more".to_owned(),
                errors: Vec::new(),
                hint: None,
                parameter: None,
                request_id: request.unwrap_or_default(),
                status: u32::from(status.as_u16()),
                title: code.to_owned(),
                r#type: format!("urn:iploop:error:{code}"),
            },
            retry_after: retry_after(headers),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem {
            status,
            code,
            detail,
            hint,
            ..
        } = &self.problem;
        write!(f, "{status} {code}: {detail}")?;
        for error in &self.problem.errors {
            write!(f, "; {}: {}", error.field, error.message)?;
        }
        match hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// In seconds, as our servers write it. The other form, a date, needs a clock that both sides trust.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// Whether this status asks for patience.
pub(crate) fn is_for_now(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_problem_document_is_read_with_its_fields_and_its_pause() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("17"));
        let body = br#"{"type":"urn:iploop:error:invalid_fields","title":"Bad Request","status":400,"code":"invalid_fields",
            "detail":"fields can't be accepted","request_id":"0193a1b2-0000-7000-8000-000000000001","of a newer server":1,
            "errors":[{"field":"email","message":"must be an e-mail address"}]}"#;
        let refusal = Refusal::read(&headers, body).unwrap();
        assert_eq!((refusal.code(), refusal.status()), ("invalid_fields", 400));
        assert_eq!(refusal.field("email"), Some("must be an e-mail address"));
        assert_eq!(refusal.field("name"), None);
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(17)));
        assert_eq!(
            refusal.to_string(),
            "400 invalid_fields: fields can't be accepted; email: must be an e-mail address"
        );
        assert_eq!(Refusal::read(&headers, b"<html>502 Bad Gateway</html>"), None);
    }

    #[test]
    fn a_pause_that_is_no_number_is_none() {
        for text in ["", "-1", "Fri, 27 Nov 2026 10:00:00 GMT", "99999999999999999999"] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            assert_eq!(retry_after(&headers), None, "{text}");
        }
    }
}
