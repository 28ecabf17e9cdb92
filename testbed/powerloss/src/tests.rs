//! That the disk does what it says, by real SQLite: what a level promises holds, what it does not promise is lost at
//! times.
use std::sync::Arc;

use rusqlite::Connection;

use crate::file::{Durable, Fates, File};
use crate::rng::Rng;
use crate::{Disk, SECTOR_BYTES, Vfs};

const NAME: &str = "/test.db";

struct Machine {
    disk: Arc<Disk>,
    vfs: Vfs,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let disk = Arc::new(Disk::in_memory(seed));
        let vfs = Vfs::register(&disk, false);
        Self { disk, vfs }
    }

    fn open(&self, journal: &str, synchronous: &str) -> rusqlite::Result<Connection> {
        let connection = Connection::open(self.vfs.uri(NAME))?;
        connection.pragma_update(None, "journal_mode", journal)?;
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "wal_autocheckpoint", 20)?;
        connection.execute_batch("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, body BLOB)")?;
        Ok(connection)
    }

    /// Commits until the power goes; returns the last row that was acknowledged.
    fn work(&self, journal: &str, synchronous: &str, mut last: u64, rng: &mut Rng) -> u64 {
        let Ok(connection) = self.open(journal, synchronous) else { return last };
        self.disk.off_at(1 + rng.below(400));
        loop {
            let body = vec![last as u8; 100 + rng.below(3_000) as usize];
            if connection.execute("INSERT OR REPLACE INTO t VALUES (?1, ?2)", (last + 1, body)).is_err() {
                return last;
            }
            last += 1;
        }
    }

    /// Rows without a gap from 1, or why not.
    fn count(&self) -> rusqlite::Result<u64> {
        let connection = Connection::open(self.vfs.uri(NAME))?;
        let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        if check != "ok" {
            return Err(rusqlite::Error::InvalidColumnName(check));
        }
        connection.query_row("SELECT count(*) FROM t WHERE n <= (SELECT max(n) FROM t)", [], |row| row.get(0))
    }
}

#[derive(Debug, Default)]
struct Survey {
    cuts: u64,
    acknowledged: u64,
    lost: u64,
    damaged: u64,
    fates: Fates,
}

/// Several cuts in a row on each of many disks.
fn survey(journal: &str, synchronous: &str, cuts: u64) -> Survey {
    let mut survey = Survey::default();
    for seed in 0.. {
        let (machine, mut rng, mut last) = (Machine::new(seed), Rng::new(seed), 0);
        drop(machine.open(journal, "EXTRA").unwrap());
        for _ in 0..4 {
            let before = last;
            last = machine.work(journal, synchronous, last, &mut rng);
            survey.acknowledged += last - before;
            machine.disk.cut();
            survey.cuts += 1;
            match machine.count() {
                Ok(found) => {
                    survey.lost += last.saturating_sub(found);
                    last = found;
                }
                Err(error) => {
                    println!("seed {seed}: {error}");
                    survey.damaged += 1;
                    break;
                }
            }
        }
        let fates = machine.disk.fates();
        survey.fates.lost += fates.lost;
        survey.fates.kept += fates.kept;
        survey.fates.earlier += fates.earlier;
        survey.fates.torn += fates.torn;
        survey.fates.shorter += fates.shorter;
        if survey.cuts >= cuts {
            break;
        }
    }
    println!("{journal} {synchronous}: {survey:?}");
    survey
}

#[test]
fn a_commit_at_full_survives_a_thousand_cuts() {
    let survey = survey("WAL", "FULL", 1_000);
    assert_eq!((survey.lost, survey.damaged), (0, 0), "{survey:?}");
    assert!(survey.acknowledged > 10_000, "{survey:?}");
    let Fates { lost, kept, earlier, torn, shorter } = survey.fates;
    assert!([lost, kept, earlier, torn, shorter].iter().all(|&times| times > 50), "{survey:?}");
}

