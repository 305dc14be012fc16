//! People who sign in, and their mail.

use http::StatusCode;
use iploop_platform::account::{Account, NewAccount, Role, Standing};
use iploop_platform::accounts::password::NewPassword;
use iploop_platform::accounts::{CommandLineAccount, create_from_command_line};
use iploop_platform::clock::Clock as _;
use iploop_platform::ids::AccountId;
use iploop_platform::mail::Mail;
use iploop_platform::secret::Secret;
use serde_json::{Value, json};

use super::{Api, PASSWORD, passwords};

impl Api {
    /// Registers and returns the login's answer.
    pub(crate) async fn register(&self, email: &str) -> Value {
        let body = json!({"email": email, "password": PASSWORD, "firstName": "Ada", "lastName": "Lovelace"});
        let answer = self.post("/api/auth/register").json(&body).send().await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json()
    }

    /// Registers and returns a bearer token.
    pub(crate) async fn token(&self, email: &str) -> String {
        self.register(email).await["token"].as_str().unwrap().to_owned()
    }

    /// A bearer token of a new account on this plan.
    pub(crate) async fn token_on(&self, plan: &str, email: &str) -> String {
        let plans = self.store.plans().await.unwrap();
        let password = NewPassword::parse("password", Secret::new(PASSWORD)).unwrap();
        let account = NewAccount {
            id: AccountId::new(),
            email: email.to_owned(),
            password_hash: passwords().hash(password).await.unwrap(),
            first_name: "Ada".to_owned(),
            last_name: "Lovelace".to_owned(),
            company: None,
            role: Role::Customer,
            standing: Standing::New,
            email_verified: true,
            plan: plans.iter().find(|known| known.name == plan).unwrap().id,
            bonus_bytes: 0,
            now: self.clock.now(),
        };
        self.store.create_account(account).await.unwrap();
        let body = json!({"email": email, "password": PASSWORD});
        let answer = self.post("/api/auth/login").json(&body).send().await;
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// The next mail, once there is one.
    pub(crate) async fn mail(&self) -> Mail {
        loop {
            self.empty_outbox().await;
            if let Ok(mail) = self.mails.lock().await.try_recv() {
                return mail;
            }
            tokio::task::yield_now().await;
        }
    }

    /// What the task of notices does, until there is nothing to do.
    pub(crate) async fn empty_outbox(&self) {
        self.notices.answer_requests().await.unwrap();
        self.notices.tell_announcements().await.unwrap();
        while self.notices.send_due().await.unwrap() > 0 {}
    }

    /// The token in the link of the next mail that brings one.
    pub(crate) async fn mail_token(&self) -> String {
        loop {
            let mail = self.mail().await;
            if let Some((_, rest)) = mail.text.split_once("?token=") {
                return rest.split_whitespace().next().unwrap().to_owned();
            }
        }
    }

    pub(crate) async fn no_mail_is_queued(&self) -> bool {
        self.empty_outbox().await;
        self.mails.lock().await.try_recv().is_err()
    }

    pub(crate) async fn admin(&self) -> (Account, String) {
        let wanted = CommandLineAccount {
            email: "root@iploop.test".to_owned(),
            password: Some(Secret::new(PASSWORD)),
            is_admin: true,
            is_verified: true,
        };
        let created = create_from_command_line(&*self.store, &*self.clock, &passwords(), wanted)
            .await
            .unwrap();
        let body = json!({"email": "root@iploop.test", "password": PASSWORD});
        let answer = self.post("/api/auth/login").json(&body).send().await;
        (
            created.account,
            answer.json()["token"].as_str().unwrap().to_owned(),
        )
    }
}
