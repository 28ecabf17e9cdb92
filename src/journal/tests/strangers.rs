//! Other programs at the database of a journal in service: they look, read for long, hold its lock, or take its files
//! away. Another program is another process, because locks belong to processes: `python3` where it is there.
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// Another process with the database open.
struct Stranger {
    child: Child,
    stdin: ChildStdin,
    said: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

const PROGRAM: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
for line in sys.stdin:
    try:
        db.close() if line.strip() == 'close' else db.execute(line).fetchall()
        print('done', flush=True)
    except Exception as error:
        print(error, flush=True)
";

impl Stranger {
    fn at(dir: &tempfile::TempDir) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", PROGRAM])
            .arg(dir.path().join("holdfast.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("these tests need python3");
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, said: BufReader::new(stdout).lines() }
    }

    fn says(&mut self, sql: &str) -> String {
        writeln!(self.stdin, "{sql}").unwrap();
        self.said.next().unwrap().unwrap()
    }

    fn does(&mut self, sql: &str) {
        assert_eq!(self.says(sql), "done", "{sql}");
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn write(n: u64) -> Vec<Op> {
    vec![Op::Request(id(log(1), n), request("sale")), Op::Row(Box::new(sending(id(log(1), n))))]
}

fn durable(dir: &tempfile::TempDir) -> OpenOptions {
    OpenOptions { durability: Durability::PowerLoss, ..options(dir) }
}

/// This process's POSIX locks on a file.
fn own_locks(path: &std::path::Path) -> usize {
    let (pid, inode) = (std::process::id().to_string(), path.metadata().unwrap().ino().to_string());
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let is_own = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words[1] == "POSIX" && words[4] == pid && words[5].rsplit(':').next() == Some(&inode)
    };
    locks.lines().filter(is_own).count()
}

#[test]
fn its_locks_stand_after_whatever_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&OpenOptions { checkpoint_bytes: 64 << 10, ..durable(&dir) }).unwrap();
    let held = |what: &str| {
        for name in ["holdfast.db", "holdfast.db-shm"] {
            assert!(own_locks(&dir.path().join(name)) > 0, "no lock on {name} after {what}");
        }
    };
    held("its start");
    for n in 1..=100 {
        Store::apply(&mut journal, &group("s"), write(n));
    }
    held("writes and checkpoints");
    Store::find(&journal, &group("s"), Find::Id(id(log(1), 1)));
    Store::read_series(&journal, &group("s"), log(1), 1, 9, 9);
    journal.recover(&group("s"), 9, 9).unwrap();
    held("look-ups");
    block_on(journal.list(Filter { limit: 9, ..Filter::default() })).unwrap();
    block_on(journal.quarantine_page(QuarantineFilter::default(), None, 9)).unwrap();
    block_on(journal.stats()).unwrap();
    journal.meta_put("x", b"y").unwrap();
    journal.meta_get("x").unwrap();
    held("what people ask");
    assert!(block_on(journal.verify()).unwrap().is_whole());
    held("verify");
    assert!(matches!(Journal::open(&durable(&dir)), Err(Error::InUse { .. })));
    assert!(matches!(Journal::open_existing(&durable(&dir)), Err(Error::InUse { .. })));
    held("a second one that was refused");
    std::thread::sleep(Duration::from_millis(1_200));
    held("a while without work");
}

/// `sqlite3` takes the log away when it is the last one to close it, as it thinks.
#[test]
fn a_look_with_another_program_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&durable(&dir)).unwrap();
    Store::apply(&mut journal, &group("s"), write(1));
    let log_inode = || dir.path().join("holdfast.db-wal").metadata().unwrap().ino();
    let before = log_inode();
    let mut stranger = Stranger::at(&dir);
    stranger.does("SELECT count(*) FROM sqlite_schema");
    stranger.does("close");
    assert_eq!(log_inode(), before);
    // It may move the log, and empty it: that is no damage.
    let mut stranger = Stranger::at(&dir);
    for n in 2..=20 {
        Store::apply(&mut journal, &group("s"), write(n));
        if n % 5 == 0 {
            stranger.does("PRAGMA wal_checkpoint(TRUNCATE)");
        }
    }
    stranger.does("CREATE TABLE note (text)");
    stranger.does("DROP TABLE note");
    stranger.does("VACUUM");
    Store::apply(&mut journal, &group("s"), write(21));
    drop(stranger);
    Store::apply(&mut journal, &group("s"), write(22));
    assert!(block_on(journal.verify()).unwrap().is_whole());
    drop(journal);
    let journal = Journal::open(&durable(&dir)).unwrap();
    assert_eq!(Store::recover(&journal, &group("s"), 9).open.len(), 22);
}