#[test]
fn at_normal_the_last_commits_are_lost_and_no_database() {
    let survey = survey("WAL", "NORMAL", 200);
    assert!(survey.lost > 100, "{survey:?}");
    assert_eq!(survey.damaged, 0, "{survey:?}");
}

#[test]
fn at_off_databases_are_lost() {
    let survey = survey("WAL", "OFF", 200);
    assert!(survey.damaged > 20, "{survey:?}");
}

#[test]
fn a_rollback_journal_at_extra_survives_too() {
    let survey = survey("DELETE", "EXTRA", 200);
    assert_eq!(survey.damaged, 0, "{survey:?}");
}

#[test]
fn one_seed_is_one_loss() {
    let run = |seed| {
        let (machine, mut rng) = (Machine::new(seed), Rng::new(seed));
        drop(machine.open("WAL", "FULL").unwrap());
        let last = machine.work("WAL", "NORMAL", 0, &mut rng);
        machine.disk.cut();
        (last, machine.count().unwrap(), machine.disk.fates())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_process_that_dies_alone_loses_nothing() {
    let machine = Machine::new(1);
    let connection = machine.open("WAL", "OFF").unwrap();
    connection.execute_batch("INSERT INTO t VALUES (1, 'a')").unwrap();
    machine.disk.power_off();
    assert!(connection.execute_batch("INSERT INTO t VALUES (2, 'b')").is_err());
    drop(connection);
    machine.disk.power_on();
    assert_eq!(machine.count().unwrap(), 1);
}

#[test]
fn connections_see_each_other_and_one_writes_at_a_time() {
    let machine = Machine::new(1);
    let (one, two) = (machine.open("WAL", "FULL").unwrap(), machine.open("WAL", "FULL").unwrap());
    two.busy_timeout(std::time::Duration::ZERO).unwrap();
    one.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1, 'a')").unwrap();
    let count = |of: &Connection| of.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, u64>(0)).unwrap();
    assert_eq!((count(&one), count(&two)), (1, 0));
    let error = two.execute_batch("BEGIN IMMEDIATE").unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
    one.execute_batch("COMMIT").unwrap();
    assert_eq!(count(&two), 1);
    two.execute_batch("INSERT INTO t VALUES (2, 'b')").unwrap();
    assert_eq!(count(&one), 2);
}

/// The trap: the next process sees what the failed sync left in the page cache, and builds upon it.
#[test]
fn after_a_failed_sync_what_is_seen_is_not_what_is_durable() {
    let mut lost = 0;
    for seed in 0..50 {
        let machine = Machine::new(seed);
        let connection = machine.open("WAL", "FULL").unwrap();
        machine.disk.fail_syncs(1);
        assert!(connection.execute("INSERT INTO t VALUES (1, ?1)", [vec![1; 9_000]]).is_err());
        // Closing would move the write-ahead log.
        machine.disk.power_off();
        drop(connection);
        machine.disk.power_on();
        let connection = Connection::open(machine.vfs.uri(NAME)).unwrap();
        let rows: u64 = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        machine.disk.power_off();
        drop(connection);
        machine.disk.cut();
        lost += rows - machine.count().unwrap();
    }
    assert!(lost > 5, "seen and not durable: {lost} of 50");
}

#[test]
fn a_full_disk_refuses_and_takes_again() {
    let machine = Machine::new(1);
    let connection = machine.open("WAL", "FULL").unwrap();
    machine.disk.set_full(true);
    let error = connection.execute("INSERT INTO t VALUES (1, ?1)", [vec![1; 9_000]]).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
    machine.disk.set_full(false);
    connection.execute("INSERT INTO t VALUES (1, ?1)", [vec![1; 9_000]]).unwrap();
    drop(connection);
    assert_eq!(machine.count().unwrap(), 1);
}

#[test]
fn a_flipped_bit_is_read() {
    let machine = Machine::new(1);
    drop(machine.open("DELETE", "FULL").unwrap());
    machine.disk.flip(NAME, 0, 3);
    assert!(machine.count().is_err(), "the first byte says what the file is");
}

