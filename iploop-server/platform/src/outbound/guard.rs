//! Which addresses a customer's target may have: those that the exit policy's table does not reserve.

use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use iploop_protocol::destination::{Destination, Host};
use iploop_protocol::policy::{Context, Policy, TestAllow};

use super::target::{Target, TargetError};
use super::{OutboundError, Reach};

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;
/// Answers of a resolver that are looked at: more is no name of a webhook.
const MAX_ANSWERS: usize = 64;
/// The policy is asked about addresses as if for the port of the web: ports have a rule of their own here.
const WEB: u16 = 443;

/// Finds the addresses of a name.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// Every address that the name has now.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, WEB)).await?;
        Ok(found.take(MAX_ANSWERS).map(|address| address.ip()).collect())
    }
}

/// The rules for targets that customers name.
pub(super) struct Guard {
    policy: Policy,
    test_allow: TestAllow,
}

impl Guard {
    pub(super) fn new(test_allow: TestAllow) -> Self {
        Self {
            policy: Policy::new(None),
            test_allow,
        }
    }

    /// What can be said of a target before its name is resolved.
    pub(super) fn check(&self, target: &Target) -> Result<(), TargetError> {
        if let Host::Ip(ip) = target.host
            && self.is_test_address(ip, target.port)
        {
            return Ok(());
        }
        if !target.is_https {
            return Err(TargetError::NotHttps);
        }
        if target.port != WEB && target.port < 1024 {
            return Err(TargetError::Port);
        }
        self.policy
            .check_destination(&web(&target.host), &Context::at_gateway())
            .map_err(|_| TargetError::NotPublic)
    }

    /// The addresses to connect to: of a customer's target all of the name's or none.
    pub(super) async fn addresses(
        &self,
        target: &Target,
        reach: Reach,
        resolver: &dyn Resolve,
    ) -> Result<Vec<SocketAddr>, OutboundError> {
        if reach == Reach::Public {
            self.check(target)?;
        }
        let name = match &target.host {
            // Checked as it stands.
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, target.port)]),
            Host::Name(name) => name,
        };
        let mut found = resolver
            .resolve(name.as_str())
            .await
            .map_err(|_| OutboundError::Unresolved)?;
        if reach == Reach::Public {
            let is_open = |ip: &IpAddr| self.is_test_address(*ip, target.port);
            let others: Vec<IpAddr> = found.iter().copied().filter(|ip| !is_open(ip)).collect();
            self.policy
                .check_addresses(&web(&target.host), &others, &Context::at_gateway())
                .map_err(|_| OutboundError::NotPublic)?;
        }
        found.truncate(MAX_ADDRESSES);
        if found.is_empty() {
            return Err(OutboundError::Unresolved);
        }
        Ok(found
            .into_iter()
            .map(|ip| SocketAddr::new(ip, target.port))
            .collect())
    }

    fn is_test_address(&self, ip: IpAddr, port: u16) -> bool {
        let address = SocketAddr::new(ip.to_canonical(), port);
        self.test_allow.iter().any(|open| open == address)
    }
}

fn web(host: &Host) -> Destination {
    Destination {
        host: host.clone(),
        port: WEB,
    }
}
