//! One of everything.
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dedup::Fingerprint;
use crate::model::{
    After, Answer, Chain, ClientMark, Digest, Facts, Group, Header, HeldState, Item, KeyHash, Lane, LogId, Outcome,
    Request, SiteName, Stretch, Verdict, Who, WriteId,
};
use crate::service::{Cursor, Known, Message, Page, Status, Wish, WishWord};
use crate::wire::{Difference, Given, Hello, Join, Joined, Terms, Welcome};

pub fn group() -> Group {
    Group { service: "transactions".into(), store: "store-042".into() }
}
pub fn log() -> LogId {
    LogId { store: [7; 16], incarnation: 2 }
}
pub fn id(n: u64) -> WriteId {
    WriteId { log: log(), n }
}
pub fn request(body: usize) -> Request {
    Request {
        method: "POST".into(),
        target: "/transactions?till=3".into(),
        authority: "pos.example".into(),
        headers: vec![Header { name: "content-type".into(), value: b"text/plain".to_vec() }],
        body: vec![b'x'; body].into(),
    }
}
fn answer() -> Answer {
    let headers = vec![Header { name: "location".into(), value: b"/transactions/1".to_vec() }];
    Answer { status: 201, headers, body: "ok".into(), omitted: Some(Digest([3; 32])) }
}
pub fn facts() -> Facts {
    Facts {
        lane: Lane(5),
        key: Some(KeyHash([6; 16])),
        digest: Digest([8; 32]),
        original_ms: 1_700_000_000_000,
        traceparent: Some("00-a-b-01".into()),
        client: Some(ClientMark::of([4; 16], &Who([5; 32]))),
        renews: Vec::new(),
        creates: false,
    }
}
pub fn after() -> After {
    let mut after = After::new();
    after.raise(log(), 9);
    after.add_stretch(Stretch { log: log(), first: 11, last: 12 });
    after.add_id(id(4));
    after
}
pub fn outcome() -> Outcome {
    Outcome {
        verdict: Verdict::Applied,
        after: after(),
        repeats: Some(id(2)),
        status: 201,
        answer: Some(Arc::new(answer())),
        told_by_probe: true,
        unknown: vec![id(3)],
    }
}
/// Positions from 11 on, requests with bodies of `body` bytes.
pub fn page(records: u64, body: usize) -> Page {
    let item = |position| Item {
        position,
        chain: Chain([position as u8; 8]),
        id: id(position),
        facts: facts(),
        outcome: outcome(),
        decides: Some((id(1), 1)),
        request: Some(Arc::new(request(body))),
    };
    let items = (11..11 + records).map(|position| Arc::new(item(position))).collect();
    Page { log: log(), site: SiteName::new("store-042"), from: 10, items }
}
pub fn hello() -> Hello {
    let keys = BTreeMap::from([("lane".to_owned(), 1), ("replicas".to_owned(), 2)]);
    Hello {
        protocol: 1,
        realm: "acme".into(),
        site: SiteName::new("store-042"),
        to: SiteName::new("cloud"),
        boot: [1; 16],
        software: "holdfast 0.1.0".into(),
        services: vec![Terms { service: "transactions".into(), keys }],
        store: [3; 16],
    }
}
pub fn welcome() -> Welcome {
    let differs = vec![Difference { service: "transactions".into(), keys: vec!["lane".into()] }];
    let software = "holdfast 0.1.0".into();
    Welcome { site: SiteName::new("cloud"), boot: [2; 16], software, differs, store: [4; 16] }
}
pub fn join() -> Join {
    let software = "holdfast 0.1.0".into();
    Join { site: SiteName::new("store-042"), secret: [5; 16], request: vec![48, 130, 1], software }
}
pub fn joined() -> [Joined; 2] {
    let given = Given {
        hub: SiteName::new("cloud"),
        realm: "acme".into(),
        certificate: "-----BEGIN".into(),
        authorities: "-----END".into(),
    };
    [Joined::Given(given), Joined::Refused { code: "used-code".into(), detail: "it was used".into() }]
}
pub fn prints(count: u64) -> Vec<Fingerprint> {
    let print = |n| Fingerprint { key: KeyHash([9; 16]), origin: SiteName::new("store-042"), id: id(n) };
    (0..count).map(print).collect()
}
pub fn status() -> Message {
    let cursor = Cursor {
        log: log(),
        site: SiteName::new("store-042"),
        received: 9,
        chain: Chain([4; 8]),
        decided: 8,
        want: true,
        again: 5,
    };
    Message::Status(Status {
        count: 7,
        log: log(),
        state: 6,
        heard: vec![(log(), 5)],
        healthy: true,
        last: false,
        hangs: true,
        lag_ms: 12,
        retried_ms: 7,
        cursors: vec![cursor],
        missing: vec![id(8)],
    })
}
pub fn wish(body: usize) -> Message {
    Message::Wish(Box::new(Wish {
        id: id(1),
        attempt: 2,
        after_ms: 800,
        facts: Facts { renews: vec![id(3)], ..facts() },
        must: after(),
        request: Arc::new(request(body)),
        pages: vec![page(1, 1)],
    }))
}
fn word(word: WishWord) -> Message {
    Message::Word { id: id(1), attempt: 2, word }
}
fn reply(known: Known) -> Message {
    Message::Reply { token: 7, known }
}

type Make = fn() -> Message;
pub const SAMPLES: [(&str, Make); 21] = [
    ("status", status),
    ("page", || Message::Page(page(1, 2))),
    ("wish", || wish(2)),
    ("revoke", || Message::Revoke { id: id(1), attempt: 2 }),
    ("ask", || Message::Ask { id: id(1), attempt: 2 }),
    ("word-stored", || word(WishWord::Stored)),
    ("word-sending", || word(WishWord::Sending)),
    ("word-done", || word(WishWord::Done { outcome: outcome(), pages: vec![page(1, 1)] })),
    ("word-unknown", || word(WishWord::Unknown)),
    ("word-void", || word(WishWord::Void)),
    ("word-not-here", || word(WishWord::NotHere)),
    ("word-of-another", || word(WishWord::OfAnother(HeldState::Done))),
    ("question", || Message::Question {
        token: 7,
        key: KeyHash([6; 16]),
        digest: Digest([8; 32]),
        who: Some(Who([5; 32])),
    }),
    ("reply-nothing", || reply(Known::Nothing)),
    ("reply-other-request", || reply(Known::OtherRequest)),
    ("reply-of-another", || reply(Known::OfAnother(HeldState::Unknown))),
    ("reply-in-flight", || reply(Known::InFlight)),
    ("reply-recorded", || {
        let answer = Some(Arc::new(answer()));
        reply(Known::Recorded {
            id: id(1),
            verdict: Verdict::Duplicate,
            repeats: Some(id(2)),
            position: 3,
            pages: vec![page(1, 1)],
            answer,
            seen: after(),
        })
    }),
    ("reply-unknown", || reply(Known::Unknown)),
    ("again", || Message::Again(page(4, 1))),
    ("ahead", || Message::Ahead { site: SiteName::new("store-042"), item: page(1, 1).items[0].clone() }),
];
