//! Which exit a request leaves by, and what a wish that can't be met is answered with.

use std::collections::BTreeSet;

use crate::harness::{Customer, Place, Response, Settings, World, eventually, read_response};

fn exit_ip(response: &Response) -> String {
    assert_eq!(response.status, 200, "{}\n{}", response.head, response.text());
    let seen = response.json()["ip"].as_str().unwrap().to_owned();
    assert_eq!(response.field("X-IPLoop-Exit-Ip"), Some(seen.as_str()));
    seen
}

#[test]
fn requests_rotate_and_sessions_stay() {
    let world = World::start();
    let customer = world.customer();
    let url = world.origin.url("/echo");

    let rotating: Vec<String> = (0..12).map(|_| exit_ip(&customer.get(&url))).collect();
    assert_eq!(rotating.iter().collect::<BTreeSet<_>>().len(), 3, "{rotating:?}");

    let sticky = customer.with("-session-abc");
    let first = exit_ip(&sticky.get(&url));
    for _ in 0..8 {
        let response = sticky.get(&url);
        assert_eq!(exit_ip(&response), first);
        assert_eq!(response.field("X-IPLoop-Session"), Some("abc"));
        let mut tunnel = sticky.socks5(world.origin.http).ok().unwrap();
        assert_eq!(tunnel.get("/echo").json()["ip"], first.as_str());
    }
    // A session belongs to its account.
    let other = world.create_account("other@example.com", true);
    world.database().give_business_plan(&other.id);
    let others = world.customer_of(&other).with("-session-abc-country-IL");
    assert_eq!(exit_ip(&others.get(&url)), Place::TEL_AVIV.address);
    assert_eq!(exit_ip(&sticky.get(&url)), first);

    let distinct = customer.with("-sesstype-per-request");
    let exits: Vec<String> = (0..8).map(|_| exit_ip(&distinct.get(&url))).collect();
    assert!(exits.windows(2).all(|pair| pair[0] != pair[1]), "{exits:?}");
    exit_ip(&customer.with("-country-DE").get(&url));
    let alone = customer.with("-rotate-request-country-US");
    exit_ip(&alone.get(&url));
    let refused = alone.get(&url);
    assert_eq!((refused.status, refused.code()), (503, "no_distinct_exit"));

    // By hand: another exit for the same session.
    let manual = customer.with("-session-m-rotate-manual");
    let before = exit_ip(&manual.get(&url));
    let mut stream = manual.dial();
    let request = format!(
        "GET {url} HTTP/1.1\r\nHost: {}\r\n{}X-IPLoop-Rotate: 1\r\n\r\n",
        world.origin.http,
        manual.login()
    );
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let rotated = read_response(&mut stream, false).unwrap();
    assert_ne!(exit_ip(&rotated), before);
    let fields = rotated.json()["fields"].to_string().to_ascii_lowercase();
    assert!(!fields.contains("x-iploop"), "{fields}");
}

#[test]
fn country_region_city_and_network_choose_the_exit() {
    let world = World::start_with(Settings::with_places(&[
        Place::NEW_YORK,
        Place::MIAMI,
        Place::BERLIN,
        Place::TEL_AVIV,
    ]));
    let url = world.origin.url("/echo");
    let get = |targeting: &str| world.customer().with(targeting).get(&url);
    for (targeting, place) in [
        ("-country-US-city-miami", Place::MIAMI),
        ("-country-us-city-New_York", Place::NEW_YORK),
        ("-city-new-york", Place::NEW_YORK),
        ("-city-tel%20aviv", Place::TEL_AVIV),
        ("-country-DE", Place::BERLIN),
        ("-country-eu", Place::BERLIN),
        ("-asn-64503", Place::TEL_AVIV),
        ("-country-US-asn-64504", Place::MIAMI),
        ("-exclude-US+DE", Place::TEL_AVIV),
    ] {
        for _ in 0..3 {
            let response = get(targeting);
            assert_eq!(exit_ip(&response), place.address, "{targeting}");
            let (asn, country) = (place.asn.to_string(), Some(place.country));
            assert_eq!(response.field("X-IPLoop-Exit-Country"), country);
            assert_eq!(response.field("X-IPLoop-Exit-City"), Some(place.city));
            assert_eq!(response.field("X-IPLoop-Exit-Asn"), Some(asn.as_str()));
        }
    }
    let either: BTreeSet<String> = (0..16).map(|_| exit_ip(&get("-country-DE+IL"))).collect();
    let expected = [Place::BERLIN.address, Place::TEL_AVIV.address].map(str::to_owned);
    assert_eq!(either, BTreeSet::from(expected));
    for targeting in [
        "-country-DE-city-miami",
        "-country-US-asn-64502",
        "-country-FR",
        "-city-nowhere",
    ] {
        let refused = get(targeting);
        assert_eq!((refused.status, refused.code()), (503, "no_exit"), "{targeting}");
    }
}

