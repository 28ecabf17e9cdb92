//! Orders of persons about what stands in quarantine.
use super::super::act::Act;
use super::super::scenario::Order::{HubFirst, Local};
use super::super::scenario::{EDGE, HUB, Person, Scenario, scenario};
use crate::sim::history::Method::{Delete, Post, Put};
use crate::sim::upstream::Mood::{HangUpAfter, HangUpBefore};

pub fn all() -> Vec<Scenario> {
    vec![
        scenario("operator", "a person has it sent again", 2, Local)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(HangUpBefore))
            .write(1, 20, EDGE, Post)
            .person(Person::Careful, &[500, 900]),
        scenario("operator-applied", "a person says that it was applied", 2, HubFirst)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(HangUpAfter))
            .write(1, 20, EDGE, Put)
            .person(Person::Careful, &[500, 900]),
        scenario("operator-discards", "a person discards what nobody was promised", 2, Local)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(HangUpBefore))
            .write(1, 20, EDGE, Put)
            .person(Person::Discards, &[500, 900]),
        scenario("operator-discards-hub", "which the hub was asked to decide", 2, HubFirst)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(HangUpBefore))
            .write(1, 20, EDGE, Put)
            .person(Person::Discards, &[500, 900]),
        scenario("operator-bundles", "one order about many", 2, Local)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(HangUpBefore))
            .write_as(1, 2, EDGE, Post, |deed| (deed.lane, deed.mood) = (2, Some(HangUpBefore)))
            .write_as(2, 4, EDGE, Post, |deed| (deed.lane, deed.mood) = (3, Some(HangUpAfter)))
            .person(Person::Bundles, &[500, 900]),
        scenario("operator-contrary", "two persons order contrary things", 2, Local)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(HangUpBefore))
            .person(Person::HasARival, &[500]),
        scenario("operator-contrary-applied", "about one that was applied", 2, Local)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(HangUpAfter))
            .person(Person::HasARival, &[500, 1_100]),
        scenario("operator-contrary-follower", "about what a follower has", 2, Local)
            .write(0, 0, EDGE, Post)
            .write(0, 0, EDGE, Put)
            .person(Person::HasARival, &[700, 1_200]),
        scenario("operator-at-origin", "an order where it was taken, not where it is unknown", 2, HubFirst)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(HangUpBefore))
            .write_as(1, 20, EDGE, Post, |deed| deed.lane = 2)
            .script(500, Act::Order { site: EDGE, operation: holdfast::service::Operation::Resend })
            .person(Person::Careful, &[900]),
        scenario("operator-in-cut", "an order at each side of a cut", 2, HubFirst)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(HangUpAfter))
            .cut(300, HUB, EDGE, 500)
            .write(1, 350, EDGE, Put)
            .person(Person::Careful, &[500, 1_200]),
        scenario("unknown-late-put", "the service is gone for a moment", 2, Local)
            .script(0, Act::Down { site: EDGE, ms: 1 })
            .write_as(0, 0, EDGE, Delete, |deed| deed.mood = Some(HangUpBefore))
            .write(1, 20, EDGE, Put)
            .person(Person::Careful, &[500, 900]),
    ]
}
