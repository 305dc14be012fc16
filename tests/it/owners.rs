//! What an owner does by an account and an admin by the API, to a device that runs: the real agent at the real server.

use std::io::Read as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Api, Device, Place, Postgres, Response, Settings, World, eventually, manage, read_head,
};

/// In which a device that must leave is gone, with its streams.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A device that its owner claimed by the code that the agent showed.
struct Claimed {
    world: World,
    device: Device,
    owner: Api,
    admin: Api,
    /// The device's id at the platform.
    node: String,
}

fn done(answer: &Response) {
    assert!((200..300).contains(&answer.status), "{}", answer.text());
}

fn token(answer: &Response) -> String {
    answer.json()["token"].as_str().unwrap().to_owned()
}

fn claimed(settings: Settings) -> Claimed {
    let mut world = World::start_with(settings);
    let device = world.devices.remove(0);
    let shown = device.command("pair")["pairing"].clone();
    assert_eq!(shown["goodForS"], 600, "{shown}");
    let register = json!({
        "email": "owner@example.com", "password": "correct horse battery",
        "firstName": "Ada", "lastName": "Lovelace", "kind": "owner",
    });
    let registered = world.api().post("/api/auth/register", &register);
    let owner = world.api().with_token(&token(&registered));
    let made = owner.post("/api/owner/devices", &json!({ "code": shown["code"] }));
    assert_eq!(made.status, 201, "{}", made.text());
    let node = made.json()["id"].as_str().unwrap().to_owned();

    let arguments = [
        "account",
        "create",
        "--email",
        "root@example.com",
        "--admin",
        "--verified",
    ];
    let root = manage(world.folder(), &arguments);
    let login = json!({ "email": "root@example.com", "password": root["password"] });
    let admin = world
        .api()
        .with_token(&token(&world.api().post("/api/auth/login", &login)));
    Claimed {
        world,
        device,
        owner,
        admin,
        node,
    }
}

fn berlin() -> Settings {
    Settings::with_places(&[Place::BERLIN])
}

#[test]
fn an_owner_pauses_a_device_from_afar_and_never_ends_its_own_pause() {
    let Claimed {
        world,
        device,
        owner,
        node,
        ..
    } = claimed(berlin());
    let (customer, url) = (world.customer(), world.origin.url("/echo"));
    let wish = |part: &str| done(&owner.post(&format!("/api/owner/devices/{node}/{part}"), &json!({})));
    let serves = |wanted: u16| {
        eventually("the hub knows", || {
            (customer.get(&url).status == wanted).then_some(())
        });
    };
    serves(200);
    wish("pause");
    assert_eq!(device.program.event("not_sharing")["reason"], "paused_from_afar");
    serves(503);
    let shown = eventually("the device's word is shown", || {
        let devices = owner.get("/api/owner/devices").json();
        let shown = devices["devices"][0].clone();
        (shown["isSharing"] == false).then_some(shown)
    });
    assert_eq!(
        (&shown["isPaused"], &shown["notSharingBecause"]),
        (&json!(true), &json!("paused_from_afar"))
    );
    let status = device.command("resume");
    assert_eq!(
        status["reason"], "paused_from_afar",
        "not by the device's own command"
    );

    // After a restart of the device too.
    let mut device = device;
    device.program.terminate();
    assert!(device.program.wait().success());
    let device = world.begin_device_in(device.place, device.state.clone());
    device.program.event("connected");
    assert_eq!(customer.get(&url).status, 503);

    device.command("pause");
    wish("resume");
    eventually("the wish has ended", || {
        (device.command("status")["pausedFromAfar"] == false).then_some(())
    });
    assert_eq!(device.command("status")["reason"], "paused_by_owner");
    assert_eq!(customer.get(&url).status, 503);
    device.command("resume");
    serves(200);
}

