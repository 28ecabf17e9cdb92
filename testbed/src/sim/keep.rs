//! Which parts of a plan a run takes: all of them, or what shrinking has left.
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::history::Name;

/// `None` is everything that the seed has drawn. Written and read as `--keep` takes it:
/// `sites=2,end=23000,without=message_loss+hint_late,faults=3+7,writes=12-40+57`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// The first so many sites only.
    pub sites: Option<usize>,
    /// Chaos ends at this moment, milliseconds.
    pub end_ms: Option<u64>,
    /// Small faults that are drawn for each message, answer or effect, and that do not happen.
    pub without: BTreeSet<String>,
    /// By their numbers in the plan.
    pub faults: Option<BTreeSet<u64>>,
    /// Ranges of names of clients' writes, both ends included.
    pub writes: Option<Vec<(u64, u64)>>,
}

impl Keep {
    pub fn has_fault(&self, number: usize) -> bool {
        self.faults.as_ref().is_none_or(|kept| kept.contains(&(number as u64)))
    }

    pub fn has_write(&self, name: Name) -> bool {
        let name = u64::from(name);
        self.writes.as_ref().is_none_or(|ranges| ranges.iter().any(|&(from, to)| (from..=to).contains(&name)))
    }

    /// These of all the writes that there were.
    pub fn only_writes(&mut self, kept: &[Name], all: &[Name]) {
        let kept: BTreeSet<Name> = kept.iter().copied().collect();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let mut open = false;
        for &name in all {
            let is_kept = kept.contains(&name);
            match ranges.last_mut() {
                Some(range) if is_kept && open => range.1 = u64::from(name),
                _ if is_kept => ranges.push((u64::from(name), u64::from(name))),
                _ => {}
            }
            open = is_kept;
        }
        self.writes = Some(ranges);
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.sites.map(|sites| format!("sites={sites}")));
        parts.extend(self.end_ms.map(|end| format!("end={end}")));
        if !self.without.is_empty() {
            parts.push(format!("without={}", self.without.iter().cloned().collect::<Vec<_>>().join("+")));
        }
        let numbers = |faults: &BTreeSet<u64>| faults.iter().map(u64::to_string).collect::<Vec<_>>().join("+");
        parts.extend(self.faults.as_ref().map(|faults| format!("faults={}", numbers(faults))));
        let range = |&(from, to): &(u64, u64)| if from == to { format!("{from}") } else { format!("{from}-{to}") };
        let ranges = |writes: &Vec<(u64, u64)>| writes.iter().map(range).collect::<Vec<_>>().join("+");
        parts.extend(self.writes.as_ref().map(|writes| format!("writes={}", ranges(writes))));
        f.write_str(&parts.join(","))
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut keep = Keep::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, list) = part.split_once('=').ok_or_else(|| format!("`{part}` is not KEY=LIST"))?;
            let words: Vec<&str> = list.split('+').filter(|word| !word.is_empty()).collect();
            match key {
                "sites" => keep.sites = Some(number(list)? as usize),
                "end" => keep.end_ms = Some(number(list)?),
                "without" => keep.without = words.iter().map(|word| (*word).to_owned()).collect(),
                "faults" => keep.faults = Some(words.iter().map(|word| number(word)).collect::<Result<_, _>>()?),
                "writes" => keep.writes = Some(words.iter().map(|word| range(word)).collect::<Result<_, _>>()?),
                _ => return Err(format!("`{key}` is none of sites, end, without, faults, writes")),
            }
        }
        Ok(keep)
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}

fn range(text: &str) -> Result<(u64, u64), String> {
    match text.split_once('-') {
        Some((from, to)) => Ok((number(from)?, number(to)?)),
        None => number(text).map(|name| (name, name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        let mut keep = Keep { sites: Some(2), end_ms: Some(23_000), ..Keep::default() };
        keep.without.extend(["message_loss".to_owned(), "hint_late".to_owned()]);
        keep.faults = Some([3, 7].into());
        keep.only_writes(&[10, 11, 20, 31], &[10, 11, 12, 20, 31, 32]);
        let text = "sites=2,end=23000,without=hint_late+message_loss,faults=3+7,writes=10-11+20-31";
        assert_eq!(keep.to_string(), text);
        assert_eq!(text.parse(), Ok(keep.clone()));
        assert!(keep.has_write(11) && !keep.has_write(12) && keep.has_fault(7) && !keep.has_fault(4));
        assert_eq!("".parse(), Ok(Keep::default()));
        assert_eq!("faults=,writes=".parse::<Keep>().map(|k| (k.has_fault(0), k.has_write(1))), Ok((false, false)));
        assert!("fault=3".parse::<Keep>().is_err_and(|why| why.contains("none of sites")));
        assert!("faults=x".parse::<Keep>().is_err_and(|why| why.contains("not a number")));
    }
}
