//! Lists and grants that change while everything runs, and that the device itself has them: the gateway resolves no names, so
//! an address on a list, asked for by a name, is the device's to refuse.

use serde_json::{Value, json};

use super::laboratory::Laboratory;
use crate::harness::eventually;

/// What a customer hears who asks for this: 200, or a code.
fn asked(laboratory: &Laboratory, to: &str) -> String {
    laboratory.as_customer(|customer| match customer.connect(to) {
        Ok(mut tunnel) => tunnel.get("/").status.to_string(),
        Err(answer) => format!("{} {}", answer.code(), answer.text()),
    })
}

#[test]
fn a_destination_denied_while_the_system_runs_is_refused_by_the_device_itself() {
    let mut laboratory = Laboratory::build();
    laboratory.start_device();
    assert_eq!(asked(&laboratory, "public.example:80"), "200");
    let entry = |kind: &str, value: &str| json!({"kind": kind, "value": value, "category": "complaints", "reason": "a test"});
    let added: Vec<Value> = laboratory.as_admin(|api| {
        [entry("address", "93.184.216.10"), entry("suffix", "six.example")]
            .iter()
            .map(|entry| {
                let answer = api.post("/api/admin/policy/entries", entry);
                assert_eq!(answer.status, 201, "{}", answer.text());
                answer.json()
            })
            .collect()
    });
    // The gateway refuses the name on the list at once.
    assert!(asked(&laboratory, "six.example:443").contains("platform_list"));
    // The address behind a name is refused where names are resolved.
    eventually("the device has the list", || {
        let answer = asked(&laboratory, "public.example:80");
        let by_device = answer.contains("on the device (platform_list)");
        assert!(by_device || answer == "200", "{answer}");
        by_device.then_some(())
    });
    // And so it is again, once the entry is gone.
    laboratory.as_admin(|api| {
        for entry in &added {
            let id = entry["id"].as_str().unwrap();
            let answer = api.delete(&format!("/api/admin/policy/entries/{id}?reason=settled"));
            assert_eq!(answer.status, 204, "{}", answer.text());
        }
    });
    eventually("the device has the list without it", || {
        (asked(&laboratory, "public.example:80") == "200").then_some(())
    });
    assert_eq!(laboratory.reached_at_home(), []);
}

#[test]
fn a_grant_opens_a_port_on_the_device_for_its_customer_and_nothing_at_home() {
    let mut laboratory = Laboratory::build();
    laboratory.start_device();
    let login = "public.example:22";
    assert!(
        asked(&laboratory, login).starts_with("port_forbidden"),
        "{}",
        asked(&laboratory, login)
    );
    let account = laboratory.account().to_owned();
    let grants = format!("/api/admin/accounts/{account}/grants");
    let given = laboratory.as_admin(|api| {
        let until = "2099-01-01T00:00:00Z";
        let far = api.post(
            &grants,
            &json!({"tcpPorts": "1-65535", "until": until, "reason": "a test"}),
        );
        assert_eq!(far.status, 400, "not for so long");
        let hard = api.post(
            &grants,
            &json!({"rule": "private", "until": until, "reason": "a test"}),
        );
        assert_eq!(hard.status, 400, "not a hard rule");
        let until = api.get("/api/nodes/stats").json()["timestamp"].clone();
        let (year, rest) = until.as_str().unwrap().split_once('-').unwrap();
        let next = year.parse::<u32>().unwrap() + 1;
        let body = json!({"tcpPorts": "1-65535", "until": format!("{next}-{rest}"), "reason": "a test"});
        let answer = api.post(&grants, &body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    });
    assert_eq!(asked(&laboratory, login), "200", "{}", laboratory.logs());
    for (to, rule) in [
        ("public.example:25", "never_ports"),
        ("private.example:22", "private"),
        ("loopback.example:22", "loopback"),
        ("metadata.example:80", "link_local"),
        ("onlink.example:22", "device_network"),
        ("hairpin.example:22", "device_network"),
    ] {
        let answer = asked(&laboratory, to);
        assert!(answer.contains(rule), "{to}: {answer}");
    }
    laboratory.as_admin(|api| {
        let id = given["id"].as_str().unwrap();
        assert_eq!(api.delete(&format!("{grants}/{id}?reason=over")).status, 204);
    });
    assert!(asked(&laboratory, login).starts_with("port_forbidden"));
    assert_eq!(laboratory.reached_at_home(), []);
}
