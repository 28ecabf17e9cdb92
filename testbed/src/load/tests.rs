//! The parts together, on real sockets.
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;

use super::*;

fn maker() -> Maker {
    Arc::new(|ticket: Ticket| {
        let request = Request::builder().method(Method::POST).uri("/orders").header("host", "t");
        let request = request.header("idempotency-key", format!("k{}", ticket.n % 90));
        request.body(Full::new(Bytes::from_static(b"{}"))).unwrap()
    })
}

fn plan(target: SocketAddr) -> Plan {
    Plan {
        target,
        connections: 4,
        threads: 2,
        pace: Pace::Closed,
        requests_max: 100,
        duration_max: Duration::from_secs(20),
        timeout: Duration::from_secs(10),
        make: maker(),
        keep_samples: true,
    }
}

fn counting(name: &str) -> Upstream {
    Upstream::start(UpstreamOptions { count_keys: true, ..UpstreamOptions::named(name) }).unwrap()
}

#[test]
fn each_request_is_sent_once_and_counted_once() {
    let upstream = counting("a");
    let report = run(&plan(upstream.address())).unwrap();
    assert_eq!(report.statuses.get(&201), Some(&100));
    assert_eq!((upstream.requests(), report.samples.len(), report.latency.count()), (100, 100, 100));
    assert_eq!(upstream.key_counts(), (80, 10));
    // A client that gets no time before all is sent opens none.
    assert!((1..=4).contains(&upstream.connections()), "kept for the whole plan: {}", upstream.connections());
    assert_eq!(report.complaints(), None);
}

#[test]
fn a_fixed_rate_is_kept_and_a_plan_ends_in_time() {
    let upstream = counting("a");
    let began = Instant::now();
    let pace = Pace::PerSecond(200.0);
    let duration_max = Duration::from_millis(250);
    let report = run(&Plan { pace, duration_max, ..plan(upstream.address()) }).unwrap();
    assert_eq!(report.answered(), 50);
    assert!(began.elapsed() >= Duration::from_millis(240), "the last one is due at 245 ms");
}

#[test]
fn bodies_reach_the_disk_before_the_answer() {
    let path = std::env::temp_dir().join(format!("testbed-upstream-{:08x}", fastrand::u32(..)));
    let options = UpstreamOptions { sync_to: Some(path.clone()), ..UpstreamOptions::named("a") };
    let upstream = Upstream::start(options).unwrap();
    let report = run(&plan(upstream.address())).unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    std::fs::remove_file(&path).unwrap();
    assert_eq!((report.successes(), bytes), (100, 200));
}

#[test]
fn a_cut_line_breaks_requests_and_a_healed_one_carries_them() {
    let upstream = counting("a");
    let relay = Relay::start(upstream.address()).unwrap();
    assert_eq!(run(&plan(relay.address())).unwrap().successes(), 100);
    relay.cut();
    let cut = run(&Plan { requests_max: 8, ..plan(relay.address()) }).unwrap();
    assert_eq!((cut.answered(), cut.broken, upstream.requests()), (0, 8, 100));
    assert_eq!(cut.complaints().as_deref(), Some("8 broken"));
    relay.heal();
    assert_eq!(run(&plan(relay.address())).unwrap().successes(), 100);
}

#[test]
fn the_bare_proxy_passes_everything_on() {
    let upstream = counting("a");
    let (ready, listening) = std::sync::mpsc::channel();
    let target = upstream.address();
    // It serves until its process ends, here that of the tests.
    std::thread::spawn(move || proxy("127.0.0.1:0".parse().unwrap(), target, |address| ready.send(address).unwrap()));
    let report = run(&plan(listening.recv().unwrap())).unwrap();
    assert_eq!((report.successes(), upstream.requests()), (100, 100));
}

#[test]
fn nothing_leaves_this_machine_and_an_empty_plan_is_refused() {
    let elsewhere: SocketAddr = "192.0.2.1:80".parse().unwrap();
    assert!(matches!(run(&plan(elsewhere)), Err(Error::NotLoopback { .. })));
    assert!(matches!(Relay::start(elsewhere), Err(Error::NotLoopback { .. })));
    let here = "127.0.0.1:1".parse().unwrap();
    for empty in [
        Plan { connections: 0, ..plan(here) },
        Plan { threads: 0, ..plan(here) },
        Plan { requests_max: 0, ..plan(here) },
    ] {
        assert!(matches!(run(&empty), Err(Error::EmptyPlan)));
    }
}
