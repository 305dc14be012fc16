//! The API in process on a real store: whole requests, whole answers. On SQLite, and on PostgreSQL and Redis ([`harness`]).
//!
//! Every answer that goes through [`harness::Api`] is held against the OpenAPI document.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod accounts;
mod addresses;
mod admin;
mod admin_nodes;
mod admin_plans;
mod admin_policy;
mod admin_users;
mod assistant_endpoint;
mod billing;
mod broken;
mod chargebacks;
mod dashboard;
mod desk;
mod devices;
mod documented;
mod edges;
mod equal_answers;
mod errands;
mod events;
mod fuzzing;
mod harness;
mod impersonation;
mod keys;
mod leaving;
mod live;
mod logins;
mod moved_invoices;
mod notifications;
mod owners;
mod pages;
mod partners;
mod payments;
mod reading;
mod receiver;
mod requests;
mod serving;
mod sessions;
mod single_use;
mod statistics;
mod sticky;
mod support;
mod tenants;
mod till;
mod tokens;
mod trial;
mod two_factor;
mod unknown_users;
mod webhook_rules;
mod webhooks;
