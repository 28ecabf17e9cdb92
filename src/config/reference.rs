//! `docs/configuration.md` and the JSON schema, generated from the table of keys.
use std::fmt::Write;

use serde_json::{Value, json};

use super::keys::{Key, Kind, Presence, Section};
use super::table::ROOT;

const INTRODUCTION: &str = "# Configuration

<!-- Generated from the table of keys in `src/config/table.rs`; written anew by
     `UPDATE_DOCS=1 cargo test --lib config::`. -->

One TOML file, named with `--config`. Every key that is not listed here is refused, as is every combination that cannot
work; `holdfast check --config FILE` shows all problems at once, each with its line, and `holdfast check --schema`
prints this page as a JSON schema for editors. Two complete files: [edge](examples/edge.toml),
[cloud](examples/cloud.toml).

- Durations are texts with a unit: `\"800ms\"`, `\"5s\"`, `\"2m\"`, `\"24h\"`, `\"7d\"`. Sizes too: `\"64KiB\"`,
  `\"8MiB\"`.
- `${NAME}` in a text is replaced by the environment's value; an unset name is a problem. `$${` stands for `${`.
- Paths are relative to the folder of the file.
- \"-\" under default: absent means what the last column says.
";

/// The reference page.
pub fn markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    section(&mut out, "", &ROOT, false);
    out
}

fn section(out: &mut String, path: &str, section_: &Section, many: bool) {
    let title = match (path, many) {
        ("", _) => "Top level".to_owned(),
        (path, true) if !path.contains('.') => format!("`[[{path}]]`"),
        (path, _) if !path.contains('.') => format!("`[{path}]`"),
        (path, _) => format!("`{path}`"),
    };
    writeln!(out, "\n## {title}\n\n{}\n", section_.doc).expect("a String takes everything");
    out.push_str("| key | value | default | since | meaning |\n|---|---|---|---|---|\n");
    for key in section_.keys {
        out.push_str(&row(key));
    }
    if !section_.later.is_empty() {
        let names: Vec<_> = section_.later.iter().map(|name| format!("`{name}`")).collect();
        let refused = format!("Refused as not supported in this version: {}.", names.join(", "));
        writeln!(out, "\n{}", wrapped(&refused)).expect("a String takes everything");
    }
    for key in section_.keys {
        let child = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        match key.kind {
            Kind::Table(inner) | Kind::OneOfOrTable { table: inner, .. } => section(out, &child, inner, false),
            Kind::Tables(inner) => section(out, &child, inner, true),
            _ => {}
        }
    }
}

/// In lines as long as those of the other pages.
fn wrapped(text: &str) -> String {
    const COLUMNS: usize = 120;
    let (mut out, mut column) = (String::new(), 0);
    for word in text.split(' ') {
        if column > 0 && column + 1 + word.len() > COLUMNS {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.len();
    }
    out
}

fn row(key: &Key) -> String {
    let default = match key.presence {
        Presence::Required => "required".to_owned(),
        Presence::Optional => "-".to_owned(),
        Presence::Default(default) => format!("`{default}`"),
    };
    let later = match key.kind {
        Kind::OneOf { later, .. } if !later.is_empty() => {
            format!(" Not supported in this version: {}.", later.join(", "))
        }
        _ => String::new(),
    };
    let value = key.kind.expected().replace('|', "\\|");
    format!("| `{}` | {value} | {default} | {} | {}{later} |\n", key.name, key.since, key.doc)
}

/// JSON schema (2020-12) of a configuration file.
pub fn json_schema() -> Value {
    let mut schema = object(&ROOT);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Holdfast configuration");
    schema
}

fn object(section: &Section) -> Value {
    let property = |key: &Key| {
        let mut schema = of_kind(&key.kind);
        schema["description"] = json!(key.doc);
        if let Presence::Default(default) = key.presence {
            schema["default"] = literal(default);
        }
        (key.name.to_owned(), schema)
    };
    let required: Vec<_> =
        section.keys.iter().filter(|key| key.presence == Presence::Required).map(|key| key.name).collect();
    json!({
        "type": "object",
        "description": section.doc,
        "additionalProperties": false,
        "required": required,
        "properties": section.keys.iter().map(property).collect::<serde_json::Map<_, _>>(),
    })
}

fn of_kind(kind: &Kind) -> Value {
    match kind {
        Kind::Text | Kind::Listen => json!({ "type": "string", "minLength": 1 }),
        Kind::Name => {
            json!({ "type": "string", "pattern": r"^(\{[A-Za-z0-9_-]+\}|[A-Za-z0-9_-]{1,64}|.*\$\{.+\}.*)$" })
        }
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Share => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Kind::Duration { .. } => json!({ "type": "string", "pattern": r"^([0-9]+ *(ms|s|m|h|d)|.*\$\{.+\}.*)$" }),
        Kind::Size { .. } => json!({ "type": "string", "pattern": r"^([0-9]+ *([KMG]i?)?B|.*\$\{.+\}.*)$" }),
        Kind::OneOf { valid, .. } => json!({ "enum": valid }),
        Kind::List(kind) => json!({ "type": "array", "items": of_kind(kind) }),
        Kind::OneOrMany(kind) => json!({ "oneOf": [of_kind(kind), { "type": "array", "items": of_kind(kind) }] }),
        Kind::OneOfOrTable { valid, table, .. } => json!({ "oneOf": [{ "enum": valid }, object(table)] }),
        Kind::Table(section) => object(section),
        Kind::Tables(section) => json!({ "type": "array", "items": object(section) }),
    }
}

/// A scalar of the table of keys as JSON: texts in quotes, numbers and booleans are written the same way in both.
fn literal(default: &str) -> Value {
    serde_json::from_str(default).expect("defaults are scalars: a test reads them all")
}
