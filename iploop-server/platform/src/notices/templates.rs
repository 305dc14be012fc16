//! The texts of notices and reports.

use serde_json::{Value, json};

use super::Notice;
use crate::accounts::EmailAddress;
use crate::clock::Timestamp;
use crate::mail::layout::Letter;
use crate::mail::{Mail, templates};
use crate::statistics::Zone;
use crate::usage::UsageSummary;

/// To whom a notice goes, and where its links lead.
pub(super) struct Reader<'a> {
    pub(super) to: &'a EmailAddress,
    pub(super) name: &'a str,
    /// The address of the dashboard, without a slash at the end.
    pub(super) home: &'a str,
    /// A link that opens something, where the mail brings one.
    pub(super) link: Option<&'a str>,
}

/// What a report says.
pub(super) struct ReportFigures {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// Whose days they are.
    pub(super) zone: Zone,
    pub(super) usage: UsageSummary,
    pub(super) balance_bytes: i64,
}

/// The mail about something that happened.
pub(super) fn notice(notice: Notice, reader: &Reader<'_>, data: &Value) -> Mail {
    let billing = format!("{}/billing", reader.home);
    let webhooks = format!("{}/webhooks", reader.home);
    let settings = format!("{}/settings", reader.home);
    let balance = ("Balance", gigabytes(number(data, "balanceBytes")));
    let (to, name, link) = (reader.to, reader.name, reader.link.unwrap_or(reader.home));
    match notice {
        Notice::Welcome => templates::welcome(to, name, link),
        Notice::Verification => templates::verification(to, name, link),
        Notice::PasswordReset => templates::password_reset(to, name, link),
        Notice::NewNetwork => {
            let origin = (text(data, "address"), text(data, "userAgent"), text(data, "at"));
            templates::new_network(to, name, origin, &settings)
        }
        Notice::PasswordChanged => templates::password_changed(to, name, &settings),
        Notice::TwoFactorOn => templates::two_factor_on(to, name, &settings),
        Notice::TwoFactorOff => templates::two_factor_off(to, name, &settings),
        Notice::RecoveryCodeUsed => templates::recovery_code_used(to, name, number(data, "left"), &settings),
        Notice::AllowListChanged => {
            templates::allow_list_changed(to, name, number(data, "networks"), &settings)
        }
        Notice::ApiKeyCreated => templates::api_key_created(
            to,
            name,
            (text(data, "name"), text(data, "keyPrefix")),
            &format!("{}/api-keys", reader.home),
        ),
        Notice::SecurityAlertsOff => templates::security_alerts_off(to, name, &settings),
        Notice::AccountUnlocked => {
            let is = |field: &str| data[field].as_bool().unwrap_or_default();
            templates::account_unlocked(to, name, (is("secondFactor"), is("ipAllowList")), &settings)
        }
        Notice::AccountSuspended => {
            let account = text(data, "account");
            let records = format!("{}/api/admin/audit?account={account}", reader.home);
            templates::suspension(to, name, account, text(data, "reason"), &records)
        }
        Notice::AccountDeleted => templates::account_deleted(to, name, &format!("{}/", reader.home)),
        Notice::TicketOpened => {
            let ticket = (
                text(data, "customer"),
                text(data, "subject"),
                text(data, "message"),
            );
            templates::ticket_opened(to, name, ticket, &format!("{}/admin", reader.home))
        }
        Notice::TicketAnswered => {
            let ticket = (text(data, "subject"), text(data, "answer"));
            templates::ticket_answered(to, name, ticket, &format!("{}/support", reader.home))
        }
        Notice::Maintenance => letter(
            reader,
            "Planned work on IPLoop",
            &["we are going to work on the platform.", text(data, "message")],
            &[
                ("From", text(data, "startsAt").to_owned()),
                ("To", text(data, "endsAt").to_owned()),
            ],
            ("Status", &format!("{}/status", reader.home)),
        ),
        Notice::RateLimitReached => letter(
            reader,
            "A key reached its rate limit",
            &[
                "requests of one of your keys were answered with 429: it sent more than its limit allows.",
                "You are told once an hour. Raise the key's limit, or send fewer.",
            ],
            &[
                (
                    "Key",
                    format!("{} ({}…)", text(data, "name"), text(data, "keyPrefix")),
                ),
                ("Requests a second", number(data, "requestsPerSecond").to_string()),
            ],
            ("Your keys", &format!("{}/api-keys", reader.home)),
        ),
        Notice::QuotaWarning => {
            let used = format!("{} % of your last top-up are used.", number(data, "percentUsed"));
            letter(
                reader,
                "Most of your traffic is used",
                &[
                    &used,
                    "When the balance is used up, requests are answered with 402.",
                ],
                &[balance],
                ("Top up", &billing),
            )
        }
        Notice::QuotaExceeded => letter(
            reader,
            "Your traffic is used up",
            &["your balance is used up: requests are answered with 402 until there is more."],
            &[balance],
            ("Top up", &billing),
        ),
        Notice::PaymentSuccess => letter(
            reader,
            "Thank you for your payment",
            &["we received your payment."],
            &payment(data),
            ("Your invoices", &billing),
        ),
        Notice::PaymentFailed => letter(
            reader,
            "A payment did not go through",
            &[
                "your payment did not go through. Please look at your payment method, so that your plan goes on.",
            ],
            &payment(data),
            ("Payment method", &billing),
        ),
        Notice::PaymentRefunded => letter(
            reader,
            "Your payment was paid back",
            &["we paid a payment of yours back. Until your bank shows it, some days may pass."],
            &payment(data),
            ("Your statement", &billing),
        ),
        Notice::PaymentDisputed => disputed(reader, data, &billing),
        Notice::WebhookDisabled => {
            let why = match text(data, "disabledBy") {
                "gone" => "because it answered 410: it does not want any more.",
                _ => "because ten deliveries in a row failed.",
            };
            letter(
                reader,
                "A webhook was switched off",
                &[
                    &format!("one of your webhooks was switched off, {why}"),
                    "Events since then are kept: once it works again, switch it on and replay them.",
                ],
                &[("Address", text(data, "url").to_owned())],
                ("Your webhooks", &webhooks),
            )
        }
        // Reports have figures: see `report`.
        Notice::WeeklyReport | Notice::MonthlyReport => letter(
            reader,
            "Your IPLoop report",
            &["your figures are in the dashboard."],
            &[],
            ("Your usage", &format!("{}/usage", reader.home)),
        ),
    }
}

