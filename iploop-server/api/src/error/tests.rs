use std::time::Duration;

use iploop_platform::field::FieldProblem;
use iploop_platform::ledger::Refusal;
use iploop_protocol::targeting::Targeting;

use super::ApiError;

#[test]
fn the_table() {
    let text = String::from("…");
    let rows = [
        ApiError::MalformedBody(text.clone()),
        ApiError::MalformedQuery(text.clone()),
        ApiError::InvalidHost,
        ApiError::InvalidFields(vec![FieldProblem::new("email", "Email is required")]),
        ApiError::Targeting(Box::new(Targeting::parse("contry-US").unwrap_err())),
        ApiError::MailTokenInvalid,
        ApiError::KeyLimitReached,
        ApiError::LoginRequired,
        ApiError::InvalidCredentials,
        ApiError::AccountNotActive,
        ApiError::TokenInvalid,
        ApiError::TokenExpired,
        ApiError::TokenRevoked,
        ApiError::LoginIdle,
        ApiError::AddressNotAllowed,
        ApiError::ChallengeInvalid,
        ApiError::CodeInvalid,
        ApiError::CsrfTokenInvalid,
        ApiError::AdminOnly,
        ApiError::NotFound,
        ApiError::KeyNotFound,
        ApiError::AddressNotFound,
        ApiError::AddressTaken,
        ApiError::WebhookNotFound,
        ApiError::DeliveryNotFound,
        ApiError::LinkInvalid,
        ApiError::SecretUnreadable,
        ApiError::SessionNotFound,
        ApiError::SessionExists,
        ApiError::TicketNotFound,
        ApiError::TooManyTickets,
        ApiError::InvalidTargeting {
            code: "invalid_country",
            detail: text.clone(),
        },
        ApiError::PlanFeature(text.clone()),
        ApiError::TooManySessions(Duration::from_millis(1500)),
        ApiError::TooManyLive,
        ApiError::AccountNotFound,
        ApiError::ErrandNotFound,
        ApiError::ErrandDone,
        ApiError::AlreadyListed,
        ApiError::AlreadySo,
        ApiError::TooMany(64),
        ApiError::PartnersOnly,
        ApiError::OwnersOnly,
        ApiError::PairingCodeInvalid,
        ApiError::PartnerHasDevices(3),
        ApiError::OtherRole,
        ApiError::AppTaken,
        ApiError::NotBooked(Refusal::KeyTaken),
        ApiError::PolicyTooLong,
        ApiError::PlanNotFound,
        ApiError::PlanNameTaken,
        ApiError::FirstPlan,
        ApiError::NodeNotFound,
        ApiError::NodeNotConnected,
        ApiError::OwnAccount,
        ApiError::AccountDeleted,
        ApiError::SettingsChanged,
        ApiError::NotBooked(Refusal::Impossible),
        ApiError::CannotImpersonate("…"),
        ApiError::ImpersonationReadOnly,
        ApiError::RegistrationsClosed,
        ApiError::MethodNotAllowed,
        ApiError::BodyTimeout,
        ApiError::EmailTaken,
        ApiError::AlreadyVerified,
        ApiError::TwoFactorOn,
        ApiError::TwoFactorOff,
        ApiError::LastAdmin,
        ApiError::BillingNotConfigured,
        ApiError::AlreadySubscribed,
        ApiError::NotSubscribed,
        ApiError::SpendCapReached(250),
        ApiError::PaymentsHeld,
        ApiError::CheckoutReplaced,
        ApiError::PaymentDeclined("Your card has insufficient funds".to_owned()),
        ApiError::PaymentProvider(text.clone()),
        ApiError::EventSignature,
        ApiError::EventTooOld,
        ApiError::EventTooEarly,
        ApiError::BodyTooLarge,
        ApiError::UnsupportedMediaType,
        ApiError::TooManyRequests(Duration::from_millis(1500)),
        ApiError::Internal(text.clone()),
        ApiError::Overloaded,
        ApiError::StoreUnavailable(text),
        ApiError::Timeout,
    ];
    let table: String = rows
        .iter()
        .map(|error| {
            let answer = error.answer();
            let retry = error
                .retry_after()
                .map_or_else(|| "-".to_owned(), |seconds| format!("{seconds}s"));
            format!(
                "{} {:<22} retry {:<3} {}\n",
                answer.status.as_u16(),
                answer.code,
                retry,
                answer.detail
            )
        })
        .collect();
    insta::assert_snapshot!(table);
}
