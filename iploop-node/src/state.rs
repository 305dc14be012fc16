//! The state folder: who this device is, what its owner decided, and what was used of the caps.
//!
//! Every file is JSON with a `format`, readable by its owner alone (0600), and replaced whole or not at all. A file that
//! can't be read is an error that names it and is never overwritten; the counters alone have a second copy, and where both
//! are unreadable the day counts as used up.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use iploop_protocol::control::{ConsentStatement, Withdrawal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::consent::Consent;
use crate::usage::Ledger;

/// The form of the files that this version writes and reads.
const FORMAT: u32 = 1;
/// Longest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;

const IDENTITY: &str = "device.json";
const CONSENT: &str = "consent.json";
const SETTINGS: &str = "settings.json";
const COUNTERS: &str = "counters.json";
const COUNTERS_BEFORE: &str = "counters.before.json";
const LOCK: &str = "lock";

/// The folder in which a node keeps its state, held by one process at a time.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Held as long as the value lives.
    _lock: File,
}

/// What the owner decided last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnersWord {
    /// Nothing yet.
    None,
    /// Yes.
    Given(Consent),
    /// Taken back.
    Withdrawn(Withdrawn),
}

/// A consent that the owner took back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    pub(crate) statement: ConsentStatement,
    pub(crate) at: String,
    pub(crate) is_delivered: bool,
}

/// Why the state folder can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what was written there.
    #[error("{}: can't be read as what belongs there ({problem}); mend it, or move it away to begin anew", .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Another process runs on this folder.
    #[error("{}: another node is running with this state; each needs a folder of its own", .0.display())]
    InUse(PathBuf),
}

/// Who this device is: random, and made when the owner first said yes.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Withdrawn {
    /// When the owner acted, RFC 3339.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Whether the hub knows.
    pub fn is_delivered(&self) -> bool {
        self.is_delivered
    }

    pub(crate) fn message(&self) -> Withdrawal {
        Withdrawal {
            consent_id: self.statement.id.clone(),
            at: self.at.clone(),
        }
    }
}

impl StateDir {
    /// Takes hold of a folder; makes it (0700) where there is none.
    ///
    /// # Errors
    /// If it can't be made or locked, or another process holds it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StateError> {
        let path = path.into();
        make_folder(&path).map_err(|source| io_error(&path, source))?;
        let lock_path = path.join(LOCK);
        let lock = private_file(&lock_path).map_err(|source| io_error(&lock_path, source))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(StateError::InUse(path)),
            Err(fs::TryLockError::Error(source)) => Err(io_error(&lock_path, source)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the owner decided last.
    ///
    /// # Errors
    /// If the record can't be read: then nobody may assume a consent.
    pub fn consent(&self) -> Result<OwnersWord, StateError> {
        let Some(record) = self.read::<ConsentFile>(CONSENT)? else {
            return Ok(OwnersWord::None);
        };
        if let Some(withdrawal) = record.withdrawal {
            return Ok(OwnersWord::Withdrawn(Withdrawn {
                statement: record.consent,
                at: withdrawal.at,
                is_delivered: withdrawal.delivered,
            }));
        }
        Consent::from_statement(record.consent)
            .map(OwnersWord::Given)
            .map_err(|error| self.corrupt(CONSENT, error))
    }

    /// Records a yes. It replaces an earlier word of the owner, a withdrawal too.
    ///
    /// # Errors
    /// If it can't be stored.
    pub fn record(&self, consent: &Consent) -> Result<(), StateError> {
        self.write(
            CONSENT,
            &ConsentFile {
                consent: consent.statement().clone(),
                withdrawal: None,
            },
        )
    }

    /// Records that the owner took consent back; nothing changes where there is none to take back.
    ///
    /// # Errors
    /// If it can't be read or stored.
    pub fn withdraw(&self, now: OffsetDateTime, reason: &str) -> Result<OwnersWord, StateError> {
        let OwnersWord::Given(consent) = self.consent()? else {
            return self.consent();
        };
        let at = now
            .format(&time::format_description::well_known::Rfc3339)
            .unwrap_or_else(|_| consent.statement().given_at.clone());
        let reason = reason.chars().take(200).collect();
        self.write(
            CONSENT,
            &ConsentFile {
                consent: consent.statement().clone(),
                withdrawal: Some(WithdrawalRecord {
                    at,
                    reason,
                    delivered: false,
                }),
            },
        )?;
        self.consent()
    }

    /// The hub knows of the withdrawal.
    pub(crate) fn mark_delivered(&self) -> Result<(), StateError> {
        let Some(mut record) = self.read::<ConsentFile>(CONSENT)? else {
            return Ok(());
        };
        if let Some(withdrawal) = &mut record.withdrawal {
            withdrawal.delivered = true;
            self.write(CONSENT, &record)?;
        }
        Ok(())
    }

    /// Whether the owner paused sharing.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn is_paused(&self) -> Result<bool, StateError> {
        Ok(self.read::<Settings>(SETTINGS)?.unwrap_or_default().paused)
    }

