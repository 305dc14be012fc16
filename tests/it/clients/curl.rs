//! curl, in all its proxy modes.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Place, Settings, World, eventually, pattern, run, sha256};

/// Content that takes many frames, windows and reads.
const LARGE: usize = 12 * 1024 * 1024;

/// A world and what curl is told in every case.
struct Curl {
    world: World,
    key: String,
}

/// What curl got.
struct Got {
    stdout: Vec<u8>,
    /// Of `--write-out`: the last transfer's facts.
    facts: Value,
}

impl Curl {
    fn start() -> Self {
        Self::start_with(Settings::default())
    }

    fn start_with(settings: Settings) -> Self {
        let world = World::start_with(settings);
        let key = world.account.key.clone();
        Self { world, key }
    }

    /// Runs curl, which must succeed.
    fn get(&self, arguments: &[&str]) -> Got {
        let (output, facts) = self.try_get(arguments);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "curl {arguments:?}: {complaint}");
        Got {
            stdout: output.stdout,
            facts,
        }
    }

    fn try_get(&self, arguments: &[&str]) -> (std::process::Output, Value) {
        let mut command = Command::new("curl");
        command
            // No configuration, no proxy of the machine's own.
            .args([
                "--disable",
                "--silent",
                "--show-error",
                "--max-time",
                "50",
                "--noproxy",
                "",
            ])
            .args(["--write-out", "%{stderr}facts:%{json}\n"])
            .arg("--cacert")
            .arg(&self.world.authority.ca)
            .arg("--proxy-cacert")
            .arg(&self.world.authority.ca)
            .args(arguments)
            .env("no_proxy", "");
        let output = run(&mut command, PATIENCE);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last = stderr
            .lines()
            .filter_map(|line| line.strip_prefix("facts:"))
            .next_back();
        let facts = last.and_then(|line| serde_json::from_str(line).ok());
        (output, facts.unwrap_or_default())
    }

    /// A proxy by this scheme, with the login in its URL; none where that is empty.
    fn proxy(&self, scheme: &str, login: &str) -> String {
        let address = if scheme.starts_with("socks") {
            self.world.ready.socks
        } else {
            self.world.ready.proxy
        };
        match login {
            "" => format!("{scheme}://{address}"),
            login => format!("{scheme}://{login}@{address}"),
        }
    }

    fn http(&self, path: &str) -> String {
        self.world.origin.url(path)
    }

    fn https(&self, path: &str) -> String {
        self.world.origin.https_url(path)
    }
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.stdout)))
    }
}

#[test]
fn every_proxy_mode_leaves_by_the_country_asked_for() {
    let curl = Curl::start();
    let key = &curl.key;
    let in_password = |place: Place| format!("iploop:{key}-country-{}", place.country);
    let key_in_user = |place: Place| format!("{key}-country-{}:x", place.country);
    let in_user = |place: Place| format!("iploop-country-{}:{key}", place.country);
    let by_account = |place: Place| format!("{}-country-{}:{key}", curl.world.account.id, place.country);
    let logins: [(&str, &dyn Fn(Place) -> String); 4] = [
        ("targeting in the password", &in_password),
        ("key and targeting in the user name", &key_in_user),
        ("targeting in the user name", &in_user),
        ("account and targeting in the user name", &by_account),
    ];
    let places = [Place::NEW_YORK, Place::BERLIN, Place::TEL_AVIV];
    let mut turn = 0;
    for scheme in ["http", "https", "socks5", "socks5h"] {
        for (name, login) in &logins {
            for url in [curl.http("/echo"), curl.https("/echo")] {
                turn += 1;
                let place = places[turn % places.len()];
                let proxy = curl.proxy(scheme, &login(place));
                let got = curl.get(&["--proxy", &proxy, &url]);
                assert_eq!(got.json()["ip"], place.address, "{scheme}, {name}, {url}");
                assert_eq!(got.facts["http_code"], 200);
            }
        }
    }
    // A tunnel for plain HTTP too.
    let proxy = curl.proxy("http", &in_password(Place::BERLIN));
    let got = curl.get(&["--proxytunnel", "--proxy", &proxy, &curl.http("/echo")]);
    assert_eq!(got.json()["ip"], Place::BERLIN.address);
    assert_eq!(got.facts["http_connect"], 200);
    // The login asked for by 407 instead of sent at once.
    let got = curl.get(&["--proxy-anyauth", "--proxy", &proxy, &curl.http("/echo")]);
    assert_eq!(got.json()["ip"], Place::BERLIN.address);
    // SOCKS5 on the port of HTTP, and the reverse.
    let crossed = format!(
        "socks5h://{}@{}",
        in_password(Place::TEL_AVIV),
        curl.world.ready.proxy
    );
    assert_eq!(
        curl.get(&["--proxy", &crossed, &curl.http("/echo")]).json()["ip"],
        Place::TEL_AVIV.address
    );
    let crossed = format!(
        "http://{}@{}",
        in_password(Place::TEL_AVIV),
        curl.world.ready.socks
    );
    assert_eq!(
        curl.get(&["--proxy", &crossed, &curl.https("/echo")]).json()["ip"],
        Place::TEL_AVIV.address
    );
}

