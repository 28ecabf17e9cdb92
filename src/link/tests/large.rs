//! What is longer than a window goes on a stream of its own.
use std::sync::Arc;

use super::kit::*;
use crate::link::{Limits, LinkSettings, Sent};
use crate::model::{Request, WriteId};
use crate::service::Message;
use crate::wire::samples::{log, wish};

/// A wish with a body of so many bytes, which do not compress.
fn wish_of(n: u64, bytes: usize) -> Message {
    let Message::Wish(mut wish) = wish(0) else { unreachable!("a sample of a wish") };
    (wish.id, wish.attempt) = (WriteId { log: log(), n }, 1);
    let body = (0..bytes as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8);
    wish.request = Arc::new(Request { body: body.collect(), ..Request::clone(&wish.request) });
    Message::Wish(wish)
}
fn id_of(message: &Message) -> u64 {
    match message {
        Message::Wish(wish) => wish.id.n,
        Message::Revoke { id, .. } => id.n,
        other => panic!("neither a wish nor a revocation: {other:?}"),
    }
}
fn revoke(n: u64) -> Message {
    Message::Revoke { id: WriteId { log: log(), n }, attempt: 1 }
}

#[tokio::test]
async fn a_long_wish_on_a_thin_line_holds_up_neither_wishes_nor_revocations() {
    // 4 MB at 1 MB/s: seconds, whichever side sends it.
    for from_hub in [false, true] {
        let mut cloud = start(hub()).await;
        let relay = Relay::to(cloud.links.local_addr().unwrap(), 1 << 20).await;
        let mut store = start(edge(relay.url())).await;
        cloud.up("store-042").await;
        store.up("cloud").await;
        let (from, to, name) = if from_hub { (cloud, &mut store, "store-042") } else { (store, &mut cloud, "cloud") };
        assert_eq!(from.send(name, wish_of(1, 4 << 20)), Sent::Queued);
        for n in 2..=20 {
            assert_eq!(from.send(name, wish_of(n, 1_000)), Sent::Queued);
        }
        assert_eq!(from.send(name, revoke(1)), Sent::Queued);
        let mut came = Vec::new();
        while came.len() < 21 {
            came.push(to.message().await);
        }
        let order: Vec<u64> = came.iter().map(id_of).collect();
        let expected: Vec<u64> = (2..=20).chain([1, 1]).collect();
        assert_eq!(order, expected, "from the hub: {from_hub}");
        assert_eq!(came.pop(), Some(wish_of(1, 4 << 20)));
        let left = from.left(20).await;
        assert!(left.iter().all(|(_, attempt, whole)| *attempt == 1 && *whole), "{left:?}");
        assert_eq!(left.last().map(|(id, ..)| id.n), Some(1), "the long one has left last: {left:?}");
        assert_eq!(from.links.state()[0].queued, 0);
    }
}

#[tokio::test]
async fn what_cannot_leave_is_told_of_at_once() {
    let small = Limits { queue_large_bytes: 100_000, message_bytes: 1 << 20, ..hub().limits };
    let mut cloud = start(hub()).await;
    let relay = Relay::to(cloud.links.local_addr().unwrap(), 4 << 10).await;
    let mut store = start(LinkSettings { limits: small, ..edge(relay.url()) }).await;
    cloud.up("store-042").await;
    store.up("cloud").await;
    // As many as may be under way, one that waits, and one too many.
    let sent: Vec<Sent> = (1..=2).map(|n| store.send("cloud", wish_of(n, 90_000))).collect();
    assert_eq!(sent[0], Sent::Queued);
    let mut n = 2;
    while store.send("cloud", wish_of(n, 90_000)) == Sent::Queued {
        n += 1;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let left = store.left(1).await;
    let full = left.iter().find(|(_, _, whole)| !whole).map(|(id, ..)| id.n);
    assert!(full.is_some_and(|full| full <= n), "{left:?}");
    assert_eq!(store.send("moon", wish_of(n + 1, 10)), Sent::NoSuchSite);
    assert!(store.left(left.len() + 1).await.contains(&(WriteId { log: log(), n: n + 1 }, 1, false)));
}

#[tokio::test]
async fn a_message_that_is_too_long_for_the_line_is_given_up_and_others_go_on() {
    let limits = Limits { message_bytes: 200_000, ..hub().limits };
    let mut cloud = start(LinkSettings { limits, ..hub() }).await;
    let mut store = start(LinkSettings { limits, ..edge(cloud.url()) }).await;
    cloud.up("store-042").await;
    store.up("cloud").await;
    for from_hub in [false, true] {
        let (from, to, name) = if from_hub { (&cloud, &mut store, "store-042") } else { (&store, &mut cloud, "cloud") };
        assert_eq!(from.send(name, wish_of(1, 300_000)), Sent::Queued);
        assert_eq!(from.send(name, wish_of(2, 100_000)), Sent::Queued);
        assert_eq!(id_of(&to.message().await), 2);
        assert!(from.left(2).await.contains(&(WriteId { log: log(), n: 1 }, 1, false)));
    }
}
