//! IPLoop's HTTP API: axum routes, OpenAPI, sign-in sessions and roles.
