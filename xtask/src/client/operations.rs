//! The text of methods: one for each operation, and one more for each other form of its answer.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::document::{Document, Operation, Parameter};
use super::names::{docs, ident, pascal, snake};
use super::schema::{Schemas, Type, Typed};
use super::types::{Naming, imports, member};
use super::{SHARED, TAGS};

/// The root of the generated part.
pub(super) fn index() -> String {
    let mut modules = String::new();
    let mut methods = String::new();
    for tag in TAGS {
        let group = pascal(tag);
        let _ = writeln!(modules, "pub mod {tag};");
        let _ = writeln!(
            methods,
            "/// Operations of [`{tag}`].\npub fn {tag}(&self) -> {tag}::{group}<'_> {{\n{tag}::{group}(self)\n}}\n"
        );
    }
    format!(
        "//! The API's operations and what they send and answer, a module for each part of it.

#[cfg(test)]
mod by_name;
{modules}pub mod {SHARED};

#[cfg(test)]
pub(crate) use by_name::again_by_name;

use crate::management::Api;

impl Api {{
{methods}}}
"
    )
}

/// The file of a tag, but for its types.
pub(super) fn file(
    document: &Document<'_>,
    schemas: &Schemas,
    tag: &str,
    operations: &[&Operation<'_>],
) -> Result<String> {
    let queries = Queries::of(document, schemas, tag, operations)?;
    let mut methods = String::new();
    let mut outcomes = String::new();
    for operation in operations {
        methods += &self::methods(document, schemas, operation, queries.name(operation))?;
        outcomes += &outcome_enum(operation)?;
    }
    let group = pascal(tag);
    let used = format!(
        "Api {methods}{outcomes}{}{}",
        queries.text,
        super::types::of(schemas, tag)
    );
    let names = schemas.definitions.keys().map(String::as_str);
    let shared: Vec<&str> = names.filter(|name| schemas.module(name) == SHARED).collect();
    let uses = imports(
        &used,
        &[
            ("super::shared", &shared),
            ("crate::error", &["Error"]),
            ("crate::management", &["Api", "Download", "segment"]),
        ],
    );
    Ok(format!(
        "//! `{tag}`: operations of the API, with what they send and answer.

{uses}

/// Operations of this part of the API: [`Api::{tag}`].
#[derive(Clone, Copy, Debug)]
pub struct {group}<'a>(pub(super) &'a Api);

impl {group}<'_> {{
{methods}}}

{outcomes}{}",
        queries.text
    ))
}

/// The structs of queries: operations of a tag that take the same share one.
struct Queries {
    names: BTreeMap<String, String>,
    text: String,
}

