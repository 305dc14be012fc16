//! The agent as its owner meets it: the real binary, without a hub.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

const KEY: &str = "iplp_000102030405060708090a0b0c0d0e0f1011121314151617";
const BINARY: &str = env!("CARGO_BIN_EXE_iploop-node");

/// An agent that runs, and what it tells.
struct Agent {
    process: Child,
    events: BufReader<ChildStdout>,
}

impl Agent {
    /// Up to the first event, when every command can reach it.
    fn start(state: &Path) -> Self {
        let mut process = run(state)
            .args(["--accept-terms", "2026-11", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let events = BufReader::new(process.stdout.take().unwrap());
        let mut agent = Self { process, events };
        agent.wait_for("disconnected");
        agent
    }

    fn wait_for(&mut self, wanted: &str) -> Value {
        loop {
            let mut line = String::new();
            assert!(
                self.events.read_line(&mut line).unwrap() > 0,
                "it ended before {wanted}"
            );
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == wanted {
                return event;
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `run` toward a hub that isn't there.
fn run(state: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args([
            "run",
            "--hub",
            "ws://127.0.0.1:1/ws",
            "--bind",
            "127.0.0.1",
            "--partner-key",
            KEY,
        ])
        .args(["--even-if", "battery"])
        .arg("--state")
        .arg(state);
    command
}

fn tell(state: &Path, command: &str) -> (Output, Value) {
    let output = Command::new(BINARY)
        .args([command, "--json", "--state"])
        .arg(state)
        .output()
        .unwrap();
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, answer)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn without_consent_the_text_is_shown_and_nothing_runs() {
    let temp = tempfile::tempdir().unwrap();
    let output = run(&temp.path().join("state")).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    assert!(said.contains("Other people's internet traffic"), "{said}");
    assert!(said.contains("--accept-terms 2026-11"), "{said}");

    let output = run(temp.path())
        .args(["--accept-terms", "1999-12"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    assert!(said.contains("1999-12") && said.contains("2026-11"), "{said}");
}

#[test]
fn commands_reach_a_running_agent() {
    let temp = tempfile::tempdir().unwrap();
    let state = temp.path().join("state");
    let mut agent = Agent::start(&state);
    let (_, status) = tell(&state, "status");
    assert_eq!(status["running"], true);
    assert_eq!(status["reason"], "not_connected");
    let (_, status) = tell(&state, "pause");
    assert_eq!(status["reason"], "paused_by_owner");
    let (_, status) = tell(&state, "resume");
    assert_eq!(status["reason"], "not_connected");

    let (output, _) = tell(&state, "pair");
    assert_eq!(output.status.code(), Some(1), "no hub, no code");
    assert!(text(&output.stderr).contains("not connected"), "{output:?}");

    // Another agent on the same state does not start.
    let second = run(&state).output().unwrap();
    assert_eq!(second.status.code(), Some(5), "{}", text(&second.stderr));

    let (output, status) = tell(&state, "withdraw");
    assert!(output.status.success());
    assert_eq!(status["reason"], "withdrawn");
    assert_eq!(status["delivered"], false);
    agent.wait_for("ended");
    assert_eq!(agent.process.wait().unwrap().code(), Some(3));

    // After a restart too, however often the terms are accepted on the same command line.
    let output = run(&state).args(["--accept-terms", "2026-11"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("withdrew"));
}

#[test]
fn commands_act_on_the_state_when_no_agent_runs() {
    let temp = tempfile::tempdir().unwrap();
    let state = temp.path().join("state");
    let (_, status) = tell(&state, "status");
    assert_eq!(status["reason"], "consent_needed");
    assert!(!state.exists(), "asking makes nothing");
    let (output, _) = tell(&state, "pair");
    assert!(!output.status.success() && text(&output.stderr).contains("No agent runs"));

    drop(Agent::start(&state));
    tell(&state, "pause");
    let (_, status) = tell(&state, "status");
    assert_eq!(
        (&status["running"], &status["reason"]),
        (&false.into(), &"paused_by_owner".into())
    );
    let (_, status) = tell(&state, "withdraw");
    assert_eq!(
        (&status["reason"], &status["delivered"]),
        (&"withdrawn".into(), &false.into())
    );
    let agreed = Command::new(BINARY)
        .args(["consent", "--accept-terms", "2026-11", "--state"])
        .arg(&state)
        .output()
        .unwrap();
    assert!(agreed.status.success(), "{}", text(&agreed.stderr));
    tell(&state, "resume");
    Agent::start(&state);
}

#[test]
fn a_signal_ends_it_in_order() {
    let temp = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(&temp.path().join("state"));
    let killed = Command::new("kill")
        .arg(agent.process.id().to_string())
        .status()
        .unwrap();
    assert!(killed.success());
    agent.wait_for("ended");
    assert_eq!(agent.process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_corrupt_state_is_named_and_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("consent.json"), "{").unwrap();
    let output = run(temp.path())
        .args(["--accept-terms", "2026-11"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(text(&output.stderr).contains("consent.json"));
    assert_eq!(
        std::fs::read_to_string(temp.path().join("consent.json")).unwrap(),
        "{"
    );
}
