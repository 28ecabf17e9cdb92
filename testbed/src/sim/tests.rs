//! The simulation as a test: seeds pass, a seed is a run, and every planted error is found.
use holdfast::service::{Bug, Core};

use super::enumerate::tests::is_enumerated;
use super::keep::Keep;
use super::plan::Planted;
use super::run::{Options, first_to_find, hash_of, run_seeds};

fn passes(first_seed: u64, seeds: u64, sqlite: bool) {
    let options = Options {
        first_seed,
        seeds,
        sites: None,
        planted: None,
        keep: Keep::default(),
        trace: false,
        keep_going: false,
        sqlite,
    };
    let (stats, failure) = run_seeds(&options, |_| {});
    if let Some(failure) = failure {
        panic!("{failure}");
    }
    assert!(stats.acknowledged > 10 * seeds, "almost nothing was acknowledged: {stats:?}");
}

// Two halves, so that two cores share the work.
#[test]
fn the_first_seeds_keep_every_guarantee() {
    passes(1, 120, false);
}

#[test]
fn the_next_seeds_keep_every_guarantee() {
    passes(121, 120, false);
}

#[test]
fn over_sqlite_on_a_disk_that_loses_power_every_guarantee_is_kept() {
    passes(1, 20, true);
}

#[test]
fn one_seed_is_one_run() {
    for sqlite in [false, true] {
        let hashes = || -> Vec<u64> { (1..=6).map(|seed| hash_of::<Core>(seed, sqlite)).collect() };
        let (first, again) = (hashes(), hashes());
        assert_eq!(first, again);
        assert!(first.windows(2).all(|pair| pair[0] != pair[1]), "seeds differ: {first:?}");
    }
}

/// What no small scenario finds, seeds do. Each must show in what it breaks, not merely in a fleet that never comes to
/// rest.
#[test]
fn every_planted_error_is_found() {
    for (name, planted) in Planted::ALL.into_iter().filter(|(_, planted)| !is_enumerated(*planted)) {
        // They are seldom enough for none among the first hundreds: the search begins shortly before one that finds
        // them.
        let (first, expected): (u64, &[&str]) = match planted {
            Planted::InCore(Bug::NoFence) => (801, &["G2"]),
            Planted::InCore(Bug::RevokedWishKept | Bug::ContraryOrders) => (1, &["G1", "G2", "G5"]),
            Planted::InCore(Bug::GapsWaitedFor) => (1_301, &["G8"]),
            _ => panic!("{name}: say what it breaks, and where to begin"),
        };
        let found = first_to_find(planted, first..=first + 1_999, expected);
        let (seed, what) = found.unwrap_or_else(|| panic!("{name} was not found within 2,000 seeds"));
        println!("{name}: seed {seed}: {what}");
    }
}

/// A failure is shown as small as it gets, and what is printed fails again in the same way.
#[test]
fn a_failing_seed_is_made_smaller_and_fails_again() {
    for name in ["resend-unknown", "no-fence"] {
        let planted = Planted::named(name);
        let options = |first_seed, seeds, keep| Options {
            first_seed,
            seeds,
            planted,
            keep,
            sites: None,
            trace: false,
            sqlite: false,
            keep_going: false,
        };
        let (_, found) = run_seeds(&options(1, 2_000, Keep::default()), |_| {});
        let found = found.unwrap_or_else(|| panic!("{name} was not found"));
        assert!(found.writes < 100, "{name}: a seed has 300 writes, {} are left", found.writes);
        assert!(found.faults.len() < 10, "{name}: a seed has 10 faults, {} are left", found.faults.len());
        let keep: Keep = found.keep.to_string().parse().expect("what is printed can be read");
        let (stats, again) = run_seeds(&options(found.seed, 1, keep), |_| {});
        let again = again.unwrap_or_else(|| panic!("{name}: passes when replayed with --keep {}", found.keep));
        assert_eq!(found.violations, again.violations, "{name}");
        println!("{name}: seed {}, {} writes, {} faults", found.seed, stats.writes, found.faults.len());
    }
}
