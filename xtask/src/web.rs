//! `cargo xtask web`: the dashboard, built from `web/` into `web/dist`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::{root, run};
use crate::setup;

/// The oldest Node.js that the tools of the dashboard run on.
const NODEJS: (u32, u32) = (20, 19);

/// Build the dashboard into web/dist.
#[derive(clap::Args)]
pub(crate) struct Web {}

impl Web {
    pub(crate) fn run(self) -> Result<()> {
        println!("{}", build()?.display());
        Ok(())
    }
}

/// The folder that a server is told as `api.dashboard`.
pub(crate) fn dist() -> PathBuf {
    folder().join("dist")
}

/// Builds the dashboard; where.
pub(crate) fn build() -> Result<PathBuf> {
    prepare()?;
    script("build")?;
    Ok(dist())
}

/// Runs the dashboard's tests, with its types and lints unless `only_tests`, and builds it.
pub(crate) fn check(only_tests: bool) -> Result<()> {
    prepare()?;
    if !only_tests {
        script("types")?;
        script("lint")?;
    }
    script("test")?;
    script("build")
}

/// What every script needs: the packages, and the types of the API's document.
fn prepare() -> Result<()> {
    let found = version()?;
    if found < NODEJS {
        let (major, minor) = NODEJS;
        bail!(
            "the dashboard needs Node.js {major}.{minor} or later; here is {}.{}",
            found.0,
            found.1
        );
    }
    setup::npm_packages("the dashboard's packages", &folder())?;
    script("schema")
}

fn folder() -> PathBuf {
    root().join("web")
}

fn script(name: &str) -> Result<()> {
    let mut npm = Command::new("npm");
    npm.args(["run", "--silent", name])
        .current_dir(folder())
        .stdin(Stdio::null());
    // These list what they wrote; what went wrong is on the other stream.
    if ["schema", "build"].contains(&name) {
        npm.stdout(Stdio::null());
    }
    run(&mut npm)
}

/// Major and minor version of Node.js.
fn version() -> Result<(u32, u32)> {
    if !setup::is_installed("node") || !setup::is_installed("npm") {
        bail!("the dashboard needs Node.js and npm, which are not installed");
    }
    let said = Command::new("node").arg("--version").output()?;
    let said = String::from_utf8(said.stdout)?;
    parse_version(&said).with_context(|| format!("node says that it is version {said:?}"))
}

/// Of `v20.19.2`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix('v')?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse_version("v20.19.2\n"), Some((20, 19)));
        assert!(parse_version("v9.0.0").unwrap() < NODEJS);
        assert!(parse_version("v20.9.0").unwrap() < NODEJS);
        assert!(parse_version("v22.0.0").unwrap() >= NODEJS);
        assert_eq!(parse_version("20"), None);
    }
}
