//! Stores that are put back to an older copy of themselves, and records that break.
use super::super::act::Act;
use super::super::scenario::Order::{HubFirst, Local, LocalThenHub};
use super::super::scenario::{EDGE, HUB, Person, Scenario, scenario};
use crate::sim::history::Method::{Post, Put};

pub fn all() -> Vec<Scenario> {
    let mend = |name, about, order| {
        scenario(name, about, 2, order)
            .set(|s| (s.limits.page_items, s.limits.window_items) = (2, 2))
            .write(0, 0, EDGE, Post)
            .write(0, 0, EDGE, Put)
            .write_as(1, 3, EDGE, Post, |deed| deed.lane = 2)
    };
    vec![
        scenario("restore", "copies of stores are put back", 2, LocalThenHub)
            .write(0, 0, EDGE, Post)
            .write(0, 0, EDGE, Post)
            .write(0, 0, EDGE, Post)
            .with(|s| s.restores = true),
        (0..28)
            .fold(scenario("restore-long", "after so many writes that it shows", 2, LocalThenHub), |s, n| {
                s.write(0, n * 45, if n % 8 == 7 { HUB } else { EDGE }, Post)
            })
            .with(|s| s.restores = true)
            .lasts(1_700),
        mend("mend-follower", "records break where they are followed", Local)
            .script(45, Act::Break { site: HUB, draw: 1 })
            .write(2, 60, EDGE, Put),
        mend("mend-origin", "records break where they were taken", Local)
            .script(60, Act::Break { site: EDGE, draw: 2 })
            .write(2, 120, EDGE, Put),
        mend("mend-decider", "records break at the hub that decided them", HubFirst)
            .script(70, Act::Break { site: HUB, draw: 1 })
            .write(2, 120, EDGE, Put),
        mend("mend-in-cut", "and nobody can be asked for them yet", Local)
            .script(60, Act::Break { site: HUB, draw: 1 })
            .cut(61, HUB, EDGE, 400)
            .write(2, 120, HUB, Put)
            .person(Person::Careful, &[300]),
    ]
}
