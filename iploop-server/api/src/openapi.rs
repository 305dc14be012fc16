//! The OpenAPI document: from the handlers, completed with what holds for all of them.

use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, Parameter, PathItem};
use utoipa::openapi::response::{ResponseBuilder, ResponsesBuilder};
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, Schema};

use crate::problem::{FieldError, Problem};

/// The part of the document that no handler knows.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "IPLoop API",
        description = "Accounts, keys and usage of the IPLoop proxy. Every error is a problem document (RFC 9457)."
    ),
    components(schemas(Problem, FieldError)),
    tags(
        (name = "auth", description = "Registering, signing in, passwords, the mail address, and what an owner decides about the account"),
        (name = "keys", description = "Keys for the proxy; /api/auth/api-keys is another name of /api/proxy/keys"),
        (name = "proxy", description = "How to reach the proxy, and from where it can exit"),
        (name = "sessions", description = "Sticky sessions: which exit they have, and a new one by hand; with a login, or with an API key as Authorization: Bearer iploop_..."),
        (name = "usage", description = "What was used"),
        (name = "billing", description = "What was bought, given, used and paid back"),
        (name = "webhooks", description = "Addresses that are told of events, and what they answered"),
        (name = "mail", description = "Links in mails"),
        (name = "live", description = "What happens now, as server-sent events"),
        (name = "nodes", description = "The network in aggregates"),
        (name = "partners", description = "Who may bring devices, for admins"),
        (name = "support", description = "The assistant, and tickets for people; /api/assistant/chat is another name of /api/support/chat"),
        (name = "admin", description = "Users, plans, devices, settings; lists, grants, suspension, complaints and the audit record, for admins"),
        (name = "platform", description = "What everybody may know"),
        (name = "partner", description = "A partner's own apps, devices and earnings, for its users"),
        (name = "owner", description = "Devices that an owner claimed, what they earned, and the rights over their data"),
        (name = "health", description = "For the ones that restart and route"),
    )
)]
pub(crate) struct Base;

/// Completes the document: how to sign in, the errors that follow from what a request carries, unique operation ids.
pub(crate) fn complete(document: &mut utoipa::openapi::OpenApi) {
    let components = document.components.get_or_insert_default();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let cookie = ApiKeyValue::with_description(
        "iploop_session",
        "Set by signing in (over TLS: __Host-iploop_session). Requests that change something also send the login's \
         csrfToken as header X-CSRF-Token.",
    );
    components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));

    for (path, item) in &mut document.paths.paths {
        let is_alias = path.starts_with("/api/auth/api-keys") || path.starts_with("/api/assistant/");
        let has_id = path.contains('{');
        for (is_safe, operation) in operations(item) {
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(Parameter {
                    schema: Some(schema), ..
                }) = parameter
                {
                    without_null(schema);
                }
            }
            if let Some(id) = operation.operation_id.as_mut().filter(|_| is_alias) {
                id.push_str("_by_other_name");
            }
            if path.starts_with("/api/") {
                let is_by_role = ["/api/admin/", "/api/partner", "/api/owner/"]
                    .iter()
                    .any(|area| path.starts_with(area));
                add_errors(operation, is_safe, has_id, is_by_role);
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (bool, &mut Operation)> {
    [
        (true, item.get.as_mut()),
        (false, item.post.as_mut()),
        (false, item.put.as_mut()),
        (false, item.patch.as_mut()),
        (false, item.delete.as_mut()),
    ]
    .into_iter()
    .filter_map(|(is_safe, operation)| Some((is_safe, operation?)))
}

/// A query and a path have no null: what is not wanted is left out.
fn without_null(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            if let SchemaType::Array(types) = &mut object.schema_type {
                types.retain(|kind| *kind != Type::Null);
                if let [only] = &**types {
                    object.schema_type = SchemaType::Type(only.clone());
                }
            }
        }
        RefOr::T(Schema::OneOf(choices)) => {
            let is_null = |choice: &RefOr<Schema>| matches!(choice, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null));
            choices.items.retain(|choice| !is_null(choice));
            if let [only] = &*choices.items {
                *schema = only.clone();
            }
        }
        _ => {}
    }
}

fn add_errors(operation: &mut Operation, is_safe: bool, has_id: bool, is_admin: bool) {
    let needs_login = operation.security.is_some();
    let has_body = operation.request_body.is_some();
    let has_parameters = operation
        .parameters
        .as_ref()
        .is_some_and(|parameters| !parameters.is_empty());
    let names_key = operation
        .parameters
        .iter()
        .flatten()
        .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == "key"));
    let errors = [
        (
            has_body || has_parameters && (!has_id || is_admin),
            "400",
            "Malformed, or fields that can't be accepted",
        ),
        (needs_login, "401", "Not signed in, or no longer"),
        (
            needs_login && (!is_safe || is_admin),
            "403",
            "Not allowed, or signed in by cookie without the CSRF token",
        ),
        (
            has_id || names_key,
            "404",
            "There is no such thing, or it is another's",
        ),
        (
            is_admin && !is_safe,
            "409",
            "It is so already, or there is no room for it",
        ),
        (has_body, "408", "The body did not arrive in time"),
        (has_body, "413", "The body is larger than 64 KiB"),
        (has_body, "415", "The body is of another type"),
        (true, "500", "Something went wrong on our side"),
        (
            true,
            "503",
            "Overloaded, or the data can't be reached; see Retry-After",
        ),
    ];
    for (applies, status, description) in errors {
        if applies && !operation.responses.responses.contains_key(status) {
            let content = Content::new(Some(RefOr::Ref(Ref::from_schema_name("Problem"))));
            let response = ResponseBuilder::new()
                .description(description)
                .content("application/problem+json", content)
                .build();
            let more = ResponsesBuilder::new().response(status, response).build();
            operation.responses.responses.extend(more.responses);
        }
    }
}
