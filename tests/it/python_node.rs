//! A device in another language, written from the protocol's page alone, serves customers of the real server.

use std::process::Command;

use crate::harness::{PATIENCE, Place, Program, Settings, World, pattern, python, repository, run};

#[test]
fn a_node_in_python_serves_real_requests() {
    let world = World::start_with(Settings::with_places(&[]));
    let mut command = Command::new(python());
    command
        .arg(repository().join("tests/python/node.py"))
        .args(["--hub", &world.hub_url(), "--partner-key", &world.partner_key])
        .args(["--allow", &world.origin.http.to_string()])
        .args(["--allow", &world.origin.https.to_string()]);
    let node = Program::start(
        "the node in Python",
        &mut command,
        &world.folder().join("python.log"),
    );
    node.event("ready");
    let size = 3_000_000;
    for (scheme, url) in [
        ("http", world.origin.url("/echo")),
        ("http", world.origin.https_url("/echo")),
        ("socks5h", world.origin.url("/echo")),
        ("http", world.origin.url(&format!("/bytes/{size}"))),
        ("socks5h", world.origin.https_url(&format!("/bytes/{size}"))),
    ] {
        let proxy = format!(
            "{scheme}://iploop:{}-country-FR@{}",
            world.account.key, world.ready.proxy
        );
        let mut curl = Command::new("curl");
        curl.args([
            "--disable",
            "--silent",
            "--show-error",
            "--fail",
            "--noproxy",
            "",
            "--proxy",
            &proxy,
            &url,
        ])
        .arg("--cacert")
        .arg(&world.authority.ca);
        let output = run(&mut curl, PATIENCE);
        assert!(
            output.status.success(),
            "{url}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        if url.ends_with("/echo") {
            let seen: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(seen["ip"], Place::PARIS.address);
        } else {
            assert!(output.stdout == pattern(size), "{url}");
        }
    }
    let (customer, to) = (world.customer(), world.origin.http);
    let upload = pattern(1_000_000);
    let mut tunnel = customer.connect(to).ok().unwrap();
    let head = format!(
        "PUT /echo HTTP/1.1\r\nHost: {to}\r\nContent-Length: {}\r\n\r\n",
        upload.len()
    );
    std::io::Write::write_all(&mut tunnel.stream, &[head.as_bytes(), &upload].concat()).unwrap();
    let seen = crate::harness::read_response(&mut tunnel.stream, false)
        .unwrap()
        .json();
    assert_eq!(seen["sha256"], crate::harness::sha256(&upload));
}
