//! What must not leave the house with a question: keys, tokens, passwords and addresses of people.

/// Letters and digits in a row from which a word is taken for a secret, if it has both.
const LONG: usize = 24;
/// Beginnings of secrets: ours and usual ones of others.
const PREFIXES: &[&str] = &[
    "iploop_", "iplp_", "sk-", "sk_", "pk_", "whsec_", "eyJ", "ghp_", "AKIA",
];
/// Words behind which a secret follows.
const LABELS: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "secret",
    "bearer",
    "authorization",
    "token",
];

/// The text with a mark in place of each secret. Takes too much rather than too little.
pub(super) fn without_secrets(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut follows_label = false;
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end();
        let space = &piece[word.len()..];
        if word.is_empty() {
            clean.push_str(space);
            continue;
        }
        let is_labelled = std::mem::replace(&mut follows_label, false);
        let bare = word.trim_matches(|letter: char| !letter.is_alphanumeric());
        let label = bare.to_ascii_lowercase();
        if is_secret(word) || is_labelled && LABELS.iter().all(|known| *known != label) && looks_made_up(bare)
        {
            clean.push_str("[removed]");
        } else {
            clean.push_str(word);
        }
        // "Authorization: Basic abc" has a word between.
        follows_label =
            LABELS.contains(&label.as_str()) || is_labelled && ["is", "basic", "="].contains(&label.as_str());
        clean.push_str(space);
    }
    clean
}

/// Somebody's own choice of letters, and no word of a sentence.
fn looks_made_up(word: &str) -> bool {
    word.len() >= 6 && word.chars().any(|letter| !letter.is_lowercase())
}

fn is_secret(word: &str) -> bool {
    let has_prefix = PREFIXES.iter().any(|prefix| {
        word.match_indices(prefix).any(|(at, _)| {
            word[at + prefix.len()..]
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .count()
                >= 6
        })
    });
    let is_email = word
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
    // user:password@host, key=value
    let is_assigned = word.split_once(['=', ':']).is_some_and(|(label, value)| {
        let label = label.to_ascii_lowercase();
        value.len() >= 3 && LABELS.iter().any(|known| label.ends_with(known))
    });
    let has_long_run = word
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .any(|run| {
            run.len() >= LONG
                && run.bytes().any(|byte| byte.is_ascii_digit())
                && run.bytes().any(|byte| byte.is_ascii_alphabetic())
        });
    has_prefix || is_email || is_assigned || has_long_run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_and_the_rest_stays() {
        let key = format!("iploop_{}", "0123456789abcdef".repeat(3));
        for (text, clean) in [
            (format!("my key {key}-country-us fails"), "my key [removed] fails"),
            (
                format!("curl --proxy http://iploop:{key}@proxy:7777 x"),
                "curl --proxy [removed] x",
            ),
            (
                "mail me at ada@example.com, please".to_owned(),
                "mail me at [removed] please",
            ),
            (
                "Authorization: Bearer eyJhbGciOi.eyJzdWIiOiIx.c2ln".to_owned(),
                "Authorization: Bearer [removed]",
            ),
            ("my password is Hunter2!x".to_owned(), "my password is [removed]"),
            ("password=abc".to_owned(), "[removed]"),
            (
                "the hash d41d8cd98f00b204e9800998ecf8427e".to_owned(),
                "the hash [removed]",
            ),
            (
                "why does no_exit come\nwith country-us?  407 again".to_owned(),
                "why does no_exit come\nwith country-us?  407 again",
            ),
            (
                "how do I change my password today?".to_owned(),
                "how do I change my password today?",
            ),
        ] {
            assert_eq!(without_secrets(&text), clean);
        }
    }
}
