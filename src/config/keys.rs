//! The form of the table of keys.

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    /// `A name`: letters, digits, `-`, `_`; or a placeholder in braces.
    Name,
    Bool,
    Int {
        min: u64,
        max: u64,
    },
    /// A part of a whole: 0.0 to 1.0.
    Share,
    /// Milliseconds between these.
    Duration {
        min: u64,
        max: u64,
    },
    /// Bytes between these.
    Size {
        min: u64,
        max: u64,
    },
    /// An IP address and port to listen at.
    Listen,
    OneOf {
        valid: &'static [&'static str],
        /// Named by the design, not built yet.
        later: &'static [&'static str],
    },
    /// One of these texts, or a table.
    OneOfOrTable {
        valid: &'static [&'static str],
        /// Values of earlier versions, with what to write now.
        gone: &'static [(&'static str, &'static str)],
        table: &'static Section,
        /// How the table looks.
        example: &'static str,
    },
    List(&'static Kind),
    /// A list, or one element of it.
    OneOrMany(&'static Kind),
    Table(&'static Section),
    Tables(&'static Section),
}

pub(super) const ANY_MS: Kind = Kind::Duration { min: 1, max: 10 * 365 * 86_400_000 };

/// One key. `default` is a TOML value; `None` means that the key may be absent and that absence means something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub presence: Presence,
    pub doc: &'static str,
    pub since: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Required,
    Optional,
    Default(&'static str),
}

#[derive(Debug)]
pub(super) struct Section {
    pub doc: &'static str,
    pub keys: &'static [Key],
    /// Keys that the design names and this version does not support: refused as such, never accepted in silence.
    pub later: &'static [&'static str],
}

impl Section {
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The valid key that is most likely meant.
    pub fn nearest(&self, name: &str) -> Option<&'static str> {
        nearest(name, self.keys.iter().map(|key| key.name))
    }
}

impl Key {
    pub const fn must(name: &'static str, kind: Kind, doc: &'static str) -> Key {
        Key { name, kind, presence: Presence::Required, doc, since: "0.1" }
    }
    pub const fn may(name: &'static str, kind: Kind, doc: &'static str) -> Key {
        Key { name, kind, presence: Presence::Optional, doc, since: "0.1" }
    }
    pub const fn or(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
        Key { name, kind, presence: Presence::Default(default), doc, since: "0.1" }
    }
}

impl Kind {
    /// For a person: what would be right here.
    pub fn expected(&self) -> String {
        use super::units::{show_bytes, show_ms};
        match self {
            Kind::Text => "a text in quotes".to_owned(),
            Kind::Name => "a name of letters, digits, '-' and '_' in quotes".to_owned(),
            Kind::Bool => "true or false".to_owned(),
            Kind::Int { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Share => "a number from 0.0 to 1.0".to_owned(),
            Kind::Duration { min, max } => {
                format!("a duration from \"{}\" to \"{}\" (units ms, s, m, h, d)", show_ms(*min), show_ms(*max))
            }
            Kind::Size { min, max } => {
                format!("a size from \"{}\" to \"{}\" (units B, KiB, MiB, GiB)", show_bytes(*min), show_bytes(*max))
            }
            Kind::Listen => "an address and port, for example \"0.0.0.0:8080\" or \"[::]:8080\"".to_owned(),
            Kind::OneOf { valid, .. } => {
                let quoted: Vec<_> = valid.iter().map(|v| format!("\"{v}\"")).collect();
                quoted.join(" or ")
            }
            Kind::OneOfOrTable { valid, example, .. } => {
                let quoted: Vec<_> = valid.iter().map(|v| format!("\"{v}\"")).collect();
                format!("{} or {example}", quoted.join(" or "))
            }
            Kind::List(kind) => format!("a list in [ ], each {}", kind.expected()),
            Kind::OneOrMany(kind) => format!("{}, or a list of such", kind.expected()),
            Kind::Table(_) => "a table: { … } or [ … ]".to_owned(),
            Kind::Tables(_) => "a list of tables: [{ … }] or [[ … ]]".to_owned(),
        }
    }
}

pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates.map(|c| (edits(name, c), c)).filter(|(d, c)| *d <= 1 + c.len() / 3).min().map(|(_, c)| c)
}

/// Levenshtein distance; a neighbouring swap counts two, which is near enough for a hint.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
