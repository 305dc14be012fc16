//! A Redis of the test's own, on a socket in a temporary folder.

use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::eventually;

/// A running Redis; it ends with this value.
pub(crate) struct Redis {
    child: Child,
    folder: TempDir,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("iploop-redis-")
            .tempdir()
            .unwrap();
        let socket = folder.path().join("redis.sock");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("no redis-server: `cargo xtask test` installs it");
        let redis = Self { child, folder };
        eventually("Redis listens", || {
            std::os::unix::net::UnixStream::connect(&socket).ok()
        });
        redis
    }

    /// What the server's `redis.url` says.
    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.path().join("redis.sock").display())
    }

    /// Ends it like a crash: what it knew is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
