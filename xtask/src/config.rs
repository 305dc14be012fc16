//! `cargo xtask config`: writes the pages that are made from the configuration's structs.

use anyhow::Result;

use crate::process::{root, write_page};

/// Write the sample configuration and its JSON schema anew, into docs/configuration.
#[derive(clap::Args)]
pub(crate) struct Config {}

impl Config {
    pub(crate) fn run(self) -> Result<()> {
        let folder = root().join("docs/configuration");
        std::fs::create_dir_all(&folder)?;
        write_page(&["config", "sample"], &folder.join("iploop.toml"))?;
        write_page(&["config", "schema"], &folder.join("schema.json"))
    }
}
