//! One flipped bit in the files of a stopped site. What changes anything that can be read is named by `journal verify`;
//! the start refuses with that name, or goes on and neither applies a write again nor makes up an answer.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rusqlite::types::Value;

use super::{files, verify};
use crate::harness::{Call, Scene, Told};

const SEED: u64 = 4711;
/// Of each kind of page.
const FLIPS: usize = 6;
const WRITES: usize = 160;

/// A journal with every kind of page, and what its clients were told.
struct Sample {
    scene: Scene,
    told: Vec<(Call, Told)>,
    data: PathBuf,
    bytes: Vec<u8>,
}

fn write(n: usize) -> Call {
    // Some need pages of their own, beside that of their row.
    let length = if n.is_multiple_of(9) { 6_000 } else { 100 + n };
    Call::post("/tx/sale")
        .key(&format!("k{n}"))
        .lane(&format!("lane{}", n % 7))
        .body(vec![b'a' + (n % 26) as u8; length])
}

impl Sample {
    fn make() -> Self {
        let durable = "durability = \"power-loss\"\nreserve = \"1MiB\"";
        let mut scene = Scene::with(|site| site.section("store", durable), |service| service.impatient());
        let told = (0..WRITES).map(|n| (write(n), scene.store.tell(&write(n)).expect(201))).collect();
        scene.store.stop();
        let data = scene.store.site.data_dir();
        // Pages that were used once; in earnest, of writes that were forgotten.
        let database = rusqlite::Connection::open(data.join("holdfast.db")).unwrap();
        let junk = "CREATE TABLE junk (a); INSERT INTO junk VALUES (randomblob(40000)); DROP TABLE junk; PRAGMA \
            wal_checkpoint(TRUNCATE)";
        database.execute_batch(junk).unwrap();
        drop(database);
        let kept = scene.store.site.folder().join("kept");
        files::copy(&data, &kept);
        let bytes = std::fs::read(data.join("holdfast.db")).unwrap();
        Self { scene, told, data, bytes }
    }

    fn database(&self) -> PathBuf {
        self.data.join("holdfast.db")
    }

    /// The data directory as it was made, with one bit changed.
    fn flip(&self, at: usize, bit: u8) {
        std::fs::remove_dir_all(&self.data).unwrap();
        files::copy(&self.scene.store.site.folder().join("kept"), &self.data);
        let mut bytes = self.bytes.clone();
        bytes[at] ^= 1 << bit;
        std::fs::write(self.database(), bytes).unwrap();
    }
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// Where each kind of page begins. A page that the others do not explain holds the rest of a long record.
fn pages(bytes: &[u8]) -> BTreeMap<&'static str, Vec<std::ops::Range<usize>>> {
    let size = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    let mut free = BTreeSet::new();
    let mut trunk = number(bytes, 32);
    while trunk != 0 {
        free.insert(trunk);
        let at = (trunk - 1) * size;
        free.extend((0..number(bytes, at + 4)).map(|n| number(bytes, at + 8 + 4 * n)));
        trunk = number(bytes, at);
    }
    let mut kinds: BTreeMap<_, Vec<_>> = BTreeMap::new();
    kinds.entry("header").or_default().push(0..100);
    kinds.entry("schema").or_default().push(100..size);
    for page in 2..=bytes.len() / size {
        let range = (page - 1) * size..page * size;
        let kind = match bytes[range.start] {
            _ if free.contains(&page) => "free",
            2 => "index interior",
            5 => "table interior",
            10 => "index leaf",
            13 => "table leaf",
            _ => "overflow",
        };
        kinds.entry(kind).or_default().push(range);
    }
    kinds
}

