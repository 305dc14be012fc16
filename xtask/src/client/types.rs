//! The text of types.

use std::fmt::Write as _;

use super::SHARED;
use super::names::{camel, docs, ident, pascal, snake};
use super::schema::{Definition, Field, Schemas, Shape, Type};

/// The types that one tag alone uses.
pub(super) fn of(schemas: &Schemas, module: &str) -> String {
    let mut out = String::new();
    for (name, definition) in &schemas.definitions {
        if schemas.module(name) == module {
            out += &definition_text(name, definition);
        }
    }
    out
}

/// The file of the types that several tags use.
pub(super) fn shared(schemas: &Schemas) -> String {
    let types = of(schemas, SHARED);
    let what = "What several parts of the API use, and what every error is said in.";
    format!("//! {what}\n\n{}\n{types}", imports(&types, &[]))
}

/// The lines that bring in what a file uses; of our own crate also these names of these modules.
pub(super) fn imports(text: &str, ours: &[(&str, &[&str])]) -> String {
    let used = |path: &str, names: &[&str]| {
        let names: Vec<&str> = names.iter().copied().filter(|name| is_used(text, name)).collect();
        match names.as_slice() {
            [] => String::new(),
            names => format!("use {path}::{{{}}};\n", names.join(", ")),
        }
    };
    let groups = [
        used("std::collections", &["BTreeMap"]) + &used("std::net", &["IpAddr"]),
        used("http", &["Method"]) + &used("serde", &["Deserialize", "Serialize"]) + &used("uuid", &["Uuid"]),
        ours.iter()
            .map(|(path, names)| used(path, names))
            .collect::<String>()
            + &used("crate::values", &["Change", "Secret", "Timestamp"]),
    ];
    let groups: Vec<String> = groups.into_iter().filter(|group| !group.is_empty()).collect();
    groups.join("\n")
}

/// Whether a text of Rust has this word.
fn is_used(text: &str, name: &str) -> bool {
    let mut words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    words.any(|word| word == name)
}

/// The test's way from a schema's name to its type.
pub(super) fn by_name(schemas: &Schemas) -> String {
    let mut arms = String::new();
    for (name, definition) in &schemas.definitions {
        if definition.is_schema {
            let _ = writeln!(
                arms,
                "\"{name}\" => again::<{}::{name}>(value),",
                schemas.module(name)
            );
        }
    }
    format!(
        "//! Every schema's type by its name, for the test that reads and writes samples of all of them.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::*;

/// Reads `value` as the type of this schema and writes it again; none: there is no such type.
pub(crate) fn again_by_name(name: &str, value: Value) -> Option<serde_json::Result<Value>> {{
    Some(match name {{
        {arms}
        _ => return None,
    }})
}}

fn again<T: DeserializeOwned + Serialize>(value: Value) -> serde_json::Result<Value> {{
    serde_json::to_value(serde_json::from_value::<T>(value)?)
}}
"
    )
}

fn definition_text(name: &str, definition: &Definition) -> String {
    let about = docs(&[&definition.docs], &format!("`{name}`."));
    match &definition.shape {
        Shape::Words(words) => words_text(name, &about, words),
        Shape::Struct { fields, rest } => struct_text(name, &about, definition, fields, rest.as_ref()),
    }
}

fn words_text(name: &str, about: &str, words: &[String]) -> String {
    let mut variants = String::new();
    for word in words {
        let variant = pascal(word);
        let _ = writeln!(
            variants,
            "/// `{word}`.\n#[serde(rename = \"{word}\")]\n{variant},"
        );
    }
    format!(
        "{about}#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum {name} {{
            {variants}/// A word that this version of the library does not know.
            #[serde(untagged)]
            Other(String),
        }}\n\n"
    )
}

fn struct_text(
    name: &str,
    about: &str,
    definition: &Definition,
    fields: &[Field],
    rest: Option<&Type>,
) -> String {
    let is_empty_by_default = |field: &Field| {
        let plain = [
            "String", "Secret", "bool", "f64", "u16", "u32", "u64", "i32", "i64",
        ];
        let is_plain = matches!(&field.typed.kind, Type::Plain(name) if plain.contains(name));
        !field.is_required
            || field.typed.is_nullable
            || is_plain
            || matches!(field.typed.kind, Type::List(_) | Type::Map(_))
    };
    let default = if definition.is_sent && fields.iter().all(is_empty_by_default) {
        "Default, "
    } else {
        ""
    };
    // What only comes from the server may get more fields.
    let open = if definition.is_sent {
        ""
    } else {
        "#[non_exhaustive]\n"
    };
    let naming = Naming::of(fields.iter().map(|field| field.name.as_str()));
    let mut lines = String::new();
    for field in fields {
        lines += &field_text(field, naming, definition);
    }
    if let Some(rest) = rest {
        let _ = writeln!(
            lines,
            "/// Every further field.\n#[serde(flatten)]\npub rest: BTreeMap<String, {}>,",
            rest.text()
        );
    }
    format!(
        "{about}#[derive(Clone, Debug, {default}PartialEq, Serialize, Deserialize)]\n{}{open}pub struct {name} {{\n{lines}}}\n\n",
        naming.attribute()
    )
}

fn field_text(field: &Field, naming: Naming, definition: &Definition) -> String {
    let typed = &field.typed;
    let text = typed.kind.text();
    let (text, skip) = match (field.is_required, typed.is_nullable, &typed.kind) {
        (true, true, _) => (format!("Option<{text}>"), None),
        (true, false, _) => (text, None),
        (false, true, _) if definition.is_change => (
            format!("Change<{text}>"),
            Some("default, skip_serializing_if = \"Change::is_kept\""),
        ),
        (false, false, Type::List(_)) => (text, Some("default, skip_serializing_if = \"Vec::is_empty\"")),
        _ => (
            format!("Option<{text}>"),
            Some("skip_serializing_if = \"Option::is_none\""),
        ),
    };
    member(
        &field.name,
        &docs(&[&field.docs], &format!("`{}`.", field.name)),
        &text,
        skip,
        naming,
    )
}

/// A field of a struct with its attributes.
pub(super) fn member(name: &str, about: &str, text: &str, skip: Option<&str>, naming: Naming) -> String {
    let snake_case = snake(name);
    let rename = (naming.name(&snake_case) != name).then(|| format!("rename = \"{name}\""));
    let attributes: Vec<String> = rename.into_iter().chain(skip.map(str::to_owned)).collect();
    let attribute = match attributes.as_slice() {
        [] => String::new(),
        some => format!("#[serde({})]\n", some.join(", ")),
    };
    format!("{about}{attribute}pub {}: {text},\n", ident(&snake_case))
}

/// How the names of a struct's fields are made in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    AsTheyAre,
    Camel,
}

impl Naming {
    pub(super) fn of<'a>(mut names: impl Iterator<Item = &'a str>) -> Self {
        match names.all(|name| snake(name) == name) {
            true => Self::AsTheyAre,
            false => Self::Camel,
        }
    }

    pub(super) fn attribute(self) -> &'static str {
        match self {
            Self::AsTheyAre => "",
            Self::Camel => "#[serde(rename_all = \"camelCase\")]\n",
        }
    }

    fn name(self, snake_case: &str) -> String {
        match self {
            Self::AsTheyAre => snake_case.to_owned(),
            Self::Camel => camel(snake_case),
        }
    }
}
