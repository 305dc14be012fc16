//! What the documents point to exists: every link, every heading behind a `#`, every path in backticks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::root;

/// Written like a path, and an address of the API.
const NO_PATHS: [&str; 1] = ["key/rotate"];

/// The files that git keeps, from the root of the repository.
fn tracked() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(listed.status.success(), "these tests need the git checkout");
    let listed = String::from_utf8(listed.stdout).unwrap();
    listed.lines().map(PathBuf::from).collect()
}

/// What stands between these two, each time.
fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.split(open)
        .skip(1)
        .filter_map(move |rest| Some(rest.split_once(close)?.0))
}

/// What a link in another document calls a heading.
fn anchor(heading: &str) -> String {
    let kept = |letter: &char| letter.is_alphanumeric() || "-_ ".contains(*letter);
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    heading.chars().filter(kept).collect::<String>().replace(' ', "-")
}

/// What is wrong with a link; none if it leads somewhere. Other sites are not asked.
fn broken(document: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = link.split_once('#').unwrap_or((link, ""));
    let to = match path {
        "" => root().join(document),
        path => root().join(document.parent()?).join(path),
    };
    if !to.exists() {
        return Some("leads nowhere".to_owned());
    }
    let is_there = |text: String| {
        let mut headings = text.lines().filter(|line| line.starts_with('#'));
        headings.any(|line| anchor(line) == heading)
    };
    let is_broken = !heading.is_empty() && !fs::read_to_string(to).is_ok_and(is_there);
    is_broken.then(|| "has no such heading".to_owned())
}

/// Whether something in backticks is written like a path of ours: names with a slash between them, and nothing else.
fn is_path(code: &str) -> bool {
    let is_plain = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|letter| letter.is_alphanumeric() || "._-".contains(letter))
    };
    let parts: Vec<&str> = code.trim_end_matches('/').split('/').collect();
    parts.len() > 1 && parts.into_iter().all(is_plain) && !NO_PATHS.contains(&code)
}

#[test]
fn what_the_documents_point_to_exists() {
    let files = tracked();
    let exists = |path: &str| {
        files
            .iter()
            .flat_map(|file| file.ancestors())
            .any(|known| known.ends_with(path))
    };
    let mut wrong = Vec::new();
    for document in files
        .iter()
        .filter(|file| file.extension().is_some_and(|end| end == "md"))
    {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for link in between(&text, "](", ')') {
            if let Some(why) = broken(document, link) {
                wrong.push(format!("{}: {link} {why}", document.display()));
            }
        }
        for line in text.lines() {
            for code in line.split('`').skip(1).step_by(2).filter(|code| is_path(code)) {
                if !exists(code.trim_end_matches('/')) {
                    wrong.push(format!("{}: there is no {code}", document.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let document = Path::new("docs/contracts.md");
    assert_eq!(broken(document, "protocol.md"), None);
    assert_eq!(broken(document, "contracts.md#the-tunnel"), None);
    assert!(broken(document, "no-such-file.md").is_some());
    assert!(broken(document, "contracts.md#no-such-heading").is_some());
    assert!(is_path("docs/contracts.md") && !is_path("/api/keys") && !is_path("a/b c"));
}
