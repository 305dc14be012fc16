//! `POST /api/proxy/test`: a real request through the proxy, with one of the caller's own keys.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use iploop_platform::api_key::ApiKeyHash;
use iploop_platform::field::FieldProblem;
use iploop_platform::secret::Secret;
use iploop_protocol::targeting::{Credentials, Targeting};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::extract::Json;
use crate::session::SignedIn;
use crate::state::ApiState;

/// The gateway's own echo: needs a login, uses no exit and costs nothing.
const ECHO: &str = "http://echo.iploop/ip";
/// How long a trial may take: less than an answer of ours.
const PATIENCE: Duration = Duration::from_secs(12);
/// Most of the destination's answer that is read, in bytes.
const MAX_READ: usize = 64 * 1024;
/// Longest address of a destination, in bytes.
const MAX_URL: usize = 2_000;

/// The route below `/api/proxy`.
pub(crate) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(try_proxy))
}

/// What to try.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TrialBody {
    /// One of the account's keys, whole: we keep no copy that could be used here.
    #[schema(value_type = String, example = "iploop_0123456789abcdef0123456789abcdef0123456789abcdef")]
    api_key: Secret,
    /// Parameters as they stand behind the key.
    #[schema(example = "country-US")]
    targeting: Option<String>,
    /// Where to: `http` is asked for (GET), to `https` a tunnel is opened and no more. Default: the proxy's own echo, which uses
    /// no exit and costs nothing. Anything else is charged as ever.
    #[schema(
        pattern = "^([Hh][Tt][Tt][Pp][Ss]?://[!-~]+)?$",
        max_length = 2000,
        example = "http://example.com/"
    )]
    url: Option<String>,
}

/// How it went.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrialAnswer {
    /// The destination answered, or the tunnel was opened.
    success: bool,
    /// Of the answer; none: there was none.
    status_code: Option<u16>,
    /// The proxy's error code; none: no error of the proxy's.
    error_code: Option<String>,
    /// The request's id, for `/api/usage/requests/{requestId}`.
    request_id: Option<String>,
    /// Of the exit; none: none was used, or it is not known.
    exit_country: Option<String>,
    exit_city: Option<String>,
    exit_asn: Option<String>,
    /// Sticky session, as the answer named it.
    session: Option<String>,
    /// Bytes of content that were read, 64 KiB at most.
    bytes_read: usize,
    /// Until the proxy took the connection.
    connect_ms: u64,
    /// Until the answer's head was there; none: there was no answer.
    first_byte_ms: Option<u64>,
    /// Until the end.
    total_ms: u64,
}

/// Sends one request through the proxy with the caller's key and says how it went. It comes from the server's own address: a
/// key with an IP whitelist that does not have it answers `ip_not_allowed`.
#[utoipa::path(
    post, path = "/test", tag = "proxy", request_body = TrialBody, security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, body = TrialAnswer, description = "How it went, well or not"),
        (status = 404, body = crate::problem::Problem, content_type = "application/problem+json",
            description = "The key is none of the account's, or no proxy is part of this server")
    )
)]
pub(crate) async fn try_proxy(
    State(state): State<ApiState>,
    session: SignedIn,
    Json(body): Json<TrialBody>,
) -> Result<Json<TrialAnswer>, ApiError> {
    let proxy = state.parts().proxy_at.ok_or(ApiError::NotFound)?;
    let trial = Trial::read(body)?;
    let login = Credentials::parse("iploop", trial.key.expose()).map_err(|_| ApiError::KeyNotFound)?;
    let grant = state
        .parts()
        .store
        .key_grant(ApiKeyHash::of(login.key.expose()))
        .await?;
    if grant.is_none_or(|grant| grant.key.account != session.account().id) {
        return Err(ApiError::KeyNotFound);
    }
    let _turn = state.trial_turn().ok_or(ApiError::Overloaded)?;
    Ok(Json(trial.run(proxy).await))
}

/// A request to be sent.
struct Trial {
    key: Secret,
    parameters: String,
    uri: Uri,
    host: String,
}