/// A bank took a payment back, or decided about it.
fn disputed(reader: &Reader<'_>, data: &Value, billing: &str) -> Mail {
    let (subject, happened) = match text(data, "status") {
        "won" => (
            "A disputed payment counts again",
            "your bank gave a payment back that had been disputed. What was bought with it is yours again.",
        ),
        "lost" => (
            "A disputed payment is over",
            "your bank decided about a payment that was disputed: it stays paid back.",
        ),
        _ => (
            "A payment is disputed",
            "your bank took a payment back. What was bought with it is taken back until your bank decides.",
        ),
    };
    let owed = number(data, "owedBytes");
    let mut facts = payment(data);
    if owed > 0 {
        facts.push(("Used, and not paid for now", gigabytes(owed)));
    }
    let meanwhile = if text(data, "status") == "open" || owed > 0 {
        "Until this is settled, nothing can be bought. If it is a mistake, write to support."
    } else {
        "Nothing is left to be done."
    };
    letter(
        reader,
        subject,
        &[happened, meanwhile],
        &facts,
        ("Your statement", billing),
    )
}

/// A week or a month in figures.
pub(super) fn report(reader: &Reader<'_>, period: &str, figures: &ReportFigures, unsubscribe: &str) -> Mail {
    let usage = &figures.usage;
    let last = Timestamp::from_millis(figures.to.as_millis() - 1);
    let zone = &figures.zone;
    let subject = format!("Your IPLoop {period}: {}", gigabytes(usage.billed_bytes));
    let intro = format!(
        "your {period} from {} to {} ({}) in figures.",
        zone.date(figures.from),
        zone.date(last),
        zone.name()
    );
    let facts = [
        ("Requests", usage.total_requests.to_string()),
        (
            "Without an error",
            share(usage.successful_requests, usage.total_requests),
        ),
        ("Charged traffic", gigabytes(usage.billed_bytes)),
        ("Balance", gigabytes(figures.balance_bytes)),
    ];
    let link = format!("{}/usage", reader.home);
    let letter = Letter {
        subject: &subject,
        name: reader.name,
        before: &[&intro],
        facts: &facts,
        action: Some(("Your usage", &link)),
        after: &[],
        unsubscribe: Some(unsubscribe),
    };
    letter.to(reader.to)
}

