//! The bytes of a record: format byte, key-id byte, body in bincode's layout, CRC32 over the record's key and all of
//! it.
//!
//! The CRC covers table, group and write id, so a record that is found in another one's place is damaged too.
use sha2::{Digest as _, Sha256};
use wincode::config::{Configuration, DefaultConfig};
use wincode::{SchemaRead, SchemaWrite};

use crate::model::{Group, LogId, WriteId};

/// Raised with every change of a record's body; old readers are kept, but of 1, which nobody ever ran.
const FORMAT: u8 = 2;
/// No encryption. Other values will name the key a body is encrypted with.
const KEY_NONE: u8 = 0;

/// As the default layout, but bodies may be as large as SQLite can keep: their CRC was checked before they are read.
pub(super) type Layout = Configuration<true, { 1 << 30 }>;
const LAYOUT: Layout = DefaultConfig::default().with_preallocation_size_limit::<{ 1 << 30 }>();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Table {
    Row = 1,
    Request = 2,
    Series = 3,
    Quarantine = 4,
    Stopped = 5,
    Named = 6,
    Age = 7,
}

/// Stands for a group or a name in the key of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag([u8; 8]);

impl Tag {
    pub(super) fn of_group(group: &Group) -> Self {
        Self::of(&[&group.service, &group.store])
    }
    pub(super) fn of_name(name: &str) -> Self {
        Self::of(&[name])
    }
    fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize()[..8].try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// What names a record, as its CRC sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) table: Table,
    pub(super) tag: Tag,
    pub(super) id: WriteId,
}

impl Key {
    pub(super) fn write(table: Table, tag: Tag, id: WriteId) -> Self {
        Self { table, tag, id }
    }
    pub(super) fn series(tag: Tag, log: LogId) -> Self {
        Self { table: Table::Series, tag, id: WriteId { log, n: 0 } }
    }
    pub(super) fn stopped(tag: Tag) -> Self {
        Self { table: Table::Stopped, tag, id: NO_ID }
    }
    pub(super) fn age(tag: Tag) -> Self {
        Self { table: Table::Age, tag, id: NO_ID }
    }
    pub(super) fn named(name: &str) -> Self {
        Self { table: Table::Named, tag: Tag::of_name(name), id: NO_ID }
    }

    fn crc(&self, record: &[u8]) -> u32 {
        let mut key = [0; 37];
        key[0] = self.table as u8;
        key[1..9].copy_from_slice(&self.tag.0);
        key[9..25].copy_from_slice(&self.id.log.store);
        key[25..29].copy_from_slice(&self.id.log.incarnation.to_le_bytes());
        key[29..].copy_from_slice(&self.id.n.to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&key);
        crc.update(record);
        crc.finalize()
    }
}

const NO_ID: WriteId = WriteId { log: LogId { store: [0; 16], incarnation: 0 }, n: 0 };

/// Replaces what is in `record` by the bytes of `body`.
pub(super) fn encode<T>(record: &mut Vec<u8>, key: Key, body: &T)
where
    T: SchemaWrite<Layout, Src = T> + ?Sized,
{
    record.clear();
    record.extend([FORMAT, KEY_NONE]);
    wincode::config::serialize_into(&mut *record, body, LAYOUT).expect("plain data below 1 GiB always serialises");
    let crc = key.crc(record);
    record.extend(crc.to_le_bytes());
}

/// The body of a record, or why it is not what was written.
pub(super) fn decode<'de, T>(key: Key, record: &'de [u8]) -> Result<T, String>
where
    T: SchemaRead<'de, Layout, Dst = T>,
{
    let body = check(key, record)?;
    wincode::config::deserialize_exact(body, LAYOUT).map_err(|error| format!("cannot be read: {error}"))
}

/// What a record of which only the beginning was read begins with, unchecked: for lists of people alone.
pub(super) fn peek<'de, T>(beginning: &'de [u8]) -> Option<T>
where
    T: SchemaRead<'de, Layout, Dst = T>,
{
    let [FORMAT, KEY_NONE, body @ ..] = beginning else { return None };
    wincode::config::deserialize(body, LAYOUT).ok()
}

/// The bytes of a record's body, whatever they mean.
pub(super) fn check(key: Key, record: &[u8]) -> Result<&[u8], String> {
    let (content, crc) = record.split_last_chunk::<4>().ok_or_else(|| format!("only {} bytes long", record.len()))?;
    if key.crc(content) != u32::from_le_bytes(*crc) {
        return Err("its CRC32 does not fit its bytes and its key".to_owned());
    }
    match content {
        [FORMAT, KEY_NONE, body @ ..] => Ok(body),
        [FORMAT, key_id, ..] => Err(format!("encrypted with key {key_id}, which this binary does not have")),
        [format, ..] => Err(format!("has format {format}, this binary knows format {FORMAT}")),
        [] => Err("empty".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(table: Table, store: &str, n: u64) -> Key {
        let group = Group { service: "s".into(), store: store.into() };
        let id = WriteId { log: LogId { store: [1; 16], incarnation: 1 }, n };
        Key::write(table, Tag::of_group(&group), id)
    }

    #[test]
    fn a_record_reads_back_only_whole_and_in_its_own_place() {
        let mut record = Vec::new();
        encode(&mut record, key(Table::Row, "a", 1), &"body".to_owned());
        assert_eq!(decode::<String>(key(Table::Row, "a", 1), &record), Ok("body".to_owned()));
        for other in [key(Table::Request, "a", 1), key(Table::Row, "b", 1), key(Table::Row, "a", 2)] {
            assert!(decode::<String>(other, &record).unwrap_err().contains("CRC32"));
        }
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<String>(key(Table::Row, "a", 1), &flipped).is_err(), "bit {bit}");
        }
        for length in 0..record.len() {
            assert!(decode::<String>(key(Table::Row, "a", 1), &record[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn bodies_may_be_larger_than_what_links_take() {
        let body = bytes::Bytes::from(vec![7; 9 << 20]);
        let mut record = Vec::new();
        encode(&mut record, key(Table::Request, "", 1), &body);
        assert_eq!(decode::<bytes::Bytes>(key(Table::Request, "", 1), &record), Ok(body));
    }

    #[test]
    fn records_of_other_formats_and_encrypted_ones_are_refused_by_name() {
        let sealed = |head: [u8; 2]| {
            let crc = key(Table::Row, "", 1).crc(&head);
            decode::<u8>(key(Table::Row, "", 1), &[&head[..], &crc.to_le_bytes()].concat()).unwrap_err()
        };
        assert_eq!(sealed([9, 0]), "has format 9, this binary knows format 2");
        assert_eq!(sealed([FORMAT, 3]), "encrypted with key 3, which this binary does not have");
    }
}
