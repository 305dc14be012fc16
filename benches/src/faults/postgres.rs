//! A PostgreSQL of the run's own.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::process::family;

/// Starts one in a new folder, prints that, and ends it when its input ends.
const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../iploop-server/store/src/contract/postgres.sh"
);

/// A running PostgreSQL; it ends with this value.
pub(super) struct Postgres {
    script: Child,
    folder: PathBuf,
}

impl Postgres {
    pub(super) fn start() -> anyhow::Result<Self> {
        let mut script = Command::new("sh")
            .arg(SCRIPT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut folder = String::new();
        BufReader::new(script.stdout.take().context("no output")?).read_line(&mut folder)?;
        let folder = PathBuf::from(folder.trim());
        anyhow::ensure!(folder.is_absolute(), "PostgreSQL is not installed");
        Ok(Self { script, folder })
    }

    /// What the server's `database.url` says.
    pub(super) fn url(&self) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@localhost/postgres?host={folder}")
    }

    /// Sends a signal to all of its processes.
    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let file = std::fs::read_to_string(self.folder.join("data/postmaster.pid"))?;
        let root = file.lines().next().context("no process id")?.trim().parse()?;
        for pid in family(root)? {
            let pid = Pid::from_raw(i32::try_from(pid)?).context("no process id")?;
            // One of them may have ended meanwhile.
            let _ = kill_process(pid, signal);
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Who stands still can't be asked to end.
        let _ = self.signal(Signal::CONT);
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}
