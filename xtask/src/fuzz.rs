//! `cargo xtask fuzz`: hostile bytes for hours. The tests run the same targets for a moment.

use anyhow::Result;

use crate::process::{cargo, root, run};

/// Feed the parsers and the tunnel with hostile bytes for a long time.
#[derive(clap::Args)]
pub(crate) struct Fuzz {
    /// Only this target; all of them without it.
    target: Option<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

const TARGETS: [&str; 3] = ["frames", "tunnel", "targeting"];

impl Fuzz {
    pub(crate) fn run(self) -> Result<()> {
        let targets = self
            .target
            .as_ref()
            .map_or_else(|| TARGETS.to_vec(), |target| vec![target.as_str()]);
        for target in targets {
            let mut fuzz = cargo(["run", "--release", "--bin", target, "--"]);
            fuzz.current_dir(root().join("iploop-protocol/fuzz"));
            run(fuzz
                .arg(format!("corpus/{target}"))
                .arg(format!("-max_total_time={}", self.seconds)))?;
        }
        Ok(())
    }
}
