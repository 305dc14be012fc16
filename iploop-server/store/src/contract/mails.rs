//! Acts and the mails about them.

use iploop_platform::abuse::{Actor, AuditAction, AuditEntry, Told};
use iploop_platform::account::{AccountStatus, MailTokenPurpose, NewAccount, Role};
use iploop_platform::accounts::{EmailAddress, Erased};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, HoldId, LoginId, TicketId};
use iploop_platform::login::{NewLogin, Origin};
use iploop_platform::notices::{Addressee, MailEnd, Notice, OutboxMail, PreferencesChange};
use iploop_platform::store::StoreError;
use iploop_platform::support::{NewTicket, TicketChange, TicketQuery};
use serde_json::json;

use super::audit::{erasure, record};
use super::{Database, account_request, at, new_account};

async fn claim(db: &Database) -> Vec<OutboxMail> {
    let held = db.store.claim_mails(at(100), HoldId::new(), at(200), 20);
    held.await.unwrap()
}

async fn end(db: &Database, mail: &OutboxMail, end: MailEnd) {
    assert!(db.store.finish_mail(mail, &end).await.unwrap());
}

fn login(account: AccountId, from: &str, now: Timestamp) -> NewLogin {
    NewLogin {
        id: LoginId::new(),
        account,
        origin: Origin::new(from.parse().unwrap(), None),
        now,
        expires_at: at(1_000),
    }
}

fn about(account: AccountId, action: AuditAction) -> AuditEntry {
    AuditEntry {
        account: Some(account),
        ..record(action)
    }
}

fn support() -> EmailAddress {
    "support@iploop.test".parse().unwrap()
}

async fn suspend(db: &Database, account: AccountId, told: &Told) -> Result<bool, StoreError> {
    let (from, to) = (AccountStatus::Active, AccountStatus::Suspended);
    let entry = about(account, AuditAction::AccountSuspended);
    db.store.set_account_status(account, from, to, entry, told).await
}

/// In this order each is possible once.
const ACTS: [Notice; 11] = [
    Notice::PasswordChanged,
    Notice::PasswordReset,
    Notice::TwoFactorOn,
    Notice::RecoveryCodeUsed,
    Notice::TwoFactorOff,
    Notice::AllowListChanged,
    Notice::SecurityAlertsOff,
    Notice::NewNetwork,
    Notice::TicketOpened,
    Notice::TicketAnswered,
    Notice::AccountSuspended,
];

/// Does what `notice` tells of.
async fn act(db: &Database, account: AccountId, notice: Notice) -> Result<(), StoreError> {
    let store = &*db.store;
    match notice {
        Notice::PasswordChanged => {
            let known = store.password_hash(account).await?.unwrap();
            let done = store.set_password(account, &known, "$argon2id$second", at(6));
            done.await.map(drop)
        }
        Notice::PasswordReset => {
            let done = store.reset_password("token", "$argon2id$third", at(6)).await;
            done.map(drop)
        }
        Notice::TwoFactorOn => {
            let codes = ["code".to_owned()];
            let done = store.confirm_second_factor(account, "sealed", 7, &codes, at(6));
            done.await.map(drop)
        }
        Notice::RecoveryCodeUsed => store.use_recovery_code(account, "code", at(6)).await.map(drop),
        Notice::TwoFactorOff => store.end_second_factor(account, at(6)).await.map(drop),
        Notice::AllowListChanged => {
            let networks = ["198.51.100.0/24".parse().unwrap()];
            let done = store.set_sign_in_settings(account, None, Some(&networks), at(6));
            done.await.map(drop)
        }
        Notice::SecurityAlertsOff => {
            let change = PreferencesChange {
                security_alerts: Some(false),
                ..PreferencesChange::default()
            };
            let done = store.change_preferences(account, &change, at(6));
            done.await.map(drop)
        }
        Notice::NewNetwork => store
            .open_login(&login(account, "203.0.113.9", at(6)))
            .await
            .map(drop),
        Notice::TicketOpened => {
            let ticket = NewTicket {
                id: TicketId::new(),
                account,
                subject: "No exits".into(),
                message: "Since today".into(),
                mail_to: Some(support()),
                now: at(6),
            };
            store.create_ticket(ticket).await.map(drop)
        }
        Notice::TicketAnswered => {
            let query = TicketQuery {
                limit: 1,
                ..TicketQuery::default()
            };
            let ticket = store.tickets(&query).await.unwrap().remove(0).id;
            let entry = AuditEntry {
                actor: Actor::Admin(AccountId::new()),
                ..record(AuditAction::TicketAnswered)
            };
            let answer = TicketChange::Answer("Back".into());
            store.change_ticket(ticket, &answer, entry).await.map(drop)
        }
        Notice::AccountSuspended => {
            let told = Told::Addresses(vec![support()]);
            suspend(db, account, &told).await.map(drop)
        }
        other => unreachable!("{other}"),
    }
}

/// All that the acts change.
async fn state(db: &Database, account: AccountId) -> String {
    let store = &*db.store;
    let query = TicketQuery {
        account: Some(account),
        limit: 10,
        ..TicketQuery::default()
    };
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        store.account(account).await.unwrap(),
        store.password_hash(account).await.unwrap(),
        store.second_factor(account).await.unwrap(),
        store.sign_in_settings(account).await.unwrap(),
        store.preferences(account).await.unwrap(),
        store.logins(account, at(7)).await.unwrap(),
        store.tickets(&query).await.unwrap(),
    )
}

