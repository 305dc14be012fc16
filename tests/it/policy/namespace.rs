//! Network namespaces, and threads and programs in them.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::harness::{PATIENCE, run};

/// A network namespace of the test's own; deleted at the end.
pub(super) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one, with loopback up. Fails where the machine does not let us: the test needs root.
    pub(super) fn create(name: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Relaxed);
        let name = format!("iploop-{name}-{}-{number}", std::process::id());
        ip(&format!("netns add {name}"));
        let made = Self { name };
        made.ip("link set lo up");
        // Addresses are usable at once: nobody else could have them.
        for key in ["net.ipv6.conf.all.accept_dad", "net.ipv6.conf.default.accept_dad"] {
            made.sysctl(key, "0");
        }
        made
    }

    /// Joins two namespaces by a cable.
    pub(super) fn join(&self, interface: &str, other: &Self, their_interface: &str) {
        self.ip(&format!(
            "link add {interface} type veth peer name {their_interface} netns {}",
            other.name
        ));
        self.ip(&format!("link set {interface} up"));
        other.ip(&format!("link set {their_interface} up"));
    }

    /// `ip` in here.
    pub(super) fn ip(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.name));
    }

    pub(super) fn sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        let value = value.to_owned();
        self.run(move || std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}")));
    }

    /// Where programs in here look names up.
    pub(super) fn set_dns(&self, server: &str) {
        let folder = Path::new("/etc/netns").join(&self.name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("resolv.conf"),
            format!("nameserver {server}\noptions timeout:2 attempts:2\n"),
        )
        .unwrap();
        std::fs::write(folder.join("nsswitch.conf"), "hosts: dns\n").unwrap();
    }

    /// A program in here.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Does something on a thread in here; sockets and threads that it makes are in here too.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let file = std::fs::File::open(path).unwrap();
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What is left of it is of no use; the test has its result.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
        let _ = std::fs::remove_dir_all(Path::new("/etc/netns").join(&self.name));
    }
}

fn ip(arguments: &str) {
    let output = run(Command::new("ip").args(arguments.split(' ')), PATIENCE);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "ip {arguments}: {complaint}\nThis test makes network namespaces: run it as root on Linux."
    );
}
