//! Schemas as Rust types: what of JSON Schema the document uses, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};

use super::SHARED;
use super::document::{Document, Operation};
use super::names::pascal;

/// What every error is said in.
const PROBLEM: &str = "Problem";

/// Fields whose text opens something: they are never shown by `Debug`.
const SECRETS: [&str; 11] = [
    "apiKey",
    "challenge",
    "csrfToken",
    "key",
    "oldSecret",
    "otpauthUrl",
    "password",
    "qrSvg",
    "recoveryCodes",
    "secret",
    "token",
];

/// A type of a field, a parameter or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// One of the language or of a library, as it is written.
    Plain(&'static str),
    List(Box<Type>),
    Map(Box<Type>),
    /// A definition, by its name.
    Named(String),
}

/// A type, and whether it may be null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Typed {
    pub(super) kind: Type,
    pub(super) is_nullable: bool,
}

/// A field of a struct.
pub(super) struct Field {
    /// In JSON.
    pub(super) name: String,
    pub(super) docs: String,
    pub(super) typed: Typed,
    pub(super) is_required: bool,
}

pub(super) enum Shape {
    Struct {
        fields: Vec<Field>,
        /// The type of all further fields.
        rest: Option<Type>,
    },
    Words(Vec<String>),
}

/// A type that the library defines.
pub(super) struct Definition {
    pub(super) docs: String,
    pub(super) shape: Shape,
    /// Whether it is a schema of the document by this name.
    pub(super) is_schema: bool,
    tags: BTreeSet<String>,
    pub(super) is_sent: bool,
    /// The body of a change: what is absent stays, and null says something else.
    pub(super) is_change: bool,
}

/// Every type that the operations reach, by its name.
#[derive(Default)]
pub(super) struct Schemas {
    pub(super) definitions: BTreeMap<String, Definition>,
}

/// From where a schema is reached.
#[derive(Clone, Copy)]
struct Way<'a> {
    tag: &'a str,
    is_sent: bool,
    is_change: bool,
}

impl Schemas {
    pub(super) fn collect<'a>(document: &Document<'a>, operations: &[Operation<'a>]) -> Result<Self> {
        let mut schemas = Self::default();
        let received = |tag| Way {
            tag,
            is_sent: false,
            is_change: false,
        };
        if document.schema(PROBLEM).is_ok() {
            schemas.add(document, PROBLEM, received(SHARED))?;
        }
        for operation in operations {
            let sent = Way {
                tag: operation.tag,
                is_sent: true,
                is_change: matches!(operation.method.as_str(), "PUT" | "PATCH"),
            };
            let at = |error: anyhow::Error| error.context(format!("operation {}", operation.id));
            for parameter in operation.in_path().chain(operation.in_query()) {
                let typed = schemas.typed(document, parameter.schema, ("Query", parameter.name), sent);
                typed.map_err(at)?;
            }
            if let Some(body) = operation.body {
                schemas
                    .typed(document, body, ("Body", operation.id), sent)
                    .map_err(at)?;
            }
            for (_, answer) in &operation.answers {
                let way = received(operation.tag);
                schemas
                    .typed(document, answer, ("Answer", operation.id), way)
                    .map_err(at)?;
            }
        }
        Ok(schemas)
    }

    /// The module that a type stands in.
    pub(super) fn module(&self, name: &str) -> &str {
        let tags = self.definitions.get(name).map(|one| &one.tags);
        match tags.map(|tags| (tags.len(), tags.first())) {
            Some((1, Some(tag))) => tag,
            _ => SHARED,
        }
    }

