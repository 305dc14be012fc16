//! The programs under test and the clients that drive them: found, started, listened to, ended.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::PATIENCE;

/// Lines of output that nobody has asked for yet; later ones are dropped.
const KEPT_LINES: usize = 4096;
/// Bytes of a log that are shown when a test fails.
const SHOWN_LOG: usize = 6 * 1024;

/// The server's binary.
pub(crate) fn server() -> PathBuf {
    binary("iploop-server")
}

/// The device agent's binary.
pub(crate) fn agent() -> PathBuf {
    binary("iploop-node")
}

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// The Python that has the client libraries.
pub(crate) fn python() -> PathBuf {
    installed(
        std::env::var_os("IPLOOP_TEST_PYTHON").map(PathBuf::from),
        "clients/python/bin/python3",
    )
}

/// The folder whose `node_modules` has the client libraries.
pub(crate) fn node_folder() -> PathBuf {
    installed(
        std::env::var_os("IPLOOP_TEST_NODE_FOLDER").map(PathBuf::from),
        "clients/node",
    )
}

/// The dashboard as `cargo xtask web` builds it.
pub(crate) fn dashboard() -> PathBuf {
    let named = std::env::var_os("IPLOOP_TEST_DASHBOARD").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| repository().join("web/dist"));
    let page = folder.join("index.html");
    assert!(
        page.exists(),
        "{} is missing: run cargo xtask web",
        page.display()
    );
    folder
}

/// Debian's Chromium, or the one that `IPLOOP_TEST_CHROMIUM` names.
pub(crate) fn chromium() -> PathBuf {
    std::env::var_os("IPLOOP_TEST_CHROMIUM").map_or_else(|| "/usr/bin/chromium".into(), PathBuf::from)
}

/// Runs a program to its end, within `most`.
pub(crate) fn run(command: &mut Command, most: Duration) -> Output {
    let shown = format!("{command:?}");
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{shown} can't be started: {error}"));
    let pid = Pid::from_child(&child);
    let (sender, ended) = sync_channel(1);
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match ended.recv_timeout(most) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            let _ = kill_process(pid, Signal::KILL);
            panic!("{shown} took longer than {most:?}")
        }
    }
}

/// A program that runs beside the test, and ends with this value at the latest.
pub(crate) struct Program {
    name: String,
    child: Child,
    lines: Mutex<Receiver<String>>,
    log: PathBuf,
}

impl Program {
    /// Starts a program; what it writes to stderr is appended to `log`.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let stderr = File::options().create(true).append(true).open(log).unwrap();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} can't be started: {error}"));
        let lines = read_lines(child.stdout.take().unwrap());
        Self {
            name: name.to_owned(),
            child,
            lines: Mutex::new(lines),
            log: log.to_owned(),
        }
    }

    /// The next line of its output that is a JSON object with this `event`.
    pub(crate) fn event(&self, event: &str) -> Value {
        self.event_of(&[event])
    }

    /// The next line of its output that is a JSON object with one of these events.
    pub(crate) fn event_of(&self, events: &[&str]) -> Value {
        let lines = self.lines.lock().unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) => {
                    let said = serde_json::from_str::<Value>(&line).unwrap_or_default();
                    if events.iter().any(|event| said["event"] == *event) {
                        return said;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{} did not say {events:?} within {PATIENCE:?}", self.name)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{} ended without {events:?}:\n{}", self.name, self.log())
                }
            }
        }
    }

    /// Everything that it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Memory that it holds, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Stops it where it is, as a phone that falls asleep; only [`Program::thaw`] or its end is possible after that.
    pub(crate) fn freeze(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
        // Its threads stop one after another.
        let tasks = PathBuf::from(format!("/proc/{}/task", self.child.id()));
        super::eventually("every thread is stopped", || {
            let mut threads = std::fs::read_dir(&tasks).unwrap().flatten();
            let is_stopped = |status: String| status.lines().any(|line| line.starts_with("State:\tT"));
            threads
                .all(|thread| std::fs::read_to_string(thread.path().join("status")).is_ok_and(is_stopped))
                .then_some(())
        });
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    /// Ends it like a crash.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        super::eventually(&format!("{name} ends"), || self.child.try_wait().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let mut start = log.len().saturating_sub(SHOWN_LOG);
            while !log.is_char_boundary(start) {
                start += 1;
            }
            eprintln!("── log of {} ──\n{}", self.name, &log[start..]);
        }
    }
}

fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, lines) = sync_channel(KEPT_LINES);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { break };
            let _ = sender.try_send(line);
        }
    });
    lines
}

/// Where cargo puts things: the test itself is in `<target>/<profile>/deps`.
fn target_profile() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().to_owned()
}

fn binary(name: &str) -> PathBuf {
    let path = target_profile().join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo xtask test`, or `cargo build -p iploop-server -p iploop-node-agent` first",
        path.display()
    );
    path
}

fn installed(given: Option<PathBuf>, default: &str) -> PathBuf {
    let path = given.unwrap_or_else(|| target_profile().parent().unwrap().join(default));
    assert!(
        path.exists(),
        "{} is missing: `cargo xtask test` installs the clients",
        path.display()
    );
    path
}
