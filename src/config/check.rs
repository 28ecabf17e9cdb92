//! Walks a file along the table of keys: reports everything that does not fit, and returns what does.
use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Report;
use super::keys::{Kind, Presence, Section};
use super::units;

/// A checked value with its place in the file; no place for defaults.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub at: Option<usize>,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Bool(bool),
    /// Whole numbers, milliseconds, bytes.
    Number(u64),
    Share(f64),
    List(Vec<Node>),
    Table(Checked),
}

/// A checked table. Keys that were faulty are absent here and have been reported.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub path: String,
    pub at: Option<usize>,
    values: BTreeMap<&'static str, Node>,
    section: &'static Section,
}

pub(super) struct Checker<'a> {
    pub report: &'a mut Report,
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl Checker<'_> {
    pub fn table(&mut self, table: &DeTable<'_>, section: &'static Section, path: &str, at: Option<usize>) -> Checked {
        let mut values = BTreeMap::new();
        let mut faulty = Vec::new();
        for (name, value) in table {
            let here = join(path, name.get_ref());
            let place = Some(name.span().start);
            match section.key(name.get_ref()) {
                Some(key) => match self.value(value, &key.kind, &here) {
                    Some(checked) => drop(values.insert(key.name, Node { at: place, value: checked })),
                    None => faulty.push(key.name),
                },
                None => self.unknown(section, name.get_ref(), &here, place),
            }
        }
        for key in section.keys.iter().filter(|key| !faulty.contains(&key.name) && !table.contains_key(key.name)) {
            if key.presence == Presence::Required {
                let right = format!("add `{} = …`: {}", key.name, key.kind.expected());
                self.report.fault(at, &join(path, key.name), "is missing", right);
            }
        }
        Checked { path: path.to_owned(), at, values, section }
    }

    fn unknown(&mut self, section: &Section, name: &str, path: &str, at: Option<usize>) {
        if section.later.contains(&name) {
            return self.report.fault(at, path, "is not supported in this version", "remove it");
        }
        let right = match section.nearest(name) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                let names: Vec<_> = section.keys.iter().map(|key| key.name).collect();
                format!("valid keys here are {}", names.join(", "))
            }
        };
        self.report.fault(at, path, "is not a known key", right);
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, kind: &Kind, path: &str) -> Option<Value> {
        let at = Some(value.span().start);
        let checked = match (kind, value.get_ref()) {
            (Kind::Table(section) | Kind::OneOfOrTable { table: section, .. }, DeValue::Table(table)) => {
                Value::Table(self.table(table, section, path, at))
            }
            (Kind::Tables(section), DeValue::Array(items)) => {
                let item = |(i, item)| self.named_item(item, section, path, i);
                Value::List(items.iter().enumerate().filter_map(item).collect())
            }
            (Kind::List(kind) | Kind::OneOrMany(kind), DeValue::Array(items)) => {
                let item = |(i, item)| self.item(item, kind, path, i);
                Value::List(items.iter().enumerate().filter_map(item).collect())
            }
            (Kind::OneOrMany(kind), _) => {
                let value = self.value(value, kind, path)?;
                Value::List(vec![Node { at, value }])
            }
            (Kind::Bool, DeValue::Boolean(b)) => Value::Bool(*b),
            (_, DeValue::String(text)) => {
                let text = self.expand(text, path, at)?;
                match scalar(kind, &text) {
                    Ok(value) => value,
                    Err(wrong) => return self.refuse(at, path, wrong, kind),
                }
            }
            (Kind::Int { .. }, DeValue::Integer(number)) if number.radix() == 10 => {
                match whole(kind, number.as_str()) {
                    Some(number) => Value::Number(number),
                    None => return self.refuse(at, path, format!("{} is out of range", number.as_str()), kind),
                }
            }
            (Kind::Share, DeValue::Float(_) | DeValue::Integer(_)) => {
                let text = value.get_ref().as_float().map(|f| f.as_str());
                let text = text.or(value.get_ref().as_integer().map(|i| i.as_str())).unwrap_or_default();
                match text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share)) {
                    Some(share) => Value::Share(share),
                    None => return self.refuse(at, path, format!("{text} is out of range"), kind),
                }
            }
            (_, other) => return self.refuse(at, path, format!("is {}", type_of(other)), kind),
        };
        Some(checked)
    }

    fn item(&mut self, item: &Spanned<DeValue<'_>>, kind: &Kind, path: &str, index: usize) -> Option<Node> {
        let value = self.value(item, kind, &format!("{path}[{index}]"))?;
        Some(Node { at: Some(item.span().start), value })
    }

    /// `service.transactions` says more than `service[0]`.
    fn named_item(
        &mut self,
        item: &Spanned<DeValue<'_>>,
        section: &'static Section,
        path: &str,
        index: usize,
    ) -> Option<Node> {
        let text = |key| item.get_ref().get(key).and_then(|value| value.get_ref().as_str());
        let named = section.key("name").map(|_| "name").or(section.key("site").map(|_| "site")).and_then(text);
        match named.filter(|name| is_name(name)) {
            Some(name) => {
                let value = self.value(item, &Kind::Table(section), &format!("{path}.{name}"))?;
                Some(Node { at: Some(item.span().start), value })
            }
            None => self.item(item, &Kind::Table(section), path, index),
        }
    }

    fn refuse(&mut self, at: Option<usize>, path: &str, wrong: String, kind: &Kind) -> Option<Value> {
        self.report.fault(at, path, wrong, format!("write {}", kind.expected()));
        None
    }

    /// Replaces `${NAME}` by the environment's value; `$${` stands for `${`.
    fn expand(&mut self, text: &str, path: &str, at: Option<usize>) -> Option<String> {
        let (mut out, mut rest) = (String::new(), text);
        while let Some(start) = rest.find("${") {
            if rest[..start].ends_with('$') {
                out.push_str(&rest[..start - 1]);
                out.push_str("${");
                rest = &rest[start + 2..];
                continue;
            }
            out.push_str(&rest[..start]);
            let Some((name, after)) = rest[start + 2..].split_once('}') else {
                self.report.fault(at, path, "has ${ without }", "write ${NAME}, or $${ for the two characters");
                return None;
            };
            match (self.env)(name) {
                Some(value) => out.push_str(&value),
                None => {
                    let wrong = format!("the environment variable {name} is not set");
                    self.report.fault(at, path, wrong, format!("set {name}, or write the value"));
                    return None;
                }
            }
            rest = after;
        }
        out.push_str(rest);
        Some(out)
    }
}

