//! Accounts over crashes of the server, and what an operator does for their owners.

use std::time::{SystemTime, UNIX_EPOCH};

use ring::hmac;
use serde_json::{Value, json};

use crate::api::token_in_mail;
use crate::harness::{Account, Api, Settings, World, eventually, manage};

/// The bytes of an authenticator's secret, which is shown in base32.
pub(crate) fn authenticator(secret: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut buffer, mut bits) = (0_u32, 0);
    for letter in secret.bytes() {
        let digit = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
            .iter()
            .position(|known| *known == letter);
        buffer = buffer << 5 | u32::try_from(digit.unwrap()).unwrap();
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(buffer >> bits & 0xff).unwrap());
        }
    }
    bytes
}

/// What the authenticator shows now (RFC 6238).
#[expect(clippy::disallowed_methods, reason = "the real server's own time")]
pub(crate) fn code(secret: &str) -> String {
    let step = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 30;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &authenticator(secret));
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag[19] & 0xf);
    let number = u32::from_be_bytes(tag[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

/// Turns the second factor on; what was shown of it.
pub(crate) fn second_factor(api: &Api, password: &str) -> (Value, Value) {
    let setup = api.post("/api/auth/two-factor/setup", &json!({ "password": password }));
    assert_eq!(setup.status, 200, "{}", setup.text());
    let setup = setup.json();
    let code = code(setup["secret"].as_str().unwrap());
    let on = api.post("/api/auth/two-factor/confirm", &json!({ "code": code }));
    assert_eq!(on.status, 200, "{}", on.text());
    (setup, on.json())
}

#[test]
fn a_reset_mail_outlives_a_crash() {
    let mut world = World::start_with(Settings::with_places(&[]));
    let outbox = world.data().join("outbox");
    std::fs::remove_dir_all(&outbox).unwrap();
    let email = world.account.email.clone();
    let asked = world
        .api()
        .post("/api/auth/forgot-password", &json!({ "email": email }));
    assert_eq!(asked.status, 200, "{}", asked.text());
    // Of this mail: the account's welcome is tried before it, and what is in hand at a crash waits for its hold to end.
    eventually("its first try has failed", || {
        (world.database().mails_to_try_again("password_reset") == 1).then_some(())
    });
    world.server.kill();
    world.restart_server();
    let token = token_in_mail(&world, &email);
    let api = world.api();
    let new = json!({ "token": token, "password": "another horse battery" });
    let reset = api.post("/api/auth/reset-password", &new);
    assert_eq!(reset.status, 200, "{}", reset.text());
    let login = json!({ "email": email, "password": "another horse battery" });
    assert_eq!(api.post("/api/auth/login", &login).status, 200);
}

#[test]
fn an_operator_lets_in_who_is_locked_out_and_the_owner_is_told() {
    let world = World::start_with(Settings::with_places(&[]));
    let api = world.signed_in();
    let (email, password) = (&world.account.email, &world.account.password);
    second_factor(&api, password);
    let login = json!({ "email": email, "password": password });
    assert_eq!(world.api().post("/api/auth/login", &login).status, 202);
    let shown = manage(world.folder(), &["account", "show", email]);
    assert_eq!(
        (
            &shown["id"],
            &shown["hasSecondFactor"],
            &shown["recoveryCodesLeft"]
        ),
        (&json!(world.account.id), &json!(true), &json!(10))
    );
    let unlock = ["account", "unlock", email, "--reason", "lost the telephone"];
    let unlocked = manage(world.folder(), &unlock);
    assert_eq!(
        (&unlocked["secondFactorEnded"], &unlocked["loginsEnded"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(
        api.get("/api/auth/profile").status,
        401,
        "a running server knows at once"
    );
    assert_eq!(world.api().post("/api/auth/login", &login).status, 200);
    let outbox = world.data().join("outbox");
    eventually("the owner is told", || {
        let mut mails = std::fs::read_dir(&outbox).ok()?.flatten();
        mails
            .any(|file| {
                std::fs::read_to_string(file.path())
                    .is_ok_and(|mail| mail.contains("Your account was opened by support"))
            })
            .then_some(())
    });
}

#[test]
fn the_owner_of_a_key_that_is_too_fast_is_told_once() {
    let world = World::start_with(Settings::with_places(&[]));
    let api = world.signed_in();
    let slow = json!({ "name": "slow", "limits": { "requestsPerSecond": 1 } });
    let made = api.post("/api/proxy/keys", &slow);
    assert_eq!(made.status, 201, "{}", made.text());
    let account = Account {
        key: made.json()["key"].as_str().unwrap().to_owned(),
        ..world.account.clone()
    };
    let customer = world.customer_of(&account);
    let url = world.origin.url("/echo");
    for _ in 0..3 {
        eventually("it is too fast", || {
            (customer.get(&url).code() == "rate_limited").then_some(())
        });
    }
    let outbox = world.data().join("outbox");
    let told = || {
        let files = std::fs::read_dir(&outbox).unwrap().flatten();
        let mails = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        mails
            .filter(|mail| mail.contains("Subject: A key reached its rate limit"))
            .count()
    };
    eventually("the owner is told", || (told() > 0).then_some(()));
    assert_eq!(told(), 1);
}