    /// What a schema is, whose types are known already.
    pub(super) fn known<'a>(&self, document: &Document<'a>, schema: &'a Value, name: &str) -> Result<Typed> {
        let way = Way {
            tag: SHARED,
            is_sent: false,
            is_change: false,
        };
        // On the side: nothing may be reached by another way than the operations.
        Self::default().typed(document, schema, ("", name), way)
    }

    /// Reads a schema that `owner` has at `name`, and takes in what it refers to.
    fn typed<'a>(
        &mut self,
        document: &Document<'a>,
        schema: &'a Value,
        (owner, name): (&str, &str),
        way: Way<'_>,
    ) -> Result<Typed> {
        let plain = |kind| Typed {
            kind,
            is_nullable: false,
        };
        let inner = |kind: Typed| Typed {
            is_nullable: true,
            ..kind
        };
        let unknown = || format!("{owner}.{name}: a schema that the generator does not know: {schema}");
        let members = schema.as_object().with_context(unknown)?;
        if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
            let (target, found) = document.resolve(reference)?;
            if is_scalar(found) {
                return self.typed(document, found, (owner, name), way);
            }
            self.add(document, target, way)?;
            return Ok(plain(Type::Named(target.to_owned())));
        }
        if let Some(options) = members.get("oneOf").and_then(Value::as_array) {
            let is_null = |one: &&Value| one["type"] == "null";
            let others: Vec<&Value> = options.iter().filter(|one| !is_null(one)).collect();
            return match others.as_slice() {
                [one] if others.len() < options.len() => {
                    Ok(inner(self.typed(document, one, (owner, name), way)?))
                }
                _ => bail!(unknown()),
            };
        }
        if let Some(options) = members.get("anyOf").and_then(Value::as_array) {
            let is_ip = |one: &Value| one["format"] == "ipv4" || one["format"] == "ipv6";
            if options.iter().all(is_ip) {
                return Ok(plain(Type::Plain("IpAddr")));
            }
            bail!(unknown());
        }
        if let Some(parts) = members.get("allOf").and_then(Value::as_array) {
            // One schema with more said about it.
            let mut others = parts.iter().filter(|part| part.get("enum").is_some());
            return match (others.next(), others.next()) {
                (Some(one), None) => self.typed(document, one, (owner, name), way),
                _ => bail!(unknown()),
            };
        }
        let (kind, is_nullable) = match members.get("type") {
            None if members.keys().all(|key| key == "description") => {
                return Ok(plain(Type::Plain("serde_json::Value")));
            }
            Some(Value::String(kind)) => (kind.as_str(), false),
            Some(Value::Array(kinds)) => {
                let mut others = kinds
                    .iter()
                    .filter_map(Value::as_str)
                    .filter(|kind| *kind != "null");
                match (others.next(), others.next()) {
                    (Some(kind), None) => (kind, true),
                    _ => bail!(unknown()),
                }
            }
            _ => bail!(unknown()),
        };
        let kind = match kind {
            "string" if members.contains_key("enum") => self.add_words(owner, name, members, way)?,
            "string" => Type::Plain(text_type(owner, name, members)),
            "boolean" => Type::Plain("bool"),
            "number" => Type::Plain("f64"),
            "integer" => Type::Plain(integer_type(members)),
            "array" => {
                let items = members.get("items").with_context(unknown)?;
                Type::List(Box::new(self.typed(document, items, (owner, name), way)?.kind))
            }
            "object" if !members.contains_key("properties") => {
                let values = members.get("additionalProperties").with_context(unknown)?;
                Type::Map(Box::new(self.typed(document, values, (owner, name), way)?.kind))
            }
            _ => bail!(unknown()),
        };
        Ok(Typed { kind, is_nullable })
    }

    /// Takes in a schema of the document by its name, with all that it refers to.
    fn add<'a>(&mut self, document: &Document<'a>, name: &'a str, way: Way<'_>) -> Result<()> {
        if let Some(there) = self.definitions.get_mut(name)
            && !there.widen(way)
        {
            return Ok(());
        }
        let schema = document.schema(name)?;
        let shape = if schema.get("enum").is_some() {
            Shape::Words(words(schema))
        } else {
            // Known before its fields are read: they may lead back to it.
            let empty = Shape::Struct {
                fields: Vec::new(),
                rest: None,
            };
            self.define(name, schema, empty, true, way);
            let mut fields = Vec::new();
            let mut rest = None;
            self.read_fields(document, name, schema, way, &mut fields, &mut rest)?;
            Shape::Struct { fields, rest }
        };
        self.define(name, schema, shape, true, way);
        Ok(())
    }

    /// The fields of an object, and of those that it is made of.
    fn read_fields<'a>(
        &mut self,
        document: &Document<'a>,
        name: &str,
        schema: &'a Value,
        way: Way<'_>,
        fields: &mut Vec<Field>,
        rest: &mut Option<Type>,
    ) -> Result<()> {
        if let Some(reference) = schema["$ref"].as_str() {
            let (_, schema) = document.resolve(reference)?;
            return self.read_fields(document, name, schema, way, fields, rest);
        }
        if let Some(parts) = schema["allOf"].as_array() {
            for part in parts {
                self.read_fields(document, name, part, way, fields, rest)?;
            }
            return Ok(());
        }
        if schema["type"] != "object" {
            bail!("{name}: a schema that the generator does not know: {schema}");
        }
        if let Some(more) = schema.get("additionalProperties").filter(|more| more.is_object()) {
            *rest = Some(self.typed(document, more, (name, "*"), way)?.kind);
        }
        // A part that is sent is sent whole.
        let inner = Way {
            is_change: false,
            ..way
        };
        let required = schema["required"].as_array().into_iter().flatten();
        let required: Vec<&str> = required.filter_map(Value::as_str).collect();
        for (field, property) in schema["properties"].as_object().into_iter().flat_map(Map::iter) {
            fields.push(Field {
                name: field.clone(),
                docs: described(document, property).unwrap_or_default().to_owned(),
                typed: self.typed(document, property, (name, field), inner)?,
                is_required: required.contains(&field.as_str()),
            });
        }
        Ok(())
    }

    /// Words that stand where they are used: named for the field.
    fn add_words(
        &mut self,
        owner: &str,
        field: &str,
        schema: &Map<String, Value>,
        way: Way<'_>,
    ) -> Result<Type> {
        let name = pascal(field);
        let schema = Value::Object(schema.clone());
        let found = words(&schema);
        if let Some(there) = self.definitions.get_mut(&name) {
            if !matches!(&there.shape, Shape::Words(known) if *known == found) {
                bail!("{owner}.{field}: another type is called {name} already");
            }
            there.widen(way);
        }
        self.define(&name, &schema, Shape::Words(found), false, way);
        Ok(Type::Named(name))
    }

    fn define(&mut self, name: &str, schema: &Value, shape: Shape, is_schema: bool, way: Way<'_>) {
        let definition = self.definitions.entry(name.to_owned()).or_insert(Definition {
            docs: schema["description"].as_str().unwrap_or_default().to_owned(),
            shape: Shape::Words(Vec::new()),
            is_schema,
            tags: BTreeSet::new(),
            is_sent: false,
            is_change: false,
        });
        definition.shape = shape;
        definition.widen(way);
    }
}

