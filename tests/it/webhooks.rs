//! Events by webhook through the real server, over a crash of it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::json;

use crate::harness::{Place, Settings, World, eventually, read_head};

/// A request as a customer's server got it.
struct Received {
    head: String,
    body: String,
}

impl Received {
    fn field(&self, name: &str) -> &str {
        let found = self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then_some(value.trim())
        });
        found.unwrap()
    }
}

/// Answers the first request with 500 and all others with 204.
fn receive(listener: TcpListener) -> Receiver<Received> {
    let (sender, requests) = sync_channel(16);
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let Ok(head) = read_head(&mut stream) else {
                continue;
            };
            let mut request = Received {
                head,
                body: String::new(),
            };
            let mut body = vec![0; request.field("content-length").parse().unwrap()];
            stream.read_exact(&mut body).unwrap();
            request.body = String::from_utf8(body).unwrap();
            let status = if n == 0 { "500 x" } else { "204 x" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    requests
}

#[test]
fn an_event_outlives_a_crash_and_arrives_signed_with_its_first_id() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let requests = receive(listener);
    let allow = format!("[\"{address}\"]");
    let settings = Settings::with_places(&[Place::BERLIN]).set("IPLOOP_WEBHOOKS__TEST_ALLOW", &allow);
    let mut world = World::start_with(settings);
    let api = world.signed_in();
    let wanted = json!({ "url": format!("http://{address}/hook"), "events": ["api_key.created"] });
    let webhook = api.post("/api/webhooks", &wanted);
    assert_eq!(webhook.status, 201, "{}", webhook.text());
    let webhook = webhook.json();
    let made = api.post("/api/proxy/keys", &json!({ "name": "second" })).json();

    let patience = Duration::from_secs(60);
    let first = requests.recv_timeout(patience).unwrap();
    let deliveries = format!("/api/webhooks/{}/deliveries", webhook["id"].as_str().unwrap());
    eventually("the try is noted", || {
        let list = api.get(&deliveries).json();
        (list["deliveries"][0]["statusCode"] == 500).then_some(())
    });
    world.server.kill();
    world.restart_server();
    let second = requests.recv_timeout(patience).unwrap();
    assert_eq!(second.field("webhook-id"), first.field("webhook-id"));
    assert_eq!(second.body, first.body);
    assert!(
        second.body.contains(made["id"].as_str().unwrap()),
        "{}",
        second.body
    );
    let secret = webhook["secret"]
        .as_str()
        .unwrap()
        .strip_prefix("whsec_")
        .unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(secret).unwrap());
    let signed = format!(
        "{}.{}.{}",
        second.field("webhook-id"),
        second.field("webhook-timestamp"),
        second.body
    );
    let tag = STANDARD
        .decode(second.field("webhook-signature").strip_prefix("v1,").unwrap())
        .unwrap();
    hmac::verify(&key, signed.as_bytes(), &tag).unwrap();
    let api = world.signed_in();
    eventually("the delivery is noted", || {
        let list = api.get(&deliveries).json();
        (list["deliveries"][0]["state"] == "delivered").then_some(())
    });
}

#[test]
fn mails_can_be_looked_at_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("iploop.toml"), "").unwrap();
    let out = folder.path().join("mails");
    let written = crate::harness::manage(
        folder.path(),
        &["mail", "preview", "--out", out.to_str().unwrap()],
    );
    let mails = written["mails"].as_array().unwrap();
    assert!(mails.len() >= 11, "{written}");
    for mail in mails {
        let name = mail["name"].as_str().unwrap();
        let html = std::fs::read_to_string(out.join(format!("{name}.html"))).unwrap();
        assert!(
            html.contains("Hello Ada Lovelace,") && html.contains("<table"),
            "{name}"
        );
        assert!(
            std::fs::read_to_string(out.join(format!("{name}.txt")))
                .unwrap()
                .contains("Hello Ada"),
            "{name}"
        );
    }
}
