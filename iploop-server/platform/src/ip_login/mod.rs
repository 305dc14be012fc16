//! Logging in by address, without a password: what it takes, and which addresses are whose.
//!
//! A key with `ip_login` admits a client without a password from an address that its list holds narrowly **and** that its
//! account has proven: it authenticated from there, with a key at the proxy or at the API. Listing a network claims nothing,
//! so nobody can claim another's; a proven address is one account's until it is given up or [`UNUSED_LIFETIME`] passes
//! without use. Why so: docs/decisions/0006-ip-login.md.

mod store;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use iploop_protocol::policy::{Context, Policy};
use ipnet::IpNet;

pub use self::store::{Claimed, IpLogins, ListedAddress, UsedAddress};
use crate::api_key::ApiKey;
use crate::clock::{DAY, Timestamp};
use crate::field::FieldProblem;

/// Most proven addresses of an account.
pub const MAX_ADDRESSES: u32 = 256;

/// An address that is not used for so long is nobody's again.
pub const UNUSED_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// The use of an address is written down at most this often.
pub(crate) const NOTE_INTERVAL: Duration = DAY;

/// Shortest prefixes on the list of a key with `ip_login`.
const MIN_PREFIX_V4: u8 = 24;
const MIN_PREFIX_V6: u8 = 48;

/// An address that an account has proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvenAddress {
    /// Which one.
    pub address: IpAddr,
    /// When the account first authenticated from it.
    pub proven_at: Timestamp,
    /// When it was last used, to the day.
    pub used_at: Timestamp,
}

/// What was last used before this is nobody's any more.
pub(crate) fn lapsed_before(now: Timestamp) -> Timestamp {
    now.minus(UNUSED_LIFETIME)
}

/// Whether an address says who a client is at all: one of the public internet. Private ones are many networks' at once, and a
/// balancer's address would stand for all of its clients.
///
/// `local` lets every address pass, for tests and closed networks.
pub fn identifies(address: IpAddr, local: bool) -> bool {
    // The hard rules of the exit policy are the one list of what is not the public internet.
    local
        || Policy::default()
            .check_destination(&SocketAddr::new(address, 443).into(), &Context::at_gateway())
            .is_ok()
}

/// How long the prefix is by which a key lists an address narrowly, if it does: the longest one.
pub fn listed_by(whitelist: &[IpNet], address: IpAddr) -> Option<u8> {
    let holding = whitelist
        .iter()
        .filter(|network| network.prefix_len() >= shortest_prefix(network) && network.contains(&address));
    holding.map(IpNet::prefix_len).max()
}

/// Whether this list may stand beside `ip_login`.
///
/// # Errors
/// What is wrong with it, for the field `ipLogin` or the list's own.
pub(crate) fn check_list(field: &'static str, whitelist: &[IpNet], local: bool) -> Result<(), FieldProblem> {
    let problem = |message: String| Err(FieldProblem::new(field, message));
    if whitelist.is_empty() {
        return problem(
            "A key with ipLogin needs a list of addresses; switch ipLogin off before emptying it".to_owned(),
        );
    }
    for (at, network) in whitelist.iter().enumerate() {
        if network.prefix_len() < shortest_prefix(network) {
            return problem(format!(
                "Entry {} is too wide for ipLogin: at most an IPv4 /{MIN_PREFIX_V4} or an IPv6 /{MIN_PREFIX_V6}",
                at + 1
            ));
        }
        if !identifies(network.addr(), local) {
            return problem(format!(
                "Entry {} is not of the public internet: it can't tell one customer from another",
                at + 1
            ));
        }
    }
    Ok(())
}

fn shortest_prefix(network: &IpNet) -> u8 {
    match network {
        IpNet::V4(_) => MIN_PREFIX_V4,
        IpNet::V6(_) => MIN_PREFIX_V6,
    }
}

/// Whether a client at this address needs no password for the key, as far as the key goes.
pub(crate) fn admits(key: &ApiKey, address: IpAddr) -> bool {
    key.ip_login && listed_by(&key.ip_whitelist, address).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_list_for_it_is_narrow_public_and_not_empty() {
        for list in [&["8.8.8.0/24"][..], &["2a00:1450::/48", "8.8.4.4/32"]] {
            assert!(check_list("ipLogin", &networks(list), false).is_ok(), "{list:?}");
        }
        for list in [
            &[][..],
            &["8.8.0.0/16"],
            &["8.8.8.8/32", "2a00::/32"],
            &["0.0.0.0/0"],
            &["10.0.0.0/24"],
            &["127.0.0.1/32"],
            &["100.64.0.0/24"],
            &["fd00::/48"],
            &["::1/128"],
        ] {
            assert!(check_list("ipLogin", &networks(list), false).is_err(), "{list:?}");
        }
        assert!(check_list("ipLogin", &networks(&["127.0.0.1/32"]), true).is_ok());
    }

    #[test]
    fn the_longest_prefix_counts() {
        let list = networks(&["8.8.8.0/24", "8.8.8.8/32"]);
        assert_eq!(listed_by(&list, "8.8.8.8".parse().unwrap()), Some(32));
        assert_eq!(listed_by(&list, "8.8.8.9".parse().unwrap()), Some(24));
        assert_eq!(listed_by(&list, "8.8.9.9".parse().unwrap()), None);
        assert_eq!(listed_by(&[], "8.8.9.9".parse().unwrap()), None);
        assert_eq!(
            listed_by(&networks(&["8.8.0.0/16"]), "8.8.9.9".parse().unwrap()),
            None
        );
    }
}