#[test]
fn content_arrives_whole_in_both_directions() {
    let curl = Curl::start();
    let content = pattern(LARGE);
    let sum = sha256(&content);
    let file = curl.world.folder().join("upload");
    std::fs::write(&file, content).unwrap();
    let file = file.display().to_string();
    let login = format!("iploop:{}", curl.key);
    for scheme in ["http", "https", "socks5h"] {
        let proxy = curl.proxy(scheme, &login);
        for secure in [false, true] {
            let url = |path: &str| if secure { curl.https(path) } else { curl.http(path) };
            for path in ["bytes", "chunked", "close"] {
                let got = curl.get(&["--proxy", &proxy, &url(&format!("/{path}/{LARGE}"))]);
                assert_eq!(
                    sha256(&got.stdout),
                    sum,
                    "{scheme}, download by {path}, TLS {secure}"
                );
            }
            for (how, arguments) in [
                // curl expects 100-continue before content of this size.
                ("POST", &["--data-binary", &format!("@{file}")][..]),
                (
                    "chunked PUT",
                    &["--upload-file", &file, "--header", "Transfer-Encoding: chunked"],
                ),
                ("form", &["--form", "a=b"]),
            ] {
                let url = url("/echo");
                let got = curl
                    .get(&[&["--proxy", &proxy, &url][..], arguments].concat())
                    .json();
                if how != "form" {
                    assert_eq!(got["sha256"], sum, "{scheme}, {how}, TLS {secure}: {got}");
                }
                assert!(got["length"].as_u64().unwrap() > 0);
            }
        }
    }
}

#[test]
fn connections_are_kept_and_old_clients_served() {
    let curl = Curl::start();
    let login = format!("iploop:{}-country-DE", curl.key);
    let proxy = curl.proxy("http", &login);
    for url in [curl.http("/echo"), curl.https("/echo")] {
        let got = curl.get(&["--proxy", &proxy, &url, "--output", "/dev/null", &url]);
        assert_eq!(
            got.facts["num_connects"], 0,
            "the second request needs no connection: {}",
            got.facts
        );
    }
    let got = curl.get(&["--http1.0", "--proxy", &proxy, &curl.http("/echo")]);
    assert_eq!(got.json()["ip"], Place::BERLIN.address);
    let got = curl.get(&["--head", "--proxy", &proxy, &curl.http("/echo")]);
    let head = String::from_utf8_lossy(&got.stdout).to_ascii_lowercase();
    assert!(head.contains("x-iploop-exit-country: de"), "{head}");
    assert!(
        head.contains(&format!("x-iploop-exit-ip: {}", Place::BERLIN.address)),
        "{head}"
    );
}

#[test]
fn an_http_1_0_client_gets_a_new_connection_for_each_request() {
    let curl = Curl::start();
    let login = format!("iploop:{}-country-DE", curl.key);
    let proxy = curl.proxy("http", &login);
    // What keeps a connection of HTTP/1.0 where nobody is between.
    let stay = [
        "--http1.0",
        "--header",
        "Connection: keep-alive",
        "--header",
        "Proxy-Connection: keep-alive",
        "--proxy",
        &proxy,
    ];
    let with = |more: &[&str]| curl.get(&[&stay[..], more].concat());
    for path in ["/bytes/70000", "/chunked/70000", "/close/70000"] {
        let url = curl.http(path);
        let got = with(&["--include", &url]);
        let (head, content) = got.stdout.split_at(got.stdout.len() - 70_000);
        assert_eq!(content, pattern(70_000), "{path}: no chunks and nothing missing");
        let head = String::from_utf8_lossy(head);
        assert!(
            head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\nConnection: close\r\n"),
            "{head}"
        );
        let again = with(&["--output", "/dev/null", &url, "--output", "/dev/null", &url]);
        assert_eq!(again.facts["num_connects"], 1, "{path}: {}", again.facts);
    }
    // Asked for its login by 407, which ends the connection too.
    let got = with(&["--proxy-anyauth", &curl.http("/echo")]);
    assert_eq!(got.json()["ip"], Place::BERLIN.address);
    // A tunnel asked for in HTTP/1.0 carries whatever is said in it.
    let got = curl.get(&[
        "--proxy1.0",
        &curl.world.ready.proxy.to_string(),
        "--proxy-user",
        &login,
        "--proxy-header",
        "Proxy-Connection: keep-alive",
        &curl.https("/echo"),
        "--output",
        "/dev/null",
        &curl.https("/echo"),
    ]);
    assert_eq!(got.json()["ip"], Place::BERLIN.address);
    assert_eq!(got.facts["num_connects"], 0, "a tunnel is kept: {}", got.facts);
    let (_, refused) = curl.try_get(&[
        "--proxy1.0",
        &curl.world.ready.proxy.to_string(),
        &curl.https("/echo"),
    ]);
    assert_eq!(refused["http_connect"], 407, "{refused}");
}

