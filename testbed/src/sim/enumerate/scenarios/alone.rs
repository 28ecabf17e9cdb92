//! When all that goes wrong is over one site stays cut off for long, and every site must serve.
use holdfast::service::Operation;

use super::super::act::Act;
use super::super::scenario::Order::{Crossed, EdgeAsks, HubFirst, Local};
use super::super::scenario::{EDGE, EDGE_2, HUB, Order, Scenario, scenario};
use crate::sim::history::Method::{Post, Put};
use crate::sim::upstream::Mood;

pub fn all() -> Vec<Scenario> {
    let crossed = |name, about, site| {
        scenario(name, about, 3, Crossed)
            .set(|s| (s.limits.page_items, s.limits.window_items) = (1, 2))
            .write(0, 0, EDGE, Post)
            .write_as(1, 4, EDGE_2, Post, |deed| deed.lane = 2)
            .write_as(2, 8, HUB, Post, |deed| deed.lane = 3)
            .write_as(3, 12, EDGE, Put, |deed| deed.lane = 4)
            .lasts(250)
            .then_alone(site)
    };
    let two = |name, about, order: Order| scenario(name, about, 2, order);
    vec![
        two("alone-local", "after writes at both sites", Local)
            .write(0, 0, EDGE, Post)
            .write(1, 1, HUB, Post)
            .lasts(600)
            .then_alone(EDGE),
        two("alone-hub", "after writes that the hub decided", HubFirst)
            .write(0, 0, EDGE, Post)
            .write(1, 1, EDGE, Put)
            .lasts(600)
            .then_alone(EDGE),
        two("alone-unknown", "after one that nobody can tell about", HubFirst)
            .write_as(0, 0, EDGE, Put, |deed| deed.mood = Some(Mood::HangUpAfter))
            .write(1, 3, HUB, Post)
            .lasts(600)
            .then_alone(EDGE),
        two("alone-small", "with room for hardly anything", HubFirst)
            .narrow()
            .write(0, 0, HUB, Post)
            .write_as(1, 1, HUB, Post, |deed| deed.lane = 2)
            .write(2, 3, EDGE, Post)
            .lasts(700)
            .then_alone(EDGE),
        two("alone-late-word", "a late word about what comes after a backlog", HubFirst)
            .narrow()
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(Mood::HangUpAfter))
            .cut(480, HUB, EDGE, 320)
            .write_as(1, 490, HUB, Post, |deed| deed.lane = 2)
            .write_as(1, 490, HUB, Post, |deed| deed.lane = 2)
            .write_as(1, 490, HUB, Post, |deed| deed.lane = 2)
            .script(700, Act::Order { site: HUB, operation: Operation::Applied })
            .lasts(980)
            .then_alone(EDGE),
        two("alone-word-beyond", "a word that names more than came over a line that is cut one way", HubFirst)
            .narrow()
            .script(5, Act::Cut { from: HUB, to: EDGE, both: false, ms: 600 })
            .script(0, Act::Down { site: EDGE, ms: 500 })
            .write_as(1, 3, HUB, Post, |deed| deed.lane = 2)
            .write_as(1, 3, HUB, Post, |deed| deed.lane = 2)
            .write_as(1, 3, HUB, Post, |deed| deed.lane = 2)
            .write_as(0, 30, EDGE, Post, |deed| deed.mood = Some(Mood::HangUpAfter))
            .script(450, Act::Order { site: HUB, operation: Operation::Applied })
            .lasts(710)
            .then_alone(EDGE),
        two("alone-word-of-backlog", "a late word that comes after a backlog which comes behind it", HubFirst)
            .narrow()
            .script(0, Act::Down { site: EDGE, ms: 500 })
            .script(5, Act::Cut { from: HUB, to: EDGE, both: false, ms: 600 })
            .write_as(1, 3, HUB, Post, |deed| deed.lane = 2)
            .write_as(1, 3, HUB, Post, |deed| deed.lane = 2)
            .write_as(1, 3, HUB, Post, |deed| deed.lane = 2)
            .write(0, 60, EDGE, Post)
            .lasts(760)
            .then_alone(EDGE),
        scenario("alone-ahead", "after one that was told ahead", 3, EdgeAsks)
            .cut(14, HUB, EDGE, 400)
            .write(0, 0, EDGE, Post)
            .write(1, 30, HUB, Post)
            .write(2, 90, EDGE_2, Post)
            .lasts(700)
            .then_alone(EDGE),
        scenario("alone-gap", "after one that waits for a slow one", 3, HubFirst)
            .set(|s| s.limits.shadows = 1)
            .write_as(0, 0, EDGE, Post, |deed| deed.slow = true)
            .write_as(1, 5, HUB, Post, |deed| deed.lane = 2)
            .write_as(2, 10, EDGE_2, Put, |deed| deed.lane = 3)
            .write_as(3, 20, EDGE, Put, |deed| deed.lane = 4)
            .never_linked(EDGE, EDGE_2)
            .lasts(500)
            .then_alone(EDGE),
        crossed("alone-crossed-hub", "each asked the next one, and the first is gone", HUB),
        crossed("alone-crossed-edge", "each asked the next one, and the second is gone", EDGE),
        scenario("alone-three", "after writes that the hub decided for two edges", 3, HubFirst)
            .write(0, 0, EDGE, Post)
            .write(1, 1, EDGE_2, Put)
            .lasts(600)
            .then_alone(EDGE),
    ]
}