/// A text as the kind wants it; numbers in texts are taken too, because `${ENV}` only works in texts.
fn scalar(kind: &Kind, text: &str) -> Result<Value, String> {
    let quoted = format!("{text:?}");
    match kind {
        Kind::Text if text.is_empty() => Err("is empty".to_owned()),
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Name if is_name(text) => Ok(Value::Text(text.to_owned())),
        Kind::Name => Err(format!("{quoted} is not a name")),
        Kind::Bool => match text {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(format!("{quoted} is neither true nor false")),
        },
        Kind::Int { .. } => whole(kind, text).map(Value::Number).ok_or(format!("{quoted} is not such a number")),
        Kind::Share => {
            let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
            share.map(Value::Share).ok_or(format!("{quoted} is not such a number"))
        }
        Kind::Duration { min, max } => match units::duration_ms(text) {
            Some(ms) if (*min..=*max).contains(&ms) => Ok(Value::Number(ms)),
            Some(_) => Err(format!("{quoted} is out of range")),
            None => Err(format!("{quoted} is not a duration")),
        },
        Kind::Size { min, max } => match units::size_bytes(text) {
            Some(bytes) if (*min..=*max).contains(&bytes) => Ok(Value::Number(bytes)),
            Some(_) => Err(format!("{quoted} is out of range")),
            None => Err(format!("{quoted} is not a size")),
        },
        Kind::Listen => match text.parse::<std::net::SocketAddr>() {
            Ok(_) => Ok(Value::Text(text.to_owned())),
            Err(_) => Err(format!("{quoted} is not an address with a port")),
        },
        Kind::OneOf { valid, .. } if valid.contains(&text) => Ok(Value::Text(text.to_owned())),
        Kind::OneOf { later, .. } if later.contains(&text) => Err(format!("{quoted} is not supported in this version")),
        Kind::OneOf { .. } => Err(format!("{quoted} is not a valid choice")),
        Kind::OneOfOrTable { valid, .. } if valid.contains(&text) => Ok(Value::Text(text.to_owned())),
        Kind::OneOfOrTable { gone, .. } => match gone.iter().find(|(value, _)| *value == text) {
            Some((_, now)) => Err(format!("{quoted} is gone: {now}")),
            None => Err(format!("{quoted} is not a valid choice")),
        },
        Kind::List(_) | Kind::OneOrMany(_) | Kind::Table(_) | Kind::Tables(_) => Err("is a text".to_owned()),
    }
}

