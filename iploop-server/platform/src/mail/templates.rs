//! The texts of our mails.

use crate::accounts::email::EmailAddress;
use crate::mail::Mail;
use crate::mail::layout::Letter;

/// Welcome, with the link that verifies the address.
pub(crate) fn welcome(to: &EmailAddress, name: &str, link: &str) -> Mail {
    letter(
        to,
        name,
        "Welcome to IPLoop: please verify your email",
        &[
            "thank you for registering.",
            "Please confirm that this address is yours; the proxy opens once you did.",
        ],
        ("Verify my email", link),
        &[
            "The link works once, for 24 hours.",
            "If you did not register, ignore this mail.",
        ],
    )
}

/// The link that verifies the address, asked for again.
pub(crate) fn verification(to: &EmailAddress, name: &str, link: &str) -> Mail {
    letter(
        to,
        name,
        "Please verify your email",
        &[
            "here is the link you asked for. It confirms that this address is yours; earlier links no longer work.",
        ],
        ("Verify my email", link),
        &[
            "The link works once, for 24 hours.",
            "If you did not ask for it, ignore this mail.",
        ],
    )
}

/// The link that allows a new password.
pub(crate) fn password_reset(to: &EmailAddress, name: &str, link: &str) -> Mail {
    letter(
        to,
        name,
        "Set a new IPLoop password",
        &["somebody asked to set a new password for your account."],
        ("Set a new password", link),
        &[
            "The link works once, for one hour.",
            "If that was not you, ignore this mail: your password stays as it is.",
        ],
    )
}

/// To an admin: a customer was suspended.
pub(crate) fn suspension(to: &EmailAddress, name: &str, account: &str, reason: &str, link: &str) -> Mail {
    let customer = format!("the customer {account} was suspended by the server's own rules.");
    let reason = format!("Reason: {reason}.");
    letter(
        to,
        name,
        "A customer was suspended",
        &[&customer, &reason],
        ("The records about it", link),
        &[
            "Running connections have ended. An admin can reinstate the account: POST /api/admin/accounts/{id}/reinstate.",
        ],
    )
}

/// Somebody signed in from a network that the account was not used from before.
pub(crate) fn new_network(
    to: &EmailAddress,
    name: &str,
    (address, program, at): (&str, &str, &str),
    link: &str,
) -> Mail {
    let program = if program.is_empty() { "not named" } else { program };
    security(
        to,
        name,
        "A sign-in to IPLoop from a new network",
        &[
            "somebody signed in to your account from a network that it was not used from before.",
            &format!("Time: {at}. Address: {address}. Program: {program}."),
        ],
        link,
        "If that was not you, end that login in your settings and set a new password at once.",
    )
}

/// A new password stands.
pub(crate) fn password_changed(to: &EmailAddress, name: &str, link: &str) -> Mail {
    security(
        to,
        name,
        "Your IPLoop password was changed",
        &["your account has a new password. Every login from before has ended."],
        link,
        "If that was not you, ask for a new password on the sign-in page at once, and write to support.",
    )
}

/// A second factor is on.
pub(crate) fn two_factor_on(to: &EmailAddress, name: &str, link: &str) -> Mail {
    security(
        to,
        name,
        "Two-factor authentication is on",
        &["signing in to your account now takes a code from your authenticator besides the password."],
        link,
        "Keep the recovery codes where you find them without your phone. If that was not you, write to support.",
    )
}

/// The second factor is off.
pub(crate) fn two_factor_off(to: &EmailAddress, name: &str, link: &str) -> Mail {
    security(
        to,
        name,
        "Two-factor authentication is off",
        &["signing in to your account takes the password alone from now on."],
        link,
        "If that was not you, set a new password at once.",
    )
}

/// A recovery code was used.
pub(crate) fn recovery_code_used(to: &EmailAddress, name: &str, left: i64, link: &str) -> Mail {
    security(
        to,
        name,
        "A recovery code was used",
        &[
            "a recovery code took the place of your authenticator's code.",
            &format!("Recovery codes that are left: {left}."),
        ],
        link,
        "If that was not you, set a new password at once and make new recovery codes.",
    )
}

/// The networks from which to sign in are others.
pub(crate) fn allow_list_changed(to: &EmailAddress, name: &str, networks: i64, link: &str) -> Mail {
    let now = match networks {
        0 => "signing in to your account works from anywhere from now on.".to_owned(),
        1 => "signing in to your account works from 1 network only from now on.".to_owned(),
        networks => format!("signing in to your account works from {networks} networks only from now on."),
    };
    security(
        to,
        name,
        "The networks that may sign in were changed",
        &[&now],
        link,
        "If that was not you, set a new password at once, and write to support if you can't sign in.",
    )
}

/// A key was made.
pub(crate) fn api_key_created(
    to: &EmailAddress,
    name: &str,
    (key, prefix): (&str, &str),
    link: &str,
) -> Mail {
    letter(
        to,
        name,
        "An API key was made",
        &[
            "your account has a new API key.",
            &format!("Name: {key}. It begins with {prefix}."),
            "Keys made within the same hour are not told one by one.",
        ],
        ("Your keys", link),
        &[
            "If that was you, there is nothing to do.",
            "If that was not you, delete the key and set a new password at once.",
        ],
    )
}