    /// Records a pause, or its end.
    ///
    /// # Errors
    /// If it can't be stored.
    pub fn set_paused(&self, paused: bool) -> Result<(), StateError> {
        self.write(SETTINGS, &Settings { paused })
    }

    /// Who this device is; made up where nobody asked before.
    pub(crate) fn identity(&self) -> Result<Identity, StateError> {
        if let Some(identity) = self.read::<Identity>(IDENTITY)? {
            let is_plain = |text: &str, length| {
                text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
            };
            if !is_plain(&identity.id, 32) || !is_plain(&identity.secret, 64) {
                return Err(self.corrupt(IDENTITY, "the id or the secret is not of its form"));
            }
            return Ok(identity);
        }
        let identity = Identity {
            id: format!("{:032x}", rand::random::<u128>()),
            secret: format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>()),
        };
        self.write(IDENTITY, &identity)?;
        Ok(identity)
    }

    /// What was used of the caps.
    ///
    /// # Errors
    /// If the system refuses. Files that are there but unreadable are set aside, and today counts as used up.
    pub(crate) fn counters(&self, now: OffsetDateTime) -> Result<Ledger, StateError> {
        let mut is_unreadable = false;
        for name in [COUNTERS, COUNTERS_BEFORE] {
            match self.read::<Ledger>(name) {
                Ok(Some(ledger)) => return Ok(ledger),
                Ok(None) => {}
                Err(error @ StateError::Corrupt { .. }) => {
                    tracing::warn!(%error, "the byte counters can't be read and are set aside");
                    let aside = self.path.join(format!("{name}.unreadable"));
                    fs::rename(self.path.join(name), &aside).map_err(|source| io_error(&aside, source))?;
                    is_unreadable = true;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(if is_unreadable {
            Ledger::used_up(now)
        } else {
            Ledger::default()
        })
    }

    pub(crate) fn set_counters(&self, ledger: &Ledger) -> Result<(), StateError> {
        match fs::rename(self.path.join(COUNTERS), self.path.join(COUNTERS_BEFORE)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(io_error(&self.path.join(COUNTERS_BEFORE), source))
            }
            _ => self.write(COUNTERS, ledger),
        }
    }

    /// What the file holds; none where there is no file.
    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateError> {
        let path = self.path.join(name);
        let length = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error(&path, source)),
        };
        if length > MAX_FILE_BYTES {
            return Err(self.corrupt(name, "it is too long"));
        }
        let text = fs::read(&path).map_err(|source| io_error(&path, source))?;
        let document: Document<T> =
            serde_json::from_slice(&text).map_err(|error| self.corrupt(name, error))?;
        if document.format != FORMAT {
            return Err(self.corrupt(name, format!("its format is {}, not {FORMAT}", document.format)));
        }
        Ok(Some(document.content))
    }

    /// Replaces the file: after a crash it is the old one or the new one.
    fn write<T: Serialize>(&self, name: &str, content: &T) -> Result<(), StateError> {
        let path = self.path.join(name);
        let new_path = self.path.join(format!("{name}.new"));
        let document = Document {
            format: FORMAT,
            content,
        };
        let write = || {
            let text = serde_json::to_vec_pretty(&document)?;
            let mut file = private_file(&new_path)?;
            file.set_len(0)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new_path, &path)?;
            // The rename is on disk when the folder is. Some systems can't open folders; they get by without.
            if let Ok(folder) = File::open(&self.path) {
                let _ = folder.sync_all();
            }
            Ok(())
        };
        write().map_err(|source| io_error(&path, source))
    }

    fn corrupt(&self, name: &str, problem: impl ToString) -> StateError {
        StateError::Corrupt {
            path: self.path.join(name),
            problem: problem.to_string(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Document<T> {
    format: u32,
    #[serde(flatten)]
    content: T,
}

#[derive(Serialize, Deserialize)]
struct ConsentFile {
    consent: ConsentStatement,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    withdrawal: Option<WithdrawalRecord>,
}

#[derive(Serialize, Deserialize)]
struct WithdrawalRecord {
    at: String,
    reason: String,
    delivered: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct Settings {
    paused: bool,
}

fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn io_error(path: &Path, source: io::Error) -> StateError {
    StateError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Bytes;
    use time::Duration;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("state");
        (temp, path)
    }

    fn consent() -> Consent {
        Consent::given(crate::consent::tests::act(), NOW).unwrap()
    }

    #[test]
    fn what_the_owner_decided_survives_a_restart() {
        let (_temp, path) = folder();
        let consent = consent();
        {
            let state = StateDir::open(&path).unwrap();
            assert_eq!(state.consent().unwrap(), OwnersWord::None);
            state.record(&consent).unwrap();
            state.set_paused(true).unwrap();
        }
        {
            let state = StateDir::open(&path).unwrap();
            assert_eq!(state.consent().unwrap(), OwnersWord::Given(consent.clone()));
            assert!(state.is_paused().unwrap());
            state.withdraw(NOW, "moving house").unwrap();
            // A second withdrawal does not change the first.
            state.withdraw(NOW + Duration::days(1), "again").unwrap();
        }
        let state = StateDir::open(&path).unwrap();
        let OwnersWord::Withdrawn(withdrawn) = state.consent().unwrap() else {
            panic!("the withdrawal is lost");
        };
        assert_eq!(withdrawn.at(), "2026-11-24T12:00:00Z");
        assert_eq!(withdrawn.message().consent_id, consent.id());
        assert!(!withdrawn.is_delivered());
        state.mark_delivered().unwrap();
        assert!(matches!(state.consent().unwrap(), OwnersWord::Withdrawn(w) if w.is_delivered()));
    }

    #[test]
    fn the_device_stays_the_same_device() {
        let (_temp, path) = folder();
        let first = StateDir::open(&path).unwrap().identity().unwrap();
        let second = StateDir::open(&path).unwrap().identity().unwrap();
        assert_eq!((&first.id, &first.secret), (&second.id, &second.secret));
        let (_other_temp, other) = folder();
        assert_ne!(StateDir::open(&other).unwrap().identity().unwrap().id, first.id);
        assert!(!format!("{first:?}").contains(&first.secret));
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read() {
        use std::os::unix::fs::PermissionsExt;
        let (_temp, path) = folder();
        let state = StateDir::open(&path).unwrap();
        state.identity().unwrap();
        state.record(&consent()).unwrap();
        state.set_counters(&Ledger::default()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }

    #[test]
    fn one_process_at_a_time() {
        let (_temp, path) = folder();
        let first = StateDir::open(&path).unwrap();
        assert!(matches!(StateDir::open(&path), Err(StateError::InUse(_))));
        drop(first);
        assert!(StateDir::open(&path).is_ok());
    }

    #[test]
    fn a_corrupt_file_is_named_and_left_alone() {
        let (_temp, path) = folder();
        let state = StateDir::open(&path).unwrap();
        for (name, text) in [
            (CONSENT, ""),
            (CONSENT, "{\"format\":1}"),
            (CONSENT, "{\"format\":2}"),
            (IDENTITY, "{\"format\":1,\"id\":\"../../etc\",\"secret\":\"x\"}"),
            (SETTINGS, "\u{0}\u{0}"),
        ] {
            fs::write(path.join(name), text).unwrap();
            let error = match name {
                CONSENT => state.consent().map(drop).unwrap_err(),
                IDENTITY => state.identity().map(drop).unwrap_err(),
                _ => state.is_paused().map(drop).unwrap_err(),
            };
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(fs::read_to_string(path.join(name)).unwrap(), text);
        }
        // A withdrawal must never be refused silently either.
        assert!(state.withdraw(NOW, "").is_err());
    }

    #[test]
    fn counters_survive_a_crash_in_any_step_and_are_full_when_lost() {
        let (_temp, path) = folder();
        let state = StateDir::open(&path).unwrap();
        let more = Bytes {
            other: 7,
            cellular: 0,
        };
        let mut ledger = state.counters(NOW).unwrap();
        assert_eq!(ledger.used(NOW).day.total(), 0);
        ledger.add(NOW, more);
        state.set_counters(&ledger).unwrap();
        ledger.add(NOW, more);
        state.set_counters(&ledger).unwrap();
        assert_eq!(state.counters(NOW).unwrap().used(NOW).day.total(), 14);
        // Between the two renames of a write.
        fs::remove_file(path.join(COUNTERS)).unwrap();
        assert_eq!(state.counters(NOW).unwrap().used(NOW).day.total(), 7);
        // Half a file.
        fs::write(path.join(COUNTERS), "{\"format\":1,\"da").unwrap();
        assert_eq!(state.counters(NOW).unwrap().used(NOW).day.total(), 7);
        fs::write(path.join(COUNTERS), "").unwrap();
        fs::write(path.join(COUNTERS_BEFORE), "").unwrap();
        assert_eq!(state.counters(NOW).unwrap().used(NOW).day.total(), u64::MAX);
    }
}
