//! Texts and names that several requests have in common, as the OpenAPI document describes them: as exactly as the rule that holds.
//!
//! For `#[schema(value_type = …)]` and `#[param(value_type = …)]`. The rules themselves are the platform's.

use iploop_platform::abuse::AuditAction;
use iploop_platform::events::EventKind;
use iploop_protocol::policy::{OpenableRule, RuleClass};
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{KnownFormat, RefOr, Schema, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

/// What `char::is_whitespace` knows, which is taken off at both ends.
const SPACE: &str = r"[\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]";
/// What may stand in a line, and of that what is no white space: what it begins and ends with.
const LINE: [&str; 2] = [
    r"[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]",
    r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028-\u202f\u205f\u2066-\u2069\u3000]",
];
/// The same of a text of several lines.
const TEXT: [&str; 2] = [
    r"[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]",
    r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
];

/// `least` to `most` characters after trimming.
fn trimmed([inner, outer]: [&str; 2], least: usize, most: usize) -> String {
    let between = most.saturating_sub(2);
    let text = match least {
        0 => format!("({outer}({inner}{{0,{between}}}{outer})?)?"),
        1 => format!("{outer}({inner}{{0,{between}}}{outer})?"),
        _ => format!("{outer}{inner}{{{},{between}}}{outer}", least - 2),
    };
    format!("^{SPACE}*{text}{SPACE}*$")
}

fn string(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description.trim()))
}

macro_rules! texts {
    ($($(#[doc = $doc:literal])* $name:ident = $form:ident, $least:literal to $most:literal;)*) => { $(
        $(#[doc = $doc])*
        pub(crate) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                string(concat!($($doc),*))
                    .pattern(Some(trimmed($form, $least, $most)))
                    .into()
            }
        }

        impl ToSchema for $name {}
    )* };
}

texts! {
    /// Why, for the record: 3 to 500 characters in a line.
    Reason = LINE, 3 to 500;
    /// A person's name: 2 to 100 characters.
    PersonName = LINE, 2 to 100;
    /// A name: 1 to 100 characters.
    Name = LINE, 1 to 100;
    /// At most 255 characters; empty: none.
    OptionalName = LINE, 0 to 255;
    /// A line of 1 to 200 characters.
    Line = LINE, 1 to 200;
    /// A line of 3 to 1,000 characters.
    AnnouncementText = LINE, 3 to 1000;
    /// A line of at most 500 characters; empty: none.
    Notice = LINE, 0 to 500;
    /// At most 1,000 characters in a line.
    PlanDescription = LINE, 0 to 1000;
    /// Makes an act count once, however often it is sent: 1 to 200 characters of the caller's.
    IdempotencyKey = LINE, 1 to 200;
    /// 1 to 4,000 characters, in several lines if need be.
    MessageText = TEXT, 1 to 4000;
}

macro_rules! names {
    ($($(#[doc = $doc:literal])* $name:ident = $($value:literal)|+;)*) => { $(
        $(#[doc = $doc])*
        pub(crate) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                string(concat!($($doc),*))
                    .enum_values(Some([$($value),+]))
                    .into()
            }
        }

        impl ToSchema for $name {}
    )* };
}

names! {
    /// What an account may see.
    RoleName = "customer" | "admin" | "partner" | "owner";
    /// A role that an admin can give; `partner` comes with the partner that the account is linked to.
    GivenRole = "customer" | "admin" | "owner";
    /// Whether an account may sign in and use the proxy.
    StatusName = "active" | "suspended" | "deleted";
    /// A status that an admin can set; deleting is an act of its own.
    GivenStatus = "active" | "suspended";
    /// How far a customer is trusted.
    StandingName = "new" | "established";
    /// An act on many users.
    BulkAction = "suspend" | "reinstate" | "delete" | "change_plan";
    /// What an entry of the platform's list is.
    EntryKindName = "suffix" | "address" | "port";
    /// Where an app runs.
    AppPlatformName = "android" | "ios" | "windows" | "mac" | "linux" | "browser";
    /// What was decided about an app.
    AppStateName = "pending" | "approved" | "rejected" | "suspended";
    /// How a device stands.
    NodeStatusName = "available" | "busy" | "inactive" | "banned" | "removed";
    /// How a connected device stands.
    LiveStatusName = "available" | "busy";
    /// How a dispute stands.
    DisputeStatusName = "inquiry" | "open" | "won" | "lost";
    /// How an errand stands.
    ErrandStateName = "waiting" | "done" | "left";
    /// How a ticket stands.
    TicketStatusName = "open" | "answered" | "closed";
    /// How a delivery stands.
    DeliveryStateName = "pending" | "delivered" | "failed";
    /// How long a subscription is paid for at once.
    IntervalName = "month" | "year";
}

/// Types whose description is made from code.
macro_rules! described {
    ($($(#[doc = $doc:literal])* $name:ident = $schema:expr;)*) => { $(
        $(#[doc = $doc])*
        pub(crate) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let describe: fn(&str) -> RefOr<Schema> = $schema;
                describe(concat!($($doc),*))
            }
        }

        impl ToSchema for $name {}
    )* };
}