impl Definition {
    /// Notes another way to it; whether it was new.
    fn widen(&mut self, way: Way<'_>) -> bool {
        let before = (self.is_sent, self.is_change);
        self.is_sent |= way.is_sent;
        self.is_change |= way.is_change;
        self.tags.insert(way.tag.to_owned()) || before != (self.is_sent, self.is_change)
    }
}

impl Type {
    /// As it is written.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Plain(name) => (*name).to_owned(),
            Self::List(item) => format!("Vec<{}>", item.text()),
            Self::Map(value) => format!("BTreeMap<String, {}>", value.text()),
            Self::Named(name) => name.clone(),
        }
    }
}

/// Text or a number with something said about it: no type of its own.
fn is_scalar(schema: &Value) -> bool {
    match schema["type"].as_str() {
        Some("string") => schema.get("enum").is_none(),
        Some("integer") => true,
        _ => schema.get("anyOf").is_some(),
    }
}

/// What is said of a property, there or where it leads.
fn described<'a>(document: &Document<'a>, property: &'a Value) -> Option<&'a str> {
    let there = || {
        let options = property["oneOf"]
            .as_array()
            .or_else(|| property["allOf"].as_array());
        options?.iter().rev().find_map(|one| described(document, one))
    };
    let target = || {
        let (_, schema) = document.resolve(property["$ref"].as_str()?).ok()?;
        schema["description"].as_str()
    };
    property["description"].as_str().or_else(there).or_else(target)
}

fn words(schema: &Value) -> Vec<String> {
    let words = schema["enum"].as_array().into_iter().flatten();
    words.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn text_type(owner: &str, name: &str, schema: &Map<String, Value>) -> &'static str {
    let is_code = name == "code" && owner.ends_with("Body");
    match schema.get("format").and_then(Value::as_str) {
        Some("uuid") => "Uuid",
        Some("date-time") => "Timestamp",
        Some("password") => "Secret",
        _ if SECRETS.contains(&name) || is_code => "Secret",
        _ => "String",
    }
}

fn integer_type(schema: &Map<String, Value>) -> &'static str {
    let is_natural = schema
        .get("minimum")
        .and_then(Value::as_i64)
        .is_some_and(|least| least >= 0);
    let is_short = schema.get("format").and_then(Value::as_str) == Some("int32");
    match (
        schema.get("maximum").and_then(Value::as_u64),
        is_natural,
        is_short,
    ) {
        (Some(most), true, _) if most <= u64::from(u16::MAX) && !is_short => "u16",
        (_, true, true) => "u32",
        (_, true, false) => "u64",
        (_, false, true) => "i32",
        (_, false, false) => "i64",
    }
}
