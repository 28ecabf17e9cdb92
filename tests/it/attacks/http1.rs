//! By HTTP/1: bodies that do not end, readers that do not read, heads that do not come, and connections that say
//! nothing.
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::{Victim, at_once};
use crate::harness::Call;

const PATIENCE: Duration = Duration::from_secs(2);
const MIB: usize = 1 << 20;
/// How long a stream of nonsense is kept up.
const KEPT_UP: Duration = Duration::from_secs(4);

/// With a small window, so that what is not read stays at the appliance.
pub fn connect(at: SocketAddr) -> Option<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
    socket.set_recv_buffer_size(4 << 10).ok()?;
    socket.connect_timeout(&at.into(), PATIENCE).ok()?;
    let stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

/// Says this and is held, whether it could say all of it or not.
fn says(at: SocketAddr, pieces: &[&[u8]]) -> Option<TcpStream> {
    let mut stream = connect(at)?;
    for piece in pieces {
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    Some(stream)
}

fn post(length: usize, n: usize) -> String {
    format!("POST /tx/x{n} HTTP/1.1\r\nHost: a\r\nX-Session-Id: s{n}\r\nContent-Length: {length}\r\n\r\n")
}

#[test]
fn bodies_that_lack_their_last_byte() {
    let victim = Victim::start();
    victim.under("80 bodies of 8 MiB", |at| {
        let body = std::sync::Arc::new(vec![b'x'; 8 * MIB - 1]);
        at_once(80, move |n| says(at, &[post(8 * MIB, n).as_bytes(), &body]))
    });
    victim.under("900 bodies of 64 KiB", |at| {
        let body = std::sync::Arc::new(vec![b'x'; 64 << 10]);
        at_once(900, move |n| says(at, &[post(8 * MIB, n).as_bytes(), &body]))
    });
    victim.under("900 bodies that come byte by byte", |at| {
        let held = at_once(900, move |n| says(at, &[post(8 * MIB, n).as_bytes()]));
        let end = Instant::now() + KEPT_UP;
        while Instant::now() < end {
            held.iter().for_each(|mut stream| drop(stream.write_all(b"x")));
        }
        held
    });
}

#[test]
fn readers_that_do_not_read() {
    let victim = Victim::start();
    victim.under("1,030 readers of 4 MiB", |at| {
        at_once(1_030, move |_| says(at, &[b"GET /tx/big HTTP/1.1\r\nHost: a\r\n\r\n"]))
    });
    victim.under("1,030 writers with answers of 4 MiB", |at| {
        at_once(1_030, move |n| says(at, &[post(0, n).replace("/tx/x", "/tx/big").as_bytes()]))
    });
    victim.under("200 connections with 100 requests each, one after the other", |at| {
        let many = b"GET /tx/big HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
        at_once(200, move |_| says(at, &[&many]))
    });
}

#[test]
fn recorded_answers_that_nobody_takes() {
    let victim = Victim::start();
    victim.appliance.tell(&Call::post("/tx/long").key("one")).expect(201);
    victim.under("1,030 times the same recorded answer of 512 KiB", |at| {
        let call = "POST /tx/long HTTP/1.1\r\nHost: a\r\nIdempotency-Key: one\r\nContent-Length: 0\r\n\r\n";
        at_once(1_030, move |_| says(at, &[call.as_bytes()]))
    });
    victim.under("1,030 writers with answers of 512 KiB", |at| {
        at_once(1_030, move |n| says(at, &[post(0, n).replace("/tx/x", "/tx/long").as_bytes()]))
    });
}

#[test]
fn a_body_made_for_who_looks_into_it() {
    let victim = Victim::with(|tx| tx.set("lane", "[\"json:/0/lane\", \"json:/lane\", \"path\"]"));
    victim.under("4 bodies of 8 MiB of empty keys", |at| {
        let mut body = b"[".to_vec();
        while body.len() + 8 < 8 * MIB {
            body.extend(b"{\"\":0},");
        }
        body.extend(b"0]");
        let body = std::sync::Arc::new(body);
        at_once(4, move |n| {
            let mut stream = says(at, &[post(body.len(), n).as_bytes(), &body])?;
            stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).ok()?;
            Some(stream)
        })
    });
    victim.under("4 bodies of 8 MiB of brackets", |at| {
        let body = std::sync::Arc::new(vec![b'['; 8 * MIB]);
        at_once(4, move |n| says(at, &[post(body.len(), n).as_bytes(), &body]))
    });
}

#[test]
fn heads_that_do_not_come() {
    let victim = Victim::start();
    victim.under("8 streams of empty lines", |at| {
        let lines = b"\r\n".repeat(16 << 10);
        at_once(8, move |_| {
            let end = Instant::now() + KEPT_UP;
            let mut stream = connect(at)?;
            while Instant::now() < end {
                if stream.write_all(&lines).is_err() {
                    stream = connect(at)?;
                }
            }
            Some(stream)
        })
    });
    victim.under("1,030 heads of 31 KiB without an end", |at| {
        let head = format!("GET /tx/x HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(31 << 10));
        at_once(1_030, move |_| says(at, &[head.as_bytes()]))
    });
    victim.under("1,030 heads that come byte by byte", |at| {
        let held = at_once(1_030, move |_| says(at, &[b"GET /tx/x HTTP/1.1\r\nHost: a\r\nX: "]));
        let end = Instant::now() + KEPT_UP;
        while Instant::now() < end {
            held.iter().for_each(|mut stream| drop(stream.write_all(b"x")));
        }
        held
    });
    victim.under("1,100 connections that say nothing", |at| at_once(1_100, move |_| connect(at)));
}

#[test]
fn connections_to_the_admin_listener_that_say_nothing() {
    let victim = Victim::start();
    let admin = victim.appliance.site.admin;
    victim.under("1,100 silent connections to the admin listener", move |_| at_once(1_100, move |_| connect(admin)));
    assert_eq!(victim.appliance.api("/status")["site"], "store");
}