#[test]
fn a_strangers_lock_is_waited_for_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&durable(&dir)).unwrap();
    Store::apply(&mut journal, &group("s"), write(1));
    let mut stranger = Stranger::at(&dir);
    stranger.does("BEGIN EXCLUSIVE");
    let waiting = hand_over(&journal, &group("s"), write(2));
    wait_until("it is said", || journal.held().borrow().is_some());
    let by = journal.held().borrow().clone().unwrap().by;
    assert!(by.contains("python3") && by.contains(&stranger.child.id().to_string()), "{by}");
    assert!(waiting.try_recv().is_err(), "it waits");
    assert_eq!(Store::find(&journal, &group("s"), Find::Id(id(log(1), 1))).len(), 1, "readers go on");
    // Longer than SQLite's own patience.
    std::thread::sleep(Duration::from_secs(6));
    assert!(journal.fatal().borrow().is_none() && waiting.try_recv().is_err());
    stranger.does("ROLLBACK");
    waiting.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
    wait_until("it is over", || journal.held().borrow().is_none());
    Store::apply(&mut journal, &group("s"), write(3));
    // The queue is bounded, and closing does not wait for the stranger.
    stranger.does("BEGIN IMMEDIATE");
    let waiting = hand_over(&journal, &group("s"), write(4));
    journal.close();
    assert_eq!(waiting.recv().unwrap(), Err(CommitError::Closed));
    drop(stranger);
    drop(journal);
    let journal = Journal::open(&durable(&dir)).unwrap();
    let open: Vec<u64> = Store::recover(&journal, &group("s"), 9).open.iter().map(|found| found.row.id.n).collect();
    assert_eq!(open, [1, 2, 3]);
}

#[test]
fn it_starts_beside_a_reader_and_after_a_lock() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&durable(&dir)).unwrap();
    Store::apply(&mut journal, &group("s"), write(1));
    let mut reader = Stranger::at(&dir);
    reader.does("BEGIN");
    reader.does("SELECT count(*) FROM sqlite_schema");
    for n in 2..=9 {
        Store::apply(&mut journal, &group("s"), write(n));
    }
    drop(journal);
    let mut journal = Journal::open(&durable(&dir)).unwrap();
    assert_eq!(Store::recover(&journal, &group("s"), 9).open.len(), 9);
    let first = journal.next_id();
    Store::apply(&mut journal, &group("s"), write(10));
    drop(journal);
    let mut locker = Stranger::at(&dir);
    locker.does("BEGIN IMMEDIATE");
    let path = durable(&dir);
    let starting = std::thread::spawn(move || Journal::open(&path));
    std::thread::sleep(Duration::from_secs(5));
    assert!(!starting.is_finished(), "it waits");
    locker.does("ROLLBACK");
    let journal = starting.join().unwrap().unwrap();
    assert_eq!(Store::recover(&journal, &group("s"), 9).open.len(), 10);
    assert!(journal.next_id().n > first.n, "numbers are not given twice");
    reader.does("COMMIT");
    assert!(block_on(journal.verify()).unwrap().is_whole());
}

#[test]
fn a_log_that_a_reader_keeps_long_is_told_and_emptied_when_it_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&OpenOptions { checkpoint_bytes: 128 << 10, ..options(&dir) }).unwrap();
    Store::apply(&mut journal, &group("s"), write(1));
    let mut reader = Stranger::at(&dir);
    reader.does("BEGIN");
    reader.does("SELECT count(*) FROM sqlite_schema");
    let bytes = || dir.path().join("holdfast.db-wal").metadata().unwrap().len();
    let mut n = 1;
    wait_until("it is said", || {
        n += 1;
        let big = request(&"x".repeat(20_000));
        Store::apply(
            &mut journal,
            &group("s"),
            vec![Op::Request(id(log(1), n), big), Op::Row(Box::new(sending(id(log(1), n))))],
        );
        journal.read_by().is_some()
    });
    let (by, told) = journal.read_by().unwrap();
    assert!(by.contains(&reader.child.id().to_string()) && told > 256 << 10, "{by}: {told}");
    reader.does("COMMIT");
    wait_until("it is emptied", || bytes() <= 128 << 10);
    wait_until("that is said", || journal.read_by().is_none());
    assert!(journal.fatal().borrow().is_none());
}

