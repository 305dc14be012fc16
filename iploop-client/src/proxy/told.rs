//! What the gateway says of a request beside the answer.

use std::net::IpAddr;

use http::HeaderMap;
use uuid::Uuid;

/// The exit that served a request, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// Its name.
    pub city: Option<String>,
    /// Number of the autonomous system.
    pub asn: Option<u32>,
    /// What the destination sees.
    pub ip: Option<IpAddr>,
}

/// What the gateway says of a request: in the answer to a forwarded one, and beside the tunnel for HTTPS. What a destination
/// says inside a tunnel never gets here.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Told {
    /// Names the request: `api.usage().request_receipt(id)` has its bytes and what they cost.
    pub request_id: Option<Uuid>,
    /// Who served it; nothing is known where no exit did.
    pub exit: Exit,
    /// The sticky session; none: there is none, or [`is_rotated`](Self::is_rotated).
    pub session: Option<String>,
    /// The session has another exit address than the one it was last told of.
    pub is_rotated: bool,
    /// Every field of the gateway's own, for `debug-1` and limits: `X-IPLoop-…`, `RateLimit`, `RateLimit-Policy`, `Proxy-Status`.
    pub fields: HeaderMap,
}

const ROTATED: &str = "rotated";

impl Told {
    /// Takes the gateway's fields out of a head that it wrote or passed on.
    pub(super) fn take(headers: &mut HeaderMap) -> Self {
        let mut fields = HeaderMap::new();
        let is_ours = |name: &str| name.starts_with("x-iploop-") || matches!(name, "proxy-status");
        let names: Vec<_> = headers
            .keys()
            .filter(|name| is_ours(name.as_str()))
            .cloned()
            .collect();
        for name in names {
            for value in headers.get_all(&name) {
                fields.append(name.clone(), value.clone());
            }
            headers.remove(&name);
        }
        Self::of(fields)
    }

    /// Of a head that the gateway alone wrote.
    pub(super) fn of(fields: HeaderMap) -> Self {
        let text = |name: &str| {
            let value = fields.get(name)?;
            // Names of cities are UTF-8.
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let session = text("x-iploop-session");
        Self {
            request_id: text("x-iploop-request-id").and_then(|id| id.parse().ok()),
            exit: Exit {
                country: text("x-iploop-exit-country"),
                city: text("x-iploop-exit-city"),
                asn: text("x-iploop-exit-asn").and_then(|asn| asn.parse().ok()),
                ip: text("x-iploop-exit-ip").and_then(|ip| ip.parse().ok()),
            },
            is_rotated: session.as_deref() == Some(ROTATED),
            session: session.filter(|session| session != ROTATED),
            fields,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn head(fields: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            )
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn the_exit_and_the_session_are_read_and_the_answer_keeps_its_own_fields() {
        let mut headers = head(&[
            ("x-iploop-request-id", "0193a1b2-0000-7000-8000-000000000001"),
            ("x-iploop-exit-country", "BR"),
            ("x-iploop-exit-city", "São Paulo"),
            ("x-iploop-exit-asn", "64500"),
            ("x-iploop-exit-ip", "198.51.100.7"),
            ("x-iploop-session", "cart-17"),
            ("etag", "\"a\""),
            ("ratelimit", "the destination's own"),
        ]);
        let told = Told::take(&mut headers);
        assert_eq!(told.exit.city.as_deref(), Some("São Paulo"));
        assert_eq!(
            (told.exit.asn, told.exit.ip),
            (Some(64500), Some("198.51.100.7".parse().unwrap()))
        );
        assert_eq!(
            (told.session.as_deref(), told.is_rotated),
            (Some("cart-17"), false)
        );
        assert_eq!(
            headers,
            head(&[("etag", "\"a\""), ("ratelimit", "the destination's own")])
        );
        assert_eq!(told.fields.len(), 6);
    }

    #[test]
    fn a_rotated_session_has_no_name_and_nonsense_is_nothing() {
        let told = Told::of(head(&[
            ("x-iploop-session", "rotated"),
            ("x-iploop-exit-asn", "many"),
        ]));
        assert_eq!((told.session, told.is_rotated, told.exit.asn), (None, true, None));
    }
}
