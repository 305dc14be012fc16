//! What is wrong with the files and folders that a configuration names. Looks at them and changes nothing.

use std::io::ErrorKind;
use std::path::Path;

use iploop_platform::ids::GatewayId;
use iploop_platform::login::SigningSecret;
use iploop_platform::mail::OUTBOX;
use iploop_store::DATABASE_FILE;
use rustix::fs::{Access, access};

use super::{Config, JOURNAL};

/// Name of the file in the data folder that holds this gateway's id.
const GATEWAY_ID: &str = "gateway-id";

/// Every mistake, each with its key; empty if there is none.
pub(super) fn mistakes(config: &Config) -> Vec<String> {
    let mut mistakes = config.gateway.file_mistakes();
    mistakes.extend(config.hub.file_mistakes().iter().map(ToString::to_string));
    mistakes.extend(config.geo.file_mistakes().iter().map(ToString::to_string));
    mistakes.extend(config.exit.read_policy().err());
    mistakes.extend(config.api.file_mistakes());
    mistakes.extend(config.outbound.file_mistakes());
    mistakes.extend(login_secret(config));
    mistakes.extend(data_folder(config));
    mistakes
}

/// The file that the operator named; the one in the data folder is looked at with that folder.
fn login_secret(config: &Config) -> Option<String> {
    let path = config.login.secret_file.as_deref()?;
    let problem = match SigningSecret::load(path) {
        Ok(Some(_)) => None,
        // It will be made.
        Ok(None) => unusable(folder_of(path)),
        Err(error) => Some(error.to_string()),
    };
    problem.map(|problem| format!("login.secret_file: {problem}"))
}

/// One line for the folder itself, or one for each thing in it that stands in the way.
fn data_folder(config: &Config) -> Vec<String> {
    let data = &config.data;
    if let Some(problem) = unusable(data) {
        return vec![format!("data: {problem}")];
    }
    let mut problems = vec![unusable(&data.join(JOURNAL)), gateway_id(data).err()];
    if config.database.url.is_none() {
        problems.push(unwritable(&data.join(DATABASE_FILE)));
    }
    if config.mail.is_to_folder() {
        problems.push(unusable(&data.join(OUTBOX)));
    }
    if config.login.secret_file.is_none() {
        let secret = SigningSecret::load(&config.login_secret_file());
        problems.push(secret.err().map(|error| error.to_string()));
    }
    let named = problems.into_iter().flatten();
    named.map(|problem| format!("data: {problem}")).collect()
}

/// The id that an earlier start left in the data folder; none at the first.
///
/// # Errors
/// Says which file is in the way, and how.
pub(crate) fn gateway_id(data: &Path) -> Result<Option<GatewayId>, String> {
    let path = data.join(GATEWAY_ID);
    match std::fs::read_to_string(&path) {
        Ok(text) => text
            .trim()
            .parse()
            .map(Some)
            .map_err(|_| format!("{} holds no id; restore it from a backup", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{} can't be read: {error}", path.display())),
    }
}

/// Keeps a new id in the data folder.
///
/// # Errors
/// Says which file can't be written.
pub(crate) fn keep_gateway_id(data: &Path, id: GatewayId) -> Result<(), String> {
    let path = data.join(GATEWAY_ID);
    std::fs::write(&path, format!("{id}\n"))
        .map_err(|error| format!("{} can't be written: {error}", path.display()))
}

/// Why files can't be made in a folder, or the folder itself can't.
fn unusable(folder: &Path) -> Option<String> {
    match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() => access(folder, Access::WRITE_OK | Access::EXEC_OK)
            .err()
            .map(|error| format!("{} can't be written to: {error}", folder.display())),
        Ok(_) => Some(format!("{} is no folder", folder.display())),
        // It will be made.
        Err(error) if error.kind() == ErrorKind::NotFound && folder != Path::new(".") => {
            unusable(folder_of(folder))
        }
        Err(error) => Some(format!("{} can't be used: {error}", folder.display())),
    }
}

/// Where a path lies; a name alone lies in the working folder.
fn folder_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    parent.unwrap_or(Path::new("."))
}

