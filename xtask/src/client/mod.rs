//! The customer's library from the API's document: `iploop-client/src/api`, a file for each of its tags.
//!
//! By a generator of our own: what the document uses of JSON Schema fits in [`schema`], and the code must read as if it were
//! written by hand. An older library has to understand a newer server, so that unknown fields are passed over and unknown words
//! are kept as text; `typify` makes closed enums and checked newtypes of them.

mod document;
mod names;
mod operations;
mod schema;
mod types;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use self::document::Document;
use self::schema::Schemas;
use crate::process::root;

/// The tags that customers need.
const TAGS: [&str; 11] = [
    "auth", "billing", "keys", "live", "nodes", "platform", "proxy", "sessions", "support", "usage",
    "webhooks",
];
/// Operations of these tags that are for others: the payment provider.
const NOT_FOR_CUSTOMERS: [&str; 1] = ["take_event"];
/// Where types stand that several tags use.
const SHARED: &str = "shared";

const HEADER: &str = "// Generated from docs/openapi.json by `cargo xtask api`: not to be edited.\n\n";

/// Writes the files anew, and removes others.
pub(crate) fn write() -> Result<()> {
    let files = files(&std::fs::read_to_string(root().join("docs/openapi.json"))?)?;
    let folder = folder();
    std::fs::create_dir_all(&folder)?;
    for entry in std::fs::read_dir(&folder)? {
        let entry = entry?;
        if !files.contains_key(entry.file_name().to_string_lossy().as_ref()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("{} can't be written", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

fn folder() -> PathBuf {
    root().join("iploop-client/src/api")
}

/// Every file by its name, as it should be.
fn files(document: &str) -> Result<BTreeMap<String, String>> {
    let root: Value = serde_json::from_str(document).context("the document is no JSON")?;
    let document = Document::new(&root);
    let operations = document.operations()?;
    let schemas = Schemas::collect(&document, &operations)?;
    let mut files = BTreeMap::new();
    files.insert("mod.rs".to_owned(), operations::index());
    files.insert("by_name.rs".to_owned(), types::by_name(&schemas));
    for tag in TAGS {
        let of_tag: Vec<_> = operations.iter().filter(|one| one.tag == tag).collect();
        let methods = operations::file(&document, &schemas, tag, &of_tag)?;
        files.insert(format!("{tag}.rs"), methods + &types::of(&schemas, tag));
    }
    files.insert(format!("{SHARED}.rs"), types::shared(&schemas));
    files
        .into_iter()
        .map(|(name, text)| {
            let text = formatted(&format!("{HEADER}{text}")).with_context(|| name.clone())?;
            Ok((name, text))
        })
        .collect()
}

/// As `cargo fmt` would have it.
fn formatted(text: &str) -> Result<String> {
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("rustfmt can't be started")?;
    // It reads everything before it writes anything.
    if let Some(mut stdin) = rustfmt.stdin.take() {
        stdin.write_all(text.as_bytes())?;
    }
    let output = rustfmt.wait_with_output()?;
    if !output.status.success() {
        bail!("rustfmt refuses what was generated:\n{text}");
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_what_the_document_says() {
        let document = std::fs::read_to_string(root().join("docs/openapi.json")).unwrap();
        let expected = files(&document).unwrap();
        let there: BTreeMap<String, String> = std::fs::read_dir(folder())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, std::fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        assert_eq!(
            there.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>(),
            "stale: cargo xtask api"
        );
        for (name, text) in expected {
            assert!(there[&name] == text, "{name} is stale: cargo xtask api");
        }
    }

    #[test]
    fn what_the_generator_does_not_know_is_named() {
        let document = |schema: &str| {
            format!(
                r##"{{"paths": {{"/api/platform": {{"get": {{"tags": ["platform"], "operationId": "platform", "summary": "It.",
                "responses": {{"200": {{"content": {{"application/json": {{"schema": {{"$ref": "#/components/schemas/A"}}}}}}}}}}}}}}}},
                "components": {{"schemas": {{"A": {schema}}}}}}}"##
            )
        };
        for (schema, complaint) in [
            (
                r#"{"type": "object", "properties": {"b": {"type": "strange"}}}"#,
                "A.b",
            ),
            (
                r#"{"type": "object", "properties": {"b": {"oneOf": [{"type": "string"}, {"type": "integer"}]}}}"#,
                "A.b",
            ),
            (
                r##"{"type": "object", "properties": {"b": {"$ref": "#/elsewhere"}}}"##,
                "#/elsewhere",
            ),
        ] {
            let error = files(&document(schema)).unwrap_err();
            assert!(format!("{error:#}").contains(complaint), "{error:#}");
        }
    }
}
