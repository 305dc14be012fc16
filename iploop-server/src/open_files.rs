//! How many files the process may have open: each connection of a customer, a device or a browser is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Files besides connections: databases, logs, listeners, calls to others.
const OTHERS: u64 = 256;

/// Raises the limit to the most that the system allows, and warns where customers alone may need more.
///
/// Systems give a program 1,024 at first and let it ask for more, for the sake of old programs that can't count further.
pub fn raise_limit(config: &Config) {
    let limit = raise();
    let customers = u64::try_from(config.gateway.max_connections).unwrap_or(u64::MAX);
    if limit.is_some_and(|limit| limit < customers.saturating_add(OTHERS)) {
        tracing::warn!(
            limit,
            "the system allows fewer open files than gateway.max_connections and the server itself need: \
             raise its limit (LimitNOFILE=, ulimit -Hn), or lower the setting"
        );
    }
}

/// The limit as it is then; none: there is none.
fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    // Where the most is more than the kernel has (macOS) this is refused, and the limit stays.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    );
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_allows_is_used() {
        let limit = getrlimit(Resource::Nofile);
        let low = Rlimit {
            current: Some(256),
            ..limit
        };
        setrlimit(Resource::Nofile, low).unwrap();
        assert_eq!(raise(), limit.maximum);
    }
}
