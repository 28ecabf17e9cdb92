//! Lines that break, fall silent or are slow; queues that are full.
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::kit::*;
use crate::link::{Limits, LinkSettings, Sent};
use crate::service::Message;
use crate::wire::samples::{SAMPLES, page, wish};

fn ask() -> Message {
    SAMPLES[3].1()
}

#[tokio::test]
async fn a_cut_line_is_down_and_up_again_and_what_is_sent_then_arrives() {
    let mut cloud = start(hub()).await;
    let relay = Relay::to(cloud.links.local_addr().unwrap(), 0).await;
    let mut store = start(edge(relay.url())).await;
    for round in 0..3 {
        cloud.up("store-042").await;
        store.up("cloud").await;
        assert_eq!(store.send("cloud", ask()), Sent::Queued);
        assert_eq!(cloud.message().await, ask());
        assert_eq!(cloud.send("store-042", ask()), Sent::Queued);
        assert_eq!(store.message().await, ask());
        relay.line.send_replace(Line::Cut);
        cloud.down("store-042").await;
        store.down("cloud").await;
        assert_eq!(store.send("cloud", ask()), Sent::NotConnected, "round {round}");
        relay.line.send_replace(Line::Open);
    }
    store.up("cloud").await;
    assert_eq!(store.state("cloud").connections, 4);
    assert!(store.state("cloud").dropped >= 3);
}

#[tokio::test]
async fn a_line_that_swallows_everything_or_one_direction_is_noticed_in_time() {
    let (beat, dead_after) = (Duration::from_millis(250), Duration::from_millis(1_000));
    let fast = |settings: LinkSettings| {
        let limits = Limits { beat, dead_after, keepalive: beat * 2, ..settings.limits };
        LinkSettings { limits, ..settings }
    };
    let mut cloud = start(fast(hub())).await;
    let relay = Relay::to(cloud.links.local_addr().unwrap(), 0).await;
    let mut store = start(fast(edge(relay.url()))).await;
    let mut quiet = dead_after + beat;
    for (fault, periods) in [(Line::Silent, 1), (Line::SilentThere, 2), (Line::SilentBack, 2)] {
        cloud.up("store-042").await;
        store.up("cloud").await;
        store.silent_for(std::mem::take(&mut quiet)).await;
        relay.line.send_replace(fault);
        let began = Instant::now();
        cloud.down("store-042").await;
        store.down("cloud").await;
        let noticed = began.elapsed();
        // One direction: who hears nothing closes, then the other one hears nothing either, or that it was closed. A
        // machine that stands still adds to it; without beats nobody would notice for a quarter of an hour.
        assert!(noticed < dead_after * periods + SOON / 4, "noticed after {noticed:?}");
        let errors = [cloud.state("store-042").last_error, store.state("cloud").last_error];
        let silence_s =
            |error: &String| error.strip_prefix("nothing heard for ")?.strip_suffix(" s")?.parse::<f64>().ok();
        let silences: Vec<f64> = errors.iter().flatten().filter_map(silence_s).collect();
        assert!(!silences.is_empty() && silences.iter().all(|s| *s >= dead_after.as_secs_f64()), "{errors:?}");
        relay.line.send_replace(Line::Open);
    }
    store.up("cloud").await;
    cloud.up("store-042").await;
}

