//! The reads that are measured: the heaviest ones of the dashboard, and its first page as a whole.

use std::net::SocketAddr;

/// The row of signing in.
pub(super) const SIGN_IN: &str = "sign in";

/// What one request or several in turn ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) name: &'static str,
    paths: &'static [&'static str],
}

/// All of them, the first page first.
pub(super) fn all() -> Vec<Route> {
    const ROUTES: [(&str, &[&str]); 18] = [
        (
            "dashboard overview, its requests in turn",
            &[
                "/api/auth/profile",
                "/api/nodes?limit=20",
                "/api/usage/summary?days=30",
                "/api/usage/daily?days=30",
                "/api/usage/by-country?days=30",
                "/api/usage/recent?limit=10",
                "/api/proxy/keys",
                "/api/billing/subscription",
                "/api/platform",
            ],
        ),
        ("usage/summary, 30 days", &["/api/usage/summary?days=30"]),
        ("usage/daily, 30 days", &["/api/usage/daily?days=30"]),
        ("usage/hourly, 30 days", &["/api/usage/hourly?days=30"]),
        ("usage/by-country, 30 days", &["/api/usage/by-country?days=30"]),
        ("usage/by-key, 30 days", &["/api/usage/by-key?days=30"]),
        ("usage/by-status, 30 days", &["/api/usage/by-status?days=30"]),
        (
            "usage/by-destination, 30 days",
            &["/api/usage/by-destination?days=30"],
        ),
        ("proxy/stats", &["/api/proxy/stats"]),
        ("usage/requests, a page of 50", &["/api/usage/requests?limit=50"]),
        (
            "usage/requests, a page of 100 failed ones",
            &["/api/usage/requests?limit=100&code=connection_refused"],
        ),
        ("proxy/keys", &["/api/proxy/keys"]),
        ("webhooks", &["/api/webhooks"]),
        (
            "billing/transactions, a page of 50",
            &["/api/billing/transactions?limit=50"],
        ),
        ("billing/plans", &["/api/billing/plans"]),
        ("proxy/locations", &["/api/proxy/locations"]),
        ("nodes, a page of 100", &["/api/nodes"]),
        ("nodes/stats", &["/api/nodes/stats"]),
    ];
    ROUTES.map(|(name, paths)| Route { name, paths }).to_vec()
}

impl Route {
    /// Its requests as the dashboard of a signed-in account sends them.
    pub(super) fn requests(&self, api: SocketAddr, cookie: &str) -> Vec<String> {
        let request = |path: &&str| {
            format!(
                "GET {path} HTTP/1.1\r\nHost: {api}\r\nAccept: application/json\r\nAccept-Encoding: gzip, br\r\n\
                 User-Agent: iploop-bench/{}\r\nCookie: {cookie}\r\n\r\n",
                env!("CARGO_PKG_VERSION")
            )
        };
        self.paths.iter().map(request).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = all().iter().map(|route| route.name).collect();
        assert_eq!(names.len(), all().len());
    }
}
