//! The few pages that the API draws itself: no script, readable on a phone, light and dark.

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::error::ApiError;

/// HTML in the making: markup of ours by [`Html::raw`], everything else by [`Html::text`].
#[derive(Default)]
pub(crate) struct Html(String);

impl Html {
    /// One paragraph of text.
    pub(crate) fn paragraph(text: &str) -> Self {
        let mut html = Self::default();
        html.raw("<p>").text(text).raw("</p>");
        html
    }

    /// Markup: only what stands in our source.
    pub(crate) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text or the value of a quoted attribute, escaped.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                other => self.0.push(other),
            }
        }
        self
    }

    /// The markup.
    #[cfg(test)]
    pub(crate) fn into_string(self) -> String {
        self.0
    }

    /// A number.
    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.0.push_str(&number.to_string());
        self
    }
}

/// A whole page below `/api/auth/`.
pub(crate) fn page(status: StatusCode, title: &str, body: Html) -> Response {
    document(status, "../../", title, body)
}

/// A whole page; `root` leads from it to `/`, so that a prefix of the public address stays.
pub(crate) fn document(status: StatusCode, root: &str, title: &str, body: Html) -> Response {
    let mut html = Html::default();
    html.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">")
        .raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>")
        .text(title)
        .raw(" · IPLoop</title><link rel=\"stylesheet\" href=\"")
        .text(root)
        .raw("style.css\"></head><body><main><p class=\"brand\">IPLoop</p><h1>")
        .text(title)
        .raw("</h1>");
    html.0.push_str(&body.0);
    html.raw("</main></body></html>");
    (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], html.0).into_response()
}

/// A page that says why not; errors that are ours go on as problem documents.
pub(crate) fn refusal(title: &str, error: ApiError) -> Result<Response, ApiError> {
    let answer = error.answer();
    if answer.status.is_server_error() {
        return Err(error);
    }
    let mut body = Html::default();
    body.raw("<p role=\"alert\">").text(&answer.detail).raw(".</p>");
    if let Some(hint) = answer.hint {
        body.raw("<p>").text(&hint).raw("</p>");
    }
    Ok(page(answer.status, title, body))
}

/// `GET /style.css`
pub(crate) async fn style() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/css; charset=utf-8"),
        (CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, include_str!("style.css")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_never_becomes_markup() {
        let mut html = Html::default();
        html.raw("<a title=\"").text("\"><script>'&").raw("\">");
        assert_eq!(html.0, "<a title=\"&quot;&gt;&lt;script&gt;&#39;&amp;\">");
    }
}