/// Mails like this one were switched off.
pub(crate) fn security_alerts_off(to: &EmailAddress, name: &str, link: &str) -> Mail {
    security(
        to,
        name,
        "Security mails are switched off",
        &[
            "you will not be told any more of sign-ins from new networks, nor of changes of your password, your second factor, your keys or the networks that may sign in.",
        ],
        link,
        "If that was not you, switch them on again and set a new password at once.",
    )
}

/// An operator let in the owner, who was locked out.
pub(crate) fn account_unlocked(
    to: &EmailAddress,
    name: &str,
    (second_factor, allow_list): (bool, bool),
    link: &str,
) -> Mail {
    let mut before = vec!["our support opened your account: every login from before has ended."];
    if second_factor {
        before.push("Two-factor authentication is off. Please set it up again.");
    }
    if allow_list {
        before.push("The list of networks that may sign in is empty: signing in works from anywhere.");
    }
    letter(
        to,
        name,
        "Your account was opened by support",
        &before,
        ("Your security settings", link),
        &["If you did not ask for that, set a new password at once and write to support."],
    )
}

/// The account is gone.
pub(crate) fn account_deleted(to: &EmailAddress, name: &str, link: &str) -> Mail {
    letter(
        to,
        name,
        "Your IPLoop account was deleted",
        &[
            "your account is deleted, as you asked: its keys, its logins and what was personal in it are gone.",
        ],
        ("IPLoop", link),
        &["If that was not you, write to support."],
    )
}

/// A letter about the account's safety, with the way to its settings.
fn security(to: &EmailAddress, name: &str, subject: &str, before: &[&str], link: &str, after: &str) -> Mail {
    letter(
        to,
        name,
        subject,
        before,
        ("Your security settings", link),
        &["If that was you, there is nothing to do.", after],
    )
}

/// To support: a customer's ticket.
pub(crate) fn ticket_opened(
    to: &EmailAddress,
    name: &str,
    (customer, subject, message): (&str, &str, &str),
    link: &str,
) -> Mail {
    let from = format!("{customer} opened a ticket: {subject}");
    letter(
        to,
        name,
        &format!("Ticket: {subject}"),
        &[&from, message],
        ("Answer it", link),
        &["An answer reaches the customer when it is written as an admin, not as a reply to this mail."],
    )
}

/// To a customer: a ticket's answer.
pub(crate) fn ticket_answered(
    to: &EmailAddress,
    name: &str,
    (subject, answer): (&str, &str),
    link: &str,
) -> Mail {
    let about = format!("your ticket \"{subject}\" was answered:");
    letter(
        to,
        name,
        &format!("Your ticket: {subject}"),
        &[&about, answer],
        ("Your tickets", link),
        &["Open another ticket if that does not help."],
    )
}

/// A letter with a link.
fn letter(
    to: &EmailAddress,
    name: &str,
    subject: &str,
    before: &[&str],
    action: (&str, &str),
    after: &[&str],
) -> Mail {
    let letter = Letter {
        subject,
        name,
        before,
        action: Some(action),
        after,
        ..Letter::default()
    };
    letter.to(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_carry_the_link_and_html_never_a_name_as_markup() {
        let to = "ada@example.com".parse().unwrap();
        for mail in [
            welcome(&to, "<b>Ada\"'</b>", "https://h/x?a=1&b=2"),
            verification(&to, "<b>Ada\"'</b>", "https://h/x?a=1&b=2"),
            password_reset(&to, "<b>Ada\"'</b>", "https://h/x?a=1&b=2"),
            new_network(&to, "<b>Ada\"'</b>", ("a", "<b>", "c"), "https://h/x?a=1&b=2"),
            password_changed(&to, "<b>Ada\"'</b>", "https://h/x?a=1&b=2"),
            two_factor_on(&to, "<b>Ada\"'</b>", "https://h/x?a=1&b=2"),
            two_factor_off(&to, "<b>Ada\"'</b>", "https://h/x?a=1&b=2"),
            recovery_code_used(&to, "<b>Ada\"'</b>", 9, "https://h/x?a=1&b=2"),
            allow_list_changed(&to, "<b>Ada\"'</b>", 0, "https://h/x?a=1&b=2"),
            api_key_created(&to, "<b>Ada\"'</b>", ("<b>", "c"), "https://h/x?a=1&b=2"),
            security_alerts_off(&to, "<b>Ada\"'</b>", "https://h/x?a=1&b=2"),
            account_unlocked(&to, "<b>Ada\"'</b>", (true, true), "https://h/x?a=1&b=2"),
            account_deleted(&to, "<b>Ada\"'</b>", "https://h/x?a=1&b=2"),
            ticket_answered(
                &to,
                "<b>Ada\"'</b>",
                ("<b>s</b>", "<b>m</b>"),
                "https://h/x?a=1&b=2",
            ),
            suspension(&to, "<b>Ada\"'</b>", "7", "<b>abuse</b>", "https://h/x?a=1&b=2"),
        ] {
            assert!(mail.text.contains("\nhttps://h/x?a=1&b=2\n"));
            assert!(mail.html.contains("href=\"https://h/x?a=1&amp;b=2\""));
            assert!(mail.html.contains("Hello &lt;b&gt;Ada&quot;&#39;&lt;/b&gt;,"));
            assert!(!mail.html.contains("<b>"));
        }
        let opened = ticket_opened(&to, "", ("a@b.c", "<b>s</b>", "<b>m</b>"), "https://h/");
        assert!(opened.html.contains("&lt;b&gt;m") && !opened.html.contains("<b>"));
    }
}
