//! A line of log is never worth a sale: whatever is wrong with the place where lines go, the appliance starts, serves,
//! counts what it could not say, and ends when it is asked to.
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::process::{Ended, holdfast};
use crate::harness::{Act, Appliance, Call, SOON, Scene, Service, Site, Upstream, free_port, wait_for};

fn site(service: &Upstream) -> Site {
    Site::alone().service(Service::new("tx", service).replicas(&["store"]))
}

/// A number of the metrics page.
fn metric(appliance: &Appliance, name: &str) -> u64 {
    let page = Call::get("/metrics").told(appliance.site.admin).expect(200).text();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().expect("a number")
}

fn lost(appliance: &Appliance) -> u64 {
    metric(appliance, "holdfast_log_lines_lost_total")
}

#[track_caller]
fn serves(appliance: &Appliance, key: &str) {
    appliance.tell(&Call::post(&format!("/tx/{key}")).key(key)).expect(201);
}

#[test]
fn a_full_disk_under_the_log_costs_lines_and_nothing_else() {
    let service = Upstream::start();
    let mut appliance = site(&service).start_with_log(File::create("/dev/full").unwrap());
    serves(&appliance, "a");
    wait_for("lines are counted as lost", SOON, || lost(&appliance) > 0);
    serves(&appliance, "b");
    appliance.stop();
}

#[test]
fn a_log_file_at_its_limit_of_size_costs_lines_and_nothing_else() {
    let service = Upstream::start();
    let site = site(&service);
    let path = site.folder().join("long.log");
    // 256 MiB, of which nothing is on the disk: as much as this process may write to a file.
    File::create(&path).unwrap().set_len(256 << 20).unwrap();
    let run = site.command();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 524288 && exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::options().append(true).open(&path).unwrap());
    let process = crate::harness::process::Process::spawn_to(command, "store", &site.folder().join("none"));
    let mut appliance = Appliance { process, site };
    appliance.wait_ready();
    serves(&appliance, "a");
    wait_for("lines are counted as lost", SOON, || lost(&appliance) > 0);
    appliance.stop();
}

#[test]
fn a_reader_of_the_log_that_goes_away_costs_lines_and_nothing_else() {
    let service = Upstream::start();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut appliance = site(&service).start_with_log(writer);
    serves(&appliance, "a");
    assert_eq!(lost(&appliance), 0);
    drop(reader);
    appliance.process.signal("TERM");
    assert_eq!(appliance.process.wait_end().code(), Some(0), "the lines of a clean end go nowhere");
}

/// A pipe that is full from the first line on.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    // As much as a pipe holds.
    std::io::Write::write_all(&mut &writer, &vec![b'x'; 64 << 10]).unwrap();
    (reader, writer)
}

#[test]
fn a_pipe_that_nobody_reads_makes_nobody_wait_and_is_used_again() {
    let service = Upstream::start();
    let (mut reader, writer) = full_pipe();
    let mut appliance = site(&service).start_with_log(writer);
    serves(&appliance, "a");
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).map(|_| String::from_utf8_lossy(&all).into_owned())
    });
    appliance.stop();
    let log = reading.join().unwrap().unwrap();
    assert!(log.contains("gateway listens") && log.contains("a second signal ends at once"), "what waited is said");
}

#[test]
fn an_end_waits_only_a_moment_for_a_log_that_nobody_reads() {
    let service = Upstream::start();
    let (reader, writer) = full_pipe();
    let mut appliance = site(&service).start_with_log(writer);
    serves(&appliance, "a");
    appliance.stop();
    drop(reader);
}

#[test]
fn a_start_that_must_fail_ends_with_its_code_where_nobody_can_be_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let service = Upstream::start();
    let site = Site::alone()
        .admin(&taken.local_addr().unwrap().to_string())
        .service(Service::new("tx", &service).replicas(&["store"]));
    let mut command = site.command();
    command.stderr(File::create("/dev/full").unwrap());
    let status = command.status().unwrap();
    assert!(status.code().is_some_and(|code| (64..=78).contains(&code)), "{status}: {:?}", status.signal());
}

/// Standard output is a pipe that is closed before the first byte.
fn into_a_closed_pipe(words: &[&str]) -> Ended {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = holdfast();
    let ended = command.args(words).stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&ended.stderr).into_owned();
    Ended { code: ended.status.code(), out: String::new(), err }
}

