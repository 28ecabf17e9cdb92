//! G9 by volume: answers that no service gives, however they are cut. A failure prints its seed.
use bytes::BytesMut;

use super::decode::{Decoder, Piece};
use super::head::{self, HEAD_MAX};
use crate::gateway::tests::fuzz::{mutated, rng};

const ANSWERS: usize = 50_000;

const HONEST: [&[u8]; 6] = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"1\"\r\n\r\nhello",
    b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n00a\r\n0123456789\r\n0\r\nA: \
        b\r\n\r\n",
    b"HTTP/1.0 302 Found elsewhere\r\nLocation: /x\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\nto the end",
    b"\r\nHTTP/1.1  409 \nX: a\n b\nContent-Length: 3\nConnection: keep-alive, x\n\nno!",
    b"ICY 200 OK\r\nContent-Length: 2, 2\r\nKeep-Alive: timeout=5\r\n\r\nok",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
];

/// All of a body that can be had of these bytes, and how it ended.
fn body(framing: head::Framing, pieces: &[&[u8]]) -> (Vec<u8>, &'static str, bool) {
    let (mut decoder, mut bytes, mut all, mut exact) = (Decoder::new(framing), BytesMut::new(), Vec::new(), true);
    for piece in pieces {
        bytes.extend_from_slice(piece);
        loop {
            match decoder.next(&mut bytes, &mut exact) {
                Ok(Some(Piece::Data(data))) => all.extend_from_slice(&data),
                Ok(Some(Piece::Trailers(_))) => {}
                Ok(Some(Piece::End)) => return (all, "end", exact),
                Ok(None) => break,
                Err(_) => return (all, "malformed", false),
            }
        }
    }
    (all, if decoder.may_end() { "may end" } else { "cut" }, exact)
}

#[test]
fn no_answer_ends_its_reader_and_each_is_read_the_same_however_it_is_cut() {
    let mut rng = rng();
    let (mut read, mut whole) = (0, 0);
    for _ in 0..ANSWERS {
        let honest = HONEST[rng.usize(..HONEST.len())];
        let bytes = mutated(&mut rng, honest);
        let skip = head::leading_empty_lines(&bytes);
        let Some(length) = head::head_length(&bytes[skip..], 0) else {
            // Of one that is not complete at most its status is known.
            let _ = head::early_status(&bytes);
            continue;
        };
        // Found at the same place however much of it was looked at before.
        let before = rng.usize(..length);
        assert_eq!(head::head_length(&bytes[skip..], before), Some(length), "{:?}", String::from_utf8_lossy(&bytes));
        let to_head = rng.u8(..) < 20;
        let Ok(head) = head::parse(&bytes[skip..skip + length], to_head) else { continue };
        read += 1;
        assert!((100..=999).contains(&head.status) && length <= HEAD_MAX);
        let rest = &bytes[skip + length..];
        let (data, end, exact) = body(head.framing, &[rest]);
        let mut cuts: Vec<&[u8]> = rest.chunks(rng.usize(1..8)).collect();
        cuts.push(&[]);
        let (data_again, end_again, exact_again) = body(head.framing, &cuts);
        if end != "malformed" && end_again != "malformed" {
            assert_eq!(
                (&data, end, exact),
                (&data_again, end_again, exact_again),
                "{:?}",
                String::from_utf8_lossy(&bytes)
            );
        } else {
            assert_eq!(end, end_again, "{:?}", String::from_utf8_lossy(&bytes));
        }
        whole += usize::from(end == "end");
    }
    println!("of {ANSWERS} answers {read} had a head, {whole} of these were whole");
    assert!(read > ANSWERS / 10 && whole > ANSWERS / 50, "{read} {whole}");
}
