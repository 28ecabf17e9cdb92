//! `kill -9` of a process that writes: what it was told is durable is there, whole batches only, in order.
//!
//! Says nothing about power loss (`notes/simulation.md`): that is for a fault VFS and file system shutdowns.
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

const DIR: &str = "HOLDFAST_TEST_JOURNAL_DIR";

/// Not a test: what the child process runs. Prints each number once its batch is durable.
#[test]
#[ignore = "the child process of the test below"]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let options = OpenOptions { reserve_bytes: 0, checkpoint_bytes: 256 << 10, ..OpenOptions::new(dir) };
    let journal = Journal::open(&options).unwrap();
    let g = Arc::new(group("s"));
    loop {
        let id = journal.next_id();
        let done: Done = Box::new(move |result| {
            result.unwrap();
            writeln!(std::io::stdout(), "durable {}", id.n).unwrap();
        });
        let ops = vec![Op::Request(id, request(&"x".repeat(1_000))), Op::Row(Box::new(sending(id)))];
        block_on(journal.room());
        journal.commit(&g, ops, done).unwrap();
    }
}

#[test]
fn what_was_reported_durable_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    for life in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "journal::tests::kill::child", "--ignored", "--nocapture", "--test-threads=1"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let number = |line: &str| Some(line.split_once("durable ")?.1.parse::<u64>().unwrap());
        let wanted = told.len() + 100 * life;
        told.extend(lines.by_ref().map_while(Result::ok).filter_map(|line| number(&line)).take(wanted - told.len()));
        child.kill().unwrap();
        child.wait().unwrap();
        told.extend(lines.map_while(Result::ok).filter_map(|line| number(&line)));

        let journal = Journal::open(&OpenOptions { reserve_bytes: 0, ..OpenOptions::new(dir.path()) }).unwrap();
        let open = Store::recover(&journal, &group("s"), 1).open;
        let found: std::collections::BTreeSet<u64> = open.iter().map(|found| found.row.id.n).collect();
        assert!(told.iter().all(|n| found.contains(n)), "life {life}: a durable write is missing");
        assert!(open.iter().all(|found| found.request.is_some()), "half a batch");
        assert!(journal.next_id().n > *found.last().unwrap(), "a number would be used twice");
        let report = block_on(journal.verify()).unwrap();
        assert!(report.is_whole(), "{:?}", report.damages);
    }
}
