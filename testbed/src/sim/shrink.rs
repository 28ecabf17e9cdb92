//! Makes a failing plan smaller while it still fails in the same way: the end earlier, sites, small faults, faults,
//! clients and writes away, each by halves.
use super::history::Name;
use super::keep::Keep;
use super::plan::{CLIENTS_MAX, client_of};

/// Runs that one shrinking may cost.
pub const RUNS_MAX: usize = 300;

/// What a failing run was made of.
pub struct Parts {
    pub sites: usize,
    pub end_ms: u64,
    pub small_faults: Vec<String>,
    pub faults: Vec<u64>,
    pub writes: Vec<Name>,
}

struct Shrinker<'a> {
    best: Keep,
    runs: usize,
    fails: &'a mut dyn FnMut(&Keep) -> bool,
}

impl Shrinker<'_> {
    /// Takes it when it still fails.
    fn attempt(&mut self, keep: Keep) -> bool {
        if self.runs >= RUNS_MAX || keep == self.best {
            return false;
        }
        self.runs += 1;
        let still = (self.fails)(&keep);
        if still {
            self.best = keep;
        }
        still
    }

    /// Removes halves, then quarters, down to single ones; returns what is left.
    fn thin<T: Clone>(&mut self, mut left: Vec<T>, with: impl Fn(&Keep, &[T]) -> Keep) -> Vec<T> {
        let mut size = left.len();
        while size > 0 {
            let mut at = 0;
            while at < left.len() {
                let until = (at + size).min(left.len());
                let rest: Vec<T> = left[..at].iter().chain(&left[until..]).cloned().collect();
                let keep = with(&self.best, &rest);
                if self.attempt(keep) {
                    left = rest;
                } else {
                    at = until;
                }
                if self.runs >= RUNS_MAX {
                    return left;
                }
            }
            size /= 2;
        }
        left
    }
}

/// The smallest plan found, and how many runs it took.
pub fn shrink(parts: Parts, fails: &mut dyn FnMut(&Keep) -> bool) -> (Keep, usize) {
    let mut shrinker = Shrinker { best: Keep { end_ms: Some(parts.end_ms), ..Keep::default() }, runs: 0, fails };
    let Parts { sites, mut end_ms, small_faults, faults, writes } = parts;
    for share in [1, 2, 4, 6, 7] {
        let earlier = end_ms * share / 8;
        if shrinker.attempt(Keep { end_ms: Some(earlier), ..shrinker.best.clone() }) {
            end_ms = earlier;
            break;
        }
    }
    for fewer in 2..sites {
        if shrinker.attempt(Keep { sites: Some(fewer), ..shrinker.best.clone() }) {
            break;
        }
    }
    let all_small = small_faults.clone();
    shrinker.thin(small_faults, |best, left| {
        let without = all_small.iter().filter(|name| !left.contains(name)).cloned().collect();
        Keep { without, ..best.clone() }
    });
    shrinker.thin(faults, |best, left| Keep { faults: Some(left.iter().copied().collect()), ..best.clone() });
    let clients: Vec<Name> = (0..CLIENTS_MAX).collect();
    let with_writes = |best: &Keep, left: &[Name]| {
        let mut keep = best.clone();
        keep.only_writes(left, &writes);
        keep
    };
    let clients = shrinker.thin(clients, |best, left| {
        let left: Vec<Name> = writes.iter().copied().filter(|name| left.contains(&client_of(*name))).collect();
        with_writes(best, &left)
    });
    let of_clients = writes.iter().copied().filter(|name| clients.contains(&client_of(*name))).collect();
    shrinker.thin(of_clients, with_writes);
    // With so much gone, less time may do.
    shrinker.attempt(Keep { end_ms: Some(end_ms / 2), ..shrinker.best.clone() });
    (shrinker.best, shrinker.runs)
}

/// A violation without its numbers: two runs fail in the same way when they say the same.
pub fn kind(guarantee: &str, what: &str) -> String {
    let rule = what.split(':').next().unwrap_or_default();
    let words: String = rule.chars().filter(|c| !c.is_ascii_digit()).collect();
    format!("{guarantee} {words}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_the_failure_needs_is_left() {
        let writes: Vec<Name> = (1..=40).flat_map(|n| [n * 10, n * 10 + 1, n * 10 + 2]).collect();
        let small_faults = vec!["loss".to_owned(), "late".to_owned(), "repeat".to_owned()];
        let parts = Parts { sites: 4, end_ms: 30_000, small_faults, faults: (0..60).collect(), writes };
        let mut fails = |keep: &Keep| {
            let time = keep.end_ms.is_none_or(|end| end >= 9_000) && keep.sites.is_none_or(|sites| sites >= 3);
            let faults = keep.has_fault(17) && keep.has_fault(41) && !keep.without.contains("late");
            time && faults && keep.has_write(111) && keep.has_write(201)
        };
        let (keep, runs) = shrink(parts, &mut fails);
        assert!(runs <= RUNS_MAX, "{runs}");
        assert_eq!(keep.faults, Some(BTreeSet::from([17, 41])));
        assert_eq!(keep.writes, Some(vec![(111, 111), (201, 201)]));
        assert_eq!((keep.sites, keep.end_ms), (Some(3), Some(15_000)));
        assert_eq!(keep.without, BTreeSet::from(["loss".to_owned(), "repeat".to_owned()]));
    }

    #[test]
    fn numbers_do_not_make_another_failure() {
        assert_eq!(kind("G2", "write 7 was applied 2 times"), kind("G2", "write 31 was applied 3 times"));
        assert_ne!(kind("G2", "write 7"), kind("G1", "write 7"));
        assert_eq!(kind("world", "not quiet 1 ms after healing: a"), kind("world", "not quiet 2 ms after healing: b"));
    }
}