/// Does something to a device that serves a stream: both are gone in time; how the device's link ended.
fn cut(act: impl FnOnce(&Claimed, &Api)) -> Value {
    let claimed = claimed(berlin());
    let api = claimed.admin.clone();
    cut_by(claimed, &api, act)
}

fn cut_by(mut claimed: Claimed, api: &Api, act: impl FnOnce(&Claimed, &Api)) -> Value {
    let customer = claimed.world.customer();
    let mut tunnel = customer.connect(claimed.world.origin.http).ok().unwrap();
    tunnel.ask("/drip/100000");
    read_head(&mut tunnel.stream).unwrap();
    let began = Instant::now();
    act(&claimed, api);
    // However it ends.
    let _ = tunnel.stream.read_to_end(&mut Vec::new());
    let ended = claimed.device.program.event("ended");
    assert!(began.elapsed() <= GONE_WITHIN, "{:?}", began.elapsed());
    assert_ne!(claimed.device.program.wait().code(), Some(0));
    let refused = customer.get(&claimed.world.origin.url("/echo"));
    assert_eq!((refused.status, refused.code()), (503, "no_exit"));
    // Started again as before, it is no exit either.
    let place = claimed.device.place;
    let mut again = claimed.world.begin_device_in(place, claimed.device.state.clone());
    assert_ne!(again.program.wait().code(), Some(0));
    ended["link"].clone()
}

fn partner(admin: &Api) -> String {
    let partners = admin.get("/api/partners").json();
    partners["partners"][0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_withdrawal_from_afar_ends_the_device_and_its_streams() {
    let link = cut(|claimed, _| {
        done(&claimed.owner.post(
            &format!("/api/owner/devices/{}/withdraw", claimed.node),
            &json!({}),
        ));
    });
    assert_eq!(link, json!({ "state": "withdrawn", "delivered": true }));
}

#[test]
fn an_erased_device_ends_with_its_streams() {
    let link = cut(|claimed, _| {
        done(
            &claimed
                .owner
                .post(&format!("/api/owner/devices/{}/erase", claimed.node), &json!({})),
        );
    });
    assert_eq!(link["state"], "withdrawn");
}

#[test]
fn a_banned_device_ends_with_its_streams() {
    let link = cut(|claimed, admin| {
        let ban = json!({ "reason": "abuse of all kinds" });
        done(&admin.post(&format!("/api/admin/nodes/{}/ban", claimed.node), &ban));
    });
    assert_eq!(
        (&link["state"], &link["code"]),
        (&json!("rejected"), &json!("banned"))
    );
}

#[test]
fn devices_of_a_suspended_app_end_with_their_streams() {
    let link = cut(|_, admin| {
        let apps = format!("/api/partners/{}/apps", partner(admin));
        let app = json!({ "name": "Agent", "platform": "linux", "bundleId": "iploop-node" });
        let made = admin.post(&apps, &app);
        done(&made);
        let path = format!("{apps}/{}/review", made.json()["id"].as_str().unwrap());
        let decision = json!({ "state": "suspended", "reason": "not what it said" });
        done(&admin.put(&path, &decision));
    });
    assert_eq!(
        (&link["state"], &link["code"]),
        (&json!("rejected"), &json!("partner_rejected"))
    );
}

#[test]
fn devices_of_a_partner_that_is_switched_off_at_another_process_end_with_their_streams() {
    let postgres = Postgres::start();
    let settings = Settings {
        database: Some(postgres.url()),
        ..berlin()
    };
    let claimed = claimed(settings);
    let (_second, there) = claimed.world.second_server();
    let there = claimed.admin.elsewhere(there.api);
    let link = cut_by(claimed, &there, |_, admin| {
        let off = json!({ "isActive": false, "reason": "owes an answer" });
        done(&admin.patch(&format!("/api/partners/{}", partner(admin)), &off));
    });
    assert_eq!(
        (&link["state"], &link["code"]),
        (&json!("rejected"), &json!("partner_rejected"))
    );
}
