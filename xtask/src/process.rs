//! Programs that we start, and end.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// Runs a program to its end, with its output shown; fails where it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("{command:?} can't be started"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// `cargo` in the repository's root.
pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    command
}

/// Writes what the server says to these arguments, and tells where.
pub(crate) fn write_page(arguments: &[&str], path: &Path) -> Result<()> {
    let mut server = cargo(["run", "--quiet", "--package", "iploop-server", "--"]);
    let page = output(server.args(arguments))?;
    std::fs::write(path, page).with_context(|| format!("{} can't be written", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

/// Where `cargo build` puts the binaries of a profile (`debug` or `release`).
pub(crate) fn target(profile: &str) -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    folder.join(profile)
}

/// Ctrl-C and SIGTERM, which are noted from here on and end nothing by themselves: what we started is to end in order.
pub(crate) struct Signals {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (interrupt, terminate) = {
            let _within = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        Ok(Self {
            runtime,
            interrupt,
            terminate,
        })
    }

    /// Waits for one, for this time at most.
    pub(crate) fn came_within(&mut self, most: Duration) -> bool {
        let Self {
            runtime,
            interrupt,
            terminate,
        } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
                () = tokio::time::sleep(most) => false,
            }
        })
    }
}

/// A program that runs beside us and ends with us.
pub(crate) struct Running {
    name: String,
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    /// Starts a program; its errors go to `log`.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let log =
            std::fs::File::create(log).with_context(|| format!("{} can't be written", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("{command:?} can't be started"))?;
        let stdout = child
            .stdout
            .take()
            .context("the program has no standard output")?;
        Ok(Self {
            name: name.to_owned(),
            child,
            lines: read_lines(stdout),
        })
    }

    /// The next line of its standard output that holds `text`, within `most`.
    pub(crate) fn wait_for(&mut self, text: &str, most: Duration) -> Result<String> {
        let until = std::time::Instant::now() + most;
        loop {
            let left = until.saturating_duration_since(std::time::Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    bail!("{} did not say {text} within {most:?}", self.name)
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    bail!(
                        "{} ended before it said {text}: {}",
                        self.name,
                        self.child.wait()?
                    )
                }
            }
        }
    }

    /// The error if it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended: {status}", self.name),
        }
    }

    /// Asks it to end in order, and waits.
    pub(crate) fn stop(&mut self) {
        // `kill` by its id: the standard library only knows the hard way.
        let asked = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        if asked.is_ok_and(|status| status.success()) {
            for _ in 0..150 {
                if matches!(self.child.try_wait(), Ok(Some(_))) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

/// A thread's bounded view of a program's output: what nobody asks for is dropped.
fn read_lines(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::sync_channel(1024);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { break };
            let _ = sender.try_send(line);
        }
    });
    lines
}

/// The first line of a program's output, all of which is read.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .with_context(|| format!("{command:?} can't be started"))?;
    let mut text = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut text)?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(text)
}
