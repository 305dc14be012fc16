//! A Redis of the tests' own, on a socket in a temporary folder.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use iploop_platform::secret::Secret;
use tempfile::TempDir;

use super::redis::RedisState;

/// Killed and removed when dropped.
pub(crate) struct RedisServer {
    folder: TempDir,
    child: Option<Child>,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("iploop-redis-")
            .tempdir()
            .unwrap();
        let mut server = Self { folder, child: None };
        server.begin();
        server
    }

    fn url(&self) -> Secret {
        Secret::new(format!("redis+unix://{}", self.socket().display()))
    }

    /// Its state as one process sees it, which waits for answers as long as a busy machine takes.
    pub(crate) fn state(&self) -> RedisState {
        RedisState::open_with(&self.url(), Duration::from_secs(30)).unwrap()
    }

    /// Starts it again, empty.
    pub(crate) fn begin(&mut self) {
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(self.socket())
            .arg("--dir")
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("these tests need redis-server: `cargo xtask test` installs it");
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < deadline, "Redis did not start");
            std::thread::yield_now();
        }
    }

    /// Ends it like a crash: what it knew is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
