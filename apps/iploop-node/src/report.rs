//! What happens, as lines: for people on stderr, and for programs as JSON on stdout.

use std::io::Write;

use iploop_node::{Event, Link, Node, PairingCode, Status};
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Where lines go.
#[derive(Clone, Copy)]
pub(crate) struct Report {
    pub(crate) json: bool,
}

impl Report {
    /// Tells every event of a node until it is gone.
    pub(crate) async fn follow(self, mut events: Receiver<Event>) {
        loop {
            match events.recv().await {
                Ok(event) => self.event(&event),
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "events were missed"),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// The state that was reached before anybody listened.
    pub(crate) fn begin(self, node: &Node) {
        self.line(&format!(
            "Device {}, hub {}.",
            node.status().device_id,
            node.status().hub
        ));
    }

    fn event(self, event: &Event) {
        if self.json {
            self.program(event);
        }
        if let Some(line) = line_of(event) {
            self.line(&line);
        }
    }

    /// For people.
    pub(crate) fn line(self, line: &str) {
        // Nobody may be listening any longer.
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// What was asked for, for people.
    pub(crate) fn answer(self, text: &str) {
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// For programs.
    pub(crate) fn program(self, message: &impl Serialize) {
        if let Ok(line) = serde_json::to_string(message) {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
    }
}

/// A status as a few lines, the first of which says it all.
pub(crate) fn describe(status: &Status) -> String {
    let first = match &status.reason_text {
        None => "Sharing.".to_owned(),
        Some(reason) => format!("Not sharing: {reason}."),
    };
    let first = match &status.link {
        Link::Waiting { problem, .. } => format!("{first} ({problem})"),
        Link::ConsentNeeded { problem } | Link::Rejected { problem, .. } => format!("{first} ({problem})"),
        _ => first,
    };
    format!(
        "{first}\n{} streams open, {} served; today {} of {}, this month {} of {}.\nConsent to text {} of {}.",
        status.open_streams,
        status.streams_served,
        bytes(status.bytes_today),
        bytes(status.daily_limit),
        bytes(status.bytes_this_month),
        bytes(status.monthly_limit),
        status.consent_version,
        status.consent_given_at,
    )
}

/// A pairing code as the owner types it.
pub(crate) fn pairing(pairing: &PairingCode) -> String {
    let symbols: Vec<char> = pairing.code.chars().collect();
    let groups: Vec<String> = symbols.chunks(4).map(|group| group.iter().collect()).collect();
    format!(
        "Pairing code: {}\nType it at your account within {} minutes. It is good once.",
        groups.join("-"),
        pairing.good_for_s / 60
    )
}

fn line_of(event: &Event) -> Option<String> {
    Some(match event {
        Event::Connected { node_id, public_ip } => match public_ip {
            Some(ip) => format!("Connected as {node_id}; the hub sees {ip}."),
            None => format!("Connected as {node_id}."),
        },
        Event::Disconnected { problem, retry_in_ms } => {
            format!(
                "No connection ({problem}); next attempt in {:.1} s.",
                seconds(*retry_in_ms)
            )
        }
        Event::Sharing => "Sharing.".to_owned(),
        Event::NotSharing { text, .. } => format!("Not sharing: {text}."),
        Event::Policy { version: None } => {
            "The exit policy can't be read: only ports 80 and 443 are open.".to_owned()
        }
        Event::Notice { code, message } => format!("The hub says: {message} ({code})"),
        Event::CustomerStopped => {
            "A customer's dials failed too often: it is refused for a while.".to_owned()
        }
        // What follows from these is told by the others.
        _ => return None,
    })
}

fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

fn bytes(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_json_lines_with_a_name() {
        let event = Event::NotSharing {
            reason: iploop_node::NotSharing::Paused,
            text: "you paused it".into(),
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"event":"not_sharing","reason":"paused_by_owner","text":"you paused it"}"#
        );
        assert_eq!(line_of(&event).unwrap(), "Not sharing: you paused it.");
        assert_eq!(
            serde_json::to_string(&Event::Sharing).unwrap(),
            r#"{"event":"sharing"}"#
        );
    }

    #[test]
    fn a_pairing_code_is_shown_in_groups_with_its_time() {
        let code = PairingCode {
            code: "7KQ2M9XA".into(),
            good_for_s: 600,
        };
        let shown = pairing(&code);
        assert!(shown.starts_with("Pairing code: 7KQ2-M9XA\n"), "{shown}");
        assert!(shown.contains("10 minutes"), "{shown}");
    }

    #[test]
    fn bytes_read_like_a_data_plan() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_500, "1.5 kB"),
            (2_000_000_000, "2.0 GB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