/// As behind a NAT that forgot: what the accepting side says goes nowhere, and only who dials can mend it.
#[tokio::test]
async fn the_dialler_alone_notices_a_line_at_rest_that_was_forgotten_and_a_line_at_rest_is_silent() {
    let rest = |settings: LinkSettings, keepalive| {
        let (beat, dead_after) = (Duration::from_millis(100), Duration::from_millis(300));
        LinkSettings { limits: Limits { beat, dead_after, keepalive, ..settings.limits }, ..settings }
    };
    let (hour, second) = (Duration::from_secs(3_600), Duration::from_secs(1));
    for (keepalive, is_noticed) in [(second, true), (hour, false)] {
        let mut cloud = start(rest(hub(), hour)).await;
        let relay = Relay::to(cloud.links.local_addr().unwrap(), 0).await;
        let mut store = start(rest(edge(relay.url()), keepalive)).await;
        cloud.up("store-042").await;
        store.up("cloud").await;
        store.silent_for(second).await;
        if is_noticed {
            relay.line.send_replace(Line::Silent);
            store.down("cloud").await;
            relay.line.send_replace(Line::Open);
            // The newer connection takes the place of the one that the hub still believed in.
            cloud.down("store-042").await;
            cloud.up("store-042").await;
            store.up("cloud").await;
            continue;
        }
        let carried = relay.bytes.load(Relaxed);
        store.silent_for(second * 3).await;
        assert_eq!(relay.bytes.load(Relaxed), carried, "something was said at rest");
        // What is outstanding at either side finds it out.
        relay.line.send_replace(Line::Silent);
        assert_eq!(cloud.send("store-042", ask()), Sent::Queued);
        cloud.down("store-042").await;
    }
}

/// No longer than it took while both sides said that they live all the time: three seconds of silence.
#[tokio::test]
async fn a_line_that_fell_silent_at_rest_is_given_up_in_time_once_something_is_outstanding() {
    let mut cloud = start(hub()).await;
    let relay = Relay::to(cloud.links.local_addr().unwrap(), 0).await;
    let mut store = start(edge(relay.url())).await;
    cloud.up("store-042").await;
    store.up("cloud").await;
    store.silent_for(Duration::from_secs(5)).await;
    relay.line.send_replace(Line::Silent);
    let began = Instant::now();
    let read = http::Request::get("/transactions").body(http_body_util::Full::new(bytes::Bytes::new())).unwrap();
    assert!(store.links.read(&site("cloud"), &group(), read).await.is_err());
    store.down("cloud").await;
    // A machine that stands still adds to it; by the next question at rest it would be 25 s and more.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_burst_of_pages_on_a_slow_line_does_not_hold_up_a_wish() {
    const BYTES_PER_SECOND: usize = 250_000; // 2 Mbit/s
    let pages = incompressible_pages();
    for dialling_side_bursts in [true, false] {
        let mut cloud = start(hub()).await;
        let relay = Relay::to(cloud.links.local_addr().unwrap(), BYTES_PER_SECOND).await;
        let mut store = start(edge(relay.url())).await;
        cloud.up("store-042").await;
        store.up("cloud").await;
        let (near, far, to) = match dialling_side_bursts {
            true => (&store, &mut cloud, "cloud"),
            false => (&cloud, &mut store, "store-042"),
        };
        if !dialling_side_bursts {
            far.send("cloud", SAMPLES[0].1());
        }
        for page in &pages {
            assert_eq!(near.send(to, Message::Page(page.clone())), Sent::Queued);
        }
        let carried = || relay.bytes.load(Relaxed);
        until(|| carried() > 300_000, || "the burst is not under way".to_owned()).await;
        let mut most = 0;
        for _ in 0..3 {
            let before = carried();
            assert_eq!(near.send(to, wish(1_000)), Sent::Queued);
            loop {
                match far.message().await {
                    Message::Wish(_) => break,
                    Message::Page(page) => assert!(page != pages[3], "the burst is over: nothing was measured"),
                    other => panic!("{other:?}"),
                }
            }
            most = most.max(carried() - before);
        }
        // The burst is 4 MiB; ahead of a wish goes a window of 64 KiB, a quarter of a second on this line. Counted in
        // bytes, because a loaded machine makes the line slower.
        assert!(most < 4 * (64 << 10), "a wish waited for {most} bytes");
        assert_eq!(relay.connections.load(Relaxed), 1, "the busy line was taken for a dead one");
    }
}