pub(super) async fn an_act_and_its_mail_are_there_together_or_not_at_all(db: &Database) {
    let account = new_account(&*db.store).await;
    let store = &*db.store;
    let purpose = MailTokenPurpose::ResetPassword;
    store
        .create_mail_token(account, purpose, "token", at(3), at(60))
        .await
        .unwrap();
    store
        .set_up_second_factor(account, "sealed", at(0))
        .await
        .unwrap();
    store
        .open_login(&login(account, "192.0.2.1", at(0)))
        .await
        .unwrap();
    assert!(claim(db).await.is_empty(), "the first network is no news");
    for notice in ACTS {
        let before = state(db, account).await;
        db.execute("ALTER TABLE mail_outbox RENAME TO mail_outbox_away")
            .await;
        assert!(act(db, account, notice).await.is_err(), "{notice}");
        db.execute("ALTER TABLE mail_outbox_away RENAME TO mail_outbox")
            .await;
        assert_eq!(state(db, account).await, before, "{notice}");

        act(db, account, notice).await.unwrap();
        assert_ne!(state(db, account).await, before, "{notice}");
        let mails = claim(db).await;
        assert_eq!(mails.len(), 1, "{notice}");
        let told = match notice {
            Notice::PasswordReset => Notice::PasswordChanged,
            other => other,
        };
        assert_eq!((mails[0].account, mails[0].notice), (account, told));
        end(db, &mails[0], MailEnd::Sent).await;
    }
    assert!(
        !suspend(db, account, &Told::Addresses(vec![support()]))
            .await
            .unwrap()
    );
    assert!(
        claim(db).await.is_empty(),
        "what was so already is told to nobody"
    );
}

pub(super) async fn who_registers_is_greeted_and_who_is_made_by_others_is_not(db: &Database) {
    let request = account_request(&*db.store).await;
    let account = db.store.register_account(request).await.unwrap().id;
    new_account(&*db.store).await;
    let mails = claim(db).await;
    let told: Vec<_> = mails.iter().map(|mail| (mail.account, mail.notice)).collect();
    assert_eq!(told, [(account, Notice::Welcome)]);
}

pub(super) async fn a_suspension_is_told_to_admins_that_may_sign_in_or_to_addresses(db: &Database) {
    let mut admins = Vec::new();
    for _ in 0..3 {
        let request = NewAccount {
            role: Role::Admin,
            ..account_request(&*db.store).await
        };
        admins.push(db.store.create_account(request).await.unwrap().id);
    }
    assert!(suspend(db, admins[0], &Told::Nobody).await.unwrap());
    assert!(claim(db).await.is_empty());
    let customer = new_account(&*db.store).await;
    assert!(suspend(db, customer, &Told::Admins(10)).await.unwrap());
    let mut mails = claim(db).await;
    mails.sort_by_key(|mail| mail.account);
    let told: Vec<_> = mails
        .iter()
        .map(|mail| (mail.account, mail.notice, &mail.to))
        .collect();
    let suspended = Notice::AccountSuspended;
    assert_eq!(
        told,
        [(admins[1], suspended, &None), (admins[2], suspended, &None)]
    );
    assert_eq!(mails[0].data, json!({"account": customer, "reason": "because"}));

    let other = new_account(&*db.store).await;
    let addresses = vec![support(), "desk@iploop.test".parse().unwrap()];
    assert!(
        suspend(db, other, &Told::Addresses(addresses.clone()))
            .await
            .unwrap()
    );
    let told: Vec<_> = claim(db)
        .await
        .into_iter()
        .map(|mail| (mail.account, mail.to.unwrap().address))
        .collect();
    assert_eq!(
        told,
        [(other, addresses[0].clone()), (other, addresses[1].clone())]
    );
    let third = new_account(&*db.store).await;
    assert!(suspend(db, third, &Told::Admins(1)).await.unwrap());
    assert_eq!(claim(db).await.len(), 1, "the bound");
}

pub(super) async fn an_owner_who_left_is_told_and_the_address_goes_with_the_mail(db: &Database) {
    let request = account_request(&*db.store).await;
    let account = db.store.create_account(request.clone()).await.unwrap().id;
    act(db, account, Notice::TicketOpened).await.unwrap();
    db.execute("ALTER TABLE mail_outbox RENAME TO mail_outbox_away")
        .await;
    let failed = db.store.erase_account(account, erasure(account)).await;
    assert!(failed.is_err());
    db.execute("ALTER TABLE mail_outbox_away RENAME TO mail_outbox")
        .await;
    let kept = db.store.account(account).await.unwrap().unwrap();
    assert_eq!(kept.email, request.email);

    let erased = db.store.erase_account(account, erasure(account)).await;
    assert_eq!(erased.unwrap(), Erased::Gone);
    let mails = claim(db).await;
    assert_eq!(mails.len(), 1, "other mails went with the account");
    let to = Addressee {
        address: request.email.parse().unwrap(),
        name: request.first_name,
    };
    assert_eq!(
        (mails[0].notice, &mails[0].to),
        (Notice::AccountDeleted, &Some(to.clone()))
    );
    let busy = format!("450 {} is busy", request.email);
    end(db, &mails[0], MailEnd::Again(at(50), busy)).await;
    let again = claim(db).await;
    assert_eq!(again[0].to, Some(to), "it is tried again");
    let unknown = format!("550 {} is unknown", request.email);
    end(db, &again[0], MailEnd::Failed(unknown)).await;
    let left = "SELECT COUNT(*) FROM mail_outbox
         WHERE to_address IS NOT NULL OR to_name IS NOT NULL OR error IS NOT NULL OR occasion LIKE '%@%'";
    assert_eq!(db.number(left).await, 0);
}
