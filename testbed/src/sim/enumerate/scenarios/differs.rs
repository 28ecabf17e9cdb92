//! Services of followers that differ, and what goes on all the same.
use holdfast::service::OnDivergence;

use super::super::scenario::Order::{HubFirst, Local};
use super::super::scenario::{Deed, EDGE, HUB, Person, Scenario, scenario};
use crate::sim::history::Method::{Post, Put};
use crate::sim::upstream::{Difference, Mood};

pub fn all() -> Vec<Scenario> {
    let refuses = |site| move |deed: &mut Deed| deed.differs = Some((site, Difference::Lasting(404)));
    let hesitates =
        |site, tries| move |deed: &mut Deed| deed.differs = Some((site, Difference::Passing { status: 401, tries }));
    vec![
        scenario("differs", "the follower refuses one, and following goes on", 2, Local)
            .write(0, 0, EDGE, Post)
            .write_as(0, 0, EDGE, Post, refuses(HUB))
            .write(0, 0, EDGE, Post),
        scenario("differs-both", "each refuses one of the other's", 2, Local)
            .write_as(0, 0, EDGE, Post, refuses(HUB))
            .write_as(1, 2, HUB, Post, |deed| (deed.lane, deed.differs) = (2, Some((EDGE, Difference::Lasting(422)))))
            .write(0, 0, EDGE, Put)
            .write_as(1, 30, HUB, Put, |deed| deed.lane = 2),
        scenario("differs-hub", "the asking site refuses what the hub decided", 2, HubFirst)
            .write_as(0, 0, EDGE, Post, refuses(EDGE))
            .write(0, 0, EDGE, Put),
        scenario("differs-value", "the follower makes values of its own", 2, Local)
            .write_as(0, 0, EDGE, Post, |deed| deed.differs = Some((HUB, Difference::Value)))
            .write(0, 0, EDGE, Post),
        scenario("differs-for-a-while", "the follower refuses the first tries", 2, Local)
            .write_as(0, 0, EDGE, Post, hesitates(HUB, 2))
            .write_as(1, 4, EDGE, Post, |deed| deed.lane = 2),
        scenario("differs-too-long", "and has no time for more", 2, Local)
            .set(|s| s.alone_ms = 20)
            .write_as(0, 0, EDGE, Post, hesitates(HUB, 6))
            .write_as(1, 4, EDGE, Post, hesitates(HUB, 1)),
        scenario("differs-put", "a person has a PUT sent again that others came after", 2, Local)
            .write_as(0, 0, EDGE, Put, hesitates(HUB, 6))
            .write(0, 0, EDGE, Put)
            .person(Person::Careful, &[900]),
        scenario("differs-put-alone", "tried once, and others come after it", 2, Local)
            .set(|s| s.alone_ms = 0)
            .write_as(0, 0, EDGE, Put, hesitates(HUB, 1))
            .write(0, 0, EDGE, Put)
            .person(Person::Careful, &[700, 1_100]),
        scenario("differs-behind", "and refuses itself what stands behind it in its lane", 2, Local)
            .write_as(0, 0, EDGE, Post, refuses(HUB))
            .write_as(0, 0, EDGE, Put, refuses(HUB))
            .write_as(1, 120, HUB, Put, |deed| deed.refused = true)
            .write_as(2, 140, HUB, Post, |deed| deed.lane = 2),
        scenario("differs-beside-unknown", "refused because its decider's unknown one is missing", 2, Local)
            .set(|s| (s.creates, s.has_probe) = (true, true))
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(Mood::HangUpAfter))
            .write_as(1, 15, EDGE, Post, refuses(HUB))
            .write_as(2, 20, EDGE, Post, |deed| deed.lane = 2),
        scenario("differs-stops", "a share of them stops following, and a person resumes it", 2, Local)
            .set(|s| s.on_divergence = OnDivergence::Stop { differ: 1, of: 2 })
            .write_as(0, 0, EDGE, Post, refuses(HUB))
            .write(0, 0, EDGE, Post)
            .write_as(1, 200, HUB, Post, |deed| deed.lane = 2)
            .person(Person::Careful, &[600]),
        scenario("differs-stops-both", "each stops the other, and both serve", 2, Local)
            .set(|s| s.on_divergence = OnDivergence::Stop { differ: 1, of: 2 })
            .write_as(0, 0, EDGE, Post, refuses(HUB))
            .write_as(1, 2, HUB, Post, |deed| (deed.lane, deed.differs) = (2, Some((EDGE, Difference::Lasting(401)))))
            .write_as(0, 150, EDGE, Put, |deed| deed.lane = 2)
            .write(1, 150, HUB, Put),
        scenario("differs-person", "a person who comes while it is tried again", 2, Local)
            .write_as(0, 0, EDGE, Post, hesitates(HUB, 3))
            .write_as(1, 4, EDGE, Put, refuses(HUB))
            .person(Person::HasARival, &[60, 250, 700]),
    ]
}