#[test]
fn what_is_wrong_with_a_login_or_a_wish_is_named() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let url = world.origin.url("/echo");
    let customer = world.customer();
    let refusals = |customer: &Customer, status: u16, code: &str, reply: u8| {
        let answer = customer.get(&url);
        assert_eq!((answer.status, answer.code()), (status, code));
        assert!(answer.head.starts_with(&format!("HTTP/1.1 {status} {code}\r\n")));
        assert!(answer.field("Proxy-Status").unwrap().starts_with("iploop"));
        let problem = answer.json();
        assert_eq!(problem["code"], code);
        assert_eq!(
            answer.field("X-IPLoop-Request-Id"),
            problem["request_id"].as_str()
        );
        let refused = customer.connect(world.origin.https).err().unwrap();
        assert_eq!((refused.status, refused.code()), (status, code));
        if status != 407 {
            assert_eq!(customer.socks5(world.origin.http).err(), Some(reply), "{code}");
        }
        problem
    };
    for (targeting, code, parameter) in [
        ("-country-XX", "invalid_country", "country"),
        ("-contry-US", "unknown_parameter", "contry"),
        ("-country-US-country-DE", "duplicate_parameter", "country"),
        ("-session-a-rotate-request", "conflicting_parameters", ""),
        ("-lifetime-1s", "invalid_value", "lifetime"),
    ] {
        let problem = refusals(&customer.with(targeting), 400, code, 1);
        let named = problem["parameter"].as_str().unwrap_or_default();
        assert!(parameter.is_empty() || named == parameter, "{problem}");
    }
    refusals(&customer.with("-country-JP"), 503, "no_exit", 1);

    // A wrong login after a right one is refused: on the same connection, on another, and by SOCKS5.
    let wrong = Customer {
        password: format!("iploop_{}", "0".repeat(48)),
        ..customer.clone()
    };
    let mut stream = customer.dial();
    let ask = |stream: &mut std::net::TcpStream, login: &str| {
        let host = world.origin.http;
        let request = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n{login}\r\n");
        std::io::Write::write_all(stream, request.as_bytes()).unwrap();
        read_response(stream, false).unwrap().status
    };
    for (login, status) in [
        (customer.login(), 200),
        (wrong.login(), 407),
        (String::new(), 407),
        (customer.login(), 200),
        (wrong.login(), 407),
    ] {
        assert_eq!(ask(&mut stream, &login), status);
    }
    refusals(&wrong, 407, "credentials_invalid", 1);
    let stranger = Customer {
        user: "01900000-0000-7000-8000-00000000dead".to_owned(),
        ..customer.clone()
    };
    refusals(&stranger, 407, "credentials_invalid", 1);

    let unverified = world.create_account("unverified@example.com", false);
    refusals(&world.customer_of(&unverified), 403, "email_unverified", 1);
    // A plan without cities and sessions.
    let starter = world.customer_of(&world.create_account("starter@example.com", true));
    assert_eq!(starter.with("-country-DE").get(&url).status, 200);
    for targeting in ["-city-berlin", "-asn-64502", "-session-a"] {
        refusals(&starter.with(targeting), 403, "plan_feature", 1);
    }
    // Where nobody may go, whoever asks.
    for (to, code) in [
        ("10.0.0.1:80", "destination_forbidden"),
        ("127.0.0.1:1", "destination_forbidden"),
        ("[::1]:443", "destination_forbidden"),
        ("169.254.169.254:80", "destination_forbidden"),
        ("localhost:80", "destination_forbidden"),
        ("router.lan:80", "destination_forbidden"),
        ("93.184.216.34:25", "port_forbidden"),
    ] {
        let refused = customer.connect(to).err().unwrap();
        assert_eq!((refused.status, refused.code()), (403, code), "{to}");
    }
    assert_eq!(customer.socks5_name("printer.local", 80).err(), Some(2));
}

#[test]
fn a_plan_bounds_connections_and_gives_them_back() {
    let world = World::start_with(Settings::with_places(&[Place::BERLIN]));
    let starter = world.customer_of(&world.create_account("starter@example.com", true));
    let mut held: Vec<_> = (0..10)
        .map(|_| starter.connect(world.origin.http).ok().unwrap())
        .collect();
    let refused = starter.get(&world.origin.url("/echo"));
    assert_eq!((refused.status, refused.code()), (429, "too_many_connections"));
    assert!(refused.field("Retry-After").is_some(), "{}", refused.head);
    assert_eq!(starter.socks5(world.origin.http).err(), Some(1));
    assert_eq!(
        world.customer().get(&world.origin.url("/echo")).status,
        200,
        "others are not concerned"
    );
    held.pop();
    eventually("a connection that ended makes room", || {
        (starter.get(&world.origin.url("/echo")).status == 200).then_some(())
    });
}
