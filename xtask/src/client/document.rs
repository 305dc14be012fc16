//! The document as a list of operations.

use anyhow::{Context as _, Result};
use serde_json::{Map, Value};

use super::{NOT_FOR_CUSTOMERS, TAGS};

/// What a request or an answer in JSON is called in the document.
const JSON: &str = "application/json";

pub(super) struct Document<'a> {
    root: &'a Value,
}

/// A method on a path.
pub(super) struct Operation<'a> {
    pub(super) tag: &'a str,
    /// `GET`.
    pub(super) method: String,
    pub(super) path: &'a str,
    pub(super) id: &'a str,
    /// Summary and description.
    pub(super) docs: [&'a str; 2],
    pub(super) parameters: Vec<Parameter<'a>>,
    /// The schema of its body in JSON.
    pub(super) body: Option<&'a Value>,
    /// Successes in JSON: status and schema.
    pub(super) answers: Vec<(&'a str, &'a Value)>,
    /// Successes in other forms that programs read.
    pub(super) streams: Vec<&'a str>,
}

pub(super) struct Parameter<'a> {
    pub(super) name: &'a str,
    pub(super) is_in_path: bool,
    pub(super) is_required: bool,
    pub(super) docs: &'a str,
    pub(super) schema: &'a Value,
}

impl<'a> Document<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self { root }
    }

    /// The schema of this reference, with its name.
    pub(super) fn resolve(&self, reference: &'a str) -> Result<(&'a str, &'a Value)> {
        let name = reference.strip_prefix("#/components/schemas/");
        let name = name.with_context(|| format!("{reference} is no schema of the document"))?;
        Ok((name, self.schema(name)?))
    }

    /// The schema of this name.
    pub(super) fn schema(&self, name: &str) -> Result<&'a Value> {
        let schema = self.root["components"]["schemas"].get(name);
        schema.with_context(|| format!("there is no schema {name}"))
    }

    /// What customers can ask for, in the document's order. Pages for people and second names are left out.
    pub(super) fn operations(&self) -> Result<Vec<Operation<'a>>> {
        let mut operations = Vec::new();
        for (path, methods) in members(&self.root["paths"]) {
            for (method, operation) in members(methods) {
                let operation = read(path, method, operation).with_context(|| format!("{method} {path}"))?;
                let is_wanted = TAGS.contains(&operation.tag)
                    && !NOT_FOR_CUSTOMERS.contains(&operation.id)
                    && !operation.id.ends_with("_by_other_name");
                if is_wanted && !operation.is_page() {
                    operations.push(operation);
                }
            }
        }
        Ok(operations)
    }
}

impl<'a> Operation<'a> {
    /// A page for a browser and nothing else.
    fn is_page(&self) -> bool {
        self.streams == ["text/html"] && self.answers.is_empty()
    }

    pub(super) fn in_path(&self) -> impl Iterator<Item = &Parameter<'a>> {
        self.parameters.iter().filter(|one| one.is_in_path)
    }

    /// Those of the query that a program sets: the form of a JSON answer is not among them.
    pub(super) fn in_query(&self) -> impl Iterator<Item = &Parameter<'a>> {
        let in_query = self.parameters.iter().filter(|one| !one.is_in_path);
        in_query.filter(|one| self.answers.is_empty() || !one.is_form())
    }

    /// Whether the form of the answer is named in the query; elsewhere `Accept` names it.
    pub(super) fn has_form(&self) -> bool {
        self.parameters.iter().any(Parameter::is_form)
    }
}

impl Parameter<'_> {
    fn is_form(&self) -> bool {
        !self.is_in_path && self.name == "format"
    }
}

fn read<'a>(path: &'a str, method: &'a str, operation: &'a Value) -> Result<Operation<'a>> {
    let text = |of: &'a Value, name: &str| of[name].as_str().unwrap_or_default();
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let parameters = parameters.map(|one| Parameter {
        name: text(one, "name"),
        is_in_path: one["in"] == "path",
        is_required: one["required"] == true,
        docs: text(one, "description"),
        schema: &one["schema"],
    });
    let mut answers = Vec::new();
    let mut streams = Vec::new();
    for (status, answer) in members(&operation["responses"]) {
        if !status.starts_with('2') {
            continue;
        }
        for (form, content) in members(&answer["content"]) {
            match form {
                JSON => answers.push((status, &content["schema"])),
                form => streams.push(form),
            }
        }
    }
    Ok(Operation {
        tag: operation["tags"][0].as_str().context("it has no tag")?,
        method: method.to_ascii_uppercase(),
        path,
        id: operation["operationId"]
            .as_str()
            .context("it has no operationId")?,
        docs: [text(operation, "summary"), text(operation, "description")],
        parameters: parameters.collect(),
        body: operation["requestBody"]["content"][JSON].get("schema"),
        answers,
        streams,
    })
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let members = value.as_object().into_iter().flat_map(Map::iter);
    members.map(|(name, value)| (name.as_str(), value))
}