fn whole(kind: &Kind, text: &str) -> Option<u64> {
    let number = text.replace('_', "").parse().ok()?;
    match kind {
        Kind::Int { min, max } => (*min..=*max).contains(&number).then_some(number),
        _ => Some(number),
    }
}

fn is_name(text: &str) -> bool {
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
    !inner.is_empty() && inner.len() <= 64 && inner.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl Checked {
    /// A table in which nothing is set.
    pub fn empty(section: &'static Section, path: &str) -> Self {
        Self { path: path.to_owned(), at: None, values: BTreeMap::new(), section }
    }

    pub fn key(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// Where the key stands in the file, else where its table stands.
    pub fn at(&self, name: &str) -> Option<usize> {
        self.values.get(name).and_then(|node| node.at).or(self.at)
    }

    /// Whether the file sets it (rightly).
    pub fn is_set(&self, name: &str) -> bool {
        debug_assert!(self.section.key(name).is_some(), "{name} is not in the table of keys");
        self.values.contains_key(name)
    }

    pub fn set_keys(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.values.keys().copied()
    }

    pub fn text(&self, name: &str) -> Option<String> {
        match self.get(name)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        match self.get(name)?.value {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    /// A number with a default in the table of keys.
    pub fn sure(&self, name: &str) -> u64 {
        self.number(name).expect("the table of keys has a default for it")
    }

    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Node { value: Value::Bool(true), .. }))
    }

    pub fn share(&self, name: &str) -> f64 {
        match self.get(name).map(|node| node.value) {
            Some(Value::Share(share)) => share,
            _ => 0.0,
        }
    }

    pub fn list(&self, name: &str) -> Vec<Node> {
        match self.get(name).map(|node| node.value) {
            Some(Value::List(list)) => list,
            _ => Vec::new(),
        }
    }

    /// The texts of a list with their places.
    pub fn texts(&self, name: &str) -> Vec<(Option<usize>, String)> {
        let text = |node: Node| match node.value {
            Value::Text(text) => Some((node.at, text)),
            _ => None,
        };
        self.list(name).into_iter().filter_map(text).collect()
    }

    pub fn tables(&self, name: &str) -> Vec<Checked> {
        let table = |node: Node| match node.value {
            Value::Table(table) => Some(table),
            _ => None,
        };
        self.list(name).into_iter().filter_map(table).collect()
    }

    /// The table, where one stands in place of a text.
    pub fn table_instead(&self, name: &str) -> Option<Checked> {
        match self.values.get(name) {
            Some(Node { value: Value::Table(table), .. }) => Some(table.clone()),
            _ => None,
        }
    }

    /// The sub-table, or an empty one in which all keys have their defaults.
    pub fn table(&self, name: &str) -> Checked {
        match self.values.get(name) {
            Some(Node { value: Value::Table(table), .. }) => table.clone(),
            _ => match self.section.key(name).map(|key| key.kind) {
                Some(Kind::Table(section)) => Checked::empty(section, &self.key(name)),
                _ => unreachable!("{name} is not a table in the table of keys"),
            },
        }
    }

    fn get(&self, name: &str) -> Option<Node> {
        debug_assert!(self.section.key(name).is_some(), "{name} is not in the table of keys");
        if let Some(node) = self.values.get(name) {
            return Some(node.clone());
        }
        let key = self.section.key(name)?;
        match key.presence {
            Presence::Default(default) => Some(parse_default(default, &key.kind)),
            Presence::Required | Presence::Optional => None,
        }
    }
}

/// Reads the default of the table of keys with the same code as a file.
pub(super) fn parse_default(default: &str, kind: &Kind) -> Node {
    let mut report = Report::new("default", default);
    let value = DeValue::parse(default).expect("defaults are TOML: a test reads them all");
    let mut checker = Checker { report: &mut report, env: &|_| None };
    let value = checker.value(&value, kind, "").expect("defaults are valid: a test reads them all");
    Node { at: None, value }
}

impl Node {
    pub fn status(&self) -> Option<u16> {
        match self.value {
            Value::Number(number) => u16::try_from(number).ok(),
            _ => None,
        }
    }
}