/// Everything that can be read, by every way that leads to it.
fn content(database: &Path) -> rusqlite::Result<Vec<Vec<Value>>> {
    let database = rusqlite::Connection::open_with_flags(database, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut all = Vec::new();
    let mut read = |sql: &str| -> rusqlite::Result<()> {
        let mut statement = database.prepare(sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            all.push((0..columns).map(|column| row.get(column)).collect::<rusqlite::Result<Vec<Value>>>()?);
        }
        Ok(())
    };
    for table in ["log", "grp", "series", "place", "request", "write", "quarantine", "stopped", "named"] {
        read(&format!("SELECT * FROM {table} NOT INDEXED"))?;
    }
    for (table, id) in [("place", "at"), ("request", "id"), ("write", "id")] {
        read(&format!("SELECT b.* FROM {table} a NOT INDEXED CROSS JOIN {table} b ON b.{id} = a.{id}"))?;
    }
    read(
        "SELECT b.id FROM write a NOT INDEXED CROSS JOIN write b INDEXED BY write_key ON b.grp = a.grp AND b.key = \
        a.key AND b.key IS NOT NULL",
    )?;
    read("SELECT grp, key, id FROM write INDEXED BY write_key WHERE key IS NOT NULL")?;
    read("SELECT grp, id FROM write INDEXED BY write_open WHERE standing = 1")?;
    read("SELECT grp, clock, id FROM write INDEXED BY write_cancelled WHERE standing = 3")?;
    read("SELECT application_id, user_version FROM pragma_application_id, pragma_user_version")?;
    Ok(all)
}

/// Seeded; no crate for it is needed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

#[test]
fn a_flipped_bit_in_any_kind_of_page_is_named_or_changes_nothing() {
    let mut sample = Sample::make();
    let whole = content(&sample.database()).unwrap();
    let kinds = pages(&sample.bytes);
    for kind in ["header", "schema", "table interior", "table leaf", "index leaf", "overflow", "free"] {
        assert!(kinds.contains_key(kind), "no {kind} page in {kinds:?}");
    }
    let mut draw = Draw(SEED);
    let mut wrong = Vec::new();
    for (kind, ranges) in kinds {
        let mut named = 0;
        for flip in 0..FLIPS {
            let range = &ranges[draw.below(ranges.len())];
            let used = |at: &usize| kind == "header" || sample.bytes[*at] != 0;
            let at =
                std::iter::repeat_with(|| range.start + draw.below(range.len())).find(used).expect("an endless draw");
            let bit = draw.below(8) as u8;
            sample.flip(at, bit);
            let same = content(&sample.database()).is_ok_and(|found| found == whole);
            let ended = verify(sample.scene.store.site.folder());
            named += usize::from(ended.code == Some(74));
            let said =
                format!("{kind}: byte {at} bit {bit}: same {same}, verify {:?} {}", ended.code, ended.err.trim());
            match ended.code {
                Some(0) if same => {}
                Some(74) if ended.err.len() > 40 => {}
                _ => wrong.push(said.clone()),
            }
            if flip < 2 {
                sample.flip(at, bit);
                wrong.extend(start(&mut sample, &said));
            }
        }
        eprintln!("{kind}: {} pages, {named} of {FLIPS} named", ranges.len());
    }
    assert!(wrong.is_empty(), "{} flips:\n{}", wrong.len(), wrong.join("\n"));
}

/// It would be taken for a new one, and its write be done again.
#[test]
fn a_key_that_its_index_has_lost_is_named() {
    let sample = Sample::make();
    let database = rusqlite::Connection::open(sample.database()).unwrap();
    let key: i64 =
        database.query_row("SELECT key FROM write ORDER BY id LIMIT 1 OFFSET 7", [], |row| row.get(0)).unwrap();
    drop(database);
    let leaves = &pages(&sample.bytes)["index leaf"];
    let find = |range: &std::ops::Range<usize>| {
        sample.bytes[range.clone()].windows(8).position(|bytes| bytes == key.to_be_bytes()).map(|at| range.start + at)
    };
    let at = leaves.iter().find_map(find).expect("the key is in its index");
    sample.flip(at + 3, 2);
    let ended = verify(sample.scene.store.site.folder());
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(ended.err.contains("missing from index write_key"), "{}", ended.err);
    sample.flip(at + 3, 2);
    let ended = sample.scene.store.site.run_to_end();
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(ended.err.contains("index write_key does not fit its table"), "{}", ended.err);
}

/// Refuses and says why, or serves without doing anything twice.
fn start(sample: &mut Sample, what: &str) -> Option<String> {
    sample.scene.store.spawn_again(&[]);
    let admin = sample.scene.store.site.admin;
    crate::harness::wait_for("it is ready or has ended", crate::harness::SOON, || {
        sample.scene.store.process.ended().is_some()
            || Call::get("/health/ready").send(admin).is_ok_and(|told| told.status == 200)
    });
    if let Some(status) = sample.scene.store.process.ended() {
        let right = status.code() == Some(74);
        return (!right).then(|| format!("{what}: start ended with {status}"));
    }
    let mut wrong = None;
    for (n, (call, first)) in sample.told.iter().enumerate().step_by(5) {
        let Some(again) = sample.scene.store.try_tell(call) else { continue };
        let same = again.status == first.status && again.body == first.body;
        if sample.scene.service.times_applied(&format!("k{n}")) != 1 || !(same || again.status >= 400) {
            wrong.get_or_insert(format!(
                "{what}: k{n} applied again or answered otherwise: {} {}",
                again.status,
                again.text()
            ));
        }
    }
    sample.scene.store.kill();
    wrong
}
