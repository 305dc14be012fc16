//! Processes of the benchmark: its own (`origin`, `link`, `load`) and the tunnels it measures.
//!
//! An own process prints one JSON line when it is ready and ends when its standard input does, so nothing outlives `run`.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::LocalSet;
use tokio::time::timeout;

/// A process may take this long to say that it is ready.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// Of a failed process's log, the part shown.
const LOG_TAIL_BYTES: usize = 600;

/// A running child process; dropping it kills it.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with standard error going to `<folder>/<name>.log`.
    pub(crate) fn spawn(name: &str, mut command: Command, folder: &Path) -> anyhow::Result<Process> {
        let log = folder.join(format!("{name}.log"));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let stdout = child.stdout.take().context("no standard output")?;
        Ok(Process {
            name: name.to_owned(),
            stdin: child.stdin.take(),
            child,
            stdout: BufReader::new(stdout).lines(),
            log,
        })
    }

    /// Starts this binary again with `arguments`.
    pub(crate) fn spawn_own(name: &str, arguments: &[String], folder: &Path) -> anyhow::Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments);
        Process::spawn(name, command, folder)
    }

    /// Its process id; an error once it has ended.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child
            .id()
            .with_context(|| format!("{} has ended", self.name))
    }

    /// The next line of its output as JSON. Lines that are no JSON object are skipped.
    pub(crate) async fn next_json<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        loop {
            let line = self.stdout.next_line().await?;
            let line = line.with_context(|| format!("{} ended: {}", self.name, self.log_tail()))?;
            if line.starts_with('{') {
                return serde_json::from_str(&line).with_context(|| format!("{} printed {line}", self.name));
            }
        }
    }

    /// Its ready line.
    pub(crate) async fn ready<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        match timeout(READY_LIMIT, self.next_json()).await {
            Ok(ready) => ready,
            Err(_) => anyhow::bail!("{} not ready in {READY_LIMIT:?}: {}", self.name, self.log_tail()),
        }
    }

    /// Writes one line to its standard input.
    pub(crate) async fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().context("no standard input")?;
        stdin.write_all(line.as_bytes()).await?;
        stdin.write_all(b"\n").await?;
        Ok(stdin.flush().await?)
    }

    /// Kills it and waits for its end.
    pub(crate) async fn end(mut self) {
        // Already ended is as good.
        let _ = self.child.kill().await;
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid()?)?).context("no process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits until it has ended by itself; its exit status, which one that was killed has not.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<Option<i32>> {
        Ok(self.child.wait().await?.code())
    }

    /// All of its log.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of its log, for an error's text.
    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(LOG_TAIL_BYTES)..];
        String::from_utf8_lossy(tail).trim().replace('\n', " | ")
    }
}

/// Runs `main` on a runtime of this thread alone, where tasks need not be `Send`.
pub(crate) fn local_runtime<F: Future>(main: F) -> anyhow::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(LocalSet::new().block_on(&runtime, main))
}

/// Prints one JSON line.
pub(crate) fn report<T: Serialize>(line: &T) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, line)?;
    stdout.write_all(b"\n")?;
    Ok(stdout.flush()?)
}

/// Ends this process when the one that started it closes our standard input or ends.
pub(crate) fn end_with_stdin() {
    std::thread::spawn(|| {
        let mut sink = [0; 256];
        while matches!(std::io::stdin().read(&mut sink), Ok(read) if read > 0) {}
        std::process::exit(0);
    });
}
