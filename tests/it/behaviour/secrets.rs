//! Credentials and targeting reach neither an origin nor a log.

use crate::harness::{Customer, Place, Settings, World};

#[test]
fn credentials_and_targeting_reach_neither_origin_nor_logs() {
    // Everything that is of use to an operator, and of the libraries what they have to say at that level.
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]).set("RUST_LOG", "debug"));
    let secret = "k9x7q2w8";
    let customer = world.customer().with(&format!("-country-DE-session-{secret}"));
    let in_user = Customer {
        user: customer.password.clone(),
        password: "x".to_owned(),
        ..customer.clone()
    };
    let unknown = Customer {
        password: format!("iploop_{}", "5eC4e7".repeat(8)),
        ..customer.clone()
    };
    let url = world.origin.url("/echo");
    for customer in [&customer, &in_user] {
        assert_eq!(customer.get(&url).status, 200);
        assert_eq!(
            customer
                .connect(world.origin.http)
                .ok()
                .unwrap()
                .get("/echo")
                .status,
            200
        );
        assert_eq!(
            customer
                .socks5(world.origin.http)
                .ok()
                .unwrap()
                .get("/echo")
                .status,
            200
        );
        let misspelt = world.customer().with(&format!("-citty-{secret}"));
        assert_eq!(misspelt.get(&url).status, 400);
        assert_eq!(customer.with("-city-nowhere").get(&url).status, 503);
    }
    assert_eq!(unknown.get(&url).status, 407);
    let login = serde_json::json!({ "email": world.account.email, "password": world.account.password });
    assert_eq!(world.api().post("/api/auth/login", &login).status, 200);

    let key = world.account.key.strip_prefix("iploop_").unwrap();
    let basic = customer.login();
    let basic = basic
        .trim_end()
        .strip_prefix("Proxy-Authorization: Basic ")
        .unwrap();
    let secrets = [
        key,
        basic,
        secret,
        &"5ec4e7".repeat(8),
        &"5eC4e7".repeat(8),
        world.partner_key.strip_prefix("iplp_").unwrap(),
        &world.account.password,
        "citty",
    ];
    let mut places = vec![("the server's log".to_owned(), world.server.log())];
    for device in &world.devices {
        places.push(("a device's log".to_owned(), device.program.log()));
    }
    for visit in world.origin.visits() {
        let raw = String::from_utf8_lossy(&visit.raw()).into_owned();
        places.push(("the origin".to_owned(), raw));
    }
    assert!(places.len() > 6 && places.iter().all(|(_, text)| !text.is_empty()));
    for (place, text) in &places {
        for secret in secrets {
            let found = text.lines().find(|line| line.contains(secret));
            assert_eq!(found, None, "{secret} in {place}");
        }
    }
}
