//! Three sites.
use super::super::act::Act;
use super::super::scenario::Order::{EdgeAsks, HubFirst, Local};
use super::super::scenario::{EDGE, EDGE_2, HUB, Person, Scenario, scenario};
use crate::sim::history::Method::{Post, Put};
use crate::sim::upstream::{Difference, Mood};

pub fn all() -> Vec<Scenario> {
    vec![
        scenario("three-origin-gone", "the origin is out of reach, and another has its pages", 3, Local)
            .write(0, 0, EDGE, Post)
            .cut(30, EDGE, EDGE_2, 900)
            .cut(40, EDGE, HUB, 900)
            .write(1, 100, EDGE_2, Post)
            .never_linked(EDGE, EDGE_2),
        scenario("three-hub", "two edges, decided at the hub", 3, HubFirst)
            .write(0, 0, EDGE, Post)
            .write(1, 3, EDGE_2, Post),
        scenario("three-seen", "a client that goes round", 3, Local)
            .write(0, 0, EDGE, Post)
            .write(0, 0, HUB, Put)
            .write(0, 0, EDGE_2, Put)
            .seen()
            .never_linked(EDGE, EDGE_2),
        scenario("three-hub-cut", "one edge loses the hub", 3, HubFirst)
            .cut(14, HUB, EDGE, 700)
            .write(0, 0, EDGE, Post)
            .write(1, 30, EDGE_2, Post),
        scenario("three-unknown", "the hub does not know, and one edge is cut off", 3, HubFirst)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(Mood::HangUpAfter))
            .cut(100, HUB, EDGE, 400)
            .write(1, 30, EDGE_2, Put)
            .person(Person::Careful, &[700, 1_100]),
        scenario("three-retry", "a client asks at all three", 3, Local).write_as(0, 0, HUB, Post, |deed| {
            (deed.retry, deed.insists) = (vec![(EDGE, 3), (EDGE_2, 5)], true);
        }),
        scenario("three-differs", "one follower refuses, the other does not", 3, Local)
            .write_as(0, 0, EDGE, Post, |deed| deed.differs = Some((EDGE_2, Difference::Lasting(404))))
            .write(0, 0, EDGE, Put)
            .write_as(1, 30, EDGE_2, Post, |deed| deed.lane = 2),
        scenario("three-another-client", "two clients with one key at two edges of a cut", 3, HubFirst)
            .cut(0, HUB, EDGE, 300)
            .write(0, 5, EDGE, Post)
            .write_as(1, 20, EDGE_2, Post, |deed| deed.borrows = Some(10)),
        scenario("ahead", "decided at the hub, whose word is lost with the line; a third site follows", 3, EdgeAsks)
            .cut(14, HUB, EDGE, 700)
            .write(0, 0, EDGE, Post)
            .write_as(1, 30, HUB, Post, |deed| deed.lane = 2)
            .write_as(2, 90, EDGE_2, Post, |deed| deed.lane = 3),
        scenario("ahead-down", "the same, and the own service is down", 3, EdgeAsks)
            .cut(14, HUB, EDGE, 490)
            .script(14, Act::Down { site: EDGE, ms: 700 })
            .write(0, 0, EDGE, Post)
            .write_as(1, 30, HUB, Post, |deed| deed.lane = 2)
            .write_as(2, 420, EDGE_2, Post, |deed| deed.lane = 3)
            .write_as(3, 450, HUB, Post, |deed| deed.lane = 4)
            .never_linked(EDGE, EDGE_2),
        scenario("ahead-relink", "the same, and lines come back one by one", 3, EdgeAsks)
            .cut(14, HUB, EDGE, 600)
            .cut(0, EDGE, EDGE_2, 130)
            .script(60, Act::Down { site: EDGE, ms: 90 })
            .write(0, 0, EDGE, Post)
            .write_as(1, 30, HUB, Post, |deed| deed.lane = 2)
            .write_as(2, 120, EDGE_2, Post, |deed| deed.lane = 3)
            .write_as(2, 120, EDGE_2, Post, |deed| deed.lane = 3),
        scenario("ahead-third-first", "the same, and the third site's line comes back first", 3, EdgeAsks)
            .cut(14, HUB, EDGE, 340)
            .cut(0, EDGE, EDGE_2, 200)
            .write(0, 0, EDGE, Post)
            .write_as(1, 30, HUB, Post, |deed| deed.lane = 2)
            .write_as(2, 160, EDGE_2, Post, |deed| deed.lane = 3),
    ]
}
