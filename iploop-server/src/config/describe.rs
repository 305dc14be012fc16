//! The configuration, described from its structs: a sample file with every key, and a JSON schema.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::de::value::Error as NoValue;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde_json::{Map, Value, json};

use super::{Config, DEFAULT_DATA};

/// Longest line of the sample's explanations.
const WIDTH: usize = 110;
/// Where the twin of a key in the environment stands, unless the value is longer.
const TWIN_COLUMN: usize = 44;

const HEAD: &str = "\
# The configuration of iploop-server: every key, with its default and its twin in the environment, which wins.
#
# Remove the # before a key to set it. Nothing is set in this file as it stands, and nothing has to be: the server runs
# on its defaults. `iploop-server check --config FILE` says what is wrong with a file, key by key.
#
# Durations are a number with its unit: ms, s, m, h or d. Made from the code by `cargo xtask config`.
";

const DATA: &str =
    "The folder for the embedded database, the journal, secrets and the mail outbox. Also `--data`.";

/// One `[section]` of the file.
struct Section {
    name: &'static str,
    schema: Schema,
    /// Its keys in the order of the struct; the schema has them by the alphabet.
    keys: &'static [&'static str],
}

/// Every section, in the order of [`Config`].
fn sections() -> [Section; 23] {
    // The list can't fall behind: a field that is new to `Config` has no value here.
    let _: fn(Config) = |config| {
        let Config {
            data: _,
            database: _,
            redis: _,
            hub: _,
            gateway: _,
            api: _,
            metrics: _,
            geo: _,
            exit: _,
            mail: _,
            login: _,
            accounts: _,
            admission: _,
            metering: _,
            usage: _,
            abuse: _,
            events: _,
            webhooks: _,
            outbound: _,
            assistant: _,
            billing: _,
            partners: _,
            owners: _,
            devices: _,
        } = config;
    };
    [
        section::<super::DatabaseConfig>("database"),
        section::<super::RedisConfig>("redis"),
        section::<super::HubConfig>("hub"),
        section::<super::GatewayConfig>("gateway"),
        section::<super::ApiConfig>("api"),
        section::<super::MetricsConfig>("metrics"),
        section::<super::GeoConfig>("geo"),
        section::<super::ExitConfig>("exit"),
        section::<super::MailConfig>("mail"),
        section::<super::LoginConfig>("login"),
        section::<super::AccountsConfig>("accounts"),
        section::<super::AdmissionConfig>("admission"),
        section::<super::MeteringConfig>("metering"),
        section::<super::UsageConfig>("usage"),
        section::<super::AbuseConfig>("abuse"),
        section::<super::EventsConfig>("events"),
        section::<super::WebhooksConfig>("webhooks"),
        section::<super::OutboundConfig>("outbound"),
        section::<super::AssistantConfig>("assistant"),
        section::<super::BillingConfig>("billing"),
        section::<super::PartnersConfig>("partners"),
        section::<super::OwnersConfig>("owners"),
        section::<super::DevicesConfig>("devices"),
    ]
}

/// The names of all sections, as the file has them.
pub(super) fn section_names() -> Vec<String> {
    sections()
        .iter()
        .map(|section| format!("[{}]", section.name))
        .collect()
}

/// The twin that is meant by a name with one underscore where two belong: `IPLOOP_API_LISTEN`.
pub(super) fn twin_meant_by(name: &str) -> Option<String> {
    let twins = sections().into_iter().flat_map(|section| {
        let keys = section.keys.iter();
        keys.map(move |key| {
            (
                format!("IPLOOP_{}_{key}", section.name),
                twin(&[section.name, key]),
            )
        })
    });
    let mut twins = twins.filter(|(single, _)| single.eq_ignore_ascii_case(name));
    twins.next().map(|(_, twin)| twin)
}

