//! What an error of the platform is here.

use std::time::Duration;

use iploop_platform::accounts::AccountError;
use iploop_platform::ip_login::MAX_ADDRESSES;
use iploop_platform::keys::KeyError;
use iploop_platform::login::{LoginError, SessionError};
use iploop_platform::notices::NoticeError;
use iploop_platform::partners::PartnerError;
use iploop_platform::sticky::SessionError as StickyError;
use iploop_platform::store::StoreError;
use iploop_platform::webhooks::{MAX_WEBHOOKS, WebhookError};

use super::ApiError;

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::StoreUnavailable(chain(&error)),
            other => Self::Internal(chain(&other)),
        }
    }
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Invalid(problems) => Self::InvalidFields(problems),
            AccountError::EmailTaken => Self::EmailTaken,
            AccountError::RegistrationsClosed => Self::RegistrationsClosed,
            AccountError::TokenInvalid => Self::MailTokenInvalid,
            AccountError::AlreadyVerified => Self::AlreadyVerified,
            AccountError::TwoFactorOn => Self::TwoFactorOn,
            AccountError::TwoFactorOff => Self::TwoFactorOff,
            AccountError::LastAdmin => Self::LastAdmin,
            AccountError::Throttled { retry_after } => Self::TooManyRequests(retry_after),
            AccountError::Overloaded => Self::Overloaded,
            AccountError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<LoginError> for ApiError {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::InvalidCredentials => Self::InvalidCredentials,
            LoginError::NotActive => Self::AccountNotActive,
            LoginError::AddressNotAllowed => Self::AddressNotAllowed,
            LoginError::ChallengeInvalid => Self::ChallengeInvalid,
            LoginError::CodeInvalid => Self::CodeInvalid,
            LoginError::Throttled { retry_after } => Self::TooManyRequests(retry_after),
            LoginError::Overloaded => Self::Overloaded,
            LoginError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Invalid => Self::TokenInvalid,
            SessionError::Expired => Self::TokenExpired,
            SessionError::Revoked => Self::TokenRevoked,
            SessionError::Idle => Self::LoginIdle,
            SessionError::AddressNotAllowed => Self::AddressNotAllowed,
            SessionError::NotActive => Self::AccountNotActive,
            SessionError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Invalid(problems) => Self::InvalidFields(problems),
            KeyError::LimitReached => Self::KeyLimitReached,
            KeyError::NotFound => Self::KeyNotFound,
            KeyError::AddressNotFound => Self::AddressNotFound,
            KeyError::AddressTaken => Self::AddressTaken,
            KeyError::TooManyAddresses => Self::TooMany(MAX_ADDRESSES),
            KeyError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<StickyError> for ApiError {
    fn from(error: StickyError) -> Self {
        match error {
            StickyError::NotFound => Self::SessionNotFound,
            StickyError::Exists => Self::SessionExists,
            StickyError::Targeting(error) => Self::InvalidTargeting {
                code: error.code(),
                detail: error.to_string(),
            },
            StickyError::Plan(error) => Self::PlanFeature(error.to_string()),
            StickyError::TooMany { retry_after, .. } => Self::TooManySessions(retry_after),
            StickyError::NoRoom => Self::Overloaded,
            StickyError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<WebhookError> for ApiError {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Invalid(problems) => Self::InvalidFields(problems),
            WebhookError::LimitReached => Self::TooMany(MAX_WEBHOOKS),
            WebhookError::NotFound => Self::WebhookNotFound,
            WebhookError::DeliveryNotFound => Self::DeliveryNotFound,
            WebhookError::Throttled { retry_after } => Self::TooManyRequests(retry_after),
            WebhookError::Unsealable(_) => Self::SecretUnreadable,
            WebhookError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<NoticeError> for ApiError {
    fn from(error: NoticeError) -> Self {
        match error {
            NoticeError::Invalid(problems) => Self::InvalidFields(problems),
            NoticeError::LinkInvalid => Self::LinkInvalid,
            NoticeError::TooMany(_) => Self::TooManyRequests(Duration::from_secs(3600)),
            NoticeError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<PartnerError> for ApiError {
    fn from(error: PartnerError) -> Self {
        match error {
            PartnerError::Invalid(problem) => Self::InvalidFields(vec![problem]),
            PartnerError::NotFound => Self::NotFound,
            PartnerError::AccountNotFound => Self::AccountNotFound,
            PartnerError::AccountDeleted => Self::AccountDeleted,
            PartnerError::HasActiveDevices(devices) => Self::PartnerHasDevices(devices),
            PartnerError::OtherRole => Self::OtherRole,
            PartnerError::AppTaken => Self::AppTaken,
            PartnerError::TooManyApps(limit) => Self::TooMany(limit),
            PartnerError::Store(error) => error.into(),
            other => Self::Internal(other.to_string()),
        }
    }
}

/// An error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
