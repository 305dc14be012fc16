//! Mail as `.eml` files in a folder: for development, the demo and tests.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::fs;
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use crate::mail::message::Sender;
use crate::mail::{Mail, MailConfigError, MailError, Mailer};

/// Writes one file a mail; names sort by time. The folder is for its owner alone: mails carry tokens.
pub(super) struct FileMailer {
    folder: PathBuf,
    sender: Sender,
}

impl FileMailer {
    pub(super) fn open(folder: &Path, sender: Sender) -> Result<Self, MailConfigError> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder).map_err(|source| MailConfigError::Outbox {
            path: folder.display().to_string(),
            source,
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            sender,
        })
    }

    /// Written beside and renamed, so that whoever watches the folder sees whole mails only.
    async fn write(&self, text: &[u8]) -> io::Result<()> {
        let name = Uuid::now_v7();
        let beside = self.folder.join(format!("{name}.part"));
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        options.mode(0o600);
        let mut file = options.open(&beside).await?;
        file.write_all(text).await?;
        file.flush().await?;
        fs::rename(&beside, self.folder.join(format!("{name}.eml"))).await
    }
}

#[async_trait]
impl Mailer for FileMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let text = self.sender.message(mail)?.formatted();
        self.write(&text)
            .await
            .map_err(|error| MailError::Transient(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test]
    async fn each_mail_is_one_whole_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = folder.path().join("outbox");
        let sender = Sender::parse("IPLoop <no-reply@iploop.invalid>", Arc::new(SystemClock)).unwrap();
        let mailer = FileMailer::open(&outbox, sender).unwrap();
        let mail = Mail {
            to: "ada@example.com".parse().unwrap(),
            to_name: "Ada Lovelace".to_owned(),
            subject: "Hello".to_owned(),
            text: "plain\n".to_owned(),
            html: "<p>rich</p>".to_owned(),
            unsubscribe: None,
        };
        mailer.send(&mail).await.unwrap();
        mailer.send(&mail).await.unwrap();

        let files: Vec<_> = std::fs::read_dir(&outbox)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(files.len(), 2);
        for file in files {
            assert_eq!(file.extension().unwrap(), "eml");
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt as _;
                assert_eq!(
                    std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
                    0o600
                );
            }
            let text = std::fs::read_to_string(&file).unwrap();
            for part in [
                "To: \"Ada Lovelace\" <ada@example.com>",
                "plain",
                "<p>rich</p>",
                "auto-generated",
            ] {
                assert!(text.contains(part), "{part} is not in {text}");
            }
        }
    }
}
