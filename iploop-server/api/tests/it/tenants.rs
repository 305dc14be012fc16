//! Every route with an id in it, asked by somebody else about what is another tenant's.
//!
//! The routes are those of the document, so that a new one has to say here what its id names.

use http::Method;
use iploop_platform::clock::Clock as _;
use iploop_platform::ids::{AccountId, RequestId};
use serde_json::{Value, json};

use crate::fuzzing::operations;
use crate::harness::{Api, NOBODY, get, send};
use crate::owners::{claim, device, owner};
use crate::requests::some_request;

/// A customer, a device owner and a partner's user of one tenant.
struct Tenant {
    customer: String,
    owner: String,
    partner: String,
}

impl Tenant {
    async fn new(api: &Api, admin: &str, name: &str) -> (Self, AccountId) {
        let email = |kind: &str| format!("{kind}@{name}.example");
        let customer = api.token_on("Growth", &email("customer")).await;
        let profile = get(api, &customer, "/api/auth/profile").await.json();
        let account = text(&profile["user"]["id"]).parse().unwrap();
        let (owner, _) = owner(api, &email("owner")).await;
        let partner = api.register(&email("partner")).await;
        let made = json!({"name": name, "reason": "a test"});
        let made = send(api, admin, Method::POST, "/api/partners", made).await.json();
        let users = format!("/api/partners/{}/users", text(&made["id"]));
        let link = json!({"accountId": partner["user"]["id"], "reason": "a test"});
        assert_eq!(send(api, admin, Method::POST, &users, link).await.status, 204);
        let tenant = Self {
            customer,
            owner,
            partner: text(&partner["token"]),
        };
        (tenant, account)
    }