impl Queries {
    fn of(
        document: &Document<'_>,
        schemas: &Schemas,
        tag: &str,
        operations: &[&Operation<'_>],
    ) -> Result<Self> {
        let mut users: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for operation in operations {
            let fields = query_fields(document, schemas, operation)?;
            if !fields.is_empty() {
                users.entry(fields).or_default().push(operation.id);
            }
        }
        let several = users.values().filter(|users| users.len() > 1).count();
        let mut queries = Self {
            names: BTreeMap::new(),
            text: String::new(),
        };
        for (fields, users) in users {
            let name = match (users.as_slice(), several) {
                ([one], _) => format!("{}Query", pascal(one)),
                (_, 1) => format!("{}Query", pascal(tag)),
                _ => bail!("{tag}: two queries that several operations share: {users:?}"),
            };
            let about = match users.as_slice() {
                [one] => format!("The query of `{one}`."),
                several => format!("The query of `{}`.", several.join("`, `")),
            };
            let naming = Naming::Camel.attribute();
            let _ = writeln!(
                queries.text,
                "/// {about}\n#[derive(Clone, Debug, Default, PartialEq, Serialize)]\n{naming}pub struct {name} {{\n{fields}}}\n"
            );
            for user in users {
                queries.names.insert(user.to_owned(), name.clone());
            }
        }
        Ok(queries)
    }

    fn name(&self, operation: &Operation<'_>) -> Option<&str> {
        self.names.get(operation.id).map(String::as_str)
    }
}

fn query_fields(document: &Document<'_>, schemas: &Schemas, operation: &Operation<'_>) -> Result<String> {
    let mut out = String::new();
    for parameter in operation.in_query() {
        let typed = schemas.known(document, parameter.schema, parameter.name)?;
        let text = typed.kind.text();
        let about = docs(&[parameter.docs], &format!("`{}`.", parameter.name));
        out += &match parameter.is_required {
            true => member(parameter.name, &about, &text, None, Naming::Camel),
            false => {
                let skip = Some("skip_serializing_if = \"Option::is_none\"");
                member(
                    parameter.name,
                    &about,
                    &format!("Option<{text}>"),
                    skip,
                    Naming::Camel,
                )
            }
        };
    }
    Ok(out)
}

/// The methods of one operation.
fn methods(
    document: &Document<'_>,
    schemas: &Schemas,
    operation: &Operation<'_>,
    query: Option<&str>,
) -> Result<String> {
    let mut arguments = String::new();
    for parameter in operation.in_path() {
        let text = match path_type(document, schemas, parameter)?.kind {
            Type::Plain("Uuid") => "Uuid",
            _ => "&str",
        };
        let _ = write!(arguments, ", {}: {text}", ident(&snake(parameter.name)));
    }
    let mut steps = String::new();
    if let Some(query) = query {
        let _ = write!(arguments, ", query: &{query}");
        steps += ".query(query)";
    }
    if let Some(body) = operation.body {
        let typed = schemas.known(document, body, "Body")?;
        let _ = write!(arguments, ", body: &{}", typed.kind.text());
        steps += ".json(body)";
    }
    let path = path_text(document, schemas, operation)?;
    let about = docs(&operation.docs, operation.id);
    let what = format!("`{} {}`.", operation.method, operation.path);
    let begin = format!("self.0.call(Method::{}, {path})", operation.method);
    let id = operation.id;
    let mut out = String::new();
    if !operation.answers.is_empty() || operation.streams.is_empty() {
        let (text, end) = match operation.answers.as_slice() {
            [] => (
                "()".to_owned(),
                format!("{begin}{steps}.answer().await?;\nOk(())"),
            ),
            [(_, schema)] => {
                let text = schemas.known(document, schema, "Answer")?.kind.text();
                (text, format!("{begin}{steps}.answer().await?.json()"))
            }
            _ => {
                let outcome = outcome_match(operation)?;
                let answer = format!("let answer = {begin}{steps}.answer().await?;\n{outcome}");
                (outcome_name(operation), answer)
            }
        };
        let _ = writeln!(
            out,
            "{about}///\n/// {what}\npub async fn {id}(&self{arguments}) -> Result<{text}, Error> {{\n{end}\n}}\n"
        );
    }
    for stream in &operation.streams {
        let short = match *stream {
            "text/csv" => "csv",
            "text/event-stream" => "events",
            "application/x-ndjson" => "ndjson",
            // For browsers.
            "text/html" => continue,
            other => bail!("{id}: an answer that the generator does not know: {other}"),
        };
        let (name, form, what) = if operation.answers.is_empty() {
            (id.to_owned(), ".accept(\"*/*\")".to_owned(), what.clone())
        } else {
            let form = match operation.has_form() {
                true => format!(".form(\"{short}\")"),
                false => format!(".accept(\"{stream}\")"),
            };
            (
                format!("{id}_{short}"),
                form,
                format!("{what} This one as `{stream}`."),
            )
        };
        let _ = writeln!(
            out,
            "{about}///\n/// {what}\npub async fn {name}(&self{arguments}) -> Result<Download, Error> {{\n{begin}{steps}{form}.download().await\n}}\n"
        );
        if operation.answers.is_empty() {
            // The query names the form, if there are several.
            break;
        }
    }
    Ok(out)
}

fn path_type(document: &Document<'_>, schemas: &Schemas, parameter: &Parameter<'_>) -> Result<Typed> {
    schemas.known(document, parameter.schema, parameter.name)
}

/// The path as an expression.
fn path_text(document: &Document<'_>, schemas: &Schemas, operation: &Operation<'_>) -> Result<String> {
    let mut format = operation.path.to_owned();
    let mut values = String::new();
    for parameter in operation.in_path() {
        let place = format!("{{{}}}", parameter.name);
        let name = ident(&snake(parameter.name));
        if let Type::Plain("Uuid") = path_type(document, schemas, parameter)?.kind {
            format = format.replace(&place, &format!("{{{name}}}"));
        } else {
            format = format.replace(&place, "{}");
            let _ = write!(values, ", segment({name})?");
        }
    }
    Ok(match operation.in_path().next() {
        None => format!("\"{format}\""),
        Some(_) => format!("&format!(\"{format}\"{values})"),
    })
}

fn outcome_name(operation: &Operation<'_>) -> String {
    format!("{}Outcome", pascal(operation.id))
}

/// Status, variant and type of each answer of an operation that has several.
fn outcomes<'a>(operation: &Operation<'a>) -> Result<Vec<(&'a str, &'a str, &'a str)>> {
    let mut out = Vec::new();
    for (status, schema) in &operation.answers {
        let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
        let Some(name) = name else {
            bail!("{}: one of several answers has no name", operation.id)
        };
        out.push((*status, name.strip_suffix("Answer").unwrap_or(name), name));
    }
    Ok(out)
}

fn outcome_enum(operation: &Operation<'_>) -> Result<String> {
    if operation.answers.len() < 2 {
        return Ok(String::new());
    }
    let mut variants = String::new();
    for (status, variant, name) in outcomes(operation)? {
        let _ = writeln!(variants, "/// Status {status}.\n{variant}(Box<{name}>),");
    }
    Ok(format!(
        "/// What `{}` answers.\n#[derive(Clone, Debug, PartialEq)]\n#[non_exhaustive]\npub enum {} {{\n{variants}}}\n\n",
        operation.id,
        outcome_name(operation)
    ))
}

fn outcome_match(operation: &Operation<'_>) -> Result<String> {
    let name = outcome_name(operation);
    let outcomes = outcomes(operation)?;
    let mut arms = String::new();
    for (n, (status, variant, _)) in outcomes.iter().enumerate().rev() {
        let status = if n == 0 { "_" } else { status };
        let _ = writeln!(arms, "{status} => Ok({name}::{variant}(answer.json()?)),");
    }
    Ok(format!("match answer.status() {{\n{arms}}}"))
}
