//! Suspension of a customer, by the server's own rule and by the command line.

use std::io::Read as _;

use serde_json::json;

use crate::harness::{Place, Settings, World, eventually, manage};

fn world() -> World {
    World::start_with(
        Settings::with_places(&[Place::BERLIN])
            .set("IPLOOP_ABUSE__SUSPEND_AFTER", "20")
            .set("IPLOOP_ABUSE__LOOK_EVERY", "200ms"),
    )
}

#[test]
fn repeated_forbidden_dials_suspend_the_customer_end_what_runs_and_tell_an_admin() {
    let world = world();
    let root = manage(
        world.folder(),
        &[
            "account",
            "create",
            "--email",
            "root@example.com",
            "--admin",
            "--verified",
        ],
    );
    let customer = world.customer();
    let mut running = customer.connect(world.origin.http).ok().unwrap();
    for _ in 0..19 {
        let answer = customer.connect("192.168.1.1:80").err().unwrap();
        assert_eq!((answer.status, answer.code()), (403, "destination_forbidden"));
    }
    assert_eq!(
        customer.get(&world.origin.url("/echo")).status,
        200,
        "19 are not 20"
    );
    customer.connect("169.254.169.254:80").err().unwrap();
    eventually("the customer is suspended", || {
        let answer = customer.get(&world.origin.url("/echo"));
        (answer.code() == "account_suspended" && answer.status == 403).then_some(())
    });
    let end = running.stream.read(&mut [0]);
    assert!(!matches!(end, Ok(1)), "what ran has ended: {end:?}");
    let login = json!({ "email": world.account.email, "password": world.account.password });
    let refused = world.api().post("/api/auth/login", &login);
    assert_eq!(refused.status, 401);
    assert_eq!(refused.json()["code"], "account_suspended");
    eventually("an admin is told", || {
        let mails = std::fs::read_dir(world.data().join("outbox")).ok()?.flatten();
        mails
            .filter_map(|file| std::fs::read_to_string(file.path()).ok())
            .find(|mail| mail.contains("root@example.com") && mail.contains("A customer was suspended"))
    });

    let login = json!({ "email": "root@example.com", "password": root["password"] });
    let token = world.api().post("/api/auth/login", &login).json();
    let admin = world.api().with_token(token["token"].as_str().unwrap());
    let audit = admin
        .get(&format!("/api/admin/audit?account={}", world.account.id))
        .json();
    assert_eq!(audit["records"][0]["action"], "account_suspended", "{audit}");
    let path = format!("/api/admin/accounts/{}/reinstate", world.account.id);
    assert_eq!(
        admin
            .post(&path, &json!({ "reason": "a misunderstanding" }))
            .status,
        204
    );
    assert_eq!(customer.get(&world.origin.url("/echo")).status, 200, "at once");

    // For a complaint: who used this exit. Usage is booked within seconds.
    let now = admin.get("/api/nodes/stats").json()["timestamp"]
        .as_str()
        .unwrap()
        .to_owned();
    let lookup = format!(
        "/api/admin/exits/lookup?ip={}&at={now}&reason=complaint",
        Place::BERLIN.address
    );
    let found = eventually("the use is booked", || {
        let found = admin.get(&lookup).json();
        (found["requests"] != json!([])).then_some(found)
    });
    assert_eq!(found["requests"][0]["accountId"], world.account.id.as_str());
}

#[test]
fn a_running_server_notices_what_the_command_line_does() {
    let world = world();
    let customer = world.customer();
    let url = world.origin.url("/echo");
    assert_eq!(customer.get(&url).status, 200);
    let act = |act: &str| {
        let account = ["--account", world.account.id.as_str(), "--reason", "a test"];
        manage(world.folder(), &[&["account", act][..], &account[..]].concat())
    };
    assert_eq!(act("suspend")["status"], "suspended");
    eventually("it is suspended", || {
        (customer.get(&url).code() == "account_suspended").then_some(())
    });
    assert_eq!(act("reinstate")["status"], "active");
    eventually("it goes on", || (customer.get(&url).status == 200).then_some(()));
}
