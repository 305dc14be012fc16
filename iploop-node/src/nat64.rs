//! The NAT64 prefix of the device's network, found by asking for a name that has only IPv4 addresses (RFC 7050).
//!
//! With it the exit policy judges an address that such a network makes up by the IPv4 address inside. Without it those
//! addresses stay refused, or in a global prefix count as what they look like. A system that knows the prefix from its
//! router (RFC 8781) says so by its [`Surroundings`](crate::Surroundings), and nobody is asked.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use iploop_protocol::destination::HostName;
use iploop_protocol::policy::{MAX_NAT64_PREFIXES, Nat64Prefix};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::resolve::Resolver;
use crate::shared::{Outlook, Shared};
use crate::sharing::SharedNetwork;

/// The name, absolute. It has IPv4 addresses only, so IPv6 ones come from the network (RFC 7050 section 8.2, RFC 8880).
const NAME: &str = "ipv4only.arpa";
/// Its two addresses (RFC 7050 section 8.1).
const WELL_KNOWN: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];
/// Most answers that are looked at.
const MAX_ANSWERS: usize = 64;
/// For one question.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two questions on a network that stays the same, if the last one was answered, and if not.
const ANSWERED_EVERY: Duration = Duration::from_secs(10 * 60);
const UNANSWERED_EVERY: Duration = Duration::from_secs(60);

