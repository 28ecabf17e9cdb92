//! By HTTP/2, in bytes: what one connection can hold, and floods of frames that cost their sender little.
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::http1::connect;
use super::{Victim, at_once};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const KEPT_UP: Duration = Duration::from_secs(4);
const STREAMS: u32 = 100;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block of literals.
fn block(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in lines {
        block.extend([0, name.len() as u8]);
        block.extend(name.as_bytes());
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
    }
    block
}

fn request(method: &str, path: &str, flags: u8, stream: u32) -> Vec<u8> {
    let lane = format!("s{stream}");
    let lines =
        [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path), ("x-session-id", &lane)];
    frame(HEADERS, flags | END_HEADERS, stream, &block(&lines))
}

/// A connection that has said its preface and these settings.
fn begin(at: SocketAddr, settings: &[u8]) -> Option<TcpStream> {
    let mut stream = connect(at)?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").ok()?;
    stream.write_all(&frame(SETTINGS, 0, 0, settings)).ok()?;
    Some(stream)
}

/// Reads what comes and throws it away, until the connection ends.
fn drain(stream: &TcpStream) {
    let Ok(mut stream) = stream.try_clone() else { return };
    std::thread::spawn(move || {
        let mut bytes = [0; 16 << 10];
        while !matches!(stream.read(&mut bytes), Ok(0)) {
            // An error may be a silence, or the end: then the writer finds it too.
            if stream.take_error().is_ok_and(|error| error.is_some()) {
                return;
            }
        }
    });
}

/// Sends the same again and again; whoever is thrown out comes back.
fn flood(at: SocketAddr, opening: Vec<u8>, reads: bool, next: impl Fn(u32) -> Vec<u8>) -> Option<TcpStream> {
    let end = Instant::now() + KEPT_UP;
    let mut held = None;
    while Instant::now() < end {
        let Some(mut stream) = begin(at, &[]) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        if reads {
            drain(&stream);
        }
        let mut sent = stream.write_all(&opening);
        let mut number = 1;
        while sent.is_ok() && Instant::now() < end {
            sent = stream.write_all(&next(number));
            number += 2;
        }
        held = Some(stream);
    }
    held
}

#[test]
fn one_connection_with_many_bodies_and_many_with_a_few() {
    let victim = Victim::start();
    victim.under("one connection with 100 bodies", |at| {
        let mut stream = begin(at, &[]).expect("a connection");
        for n in 0..STREAMS {
            let _ = stream.write_all(&request("POST", "/tx/x", 0, 2 * n + 1));
        }
        let mut sender = stream.try_clone().expect("one more");
        // As much as windows allow, round after round.
        let piece = vec![b'x'; 1 << 10];
        let sending = std::thread::spawn(move || {
            let end = Instant::now() + KEPT_UP;
            while Instant::now() < end {
                for n in 0..STREAMS {
                    if sender.write_all(&frame(DATA, 0, 2 * n + 1, &piece)).is_err() {
                        return;
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        drain(&stream);
        sending.join().expect("it does not panic");
        stream
    });
    victim.under("900 connections with 4 windows of a body each", |at| {
        let piece = vec![b'x'; 16 << 10];
        at_once(900, move |_| {
            let mut stream = begin(at, &[])?;
            for n in 0..4 {
                let _ = stream.write_all(&request("POST", "/tx/x", 0, 2 * n + 1));
            }
            for n in (0..4).cycle().take(15) {
                let _ = stream.write_all(&frame(DATA, 0, 2 * n + 1, &piece));
            }
            Some(stream)
        })
    });
}

#[test]
fn windows_that_stay_shut() {
    let victim = Victim::start();
    // SETTINGS_INITIAL_WINDOW_SIZE = 0.
    let shut = [0, 4, 0, 0, 0, 0];
    for (name, connections) in [("one connection with 100 readers", 1), ("900 connections with 100 readers", 900)] {
        victim.under(&format!("{name} and no window"), move |at| {
            at_once(connections, move |_| {
                let mut stream = begin(at, &shut)?;
                for n in 0..STREAMS {
                    let _ = stream.write_all(&request("GET", "/tx/big", END_STREAM, 2 * n + 1));
                }
                Some(stream)
            })
        });
    }
    victim.under("200 connections with 100 writers whose answers are long, and no window", move |at| {
        at_once(200, move |_| {
            let mut stream = begin(at, &shut)?;
            for n in 0..STREAMS {
                let _ = stream.write_all(&request("POST", "/tx/big", END_STREAM, 2 * n + 1));
            }
            Some(stream)
        })
    });
}

#[test]
fn streams_that_are_begun_and_reset() {
    let victim = Victim::start();
    for (name, path) in [("begun and reset at once", "/tx/small"), ("reset with a long answer", "/tx/big")] {
        victim.under(&format!("4 connections of streams {name}"), move |at| {
            at_once(4, move |_| {
                flood(at, Vec::new(), true, |stream| {
                    let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
                    [request("GET", path, END_STREAM, stream), reset].concat()
                })
            })
        });
    }
}

#[test]
fn floods_of_frames() {
    let victim = Victim::start();
    let begun = frame(HEADERS, END_STREAM, 1, &block(&[(":method", "GET"), (":scheme", "http"), (":path", "/tx/x")]));
    let line = block(&[("x-more", &"x".repeat(120))]).repeat(100);
    let more = move |_| frame(CONTINUATION, 0, 1, &line);
    victim.under("heads that go on in frame after frame", move |at| {
        at_once(4, move |_| flood(at, begun.clone(), true, more.clone()))
    });
    let body = request("POST", "/tx/x", 0, 1);
    let floods: [(&str, Vec<u8>, Vec<u8>); 6] = [
        ("pings", Vec::new(), frame(PING, 0, 0, b"12345678")),
        ("settings", Vec::new(), frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("empty settings", Vec::new(), frame(SETTINGS, 0, 0, &[])),
        ("empty pieces of a body", body.clone(), frame(DATA, 0, 1, &[])),
        ("windows", body, frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())),
        ("priorities", Vec::new(), frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 7])),
    ];
    for (name, opening, what) in floods {
        for (reads, how) in [(true, "by a client that reads"), (false, "by one that does not")] {
            let (opening, many) = (opening.clone(), what.repeat(500));
            victim.under(&format!("{name} {how}"), move |at| {
                at_once(4, move |_| flood(at, opening.clone(), reads, |_| many.clone()))
            });
        }
    }
}
