//! Passwords that everybody tries first.

use sha2::{Digest, Sha256};

/// Bytes kept of each password's hash.
const WIDTH: usize = 6;

/// See `data/README.md` for where it comes from and how it is made.
static LIST: &[u8] = include_bytes!("../../data/common-passwords.bin");

/// Whether a password is one of the 16,293 most common ones, in any case.
pub(super) fn is_common(password: &str) -> bool {
    let digest = Sha256::digest(password.to_lowercase().as_bytes());
    let (entries, _) = LIST.as_chunks::<WIDTH>();
    entries
        .binary_search_by(|entry| entry.as_slice().cmp(&digest[..WIDTH]))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole_and_sorted() {
        let (entries, rest) = LIST.as_chunks::<WIDTH>();
        assert_eq!((entries.len(), rest.len()), (16_293, 0));
        assert!(entries.is_sorted());
    }

    #[test]
    fn common_passwords_are_known_in_any_case_and_others_are_not() {
        for common in [
            "password",
            "Password",
            "12345678",
            "QWERTYUIOP",
            "iloveyou",
            "trustno1",
            "password123",
        ] {
            assert!(is_common(common), "{common}");
        }
        for other in [
            "correct horse battery",
            "another one",
            "a new password",
            "",
            "🦀🦀🦀🦀🦀🦀🦀🦀",
        ] {
            assert!(!is_common(other), "{other}");
        }
    }
}
