//! Two sites that are linked, and a service that is well, down, slow or short of words.
use holdfast::service::{OnDivergence, WhenDown};

use super::super::act::Act;
use super::super::scenario::Order::{Crossed, HubFirst, Local, LocalThenHub};
use super::super::scenario::{EDGE, HUB, Scenario, scenario};
use crate::sim::history::Method::{Delete, Post, Put};
use crate::sim::upstream::Mood;

pub fn all() -> Vec<Scenario> {
    let fails = |applies| Mood::Fails { status: 500, applies };
    vec![
        scenario("plain", "two writes, decided where they are taken", 2, Local)
            .write(0, 0, EDGE, Post)
            .write(0, 0, EDGE, Post),
        scenario("plain-probe", "the same, and the service can be asked what it has", 2, LocalThenHub)
            .set(|s| s.has_probe = true)
            .write(0, 0, EDGE, Post)
            .write(0, 0, EDGE, Put),
        scenario("plain-idempotent", "the same, and the service honours keys", 2, Local)
            .set(|s| s.idempotent = true)
            .write(0, 0, EDGE, Post)
            .write(0, 0, EDGE, Post),
        scenario("two-clients", "two at one site in one lane, one at the other", 2, Local)
            .write(0, 0, EDGE, Post)
            .write(1, 1, EDGE, Post)
            .write_as(2, 5, HUB, Post, |deed| deed.lane = 2),
        scenario("keyless", "without keys, decided elsewhere", 2, HubFirst)
            .write_as(0, 0, EDGE, Post, |deed| deed.key = None)
            .write_as(1, 2, EDGE, Put, |deed| deed.key = None),
        scenario("elsewhere", "two writes, decided at the hub", 2, HubFirst)
            .write(0, 0, EDGE, Post)
            .write(0, 0, EDGE, Post),
        scenario("elsewhere-two-clients", "the same from both sites", 2, HubFirst)
            .write(0, 0, EDGE, Post)
            .write(1, 1, EDGE, Put)
            .write(2, 2, HUB, Post),
        scenario("elsewhere-probe", "decided at the hub, whose service can be asked", 2, HubFirst)
            .set(|s| s.has_probe = true)
            .write(0, 0, EDGE, Post)
            .write_as(1, 20, EDGE, Post, |deed| deed.lane = 2),
        scenario("elsewhere-large", "a large wish on a thin line, with others behind it", 2, HubFirst)
            .write_as(0, 0, EDGE, Post, |deed| deed.large_ms = 200)
            .write_as(1, 2, EDGE, Post, |deed| deed.lane = 2)
            .write(2, 4, EDGE, Put),
        scenario("two-lanes-hub", "a client that changes its lane, decided at the hub", 2, HubFirst)
            .write(0, 0, EDGE, Post)
            .write_as(1, 4, HUB, Post, |deed| deed.lane = 2)
            .write_as(0, 0, EDGE, Put, |deed| deed.lane = 2),
        scenario("lane-busy-elsewhere", "a wish waits at the hub until its client's time is over", 2, HubFirst)
            .write_as(0, 0, HUB, Post, |deed| deed.slow = true)
            .write_as(1, 2, HUB, Post, |deed| deed.slow = true)
            .write(2, 5, EDGE, Post),
        scenario("crossed", "each asks the other first", 2, Crossed)
            .write(0, 0, EDGE, Post)
            .write(1, 0, HUB, Post)
            .write_as(1, 0, HUB, Put, |deed| deed.lane = 2),
        scenario("refusal", "every replica refuses the first", 2, Local)
            .write_as(0, 0, EDGE, Post, |deed| deed.refused = true)
            .write(0, 0, EDGE, Post),
        scenario("refusal-elsewhere", "the same, decided at the hub", 2, HubFirst)
            .write_as(0, 0, EDGE, Put, |deed| deed.refused = true)
            .write(0, 0, EDGE, Post),
        scenario("refusal-all", "every outcome is shadowed", 2, Local)
            .set(|s| s.replicate_all = true)
            .write_as(0, 0, EDGE, Post, |deed| deed.refused = true)
            .write(0, 0, EDGE, Post),
        scenario("failed-applied", "the service answers 500, and has applied it", 2, Local)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(fails(true)))
            .write(0, 0, EDGE, Post),
        scenario("failed-not-applied-hub", "500 of the hub's service, which has not", 2, HubFirst)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(fails(false)))
            .write(1, 5, EDGE, Post),
        scenario("unexecuted", "503, which says that nothing was executed", 2, LocalThenHub)
            .set(|s| s.unexecuted = vec![503])
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(Mood::Fails { status: 503, applies: false }))
            .write(0, 0, EDGE, Put),
        scenario("queue", "the service is down, and writes are kept", 2, Local)
            .set(|s| s.when_down = WhenDown::Queue)
            .script(0, Act::Down { site: EDGE, ms: 300 })
            .write(0, 10, EDGE, Post)
            .write(1, 60, EDGE, Post)
            .write(2, 350, EDGE, Post),
        scenario("queue-turned-away", "one that was kept is answered 429", 2, Local)
            .set(|s| s.when_down = WhenDown::Queue)
            .script(0, Act::Down { site: EDGE, ms: 200 })
            .write_as(0, 10, EDGE, Post, |deed| deed.mood = Some(Mood::Busy))
            .write_as(1, 20, EDGE, Post, |deed| deed.lane = 2),
        scenario("down-refused", "the service is down, and writes are not kept", 2, Local)
            .script(0, Act::Down { site: EDGE, ms: 100 })
            .write(0, 5, EDGE, Post)
            .write_as(1, 10, EDGE, Put, |deed| deed.lane = 2),
        scenario("down-elsewhere", "the service is down, so the hub decides", 2, LocalThenHub)
            .script(0, Act::Down { site: EDGE, ms: 400 })
            .write(0, 5, EDGE, Post)
            .write(0, 5, EDGE, Put)
            .write_as(1, 300, EDGE, Post, |deed| deed.lane = 2),
        scenario("hangs", "the service takes and does not answer: others decide what comes then", 2, LocalThenHub)
            .script(0, Act::Hang { site: EDGE, ms: 300 })
            .write(0, 5, EDGE, Post)
            .write_as(1, 120, EDGE, Post, |deed| deed.lane = 2)
            .write_as(2, 150, HUB, Post, |deed| deed.lane = 3),
        scenario("hangs-hub", "the same at the hub, which is asked first", 2, HubFirst)
            .set(|s| s.has_probe = true)
            .script(0, Act::Hang { site: HUB, ms: 200 })
            .write(0, 5, EDGE, Post)
            .write_as(1, 20, EDGE, Put, |deed| deed.lane = 2)
            .write_as(2, 150, EDGE, Post, |deed| deed.lane = 3),
        scenario("creates", "POSTs that make something go on beside one that nobody knows of", 2, Local)
            .set(|s| (s.creates, s.has_probe) = (true, true))
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(Mood::HangUpAfter))
            .write(1, 20, EDGE, Post)
            .write(2, 30, EDGE, Put),
        scenario("creates-elsewhere", "the same, decided at the hub", 2, HubFirst)
            .set(|s| s.creates = true)
            .write_as(0, 0, EDGE, Post, |deed| deed.mood = Some(Mood::HangUpAfter))
            .write(1, 20, EDGE, Post)
            .write(2, 40, HUB, Post),
        scenario("ack-one", "the answer waits for a receipt", 2, Local)
            .set(|s| s.ack_peers = 1)
            .write(0, 0, EDGE, Post)
            .write(0, 0, EDGE, Post),
        scenario("delete-after-post", "a client that goes to the other site with what it has seen", 2, LocalThenHub)
            .write(0, 0, EDGE, Post)
            .write(0, 0, HUB, Delete)
            .seen(),
        scenario("seen-roams", "and to and fro, and reads there", 2, HubFirst)
            .write_as(0, 0, EDGE, Post, |deed| deed.reads = Some(HUB))
            .write_as(0, 0, HUB, Put, |deed| deed.reads = Some(EDGE))
            .write_as(0, 0, EDGE, Put, |deed| deed.reads = Some(HUB))
            .seen(),
        scenario("seen-by-nobody", "a client that brings what no site has", 2, HubFirst)
            .write_as(0, 0, EDGE, Post, |deed| deed.reads = Some(HUB))
            .write(1, 4, EDGE, Put)
            .with(|s| s.plan.clients[0].invents_seen = true),
        scenario("small-answers", "answers are too large for pages", 2, LocalThenHub)
            .set(|s| s.answer_max = 0)
            .write_as(0, 0, EDGE, Post, |deed| (deed.retry, deed.insists) = (vec![(HUB, 30)], true))
            .write(1, 3, HUB, Put),
        scenario("stop-on-divergence", "bodies are compared, and differ", 2, Local)
            .set(|s| (s.on_divergence, s.compare_body) = (OnDivergence::Stop { differ: 1, of: 2 }, true))
            .write_as(0, 0, EDGE, Post, |deed| deed.lane = 3)
            .write_as(1, 3, HUB, Post, |deed| deed.lane = 2),
        scenario("rest", "an orderly end while clients write", 2, Local)
            .script(14, Act::Rest { site: EDGE })
            .write(0, 0, EDGE, Post)
            .write(1, 10, EDGE, Post)
            .write_as(2, 12, HUB, Post, |deed| deed.lane = 2),
        scenario("rest-hub", "of the site that is asked first", 2, HubFirst)
            .script(10, Act::Rest { site: HUB })
            .write(0, 0, EDGE, Post)
            .write(1, 12, EDGE, Put)
            .write_as(2, 4, EDGE, Post, |deed| (deed.lane, deed.slow) = (2, true)),
    ]
}
