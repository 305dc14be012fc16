//! `cargo xtask api`: writes what is made from the API's routes.

use anyhow::Result;

use crate::client;
use crate::process::{root, write_page};

/// Write the API's OpenAPI document anew, into docs, and the customer's library from it.
#[derive(clap::Args)]
pub(crate) struct Api {}

impl Api {
    pub(crate) fn run(self) -> Result<()> {
        write_page(&["openapi"], &root().join("docs/openapi.json"))?;
        client::write()
    }
}