    /// Who may use such routes.
    fn token_for(&self, path: &str) -> &str {
        match path {
            _ if path.starts_with("/api/owner/") => &self.owner,
            _ if path.starts_with("/api/partner/") => &self.partner,
            _ => &self.customer,
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// What a tenant has, by the names that the document gives to ids.
struct Things {
    key: String,
    login: String,
    device: String,
    app: String,
    address: &'static str,
    session: &'static str,
    ticket: String,
    request: String,
    webhook: String,
    event: String,
}

impl Things {
    async fn of(api: &Api, tenant: &Tenant, account: AccountId) -> Self {
        let make = async |path: &str, body: Value| {
            let answer = send(api, tenant.token_for(path), Method::POST, path, body).await;
            assert!(answer.status.is_success(), "{path}: {}", answer.text);
            answer.json()
        };
        let address = "8.8.4.4";
        let key = json!({"name": "one", "ipWhitelist": [address], "ipLogin": true});
        let key = text(&make("/api/proxy/keys", key).await["id"]);
        let proof = api
            .post("/api/proxy/addresses")
            .bearer(&tenant.customer)
            .client(address);
        assert!(proof.send().await.status.is_success());
        let logins = get(api, &tenant.customer, "/api/auth/sessions").await.json();
        let (device, proof) = device(api, "a-device-of-theirs").await;
        assert_eq!(claim(api, &tenant.owner, &proof).await.status, 201);
        let app = json!({"name": "Game", "platform": "android", "bundleId": "com.example.game"});
        let app = text(&make("/api/partner/apps", app).await["id"]);
        let session = "shop";
        make(
            "/api/proxy/sessions",
            json!({"targeting": format!("session-{session}")}),
        )
        .await;
        let ticket = json!({"subject": "Help", "message": "It does not work."});
        let webhook = json!({"url": format!("http://{NOBODY}/hook"), "events": ["api_key.created"]});
        let webhook = text(&make("/api/webhooks", webhook).await["id"]);
        make(&format!("/api/webhooks/{webhook}/test"), json!({})).await;
        let deliveries = get(
            api,
            &tenant.customer,
            &format!("/api/webhooks/{webhook}/deliveries"),
        )
        .await
        .json();
        Self {
            key,
            login: text(&logins["sessions"][0]["id"]),
            device: device.to_string(),
            app,
            address,
            session,
            ticket: text(&make("/api/support/tickets", ticket).await["id"]),
            request: some_request(api, account).await.to_string(),
            webhook,
            event: text(&deliveries["deliveries"][0]["eventId"]),
        }
    }

    /// Ids of the right form that name nothing.
    fn nobodys() -> Self {
        // Any kind of id will do for each.
        let id = || RequestId::new().to_string();
        Self {
            key: id(),
            login: id(),
            device: id(),
            app: id(),
            address: "9.9.9.9",
            session: "no-such-session",
            ticket: id(),
            request: id(),
            webhook: id(),
            event: id(),
        }
    }

    /// The path about this tenant's things.
    fn path(&self, template: &str) -> String {
        let session = if template.starts_with("/api/auth/") {
            &self.login
        } else {
            self.session
        };
        let names = [
            ("{keyId}", self.key.as_str()),
            ("{sessionId}", session),
            ("{deviceId}", &self.device),
            ("{appId}", &self.app),
            ("{address}", self.address),
            ("{ticketId}", &self.ticket),
            ("{requestId}", &self.request),
            ("{webhookId}", &self.webhook),
            ("{eventId}", &self.event),
        ];
        let path = names
            .iter()
            .fold(template.to_owned(), |path, (name, id)| path.replace(name, id));
        assert!(
            !path.contains('{'),
            "{template}: say here what its id names, and try it"
        );
        path
    }
}

/// A body that would be followed if the thing were one's own.
fn body(method: &Method, template: &str, now: &Value) -> Option<Value> {
    let app = json!({"name": "Mine", "platform": "android", "bundleId": "com.example.mine"});
    match (method.as_str(), template.rsplit('/').next()) {
        ("PUT", Some("whitelist")) => Some(json!({"ips": []})),
        ("PUT", Some("{appId}")) => Some(app),
        ("PUT" | "PATCH", _) => Some(json!({"isActive": false})),
        ("POST", Some("replay")) if !template.contains("{eventId}") => Some(json!({"since": now})),
        _ => None,
    }
}

#[tokio::test]
async fn no_id_of_another_tenant_opens_anything() {
    let document = serde_json::to_value(iploop_api::openapi()).unwrap();
    let api = Api::new().await;
    let (_, admin) = api.admin().await;
    let (theirs, account) = Tenant::new(&api, &admin, "theirs").await;
    let things = Things::of(&api, &theirs, account).await;
    let (mine, _) = Tenant::new(&api, &admin, "mine").await;
    let now = json!(api.clock.now());
    let ask = async |method: &Method, path: &str, token: &str, body: Option<&Value>| {
        let call = api.call(method.clone(), path).bearer(token);
        match body {
            Some(body) => call.json(body).send().await,
            None => call.send().await,
        }
    };
    let mut reading = Vec::new();
    let mut asked = 0;
    for (method, template, _) in operations(&document) {
        let is_for_admins = template.starts_with("/api/admin/") || template.starts_with("/api/partners");
        if is_for_admins || !template.contains('{') {
            continue;
        }
        let path = things.path(template);
        let what = format!("{method} {path}");
        let body = body(&method, template, &now);
        let refused = ask(&method, &path, mine.token_for(template), body.as_ref()).await;
        let (status, code) = refused.problem();
        assert_eq!(status, 404, "{what}: {}", refused.text);
        // Word for word what is said of a thing that nobody has.
        let unknown = Things::nobodys().path(template);
        let nobodys = ask(&method, &unknown, mine.token_for(template), body.as_ref()).await;
        assert_eq!(nobodys.problem(), (status, code), "{what}");
        assert_eq!(nobodys.json()["detail"], refused.json()["detail"], "{what}");
        let nobody = match &body {
            Some(body) => api.call(method.clone(), &path).json(body).send().await,
            None => api.call(method.clone(), &path).send().await,
        };
        assert_eq!(nobody.status, 401, "{what} without a login");
        if method == Method::GET {
            reading.push(path);
        }
        asked += 1;
    }
    assert!(asked > 25, "only {asked}");
    // All of it is still there for whom it belongs to.
    for path in reading {
        let answer = get(&api, theirs.token_for(&path), &path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    let key = get(&api, &theirs.customer, &format!("/api/proxy/keys/{}", things.key)).await;
    assert_eq!(key.json()["isActive"], true);
    let apps = get(&api, &theirs.partner, "/api/partner/apps").await.json();
    assert_eq!(apps["apps"][0]["bundleId"], "com.example.game");
}
