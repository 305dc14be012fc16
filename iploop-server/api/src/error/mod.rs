//! Every error that the API answers with; the answers are one [`table`].

mod from;
mod table;

use std::borrow::Cow;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use iploop_platform::field::FieldProblem;
use iploop_platform::ledger::Refusal;
use iploop_protocol::targeting::TargetingError;

/// Why a request gets no other answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiError {
    /// The body is no JSON, or not of the form that is documented.
    MalformedBody(String),
    /// The query can't be read.
    MalformedQuery(String),
    /// The host that it is for is not named once and well.
    InvalidHost,
    /// Fields that can't be accepted.
    InvalidFields(Vec<FieldProblem>),
    /// Targeting parameters that say nothing we can do: as the gateway answers them.
    Targeting(Box<TargetingError>),
    /// The token of a mail is unknown, used or expired.
    MailTokenInvalid,
    KeyLimitReached,
    LoginRequired,
    InvalidCredentials,
    AccountNotActive,
    TokenInvalid,
    TokenExpired,
    TokenRevoked,
    LoginIdle,
    AddressNotAllowed,
    ChallengeInvalid,
    CodeInvalid,
    CsrfTokenInvalid,
    AdminOnly,
    NotFound,
    KeyNotFound,
    AddressNotFound,
    AddressTaken,
    RequestNotFound,
    WebhookNotFound,
    DeliveryNotFound,
    /// A link in a mail that is none of ours.
    LinkInvalid,
    /// A secret that can't be decrypted.
    SecretUnreadable,
    SessionNotFound,
    SessionExists,
    TicketNotFound,
    TooManyTickets,
    /// Wishes about the exit that can't be read, in the words of the gateway.
    InvalidTargeting {
        code: &'static str,
        detail: String,
    },
    /// The plan does not have what is asked for.
    PlanFeature(String),
    /// An account's live sticky sessions are all used; the first ends after this time.
    TooManySessions(Duration),
    /// The account has as many live connections as it may.
    TooManyLive,
    AccountNotFound,
    ErrandNotFound,
    ErrandDone,
    AlreadyListed,
    AlreadySo,
    TooMany(u32),
    PartnersOnly,
    OwnersOnly,
    PairingCodeInvalid,
    PartnerHasDevices(u64),
    OtherRole,
    AppTaken,
    /// The ledger refuses, and says why.
    NotBooked(Refusal),
    PolicyTooLong,
    PlanNotFound,
    PlanNameTaken,
    FirstPlan,
    NodeNotFound,
    NodeNotConnected,
    OwnAccount,
    AccountDeleted,
    SettingsChanged,
    /// Why nobody may look on as this account.
    CannotImpersonate(&'static str),
    ImpersonationReadOnly,
    RegistrationsClosed,
    MethodNotAllowed,
    BodyTimeout,
    EmailTaken,
    AlreadyVerified,
    TwoFactorOn,
    TwoFactorOff,
    LastAdmin,
    /// No payment provider is configured.
    BillingNotConfigured,
    AlreadySubscribed,
    NotSubscribed,
    /// Cents that are left of the month's cap.
    SpendCapReached(i64),
    PaymentsHeld,
    CheckoutReplaced,
    /// Why, in the words of the bank.
    PaymentDeclined(String),
    /// For the log: what the payment provider said.
    PaymentProvider(String),
    EventSignature,
    EventTooOld,
    EventTooEarly,
    BodyTooLarge,
    UnsupportedMediaType,
    TooManyRequests(Duration),
    /// For the log: what happened.
    Internal(String),
    Overloaded,
    /// For the log: what the database said.
    StoreUnavailable(String),
    Timeout,
}

/// What an error looks like from outside.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) detail: Cow<'static, str>,
    pub(crate) hint: Option<Cow<'static, str>>,
    /// The targeting parameter at fault, if it is one.
    pub(crate) parameter: Option<String>,
}

impl ApiError {
    /// Whole seconds after which trying again may help.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooManyRequests(wait) | Self::TooManySessions(wait) => {
                Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
            }
            Self::TooManyLive => Some(15),
            Self::Overloaded | Self::StoreUnavailable(_) | Self::Timeout => Some(1),
            Self::PaymentProvider(_) | Self::EventTooEarly => Some(5),
            _ => None,
        }
    }

    /// What the operator needs to know and the customer does not.
    pub(crate) fn log_text(&self) -> Option<&str> {
        match self {
            Self::Internal(reason) | Self::StoreUnavailable(reason) | Self::PaymentProvider(reason) => {
                Some(reason)
            }
            _ => None,
        }
    }
}

/// Leaves the body to [`crate::finish`], which knows the request's id.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.answer().status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests;