described! {
    /// The id of a row.
    Id = |text| string(text).format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))).into();
    /// An address, IPv4 or IPv6.
    Address = |text| {
        let address = |format| ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(format)));
        AnyOfBuilder::new()
            .description(Some(text.trim()))
            .item(address(KnownFormat::Ipv4))
            .item(address(KnownFormat::Ipv6))
            .into()
    };
    /// A port.
    Port = |text| integer(text, 1, 65_535);
    /// A whole number of 64 bits.
    Signed = |text| integer(text, i64::MIN, i64::MAX);
    /// Minutes without a request.
    IdleMinutes = |text| {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .description(Some(text.trim()))
            .enum_values(Some([15, 30, 60]))
            .into()
    };
    /// A country of ISO 3166-1 alpha-2, or `eu`.
    CountryOrSet = |text| string(text).pattern(Some("^[A-Za-z]{2}$")).into();
    /// An international phone number of 6 to 15 digits, with `+` or `00` before it; empty: none.
    Phone = |text| {
        let number = r"(\+|00)[ ./()-]*([0-9][ ./()-]*){6,15}";
        string(text).pattern(Some(format!("^{SPACE}*({number})?{SPACE}*$"))).into()
    };
    /// An `https` address, at most 500 characters.
    StoreUrl = |text| {
        let [inner, outer] = LINE;
        string(text).pattern(Some(format!("^{SPACE}*https://({inner}{{0,491}}{outer})?{SPACE}*$"))).into()
    };
    /// 1 to 128 characters without spaces.
    BundleId = |text| {
        let [_, outer] = LINE;
        string(text).pattern(Some(format!("^{SPACE}*{outer}{{1,128}}{SPACE}*$"))).into()
    };
    /// What was done, in the audit record.
    ActionName = |text| {
        let names: Vec<&str> = AuditAction::ALL.iter().map(|action| action.as_str()).collect();
        string(text).enum_values(Some(names)).into()
    };
    /// An address or a CIDR prefix.
    NetworkText = |text| string(text).pattern(Some(format!("^{SPACE}*[0-9A-Fa-f:.]+(/[0-9]{{1,3}})?{SPACE}*$"))).into();
    /// An `https` address without user and fragment, at most 500 characters.
    WebhookUrl = |text| string(text).pattern(Some(format!("^{SPACE}*[Hh][Tt][Tt][Pp][Ss]?://[!-~]{{1,492}}{SPACE}*$"))).into();
    /// What a webhook can be told of.
    EventName = |text| {
        let names: Vec<&str> = EventKind::subscribable().map(EventKind::as_str).collect();
        string(text).enum_values(Some(names)).into()
    };
    /// A rule that can be opened for single customers.
    RuleName = |text| {
        let rules = RuleClass::ALL.iter().filter(|class| OpenableRule::try_from(**class).is_ok());
        let names: Vec<&str> = rules.map(|class| class.as_str()).collect();
        string(text).enum_values(Some(names)).into()
    };
    /// Dollars, 0 to 10,000, with at most six digits behind the point.
    Price = |text| decimal(text, 10_000, 6);
    /// 10^9 bytes, 0 to 10,000,000, with at most nine digits behind the point.
    Gigabytes = |text| decimal(text, 10_000_000, 9);
}

fn integer(description: &str, least: i64, most: i64) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .description(Some(description.trim()))
        .minimum(Some(least))
        .maximum(Some(most))
        .into()
}

/// A text or a number, from 0 to a power of ten.
fn decimal(description: &str, most: u32, places: usize) -> RefOr<Schema> {
    let digits = most.ilog10();
    let less = format!(r"[0-9]{{1,{digits}}}(\.[0-9]{{0,{places}}})?");
    ObjectBuilder::new()
        .schema_type(SchemaType::Array(vec![Type::String, Type::Number]))
        .description(Some(description.trim()))
        .pattern(Some(format!(r"^0*({less}|{most}(\.0{{0,{places}}})?)$")))
        .minimum(Some(0))
        .maximum(Some(most))
        .into()
}

#[cfg(test)]
mod tests {
    use iploop_platform::abuse::EntryKind;
    use iploop_platform::account::{AccountStatus, Role, Standing};
    use iploop_platform::admin::{BulkAct, NodeStatus};
    use iploop_platform::partners::{AppPlatform, AppState};
    use serde::de::DeserializeOwned;

    use super::*;

    /// Every name of the document is one of the type's.
    fn are_read<N: PartialSchema, T: DeserializeOwned>() {
        let schema = serde_json::to_value(N::schema()).unwrap();
        for name in schema["enum"].as_array().unwrap() {
            assert!(serde_json::from_value::<T>(name.clone()).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_in_the_document_are_names_that_are_read() {
        are_read::<RoleName, Role>();
        are_read::<GivenRole, Role>();
        are_read::<StatusName, AccountStatus>();
        are_read::<GivenStatus, AccountStatus>();
        are_read::<StandingName, Standing>();
        are_read::<BulkAction, BulkAct>();
        are_read::<EntryKindName, EntryKind>();
        are_read::<AppPlatformName, AppPlatform>();
        are_read::<AppStateName, AppState>();
        are_read::<NodeStatusName, NodeStatus>();
    }
}
