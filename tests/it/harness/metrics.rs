//! The metrics page, read as a stranger would.
use std::collections::BTreeMap;

use super::{Appliance, Call};

pub struct Page {
    pub text: String,
    /// Value of each line, by name and labels as they stand there.
    lines: BTreeMap<String, f64>,
    /// Type of each metric.
    pub types: BTreeMap<String, String>,
}

impl Page {
    #[track_caller]
    pub fn of(appliance: &Appliance) -> Self {
        Self::read(Call::get("/metrics").told(appliance.site.admin).expect(200).text())
    }

    fn read(text: String) -> Self {
        let (mut lines, mut types) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines() {
            if let Some(line) = line.strip_prefix("# TYPE ") {
                let (name, kind) = line.split_once(' ').expect("a name and a type");
                types.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').expect("a name and a value");
                lines.insert(name.to_owned(), value.parse().expect("a number"));
            }
        }
        Self { text, lines, types }
    }

    /// Over all values of its labels; of a histogram how often it was written. 0 where it is not there.
    pub fn sum(&self, name: &str) -> f64 {
        self.sum_where(name, "")
    }

    /// Of the lines that say `label` too, such as `class="5xx"`.
    pub fn sum_where(&self, name: &str, label: &str) -> f64 {
        let counted = [name.to_owned(), format!("{name}_count")];
        let of = |line: &str| counted.iter().any(|name| line == name || line.starts_with(&format!("{name}{{")));
        self.lines.iter().filter(|(line, _)| of(line) && line.contains(label)).map(|(_, value)| value).sum()
    }

    pub fn has(&self, name: &str) -> bool {
        self.types.contains_key(name)
    }
}
