//! `cargo xtask config`: writes the pages that are made from the configuration's structs.

use anyhow::{Context, Result};

use crate::process::{cargo, output, root};

/// Write the sample configuration and its JSON schema anew, into docs/configuration.
#[derive(clap::Args)]
pub(crate) struct Config {}

impl Config {
    pub(crate) fn run(self) -> Result<()> {
        let folder = root().join("docs/configuration");
        std::fs::create_dir_all(&folder)?;
        for (page, file) in [("sample", "iploop.toml"), ("schema", "schema.json")] {
            let mut server = cargo([
                "run",
                "--quiet",
                "--package",
                "iploop-server",
                "--",
                "config",
                page,
            ]);
            let path = folder.join(file);
            std::fs::write(&path, output(&mut server)?)
                .with_context(|| format!("{} can't be written", path.display()))?;
            println!("{}", path.display());
        }
        Ok(())
    }
}
