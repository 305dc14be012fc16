//! A PostgreSQL of the test's own.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{PATIENCE, repository, run};

/// A running PostgreSQL; it ends with this value.
pub(crate) struct Postgres {
    child: Child,
    folder: PathBuf,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let mut child = Command::new("sh")
            .arg(repository().join("iploop-server/store/src/contract/postgres.sh"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut folder = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut folder)
            .unwrap();
        let folder = PathBuf::from(folder.trim());
        assert!(
            folder.is_absolute(),
            "no PostgreSQL: `cargo xtask test` installs it"
        );
        Self { child, folder }
    }

    /// What the server's `database.url` says.
    pub(crate) fn url(&self) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@localhost/postgres?host={folder}")
    }

    /// Ends it as a crash would: every connection breaks, and none is accepted until [`Postgres::come_back`].
    pub(crate) fn go_away(&self) {
        self.control("stop -m immediate");
    }

    /// Starts it again, where it was and with the data that it had.
    pub(crate) fn come_back(&self) {
        let folder = self.folder.display();
        self.control(&format!(
            "start -w -l {folder}/log -o '-k {folder} -c listen_addresses= -c fsync=off -c max_connections=200'"
        ));
    }

    /// Runs a statement; its rows, one to a line, their fields parted by `|`.
    pub(crate) fn query(&self, statement: &str) -> Vec<String> {
        let mut command = Command::new("psql");
        command
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set", "ON_ERROR_STOP=1"])
            .args(["--username", "postgres", "--host"])
            .arg(&self.folder)
            .args(["--command", statement]);
        let output = run(&mut command, PATIENCE);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{statement}: {complaint}");
        let rows = String::from_utf8_lossy(&output.stdout);
        rows.lines().map(str::to_owned).collect()
    }

    /// `pg_ctl`, as whoever owns the data.
    fn control(&self, arguments: &str) {
        let data = self.folder.join("data");
        let script = format!(
            "as=; [ \"$(id -u)\" = 0 ] && as='runuser -u postgres --'; cd {folder}; \
             bin=$(dirname \"$(command -v initdb || ls /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)\"); \
             $as \"$bin/pg_ctl\" -D {data} {arguments} >/dev/null 2>&1",
            folder = self.folder.display(),
            data = data.display(),
        );
        let output = run(Command::new("sh").args(["-c", &script]), PATIENCE);
        assert!(output.status.success(), "pg_ctl {arguments}: {}", output.status);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The end of its input tells it to go.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
