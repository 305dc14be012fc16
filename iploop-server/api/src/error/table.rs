//! What the API answers to each error: one table.

use std::borrow::Cow;

use http::StatusCode as S;
use iploop_platform::ledger::Refusal;

use super::{Answer, ApiError};

const FORMS: Option<&str> = Some("The form of each request is in /api/openapi.json.");

impl ApiError {
    /// The table.
    pub(crate) fn answer(&self) -> Answer {
        match self {
            Self::MalformedBody(reason) => row(S::BAD_REQUEST, "malformed_body", reason.clone(), FORMS),
            Self::MalformedQuery(reason) => row(S::BAD_REQUEST, "malformed_query", reason.clone(), FORMS),
            Self::InvalidHost => row(
                S::BAD_REQUEST,
                "invalid_host",
                "The request does not say, once and well, which host it is for",
                Some("Send one Host header: a name or an address, with or without a port."),
            ),
            Self::InvalidFields(problems) => {
                let first = problems.first().map(|first| first.message.clone());
                let detail = first.unwrap_or_else(|| "Invalid".to_owned());
                row(S::BAD_REQUEST, "invalid_fields", detail, None)
            }
            Self::Targeting(error) => Answer {
                hint: Some(error.hint().into()),
                parameter: error.parameter().map(str::to_owned),
                ..row(S::BAD_REQUEST, error.code(), error.to_string(), None)
            },
            Self::MailTokenInvalid => row(
                S::BAD_REQUEST,
                "invalid_token",
                "The link is not valid: it was used already, is too old, or a newer one was sent",
                Some("Ask for a new mail."),
            ),
            Self::KeyLimitReached => row(
                S::BAD_REQUEST,
                "key_limit_reached",
                "Maximum number of API keys reached",
                Some("Delete a key that you no longer use."),
            ),
            Self::LoginRequired => row(
                S::UNAUTHORIZED,
                "login_required",
                "Sign in first",
                Some("POST /api/auth/login, then send its token as Authorization: Bearer."),
            ),
            Self::InvalidCredentials => row(
                S::UNAUTHORIZED,
                "invalid_credentials",
                "Invalid email or password",
                None,
            ),
            Self::AccountNotActive => row(
                S::UNAUTHORIZED,
                "account_suspended",
                "Account is not active",
                Some("Write to support."),
            ),
            Self::TokenInvalid => row(
                S::UNAUTHORIZED,
                "token_invalid",
                "The login is not valid",
                Some("Sign in again."),
            ),
            Self::TokenExpired => row(
                S::UNAUTHORIZED,
                "token_expired",
                "The login has expired",
                Some("Sign in again."),
            ),
            Self::TokenRevoked => row(
                S::UNAUTHORIZED,
                "token_revoked",
                "The login has ended",
                Some("Sign in again."),
            ),
            Self::LoginIdle => row(
                S::UNAUTHORIZED,
                "login_idle",
                "The login ended: nothing was asked for longer than the session timeout",
                Some("Sign in again."),
            ),
            Self::AddressNotAllowed => row(
                S::UNAUTHORIZED,
                "address_not_allowed",
                "The account's owner allows other networks only",
                Some("Sign in from an address on the account's list, or ask its owner to add this one."),
            ),
            Self::ChallengeInvalid => row(
                S::UNAUTHORIZED,
                "challenge_invalid",
                "The sign-in took too long",
                Some("Begin again with the password."),
            ),
            Self::CodeInvalid => row(
                S::UNAUTHORIZED,
                "code_invalid",
                "The code is wrong, or was used already",
                Some("Wait for the authenticator's next code, or use a recovery code."),
            ),
            Self::CsrfTokenInvalid => row(
                S::FORBIDDEN,
                "csrf_token_invalid",
                "The request does not prove that it comes from our own page",
                Some(
                    "Send the csrfToken of the login as header X-CSRF-Token, or use a bearer token instead of the cookie.",
                ),
            ),
            Self::AdminOnly => row(S::FORBIDDEN, "admin_only", "Only admins may do this", None),
            Self::NotFound => row(S::NOT_FOUND, "not_found", "There is nothing here", None),
            Self::KeyNotFound => row(S::NOT_FOUND, "key_not_found", "API key not found", None),
            Self::AddressNotFound => row(
                S::NOT_FOUND,
                "address_not_found",
                "The account has no such address",
                None,
            ),
            Self::AddressTaken => row(
                S::CONFLICT,
                "address_taken",
                "Another account has proven this address and uses it",
                Some("Log in with a key from here; an address that several share can be one account's only."),
            ),
            Self::RequestNotFound => row(
                S::NOT_FOUND,
                "request_not_found",
                "There is no such request, or it is too old to be kept",
                Some("A request appears within 10 seconds of its begin."),
            ),
            Self::WebhookNotFound => row(S::NOT_FOUND, "webhook_not_found", "Webhook not found", None),
            Self::DeliveryNotFound => row(
                S::NOT_FOUND,
                "delivery_not_found",
                "There is no such delivery, or it is too old to be kept",
                None,
            ),
            Self::LinkInvalid => row(
                S::BAD_REQUEST,
                "invalid_link",
                "The link is not valid",
                Some("Open it as it stands in the mail, or change the settings after signing in."),
            ),
            Self::SecretUnreadable => row(
                S::CONFLICT,
                "secret_unreadable",
                "The secret can't be read any more",
                Some("Make a new one by POST /api/webhooks/{id}/regenerate-secret."),
            ),
            Self::SessionNotFound => row(
                S::NOT_FOUND,
                "session_not_found",
                "There is no live session of this name",
                None,
            ),
            Self::TicketNotFound => row(
                S::NOT_FOUND,
                "ticket_not_found",
                "There is no such ticket, or it is closed",
                None,
            ),
            Self::TooManyTickets => row(
                S::CONFLICT,
                "too_many_tickets",
                "The account has 20 tickets that are not closed",
                Some("Wait until one of them is answered and closed."),
            ),
            Self::SessionExists => row(
                S::CONFLICT,
                "session_exists",
                "A live session has this name already",
                Some("Use it, take another name, or end it by DELETE /api/proxy/sessions/{id}."),
            ),
            Self::InvalidTargeting { code, detail } => row(
                S::BAD_REQUEST,
                code,
                detail.clone(),
                Some("GET /api/proxy/endpoint lists the parameters."),
            ),
            Self::PlanFeature(detail) => row(
                S::FORBIDDEN,
                "plan_feature",
                detail.clone(),
                Some("Leave the parameter out, or change the plan."),
            ),
            Self::TooManySessions(_) => row(
                S::TOO_MANY_REQUESTS,
                "too_many_sessions",
                "The account has as many live sessions as it may",
                Some("End some by DELETE /api/proxy/sessions/{id}, or wait as long as Retry-After says."),
            ),
            Self::TooManyLive => row(
                S::TOO_MANY_REQUESTS,
                "too_many_live",
                "The account has as many live connections as it may",
                Some("Close one first."),
            ),
            Self::AccountNotFound => row(
                S::NOT_FOUND,
                "account_not_found",
                "There is no such account",
                None,
            ),
            Self::ErrandNotFound => row(S::NOT_FOUND, "errand_not_found", "There is no such errand", None),
            Self::ErrandDone => row(S::CONFLICT, "errand_done", "The errand is done already", None),
            Self::AlreadyListed => row(S::CONFLICT, "already_listed", "It is on the list already", None),
            Self::AlreadySo => row(S::CONFLICT, "already_so", "It is so already", None),
            Self::TooMany(limit) => row(
                S::CONFLICT,
                "too_many",
                format!("There may be {limit} at most"),
                Some("Remove one first."),
            ),
            Self::PartnersOnly => row(
                S::FORBIDDEN,
                "partners_only",
                "Only users who act for a partner may do this",
                Some("Ask us to link the account to the partner."),
            ),
            Self::OwnersOnly => row(
                S::FORBIDDEN,
                "owners_only",
                "Only accounts of devices' owners may do this",
                Some("Register with kind: owner."),
            ),
            Self::PairingCodeInvalid => row(
                S::BAD_REQUEST,
                "pairing_code_invalid",
                "The code is unknown, used or older than ten minutes",
                Some("Let the device show a new one."),
            ),
            Self::PartnerHasDevices(devices) => row(
                S::CONFLICT,
                "partner_has_devices",
                format!("{devices} devices of the partner are connected"),
                Some("Switch the partner off and wait until its devices are gone."),
            ),
            Self::OtherRole => row(
                S::CONFLICT,
                "other_role",
                "The account has another role, or acts for a partner already",
                None,
            ),
            Self::AppTaken => row(
                S::CONFLICT,
                "app_taken",
                "The partner has an app of this bundle id and platform",
                None,
            ),
            Self::NotBooked(refusal) => {
                let code = match refusal {
                    Refusal::KeyTaken => "idempotency_key_taken",
                    _ => "not_booked",
                };
                row(S::CONFLICT, code, refusal.to_string(), None)
            }
            Self::PolicyTooLong => row(
                S::CONFLICT,
                "policy_too_long",
                "The policy would be too long for devices: 1,000,000 bytes at most",
                Some("Remove entries, or write a shorter suffix that covers several."),
            ),
            Self::PlanNotFound => row(S::NOT_FOUND, "plan_not_found", "There is no such plan", None),
            Self::PlanNameTaken => row(
                S::CONFLICT,
                "plan_name_taken",
                "A plan has this name already",
                None,
            ),
            Self::FirstPlan => row(
                S::CONFLICT,
                "first_plan",
                "New accounts start on this plan",
                Some("Name another firstPlan in the settings first."),
            ),
            Self::NodeNotFound => row(S::NOT_FOUND, "node_not_found", "There is no such device", None),
            Self::NodeNotConnected => row(
                S::CONFLICT,
                "node_not_connected",
                "The device is not connected here",
                None,
            ),
            Self::OwnAccount => row(
                S::CONFLICT,
                "own_account",
                "Admins don't take their own rights away",
                Some("Ask another admin."),
            ),
            Self::AccountDeleted => row(
                S::CONFLICT,
                "account_deleted",
                "The account is deleted and stays so",
                None,
            ),
            Self::SettingsChanged => row(
                S::CONFLICT,
                "settings_changed",
                "The settings were changed since they were read",
                Some("Read them again, then write."),
            ),
            Self::CannotImpersonate(detail) => row(S::CONFLICT, "cannot_impersonate", *detail, None),
            Self::ImpersonationReadOnly => row(
                S::FORBIDDEN,
                "impersonation_read_only",
                "Who looks on as a customer changes nothing",
                Some("POST /api/auth/logout ends it."),
            ),
            Self::RegistrationsClosed => row(
                S::FORBIDDEN,
                "registrations_closed",
                "Nobody can register at the moment",
                Some("GET /api/platform says where to write to."),
            ),
            Self::MethodNotAllowed => row(
                S::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "This address does not take that method",
                None,
            ),
            Self::BodyTimeout => row(
                S::REQUEST_TIMEOUT,
                "body_timeout",
                "The body did not arrive in time",
                None,
            ),
            Self::EmailTaken => row(
                S::CONFLICT,
                "email_taken",
                "User already exists",
                Some("Sign in, or ask for a new password."),
            ),
            Self::AlreadyVerified => row(
                S::CONFLICT,
                "already_verified",
                "The email address is verified already",
                None,
            ),
            Self::TwoFactorOn => row(
                S::CONFLICT,
                "two_factor_on",
                "Two-factor authentication is on already",
                Some("Turn it off first."),
            ),
            Self::TwoFactorOff => row(
                S::CONFLICT,
                "two_factor_off",
                "Two-factor authentication is off",
                Some("POST /api/auth/two-factor/setup, then confirm it by a code."),
            ),
            Self::LastAdmin => row(
                S::CONFLICT,
                "last_admin",
                "Nobody would be left who may administer the platform",
                Some("Make another user an admin first."),
            ),
            Self::BillingNotConfigured => row(
                S::SERVICE_UNAVAILABLE,
                "billing_not_configured",
                "This server takes no payments",
                Some("Ask its operator to correct the balance by hand."),
            ),
            Self::AlreadySubscribed => row(
                S::CONFLICT,
                "already_subscribed",
                "The account has a subscription",
                Some("Change it: POST /api/billing/subscription/change."),
            ),
            Self::NotSubscribed => row(
                S::CONFLICT,
                "not_subscribed",
                "The account has no subscription",
                Some("Begin one: POST /api/billing/checkout."),
            ),
            Self::SpendCapReached(left) => row(
                S::CONFLICT,
                "spend_cap_reached",
                format!("Beyond the month's cap, of which {left} cents are left"),
                Some("Raise the cap, or buy less: PUT /api/billing/spend-cap."),
            ),
            Self::PaymentsHeld => row(
                S::CONFLICT,
                "payments_held",
                "A disputed payment must be settled before anything can be bought",
                Some(
                    "GET /api/billing/subscription says what is owed; POST /api/support/tickets reaches us.",
                ),
            ),
            Self::CheckoutReplaced => row(
                S::CONFLICT,
                "checkout_replaced",
                "Another page was opened at the same moment",
                Some("An account has one page for paying: use the other one, or ask again."),
            ),
            Self::PaymentDeclined(why) => row(
                S::PAYMENT_REQUIRED,
                "payment_declined",
                why.clone(),
                Some("Check how you pay: POST /api/billing/portal."),
            ),
            Self::PaymentProvider(_) => row(
                S::SERVICE_UNAVAILABLE,
                "payment_provider_unavailable",
                "The payment provider does not answer as it should",
                Some("Try again in a moment."),
            ),
            Self::EventSignature => row(
                S::BAD_REQUEST,
                "invalid_signature",
                "The event is not signed with this server's secret",
                Some("Set billing.stripe_webhook_secret to the endpoint's signing secret."),
            ),
            Self::EventTooOld => row(
                S::BAD_REQUEST,
                "signature_too_old",
                "The event was signed more than 5 minutes ago",
                Some("Check the clocks."),
            ),
            Self::EventTooEarly => row(
                S::SERVICE_UNAVAILABLE,
                "event_too_early",
                "What the event is about is not known yet",
                Some("Send it again later."),
            ),
            Self::BodyTooLarge => row(
                S::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "The body is larger than 64 KiB",
                None,
            ),
            Self::UnsupportedMediaType => row(
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The body must be JSON",
                Some("Send Content-Type: application/json."),
            ),
            Self::TooManyRequests(_) => row(
                S::TOO_MANY_REQUESTS,
                "too_many_requests",
                "Too many tries",
                Some("Wait as long as Retry-After says."),
            ),
            Self::Internal(_) => row(
                S::INTERNAL_SERVER_ERROR,
                "internal",
                "Something went wrong on our side",
                Some("If it goes on, tell us the request_id."),
            ),
            Self::Overloaded => row(
                S::SERVICE_UNAVAILABLE,
                "overloaded",
                "Too much to do at the moment",
                Some("Try again in a moment."),
            ),
            Self::StoreUnavailable(_) => row(
                S::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "The data can't be reached at the moment",
                Some("Try again in a moment."),
            ),
            Self::Timeout => row(
                S::SERVICE_UNAVAILABLE,
                "timeout",
                "The answer took too long",
                Some("Try again in a moment."),
            ),
        }
    }
}

fn row(
    status: S,
    code: &'static str,
    detail: impl Into<Cow<'static, str>>,
    hint: Option<&'static str>,
) -> Answer {
    Answer {
        status,
        code,
        detail: detail.into(),
        hint: hint.map(Cow::Borrowed),
        parameter: None,
    }
}
