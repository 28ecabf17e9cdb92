//! Where a process spends its CPU time, by the names of its threads: the coarse profile that needs no profiler.
use std::collections::BTreeMap;

use super::process::Cpu;

/// Threads of less than this share are not worth a line.
const SHARE_MIN: f64 = 0.01;

/// Work of threads that share a name.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    pub cpu_s: f64,
    /// How often one of them went to sleep, and so had to be woken.
    pub sleeps: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Threads(BTreeMap<String, Work>);

impl Threads {
    /// All zero for a process that has ended.
    pub fn of_process(pid: u32) -> Self {
        let mut threads = Self::default();
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
            let name = general(read("comm").trim());
            let cpu_s = Cpu::parse(&read("stat")).unwrap_or_default().seconds();
            threads.add(name, Work { cpu_s, sleeps: sleeps(&read("status")) });
        }
        threads
    }

    /// What was done since an earlier look at the same process. Threads that ended in between are missing.
    pub fn since(&self, before: &Threads) -> Self {
        let difference = |(name, now): (&String, &Work)| {
            let then = before.0.get(name).copied().unwrap_or_default();
            let work =
                Work { cpu_s: (now.cpu_s - then.cpu_s).max(0.0), sleeps: now.sleeps.saturating_sub(then.sleeps) };
            (name.clone(), work)
        };
        Self(self.0.iter().map(difference).collect())
    }

    pub fn merge(&mut self, other: &Threads) {
        other.0.iter().for_each(|(name, work)| self.add(name.clone(), *work));
    }

    /// One line per name, the busiest first.
    pub fn lines(&self, requests: f64) -> Vec<String> {
        let total: f64 = self.0.values().map(|work| work.cpu_s).sum();
        let mut busy: Vec<_> = self.0.iter().filter(|(_, work)| work.cpu_s >= total * SHARE_MIN).collect();
        busy.sort_by(|(_, one), (_, other)| other.cpu_s.total_cmp(&one.cpu_s));
        let line = |(name, work): (&String, &Work)| {
            let (micros, sleeps) = (work.cpu_s * 1e6 / requests, work.sleeps as f64 / requests);
            format!("{name:<18} {micros:>6.1} us CPU and {sleeps:.2} sleeps per request")
        };
        busy.into_iter().map(line).collect()
    }

    fn add(&mut self, name: String, work: Work) {
        let sum = self.0.entry(name).or_default();
        sum.cpu_s += work.cpu_s;
        sum.sleeps += work.sleeps;
    }
}

/// `worker-3` and `worker-11` are both `worker`.
fn general(name: &str) -> String {
    name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '-' | ':' | '_')).to_owned()
}

fn sleeps(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_numbers() {
        for (name, expected) in
            [("worker-3", "worker"), ("rx-0", "rx"), ("envoy", "envoy"), ("wrk:worker_0", "wrk:worker")]
        {
            assert_eq!(general(name), expected);
        }
        assert_eq!(sleeps("x: 1\nvoluntary_ctxt_switches:\t42\nnonvoluntary_ctxt_switches:\t7\n"), 42);
        assert_eq!(sleeps(""), 0);
    }

    #[test]
    fn the_difference_of_two_looks_is_told_busiest_first() {
        let look = |threads: &[(&str, f64, u64)]| {
            let mut look = Threads::default();
            threads.iter().for_each(|(name, cpu_s, sleeps)| {
                look.add((*name).to_owned(), Work { cpu_s: *cpu_s, sleeps: *sleeps })
            });
            look
        };
        let before = look(&[("a", 1.0, 10), ("b", 0.0, 0)]);
        let after = look(&[("a", 1.5, 20), ("b", 2.0, 5), ("idle", 0.0, 1)]);
        let lines = after.since(&before).lines(1_000.0);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with('b') && lines[0].contains("2000.0 us"), "{lines:?}");
        assert!(lines[1].starts_with('a') && lines[1].contains("0.01 sleeps"), "{lines:?}");
        assert!(!Threads::of_process(std::process::id()).0.is_empty());
    }
}