#[test]
fn a_command_whose_reader_has_seen_enough_ends_quietly() {
    let service = Upstream::start();
    let appliance = site(&service).start();
    let admin = format!("http://{}", appliance.site.admin);
    let file = appliance.site.folder().join("holdfast.toml");
    let file = file.to_str().unwrap();
    for words in [
        &["status", "--admin", &admin][..],
        &["writes", "ls", "--admin", &admin],
        &["check", "--schema"],
        &["--help"],
        &["--version"],
    ] {
        let ended = into_a_closed_pipe(words);
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{words:?}");
    }
    let checked = into_a_closed_pipe(&["check", "--config", file]);
    assert!(checked.code.is_some_and(|code| code != 101) && !checked.err.contains("panicked"), "{checked:?}");
    // What was asked for and cannot be had is an error.
    let mut command = holdfast();
    let full = File::create("/dev/full").unwrap();
    let ended = command.args(["status", "--admin", &admin]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(74), "{said}");
    assert!(said.contains("cannot be written"), "{said}");
}

/// Under systemd standard error is its journal, and each line says how grave it is.
#[test]
fn systemd_is_told_how_grave_each_line_is() {
    let mut service = Upstream::start();
    let site = site(&service);
    let path = site.folder().join("journal");
    let file = File::create(&path).unwrap();
    let stream = file.metadata().map(|of| format!("{}:{}", of.dev(), of.ino())).unwrap();
    let mut appliance = site.environment("JOURNAL_STREAM", &stream).start_with_log(file);
    service.stop();
    wait_for("nobody can be asked", SOON, || appliance.tell(&Call::post("/tx/a").key("a")).status == 503);
    appliance.stop();
    let log = std::fs::read_to_string(path).unwrap();
    for (level, priority) in [("ERROR", "<3>"), ("WARN", "<4>"), ("INFO", "<6>"), ("DEBUG", "<7>")] {
        for line in log.lines().filter(|line| line.contains(&format!(" {level} "))) {
            assert!(line.starts_with(priority), "{line}");
        }
    }
    assert!(log.lines().all(|line| line.starts_with('<') && line.as_bytes()[2] == b'>'), "{log}");
    assert!(log.contains("<4>") && log.contains("<6>"), "{log}");
    // A file that was made in place of it is not the journal.
    let other = self::site(&service).environment("JOURNAL_STREAM", &stream).start();
    assert!(!other.log().contains("<6>"), "{}", other.log());
}

#[test]
fn off_a_terminal_there_are_no_colours() {
    let appliance = site(&Upstream::start()).start();
    assert!(appliance.log().contains("ready") && !appliance.log().contains('\u{1b}'), "{}", appliance.log());
}

/// A store whose line is down writes a word about it, and then is quiet; nor does it tell where it was built.
#[test]
fn a_store_that_is_offline_writes_less_than_a_kilobyte_a_minute() {
    const WATCHED: Duration = Duration::from_secs(20);
    let service = Upstream::start();
    let nobody = (free_port(), free_port());
    let store = Site::new("store").dials("cloud", nobody.0, nobody.1).section("log", "filter = \"info\"");
    let store = store.service(Service::new("tx", &service).replicas(&["store", "cloud"]).order(&["local"])).start();
    let said = |what: &str| store.log().lines().filter(|line| line.contains(what)).count();
    wait_for("both say so", SOON, || said("tried again quietly") == 2);
    let quiet_since = (Instant::now(), store.log().len());
    while quiet_since.0.elapsed() < WATCHED {
        std::thread::sleep(Duration::from_millis(100));
    }
    let (log, bytes) = (store.log(), store.log().len() - quiet_since.1);
    assert!(bytes * 60 / (WATCHED.as_secs() as usize) < 1_000, "{bytes} bytes in {WATCHED:?}: {log}");
    assert_eq!(said("tried again quietly"), 2, "{log}");
    assert_eq!(said("::session: control: "), 1, "{log}");
    assert!(!log.contains("/registry/") && !log.contains(env!("CARGO_MANIFEST_DIR")), "{log}");
}

#[test]
fn when_the_peer_is_back_it_is_said_how_often_it_was_tried() {
    let (at_store, at_cloud) = (Upstream::start(), Upstream::start());
    let tx = |upstream: &Upstream| Service::new("tx", upstream).replicas(&["store", "cloud"]).order(&["local"]);
    let cloud = Site::new("cloud").hub().service(tx(&at_cloud));
    let store = Site::new("store").dials("cloud", cloud.link, cloud.control).service(tx(&at_store)).start();
    wait_for("it is tried", SOON, || store.log().matches("tried again quietly").count() == 2);
    let _cloud = cloud.start();
    store.wait_peer_healthy("cloud");
    store.wait_control("cloud");
    let log = store.log();
    assert!(log.lines().any(|line| line.contains("reached again") && line.contains("tries=")), "{log}");
    assert!(log.lines().any(|line| line.contains("control: a session is open again")), "{log}");
}

