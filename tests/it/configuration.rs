//! A configuration with mistakes is refused before anything listens, key by key.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{check, refuse_to_serve};

/// Ports that are taken.
fn taken() -> [TcpListener; 4] {
    std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap())
}

/// Were anything opened before the mistakes are found, the error would be another.
fn with_listeners(taken: &[TcpListener; 4], rest: &str) -> String {
    let [gateway, hub, api, metrics] = taken.each_ref().map(|listener| listener.local_addr().unwrap());
    format!(
        "[gateway]\nlisten = [\"{gateway}\"]\n{rest}\n[hub]\nlisten = \"{hub}\"\n[api]\nlisten = \"{api}\"\n\
         [metrics]\nlisten = \"{metrics}\"\n"
    )
}

#[test]
fn every_mistake_is_named_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let taken = taken();
    let text = with_listeners(
        &taken,
        "idle_timeout = \"15\"\nmax_attempts = \"many\"\nlisten_backlog = 5\ntls_cert = \"cert.pem\"\nhandshake_timeout = \"1m\"",
    ) + "[metering]\njournal_interval = \"0s\"\n[exit]\ntest_allow = [\"example\"]\n[hubb]\nlisten = \"x\"\n[mail]\nsmtp = 7\n";
    let environment = [
        ("IPLOOP_API__MAX_CONNECTIONS", "none"),
        ("IPLOOP_LOGIN__NO_SUCH_KEY", "x"),
    ];
    let output = refuse_to_serve(folder.path(), &text, &environment);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(output.stdout, b"");
    for key in [
        "gateway.idle_timeout",
        "gateway.max_attempts",
        "gateway.listen_backlog",
        "gateway.tls_cert",
        "gateway.handshake_timeout",
        "metering.journal_interval",
        "exit.test_allow",
        "hubb",
        "mail.",
        "api.max_connections",
        "login.no_such_key",
    ] {
        assert!(
            said.lines()
                .any(|line| line.starts_with("error: ") && line.contains(key)),
            "{key} is missing in\n{said}"
        );
    }
    assert!(said.contains("15s"), "the way out is named: {said}");
    // Asked beforehand, it says the same of the file.
    let output = check(folder.path(), &text);
    assert_eq!(output.status.code(), Some(2));
    let checked = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        checked.lines().all(|line| said.contains(line)) && checked.lines().count() >= 9,
        "{checked}"
    );
    assert!(check(folder.path(), &with_listeners(&taken, "")).status.success());
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[test]
fn text_that_is_no_toml_and_files_that_are_missing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let taken = taken();
    let free = "[gateway]\nlisten = [\"127.0.0.1:0\"]\n[hub]\nlisten = \"127.0.0.1:0\"\n[api]\nlisten = \"127.0.0.1:0\"\n\
                [metrics]\nlisten = \"127.0.0.1:0\"\n";
    let with = |section: &str, lines: &str| {
        let header = format!("[{section}]\n");
        match free.contains(&header) {
            true => free.replace(&header, &format!("{header}{lines}")),
            false => format!("{free}{header}{lines}"),
        }
    };
    let tls = "tls_cert = \"/nonexistent/cert.pem\"\ntls_key = \"/nonexistent/key.pem\"\n";
    for (text, status, word) in [
        ("[gateway\nlisten = 1".to_owned(), 2, "iploop.toml"),
        (with("gateway", tls), 2, "gateway.tls_key"),
        (with("hub", tls), 2, "hub.tls_key"),
        (
            with("exit", "policy = \"/nonexistent/policy.json\"\n"),
            2,
            "exit.policy",
        ),
        (with("geo", "city = \"/nonexistent/city.mmdb\"\n"), 2, "geo.city"),
    ] {
        let output = refuse_to_serve(folder.path(), &text, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert!(said.contains(word), "{word} is missing in {said}");
        assert_eq!(output.stdout, b"");
    }
    let output = refuse_to_serve(folder.path(), &with_listeners(&taken, ""), &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains(".listen"),
        "a taken port is named: {said}"
    );
}

#[test]
fn secrets_are_for_their_owner_alone() {
    let world = crate::harness::World::start_with(crate::harness::Settings::with_places(&[]));
    for name in ["login-secret", "iploop.db"] {
        let mode = std::fs::metadata(world.data().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name} is readable by others: {mode:o}");
    }
}