#[test]
fn a_proven_address_needs_no_login_by_any_protocol_and_its_neighbour_does() {
    let curl = Curl::start_with(Settings::default().set("IPLOOP_ADMISSION__IP_LOGIN_LOCAL", "true"));
    let (home, neighbour) = ("127.0.3.1", "127.0.3.2");
    let key = format!("/api/proxy/keys/{}", curl.world.account.key_id);
    let api = curl.world.signed_in();
    // Both are listed, one of them proves that it is the customer's.
    let listed = api.put(&format!("{key}/whitelist"), &json!({ "ips": [home, neighbour] }));
    assert_eq!(listed.status, 200, "{}", listed.text());
    let switched = api.patch(&key, &json!({ "ipLogin": true }));
    assert_eq!(switched.status, 200, "{}", switched.text());
    let from = |address: &str, proxy: &str, url: &str| {
        curl.try_get(&["--interface", address, "--proxy", proxy, url])
    };
    let bare = curl.proxy("http", "");
    assert_eq!(from(home, &bare, &curl.http("/echo")).1["http_code"], 407);
    let proof = from(
        home,
        &curl.proxy("http", &format!("iploop:{}", curl.key)),
        &curl.http("/echo"),
    );
    assert_eq!(proof.1["http_code"], 200);
    eventually("the address is known", || {
        (from(home, &bare, &curl.http("/echo")).1["http_code"] == 200).then_some(())
    });
    for scheme in ["http", "https", "socks5", "socks5h"] {
        for (login, ips) in [
            (
                "",
                &[Place::NEW_YORK, Place::BERLIN, Place::TEL_AVIV].map(|place| place.address)[..],
            ),
            ("iploop-country-IL:", &[Place::TEL_AVIV.address]),
        ] {
            for url in [curl.http("/echo"), curl.https("/echo")] {
                let proxy = curl.proxy(scheme, login);
                let shown = format!("{scheme}, login {login:?}, {url}");
                let (output, _) = from(home, &proxy, &url);
                let complaint = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{shown}: {complaint}");
                let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
                assert!(ips.contains(&seen["ip"].as_str().unwrap()), "{shown}: {seen}");

                let (output, facts) = from(neighbour, &proxy, &url);
                let refused = [&facts["http_code"], &facts["http_connect"]].contains(&&json!(407));
                let by_socks = scheme.starts_with("socks") && output.status.code() == Some(97);
                assert!(refused || by_socks, "{shown} from a neighbour: {facts}");
                let text = String::from_utf8_lossy(&output.stdout);
                assert!(!text.contains("sha256"), "{shown} from a neighbour: {text}");
            }
        }
    }
    // A wrong login is not helped by a good address.
    let wrong = curl.proxy("http", &format!("iploop:iploop_{}", "0f".repeat(24)));
    assert_eq!(from(home, &wrong, &curl.http("/echo")).1["http_code"], 407);
}

#[test]
fn refusals_are_readable_in_every_mode() {
    let curl = Curl::start();
    let wrong_key = format!("iploop_{}", "0f".repeat(24));
    for (login, status, code) in [
        (format!("iploop:{wrong_key}"), 407, "credentials_invalid"),
        (format!("iploop:{}-country-XX", curl.key), 400, "invalid_country"),
        (format!("iploop:{}-country-JP", curl.key), 503, "no_exit"),
    ] {
        let proxy = curl.proxy("http", &login);
        let got = curl.get(&["--proxy", &proxy, &curl.http("/echo")]);
        assert_eq!(got.facts["http_code"], status, "{code}");
        let problem = got.json();
        assert_eq!(
            (&problem["code"], &problem["status"]),
            (&code.into(), &status.into())
        );
        assert!(
            problem["hint"].is_string() && problem["request_id"].is_string(),
            "{problem}"
        );

        let (output, facts) = curl.try_get(&["--verbose", "--proxy", &proxy, &curl.https("/echo")]);
        assert!(!output.status.success());
        assert_eq!(facts["http_connect"], status, "{code}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("HTTP/1.1 {status} {code}")), "{said}");

        let (output, _) = curl.try_get(&["--proxy", &curl.proxy("socks5h", &login), &curl.http("/echo")]);
        assert_eq!(
            output.status.code(),
            Some(97),
            "curl's own code for a proxy handshake: {output:?}"
        );
    }
    let proxy = format!("http://{}", curl.world.ready.proxy);
    let got = curl.get(&["--proxy", &proxy, &curl.http("/echo")]);
    assert_eq!(got.json()["code"], "credentials_missing");
    let proxy = format!("socks5h://{}", curl.world.ready.proxy);
    let (output, _) = curl.try_get(&["--proxy", &proxy, &curl.http("/echo")]);
    assert_eq!(output.status.code(), Some(97));
}
