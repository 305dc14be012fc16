//! The secret that signs login tokens: made on first start, kept in the data folder, readable by its owner only.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use ring::hmac;
use sha2::{Digest, Sha256};

use crate::secret::{Secret, hex};

/// Length of the secret, in bytes: that of the hash (RFC 7518, section 3.2).
const SECRET_BYTES: usize = 32;

/// The signing secret and the id under which tokens name it.
#[derive(Clone)]
pub struct SigningSecret {
    bytes: Vec<u8>,
    key: hmac::Key,
    kid: String,
}

/// Why the secret could not be read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningSecretError {
    /// The file can't be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file does not hold 32 bytes in hex.
    #[error("{0} does not hold 64 hex digits; delete it to have a new one made (everyone signs in again)")]
    Malformed(String),
    /// Others may read it.
    #[error("{0} may be read by others; run: chmod 600 {0}")]
    Exposed(String),
}

impl SigningSecret {
    /// Reads the secret from `path`, or makes it there with mode 0600.
    ///
    /// Several processes may start at the same time on the same file: all use what the first one wrote. Blocks on the
    /// file system; meant for the start.
    pub fn load_or_create(path: &Path) -> Result<Self, SigningSecretError> {
        let io_error = |source| SigningSecretError::Io {
            path: path.display().to_string(),
            source,
        };
        if let Some(secret) = Self::load(path)? {
            return Ok(secret);
        }
        create(path).map_err(io_error)?;
        Self::load(path)?.ok_or_else(|| io_error(io::ErrorKind::NotFound.into()))
    }

    /// Reads the secret from `path`; none where there is no such file.
    pub fn load(path: &Path) -> Result<Option<Self>, SigningSecretError> {
        let name = path.display().to_string();
        let (text, is_exposed) = match read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SigningSecretError::Io { path: name, source }),
            Ok(found) => found,
        };
        if is_exposed {
            return Err(SigningSecretError::Exposed(name));
        }
        let bytes = unhex(text.trim()).ok_or(SigningSecretError::Malformed(name))?;
        Ok(Some(Self::from_bytes(bytes)))
    }

    /// A secret that lives as long as the process, for tests and one-off tools.
    pub fn ephemeral() -> Self {
        let bytes: [u8; SECRET_BYTES] = rand::random();
        Self::from_bytes(bytes.to_vec())
    }

    /// Names the secret without giving anything of it away.
    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// HMAC-SHA-256 of `message` for one `purpose`, in hex: tags of different purposes never match.
    pub(crate) fn tag(&self, purpose: &str, message: &str) -> String {
        hex(hmac::sign(&self.key, format!("{purpose}\0{message}").as_bytes()).as_ref())
    }

    /// A key of 32 bytes for one `purpose`, which says nothing of the secret nor of other keys.
    pub(crate) fn derive(&self, purpose: &str) -> [u8; SECRET_BYTES] {
        let mut key = [0; SECRET_BYTES];
        key.copy_from_slice(hmac::sign(&self.key, format!("key\0{purpose}").as_bytes()).as_ref());
        key
    }

    /// Whether `tag` is what [`SigningSecret::tag`] gives, in constant time.
    pub(crate) fn is_tag(&self, purpose: &str, message: &str, tag: &str) -> bool {
        unhex(tag).is_some_and(|tag| {
            hmac::verify(&self.key, format!("{purpose}\0{message}").as_bytes(), &tag).is_ok()
        })
    }

    fn from_bytes(bytes: Vec<u8>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        let mut kid = hex(&Sha256::digest(&bytes));
        kid.truncate(8);
        Self { bytes, key, kid }
    }
}

impl std::fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningSecret")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// The file's text, and whether others than its owner may read it.
fn read(path: &Path) -> io::Result<(String, bool)> {
    let text = fs::read_to_string(path)?;
    #[cfg(unix)]
    let is_exposed = {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(path)?.permissions().mode() & 0o077 != 0
    };
    #[cfg(not(unix))]
    let is_exposed = false;
    Ok((text, is_exposed))
}

/// Writes beside the file and links it into place: nobody ever reads half a secret, and the first one wins.
fn create(path: &Path) -> io::Result<()> {
    let beside = path.with_extension(Secret::random::<8>("new-").expose());
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside)?;
    let written = file
        .write_all(Secret::random::<SECRET_BYTES>("").expose().as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&beside, path));
    fs::remove_file(&beside)?;
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// The bytes of [`SECRET_BYTES`] in hex.
fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 2 * SECRET_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..SECRET_BYTES)
        .map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_survives_a_restart_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("login-secret");
        let first = SigningSecret::load_or_create(&path).unwrap();
        let second = SigningSecret::load_or_create(&path).unwrap();
        assert_eq!(first.bytes, second.bytes);
        assert_eq!(first.kid, second.kid);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn processes_that_start_together_share_one_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("login-secret");
        let secrets: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| SigningSecret::load_or_create(&path).unwrap().bytes))
                .collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(secrets.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn a_broken_or_exposed_file_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("login-secret");
        SigningSecret::load_or_create(&path).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(matches!(
            SigningSecret::load_or_create(&path),
            Err(SigningSecretError::Malformed(_))
        ));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            let error = SigningSecret::load_or_create(&path).unwrap_err();
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn tags_are_bound_to_purpose_message_and_secret() {
        let secret = SigningSecret::ephemeral();
        let tag = secret.tag("csrf", "a");
        assert!(secret.is_tag("csrf", "a", &tag));
        assert!(!secret.is_tag("csrf", "b", &tag));
        assert!(!secret.is_tag("other", "a", &tag));
        assert!(!secret.is_tag("csrf", "a", "é"));
        assert!(!secret.is_tag("csrf", "a", ""));
        assert!(!SigningSecret::ephemeral().is_tag("csrf", "a", &tag));
    }
}
