//! The admin listener among strangers, and descriptors that are few: whoever comes, and however many, work goes on.
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::process::Process;
use crate::harness::{Appliance, Call, SOON, Service, Site, Upstream, wait_for};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Of the process; the usual limit of a session.
const DESCRIPTORS: usize = 1_024;

/// With few descriptors, of which the process is given fewer still at first.
fn start(service: &Upstream) -> Appliance {
    let site = Site::alone().service(Service::new("tx", service).replicas(&["store"]));
    let run = site.command();
    let mut command = Command::new("sh");
    let limit = format!("ulimit -Sn 128 && ulimit -Hn {DESCRIPTORS} && exec \"$@\"");
    command.args(["-c", &limit, "sh"]).arg(run.get_program()).args(run.get_args()).stdin(Stdio::null());
    let process = Process::spawn(command, "store", &site.folder().join("holdfast.log"));
    let mut appliance = Appliance { process, site };
    appliance.wait_ready();
    appliance
}

fn descriptors(appliance: &Appliance) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", appliance.process.id())).expect("it runs").count()
}

fn resident_kib(appliance: &Appliance) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", appliance.process.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Connections that say `text` and nothing else.
fn strangers(at: SocketAddr, count: usize, text: &str) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = TcpStream::connect(at).ok()?;
        // It may be closed already.
        let _ = stream.write_all(text.as_bytes());
        Some(stream)
    };
    (0..count).filter_map(open).collect()
}

/// The slowest of some reads and writes of another client.
fn slowest(appliance: &Appliance, name: &str) -> Duration {
    let timed = |n: usize| {
        let began = Instant::now();
        appliance.tell(&Call::post(&format!("/tx/{name}{n}")).key(&format!("{name}{n}"))).expect(201);
        appliance.tell(&Call::get(&format!("/tx/{name}{n}")));
        began.elapsed()
    };
    (0..40).map(timed).max().expect("there are some")
}

#[test]
fn strangers_at_the_admin_listener_cost_the_gateway_nothing() {
    let service = Upstream::start();
    let mut appliance = start(&service);
    slowest(&appliance, "before");
    let (descriptors_before, before_kib) = (descriptors(&appliance), resident_kib(&appliance));
    for text in [
        "",
        "GET /health/ready HTTP/1.1\r\nHost: a\r\nX-",
        "POST /api/v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
    ] {
        let held = strangers(appliance.site.admin, 1_100, text);
        let slowest = slowest(&appliance, &format!("during{}", text.len()));
        let (now, now_kib) = (descriptors(&appliance), resident_kib(&appliance));
        assert!(now < descriptors_before + 256, "{descriptors_before} descriptors before, {now} during {text:?}");
        assert!(now_kib < before_kib + (64 << 10), "{before_kib} KiB before, {now_kib} during {text:?}");
        assert!(slowest < Duration::from_secs(2), "{slowest:?} with strangers that say {text:?}");
        // The operator too gets through.
        assert_eq!(appliance.api("/status")["site"], "store");
        drop(held);
    }
    wait_for("descriptors are given back", SOON, || descriptors(&appliance) < descriptors_before + 64);
    appliance.stop();
}

#[test]
fn strangers_at_the_gateway_leave_descriptors_for_work() {
    let service = Upstream::start();
    let mut appliance = start(&service);
    let mut known = TcpStream::connect(appliance.at()).unwrap();
    let held = strangers(appliance.at(), 1_100, "");
    wait_for("all are taken or refused", SOON, || {
        let page = Call::get("/metrics").told(appliance.site.admin).expect(200).text();
        page.lines().any(|line| {
            line.starts_with("holdfast_connections_refused_total{reason=\"descriptors\"}") && !line.ends_with(" 0")
        })
    });
    let now = descriptors(&appliance);
    assert!(now < DESCRIPTORS - 128, "{now} of {DESCRIPTORS} descriptors are taken");
    // Whoever was there before them is served, and so are the operator and whoever comes after.
    let call = Call::post("/tx/known").key("known");
    known.write_all(&call.bytes()).unwrap();
    let mut answer = String::new();
    known.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(appliance.api("/status")["site"], "store");
    drop(held);
    wait_for("clients are served again", SOON, || {
        appliance.try_tell(&Call::post("/tx/after").key("after")).is_some_and(|told| told.status == 201)
    });
    assert!(appliance.log().contains("the last descriptors of this process are kept"), "it is said");
    appliance.stop();
}

#[test]
fn a_probe_that_asks_with_head_is_answered_as_one_that_asks_with_get() {
    let service = Upstream::start();
    let site = Site::alone().service(Service::new("tx", &service).replicas(&["store"]));
    let (listen, command) = (site.admin, site.command());
    let toml = site.toml().replace("\n[log]", &format!("token = \"{TOKEN}\"\n\n[log]"));
    std::fs::write(site.folder().join("holdfast.toml"), toml).unwrap();
    let process = Process::spawn(command, "store", &site.folder().join("holdfast.log"));
    let mut appliance = Appliance { process, site };
    appliance.wait_ready();
    for path in ["/health/live", "/health/ready"] {
        let told = Call::new("HEAD", path).told(listen).expect(200);
        assert!(told.body.is_empty());
    }
    Call::new("HEAD", "/metrics").told(listen).expect(401);
}
