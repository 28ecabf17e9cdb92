//! One key more than once: at other sites, with other requests, of other clients, and when its time is over.
use super::super::scenario::Order::{HubFirst, Local};
use super::super::scenario::{EDGE, HUB, Person, Scenario, scenario};
use crate::sim::history::Method::Post;
use crate::sim::upstream::Mood::{HangUpAfter, HangUpBefore};

pub fn all() -> Vec<Scenario> {
    vec![
        scenario("retry-elsewhere", "a client asks at both sites", 2, Local)
            .write_as(0, 0, HUB, Post, |deed| (deed.retry, deed.insists) = (vec![(EDGE, 3), (HUB, 20)], true)),
        scenario("retry-elsewhere-hub", "the same, and the hub decides", 2, HubFirst)
            .set(|s| s.has_probe = true)
            .write_as(0, 0, EDGE, Post, |deed| (deed.retry, deed.insists) = (vec![(HUB, 3), (EDGE, 20)], true)),
        scenario("retry-unhinted", "the same, and no hint comes", 2, Local)
            .write_as(0, 0, HUB, Post, |deed| (deed.retry, deed.insists) = (vec![(EDGE, 3), (HUB, 20)], true))
            .write(1, 6, EDGE, Post)
            .with(|s| s.plan.control_off = true),
        scenario("another-digest", "two requests under one key on both sides of a cut", 2, Local)
            .cut(0, HUB, EDGE, 300)
            .write_as(0, 5, HUB, Post, |deed| deed.key = Some(99))
            .write_as(1, 10, EDGE, Post, |deed| deed.key = Some(99)),
        scenario("another-digest-linked", "the same, at nearly one time", 2, Local)
            .write_as(0, 0, HUB, Post, |deed| deed.key = Some(99))
            .write_as(1, 1, EDGE, Post, |deed| deed.key = Some(99)),
        scenario("another-client", "brings the key and the request of one that was answered", 2, Local)
            .write(0, 0, EDGE, Post)
            .write_as(1, 60, EDGE, Post, |deed| deed.borrows = Some(10)),
        scenario("another-client-in-flight", "of one that is being decided", 2, HubFirst)
            .write(0, 0, EDGE, Post)
            .write_as(1, 4, EDGE, Post, |deed| deed.borrows = Some(10)),
        scenario("another-client-elsewhere", "of one that was answered at the other site", 2, Local)
            .write(0, 0, EDGE, Post)
            .write_as(1, 60, HUB, Post, |deed| deed.borrows = Some(10)),
        scenario("another-client-in-cut", "on the other side of a cut", 2, Local)
            .cut(0, HUB, EDGE, 300)
            .write(0, 5, HUB, Post)
            .write_as(1, 20, EDGE, Post, |deed| deed.borrows = Some(10)),
        scenario("another-client-refused", "of one that was refused", 2, HubFirst)
            .write_as(0, 0, EDGE, Post, |deed| deed.refused = true)
            .write_as(1, 60, EDGE, Post, |deed| deed.borrows = Some(10))
            .write(2, 70, EDGE, Post),
        scenario("another-client-unknown", "of one that nobody knows of", 2, Local)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(HangUpAfter))
            .write_as(1, 30, EDGE, Post, |deed| deed.borrows = Some(10))
            .person(Person::Careful, &[600]),
        scenario("short-ttl", "asked again when the key's time is over", 2, Local)
            .short_ttl()
            .write_as(0, 0, EDGE, Post, |deed| (deed.retry, deed.insists) = (vec![(EDGE, 700)], true))
            .lasts(2_500),
        scenario("short-ttl-cut", "the same, and the other site has not heard of it", 2, Local)
            .short_ttl()
            .cut(20, HUB, EDGE, 1_200)
            .write_as(0, 0, EDGE, Post, |deed| (deed.retry, deed.insists) = (vec![(EDGE, 700)], true))
            .lasts(2_500),
        scenario("short-ttl-unknown", "the same, and nobody knows what became of it", 2, HubFirst)
            .short_ttl()
            .write_as(0, 0, EDGE, Post, |deed| {
                (deed.retry, deed.insists) = (vec![(EDGE, 700), (HUB, 700)], true);
                deed.mood = Some(HangUpAfter);
            })
            .lasts(2_500),
        scenario("short-ttl-open", "the same, until a person says it", 2, Local)
            .short_ttl()
            .write_as(0, 0, EDGE, Post, |deed| {
                (deed.retry, deed.insists) = (vec![(EDGE, 1_000)], true);
                deed.mood = Some(HangUpBefore);
            })
            .person(Person::Careful, &[1_500])
            .lasts(2_800),
    ]
}
