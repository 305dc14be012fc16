//! Mails about an account's safety: one function for each. A mail that can't be queued is logged; the act stands.

use super::{AccountService, EmailAddress};
use crate::account::Account;
use crate::login::Origin;
use crate::mail::{Mail, templates};

/// Where the dashboard shows the security settings.
const SETTINGS: &str = "/settings";

impl AccountService {
    pub(super) fn tell_sign_in_from_elsewhere(&self, account: &Account, origin: &Origin) {
        let (address, at) = (origin.address.to_string(), self.0.clock.now().to_string());
        self.tell(account, |to, name, link| {
            templates::new_network(to, name, (&address, &origin.user_agent, &at), link)
        });
    }

    pub(super) fn tell_password_changed(&self, account: &Account) {
        self.tell(account, templates::password_changed);
    }

    pub(super) fn tell_two_factor_on(&self, account: &Account) {
        self.tell(account, templates::two_factor_on);
    }

    pub(super) fn tell_two_factor_off(&self, account: &Account) {
        self.tell(account, templates::two_factor_off);
    }

    pub(super) fn tell_recovery_code_used(&self, account: &Account, left: u32) {
        self.tell(account, |to, name, link| {
            templates::recovery_code_used(to, name, left, link)
        });
    }

    pub(super) fn tell_deleted(&self, account: &Account) {
        self.tell(account, |to, name, _| {
            templates::account_deleted(to, name, &self.0.public_url.join("/"))
        });
    }

    fn tell(&self, account: &Account, template: impl Fn(&EmailAddress, &str, &str) -> Mail) {
        let Ok(to) = account.email.parse() else { return };
        let mail = template(&to, &account.first_name, &self.0.public_url.join(SETTINGS));
        if let Err(error) = self.0.mail.push(mail) {
            tracing::warn!(account.id = %account.id, %error, "a security mail was not queued");
        }
    }
}