/// Why a file that is there can't be written.
fn unwritable(file: &Path) -> Option<String> {
    match std::fs::metadata(file) {
        Ok(found) if !found.is_file() => Some(format!("{} is no file", file.display())),
        Ok(_) => access(file, Access::READ_OK | Access::WRITE_OK)
            .err()
            .map(|error| format!("{} can't be read and written: {error}", file.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => Some(format!("{} can't be used: {error}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::super::{ExitConfig, Mistakes};
    use super::*;

    /// A folder in which each file of the configuration can be wrong, and nothing else is.
    struct Place(TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            for name in ["ours", "theirs"] {
                let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
                place.write(&format!("{name}.pem"), &made.cert.pem());
                place.write(&format!("{name}.key"), &made.signing_key.serialize_pem());
            }
            place.write("text", "neither this nor that");
            let policy = ExitConfig::default().read_policy().unwrap();
            place.write("policy.json", &serde_json::to_string(&policy).unwrap());
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// Loads a configuration in which `@` stands for this folder.
        fn load(&self, text: &str) -> Result<Config, Mistakes> {
            let file = self.path("iploop.toml");
            let folder = self.0.path().to_str().unwrap();
            fs::write(&file, text.replace('@', folder)).unwrap();
            let data = (!text.contains("data =")).then(|| self.path("data"));
            Config::load_with_files(Some(&file), [], data)
        }

        /// The lines that loading complains in.
        fn complaints(&self, text: &str) -> Vec<String> {
            let said = self.load(text).unwrap_err().to_string();
            said.lines().map(str::to_owned).collect()
        }
    }

    #[test]
    fn each_wrong_file_is_named_by_its_key() {
        for (text, key, word) in [
            (
                "[gateway]\ntls_cert = \"@/nowhere\"\ntls_key = \"@/ours.key\"",
                "gateway.tls_cert",
                "No such file",
            ),
            (
                "[gateway]\ntls_cert = \"@/text\"\ntls_key = \"@/ours.key\"",
                "gateway.tls_cert",
                "holds no certificate",
            ),
            (
                "[gateway]\ntls_cert = \"@/ours.pem\"\ntls_key = \"@/theirs.key\"",
                "gateway.tls_key",
                "is not the key of",
            ),
            (
                "[hub]\ntls_cert = \"@/nowhere\"\ntls_key = \"@/ours.key\"",
                "hub.tls_cert",
                "No such file",
            ),
            (
                "[hub]\ntls_cert = \"@/ours.pem\"\ntls_key = \"@/text\"",
                "hub.tls_key",
                "holds no private key",
            ),
            (
                "[hub]\ntls_cert = \"@/ours.pem\"\ntls_key = \"@/theirs.key\"",
                "hub.tls_key",
                "is not the key of",
            ),
            ("[exit]\npolicy = \"@/nowhere\"", "exit.policy", "can't be read"),
            ("[exit]\npolicy = \"@/text\"", "exit.policy", "expected"),
            (
                "[api]\ndashboard = \"@/nowhere\"",
                "api.dashboard",
                "index.html can't be read",
            ),
            (
                "[api]\ndashboard = \"@/text\"",
                "api.dashboard",
                "Not a directory",
            ),
            ("[geo]\ncity = \"@/nowhere\"", "geo.city", "No such file"),
            ("[geo]\nasn = \"@/text\"", "geo.asn", "can't be used"),
            (
                "[[geo.overrides]]\ncidr = \"10.0.0.0/8\"\ncountry = \"Germany\"",
                "geo.overrides",
                "two letters",
            ),
            (
                "[login]\nsecret_file = \"@/text\"",
                "login.secret_file",
                "may be read by others",
            ),
            (
                "[login]\nsecret_file = \"@/text/secret\"",
                "login.secret_file",
                "text",
            ),
            ("data = \"@/text\"", "data", "is no folder"),
            ("data = \"@/text/below\"", "data", "Not a directory"),
            ("data = \"@/crowded\"", "data", "outbox is no folder"),
            ("data = \"@/crowded\"", "data", "journal is no folder"),
            ("data = \"@/crowded\"", "data", "gateway-id holds no id"),
            ("data = \"@/crowded\"", "data", "iploop.db is no file"),
            (
                "data = \"@/crowded\"",
                "data",
                "login-secret may be read by others",
            ),
        ] {
            let place = Place::new();
            for name in ["outbox", "journal", "gateway-id", "login-secret"] {
                place.write(&format!("crowded/{name}"), "in the way");
            }
            fs::create_dir_all(place.path("crowded/iploop.db")).unwrap();
            let complaints = place.complaints(text);
            let start = format!("error: {key}: ");
            let found = |line: &String| line.starts_with(&start) && line.contains(word);
            assert!(complaints.iter().any(found), "{key}, {word}: {complaints:?}");
            let is_alone = text.contains("crowded") || complaints.len() == 1;
            assert!(is_alone, "nothing else is wrong: {complaints:?}");
        }
    }

    #[test]
    fn wrong_values_and_wrong_files_are_named_in_one_run() {
        let place = Place::new();
        let complaints = place.complaints(
            "data = \"@/text\"\n[gateway]\nmax_attempts = 0\ntls_cert = \"@/nowhere\"\ntls_key = \"@/nowhere\"\n\
             [hub]\ntls_cert = \"@/text\"\ntls_key = \"@/text\"\n[exit]\npolicy = \"@/text\"\n[geo]\ncity = \"@/text\"\n\
             asn = \"@/nowhere\"\n[mail]\nsmtp_url = \"http://mail\"\n[accounts.password]\npasses = 0\n\
             [login.tries_per_hour]\nclient = 0\n[database]\nurl = \"mysql://here\"\n",
        );
        for key in [
            "data",
            "gateway.max_attempts",
            "gateway.tls_cert",
            "gateway.tls_key",
            "hub.tls_cert",
            "hub.tls_key",
            "exit.policy",
            "geo.city",
            "geo.asn",
            "mail.from",
            "mail.smtp_url",
            "accounts.password.passes",
            "login.tries_per_hour.client",
            "database.url",
        ] {
            let start = format!("error: {key}: ");
            let times = complaints.iter().filter(|line| line.starts_with(&start)).count();
            assert_eq!(times, 1, "{key}: {complaints:#?}");
        }
        assert_eq!(complaints.len(), 14, "{complaints:#?}");
    }

    #[test]
    fn sound_files_are_taken_and_looking_makes_nothing() {
        let place = Place::new();
        let text = "data = \"@/new/data\"\n[gateway]\ntls_cert = \"@/ours.pem\"\ntls_key = \"@/ours.key\"\n\
                    [hub]\ntls_cert = \"@/theirs.pem\"\ntls_key = \"@/theirs.key\"\n[exit]\npolicy = \"@/policy.json\"\n";
        place.load(text).unwrap();
        assert!(!place.path("new").exists());
        assert!(place.load("").unwrap().data.ends_with("data"));
    }
}