/// Records of one kind, in order.
fn records(log: &str, kind: &str) -> Vec<Value> {
    let records = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records.filter(|record| record["log"] == kind).collect()
}

#[test]
fn each_request_is_recorded_once_where_that_is_wanted() {
    let service = Upstream::start();
    // access | how many of 150 good requests are recorded | of 3 that fail
    for (access, good, failed) in [("off", 0..=0, 0), ("sampled", 1..=2, 3), ("all", 150..=150, 3)] {
        let appliance = site(&service).section("log", &format!("access = \"{access}\"")).start();
        for n in 0..150 {
            let call = Call::post(&format!("/tx/{access}{n}?secret=1")).key(&format!("{access}{n}"));
            appliance.tell(&call.header("X-Request-Id", &format!("r-{n}"))).expect(201);
        }
        service.at("/tx/fails", Act::answer(500));
        for n in 0..3 {
            appliance.tell(&Call::post("/tx/fails").key(&format!("{access}-f{n}"))).expect(500);
        }
        let recorded = || records(&appliance.log(), "access");
        wait_for("all that are to be are recorded", SOON, || {
            recorded().iter().filter(|record| record["status"] == 500).count() == failed
        });
        let records = recorded();
        let of_good: Vec<&Value> = records.iter().filter(|record| record["status"] == 201).collect();
        assert!(good.contains(&of_good.len()), "{access}: {records:?}");
        for record in of_good {
            let n = record["request_id"].as_str().unwrap().strip_prefix("r-").unwrap().to_owned();
            let expected = serde_json::json!({
                "log": "access", "timestamp": record["timestamp"], "request_id": format!("r-{n}"), "client": "127.0.0.1",
                "method": "POST", "path": format!("/tx/{access}{n}"), "service": "tx", "status": 201,
                "served_by": "store", "replayed": false, "ms": record["ms"],
            });
            assert_eq!(*record, expected);
        }
        assert!(!appliance.log().contains("secret"), "{}", appliance.log());
    }
}

#[test]
fn what_people_order_is_recorded_with_who_and_what_came_of_it() {
    let scene = Scene::with(|site| site.section("log", "filter = \"info\""), |tx| tx);
    scene.service.at("/tx/fails", Act::answer(500));
    scene.store.tell(&Call::post("/tx/fails").key("k").header("X-Request-Id", "till-7")).expect(500);
    wait_for("it waits for a person", SOON, || scene.store.count("quarantine") == 1);
    scene.store.operate("/quarantine/discard?service=tx").expect(200);
    scene.store.operate("/services/nothing/resume").expect_problem(404, "unknown-service");
    scene.store.operate("/services/tx/resume").expect_problem(409, "operation-rejected");
    wait_for("all orders are recorded", SOON, || records(&scene.store.log(), "audit").len() == 3);
    let [discarded, unknown, rejected] = &records(&scene.store.log(), "audit")[..] else { unreachable!() };
    assert_eq!(discarded["client"], "127.0.0.1");
    assert_eq!((&discarded["by"], &discarded["status"]), (&"loopback".into(), &200.into()));
    assert_eq!(discarded["order"], "/api/v1/quarantine/discard");
    assert_eq!((&discarded["choice"], &discarded["result"]["done"]), (&"service=tx".into(), &1.into()));
    assert_eq!((&unknown["status"], &unknown["result"]["code"]), (&404.into(), &"unknown-service".into()));
    assert!(rejected["result"]["detail"].as_str().is_some_and(|why| why.contains("not stopped")), "{rejected}");
    // A line about a request names it.
    let log = scene.store.log();
    let line = log.lines().find(|line| line.contains("write quarantined")).expect("it is said");
    assert!(line.contains("request_id=\"till-7\""), "{line}");
}

#[test]
fn a_line_that_comes_again_and_again_is_counted() {
    let scene = Scene::with(|site| site.section("log", "filter = \"info\""), |tx| tx);
    scene.service.at("/tx/fails", Act::answer(500));
    for n in 0..30 {
        scene.store.tell(&Call::post("/tx/fails").key(&format!("k{n}"))).expect(500);
    }
    let mut store = scene.store;
    store.stop();
    let log = store.log();
    assert_eq!(log.matches("write quarantined").count(), 11, "ten, and the count: {log}");
    assert!(log.contains("WARN holdfast::repeats: 20 more like this in the last minute: write quarantined"), "{log}");
}
