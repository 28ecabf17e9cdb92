//! Writes of which their decider does not know what became of them.
use super::super::scenario::Order::{HubFirst, Local};
use super::super::scenario::{EDGE, HUB, Person, Scenario, scenario};
use crate::sim::history::Method::{Patch, Post, Put};
use crate::sim::upstream::Mood::{HangUpAfter, HangUpBefore};

pub fn all() -> Vec<Scenario> {
    vec![
        scenario("unknown-not-found", "not applied, and the probe says so", 2, Local)
            .set(|s| s.has_probe = true)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(HangUpBefore))
            .write(1, 20, EDGE, Post),
        scenario("unknown-found", "applied, and the probe says so", 2, Local)
            .set(|s| s.has_probe = true)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(HangUpAfter))
            .write(1, 20, EDGE, Post),
        scenario("unknown-late", "still at work when its time is over", 2, Local)
            .set(|s| s.has_probe = true)
            .write_as(0, 0, EDGE, Post, |deed| deed.slow = true)
            .write(1, 20, EDGE, Post),
        scenario("unknown-silent", "nobody can be asked", 2, Local)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(HangUpAfter))
            .write(1, 20, EDGE, Put),
        scenario("unknown-put", "a PUT, which may be sent again", 2, Local)
            .write_as(0, 0, EDGE, Put, |deed| deed.mood = Some(HangUpAfter))
            .write(1, 20, EDGE, Put),
        scenario("unknown-elsewhere", "at the hub, which was asked to decide", 2, HubFirst)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(HangUpAfter))
            .write(1, 20, EDGE, Post),
        scenario("unknown-two", "two of one lane, one after the other", 2, Local)
            .set(|s| s.has_probe = true)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(HangUpAfter))
            .write_as(1, 20, EDGE, Patch, |deed| deed.mood = Some(HangUpBefore))
            .write(2, 30, EDGE, Put),
        scenario("late-word", "the hub is late with its word, and the edge has decided", 2, HubFirst)
            .write_as(0, 0, EDGE, Post, |deed| deed.slow = true)
            .write(1, 200, EDGE, Put),
        scenario("late-word-put", "of a PUT, with another behind it", 2, HubFirst)
            .write_as(0, 0, EDGE, Put, |deed| deed.slow = true)
            .write(1, 20, EDGE, Put),
        scenario("late-patch", "passed undecided, and decided by a person over a later PUT", 2, Local)
            .write_as(0, 0, EDGE, Patch, |deed| deed.mood = Some(HangUpAfter))
            .write(1, 600, EDGE, Put)
            .person(Person::Careful, &[900])
            .lasts(1_800),
        scenario("late-patch-hub", "the same, decided at the hub", 2, HubFirst)
            .write_as(0, 0, EDGE, Patch, |deed| deed.mood = Some(HangUpAfter))
            .write(1, 700, EDGE, Put)
            .person(Person::Careful, &[1_000])
            .lasts(1_800),
        scenario("late-patch-hub-side", "the same, and the later one is the hub's own", 2, HubFirst)
            .write_as(0, 0, EDGE, Patch, |deed| deed.mood = Some(HangUpBefore))
            .write(1, 700, HUB, Put)
            .person(Person::Careful, &[1_000])
            .lasts(1_800),
    ]
}
