//! Two sites whose line is cut for a while.
use holdfast::service::{OnConcurrent, OnUnreachable, WhenDown};

use super::super::act::Act;
use super::super::scenario::Order::{HubFirst, Local};
use super::super::scenario::{EDGE, HUB, Person, Scenario, scenario};
use crate::sim::history::Method::{Delete, Post, Put};

pub fn all() -> Vec<Scenario> {
    vec![
        scenario("failover", "the hub is silent, so the edge decides", 2, HubFirst)
            .cut(0, HUB, EDGE, 700)
            .write(0, 5, EDGE, Post)
            .write(1, 60, HUB, Post),
        scenario("failover-in-flight", "cut while the hub decides", 2, HubFirst)
            .cut(14, HUB, EDGE, 700)
            .write(0, 0, EDGE, Post)
            .write(0, 0, EDGE, Put),
        scenario("failover-one-way", "wishes come, and words do not", 2, HubFirst)
            .script(8, Act::Cut { from: HUB, to: EDGE, both: false, ms: 500 })
            .write(0, 0, EDGE, Post)
            .write_as(1, 150, EDGE, Post, |deed| deed.lane = 2),
        scenario("failover-wish-waits", "a wish waits at the hub for its lane while its origin decides", 2, HubFirst)
            .write_as(0, 0, HUB, Post, |deed| deed.slow = true)
            .write(1, 5, EDGE, Post)
            .cut(25, HUB, EDGE, 700),
        scenario("failover-back", "and the hub is asked again when it is back", 2, HubFirst)
            .cut(0, HUB, EDGE, 300)
            .write(0, 5, EDGE, Post)
            .write_as(1, 402, EDGE, Post, |deed| deed.lane = 2)
            .write_as(2, 408, EDGE, Post, |deed| deed.lane = 3)
            .write(3, 416, EDGE, Post),
        scenario("same-key-in-cut", "a client asks at both sites of a cut", 2, Local)
            .cut(0, HUB, EDGE, 500)
            .write_as(0, 5, HUB, Post, |deed| (deed.retry, deed.insists) = (vec![(EDGE, 20)], true))
            .write(1, 120, EDGE, Post),
        scenario("same-key-in-cut-hub", "the same with PUT and DELETE", 2, HubFirst)
            .cut(0, HUB, EDGE, 500)
            .write_as(0, 5, HUB, Put, |deed| (deed.retry, deed.insists) = (vec![(EDGE, 20)], true))
            .write(1, 250, EDGE, Delete),
        scenario("put-put-in-cut", "one lane on both sides of a cut", 2, Local)
            .cut(0, HUB, EDGE, 300)
            .write(0, 5, HUB, Put)
            .write(1, 25, EDGE, Put)
            .write(1, 25, EDGE, Put),
        scenario("put-put-quarantined", "and what is concurrent waits for a person", 2, Local)
            .set(|s| s.on_concurrent = OnConcurrent::Quarantine)
            .cut(0, HUB, EDGE, 300)
            .write(0, 5, HUB, Put)
            .write(1, 25, EDGE, Put)
            .person(Person::Careful, &[]),
        scenario("queue-hub", "cut, and the own service is down", 2, HubFirst)
            .set(|s| s.when_down = WhenDown::Queue)
            .cut(0, HUB, EDGE, 500)
            .script(0, Act::Down { site: EDGE, ms: 600 })
            .write(0, 10, EDGE, Put)
            .write(1, 450, EDGE, Post),
        scenario("refuse-unreachable", "no copy is taken while its origin cannot be asked", 2, Local)
            .set(|s| s.on_unreachable = OnUnreachable::Refuse)
            .cut(8, HUB, EDGE, 400)
            .write_as(0, 0, HUB, Post, |deed| (deed.retry, deed.insists) = (vec![(EDGE, 20), (EDGE, 100)], true)),
        scenario("small-window", "a backlog, and room for hardly any of it", 2, Local)
            .narrow()
            .cut(0, HUB, EDGE, 200)
            .write(0, 5, EDGE, Post)
            .write_as(0, 5, EDGE, Post, |deed| deed.lane = 2)
            .write_as(0, 5, EDGE, Post, |deed| deed.lane = 3)
            .write(0, 5, EDGE, Post),
        scenario("backlog-read", "a backlog that comes from the journal after a restart", 2, Local)
            .set(|s| s.limits.page_items = 1)
            .cut(0, HUB, EDGE, 400)
            .write(0, 5, EDGE, Post)
            .write_as(0, 5, EDGE, Post, |deed| deed.lane = 2)
            .write_as(1, 6, EDGE, Post, |deed| deed.lane = 3)
            .script(150, Act::FailedSync { site: EDGE })
            .write(2, 160, EDGE, Put),
        scenario("ack-in-cut", "no peer is there to confirm", 2, Local)
            .set(|s| s.ack_peers = 1)
            .cut(12, HUB, EDGE, 300)
            .write(0, 0, EDGE, Post)
            .write_as(1, 200, EDGE, Post, |deed| deed.lane = 2),
    ]
}
