//! What is wrong with a configuration, and how it is shown.
use std::fmt;

/// One problem: where it stands, what is wrong, what would be right.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    pub file: String,
    /// From 1; 0 where a key is missing as a whole or where there is no file.
    pub line: usize,
    pub key: String,
    pub wrong: String,
    pub right: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}; {}", self.wrong, self.right)
    }
}

/// A configuration that is refused, with all of its problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        let n = self.faults.len();
        write!(f, "{n} problem{} in the configuration", if n == 1 { "" } else { "s" })
    }
}

impl std::error::Error for ConfigError {}

/// Collects faults while a file is read; knows the lines of the file.
pub(super) struct Report {
    file: String,
    line_starts: Vec<usize>,
    pub faults: Vec<Fault>,
    pub warnings: Vec<Fault>,
}

impl Report {
    pub fn new(file: &str, text: &str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.to_owned(), line_starts, faults: Vec::new(), warnings: Vec::new() }
    }

    /// `at` is an offset into the file; `None` where nothing stands in the file.
    pub fn fault(&mut self, at: Option<usize>, key: &str, wrong: impl Into<String>, right: impl Into<String>) {
        let fault = self.entry(at, key, wrong.into(), right.into());
        self.faults.push(fault);
    }

    pub fn warn(&mut self, at: Option<usize>, key: &str, wrong: impl Into<String>, right: impl Into<String>) {
        let fault = self.entry(at, key, wrong.into(), right.into());
        self.warnings.push(fault);
    }

    fn entry(&self, at: Option<usize>, key: &str, wrong: String, right: String) -> Fault {
        let line = at.map_or(0, |at| self.line_starts.partition_point(|&start| start <= at));
        Fault { file: self.file.clone(), line, key: key.to_owned(), wrong, right }
    }

    /// In the order in which a person reads the file.
    pub fn sorted(mut self) -> (Vec<Fault>, Vec<Fault>) {
        self.faults.sort_by_key(|fault| fault.line);
        self.faults.dedup();
        self.warnings.sort_by_key(|fault| fault.line);
        (self.faults, self.warnings)
    }
}
