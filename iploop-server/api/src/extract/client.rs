//! Who is at the other end.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use http::HeaderMap;
use http::header::USER_AGENT;
use http::request::Parts;
use iploop_platform::login::Origin;
use ipnet::IpNet;

use crate::state::ApiState;

/// The client's address: the connection's, or what a trusted terminator in front of us says it is.
pub(crate) struct ClientAddress(pub(crate) IpAddr);

impl FromRequestParts<ApiState> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Infallible> {
        // Absent only where a test calls the router without a connection: all such clients count as one.
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
        Ok(Self(client(peer, &parts.headers, &state.parts().trusted_proxies)))
    }
}

/// Where a sign-in comes from: the client's address, and what its program calls itself.
pub(crate) struct SignInOrigin(pub(crate) Origin);

impl FromRequestParts<ApiState> for SignInOrigin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Infallible> {
        let ClientAddress(address) = ClientAddress::from_request_parts(parts, state).await?;
        let program = parts
            .headers
            .get(USER_AGENT)
            .and_then(|value| value.to_str().ok());
        Ok(Self(Origin::new(address, program)))
    }
}

/// The last address in `X-Forwarded-For` that no trusted terminator has: what stands before it, anybody may have written.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| {
        trusted
            .iter()
            .any(|network| network.contains(&address.to_canonical()))
    };
    if !is_trusted(peer) {
        return peer.to_canonical();
    }
    let hops: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    let mut client = peer;
    for hop in hops.into_iter().rev() {
        let Ok(address) = hop.trim().parse::<IpAddr>() else {
            break;
        };
        client = address;
        if !is_trusted(address) {
            break;
        }
    }
    client.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn a_stranger_can_not_claim_another_address() {
        assert_eq!(seen("192.0.2.1", &["198.51.100.1"]), "192.0.2.1");
        assert_eq!(seen("10.0.0.1", &["6.6.6.6, 192.0.2.1"]), "192.0.2.1");
        assert_eq!(seen("10.0.0.1", &["6.6.6.6", "192.0.2.1, 10.0.0.2"]), "192.0.2.1");
    }

    #[test]
    fn a_terminator_without_a_usable_header_counts_itself() {
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &["unknown"]), "10.0.0.1");
        assert_eq!(seen("::ffff:192.0.2.1", &[]), "192.0.2.1");
    }
}
