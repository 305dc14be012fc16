//! Names resolved at the gateway, for customers who ask for it (`dns-gateway`). The device gets an address then, and checks it
//! again; everybody else's names are resolved on the device alone.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use iploop_protocol::destination::{Destination, Host};
use iploop_protocol::policy::{Context, MAX_ANSWER_AGE, Policy};
use tokio::time::timeout;

use crate::answer::ProxyError;

/// Longest wait for the name servers.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Answers kept for a short while. Each use checks them again.
const CACHED_ANSWERS: u64 = 4096;

/// The system's name servers, asked from the first use on.
#[derive(Default)]
pub(crate) struct Resolver {
    system: OnceLock<Option<TokioResolver>>,
}

impl Resolver {
    /// The same destination with an address in place of its name, where every answer passes the policy.
    pub(crate) async fn resolve(
        &self,
        destination: &Destination,
        policy: &Policy,
        context: &Context<'_>,
    ) -> Result<Destination, ProxyError> {
        let Host::Name(name) = &destination.host else {
            return Ok(destination.clone());
        };
        let system = self
            .system
            .get_or_init(build)
            .as_ref()
            .ok_or(ProxyError::DnsFailed)?;
        // The final dot keeps the search list of the system out of it.
        let answers = match timeout(TIMEOUT, system.lookup_ip(format!("{name}."))).await {
            Ok(Ok(answers)) => answers.iter().collect::<Vec<IpAddr>>(),
            Ok(Err(_)) | Err(_) => return Err(ProxyError::DnsFailed),
        };
        choose(destination, &answers, policy, context)
    }
}

fn build() -> Option<TokioResolver> {
    let mut builder = match TokioResolver::builder_tokio() {
        Ok(builder) => builder,
        Err(error) => {
            tracing::warn!(%error, "dns-gateway fails: the system's name servers can't be read");
            return None;
        }
    };
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = CACHED_ANSWERS;
    options.positive_max_ttl = Some(MAX_ANSWER_AGE);
    options.negative_max_ttl = Some(MAX_ANSWER_AGE);
    builder.build().ok()
}

/// One refused answer refuses the name; of the others an IPv4 address serves more exits.
fn choose(
    destination: &Destination,
    answers: &[IpAddr],
    policy: &Policy,
    context: &Context<'_>,
) -> Result<Destination, ProxyError> {
    let checked = policy.check_addresses(destination, answers, context)?;
    let address = checked
        .iter()
        .find(|address| address.is_ipv4())
        .or_else(|| checked.iter().next());
    address.map(Destination::from).ok_or(ProxyError::DnsFailed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_checked_and_ipv4_preferred() {
        let destination = Destination::parse_authority("example.com:443").unwrap();
        let choose = |answers: &[&str]| {
            let answers: Vec<IpAddr> = answers.iter().map(|ip| ip.parse().unwrap()).collect();
            choose(&destination, &answers, &Policy::default(), &Context::at_gateway())
                .map(|chosen| chosen.to_string())
        };
        assert_eq!(choose(&["2606:4700::1111", "1.1.1.1"]).unwrap(), "1.1.1.1:443");
        assert_eq!(choose(&["2606:4700::1111"]).unwrap(), "[2606:4700::1111]:443");
        assert!(matches!(
            choose(&["1.1.1.1", "10.0.0.1"]),
            Err(ProxyError::Forbidden(_))
        ));
        assert!(matches!(choose(&[]), Err(ProxyError::DnsFailed)));
    }
}