/// Keeps the outlook's prefixes those of its network, for ever. They are forgotten by whoever notes a change of network.
pub(crate) async fn follow(shared: &Shared) {
    let mut outlook = shared.outlook.subscribe();
    loop {
        let now = outlook.borrow_and_update().clone();
        let network = now.network_changes;
        let mut again_at = None;
        if has_to_ask(shared, &now) {
            let asked = tokio::select! {
                asked = ask(&*shared.parts.resolver) => asked,
                () = changed_from(network, &mut outlook) => continue,
            };
            let wait = match asked {
                Some(found) => {
                    publish(shared, network, found);
                    ANSWERED_EVERY
                }
                None => UNANSWERED_EVERY,
            };
            again_at = Some(Instant::now() + wait);
        }
        tokio::select! {
            () = changed_from(network, &mut outlook) => {}
            () = async {
                match again_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    }
}

/// The network's prefixes, none if it translates nothing; `None` if there was no answer.
async fn ask(resolver: &dyn Resolver) -> Option<Vec<Nat64Prefix>> {
    let name = HostName::parse(NAME).ok()?;
    match timeout(TIMEOUT, resolver.resolve(&name)).await {
        Ok(Ok(answers)) => Some(prefixes(&answers)),
        Ok(Err(_)) | Err(_) => None,
    }
}

/// The prefixes by which these answers were made (RFC 7050 section 3), the longest first.
///
/// A prefix can hold by chance what looks like a well-known address in another place. It looks like the same one in
/// both answers, so what holds both of them in one place is a prefix; where only one answer came, it must leave no choice.
fn prefixes(answers: &[IpAddr]) -> Vec<Nat64Prefix> {
    let mut places = Vec::new();
    let mut only_places = Vec::new();
    for answer in answers.iter().take(MAX_ANSWERS) {
        let IpAddr::V6(answer) = answer else { continue };
        let before = places.len();
        places.extend(Nat64Prefix::LENGTHS.iter().filter_map(|length| {
            let prefix = Nat64Prefix::new(*answer, *length).ok()?;
            let inside = prefix.extract(*answer)?;
            WELL_KNOWN.contains(&inside).then_some((prefix, inside))
        }));
        if let [(prefix, _)] = places[before..] {
            only_places.push(prefix);
        }
    }
    let has_both = |prefix: &Nat64Prefix| {
        WELL_KNOWN
            .iter()
            .all(|inside| places.contains(&(*prefix, *inside)))
    };
    let mut found: Vec<Nat64Prefix> = places
        .iter()
        .map(|(prefix, _)| *prefix)
        .filter(has_both)
        .collect();
    if found.is_empty() {
        found = only_places;
    }
    found.sort_by_key(|prefix| {
        (
            std::cmp::Reverse(prefix.length()),
            prefix.embed(Ipv4Addr::UNSPECIFIED),
        )
    });
    found.dedup();
    found.truncate(MAX_NAT64_PREFIXES);
    found
}

/// Whether the network can have a translator of which nobody told, and anything is going to be dialled in it.
fn has_to_ask(shared: &Shared, outlook: &Outlook) -> bool {
    if shared.stop().is_some() || shared.link.borrow().is_final() {
        return false;
    }
    let Some(view) = outlook.view.as_deref() else {
        return false;
    };
    let is_global = |ip: &IpAddr| match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    shared.network(Some(view)) != SharedNetwork::Loopback
        && view.facts.nat64.is_empty()
        && view.facts.interfaces.iter().any(is_global)
}

fn publish(shared: &Shared, network: u64, found: Vec<Nat64Prefix>) {
    shared.outlook.send_if_modified(|outlook| {
        // The answer is of the network that was asked, which may be gone.
        if outlook.network_changes != network || *outlook.nat64 == found {
            return false;
        }
        outlook.nat64 = Arc::new(found);
        true
    });
}

/// Ready when the network is another one.
async fn changed_from(network: u64, outlook: &mut watch::Receiver<Outlook>) {
    // The sender lives as long as the node.
    let _ = outlook
        .wait_for(|outlook| outlook.network_changes != network)
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv6Addr;

    fn prefix(text: &str, length: u32) -> Nat64Prefix {
        Nat64Prefix::new(text.parse().unwrap(), length).unwrap()
    }

    fn answers(made_by: &[Nat64Prefix]) -> Vec<IpAddr> {
        let v4 = WELL_KNOWN.map(IpAddr::V4);
        let v6 = made_by
            .iter()
            .flat_map(|prefix| WELL_KNOWN.map(|inner| IpAddr::V6(prefix.embed(inner))));
        v4.into_iter().chain(v6).collect()
    }

    #[test]
    fn a_prefix_of_every_length_is_found_and_without_a_translator_none() {
        for length in Nat64Prefix::LENGTHS {
            let network = prefix("2a00:64:1:2::", length);
            assert_eq!(prefixes(&answers(&[network])), [network], "/{length}");
        }
        assert_eq!(prefixes(&answers(&[])), []);
        assert_eq!(prefixes(&[]), []);
        let (one, other) = (prefix("64:ff9b::", 96), prefix("2a00:64::", 32));
        assert_eq!(prefixes(&answers(&[other, one, other])), [one, other]);
    }

    #[test]
    fn addresses_without_the_well_known_ones_inside_tell_nothing() {
        let answers: Vec<IpAddr> = ["2606:4700::1111", "64:ff9b::192.0.0.172", "::1", "192.0.0.170"]
            .map(|ip| ip.parse().unwrap())
            .to_vec();
        assert_eq!(prefixes(&answers), []);
    }

    #[test]
    fn where_one_answer_leaves_a_choice_the_other_decides() {
        // The prefix itself holds 192.0.0.170 where a /32 would have its address.
        let network = prefix("2a00:64:c000:aa::", 96);
        let [one, other] = WELL_KNOWN.map(|inner| IpAddr::V6(network.embed(inner)));
        assert_eq!(prefixes(&[one, other]), [network]);
        assert_eq!(prefixes(&[one]), []);
    }

    #[test]
    fn one_answer_alone_is_enough_if_it_leaves_no_choice() {
        let network = prefix("2a00:64::", 56);
        assert_eq!(prefixes(&answers(&[network])[3..]), [network]);
    }

    #[test]
    fn however_many_answers_come_few_prefixes_are_kept() {
        let many: Vec<Nat64Prefix> = (0..1000u32)
            .map(|n| prefix(&format!("2a00:64:{n:x}::"), 96))
            .collect();
        assert_eq!(prefixes(&answers(&many)).len(), MAX_NAT64_PREFIXES);
    }

    proptest! {
        #[test]
        fn no_answer_panics_and_every_prefix_explains_one(ips in prop::collection::vec(any::<IpAddr>(), 0..9), net in any::<u64>()) {
            let network = Nat64Prefix::new(Ipv6Addr::from_bits(u128::from(net) << 64), 64).unwrap();
            let mut ips = ips;
            ips.extend(answers(&[network]));
            let found = prefixes(&ips);
            prop_assert!(found.contains(&network));
            let explains = |prefix: &Nat64Prefix| ips.iter().any(|ip| match ip {
                IpAddr::V6(ip) => prefix.extract(*ip).is_some_and(|inner| WELL_KNOWN.contains(&inner)),
                IpAddr::V4(_) => false,
            });
            prop_assert!(found.iter().all(explains));
        }
    }
}