/// Every mail with made-up values, by name: to look at them.
pub fn previews(home: &str) -> Vec<(&'static str, Mail)> {
    let Ok(to) = "ada@example.com".parse::<EmailAddress>() else {
        return Vec::new();
    };
    let (name, link) = ("Ada Lovelace", format!("{home}/link?token=example"));
    let reader = Reader {
        to: &to,
        name,
        home,
        link: Some(&link),
    };
    let data = json!({
        "percentUsed": 83, "balanceBytes": 850_000_000_i64, "amount": "149.00", "currency": "USD",
        "description": "Growth, one month", "disabledBy": "failures", "url": "https://example.com/hook",
        "address": "192.0.2.7", "userAgent": "Mozilla/5.0", "at": "2025-11-24T16:00:00Z", "left": 9, "networks": 2,
        "name": "Crawler", "keyPrefix": "iploop_0123456", "secondFactor": true, "ipAllowList": true,
        "message": "Logins may fail for some minutes.", "startsAt": "2025-11-30T02:00:00Z",
        "endsAt": "2025-11-30T04:00:00Z", "requestsPerSecond": 20, "account": "example",
        "reason": "too many refused dials", "customer": "bob@example.com", "subject": "No exits in Peru",
        "answer": "They are back.",
    });
    let figures = ReportFigures {
        from: Timestamp::from_millis(1_763_337_600_000),
        to: Timestamp::from_millis(1_763_942_400_000),
        zone: Zone::default(),
        usage: UsageSummary {
            total_requests: 12_345,
            successful_requests: 12_301,
            billed_bytes: 4_210_000_000,
            ..UsageSummary::default()
        },
        balance_bytes: 850_000_000,
    };
    let mut all = Vec::with_capacity(Notice::ALL.len());
    for kind in Notice::ALL {
        let mail = match kind {
            Notice::WeeklyReport => report(&reader, "week", &figures, &link),
            Notice::MonthlyReport => report(&reader, "month", &figures, &link),
            other => notice(*other, &reader, &data),
        };
        all.push((kind.as_str(), mail));
    }
    all
}

fn letter(
    reader: &Reader<'_>,
    subject: &str,
    before: &[&str],
    facts: &[(&str, String)],
    action: (&str, &str),
) -> Mail {
    let letter = Letter {
        subject,
        name: reader.name,
        before,
        facts,
        action: Some(action),
        ..Letter::default()
    };
    letter.to(reader.to)
}

fn payment(data: &Value) -> Vec<(&'static str, String)> {
    let amount = format!("{} {}", text(data, "amount"), text(data, "currency"));
    let mut facts = vec![("Amount", amount)];
    for (label, field) in [
        ("For", "description"),
        ("Reason", "reason"),
        ("Invoice", "invoice"),
    ] {
        let value = text(data, field);
        if !value.is_empty() {
            facts.push((label, value.to_owned()));
        }
    }
    facts
}

fn text<'a>(data: &'a Value, field: &str) -> &'a str {
    data[field].as_str().unwrap_or_default()
}

fn number(data: &Value, field: &str) -> i64 {
    data[field].as_i64().unwrap_or_default()
}

/// Bytes as 10^9 with two places.
fn gigabytes(bytes: i64) -> String {
    let (sign, hundredths) = (
        if bytes < 0 { "-" } else { "" },
        bytes.unsigned_abs() / 10_000_000,
    );
    format!("{sign}{}.{:02} GB", hundredths / 100, hundredths % 100)
}

/// A share in per cent with one place, cut off, so that 100.0 % means all.
fn share(part: i64, of: i64) -> String {
    if of <= 0 {
        return "–".to_owned();
    }
    let tenths = i128::from(part) * 1000 / i128::from(of);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mail_has_its_name_its_link_and_both_forms() {
        let previews = previews("https://iploop.example");
        assert_eq!(previews.len(), Notice::ALL.len());
        for (name, mail) in previews {
            assert!(
                mail.text.contains("Hello Ada Lovelace,") && mail.html.contains("Hello Ada Lovelace,"),
                "{name}"
            );
            assert!(mail.text.contains("https://iploop.example/"), "{name}");
            assert!(mail.html.contains("href=\"https://iploop.example/"), "{name}");
            assert!(!mail.html.contains("<pre"), "{name}");
            assert_eq!(mail.unsubscribe.is_some(), name.ends_with("_report"), "{name}");
        }
    }

    #[test]
    fn figures_are_written_exactly() {
        for (bytes, text) in [
            (0, "0.00 GB"),
            (5_000_000_000, "5.00 GB"),
            (1_239_999_999, "1.23 GB"),
            (-20_000_000, "-0.02 GB"),
        ] {
            assert_eq!(gigabytes(bytes), text);
        }
        assert_eq!(gigabytes(i64::MIN), "-9223372036.85 GB");
        for (part, of, text) in [
            (1, 3, "33.3 %"),
            (9_999, 10_000, "99.9 %"),
            (5, 5, "100.0 %"),
            (0, 0, "–"),
        ] {
            assert_eq!(share(part, of), text);
        }
    }
}