/// The JSON schema (draft 2020-12) of the configuration file.
pub fn schema() -> Value {
    let mut properties = Map::new();
    let data = json!({ "description": DATA, "type": "string", "default": DEFAULT_DATA });
    properties.insert("data".to_owned(), data);
    for section in sections() {
        properties.insert(section.name.to_owned(), section.schema.to_value());
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of iploop-server",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

/// A configuration file (TOML) in which every key stands with its default, commented out.
pub fn sample() -> String {
    let mut text = HEAD.to_owned();
    text.push('\n');
    explain(&mut text, DATA);
    entry(&mut text, "data", &json!(DEFAULT_DATA), "IPLOOP_DATA");
    for Section { name, schema, keys } in sections() {
        let schema = schema.to_value();
        text.push('\n');
        explain(&mut text, description(&schema));
        let _ = writeln!(text, "[{name}]");
        let (tables, plain): (Vec<_>, Vec<_>) = keys
            .iter()
            .map(|key| (*key, &schema["properties"][key]))
            .partition(|(_, schema)| is_table(schema) || is_list_of_tables(schema));
        write_keys(&mut text, &[name], plain);
        for (key, schema) in tables {
            text.push('\n');
            explain(&mut text, description(schema));
            let path = [name, key];
            if is_table(schema) {
                let _ = writeln!(text, "[{name}.{key}]");
                let keys = schema["properties"].as_object().into_iter().flatten();
                write_keys(
                    &mut text,
                    &path,
                    keys.map(|(key, schema)| (key.as_str(), schema)).collect(),
                );
            } else {
                let note = format!("{}=[{{ … }}, …]; none by default", twin(&path));
                let _ = writeln!(text, "{:<TWIN_COLUMN$} # {note}", format!("#[[{name}.{key}]]"));
                write_item(&mut text, &schema["items"]);
            }
        }
    }
    text
}

fn write_keys(text: &mut String, path: &[&str], keys: Vec<(&str, &Value)>) {
    for (key, schema) in keys {
        explain(text, description(schema));
        let mut whole = path.to_vec();
        whole.push(key);
        let twin = twin(&whole);
        match (&schema["default"], &schema["examples"][0]) {
            (Value::Null, example) => entry(
                text,
                key,
                example,
                &format!("{twin}; an example, unset by default"),
            ),
            (default, _) => entry(text, key, default, &twin),
        }
    }
}

/// An example of a table in a list; what has to be there comes first.
fn write_item(text: &mut String, schema: &Value) {
    let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
    let is_required = |key: &str| required.iter().any(|name| name == key);
    let keys = schema["properties"].as_object().into_iter().flatten();
    let (first, rest): (Vec<_>, Vec<_>) = keys.partition(|(key, _)| is_required(key));
    for (keys, note) in [(first, "required"), (rest, "optional")] {
        for (key, schema) in keys {
            explain(text, description(schema));
            entry(text, key, &schema["examples"][0], note);
        }
    }
}

/// `#key = value    # note`
fn entry(text: &mut String, key: &str, value: &Value, note: &str) {
    let line = format!("#{key} = {}", toml_value(value));
    let _ = writeln!(text, "{line:<TWIN_COLUMN$} # {note}");
}

/// A comment, folded.
fn explain(text: &mut String, words: &str) {
    for paragraph in words.split("\n\n") {
        let mut line = String::from("#");
        for word in paragraph.split_whitespace() {
            if line.len() + 1 + word.len() > WIDTH {
                let _ = writeln!(text, "{line}");
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        let _ = writeln!(text, "{line}");
    }
}

fn toml_value(value: &Value) -> String {
    toml::Value::try_from(value).map_or_else(|_| value.to_string(), |value| value.to_string())
}

fn twin(path: &[&str]) -> String {
    format!("IPLOOP_{}", path.join("__").to_uppercase())
}

fn description(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

fn is_table(schema: &Value) -> bool {
    schema["properties"].is_object()
}

fn is_list_of_tables(schema: &Value) -> bool {
    is_table(&schema["items"])
}

fn section<T: JsonSchema + DeserializeOwned>(name: &'static str) -> Section {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings
        .with_transform(schemars::transform::RecursiveTransform(for_toml))
        .into_generator()
        .into_root_schema_for::<T>();
    schema.remove("title");
    Section {
        name,
        schema,
        keys: keys::<T>(),
    }
}

/// TOML has no null: what is optional is left out. And a line's end in our source is none in an explanation.
fn for_toml(schema: &mut Schema) {
    match schema.get_mut("default") {
        Some(Value::Null) => {
            schema.remove("default");
        }
        Some(Value::Object(table)) => table.retain(|_, value| !value.is_null()),
        _ => {}
    }
    if let Some(Value::String(words)) = schema.get_mut("description") {
        let paragraphs: Vec<String> = words
            .split("\n\n")
            .map(|lines| lines.replace('\n', " "))
            .collect();
        *words = paragraphs.join("\n\n");
    }
    let Some(Value::Array(types)) = schema.get_mut("type") else {
        return;
    };
    types.retain(|name| name != "null");
    if let [only] = types.as_slice() {
        let only = only.clone();
        schema.insert("type".to_owned(), only);
    }
}

/// The keys of a section in the order of its struct: what serde asks a reader for.
fn keys<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Asked<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Asked<'_> {
        type Error = NoValue;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, NoValue> {
            *self.0 = fields;
            Err(NoValue::custom("only asked"))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NoValue> {
            Err(NoValue::custom("no section"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut keys: &'static [&'static str] = &[];
    // There is nothing to read: the question alone was of interest.
    let _ = T::deserialize(Asked(&mut keys));
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY_OUT: &str = "run: cargo xtask config";

    #[test]
    fn the_pages_in_the_documentation_are_those_of_the_code() {
        let page = include_str!("../../../docs/configuration/iploop.toml");
        assert!(
            page == sample(),
            "docs/configuration/iploop.toml is stale; {WAY_OUT}"
        );
        let page: Value =
            serde_json::from_str(include_str!("../../../docs/configuration/schema.json")).unwrap();
        assert!(
            page == schema(),
            "docs/configuration/schema.json is stale; {WAY_OUT}"
        );
    }

    #[test]
    fn the_sample_is_sound_as_it_stands_and_with_every_key_set() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("iploop.toml");
        let sample = sample();
        std::fs::write(&file, &sample).unwrap();
        Config::load(Some(&file), [], None).unwrap();

        let is_key = |line: &str| line.starts_with(|first: char| first.is_ascii_lowercase() || first == '[');
        let set: Vec<&str> = sample
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| is_key(rest)).unwrap_or(line))
            .collect();
        std::fs::write(&file, set.join("\n")).unwrap();
        let config = Config::load(Some(&file), [], None).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert_eq!(
            config.gateway.idle_timeout,
            super::super::GatewayConfig::default().idle_timeout
        );
        assert_eq!(config.geo.overrides.len(), 1);
        assert_eq!(config.hub.min_sdk_version.as_deref(), Some("1.4.0"));
    }

    #[test]
    fn every_key_has_an_explanation_a_value_and_its_twin() {
        for line in sample().lines() {
            let Some((key, _)) = line.split_once(" = ") else {
                continue;
            };
            assert!(
                !line.contains("= null"),
                "{key} has neither a default nor an example"
            );
            let is_item = line.ends_with(" # optional") || line.ends_with(" # required");
            assert!(is_item || line.contains(" # IPLOOP_"), "{line}");
        }
        for section in sections() {
            let schema = section.schema.to_value();
            assert_eq!(
                schema["properties"].as_object().map(Map::len),
                Some(section.keys.len()),
                "{}",
                section.name
            );
            for key in section.keys {
                assert!(
                    !description(&schema["properties"][key]).is_empty(),
                    "{}.{key}",
                    section.name
                );
            }
            assert!(!sample().contains("]("), "no links into the code");
        }
    }
}
