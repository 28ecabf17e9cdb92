//! A line of log is never worth a sale: whatever is wrong with the place where lines go, the appliance starts, serves,
//! counts what it could not say, and ends when it is asked to.
use std::fs::File;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use crate::harness::process::{Ended, holdfast};
use crate::harness::{Appliance, Call, SOON, Service, Site, Upstream, wait_for};

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