/// Four pages of 1 MiB.
fn incompressible_pages() -> Vec<crate::service::Page> {
    let page = |n: u64| {
        let mut page = page(1, 0);
        page.from = 10 + n;
        let item = std::sync::Arc::make_mut(&mut page.items[0]);
        item.position = page.from + 1;
        let mut body = vec![0; 1 << 20];
        fastrand::Rng::with_seed(n).fill(&mut body);
        std::sync::Arc::make_mut(item.request.as_mut().unwrap()).body = body.into();
        page
    };
    (0..4).map(page).collect()
}

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    let mut cloud = start(hub()).await;
    let relay = Relay::to(cloud.links.local_addr().unwrap(), 0).await;
    let edge = edge(relay.url());
    let small = LinkSettings { limits: Limits { queue_messages: 10, ..edge.limits }, ..edge };
    let mut store = start(small).await;
    cloud.up("store-042").await;
    store.up("cloud").await;
    relay.line.send_replace(Line::Silent);
    let mut sent = Vec::new();
    // More than the window and the queue hold.
    for _ in 0..40 {
        sent.push(store.send("cloud", wish(64 << 10)));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let dropped = sent.iter().filter(|sent| **sent == Sent::Full).count() as u64;
    assert!(dropped >= 10, "{sent:?}");
    let state = store.state("cloud");
    assert_eq!((state.dropped, state.queued), (dropped, 10));
    assert!(state.queued_bytes > 10 * (64 << 10));
}

#[tokio::test]
async fn a_large_wish_arrives_and_one_that_is_too_large_is_dropped_alone() {
    let (hub, edge_limits) = (hub(), settings("store-042").limits);
    let limits = Limits { message_bytes: 8 << 20, ..edge_limits };
    let mut cloud = start(LinkSettings { limits, ..hub }).await;
    let mut store = start(LinkSettings { limits, ..edge(cloud.url()) }).await;
    cloud.up("store-042").await;
    store.up("cloud").await;
    store.send("cloud", wish(9 << 20));
    store.send("cloud", wish(7 << 20));
    assert_eq!(cloud.message().await, wish(7 << 20));
    until(|| store.state("cloud").dropped == 1, || format!("{:?}", store.state("cloud"))).await;
    assert_eq!(store.state("cloud").connections, 1);
}

#[tokio::test]
async fn the_newest_connection_of_a_site_replaces_an_older_one() {
    let (mut cloud, mut store) = linked().await;
    // A restarted edge, whose old connection the hub still believes in.
    let again = LinkSettings { boot: [99; 16], ..edge(cloud.url()) };
    let mut restarted = start(again).await;
    cloud.down("store-042").await;
    cloud.up("store-042").await;
    restarted.up("cloud").await;
    assert_eq!(cloud.send("store-042", ask()), Sent::Queued);
    assert_eq!(restarted.message().await, ask());
    store.down("cloud").await;
}

#[tokio::test]
async fn a_second_store_of_a_linked_site_is_refused_and_both_sides_say_why() {
    let (mut cloud, store) = linked().await;
    let second = LinkSettings { boot: [99; 16], store: [98; 16], ..edge(cloud.url()) };
    let mut second = start(second).await;
    let said = |second: &Site| second.state("cloud").last_error.unwrap_or_default();
    until(|| said(&second).contains("two processes run as site store-042"), || format!("{:?}", second.state("cloud")))
        .await;
    assert!(!second.state("cloud").connected);
    // The first one is not disturbed.
    assert_eq!(cloud.state("store-042").connections, 1);
    assert_eq!(store.state("cloud").connections, 1);
    // When it has ended, the other one is who there is.
    store.links.stop().await;
    cloud.down("store-042").await;
    cloud.up("store-042").await;
    second.up("cloud").await;
}

#[tokio::test]
async fn a_group_that_takes_nothing_stops_its_link_no_longer_than_allowed() {
    let hub = hub();
    let limits = Limits { inbound_wait: Duration::from_millis(50), ..hub.limits };
    let mut cloud = start_with_room(LinkSettings { limits, ..hub }, 2).await;
    let mut store = start(edge(cloud.url())).await;
    cloud.up("store-042").await;
    store.up("cloud").await;
    for _ in 0..5 {
        store.send("cloud", ask());
    }
    until(|| cloud.state("store-042").refused >= 3, || format!("{:?}", cloud.state("store-042"))).await;
    assert_eq!([cloud.message().await, cloud.message().await], [ask(), ask()]);
    store.send("cloud", wish(1));
    assert_eq!(cloud.message().await, wish(1));
}