impl Trial {
    fn read(body: TrialBody) -> Result<Self, ApiError> {
        let parameters = body.targeting.unwrap_or_default();
        let parameters = parameters.trim_start_matches('-').to_owned();
        Targeting::parse(&parameters).map_err(|error| ApiError::Targeting(Box::new(error)))?;
        let url = body
            .url
            .filter(|url| !url.is_empty())
            .unwrap_or_else(|| ECHO.to_owned());
        let invalid = || {
            let message = "url must be an address such as http://example.com/ or https://example.com/";
            ApiError::InvalidFields(vec![FieldProblem::new("url", message)])
        };
        if url.len() > MAX_URL {
            return Err(invalid());
        }
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let authority = uri
            .authority()
            .filter(|authority| !authority.as_str().contains('@'));
        let host = authority.ok_or_else(invalid)?.as_str().to_owned();
        if host.is_empty() || !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(invalid());
        }
        Ok(Self {
            key: body.api_key,
            parameters,
            uri,
            host,
        })
    }

    fn is_tunnel(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    async fn run(&self, proxy: SocketAddr) -> TrialAnswer {
        let started = Instant::now();
        let mut answer = TrialAnswer {
            success: false,
            status_code: None,
            error_code: None,
            request_id: None,
            exit_country: None,
            exit_city: None,
            exit_asn: None,
            session: None,
            bytes_read: 0,
            connect_ms: 0,
            first_byte_ms: None,
            total_ms: 0,
        };
        match timeout(PATIENCE, self.exchange(proxy, started, &mut answer)).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => {
                tracing::debug!(reason, "a trial of the proxy broke off");
                answer
                    .error_code
                    .get_or_insert_with(|| "proxy_connection_lost".to_owned());
            }
            Err(_) => {
                answer.error_code.get_or_insert_with(|| "test_timeout".to_owned());
            }
        }
        answer.success = answer.status_code.is_some() && answer.error_code.is_none();
        answer.total_ms = millis(started);
        answer
    }

    async fn exchange(
        &self,
        proxy: SocketAddr,
        started: Instant,
        answer: &mut TrialAnswer,
    ) -> Result<(), String> {
        let stream = TcpStream::connect(proxy)
            .await
            .map_err(|error| error.to_string())?;
        answer.connect_ms = millis(started);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        // Ends with this trial.
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Also for tunnels, whose bytes nobody asks for.
            let _ = connection.with_upgrades().await;
        });
        let request = self.request().map_err(|error| error.to_string())?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        answer.first_byte_ms = Some(millis(started));
        note_head(&response, answer);
        if !self.is_tunnel() {
            answer.bytes_read = content_bytes(response).await?;
        }
        Ok(())
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, http::Error> {
        let parameters = match self.parameters.as_str() {
            "" => String::new(),
            parameters => format!("-{parameters}"),
        };
        let login = STANDARD.encode(format!("iploop:{}{parameters}", self.key.expose()));
        let mut login = HeaderValue::try_from(format!("Basic {login}"))?;
        login.set_sensitive(true);
        let (method, uri) = if self.is_tunnel() {
            let has_port = self.uri.port().is_some();
            let port = if has_port { "" } else { ":443" };
            (Method::CONNECT, format!("{}{port}", self.host).parse::<Uri>()?)
        } else {
            (Method::GET, self.uri.clone())
        };
        Request::builder()
            .method(method)
            .uri(uri)
            .header(HOST, &self.host)
            .header(USER_AGENT, "iploop-test/1")
            .header(PROXY_AUTHORIZATION, login)
            .body(Empty::new())
    }
}

/// What the proxy says in the answer's head.
fn note_head(response: &Response<Incoming>, answer: &mut TrialAnswer) {
    let field = |name: &str| text(response.headers(), name);
    answer.status_code = Some(response.status().as_u16());
    answer.error_code = field("x-iploop-error");
    answer.request_id = field("x-iploop-request-id");
    answer.exit_country = field("x-iploop-exit-country");
    answer.exit_city = field("x-iploop-exit-city");
    answer.exit_asn = field("x-iploop-exit-asn");
    answer.session = field("x-iploop-session");
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.as_bytes();
    Some(String::from_utf8_lossy(value).into_owned())
}

async fn content_bytes(response: Response<Incoming>) -> Result<usize, String> {
    let mut body = response.into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        read += frame.data_ref().map_or(0, Bytes::len);
        if read >= MAX_READ {
            return Ok(MAX_READ);
        }
    }
    Ok(read)
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
