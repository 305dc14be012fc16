//! How commands reach a running agent: a socket in its state folder, one JSON line each way.
//!
//! The folder of the socket is its owner's alone (0700). Systems without such sockets have commands for agents that don't run.

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(unix)]
pub(crate) use self::unix::{Server, ask};

/// Longest line, in bytes.
#[cfg(unix)]
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// What a running agent can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Ask {
    Status,
    Pause,
    Resume,
    Pair,
    Withdraw { reason: String },
}

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// A withdrawal: whether the hub knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delivered: Option<bool>,
    /// The pairing code that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pairing: Option<Value>,
    /// What was asked for, or its status, as lines for people.
    pub(crate) text: String,
    /// Its status.
    pub(crate) status: Value,
}

/// Nobody runs here, or there is no way to ask.
#[cfg(not(unix))]
pub(crate) async fn ask(_state: &std::path::Path, _ask: &Ask) -> anyhow::Result<Option<Answer>> {
    Ok(None)
}

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::io;
    use std::os::unix::fs::DirBuilderExt;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::time::Duration;

    use anyhow::{Context, Result, bail};
    use iploop_node::Node;
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{UnixListener, UnixStream};
    use tokio::task::JoinSet;
    use tokio::time::timeout;
    use tokio_util::task::AbortOnDropHandle;

    use super::{Answer, Ask, MAX_LINE_BYTES};
    use crate::report;

    /// Commands at the same time.
    const MAX_CONNECTIONS: usize = 8;
    /// For one command, a withdrawal that has to wait for the hub included.
    const TIMEOUT: Duration = Duration::from_secs(20);

    /// Answers commands as long as it lives.
    pub(crate) struct Server {
        path: PathBuf,
        stop: tokio::sync::oneshot::Sender<()>,
        task: AbortOnDropHandle<()>,
    }

    impl Server {
        /// Opens the socket. The caller holds the state folder, so a socket that is there is a dead agent's.
        pub(crate) fn open(state: &Path, node: Arc<Node>) -> io::Result<Self> {
            let path = socket_path(state);
            if let Some(folder) = path.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(&path)?;
            let (stop, stopped) = tokio::sync::oneshot::channel();
            let task = AbortOnDropHandle::new(tokio::spawn(serve(listener, node, stopped)));
            Ok(Self { path, stop, task })
        }

        /// Answers what was asked, then ends.
        pub(crate) async fn finish(self) {
            let _ = self.stop.send(());
            let _ = timeout(Duration::from_secs(2), self.task).await;
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Asks the agent that runs on this folder; none: there is none.
    pub(crate) async fn ask(state: &Path, ask: &Ask) -> Result<Option<Answer>> {
        let connection = match UnixStream::connect(socket_path(state)).await {
            Ok(connection) => connection,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::InvalidInput
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error).context("the running agent can't be asked"),
        };
        let exchange = async {
            let mut connection = BufReader::new(connection.take(MAX_LINE_BYTES));
            let mut line = serde_json::to_string(ask)?;
            line.push('\n');
            connection.get_mut().get_mut().write_all(line.as_bytes()).await?;
            let mut answer = String::new();
            connection.read_line(&mut answer).await?;
            if answer.is_empty() {
                bail!("the running agent hung up");
            }
            Ok(serde_json::from_str(&answer)?)
        };
        match timeout(TIMEOUT, exchange).await {
            Ok(answer) => answer
                .map(Some)
                .context("the running agent does not answer as it should"),
            Err(_) => bail!("the running agent does not answer"),
        }
    }

    fn socket_path(state: &Path) -> PathBuf {
        state.join("run").join("agent.sock")
    }

    async fn serve(listener: UnixListener, node: Arc<Node>, mut stopped: tokio::sync::oneshot::Receiver<()>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((connection, _)) => {
                        let node = Arc::clone(&node);
                        connections.spawn(async move {
                            // Whoever asks and goes away needs no answer.
                            let _ = timeout(TIMEOUT, answer(connection, &node)).await;
                        });
                    }
                    // Out of files, most likely; it is over when others close theirs.
                    Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        while connections.join_next().await.is_some() {}
    }

    async fn answer(connection: UnixStream, node: &Node) -> Result<()> {
        let mut connection = BufReader::new(connection.take(MAX_LINE_BYTES));
        let mut line = String::new();
        connection.read_line(&mut line).await?;
        let (mut delivered, mut pairing) = (None, None);
        let done = match serde_json::from_str(&line) {
            Ok(Ask::Status) => Ok(()),
            Ok(Ask::Pause) => node.pause().await,
            Ok(Ask::Resume) => node.resume().await,
            Ok(Ask::Pair) => node.pairing_code().await.map(|code| pairing = Some(code)),
            Ok(Ask::Withdraw { reason }) => node.withdraw(&reason).await.map(|knows| delivered = Some(knows)),
            Err(error) => bail!(error),
        };
        let status = node.status();
        let answer = Answer {
            error: done.err().map(|error| error.to_string()),
            delivered,
            text: match &pairing {
                Some(code) => report::pairing(code),
                None => report::describe(&status),
            },
            pairing: pairing.map(serde_json::to_value).transpose()?,
            status: serde_json::to_value(&status)?,
        };
        let mut line = serde_json::to_string(&answer)?;
        line.push('\n');
        connection.get_mut().get_mut().write_all(line.as_bytes()).await?;
        Ok(())
    }
}
