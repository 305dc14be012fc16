//! One try: what is sent, what the answer means, when the next one is due.

use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rand::RngExt as _;
use tokio::time::Instant;

use super::seal::Sealer;
use super::signature::{WebhookSecret, signature, standard_signature};
use super::{Attempt, Claim, HeaderField, MAX_ANSWER, MAX_FIELDS, MAX_RETRIES, MAX_TIMEOUT, Verdict};
use crate::clock::{Clock, Timestamp};
use crate::events::{Event, EventKind};
use crate::outbound::{Outbound, OutboundAnswer, OutboundClient, Reach, Target};

/// Waits before the second try and those after it, each up to a fifth longer: 22 hours in all.
const RETRIES: [Duration; MAX_RETRIES as usize] = [
    Duration::from_secs(5),
    Duration::from_secs(60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(45 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(6 * 3600),
    Duration::from_secs(13 * 3600),
];
/// Longest `Retry-After` that is heeded.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(6 * 3600);

/// Fields of an answer whose values may open something: only their names are kept.
const SECRET_FIELDS: [&str; 4] = ["set-cookie", "cookie", "authorization", "proxy-authorization"];
/// What is kept in place of such a value.
const NOT_KEPT: &str = "(not kept)";

/// Makes one try. Whatever goes wrong is in what comes back.
pub(super) async fn attempt(
    client: &OutboundClient,
    sealer: &Sealer,
    clock: &dyn Clock,
    timeout: Duration,
    claim: &Claim,
) -> (Attempt, Verdict) {
    let own = claim
        .effort
        .timeout_seconds
        .map(|seconds| Duration::from_secs(seconds.into()));
    let timeout = own.unwrap_or(timeout).min(MAX_TIMEOUT);
    let at = clock.now();
    let began = Instant::now();
    let (fields, sent) = match request(sealer, at, timeout, claim) {
        Ok(request) => {
            let fields = kept(&request.headers);
            let sent = client.send(request).await;
            (fields, sent.map_err(|error| error.to_string()))
        }
        Err(reason) => (Vec::new(), Err(reason)),
    };
    let duration_ms = u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX);
    let (status, answer, error) = match &sent {
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let error = (!is_success(answer.status)).then(|| format!("answered {}", answer.status));
            (Some(answer.status), text, error)
        }
        Err(reason) => (None, String::new(), Some(reason.clone())),
    };
    let verdict = verdict(claim, sent.as_ref().ok(), clock.now());
    let attempt = Attempt {
        at,
        status,
        duration_ms,
        sent: fields,
        answer_fields: sent.map(|answer| kept(&answer.headers)).unwrap_or_default(),
        answer,
        error,
    };
    (attempt, verdict)
}

/// The request, or why it can't be made.
fn request(sealer: &Sealer, now: Timestamp, timeout: Duration, claim: &Claim) -> Result<Outbound, String> {
    let target = Target::parse(&claim.url).map_err(|error| error.to_string())?;
    let open = |sealed: &Vec<u8>| sealer.open(claim.webhook, sealed);
    let secret = open(&claim.secret).map_err(|error| error.to_string())?;
    // One that can't be read any more is not needed any more.
    let old = claim.old_secret.as_ref().and_then(|sealed| open(sealed).ok());
    let body = claim.event.body();
    let headers = headers(&claim.event, now, &body, &secret, old.as_ref());
    Ok(Outbound {
        target,
        reach: Reach::Public,
        method: Method::POST,
        headers,
        body: body.into(),
        timeout,
        answer_limit: MAX_ANSWER,
    })
}

/// Header fields for who looks why a delivery did not arrive: whole ones, as many as fit into [`MAX_FIELDS`].
fn kept(headers: &HeaderMap) -> Vec<HeaderField> {
    let mut left = MAX_FIELDS;
    let fields = headers.iter().map_while(|(name, value)| {
        let value = match SECRET_FIELDS.contains(&name.as_str()) {
            true => NOT_KEPT.into(),
            false => String::from_utf8_lossy(value.as_bytes()),
        };
        left = left.checked_sub(name.as_str().len() + value.len())?;
        Some(HeaderField {
            name: name.as_str().to_owned(),
            value: value.into_owned(),
        })
    });
    fields.collect()
}