/// By other processes: opening and closing one of these files here would drop this process's locks.
fn harm(path: &std::path::Path, how: &str) {
    let (path, beside) = (path.to_owned(), path.with_extension("beside"));
    let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
        assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program}");
    };
    match how {
        "delete" => std::fs::remove_file(path).unwrap(),
        "rename" => std::fs::rename(path, beside).unwrap(),
        "replace" => {
            run("cp", &[path.as_os_str(), beside.as_os_str()]);
            std::fs::rename(beside, path).unwrap();
        }
        _ => run("truncate", &["-s".as_ref(), "0".as_ref(), path.as_os_str()]),
    }
}

#[test]
fn nothing_is_told_durable_that_a_file_taken_away_would_lose() {
    for (name, how) in [
        ("holdfast.db-wal", "delete"),
        ("holdfast.db-wal", "replace"),
        ("holdfast.db-wal", "rename"),
        ("holdfast.db-wal", "cut"),
        ("holdfast.db", "delete"),
        ("holdfast.db", "replace"),
        ("holdfast.db", "rename"),
        ("holdfast.db", "cut"),
        ("holdfast.db-shm", "delete"),
        ("holdfast.db-shm", "replace"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(&durable(&dir)).unwrap();
        for n in 1..=20 {
            Store::apply(&mut journal, &group("s"), write(n));
        }
        harm(&dir.path().join(name), how);
        let result = hand_over(&journal, &group("s"), write(21)).recv().unwrap();
        let Err(CommitError::Fatal(fatal)) = result else { panic!("{how} {name}: {result:?}") };
        assert!(fatal.why.contains(name), "{how}: {fatal}");
        wait_until("it has failed", || journal.fatal().borrow().is_some());
        let refused = journal.commit(&Arc::new(group("s")), write(22), Box::new(|_| {})).unwrap_err();
        assert_eq!(refused.why, Refusal::Fatal(fatal.clone()));
        drop(journal);
        // Where the log alone has lost its name, what was told durable is in the database.
        if (name, how) == ("holdfast.db-wal", "delete") {
            assert!(fatal.why.contains("moved into the database"), "{fatal}");
            let journal = Journal::open(&durable(&dir)).unwrap();
            assert!(Store::recover(&journal, &group("s"), 9).open.len() >= 20);
        }
    }
}

/// Written over where they stand, as `cp`, `dd` and `rsync --inplace` do: their names and numbers stay.
#[test]
fn nothing_is_told_durable_behind_what_was_overwritten_in_place() {
    let zeros = |name: &str, bytes: usize| format!("dd if=/dev/zero of={name} bs={bytes} count=1 conv=notrunc");
    let back = |name: &str| format!("dd if=aside/{name} of={name} bs=64k conv=notrunc");
    let (database, log, index) = ("holdfast.db", "holdfast.db-wal", "holdfast.db-shm");
    let harms = [
        ("a log without its header", zeros(log, 32)),
        ("the beginning of a log", zeros(log, 4096)),
        ("one byte of a frame", format!("printf X | dd of={log} bs=1 seek=300 conv=notrunc")),
        ("all frames", format!("dd if=/dev/zero of={log} bs=32 seek=1 count=4096 conv=notrunc")),
        ("an older log", format!("cp aside/{log} {log}")),
        ("the head of a database", zeros(database, 4096)),
        ("an older database", format!("cp aside/{database} {database}")),
        ("an older database in place", back(database)),
        ("an older index", back(index)),
        ("no index", zeros(index, 32 << 10)),
        ("all of an older copy", format!("{}; {}; {}", back(database), back(log), back(index))),
    ];
    // Of a log that was moved and begun again meanwhile, and of one that goes on.
    for checkpoint_bytes in [64 << 10, 16 << 20] {
        for (what, how) in &harms {
            let dir = tempfile::tempdir().unwrap();
            let mut journal = Journal::open(&OpenOptions { checkpoint_bytes, ..durable(&dir) }).unwrap();
            (1..=20).for_each(|n| drop(Store::apply(&mut journal, &group("s"), write(n))));
            let run = |how: &str| {
                let ended = Command::new("sh").args(["-ec", how]).current_dir(dir.path()).output().unwrap();
                assert!(ended.status.success(), "{how}: {}", String::from_utf8_lossy(&ended.stderr));
            };
            run("mkdir aside && cp holdfast.db* aside");
            (21..=199).for_each(|n| drop(Store::apply(&mut journal, &group("s"), write(n))));
            // What is written while a checkpoint of its own writes the database cannot be told from it, and what is
            // written into an empty log harms nothing.
            if checkpoint_bytes < 1 << 20 {
                wait_until("it rests", || dir.path().join(log).metadata().unwrap().len() == 0);
            }
            Store::apply(&mut journal, &group("s"), write(200));
            run(how);
            let (sender, result) = std::sync::mpsc::sync_channel(1);
            let done = Box::new(move |result| sender.send(result).unwrap());
            let fatal = match journal.commit(&Arc::new(group("s")), write(201), done).map_err(|returned| returned.why) {
                // A look, or a checkpoint, that was due meanwhile has met it.
                Err(Refusal::Fatal(fatal)) => fatal,
                _ => match result.recv().unwrap() {
                    Err(CommitError::Fatal(fatal)) => fatal,
                    result => panic!("{what}, {checkpoint_bytes}: {result:?}"),
                },
            };
            assert!(fatal.action != files::KEEP || fatal.why.contains("holdfast.db"), "{what}: {fatal}");
            wait_until("it has failed", || journal.fatal().borrow().is_some());
        }
    }
}

#[test]
fn what_others_do_by_the_rules_while_it_writes_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&OpenOptions { checkpoint_bytes: 64 << 10, ..durable(&dir) }).unwrap();
    Store::apply(&mut journal, &group("s"), write(1));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let others: Vec<_> = [
            &["PRAGMA wal_checkpoint(PASSIVE)", "SELECT count(*) FROM sqlite_schema"][..],
            &["PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA wal_checkpoint(RESTART)"],
            &["CREATE TABLE IF NOT EXISTS note (text)", "INSERT INTO note VALUES (zeroblob(9000))"],
        ]
        .into_iter()
        .map(|orders| {
            let (dir, done) = (&dir, &done);
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let mut stranger = Stranger::at(dir);
                    for _ in 0..20 {
                        // Some are turned away by a lock.
                        orders.iter().for_each(|order| drop(stranger.says(order)));
                    }
                    stranger.says("close");
                }
            })
        })
        .collect();
        let mut results = Vec::new();
        for n in 2..=400 {
            results.push(hand_over(&journal, &group("s"), write(n)).recv().unwrap().map(drop));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert!(results.iter().all(Result::is_ok), "{:?}", results.iter().find(|result| result.is_err()));
    });
    assert!(block_on(journal.verify()).unwrap().is_whole());
    drop(journal);
    let journal = Journal::open(&durable(&dir)).unwrap();
    assert_eq!(Store::recover(&journal, &group("s"), 9).open.len(), 400);
}

#[test]
fn its_files_are_its_owners_alone_whatever_they_were() {
    let parent = tempfile::tempdir().unwrap();
    let options =
        OpenOptions { data_dir: parent.path().join("a/b"), durability: Durability::PowerLoss, ..options(&parent) };
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let assert_private = || {
        assert_eq!(mode(&options.data_dir), 0o700);
        let names: Vec<_> = std::fs::read_dir(&options.data_dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(names.len() >= 4, "{names:?}");
        for path in names {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    };
    let mut journal = Journal::open(&options).unwrap();
    Store::apply(&mut journal, &group("s"), write(1));
    assert_private();
    drop(journal);
    for entry in std::fs::read_dir(&options.data_dir).unwrap() {
        std::fs::set_permissions(entry.unwrap().path(), std::fs::Permissions::from_mode(0o664)).unwrap();
    }
    std::fs::set_permissions(&options.data_dir, std::fs::Permissions::from_mode(0o775)).unwrap();
    let journal = Journal::open(&options).unwrap();
    assert_private();
    drop(journal);
}
