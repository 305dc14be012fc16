//! The server's binary: its commands, and what they print.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The server's binary with its configuration.
pub(crate) struct Program<'a> {
    pub(crate) binary: PathBuf,
    /// Where `server.toml` and the data folder are.
    pub(crate) folder: &'a Path,
}

impl Program<'_> {
    /// A command of it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .arg("--config")
            .arg(self.folder.join("server.toml"))
            .arg("--data")
            .arg(self.folder.join("data"))
            .current_dir(self.folder);
        command
    }

    /// Runs a command that prints a credential, and takes that from its output.
    pub(crate) async fn secret(&self, arguments: &[&str], prefix: &str) -> anyhow::Result<String> {
        let text = self.output(arguments, None).await?;
        find_secret(&text, prefix).with_context(|| format!("{} printed {text}", arguments.join(" ")))
    }

    /// Runs a command, with a line on its standard input; what it printed.
    pub(crate) async fn output(&self, arguments: &[&str], line: Option<&str>) -> anyhow::Result<String> {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn()?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        if let Some(line) = line {
            stdin.write_all(format!("{line}\n").as_bytes()).await?;
        }
        drop(stdin);
        let output = child.wait_with_output().await?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{}: {complaint}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// `prefix` and the 48 hex digits behind it.
fn find_secret(text: &str, prefix: &str) -> Option<String> {
    text.match_indices(prefix).find_map(|(at, _)| {
        let digits = text.get(at + prefix.len()..at + prefix.len() + 48)?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
            .then(|| format!("{prefix}{digits}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_in_whatever_is_printed_around_them() {
        let key = format!("iploop_{}", "0a".repeat(24));
        let printed = format!("{{\"account\":\"iploop_x\",\"key\":\"{key}\"}}\n");
        assert_eq!(find_secret(&printed, "iploop_"), Some(key));
        assert_eq!(find_secret("iploop_too-short", "iploop_"), None);
    }
}