fn headers(
    event: &Event,
    now: Timestamp,
    body: &str,
    secret: &WebhookSecret,
    old: Option<&WebhookSecret>,
) -> HeaderMap {
    let (id, timestamp) = (event.id.to_string(), now.as_millis().div_euclid(1000));
    let mut signatures = standard_signature(secret, &id, timestamp, body);
    let mut fields = vec![
        ("webhook-id", id.clone()),
        ("webhook-timestamp", timestamp.to_string()),
        ("x-iploop-event", event.kind.as_str().to_owned()),
        ("x-iploop-signature", signature(secret, body)),
    ];
    if let Some(old) = old {
        signatures.push(' ');
        signatures.push_str(&standard_signature(old, &id, timestamp, body));
        fields.push(("x-iploop-signature-old", signature(old, body)));
    }
    fields.push(("webhook-signature", signatures));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in fields {
        // Ids, numbers, hex and base64 are always a field's value.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

fn verdict(claim: &Claim, answer: Option<&OutboundAnswer>, now: Timestamp) -> Verdict {
    const GONE: u16 = 410;
    match answer {
        Some(answer) if is_success(answer.status) => Verdict::Delivered,
        // The button shows what came back, once.
        _ if claim.event.kind == EventKind::Test => Verdict::Failed,
        Some(answer) if answer.status == GONE => Verdict::Gone,
        _ => {
            if claim.tries >= claim.effort.max_retries.unwrap_or(MAX_RETRIES) {
                return Verdict::Failed;
            }
            let tries = usize::try_from(claim.tries).unwrap_or(usize::MAX);
            let Some(wait) = RETRIES.get(tries) else {
                return Verdict::Failed;
            };
            let jitter = rand::rng().random_range(1.0..1.2);
            let asked = answer.and_then(retry_after).unwrap_or_default();
            Verdict::Again(now.plus(wait.mul_f64(jitter).max(asked)))
        }
    }
}

const fn is_success(status: u16) -> bool {
    matches!(status, 200..=299)
}

/// How long the other side asks to wait, in the form of seconds.
fn retry_after(answer: &OutboundAnswer) -> Option<Duration> {
    let text = answer.headers.get(RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::{AccountId, HoldId, WebhookId};
    use crate::webhooks::Effort;

    fn claim(kind: EventKind, tries: u32) -> Claim {
        Claim {
            hold: HoldId::new(),
            webhook: WebhookId::new(),
            url: String::new(),
            secret: Vec::new(),
            old_secret: None,
            event: Event::new(AccountId::new(), kind, Timestamp::from_millis(0), json!({})),
            effort: Effort::default(),
            tries,
        }
    }

    fn answer(status: u16, retry_after: Option<&str>) -> OutboundAnswer {
        let mut headers = HeaderMap::new();
        if let Some(text) = retry_after {
            headers.insert(RETRY_AFTER, text.parse().unwrap());
        }
        OutboundAnswer {
            status,
            headers,
            body: Vec::new(),
        }
    }

    fn wait(tries: u32, answer: Option<&OutboundAnswer>) -> Option<Duration> {
        let now = Timestamp::from_millis(1_000_000);
        match verdict(&claim(EventKind::BalanceLow, tries), answer, now) {
            Verdict::Again(at) => Some(at.since(now)),
            _ => None,
        }
    }

    #[test]
    fn waits_grow_with_jitter_over_most_of_a_day_and_end() {
        let mut all = Duration::ZERO;
        for (tries, least) in RETRIES.iter().enumerate() {
            let wait = wait(u32::try_from(tries).unwrap(), None).unwrap();
            assert!(wait >= *least && wait <= least.mul_f64(1.2), "{wait:?}");
            all += wait;
        }
        assert!((20 * 3600..28 * 3600).contains(&all.as_secs()), "{all:?}");
        assert_eq!(wait(7, None), None);
        assert_eq!(wait(u32::MAX, None), None);
    }

    #[test]
    fn an_owner_may_ask_for_fewer_tries() {
        let now = Timestamp::from_millis(0);
        let ends = |max_retries, tries| {
            let effort = Effort {
                max_retries: Some(max_retries),
                ..Effort::default()
            };
            let claim = Claim {
                effort,
                ..claim(EventKind::BalanceLow, tries)
            };
            verdict(&claim, None, now) == Verdict::Failed
        };
        assert!(ends(0, 0), "no second try");
        assert!(!ends(2, 1) && ends(2, 2));
        assert!(ends(u32::MAX, 7), "never more than the server's own");
    }

    #[test]
    fn only_2xx_is_an_arrival_and_a_redirect_is_none() {
        let now = Timestamp::from_millis(0);
        for (status, is_arrival) in [
            (200, true),
            (204, true),
            (301, false),
            (304, false),
            (400, false),
            (500, false),
        ] {
            let verdict = verdict(&claim(EventKind::BalanceLow, 7), Some(&answer(status, None)), now);
            assert_eq!(verdict == Verdict::Delivered, is_arrival, "{status}");
        }
        let gone = verdict(&claim(EventKind::BalanceLow, 0), Some(&answer(410, None)), now);
        assert_eq!(gone, Verdict::Gone);
        for status in [410, 500] {
            let test = verdict(&claim(EventKind::Test, 0), Some(&answer(status, None)), now);
            assert_eq!(test, Verdict::Failed);
        }
    }

    #[test]
    fn fields_are_kept_whole_within_their_bound_and_without_what_opens_something() {
        let mut headers = HeaderMap::new();
        headers.insert("x-trace", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        headers.insert("set-cookie", HeaderValue::from_static("session=secret"));
        let pairs = |headers: &HeaderMap| -> Vec<(String, String)> {
            let fields = kept(headers).into_iter();
            fields.map(|field| (field.name, field.value)).collect()
        };
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let known = [field("x-trace", "caf\u{fffd}"), field("set-cookie", NOT_KEPT)];
        assert_eq!(pairs(&headers), known);
        headers.insert("x-long", "y".repeat(MAX_FIELDS).parse().unwrap());
        assert_eq!(pairs(&headers), known, "no part of one");
        let many: HeaderMap = (0..1_000)
            .map(|n| {
                let name = HeaderName::try_from(format!("x-{n}")).unwrap();
                (name, HeaderValue::from_static(""))
            })
            .collect();
        let bytes: usize = pairs(&many).iter().map(|(name, _)| name.len()).sum();
        assert!(bytes <= MAX_FIELDS, "{bytes}");
    }

    #[test]
    fn retry_after_lengthens_a_wait_within_bounds() {
        let asked = |text| wait(0, Some(&answer(503, Some(text)))).unwrap();
        assert_eq!(asked("3600"), Duration::from_secs(3600));
        assert_eq!(asked("99999999999"), MAX_RETRY_AFTER);
        for text in ["0", "soon", "-5"] {
            assert!(asked(text) < Duration::from_secs(7), "{text}");
        }
    }
}
