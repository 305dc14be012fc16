//! Browser presets for plain HTTP requests (`profile-…`): the `User-Agent` that such a browser sends. TLS is never opened, so
//! tunnels are not changed.

use bytes::{BufMut, Bytes, BytesMut};
use iploop_protocol::targeting::Profile;

use super::fields::put_field;
use super::request::Forward;

/// Browsers reduce their `User-Agent` to the major version, which is all that changes here with the years.
fn user_agent(profile: Profile) -> &'static str {
    match profile {
        Profile::ChromeWin => {
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
        }
        Profile::ChromeMac => {
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
        }
        Profile::ChromeLinux => {
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
        }
        Profile::ChromeAndroid => {
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36"
        }
        Profile::FirefoxWin => {
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0"
        }
        Profile::FirefoxMac => {
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:145.0) Gecko/20100101 Firefox/145.0"
        }
        Profile::FirefoxLinux => "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
        Profile::EdgeWin => {
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0"
        }
        Profile::SafariMac => {
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15"
        }
        Profile::SafariIos => {
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1"
        }
    }
}

/// The head with the preset's `User-Agent` in place of the customer's, or beside what there is.
pub(super) fn apply(profile: Profile, forward: &Forward) -> Bytes {
    let head = &forward.head;
    let agent = user_agent(profile);
    let mut out = BytesMut::with_capacity(head.len() + agent.len() + 16);
    match &forward.user_agent {
        Some(place) => {
            out.put_slice(&head[..place.start]);
            out.put_slice(agent.as_bytes());
            out.put_slice(&head[place.end..]);
        }
        None => {
            // Before the empty line.
            out.put_slice(&head[..head.len().saturating_sub(2)]);
            put_field(&mut out, "User-Agent", agent.as_bytes());
            out.put_slice(b"\r\n");
        }
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::super::request::{self, Act};
    use super::*;

    #[test]
    fn a_preset_takes_the_place_of_the_customers_user_agent() {
        for (field, expected) in [
            (
                "User-Agent: curl/8\r\nX: y\r\n",
                "User-Agent: Mozilla/5.0 (iPhone",
            ),
            ("X: y\r\n", "X: y\r\nUser-Agent: Mozilla/5.0 (iPhone"),
        ] {
            let text = format!("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n{field}\r\n");
            let Act::Forward(forward) = request::parse(&Bytes::from(text)).unwrap().act else {
                panic!()
            };
            let head = String::from_utf8(apply(Profile::SafariIos, &forward).to_vec()).unwrap();
            assert!(
                head.contains(expected) && !head.contains("curl") && head.contains("X: y\r\n"),
                "{head}"
            );
            assert!(head.ends_with("\r\n\r\n") && head.matches("User-Agent").count() == 1);
        }
    }
}
