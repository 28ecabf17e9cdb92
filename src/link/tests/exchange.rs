//! What two healthy sites exchange over one connection that one of them dialled.
use http::Request;
use http_body_util::{BodyExt, Full};

use super::kit::*;
use crate::link::{ReadError, Sent};
use crate::model::{Chain, LogId};
use crate::service::{Cursor, Message, Page, Status};
use crate::wire::samples::{SAMPLES, log, page};

fn wanting(log: LogId, received: u64) -> Message {
    let cursor =
        Cursor { log, site: site("store-042"), received, chain: Chain::default(), decided: 0, want: true, again: 0 };
    Message::Status(Status {
        count: 7,
        log,
        state: 1,
        heard: vec![],
        healthy: true,
        last: false,
        hangs: false,
        lag_ms: 0,
        retried_ms: 0,
        cursors: vec![cursor],
        missing: vec![],
    })
}
fn page_from(from: u64) -> Page {
    let mut page = page(1, 300);
    page.from = from;
    std::sync::Arc::make_mut(&mut page.items[0]).position = from + 1;
    page
}

#[tokio::test]
async fn every_kind_of_message_travels_both_ways_with_one_side_dialling() {
    let (mut cloud, mut store) = linked().await;
    for (name, message) in SAMPLES.iter().map(|(name, make)| (name, make())) {
        if matches!(message, Message::Page(_)) {
            continue;
        }
        assert_eq!(cloud.send("store-042", message.clone()), Sent::Queued, "{name}");
        assert_eq!(store.message().await, message, "{name}");
        assert_eq!(store.send("cloud", message.clone()), Sent::Queued, "{name}");
        let told = cloud.told().await;
        assert_eq!(told, Told::Message(site("store-042"), group(), message), "{name}");
    }
    let (here, there) = (store.state("cloud"), cloud.state("store-042"));
    assert!(here.connected && here.dials && there.connected && !there.dials);
    assert_eq!((here.connections, here.dropped, here.refused), (1, 0, 0));
    assert!(here.read_bytes > 1_000 && there.read_bytes > 1_000, "{here:?}");
    assert_eq!(there.software.as_deref(), Some(concat!("holdfast ", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn the_dialling_side_posts_its_pages_in_order() {
    let (mut cloud, store) = linked().await;
    for from in 0..4 {
        assert_eq!(store.send("cloud", Message::Page(page_from(from))), Sent::Queued);
    }
    for from in 0..4 {
        assert_eq!(cloud.message().await, Message::Page(page_from(from)));
    }
}

#[tokio::test]
async fn the_dialling_side_fetches_the_pages_that_it_wants() {
    let (mut cloud, mut store) = linked().await;
    // A page that is there before anybody asks waits.
    cloud.send("store-042", Message::Page(page_from(0)));
    store.send("cloud", wanting(log(), 0));
    assert_eq!(cloud.message().await, wanting(log(), 0));
    assert_eq!(store.message().await, Message::Page(page_from(0)));
    for from in 1..20 {
        cloud.send("store-042", Message::Page(page_from(from)));
        assert_eq!(store.message().await, Message::Page(page_from(from)));
    }
    assert_eq!((cloud.state("store-042").dropped, store.state("cloud").refused), (0, 0));
    // Nothing is fetched any more once it is not wanted; the page waits, bounded.
    store.send(
        "cloud",
        Message::Status(Status {
            count: 7,
            log: log(),
            state: 1,
            heard: vec![],
            healthy: true,
            last: false,
            hangs: false,
            lag_ms: 0,
            retried_ms: 0,
            cursors: vec![],
            missing: vec![],
        }),
    );
    cloud.message().await;
    // A read on the same connection comes after the end of the fetch that was parked there.
    for _ in 0..2 {
        let head = Request::head("/x").body(Full::new(bytes::Bytes::new())).unwrap();
        store.links.read(&site("cloud"), &group(), head).await.unwrap();
    }
    let sent: Vec<Sent> = (20..26).map(|from| cloud.send("store-042", Message::Page(page_from(from)))).collect();
    assert_eq!(sent[..4], [Sent::Queued; 4]);
    assert_eq!(sent[4..], [Sent::Full; 2]);
    store.send("cloud", wanting(log(), 20));
    for from in 20..24 {
        assert_eq!(store.message().await, Message::Page(page_from(from)));
    }
}

#[tokio::test]
async fn the_round_trip_is_measured() {
    let (cloud, store) = linked().await;
    // Of a loopback, so far below a second as soon as one beat is not held up by the machine.
    for (here, peer) in [(&store, "cloud"), (&cloud, "store-042")] {
        let measured = || here.state(peer).round_trip_us.is_some_and(|us| us < 500_000);
        until(measured, || format!("no round trip in {:?}", here.state(peer))).await;
    }
}

#[tokio::test]
async fn a_read_is_answered_by_the_other_site_whoever_dialled() {
    let (cloud, store) = linked().await;
    for (asking, asked, name) in [(&store, "cloud", "store-042"), (&cloud, "store-042", "cloud")] {
        let head = Request::head("/transactions").body(Full::new(bytes::Bytes::new())).unwrap();
        let response = asking.links.read(&site(asked), &group(), head).await.unwrap();
        assert_eq!(response.headers()["content-length"], "1234");
        // More than are parked at a time, and bodies larger than a window.
        for round in 0..10 {
            let body = vec![b'x'; round * 50_000];
            let request = Request::put("/transactions?x=1").body(Full::new(bytes::Bytes::from(body))).unwrap();
            let response = asking.links.read(&site(asked), &group(), request).await.unwrap();
            assert_eq!((response.status().as_u16(), &response.headers()["x-answered"]), (203, &"yes".parse().unwrap()));
            assert!(response.headers().keys().all(|name| !name.as_str().starts_with("holdfast")));
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let line = format!("PUT /transactions?x=1 from {name} for transactions@store-042: ");
            assert!(body.starts_with(line.as_bytes()), "{body:?}");
            assert_eq!(body.len(), line.len() + round * 100_000);
        }
    }
}

#[tokio::test]
async fn a_read_that_nobody_can_answer_fails_with_the_reason() {
    let (cloud, store) = linked().await;
    let read = |links: &crate::link::Links, to: &str| {
        let (links, to) = (links.clone(), site(to));
        let request = Request::get("/x").body(Full::new(bytes::Bytes::new())).unwrap();
        async move { links.read(&to, &group(), request).await.map(drop).unwrap_err() }
    };
    store.links.stop().await;
    cloud.fails_with("store-042", "").await;
    for (links, to) in [(&cloud.links, "store-042"), (&store.links, "cloud"), (&store.links, "moon")] {
        let error = read(links, to).await;
        assert!(matches!(error, ReadError::NotConnected(_)), "{error}");
    }
}

#[tokio::test]
async fn an_orderly_stop_lets_the_last_words_out_and_is_noticed_at_once() {
    let (mut cloud, mut store) = linked().await;
    let last = SAMPLES[3].1();
    store.send("cloud", last.clone());
    store.links.stop().await;
    assert_eq!(cloud.message().await, last);
    cloud.down("store-042").await;
    store.down("cloud").await;
    assert_eq!(store.send("cloud", last), Sent::NotConnected);
    cloud.links.stop().await;
}

#[tokio::test]
async fn where_both_sides_dial_one_connection_stays() {
    let way_back = Relay::to_nobody(0).await;
    let dial = vec![crate::link::Dial { site: site("store-042"), url: way_back.url() }];
    let mut cloud = start(crate::link::LinkSettings { dial, ..hub() }).await;
    let listening = crate::link::LinkSettings { listen: Some(([127, 0, 0, 1], 0).into()), ..edge(cloud.url()) };
    let store = start(listening).await;
    way_back.target.send_replace(store.links.local_addr());
    cloud.up("store-042").await;
    // Whichever connection came first, a second later they have agreed on one: many times the pause between two dials.
    let connections =
        || [cloud.state("store-042"), store.state("cloud")].map(|state| (state.connected, state.connections));
    let settled = async {
        loop {
            let before = connections();
            tokio::time::sleep(std::time::Duration::from_millis(1_000)).await;
            if connections() == before && before.iter().all(|(connected, _)| *connected) {
                break;
            }
        }
    };
    let settled = tokio::time::timeout(SOON, settled).await;
    assert!(settled.is_ok(), "the two take turns in replacing each other: {:?}", connections());
}
