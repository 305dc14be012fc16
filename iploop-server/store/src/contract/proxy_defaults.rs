use iploop_platform::proxy_defaults::{ProxyDefaults, ProxyProtocol};

use super::{Database, at, new_account};

pub(super) async fn what_was_set_last_reads_back_for_its_account_alone(db: &Database) {
    let (account, other) = (new_account(&*db.store).await, new_account(&*db.store).await);
    assert_eq!(db.store.proxy_defaults(account).await.unwrap(), None);
    let first = ProxyDefaults {
        targeting: "country-US-session-a".to_owned(),
        protocol: ProxyProtocol::Socks5,
        changed_at: at(1),
    };
    let second = ProxyDefaults {
        targeting: String::new(),
        protocol: ProxyProtocol::Http,
        changed_at: at(2),
    };
    for defaults in [first, second] {
        db.store.set_proxy_defaults(account, &defaults).await.unwrap();
        assert_eq!(db.store.proxy_defaults(account).await.unwrap(), Some(defaults));
    }
    assert_eq!(db.store.proxy_defaults(other).await.unwrap(), None);
}
