//! The dashboard: its files, and its page for every address that is nobody else's.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use tower_http::services::ServeDir;

use crate::error::ApiError;

/// The page that every address of the dashboard opens; its script then shows what the address is for.
pub(crate) const PAGE: &str = "index.html";

/// Scripts, styles and data from here alone: what somebody smuggles into a page neither runs nor leaves.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A built dashboard in its folder.
#[derive(Clone)]
pub(crate) struct Dashboard {
    page: PathBuf,
    files: ServeDir,
}

impl Dashboard {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            page: folder.join(PAGE),
            files: ServeDir::new(folder)
                .append_index_html_on_directories(false)
                .redirect_to_trailing_slash(false)
                .precompressed_br()
                .precompressed_gzip(),
        }
    }

    /// The page itself, whole each time: builds are told apart neither by its size nor, in an image, by its time.
    pub(crate) async fn page(self) -> Result<Response, ApiError> {
        let text = tokio::fs::read(&self.page)
            .await
            .map_err(|error| ApiError::Internal(format!("{}: {error}", self.page.display())))?;
        let headers = [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CACHE_CONTROL, "no-cache"),
            (CONTENT_SECURITY_POLICY, POLICY),
        ];
        Ok((headers, text).into_response())
    }

    /// What no route answers: a file, or the page for whoever looks for one.
    pub(crate) async fn answer(mut self, request: Request) -> Result<Response, ApiError> {
        let (parts, _) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
        if !is_read || path == "/api" || path.starts_with("/api/") {
            return Err(ApiError::NotFound);
        }
        let wants_page = accepts_html(&parts.headers);
        if path != format!("/{PAGE}") {
            let request = Request::from_parts(parts, Body::empty());
            match self.files.try_call(request).await {
                Ok(found) if !found.status().is_client_error() => {
                    return Ok(with_headers(found.map(Body::new), &path));
                }
                Ok(_) => {}
                Err(error) if is_absent(error.kind()) => {}
                Err(error) => return Err(ApiError::Internal(format!("the dashboard's {path}: {error}"))),
            }
        }
        // A script that is gone must not look like a page.
        if path.starts_with("/assets/") || !wants_page {
            return Err(ApiError::NotFound);
        }
        self.page().await
    }
}

/// Whether there is no file of this name; one that we may not read is none of the dashboard's.
fn is_absent(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::PermissionDenied
            | ErrorKind::InvalidFilename
    )
}

fn with_headers(mut response: Response, path: &str) -> Response {
    // The name of an asset holds a hash of what is in it.
    let caching = if path.starts_with("/assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

/// Whether somebody looks with a browser: programs say so, or that anything will do.
fn accepts_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|media| {
            media
                .split(';')
                .next()
                .is_some_and(|kind| kind.trim() == "text/html")
        })
}