/// Names, on ext4: in their order, and durable with any sync.
#[test]
fn a_sync_makes_earlier_names_durable_and_a_cut_keeps_a_prefix_of_the_others() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let disk = Disk::in_memory(seed);
        let mut first = disk.open(Some("/first"), true, false).unwrap();
        disk.write(&first, 0, b"x").unwrap();
        let mut other = disk.open(Some("/other"), true, false).unwrap();
        disk.sync(&other).unwrap();
        disk.delete("/first", false).unwrap();
        let mut last = disk.open(Some("/last"), true, false).unwrap();
        [&mut first, &mut other, &mut last].into_iter().for_each(|handle| disk.close(handle));
        disk.cut();
        assert_eq!(disk.length("/other"), Some(0));
        seen.insert((disk.length("/first").is_some(), disk.length("/last").is_some()));
    }
    assert_eq!(seen, [(true, false), (false, false), (false, true)].into());
}

#[test]
fn what_is_in_real_files_is_what_was_synced_and_a_little_more() {
    let dir = std::env::temp_dir().join(format!("powerloss-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("a");
    let name = path.to_str().unwrap();
    let disk = Disk::real(3);
    let mut file = disk.open(Some(name), true, false).unwrap();
    disk.write(&file, 0, &[1; 100 * SECTOR_BYTES]).unwrap();
    assert!(!path.exists(), "its name is not durable");
    disk.sync(&file).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), [1; 100 * SECTOR_BYTES]);
    disk.write(&file, 0, &[2; 100 * SECTOR_BYTES]).unwrap();
    let sectors = std::fs::read(&path).unwrap();
    let through = sectors.chunks(SECTOR_BYTES).filter(|sector| sector.contains(&2)).count();
    assert!((1..50).contains(&through), "{through} of 100 went through");
    let mut seen = [0; 100 * SECTOR_BYTES];
    assert_eq!(disk.read(&file, 0, &mut seen), Ok(seen.len()));
    assert_eq!(seen, [2; 100 * SECTOR_BYTES]);
    disk.close(&mut file);
    disk.delete(name, false).unwrap();
    assert!(path.exists() && !disk.exists(name).unwrap());
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Whoever has synced a file and made it shorter finds all of it, or the shorter one: a file system gives blocks away
/// only when the shortening is durable.
#[test]
fn a_shortening_that_is_lost_leaves_all_that_stood_there() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let mut file = File::new(Durable::Memory(Vec::new())).unwrap();
        file.write(0, &[1; 9 * SECTOR_BYTES]);
        file.sync().unwrap();
        file.set_len(0);
        file.write(0, &[2; 40]);
        file.cut(&mut Rng::new(seed), &mut Fates::default()).unwrap();
        let mut now = vec![9; file.len()];
        file.read(0, &mut now);
        match now.len() {
            0 | 40 => assert!(now.iter().all(|byte| [0, 1, 2].contains(byte)), "seed {seed}"),
            length => assert_eq!(now, [1; 9 * SECTOR_BYTES], "seed {seed}: {length} bytes"),
        }
        seen.insert(now.len());
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn an_unsynced_sector_is_lost_kept_torn_or_as_it_was_in_between() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let mut file = File::new(Durable::Memory(vec![0; SECTOR_BYTES])).unwrap();
        file.write(0, &[1; SECTOR_BYTES]);
        file.write(0, &[2; SECTOR_BYTES]);
        assert_eq!(file.unsynced(), 1);
        file.cut(&mut Rng::new(seed), &mut Fates::default()).unwrap();
        let mut now = [9; SECTOR_BYTES];
        file.read(0, &mut now);
        seen.insert(match (now[0], now[SECTOR_BYTES - 1]) {
            (0, 0) => "lost",
            (2, 2) => "kept",
            (1, 1) => "in between",
            (2, 0) => "torn",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}
