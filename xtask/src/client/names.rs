//! Names and comments in Rust's form.

/// `apiKeyId` or `usage.threshold` as `api_key_id` or `usage_threshold`.
pub(super) fn snake(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
        out.push(match letter {
            letter if letter.is_ascii_alphanumeric() => letter.to_ascii_lowercase(),
            _ => '_',
        });
    }
    out
}

/// `list_keys` or `usage.threshold` as `ListKeys` or `UsageThreshold`.
pub(super) fn pascal(name: &str) -> String {
    let snake = snake(name);
    let parts = snake.split('_').filter(|part| !part.is_empty());
    parts
        .map(|part| part[..1].to_ascii_uppercase() + &part[1..])
        .collect()
}

/// As serde makes it of a field's name under `rename_all = "camelCase"`.
pub(super) fn camel(snake: &str) -> String {
    let pascal: String = snake
        .split('_')
        .map(|part| {
            part.get(..1).unwrap_or_default().to_ascii_uppercase() + part.get(1..).unwrap_or_default()
        })
        .collect();
    pascal.get(..1).unwrap_or_default().to_ascii_lowercase() + pascal.get(1..).unwrap_or_default()
}

/// A name that may be one of the language's words.
pub(super) fn ident(name: &str) -> String {
    match name {
        "type" | "in" | "match" | "move" | "ref" | "use" | "where" | "for" | "as" => format!("r#{name}"),
        name => name.to_owned(),
    }
}

/// Doc comments of these paragraphs; `fallback` where there are none.
pub(super) fn docs(paragraphs: &[&str], fallback: &str) -> String {
    let text = paragraphs
        .iter()
        .map(|one| one.trim())
        .filter(|one| !one.is_empty());
    let text = text.collect::<Vec<_>>().join("\n\n");
    let text = if text.is_empty() { fallback } else { &text };
    text.lines()
        .map(|line| match line.trim_end() {
            "" => "///\n".to_owned(),
            line => format!("/// {line}\n"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_turned_and_turned_back() {
        for (json, snake_case, pascal_case) in [
            ("apiKeyId", "api_key_id", "ApiKeyId"),
            ("usage.threshold", "usage_threshold", "UsageThreshold"),
            ("type", "type", "Type"),
            ("list_keys", "list_keys", "ListKeys"),
        ] {
            assert_eq!(
                (snake(json).as_str(), pascal(json).as_str()),
                (snake_case, pascal_case)
            );
        }
        assert_eq!(camel("api_key_id"), "apiKeyId");
        assert_eq!(camel("id"), "id");
        assert_eq!(ident("type"), "r#type");
    }
}
